"""Mailbox names: spelled, read, refused, and matched as LIST does."""

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.model.names import (
    BadName,
    Pattern,
    ancestors,
    canonical,
    check_new,
    decode_pattern,
    decode_wire,
    encode_wire,
    is_below,
    parent,
)

KNOWN = [
    ("Drafts", b"Drafts"),
    ("R&D", b"R&-D"),
    ("&&", b"&-&-"),
    ("Entwürfe", b"Entw&APw-rfe"),
    ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
    ("ä&ö", b"&AOQ-&-&APY-"),
    ("😀", b"&2D3eAA-"),
    ("a\tb\x7f", b"a&AAk-b&AH8-"),
    ("☺!", b"&Jjo-!"),
    ("", b""),
    ('say "no" \\ +', b'say "no" \\ +'),
]

# Shifts that do not end, odd bits, half surrogates, letters that stand for themselves, shifts that are not needed.
BAD_UTF7 = [b"&", b"&Jjo!", b"&Jjo", b"R&D", b"&AOQ", b"&AGE-", b"&AOQ-&APY-", b"&2D0-", b"&3gA-", b"&AP-", b"&AOR-"]
BAD_UTF7 += [b"&AOQ=-", b"&AOQ/-", b"&\xc3\xa4-", b"&A-", b"&AAA-"]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(
    lambda text: canonical(unicodedata.normalize("NFC", text))
)
segments = st.text(alphabet="ab/&ä", max_size=12)
patterns = st.text(alphabet="ab/%*ä", max_size=10)


@pytest.mark.parametrize(("name", "wire"), KNOWN)
def test_a_name_is_spelled_in_modified_utf7_and_read_again(name, wire):
    assert encode_wire(name, utf8=False) == wire
    assert decode_wire(wire, utf8=False) == name


@given(texts, st.booleans())
def test_any_name_comes_back_from_the_wire(name, utf8):
    assert decode_wire(encode_wire(name, utf8), utf8) == name


@given(texts)
def test_modified_utf7_is_printable_ascii(name):
    assert re.fullmatch(rb"[ -~]*", encode_wire(name, utf8=False))


@given(st.binary(max_size=30) | st.text(alphabet="&-AOQ,+ab", max_size=12).map(str.encode), st.booleans())
def test_only_bad_name_comes_out_of_any_octets(raw, utf8):
    try:
        name = decode_wire(raw, utf8)
    except BadName:
        return
    assert decode_wire(encode_wire(name, utf8), utf8) == name


@pytest.mark.parametrize("raw", BAD_UTF7)
def test_bad_utf7_is_refused(raw):
    with pytest.raises(BadName):
        decode_wire(raw, utf8=False)


@pytest.mark.parametrize("raw", [b"\xff", b"a\0b", b"\xed\xa0\x80"])
def test_what_is_not_text_is_refused(raw):
    for utf8 in (False, True):
        with pytest.raises(BadName):
            decode_wire(raw, utf8)


def test_a_name_longer_than_any_path_is_not_looked_at():
    marks = "a" + "\u0315\u0300" * 1_000_000
    began = time.perf_counter()
    for raw in (marks.encode(), b"a" * 1_000_000):
        with pytest.raises(BadName, match="long"):
            decode_wire(raw, utf8=True)
    decode_wire(marks[:4_000].encode(), utf8=True)
    assert time.perf_counter() - began < 10


def test_raw_utf8_is_read_whether_it_was_asked_for_or_not():
    assert decode_wire("Entwürfe".encode(), utf8=False) == "Entwürfe"
    assert decode_wire("Entwürfe&-".encode(), utf8=False) == "Entwürfe&"
    assert decode_wire(b"R&D", utf8=True) == "R&D"
    assert encode_wire("Entwürfe", utf8=True) == "Entwürfe".encode()


def test_names_are_in_nfc():
    assert decode_wire("u\u0308".encode(), utf8=True) == "ü"


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"inbox", "INBOX"),
        (b"InBox/x", "INBOX/x"),
        (b"inbox/inbox", "INBOX/inbox"),
        (b"inboxes", "inboxes"),
        (b"a/inbox", "a/inbox"),
        ("ınbox".encode(), "ınbox"),
    ],
)
def test_inbox_is_known_in_any_case_as_the_first_level(raw, name):
    assert decode_wire(raw, utf8=False) == name


