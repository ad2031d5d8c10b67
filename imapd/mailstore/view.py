"""What one client has been told of one mailbox, and what it has to be told next.

The mailbox is the truth; a View is the numbered list that one client believes in. Only the difference between the two
makes unasked EXPUNGE, EXISTS, RECENT and FETCH lines, whoever caused it: this session, another one, another process,
another program. Rules:

1. Only `sync` changes the told numbering; between two syncs a sequence number means the same message.
2. While EXPUNGE may not be told (RFC 9051 section 7.5.1), a message that was expunged keeps its number. It is a ghost:
   it can be named and counted, but has no flags and no text any more (RFC 2180 section 4.1.2).
3. What is told is told in this order: EXPUNGE, then EXISTS and RECENT, then flags, numbered as they are afterwards.
4. A message that came and went between two syncs is never seen. A message is announced by EXISTS alone: its flags are
   told only when they change after that.
5. A change that the client made itself is not told again, but what others did to the same message is.
6. Looking costs nothing: a view that only looks leaves \\Recent to others (RFC 3501 section 6.3.2).

Nothing is kept for each message but for the columns of snapshots, which all views of a mailbox share: the uids of
a view are the snapshot's own column while there are no ghosts. No array is ever changed in place.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, count
from operator import not_

from imapd.mailstore.errors import Expunged
from imapd.mailstore.numbered import BLOCK, Numbered, Slice, with_breaths
from imapd.mailstore.store import Mailbox, Snapshot
from imapd.model.errors import BadSyntax
from imapd.model.flags import RECENT, FlagChange, Flags
from imapd.model.loop import Watching
from imapd.model.sets import RangeSet, SequenceSet

# Up to so many expunged messages are found by bisection one by one (a few microseconds each); for more of them one
# pass over a set of all UIDs is cheaper (about 8 ms for 100,000).
FEW = 200


@dataclass(frozen=True, slots=True)
class Changes:
    """What a client has to be told, in the order of the fields (rule 3).

    vanished: sequence numbers for EXPUNGE in sending order, from the highest down, so that none shifts another.
    arrived: the number for EXISTS, or None where nothing came. recent: the number for RECENT, or None.
    keywords: all keywords of the mailbox where they are others than before (for FLAGS), or None.
    reflagged: sequence number and UID of messages whose flags changed, ascending, numbered after all of the above.
    """

    vanished: tuple[int, ...] = ()
    arrived: int | None = None
    recent: int | None = None
    keywords: tuple[str, ...] | None = None
    reflagged: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return self != NOTHING


NOTHING = Changes()
NONE = RangeSet()


class View:
    """One client's belief about one open mailbox. It owns its use of the mailbox and gives it back in close().

    uids: the told numbering; row i has the sequence number i + 1. snapshot: the newest one that was taken.
    recent: the UIDs of told messages that are \\Recent to this client. saved: its last saved search result (RFC 5182).
    keeps_recent: whether the client knows \\Recent at all (IMAP4rev2 does not). breathe: called now and then in long
    work; nobody but the client's own greenlet knows the view, so that nothing of it moves meanwhile.
    """

    __slots__ = (
        "_breathe", "_own", "_told", "_told_recent", "_watching", "keeps_recent", "mailbox", "read_only", "recent",
        "saved", "snapshot", "uids",
    )  # fmt: skip

    def __init__(
        self,
        mailbox: Mailbox,
        read_only: bool,
        keeps_recent: bool = True,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self.mailbox = mailbox
        self._breathe = breathe
        self.read_only = read_only
        self.keeps_recent = keeps_recent
        self.snapshot: Snapshot = mailbox.snapshot()
        self.uids: array[int] = self.snapshot.uids
        self.recent = NONE
        self.saved = NONE
        # The snapshot that the client was told of last, and flags it knows to be others, by its own doing (rule 5).
        self._told = self.snapshot
        self._own: dict[int, Flags] = {}
        self._take_recent(0)
        self._told_recent = len(self.recent)
        self._watching: Watching | None = None

    # Asking

    @property
    def exists(self) -> int:
        """How many messages the client believes in: the number of the last EXISTS, less the EXPUNGEs since."""
        return len(self.uids)

    def resolve(self, numbers: SequenceSet, by_uid: bool) -> Numbered:
        """The messages that the client means, ghosts too. UIDs that name nothing are passed over; raises BadSyntax for
        a sequence number above EXISTS (RFC 9051 section 9, seq-number)."""
        return Numbered(self.uids, self._slices(numbers, by_uid), self._breathe)

    def _slices(self, numbers: SequenceSet, by_uid: bool) -> Iterable[Slice]:
        if numbers.saved:
            return self.saved.slices(self.uids)
        if by_uid:
            largest = self.uids[-1] if self.uids else 0
            return numbers.resolve(largest, self._breathe).slices(self.uids)
        return self._slices_of_numbers(numbers)

    def _slices_of_numbers(self, numbers: SequenceSet) -> list[Slice]:
        exists = len(self.uids)
        for first, last in with_breaths(numbers.pairs, self._breathe):
            # "9:*" is let through where there are fewer: clients ask so for what is new, and get the last message.
            if first is not None and last is not None and max(first, last) > exists:
                raise BadSyntax(f"There is no message {max(first, last)}; the mailbox has {exists}")
            if first is None and last is None and not exists:
                raise BadSyntax("There is no last message; the mailbox is empty")
        meant = with_breaths(numbers.resolve(exists, self._breathe).ranges, self._breathe)
        return [(low - 1, min(high, exists)) for low, high in meant if low <= exists]

    def number(self, uid: int) -> int | None:
        """The sequence number of a UID, or None where the client knows of no such message."""
        row = bisect_left(self.uids, uid)
        return row + 1 if row < len(self.uids) and self.uids[row] == uid else None

    def flags(self, uid: int) -> Flags:
        """The flags by the newest snapshot, with \\Recent, for an answer that tells them to the client. Raises Expunged
        for a ghost."""
        row = self.snapshot.row(uid)
        if row is None:
            raise Expunged
        flags = self.snapshot.flags_of(row)
        if self.snapshot is not self._told and self.snapshot.modseqs[row] > self._told.highestmodseq:
            self._own[uid] = flags  # newer than what sync told: if they change back, that is news
        return flags | {RECENT} if uid in self.recent else flags

    def flags_of(self, uids: "array[int]", rows: Sequence[int]) -> list[Flags]:
        """As `flags`, of many messages by their rows in the newest snapshot; the UIDs are those of the rows."""
        snapshot = self.snapshot
        flags = snapshot.flags_of_rows(rows)
        if snapshot is not self._told:
            for place, row in enumerate(rows):
                if snapshot.modseqs[row] > self._told.highestmodseq:
                    self._own[uids[place]] = flags[place]
        if self.recent.highest >= uids[0]:
            recent = {each: each | {RECENT} for each in set(flags)}
            for start, stop in self.recent.slices(uids):
                flags[start:stop] = [recent[each] for each in flags[start:stop]]
        return flags

    # What the client learns by its own commands

    def refresh(self) -> None:
        """Take the newest snapshot. Nothing is told by that, and no number moves. Raises Gone."""
        self.snapshot = self.mailbox.snapshot()

    def told(self, uids: Sequence[int]) -> None:
        """The client is being told the flags of these messages, ascending by UID, as they are now: STORE and FETCH
        answer with them.

        Takes the newest snapshot first, so that `flags` gives what is told.
        """
        self.refresh()
        self._own.update(_known_flags(self.snapshot, uids))

    def assumed(self, uids: Sequence[int], how: FlagChange, flags: Flags) -> None:
        """The client takes it that its own change of these messages, ascending by UID, has been made (STORE with
        .SILENT): it need not be told of it.

        Flags that somebody else changed are told still (RFC 9051 section 6.4.6).
        """
        believed = self._believed(uids)
        after = {flags_before: how.apply(flags_before, flags) for flags_before in set(believed.values())}
        self._own.update({uid: after[flags_before] for uid, flags_before in believed.items()})

    def _believed(self, uids: Sequence[int]) -> dict[int, Flags]:
        """The flags that the client believes messages, ascending by UID, to have; of those that it knows."""
        told, own = _known_flags(self._told, uids), self._own
        return told | {uid: own[uid] for uid in uids if uid in own} if own else told

    # What the client has to be told

    def sync(self, may_expunge: bool) -> Changes:
        """Take the newest snapshot and move on to it; returns what the client must be told by that. Raises Gone."""
        self.refresh()
        if self._nothing_happened():
            return NOTHING
        # UIDs ascend and are never used again: what is above the last told one is new, all the rest was told before.
        common = bisect_right(self.snapshot.uids, self.uids[-1]) if self.uids else 0
        vanished = self._forget(common) if may_expunge else ()
        came = len(self.snapshot.uids) > common
        reflagged = self._reflagged(common)
        if came:
            self._learn(common)
        changes = Changes(
            vanished=vanished,
            arrived=len(self.uids) if came else None,
            recent=self._recent_to_tell(came),
            keywords=self.snapshot.keywords if self.snapshot.keywords != self._told.keywords else None,
            reflagged=reflagged,
        )
        self._told = self.snapshot
        self._own.clear()
        return changes

    def _nothing_happened(self) -> bool:
        told, now = self._told, self.snapshot
        if self._own or len(self.uids) != len(told.uids):
            return False
        return now is told or now.highestmodseq == told.highestmodseq

    def _forget(self, common: int) -> tuple[int, ...]:
        """Take the ghosts out of the numbering; returns their sequence numbers from the highest down."""
        missing = len(self.uids) - common
        if not missing:
            return ()
        now = self.snapshot.uids
        find = _few_missing if missing <= FEW else _many_missing
        rows = find(self.uids, now, common)
        ghosts = RangeSet.of(self.uids[row] for row in rows)
        self.recent -= ghosts
        self.saved -= ghosts  # RFC 5182 section 2.1: the variable loses what is expunged
        self.uids = now if len(now) == common else now[:common]
        return tuple([row + 1 for row in reversed(rows)])

    def _learn(self, common: int) -> None:
        """Put what came behind the numbering."""
        now = self.snapshot.uids
        self.uids = now if len(self.uids) == common else self.uids + now[common:]
        self._take_recent(common)

    def _take_recent(self, start: int) -> None:
        """Find which messages of the newest snapshot, from that row on, are recent to this client (rule 6)."""
        if not self.keeps_recent:
            return
        if self.read_only:
            claimed = self.mailbox.unclaimed_recent()
        else:
            claimed = self.mailbox.claim_recent(self.snapshot.uidnext - 1)
        came = self.snapshot.uids
        row = bisect_right(came, claimed, start)
        if row < len(came):
            self.recent |= RangeSet.of(came[row:])

    def _recent_to_tell(self, came: bool) -> int | None:
        """RECENT goes with every EXISTS, and alone where recent messages were expunged (RFC 3501 section 7.3.2)."""
        before, self._told_recent = self._told_recent, len(self.recent)
        if not self.keeps_recent or (before == self._told_recent and not came):
            return None
        return self._told_recent

    def _reflagged(self, common: int) -> tuple[tuple[int, int], ...]:
        """The messages, told before and there still, whose flags are others than the client believes."""
        now = self.snapshot
        changed = self._changed_rows(common)
        if self._own:
            changed = sorted({*changed, *_rows_there(now, sorted(self._own))})
        found: list[tuple[int, int]] = []
        for start in range(0, len(changed), BLOCK):
            rows = changed[start : start + BLOCK]
            uids = [now.uids[row] for row in rows]
            believed = self._believed(uids)
            for row, uid, flags in zip(rows, uids, now.flags_of_rows(rows), strict=True):
                if not _alike(believed.get(uid), flags):
                    found.append((self._number_of_row(row, uid), uid))
            self._breathe()
        return tuple(found)

    def _changed_rows(self, common: int) -> Sequence[int]:
        """The rows changed since the told snapshot; whether their flags differ is to be seen."""
        told, now = self._told, self.snapshot
        modseqs = now.modseqs[:common]
        # Compared by whole columns in C first: most syncs bring a new message and no new flags.
        if modseqs == told.modseqs[:common]:
            return ()
        return list(compress(count(), map(told.highestmodseq.__lt__, modseqs)))

    def _number_of_row(self, row: int, uid: int) -> int:
        """The sequence number of a row of the newest snapshot; it is the row's own unless there are ghosts."""
        return row + 1 if row < len(self.uids) and self.uids[row] == uid else bisect_left(self.uids, uid, row) + 1

    # Being rung, and the end

    def listen(self, bell: Callable[[], None]) -> Watching:
        """Ring the bell after the mailbox changed; one bell at a time. Sync once after it: what came before is not
        rung for."""
        self.listen_no_more()
        self._watching = self.mailbox.listen(bell)
        return self._watching

    def listen_no_more(self) -> None:
        """End the listening; does nothing where nobody listens."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.close()

    def close(self) -> None:
        """End the listening and give the mailbox back."""
        self.listen_no_more()
        self.mailbox.close()


def _rows_there(snapshot: Snapshot, uids: Sequence[int]) -> Sequence[int]:
    """The rows of messages, ascending by UID; of those that there are."""
    rows = snapshot.rows(array("I", uids))
    return [row for uid in uids if (row := snapshot.row(uid)) is not None] if rows is None else rows


def _known_flags(snapshot: Snapshot, uids: Sequence[int]) -> dict[int, Flags]:
    """The flags that a snapshot says of messages, ascending by UID; of those that it has."""
    rows = _rows_there(snapshot, uids)
    return {snapshot.uids[row]: flags for row, flags in zip(rows, snapshot.flags_of_rows(rows), strict=True)}


def _few_missing(told: Sequence[int], now: Sequence[int], common: int) -> list[int]:
    """The rows of `told` that are not among the first `common` of `now`, by bisection.

    `now` up to there is `told` less some. Behind k missing ones, told[i] equals now[i - k] up to the next missing one,
    and is less than it from there on.
    """
    rows: list[int] = []
    for gone in range(len(told) - common):
        start = rows[-1] + 1 if rows else 0
        rows.append(_first_below(told, now, start, common + gone, gone))
    return rows


def _first_below(told: Sequence[int], now: Sequence[int], start: int, stop: int, shift: int) -> int:
    """The first row from start on with told[row] below now[row - shift], or stop where there is none."""
    while start < stop:
        middle = (start + stop) // 2
        if told[middle] < now[middle - shift]:
            stop = middle
        else:
            start = middle + 1
    return start


def _many_missing(told: Sequence[int], now: Sequence[int], common: int) -> list[int]:
    """As _few_missing, by one pass."""
    there = set(now[:common])
    return list(compress(count(), map(not_, map(there.__contains__, told))))


def _alike(believed: Flags | None, flags: Flags) -> bool:
    """Whether two sets of flags are the same; keywords are the same in any case."""
    if believed == flags:
        return True
    if believed is None or len(believed) != len(flags):
        return False
    return {flag.lower() for flag in believed} == {flag.lower() for flag in flags}
