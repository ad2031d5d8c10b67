"""UNSELECT (RFC 3691): leave a mailbox without expunging it. The command lives beside CLOSE."""

from imapd.imap.commands.select import Unselect
from imapd.imap.extension import Extension

extension = Extension(words=("UNSELECT",), commands=(Unselect,))
