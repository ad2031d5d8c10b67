"""EXPUNGE (RFC 9051 section 6.4.3) and UID EXPUNGE (RFC 4315 section 2.1, offered by extensions/uidplus).

The EXPUNGE responses are not made here: what is gone is told from the view, after the command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from imapd.imap.command import MAILBOX_OPEN, Command, Done, Running
from imapd.imap.extension import Extension
from imapd.model.errors import Refused

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.model.sets import SequenceSet
    from imapd.wire.scanner import Scanner


class Expunge(Command):
    """expunge = "EXPUNGE": remove all messages with \\Deleted, also those the client has not been told of."""

    name = "EXPUNGE"
    states = MAILBOX_OPEN

    def run(self, session: Session) -> Running:
        yield from ()
        _check(session)
        session.view.mailbox.expunge(None)
        return Done()


@dataclass(frozen=True, slots=True)
class UidExpunge(Command):
    """uid =/ "UID" SP "EXPUNGE" SP sequence-set: of these messages, remove those with \\Deleted."""

    name = "UID EXPUNGE"
    states = MAILBOX_OPEN

    numbers: SequenceSet

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        numbers = scan.sequence_set()
        scan.end()
        return cls(numbers)

    def run(self, session: Session) -> Running:
        yield from ()
        _check(session)
        uids = list(session.view.resolve(self.numbers, by_uid=True).uids)
        if uids:
            session.view.mailbox.expunge(uids)
        return Done()


def _check(session: Session) -> None:
    if session.view.read_only:
        raise Refused("The mailbox is open for reading only.", code="READ-ONLY")


extension = Extension(commands=(Expunge,))
