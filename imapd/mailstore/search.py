"""SEARCH: which messages of a view a tree of criteria holds for (RFC 3501 section 6.4.4, RFC 9051 section 6.4.4).

What is cheap is asked first: flags, sizes, dates and UIDs are columns of the snapshot and are searched without opening
a message; only for the messages left are headers read, and only where those leave it open, bodies. A message is opened
once, whatever the number of keys, and nothing more of it is read than the keys need.

Texts are compared as decoded text, without regard to case or to how a character is composed (NFKC, then casefold), and
a key is found anywhere in them (substring). The answer speaks of messages the client has been told of, by the told
numbering; messages that are expunged meanwhile are left out. Long searches let other connections run.
"""

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import cached_property

from imapd.mailstore.errors import Expunged
from imapd.mailstore.store import Mailbox, Message, Snapshot
from imapd.mailstore.view import View
from imapd.mime import header, pieces, text
from imapd.mime.parser import parse
from imapd.model import criteria
from imapd.model.criteria import Criterion
from imapd.model.loop import Loop
from imapd.model.sets import RangeSet

# Rows of a snapshot, ascending.
Rows = Sequence[int]

# Rows looked at between two breaths, and slices of rows: about half a millisecond.
BLOCK = 8_192
SLICES = 256
DAY = 86_400


def search(wanted: Criterion, view: View, loop: Loop) -> list[tuple[int, int]]:
    """The messages that fit, as (sequence number, UID), ascending.

    Raises BadSyntax for a sequence number above EXISTS, Gone with the mailbox.
    """
    wanted = _resolved(wanted, view, loop)
    view.refresh()
    told = bisect_right(view.snapshot.uids, view.uids[-1]) if view.uids else 0
    found = _Search(view, loop).matching(wanted, range(told))
    uids = view.snapshot.uids
    if told == view.exists:
        # There are no ghosts, so the first row is message 1.
        return list(zip([row + 1 for row in found], map(uids.__getitem__, found), strict=True))
    return [(bisect_left(view.uids, uids[row], row) + 1, uids[row]) for row in found]


def _resolved(wanted: Criterion, view: View, loop: Loop) -> Criterion:
    """The tree with sets and \\Recent as UIDs, and without keys that say nothing.

    Done for the whole tree before the search, so that a sequence number above EXISTS is an error whatever the other
    keys are. Sets stay intervals: 1:4294967295 costs what 1 costs.
    """
    loop.breathe()
    match wanted:
        case criteria.And(keys):
            return criteria.And(tuple([_resolved(key, view, loop) for key in keys]))
        case criteria.Or(left, right):
            return criteria.Or(_resolved(left, view, loop), _resolved(right, view, loop))
        case criteria.Not(key):
            return criteria.Not(_resolved(key, view, loop))
        case criteria.Sequence(numbers):
            return criteria.Uids(view.resolve(numbers, by_uid=False).spans)
        case criteria.UidSequence(numbers):
            return criteria.Uids(view.resolve(numbers, by_uid=True).spans)
        case criteria.Recent():
            return criteria.Uids(view.recent)
        case criteria.BodyContains("") | criteria.TextContains(""):
            return criteria.All()
    return wanted