def test_a_pattern_keeps_the_case_of_inbox():
    assert decode_pattern(b"inbox", utf8=False) == "inbox"
    assert decode_pattern(b"&AOQ-%*", utf8=False) == "ä%*"


NEW = ["a", "INBOX/x", "Entwürfe", "a.b", "...", "R&D", "a/b/c", "/".join("a" * 20), "a" * 200, "~x", "#x", "ä" * 74]
NOT_NEW = ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a%", "*", "a\nb", "a\x7f", "\u2028", "a\x85"]
NOT_NEW += ["a" * 201, "ä" * 75, "/".join("a" * 21), "/".join(["a" * 199] * 6)]


@pytest.mark.parametrize("name", NEW)
def test_a_new_name_may_be(name):
    check_new(name)


@pytest.mark.parametrize("name", NOT_NEW)
def test_a_new_name_may_not_be(name):
    with pytest.raises(BadName) as refusal:
        check_new(name)
    assert str(refusal.value)[0].isupper()


def test_names_make_a_tree():
    assert parent("a/b/c") == "a/b" and parent("a") is None
    assert ancestors("a/b/c") == ("a", "a/b") and ancestors("a") == ()
    assert is_below("a/b/c", "a") and is_below("a/b", "a")
    assert not is_below("ab", "a") and not is_below("a", "a")


MATCHES = [
    ("", "*", "a/b", True),
    ("", "%", "a", True),
    ("", "%", "a/b", False),
    ("", "a/%", "a/b", True),
    ("", "a/%", "a", False),
    ("", "a*", "a/b/c", True),
    ("", "%/b", "a/b", True),
    ("", "*b", "a/b/b", True),
    ("", "%b", "a/b", False),
    ("", "%%", "abc", True),
    ("", "*%", "a/b", True),
    ("", "%*%", "", True),
    ("", "", "", True),
    ("", "", "a", False),
    ("a/", "%", "a/b", True),
    ("a/", "%", "b", False),
    ("", "inbox", "INBOX", True),
    ("", "iNb%", "INBOX", True),
    ("", "inbox/%", "INBOX/x", True),
    ("", "INBOX/X", "INBOX/x", False),
    ("in", "box", "INBOX", True),
    ("", "ARCHIVE", "archive", False),
    ("", "inboxes", "INBOXES", False),
    ("", "*x", "INBOX", True),
    ("", "[a]", "a", False),
    ("", "a.c", "abc", False),
]


@pytest.mark.parametrize(("reference", "pattern", "name", "matches"), MATCHES)
def test_a_pattern_matches(reference, pattern, name, matches):
    assert Pattern(reference, pattern).matches(name) is matches


def reference_match(pattern: str, name: str) -> bool:
    """The meaning of a pattern, said as simply as can be."""
    regular = "".join({"*": ".*", "%": "[^/]*"}.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(regular, name, re.DOTALL) is not None


@given(patterns, patterns, segments)
def test_a_pattern_means_what_a_regular_expression_says(reference, pattern, name):
    assert Pattern(reference, pattern).matches(name) is reference_match(reference + pattern, name)


@given(patterns, segments)
def test_parents_that_match_are_the_ancestors_that_match(pattern, name):
    asked = Pattern("", pattern)
    assert asked.matches_parent_of(name) == tuple(above for above in ancestors(name) if asked.matches(above))


def test_lsub_learns_of_the_parent_of_a_subscribed_name():
    assert Pattern("", "%").matches_parent_of("a/b/c") == ("a",)
    assert Pattern("", "%/%").matches_parent_of("a/b/c") == ("a/b",)


def test_no_pattern_takes_long():
    began = time.perf_counter()
    for pattern in ("*a" * 400 + "b", "%a" * 400 + "b", "*%" * 4_000 + "b", "%a*" * 300 + "/b"):
        assert not Pattern("", pattern).matches("a" * 1_000)
    assert time.perf_counter() - began < 10
