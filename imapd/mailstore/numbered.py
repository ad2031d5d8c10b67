"""Which messages of a view a client means: intervals of rows, out of which sequence numbers and UIDs are made."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from imapd.model.sets import RangeSet

Item = TypeVar("Item")

# Rows looked at between two breaths: about a millisecond.
BLOCK = 512

Slice = tuple[int, int]
"""Rows from the first up to the second, which is not among them."""


class Numbered:
    """Messages of a view as (sequence number, UID), ascending; the numbers are made while they are iterated over.

    Stays as it was when the view goes on.
    """

    __slots__ = ("_breathe", "_slices", "_uids")

    def __init__(self, uids: "array[int]", slices: Iterable[Slice], breathe: Callable[[], None]) -> None:
        self._uids = uids
        self._breathe = breathe
        self._slices = tuple(with_breaths(slices, breathe))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        pieces = (
            zip(range(start + 1, stop + 1), memoryview(self._uids)[start:stop], strict=True)
            for start, stop in self._slices
        )
        return chain.from_iterable(pieces)

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self._slices)

    def pieces(self, size: int) -> Iterator[tuple[Sequence[int], "array[int]"]]:
        """The messages as columns of at most that length: sequence numbers and UIDs."""
        numbers: list[int] = []
        uids = array("I")
        for start, stop in with_breaths(self._slices, self._breathe):
            while start < stop:
                until = min(stop, start + size - len(numbers))
                if not numbers and until - start == size:
                    yield range(start + 1, until + 1), self._uids[start:until]
                else:
                    numbers += range(start + 1, until + 1)
                    uids += self._uids[start:until]
                    if len(numbers) == size:
                        yield numbers, uids
                        numbers, uids = [], array("I")
                start = until
        if numbers:
            yield numbers, uids

    @property
    def uids(self) -> "array[int]":
        """The UIDs alone."""
        if self._slices == ((0, len(self._uids)),):
            return self._uids
        found = array("I")
        for start, stop in with_breaths(self._slices, self._breathe):
            found += self._uids[start:stop]
        return found

    @property
    def spans(self) -> RangeSet:
        """Intervals of UIDs that hold these messages and no others of the view."""
        slices = with_breaths(self._slices, self._breathe)
        return RangeSet.from_ranges(
            [(self._uids[start], self._uids[stop - 1]) for start, stop in slices], self._breathe
        )

    @property
    def numbers(self) -> RangeSet:
        """The sequence numbers alone."""
        return RangeSet.from_ranges((start + 1, stop) for start, stop in self._slices)


def with_breaths(items: Iterable[Item], breathe: Callable[[], None]) -> Iterator[Item]:
    """The items, with a breath now and then."""
    for done, item in enumerate(items, start=1):
        if not done % BLOCK:
            breathe()
        yield item
