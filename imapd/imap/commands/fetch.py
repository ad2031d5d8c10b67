"""FETCH and UID FETCH (RFC 9051 section 6.4.5, RFC 3501 section 6.4.5).

    fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / item / "(" item *(SP item) ")")

1. The items are a table; each says what it needs, and only that is got: columns, descriptions, the open message.
2. Messages are taken in pieces. A piece is answered in one block where that can be done (fetchbulk), else one response
   is sent as soon as it is made: 1:* of a large mailbox needs the memory of one piece. The view does not move
   meanwhile, so the numbers hold.
3. Items that read a text set \\Seen, for a whole piece in one write, and the answer then has the new FLAGS. Not where
   the mailbox is open for reading only.
4. A message that somebody expunged, which the client has not been told yet, has no answer. FETCH ends with
   NO [EXPUNGEISSUED] then (RFC 2180 section 4.1.2: clients that get OK without data take it for a fault of theirs). UID
   FETCH ends with OK: UIDs that name nothing are no error, and the EXPUNGE follows at once.
5. Items are answered in the order of the request. UID FETCH tells the UID first where it was not asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from imapd.imap.command import MAILBOX_OPEN, Command, Done, Response, Running
from imapd.imap.commands.fetchbulk import answer, plan, portions
from imapd.imap.commands.fetchitems import BASE_ITEMS, Flags, Held, Uid
from imapd.imap.extension import Extension, FetchItem, Need, Record
from imapd.mailstore.errors import Expunged, NoSpace, ReadOnly, Retry
from imapd.model.errors import BadSyntax, Refused
from imapd.model.flags import SYSTEM_FLAGS, FlagChange
from imapd.wire.responses import Fetch as FetchResponse
from imapd.wire.responses import Streamed

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.mailstore.store import Description
    from imapd.model.sets import SequenceSet
    from imapd.wire.scanner import Scanner

PIECE = 512
"""Messages taken at a time: one write for \\Seen, one query for descriptions."""

LOOK = 8
"""Pieces after which one looks again what others have done to the mailbox: some milliseconds."""

HELD = 32 * 1024 * 1024
"""Octets that may stand in memory for the answer about one message: one enormous header passes, many do not."""

SEEN = "\\Seen"
SEEN_BIT = 1 << SYSTEM_FLAGS.index(SEEN)

# RFC 9051 section 6.4.5: a macro stands alone.
MACROS = {
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}

Numbers = tuple[int, int]
"""A sequence number and its UID."""


@dataclass(frozen=True, slots=True)
class Fetch(Command):
    """FETCH; see the top of this module."""

    name = "FETCH"
    states = MAILBOX_OPEN
    may_expunge = False
    by_uid: ClassVar[bool] = False

    numbers: SequenceSet
    items: tuple[FetchItem, ...]

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        numbers = scan.sequence_set()
        scan.sp()
        items = _read_items(scan, session)
        scan.end()
        if cls.by_uid and not any(isinstance(item, Uid) for item in items):
            items = (Uid(), *items)
        return cls(numbers, items)

    def run(self, session: Session) -> Running:
        missing = 0
        steps = plan(self.items)
        for place, (numbers, uids) in enumerate(session.view.resolve(self.numbers, self.by_uid).pieces(PIECE)):
            if not place % LOOK:
                session.view.refresh()
            newly_seen = self._set_seen(session, uids)
            read = session.view.mailbox.reader(uids)
            for portion in portions(session, self.items, numbers, uids):
                session.loop.breathe()
                block = answer(session, steps, *portion, read) if newly_seen.isdisjoint(portion[1]) else None
                if block is not None:
                    yield block
                else:
                    missing += yield from self._answer_piece(session, list(zip(*portion, strict=True)), newly_seen)
        if missing and not self.by_uid:
            raise Refused("Some of the messages do not exist any more.", code="EXPUNGEISSUED")
        return Done(code="EXPUNGEISSUED" if missing else None)

    def _answer_piece(
        self, session: Session, piece: list[Numbers], newly_seen: frozenset[int]
    ) -> Generator[Response, None, int]:
        """Answer for some messages; returns how many of them are gone."""
        view = session.view
        needs = self._needs()
        described, opened = Need.DESCRIPTION in needs, Need.MESSAGE in needs
        open_one = view.mailbox.opener([uid for _, uid in piece]) if opened else None
        descriptions = _Descriptions(session, [uid for _, uid in piece] if described else [])
        missing = 0
        for sequence, uid in piece:
            session.loop.breathe()
            row = view.snapshot.row(uid)
            if row is None:
                missing += 1
                continue
            record = Record(session, sequence, uid, row, view.snapshot)
            try:
                if described:
                    record.description = descriptions.of(uid)
                if open_one is not None:
                    record.message = open_one(uid)
            except Expunged:
                missing += 1
                continue
            try:
                items = self._rendered(record, uid in newly_seen)
                record.parsed = None
                # Streamed items are read while this is being sent, so the message is closed only afterwards.
                yield FetchResponse(sequence, items)
            finally:
                if record.message is not None:
                    record.message.close()
        return missing

    def _rendered(self, record: Record, newly_seen: bool) -> list[bytes | Streamed]:
        items: list[bytes | Streamed] = []
        held = 0
        for item in self.items:
            rendered = item.render(record)
            if rendered is None:
                continue
            items.append(rendered)
            held += len(rendered) if isinstance(rendered, bytes) else rendered.size * isinstance(rendered, Held)
            if held > HELD:
                raise Refused("That is too much of one message at a time.", code="LIMIT")
            record.session.loop.breathe()
        if newly_seen and not any(isinstance(item, Flags) for item in self.items):
            items.append(Flags().render(record))
        return items

    def _needs(self) -> Need:
        needs = Need.NOTHING
        for item in self.items:
            needs |= item.needs
        return needs

    def _set_seen(self, session: Session, uids: Sequence[int]) -> frozenset[int]:
        """Set \\Seen where an item does; returns the UIDs that had not had it."""
        view = session.view
        if view.read_only or not any(item.sets_seen for item in self.items):
            return frozenset()
        rows = ((uid, view.snapshot.row(uid)) for uid in uids)
        unseen = [uid for uid, row in rows if row is not None and not view.snapshot.masks[row] & SEEN_BIT]
        if not unseen:
            return frozenset()
        try:
            changed = view.mailbox.change_flags(unseen, FlagChange.ADD, frozenset({SEEN}))
        except (NoSpace, ReadOnly, Retry) as error:
            # Who cannot write may read all the same; the message stays unseen.
            session.log("seen_not_set", mailbox=view.mailbox.name, reason=error.reason)
            return frozenset()
        view.told(changed)
        return frozenset(changed)


class UidFetch(Fetch):
    """uid = "UID" SP fetch (RFC 9051 section 6.4.9)."""

    name = "UID FETCH"
    may_expunge = True  # RFC 3501 section 7.4.1: UID FETCH is not FETCH
    by_uid = True


class _Descriptions:
    """The descriptions of a piece, fetched on while the messages before are being sent."""

    def __init__(self, session: Session, uids: list[int]) -> None:
        self._coming = iter(session.view.mailbox.descriptions(uids)) if uids else iter(())
        self._next: tuple[int, Description] | None = None

    def of(self, uid: int) -> Description:
        """The description of a message; they are asked for in ascending order. Raises Expunged."""
        while self._next is None or self._next[0] < uid:
            self._next = next(self._coming, None)
            if self._next is None:
                raise Expunged
        if self._next[0] != uid:
            raise Expunged
        return self._next[1]


def _read_items(scan: Scanner, session: Session) -> tuple[FetchItem, ...]:
    if scan.peek() == b"(":
        items = scan.parenthesized(lambda: _read_item(scan.keyword(), scan, session))
        if not items:
            raise BadSyntax("FETCH asks for at least one item")
        return tuple(items)
    word = scan.keyword()
    return tuple(_read_item(each, scan, session) for each in MACROS.get(word, (word,)))


def _read_item(word: str, scan: Scanner, session: Session) -> FetchItem:
    item = session.offers.fetch_items.get(word)
    if item is None:
        raise BadSyntax(f"FETCH has no item {word}")
    return item.parse(scan, session)


extension = Extension(commands=(Fetch, UidFetch), fetch_items=BASE_ITEMS)
