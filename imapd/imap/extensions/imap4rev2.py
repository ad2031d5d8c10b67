"""IMAP4rev2 (RFC 9051), for clients that switch it on by ENABLE; all others are talked to in IMAP4rev1.

What changes stands in `Session.rev2`, and is asked for in these places: names and texts in UTF-8 (Session.utf8, which
the scanner and the responses are given), updates (no RECENT, UID in every FETCH, [CLOSED]), SELECT (LIST, no UNSEEN),
SEARCH (ESEARCH).
"""

from imapd.imap.command import State
from imapd.imap.extension import Extension

extension = Extension(words=("IMAP4rev2",), since=State.NOT_AUTHENTICATED, enables=("IMAP4rev2",))
