"""UIDPLUS (RFC 4315): UID EXPUNGE, and the UIDs of what was appended or copied.

APPEND, COPY and MOVE ask whether this extension is offered before they say APPENDUID or COPYUID.
"""

from imapd.imap.commands.expunge import UidExpunge
from imapd.imap.extension import Extension

extension = Extension(words=("UIDPLUS",), commands=(UidExpunge,))
