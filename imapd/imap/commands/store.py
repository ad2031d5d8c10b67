"""STORE and UID STORE: change flags (RFC 9051 section 6.4.6, RFC 3501 section 6.4.6).

    store = "STORE" SP sequence-set SP ["+" / "-"] "FLAGS" [".SILENT"] SP (flag-list / (flag *(SP flag)))

1. Messages are taken in pieces, each one write. The answer says the flags as they are after it, all of them.
2. With .SILENT the client is taken at its word that it knows its own change; what others did meanwhile it is told.
3. \\Recent is the server's to give: it is passed over, as clients send back the flags that they were told.
4. Messages that somebody expunged, which the client has not been told: STORE ends with NO [EXPUNGEISSUED], with .SILENT
   and for UID STORE with OK (RFC 2180 section 4.2); the others are changed in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Self

from imapd.imap.command import MAILBOX_OPEN, Command, Done, Response, Running
from imapd.imap.extension import Extension
from imapd.model.errors import BadSyntax, Refused
from imapd.model.flags import RECENT, SYSTEM_FLAGS, FlagChange, Flags, flags_of_words
from imapd.wire import writer
from imapd.wire.responses import Fetch, FlagsResponse

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.model.sets import SequenceSet
    from imapd.wire.scanner import Scanner

PIECE = 2_048
"""Messages changed at a time: long enough to make one write worth it, short enough not to keep others waiting."""

CHANGES = {change.value: change for change in FlagChange}


@dataclass(frozen=True, slots=True)
class Store(Command):
    """STORE; see the top of this module."""

    name = "STORE"
    states = MAILBOX_OPEN
    may_expunge = False
    by_uid: ClassVar[bool] = False

    numbers: SequenceSet
    change: FlagChange
    flags: Flags
    silent: bool

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        numbers = scan.sequence_set()
        scan.sp()
        word = scan.keyword()
        change = CHANGES.get(word.removesuffix(".SILENT"))
        if change is None:
            raise BadSyntax(f"STORE cannot change {word}")
        scan.sp()
        flags = flags_of_words(scan.flags_lenient())
        scan.end()
        _check(flags)
        return cls(numbers, change, flags - {RECENT}, word.endswith(".SILENT"))

    def run(self, session: Session) -> Running:
        if session.view.read_only:
            raise Refused("The mailbox is open for reading only.", code="READ-ONLY")
        missing = 0
        messages = iter(session.view.resolve(self.numbers, self.by_uid))
        while piece := dict(islice(messages, PIECE)):
            changed = self._change(session, list(piece.values()))
            missing += len(piece) - len(changed)
            if not self.silent:
                yield from self._answer(session, piece, frozenset(changed))
            session.loop.breathe()
        if missing and not self.silent and not self.by_uid:
            raise Refused("Some of the messages do not exist any more.", code="EXPUNGEISSUED")
        return Done(code="EXPUNGEISSUED" if missing else None)

    def _change(self, session: Session, uids: list[int]) -> tuple[int, ...]:
        """Change the messages that there are still, and note what the client knows by it."""
        view = session.view
        changed = view.mailbox.change_flags(uids, self.change, self.flags)
        if self.silent:
            view.assumed(changed, self.change, self.flags)
        else:
            view.told(changed)
        return changed

    def _answer(self, session: Session, piece: dict[int, int], changed: frozenset[int]) -> Iterator[Response]:
        yield from _new_keywords(session)
        for sequence, uid in piece.items():
            if uid not in changed or session.view.snapshot.row(uid) is None:
                continue
            items = [b"FLAGS " + writer.flag_list(session.view.flags(uid))]
            if self.by_uid:
                items.insert(0, b"UID %d" % uid)
            yield Fetch(sequence, items)
            session.loop.breathe()


class UidStore(Store):
    """uid = "UID" SP store (RFC 9051 section 6.4.9)."""

    name = "UID STORE"
    may_expunge = True  # RFC 3501 section 7.4.1: UID STORE is not STORE
    by_uid = True


def _check(flags: Flags) -> None:
    """Refuse system flags that there are not (RFC 9051 section 2.3.2: a backslash is the RFCs' to use)."""
    for flag in flags:
        if flag.startswith("\\") and flag not in SYSTEM_FLAGS and flag != RECENT:
            raise BadSyntax(f"There is no flag {flag}")


def _new_keywords(session: Session) -> Iterator[Response]:
    """FLAGS, before a FETCH with a keyword that the client has not met (RFC 9051 section 7.3.5)."""
    keywords = session.view.snapshot.keywords
    if not session.keywords_told.issuperset(keywords):
        session.keywords_told = frozenset(keywords)
        yield FlagsResponse((*SYSTEM_FLAGS, *keywords))


extension = Extension(commands=(Store, UidStore))