class _Search:
    """One search: narrows rows of the view's newest snapshot, key by key."""

    def __init__(self, view: View, loop: Loop) -> None:
        self._view = view
        self._snapshot: Snapshot = view.snapshot
        self._loop = loop
        self._gone: set[int] = set()
        self._costs: dict[int, tuple[Criterion, int]] = {}  # of keys by their id(), which are kept for it

    def matching(self, wanted: Criterion, rows: Rows) -> Rows:
        """The rows that fit, less those whose messages went while the search was running."""
        found = self._narrow(wanted, rows)
        return [row for row in found if row not in self._gone] if self._gone else found

    def _needs_message(self, wanted: Criterion) -> bool:
        return self._cost(wanted) > 0

    def _cost(self, wanted: Criterion) -> int:
        """0 for what columns answer, 1 for what needs the header, 2 for what needs the body; of a tree the highest."""
        known = self._costs.get(id(wanted))
        if known is None:
            inner = _keys_of(wanted)
            own = 0 if inner else _own_cost(wanted)
            known = self._costs[id(wanted)] = wanted, max(map(self._cost, inner), default=own)
            self._loop.breathe()
        return known[1]

    # By columns

    def _narrow(self, wanted: Criterion, rows: Rows) -> Rows:
        """Those of the rows that fit."""
        self._loop.breathe()
        if not rows or isinstance(wanted, criteria.All):
            return rows
        if isinstance(wanted, criteria.And):
            return self._narrow_by_all(wanted, rows)
        if not self._needs_message(wanted):
            return self._by_columns(wanted, rows)
        return self._by_messages(wanted, rows)

    def _narrow_by_all(self, wanted: criteria.And, rows: Rows) -> Rows:
        keys = list(dict.fromkeys(_flattened(wanted)))
        costly = [key for key in keys if self._needs_message(key)]
        for key in keys:
            if not self._needs_message(key):
                rows = self._narrow(key, rows)
        if not costly:
            return rows
        return self._by_messages(costly[0] if len(costly) == 1 else criteria.And(tuple(costly)), rows)

    def _by_columns(self, wanted: Criterion, rows: Rows) -> Rows:
        if isinstance(wanted, criteria.Or):
            left = self._narrow(wanted.left, rows)
            right = self._narrow(wanted.right, _less(rows, left))
            self._loop.breathe()
            return sorted([*left, *right])
        if isinstance(wanted, criteria.Not):
            if isinstance(wanted.key, criteria.HasFlag):
                return self._without_flag(wanted.key.flag, rows)
            others = self._narrow(wanted.key, rows)
            self._loop.breathe()
            return _less(rows, others)
        if isinstance(wanted, criteria.HasFlag):
            return self._with_flag(wanted.flag, rows)
        if isinstance(wanted, criteria.Larger | criteria.Smaller | criteria.InternalDate):
            return self._by_limits(wanted, rows)
        if isinstance(wanted, criteria.Uids):
            return self._within(wanted.uids, rows)
        raise TypeError(f"not a search key: {type(wanted).__name__}")

    def _with_flag(self, flag: str, rows: Rows) -> Rows:
        bit = self._snapshot.bit_of(flag)
        masks = self._snapshot.masks
        if not bit:
            return ()
        return self._in_blocks(rows, lambda block: [row for row in block if masks[row] & bit])

    def _without_flag(self, flag: str, rows: Rows) -> Rows:
        """UNSEEN and UNDELETED, what clients ask for most."""
        bit = self._snapshot.bit_of(flag)
        masks = self._snapshot.masks
        if not bit:
            return rows
        return self._in_blocks(rows, lambda block: [row for row in block if not masks[row] & bit])

    def _by_limits(self, wanted: Criterion, rows: Rows) -> Rows:
        """The rows whose value in a column lies between two limits, both included."""
        column = self._snapshot.dates if isinstance(wanted, criteria.InternalDate) else self._snapshot.sizes
        low, high = _limits(wanted)
        return self._in_blocks(rows, lambda block: [row for row in block if low <= column[row] <= high])

    def _in_blocks(self, rows: Rows, select: Callable[[Rows], list[int]]) -> list[int]:
        found: list[int] = []
        for start in range(0, len(rows), BLOCK):
            found += select(rows[start : start + BLOCK])
            self._loop.breathe()
        return found

    def _within(self, uids: RangeSet, rows: Rows) -> list[int]:
        """Those of the rows whose UIDs are in the set."""
        found: list[int] = []
        for done, (start, stop) in enumerate(uids.slices(self._snapshot.uids)):
            if not done % SLICES:
                self._loop.breathe()
            found += rows[bisect_left(rows, start) : bisect_left(rows, stop)]
        return found

    # By messages

    def _by_messages(self, wanted: Criterion, rows: Rows) -> list[int]:
        test = self._test(wanted, rows)
        found: list[int] = []
        for row in rows:
            text_of_row = _Texts(self._view.mailbox, self._snapshot.uids[row], self._loop.breathe)
            try:
                if test(row, text_of_row):
                    found.append(row)
            except Expunged:
                self._gone.add(row)
            finally:
                text_of_row.close()
            self._loop.breathe()
        return found

    def _test(self, wanted: Criterion, rows: Rows) -> "Test":
        """A key as a question about one message. What columns can answer is answered here, for all rows at once."""
        self._loop.breathe()
        if not self._needs_message(wanted):
            fitting = frozenset(self._narrow(wanted, rows))
            return lambda row, _texts: row in fitting
        if isinstance(wanted, criteria.Not):
            inner = self._test(wanted.key, rows)
            return lambda row, texts: not inner(row, texts)
        if isinstance(wanted, criteria.And):
            asked = [self._test(key, rows) for key in sorted(_flattened(wanted), key=self._cost)]
            return lambda row, texts: all(one(row, texts) for one in asked)
        if isinstance(wanted, criteria.Or):
            first, second = [self._test(key, rows) for key in sorted((wanted.left, wanted.right), key=self._cost)]
            return lambda row, texts: first(row, texts) or second(row, texts)
        return _text_test(wanted)


