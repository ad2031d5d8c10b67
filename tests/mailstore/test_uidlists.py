"""The UID lists of Dovecot and Courier: known answers, both ways, and what is made of broken ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.mailstore.uidlists import UidList, read_courier, read_dovecot, write_courier, write_dovecot

VERSION_1 = b"1 1275660208 25022\n25006 a,S=1\n25017 b\n"
VERSION_3 = b"3 V1275660208 N25022 G3085f01b\n25006 :a,S=1\n25017 W2481 P00:01 :b\n"


def test_version_1_is_the_same_for_both():
    listed = UidList(1275660208, 25022, {b"a,S=1": 25006, b"b": 25017})
    assert read_dovecot(VERSION_1) == read_courier(VERSION_1) == listed
    assert write_courier(listed) == VERSION_1


def test_version_3_keeps_what_we_do_not_know():
    listed = UidList(
        1275660208, 25022, {b"a,S=1": 25006, b"b": 25017}, b"G3085f01b", {b"b": b"W2481 P00:01"}
    )  # fmt: skip
    assert read_dovecot(VERSION_3) == listed
    assert write_dovecot(listed) == VERSION_3
    assert read_courier(VERSION_3) is None


@pytest.mark.parametrize(
    "header",
    [
        b"", b"\n", b"2 V1 N1", b"1 5", b"1 x 5", b"1 0 5", b"1 5 0", b"1 4294967296 5", b"3", b"3 V5", b"3 N5 G00",
        b"3 V0 N1", b"3 V1 N-1", b"3 V99999999999 N1", b"4 V1 N1", b"\0\0\0\0", b"3V1 N1",
    ],
)  # fmt: skip
def test_what_has_no_header_says_nothing(header):
    assert read_dovecot(header + b"\n1 :a\n") is None


def test_header_fields_stand_in_any_order():
    assert read_dovecot(b"3 Gff N7  V5 Xnew\n") == UidList(5, 7, {}, b"Gff Xnew")


# What stands below the header "3 V9 N100", and which UIDs and next UID are read from it.
TABLE = {
    "nothing": (b"", {}, 100),
    "names with flags of the time": (b"1 :a:2,FS\n2 :b,S=3,W=4:2,\n", {b"a": 1, b"b,S=3,W=4": 2}, 100),
    "appended lines leave the header behind": (b"99 :a\n120 :b\n", {b"a": 99, b"b": 120}, 121),
    "a bad line": (b"1 :a\nrubbish\n\0\0\0\n5 b\n6 9bad :c\n\n7 :\n8 :d/e\n9 :f\n", {b"a": 1, b"f": 9}, 100),
    "a line without its end": (b"1 :a\n2 :b", {b"a": 1}, 100),
    "numbers that are no UIDs": (b"0 :a\n4294967295 :b\n99999999999 :c\n4 :d\n-5 :e\n", {b"d": 4}, 100),
    "one number too high": (b"1 :a\n92 :b\n3 :c\n4 :d\n", {b"a": 1, b"c": 3, b"d": 4}, 100),
    "one number too high, beyond the header": (b"1 :a\n200 :b\n3 :c\n4 :d\n", {b"a": 1, b"c": 3, b"d": 4}, 201),
    "one number too low": (b"11 :a\n12 :b\n3 :c\n14 :d\n", {b"a": 11, b"b": 12, b"d": 14}, 100),
    "the same UID twice": (b"1 :a\n2 :b\n2 :c\n3 :d\n", {b"a": 1, b"c": 2, b"d": 3}, 100),
    "the same name twice": (b"1 :a\n2 :b\n7 :a\n", {b"b": 2, b"a": 7}, 100),
    "all of it twice": (b"1 :a\n2 :b\n1 :a\n2 :b\n", {b"a": 1, b"b": 2}, 100),
    "all of it backwards": (b"3 :a\n2 :b\n1 :c\n", {b"c": 1}, 100),
}


@pytest.mark.parametrize("what", TABLE)
def test_what_is_read(what):
    lines, uids, uidnext = TABLE[what]
    listed = read_dovecot(b"3 V9 N100\n" + lines)
    assert (listed.uidvalidity, listed.uids, listed.uidnext) == (9, uids, uidnext)
    assert listed.left_out == len(lines.split(b"\n")[:-1]) - len(uids)


names = st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & set(b"/:\n"))


@given(st.dictionaries(names, st.integers(1, 2**32 - 2)), st.integers(1, 2**32 - 1))
def test_what_is_written_is_read_again(uids, uidvalidity):
    uids = {name: uid for uid, name in {uid: name for name, uid in uids.items()}.items()}
    listed = UidList(uidvalidity, max(uids.values(), default=0) + 1, uids)
    assert read_dovecot(write_dovecot(listed)) == listed


@given(st.lists(st.integers(1, 30), max_size=12))
def test_the_choice_ascends_and_none_is_longer(numbers):
    lines = b"".join(b"%d :%d\n" % (uid, name) for name, uid in enumerate(numbers))
    chosen = list(read_dovecot(b"3 V1 N1\n" + lines).uids.values())
    assert chosen == sorted(set(chosen))
    longest = [0] * len(numbers)
    for place, number in enumerate(numbers):
        longest[place] = 1 + max([longest[i] for i in range(place) if numbers[i] < number], default=0)
    assert len(chosen) == max(longest, default=0)


@given(st.binary())
def test_nothing_makes_it_raise(data):
    for read in (read_dovecot, read_courier):
        read(data)
        listed = read(b"1 5 5\n" + data)
        assert listed is not None and listed.uidnext > max(listed.uids.values(), default=0)
