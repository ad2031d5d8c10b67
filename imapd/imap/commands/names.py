"""Mailbox names as arguments of commands.

Two liberties are taken for clients. One delimiter at the end of a name is passed over: to CREATE it says that children
will follow (RFC 9051 section 6.3.4), and clients send it with every other command as well. And a name need not be
spelled as it is stored, composed and with INBOX in capitals; a client of IMAP4rev2 is then told how it is stored, by
OLDNAME (RFC 9051 section 6.3.9.7). The patterns of LIST and LSUB are no names, and are read elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imapd.imap.command import Response
from imapd.model.errors import BadSyntax
from imapd.model.names import DELIMITER, BadName, decode_wire
from imapd.wire import writer
from imapd.wire.responses import ListResponse

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.wire.scanner import Scanner


@dataclass(frozen=True, slots=True)
class SentName:
    """A name as it is stored, and as the client wrote it."""

    stored: str
    sent: str

    def spelling(self, session: Session) -> bytes:
        """The extended item of a LIST response that names the client's spelling; nothing where both are the same."""
        if not session.rev2 or self.sent == self.stored:
            return b""
        return b'("OLDNAME" (%s))' % writer.mailbox(self.sent, session.utf8)

    def told(self, session: Session, *attributes: str) -> Iterator[Response]:
        """The LIST response for a client that wrote the name otherwise."""
        spelling = self.spelling(session)
        if spelling:
            yield ListResponse(attributes, DELIMITER, self.stored, extended=spelling)


def read_name(scan: Scanner) -> str:
    """mailbox, less one delimiter at its end."""
    return _without_delimiter(scan.mailbox())


def read_sent_name(scan: Scanner, session: Session) -> SentName:
    """As read_name, and how the client wrote it."""
    octets = scan.astring()
    try:
        stored = _without_delimiter(decode_wire(octets, session.utf8))
    except BadName as bad:
        raise BadSyntax(f"{bad}.") from None
    return SentName(stored, _without_delimiter(octets.decode("utf-8")))


def _without_delimiter(name: str) -> str:
    return name.removesuffix(DELIMITER) if name != DELIMITER else name
