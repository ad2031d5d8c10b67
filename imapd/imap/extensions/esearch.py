"""ESEARCH, RFC 4731: SEARCH RETURN (MIN MAX ALL COUNT), answered in one ESEARCH response.

The forms are those of the RFC and of IMAP4rev2, in which they are part of the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence

from imapd.imap.extension import Extension, SearchReturn
from imapd.model.sets import RangeSet


class Min(SearchReturn):
    """The lowest number; left out where nothing was found."""

    name = "MIN"

    def render(self, numbers: Sequence[int]) -> bytes | None:
        return b"%d" % numbers[0] if numbers else None

    def kept(self, numbers: Sequence[int]) -> Sequence[int]:
        return numbers[:1]


class Max(SearchReturn):
    """The highest number; left out where nothing was found."""

    name = "MAX"

    def render(self, numbers: Sequence[int]) -> bytes | None:
        return b"%d" % numbers[-1] if numbers else None

    def kept(self, numbers: Sequence[int]) -> Sequence[int]:
        return numbers[-1:]


class All(SearchReturn):
    """All numbers as a set; left out where nothing was found."""

    name = "ALL"

    def render(self, numbers: Sequence[int]) -> bytes | None:
        return bytes(RangeSet.of(numbers)) if numbers else None


class Count(SearchReturn):
    """How many were found, which may be none."""

    name = "COUNT"

    def render(self, numbers: Sequence[int]) -> bytes | None:
        return b"%d" % len(numbers)


extension = Extension(words=("ESEARCH",), search_returns=(Min, Max, All, Count))