class _Texts:
    """What a search reads of one message; opened, read and decoded when it is first asked for."""

    def __init__(self, mailbox: Mailbox, uid: int, breathe: Callable[[], None]) -> None:
        self._mailbox = mailbox
        self._uid = uid
        self._breathe = breathe
        self._message: Message | None = None
        self._decoded: dict[bytes, list[str]] = {}

    def close(self) -> None:
        if self._message is not None:
            self._message.close()

    def _open(self) -> Message:
        if self._message is None:
            self._message = self._mailbox.message(self._uid)
        return self._message

    @cached_property
    def _raw_header(self) -> bytes:
        return self._open().header()

    @cached_property
    def header_texts(self) -> list[str]:
        """Each field as "name: text", decoded and folded."""
        return [folded(f"{name}: {value}") for name, value in text.header_texts(self._raw_header)]

    @cached_property
    def body_texts(self) -> list[list[str]]:
        """The texts of the body, decoded and folded, each in windows."""
        whole = self._open().read()
        found: list[list[str]] = []
        for windows in pieces.body_texts(parse(whole, self._breathe), whole):
            found.append([])
            for window in windows:
                found[-1].append(folded(window))
                self._breathe()
        return found

    def values(self, name: bytes) -> Sequence[bytes]:
        """The unfolded values of the fields of that name, given in lower case."""
        return header.wanted_values(self._raw_header, (name,), self._breathe).get(name, ())

    def decoded_values(self, name: bytes) -> Sequence[str]:
        """The same, decoded and folded; kept, as long searches ask many times for one field."""
        if name not in self._decoded:
            self._decoded[name] = [folded(text.decode_words(value)) for value in self.values(name)]
        self._breathe()
        return self._decoded[name]

    def body_contains(self, needle: str) -> bool:
        """Whether one of the texts of the body contains the needle, which is folded."""
        return any(self._contains(windows, needle) for windows in self.body_texts)

    def _contains(self, windows: Sequence[str], needle: str) -> bool:
        overlap = len(needle) - 1
        tail = ""
        for window in windows:
            self._breathe()
            if needle in window or (overlap and tail and needle in tail + window[:overlap]):
                return True
            tail = (tail + window)[-overlap:] if overlap else ""
        return False


Test = Callable[[int, _Texts], bool]


def _text_test(wanted: Criterion) -> Test:
    """The question of a key that needs the message itself."""
    if isinstance(wanted, criteria.HeaderContains):
        name, needle = wanted.name.lower().encode("utf-8", "replace"), folded(wanted.text)
        return lambda _row, texts: any(needle in value for value in texts.decoded_values(name))
    if isinstance(wanted, criteria.SentDate):
        relation, day = wanted.relation, wanted.day
        return lambda _row, texts: _sent(texts, relation, day)
    if isinstance(wanted, criteria.BodyContains):
        needle = folded(wanted.text)
        return lambda _row, texts: texts.body_contains(needle)
    if isinstance(wanted, criteria.TextContains):
        needle = folded(wanted.text)
        return lambda _row, texts: _anywhere(texts, needle)
    raise TypeError(f"not a search key: {type(wanted).__name__}")


def _anywhere(texts: _Texts, needle: str) -> bool:
    return any(needle in one for one in texts.header_texts) or texts.body_contains(needle)


def _sent(texts: _Texts, relation: str, day: date) -> bool:
    """Whether the first Date field that can be read fits; a message without one was sent on no day.

    The day is the one on the sender's calendar: "disregarding time and timezone" (RFC 3501 section 6.4.4).
    """
    for value in texts.values(b"date"):
        sent = header.parse_date(value)
        if sent is not None:
            return _compares(sent.date(), relation, day)
    return False


def _compares(one: date, relation: str, day: date) -> bool:
    if relation == "before":
        return one < day
    return one == day if relation == "on" else one >= day


def folded(piece: str) -> str:
    """The text in the form that is compared: NFKC, then casefold, and NFKC again, as casefold may undo it."""
    if piece.isascii():
        return piece.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", piece).casefold())


def _limits(wanted: Criterion) -> tuple[int, int]:
    """The smallest and largest value that fit a key about a column. Days are those of INTERNALDATE as FETCH gives it,
    in UTC (wire/writer.date_time)."""
    if isinstance(wanted, criteria.Larger):
        return wanted.octets + 1, 2**64
    if isinstance(wanted, criteria.Smaller):
        return 0, wanted.octets - 1
    assert isinstance(wanted, criteria.InternalDate)
    start = int(datetime(wanted.day.year, wanted.day.month, wanted.day.day, tzinfo=UTC).timestamp())
    if wanted.relation == "before":
        return -(2**63), start - 1
    return start, start + DAY - 1 if wanted.relation == "on" else 2**63


def _keys_of(wanted: Criterion) -> tuple[Criterion, ...]:
    """The keys that a key is made of."""
    if isinstance(wanted, criteria.And):
        return wanted.keys
    if isinstance(wanted, criteria.Or):
        return wanted.left, wanted.right
    return (wanted.key,) if isinstance(wanted, criteria.Not) else ()


def _own_cost(wanted: Criterion) -> int:
    if isinstance(wanted, criteria.BodyContains | criteria.TextContains):
        return 2
    return int(isinstance(wanted, criteria.HeaderContains | criteria.SentDate))


def _flattened(wanted: criteria.And) -> list[Criterion]:
    """The keys of a conjunction, those of conjunctions within it too."""
    found: list[Criterion] = []
    for key in wanted.keys:
        found += _flattened(key) if isinstance(key, criteria.And) else [key]
    return found


def _less(rows: Rows, others: Rows) -> Rows:
    """The rows that are not among the others."""
    if not others:
        return rows
    out = set(others)
    return [row for row in rows if row not in out]
