"""Sets of numbers: what is read, what it means, and that the operations are those of sets."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.model.sets import LARGEST, MOST_ITEMS, STAR, RangeSet, SequenceSet

numbers = st.frozensets(st.integers(1, 60))
intervals = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)))

READ = [
    (b"1", ((1, 1),)),
    (b"1:3,5", ((1, 3), (5, 5))),
    (b"*", ((STAR, STAR),)),
    (b"*:4", ((STAR, 4),)),
    (b"5:2", ((5, 2),)),
    (b"1:*,2", ((1, STAR), (2, 2))),
    (b"4294967295", ((LARGEST, LARGEST),)),
]

NONE = [b"", b"0", b"1:0", b"4294967296", b"99999999999", b"1,", b",1", b"1::2", b"1:2:3", b"a", b"1 2", b"-1", b"+1"]
NONE += [b"01", b"$,1", b"1,$", b"$$", b"**", b"\xb2", b"1\n", "\u0663".encode()]

MEANT = [
    (b"*", 7, b"7"),
    (b"2:4", 7, b"2:4"),
    (b"4:2", 7, b"2:4"),
    (b"5:*", 7, b"5:7"),
    (b"559:*", 7, b"7:559"),
    (b"2,4:7,9,12:*", 15, b"2,4:7,9,12:15"),
    (b"*:4,5:7", 10, b"4:10"),
    (b"3,1,2,2", 9, b"1:3"),
    (b"1:*", 0, b""),
    (b"5", 0, b""),
    (b"1:4294967295", 3, b"1:4294967295"),
]


@pytest.mark.parametrize(("text", "pairs"), READ)
def test_a_set_is_read_and_written_as_it_was(text, pairs):
    read = SequenceSet.parse(text)
    assert read == SequenceSet(pairs)
    assert bytes(read) == text == str(read).encode()


def test_the_saved_result_stands_for_itself():
    saved = SequenceSet.parse(b"$")
    assert saved.saved and not saved.pairs and bytes(saved) == b"$"
    with pytest.raises(ValueError, match="view"):
        saved.resolve(5)


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_set_is_refused(text):
    with pytest.raises(ValueError):
        SequenceSet.parse(text)


@pytest.mark.parametrize(("text", "largest", "meant"), MEANT)
def test_a_set_means_numbers(text, largest, meant):
    assert bytes(SequenceSet.parse(text).resolve(largest)) == meant


def test_a_range_past_the_end_gives_the_last_message():
    assert 7 in SequenceSet.parse(b"559:*").resolve(7)


def test_the_largest_set_is_not_expanded():
    everything = SequenceSet.parse(b"1:4294967295").resolve(1)
    assert len(everything) == LARGEST
    assert (everything - RangeSet.of([7])).ranges == ((1, 6), (8, LARGEST))
    assert next(iter(everything)) == 1


@given(numbers, numbers)
def test_operations_are_those_of_sets(one, other):
    left, right = RangeSet.of(one), RangeSet.of(other)
    assert set(left & right) == one & other
    assert set(left | right) == one | other
    assert set(left - right) == one - other
    assert (left & right) == RangeSet.of(one & other)
    assert (left | right) == RangeSet.of(one | other)
    assert (left - right) == RangeSet.of(one - other)


@given(numbers)
def test_a_range_set_is_a_set(members):
    ranges = RangeSet.of(members)
    assert list(ranges) == sorted(members)
    assert len(ranges) == len(members)
    assert bool(ranges) == bool(members)
    assert {number for number in range(62) if number in ranges} == members
    assert ranges.lowest == min(members, default=0)
    assert ranges.highest == max(members, default=0)


@given(intervals)
def test_intervals_are_merged_and_do_not_touch(pairs):
    merged = RangeSet.from_ranges(pairs)
    assert set(merged) == {number for low, high in pairs for number in range(low, high + 1)}
    for (_, high), (low, _) in zip(merged.ranges, merged.ranges[1:], strict=False):
        assert high + 1 < low


@given(numbers, numbers)
def test_slices_are_the_rows_whose_values_are_in_the_set(members, values):
    column = array("I", sorted(values))
    rows = [row for start, stop in RangeSet.of(members).slices(column) for row in range(start, stop)]
    assert rows == [row for row, value in enumerate(column) if value in members]
    assert all(start < stop for start, stop in RangeSet.of(members).slices(column))


@given(st.frozensets(st.integers(1, LARGEST), min_size=1, max_size=20))
def test_what_a_range_set_writes_is_read_again(members):
    ranges = RangeSet.of(members)
    assert SequenceSet.parse(bytes(ranges)).resolve(1) == ranges


def test_a_set_has_a_bound() -> None:
    assert len(SequenceSet.parse(b"1," * (MOST_ITEMS - 1) + b"1").pairs) == MOST_ITEMS
    with pytest.raises(ValueError):
        SequenceSet.parse(b"1," * MOST_ITEMS + b"1")


def test_a_long_set_is_read_and_resolved_with_breaths_between() -> None:
    breaths: list[int] = []
    read = SequenceSet.parse(b"1,3,5," * 10_000 + b"7", lambda: breaths.append(1))
    once = len(breaths)
    read.resolve(9, lambda: breaths.append(1))
    assert once >= 10 and len(breaths) >= 3 * once
