"""ENABLE (RFC 5161, RFC 9051 section 6.3.1): switch on what would surprise a client that had not asked for it.

Words that we do not know are passed over, as the RFC asks. It may come with a mailbox selected: RFC 9051 leaves it to
the server, and refusing would only hit clients that know no better.
"""

from dataclasses import dataclass
from typing import Self

from imapd.imap.command import LOGGED_IN, Command, Running, State
from imapd.imap.extension import Extension
from imapd.imap.session import Session
from imapd.wire.responses import Enabled
from imapd.wire.scanner import Scanner


@dataclass(frozen=True, slots=True)
class Enable(Command):
    """enable = "ENABLE" 1*(SP capability)."""

    name = "ENABLE"
    states = LOGGED_IN

    words: tuple[str, ...]

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        words: list[str] = []
        while not words or not scan.at_end():
            scan.sp()
            words.append(scan.atom().decode("ascii", "replace").upper())
        return cls(tuple(words))

    def run(self, session: Session) -> Running:
        known = session.offers.enables
        new = [word for word in dict.fromkeys(self.words) if word in known and word not in session.enabled]
        session.enable(new)
        yield Enabled([known[word] for word in new])
        return None


extension = Extension(words=("ENABLE",), since=State.NOT_AUTHENTICATED, commands=(Enable,))
