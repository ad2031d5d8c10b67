"""Sets of numbers: what a client wrote (SequenceSet) and which numbers that means (RangeSet).

A SequenceSet is the text of a command: it may hold "*", ranges written backwards and numbers that name nothing
(RFC 9051 section 9, sequence-set). A RangeSet is a plain set of numbers, kept as closed intervals. Neither is ever
expanded: "1:4294967295" costs as much as "1". Whether numbers are sequence numbers or UIDs is known by the caller.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Final

STAR: Final = None
"""The "*" of a sequence set: the largest number in use."""

LARGEST: Final = 2**32 - 1
"""The largest sequence number or UID: both have 32 bits (RFC 9051 section 9, nz-number)."""

MOST_ITEMS: Final = 100_000
"""Numbers and ranges of a set that a client may write: each takes about 100 octets of memory while it is at work."""

_BLOCK: Final = 2_048  # items between two breaths: about a millisecond

# seq-number = nz-number / "*";  seq-range = seq-number ":" seq-number
_PART = re.compile(rb"(\*|[1-9][0-9]{0,9})(?::(\*|[1-9][0-9]{0,9}))?")

_low_of = itemgetter(0)


@dataclass(frozen=True, slots=True)
class RangeSet:
    """A set of numbers as closed intervals: ascending, disjoint, and never touching one another.

    Make one with `of` or `from_ranges`; the constructor itself trusts its argument.
    """

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, numbers: Iterable[int]) -> "RangeSet":
        """The set of the numbers, given in any order."""
        ascending = sorted(numbers)
        if not ascending:
            return cls()
        ranges: list[tuple[int, int]] = []
        low = high = ascending[0]
        for number in ascending:
            if number > high + 1:
                ranges.append((low, high))
                low = number
            high = number
        ranges.append((low, high))
        return cls(tuple(ranges))

    @classmethod
    def from_ranges(cls, ranges: Iterable[tuple[int, int]], breathe: Callable[[], None] | None = None) -> "RangeSet":
        """The union of closed intervals, given in any order; one that ends before it begins is empty."""
        merged: list[tuple[int, int]] = []
        for done, (low, high) in enumerate(sorted(ranges), start=1):
            if breathe is not None and not done % _BLOCK:
                breathe()
            if low > high:
                continue
            if merged and low <= merged[-1][1] + 1:
                if high > merged[-1][1]:
                    merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        return cls(tuple(merged))

    @property
    def lowest(self) -> int:
        """The smallest number; 0, which is neither a sequence number nor a UID, where the set is empty."""
        return self.ranges[0][0] if self.ranges else 0

    @property
    def highest(self) -> int:
        """The largest number; 0 where the set is empty."""
        return self.ranges[-1][1] if self.ranges else 0

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self.ranges, number, key=_low_of)
        return place > 0 and number <= self.ranges[place - 1][1]

    def __len__(self) -> int:
        return sum(high - low + 1 for low, high in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(range(low, high + 1) for low, high in self.ranges)

    def __and__(self, other: "RangeSet") -> "RangeSet":
        both: list[tuple[int, int]] = []
        mine, theirs = self.ranges, other.ranges
        i = j = 0
        while i < len(mine) and j < len(theirs):
            low = max(mine[i][0], theirs[j][0])
            high = min(mine[i][1], theirs[j][1])
            if low <= high:
                both.append((low, high))
            if mine[i][1] < theirs[j][1]:
                i += 1
            else:
                j += 1
        return RangeSet(tuple(both))

    def __or__(self, other: "RangeSet") -> "RangeSet":
        return RangeSet.from_ranges(self.ranges + other.ranges)

    def __sub__(self, other: "RangeSet") -> "RangeSet":
        left: list[tuple[int, int]] = []
        theirs = other.ranges
        j = 0
        for low, high in self.ranges:
            while j < len(theirs) and theirs[j][1] < low:
                j += 1
            k = j
            while k < len(theirs) and theirs[k][0] <= high:
                if low < theirs[k][0]:
                    left.append((low, theirs[k][0] - 1))
                low = theirs[k][1] + 1
                k += 1
            if low <= high:
                left.append((low, high))
            # An interval that reaches into our next one is looked at again, all before it never.
            j = max(j, k - 1)
        return RangeSet(tuple(left))

    def slices(self, column: Sequence[int]) -> Iterator[tuple[int, int]]:
        """The rows of an ascending column whose values are in the set, as (start, stop), none of them empty."""
        start, end = 0, len(column)
        for low, high in self.ranges:
            start = bisect_left(column, low, start, end)
            if start == end:
                return
            stop = bisect_right(column, high, start, end)
            if start < stop:
                yield start, stop
                start = stop

    def __bytes__(self) -> bytes:
        """As it goes over the wire: b"1:3,5"; empty where the set is empty."""
        return b",".join([b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in self.ranges])

    def __str__(self) -> str:
        return bytes(self).decode("ascii")


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """A set as the client wrote it: pairs of ends, where STAR is "*"; or "$", the saved search result (RFC 5182).

    `saved` stands for itself alone (RFC 9051 section 9): then there are no pairs, and the view knows the numbers.
    """

    pairs: tuple[tuple[int | None, int | None], ...] = ()
    saved: bool = False

    @classmethod
    def parse(cls, text: bytes, breathe: Callable[[], None] | None = None) -> "SequenceSet":
        """Read a set. Raises ValueError where the text is none: empty, with a 0, or with a number over 32 bits; and
        where it has more than MOST_ITEMS."""
        if text == b"$":
            return cls((), True)
        if text.count(b",") >= MOST_ITEMS:
            raise ValueError(f"a set of more than {MOST_ITEMS} items")
        pairs: list[tuple[int | None, int | None]] = []
        for done, part in enumerate(text.split(b","), start=1):
            pairs.append(_pair(part))
            if breathe is not None and not done % _BLOCK:
                breathe()
        return cls(tuple(pairs))

    def resolve(self, largest: int, breathe: Callable[[], None] | None = None) -> RangeSet:
        """The numbers meant where "*" is `largest`; nothing at all where that is 0, for a mailbox without messages.

        The order of a range's ends does not matter, so "559:*" is the last message where there are fewer than 559
        (RFC 9051 section 9, seq-range). Numbers above `largest` stay in: the caller knows whether they are errors.
        """
        if self.saved:
            raise ValueError("the saved search result is known to the view only")
        if largest == 0:
            return RangeSet()
        ranges: list[tuple[int, int]] = []
        for done, (first, last) in enumerate(self.pairs, start=1):
            if breathe is not None and not done % _BLOCK:
                breathe()
            low = largest if first is None else first
            high = largest if last is None else last
            ranges.append((low, high) if low <= high else (high, low))
        return RangeSet.from_ranges(ranges, breathe)

    def __bytes__(self) -> bytes:
        """As the client wrote it, but for a range of one number, which is written as that number."""
        if self.saved:
            return b"$"
        return b",".join([_end(low) if low == high else _end(low) + b":" + _end(high) for low, high in self.pairs])

    def __str__(self) -> str:
        return bytes(self).decode("ascii")


def _pair(part: bytes) -> tuple[int | None, int | None]:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError("not a sequence set")
    first = _number(match[1])
    return first, first if match[2] is None else _number(match[2])


def _number(text: bytes) -> int | None:
    if text == b"*":
        return STAR
    number = int(text)
    if number > LARGEST:
        raise ValueError("a number of more than 32 bits")
    return number


def _end(number: int | None) -> bytes:
    return b"*" if number is None else b"%d" % number
