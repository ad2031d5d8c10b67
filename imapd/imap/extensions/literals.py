"""LITERAL+ and LITERAL- (RFC 7888): literals that do not wait for the server's word.

A server says one of the two (section 4). Where the configuration subtracts LITERAL+, LITERAL- takes its place and
dispatch holds such literals to 4,096 octets; IMAP4rev2 needs no less.
"""

from imapd.imap.command import State
from imapd.imap.extension import Extension
from imapd.imap.session import Session


def _instead(session: Session) -> bool:
    return not session.offers.long_literals


extension = Extension(words=("LITERAL+",), since=State.NOT_AUTHENTICATED, long_literals=True)
smaller = Extension(words=("LITERAL-",), since=State.NOT_AUTHENTICATED, offered=_instead)
