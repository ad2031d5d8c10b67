"""COPY and UID COPY (RFC 9051 section 6.4.7), and what MOVE has in common with them.

    copy = "COPY" SP sequence-set SP mailbox

All messages are copied or none. Messages that somebody expunged, which the client has not been told, are passed over
(RFC 2180 section 4.4.2), and the EXPUNGE follows before the tagged line; where nothing is left of what was asked for by
sequence numbers, the answer is NO. The mailbox to copy to is never made: the client is told TRYCREATE.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from imapd.imap.command import MAILBOX_OPEN, Command, Done, Running
from imapd.imap.commands.names import read_name
from imapd.imap.extension import Extension
from imapd.mailstore.store import Placed
from imapd.model.errors import Refused

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.model.sets import SequenceSet
    from imapd.wire.scanner import Scanner


@dataclass(frozen=True, slots=True)
class Transfer(Command):
    """A command with messages and a mailbox to bring them to."""

    states = MAILBOX_OPEN
    try_create = True
    by_uid: ClassVar[bool] = False

    numbers: SequenceSet
    target: str

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        numbers = scan.sequence_set()
        scan.sp()
        target = read_name(scan)
        scan.end()
        return cls(numbers, target)

    def uids(self, session: Session) -> list[int]:
        """The messages meant."""
        return list(session.view.resolve(self.numbers, self.by_uid).uids)

    def check(self, wanted: list[int], placed: Placed) -> None:
        """Refuse where messages were named by their numbers and none of them is there any more."""
        if wanted and not placed.uids and not self.by_uid:
            raise Refused("The messages do not exist any more.", code="EXPUNGEISSUED")


class Copy(Transfer):
    """COPY; see the top of this module."""

    name = "COPY"
    tells_fullness = True

    def run(self, session: Session) -> Running:
        yield from ()
        uids = self.uids(session)
        if not uids:
            return Done("There is nothing to copy.")
        placed = session.view.mailbox.copy(uids, self.target)
        self.check(uids, placed)
        return Done(code=copyuid(session, placed))


class UidCopy(Copy):
    """uid = "UID" SP copy (RFC 9051 section 6.4.9)."""

    name = "UID COPY"
    by_uid = True


def copyuid(session: Session, placed: Placed) -> str | None:
    """The COPYUID code (RFC 4315 section 3); None where nothing was copied or the client does not know it."""
    if not placed.uids or not (session.rev2 or session.offers.has("UIDPLUS")):
        return None
    return f"COPYUID {placed.uidvalidity} {_in_order(placed.sources)} {_in_order(placed.uids)}"


def _in_order(uids: Iterable[int]) -> str:
    """A set that keeps the order: the n-th UID of one set became the n-th of the other."""
    runs: list[list[int]] = []
    for uid in uids:
        if runs and uid == runs[-1][1] + 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in runs)


extension = Extension(commands=(Copy, UidCopy))
