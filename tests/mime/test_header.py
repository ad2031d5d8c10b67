"""Headers: fields, selections, parameters, dates."""

import random
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from imapd.mime import header
from imapd.mime.header import (
    Known,
    known_values,
    length_of_fields,
    parameters,
    parse_date,
    select,
    selector,
    split,
    unfold,
    wanted_values,
)

HEADER = (
    b"Received: from a\r\n\tby b\r\n"
    b"From: x@y\r\n"
    b"no field here\r\n"
    b"SUBJECT : Hello\r\n"
    b"  world\r\n"
    b"X-Empty:\r\n"
    b"from: second\r\n"
    b"\r\n"
)


def test_a_header_is_split_into_fields_as_they_stand():
    fields = split(HEADER + b"Body: this is none\r\n")
    assert [field.name for field in fields] == [b"Received", b"From", b"", b"SUBJECT", b"X-Empty", b"from"]
    assert fields[0].value == b" from a\r\n\tby b\r\n"
    assert fields[2].raw == b"no field here\r\n"
    assert b"".join(field.raw for field in fields) == HEADER[:-2]


@pytest.mark.parametrize(
    ("octets", "names"),
    [
        (b"", []),
        (b"\r\n", []),
        (b"\nA: b\n", []),
        (b"A: b", [b"A"]),
        (b"A: b\nB: c\n\nC: d\n", [b"A", b"B"]),
        (b" A: b\r\nB: c\r\n", [b"", b"B"]),
        (b"A: b\rB: c\r\n", [b"A"]),
        (b": empty\r\nA B: c\r\nA\x00: d\r\n", [b"", b"", b""]),
        (b"From someone Thu Mar 21 06:00:00 2024\r\nA: b\r\n", [b"", b"A"]),
        (b"\xff: 8 bits\r\n", [b"\xff"]),
    ],
)
def test_broken_headers_give_what_can_be_had(octets, names):
    assert [field.name for field in split(octets)] == names


def test_lines_of_a_long_header_are_whole():
    octets = b"".join(b"X-%d: %s\r\n" % (number, b"a" * (number % 300)) for number in range(2_000)) + b"\r\n"
    assert b"".join(header.lines(octets)) == octets[:-2]
    assert len(split(octets)) == 2_000
    huge = b"Subject: " + b"a" * 200_000 + b"\r\n" + b"To: b\r\n\r\n"
    assert [len(field.raw) for field in split(huge)] == [200_011, 7]


def test_a_header_is_looked_at_for_ten_megabytes():
    octets = b"A: b\r\n" * (header.MAX_HEADER // 6 + 1_000)
    assert sum(map(len, header.lines(octets))) <= header.MAX_HEADER


@pytest.mark.parametrize(
    ("names", "others", "expected"),
    [
        ([b"from"], False, b"From: x@y\r\nfrom: second\r\n\r\n"),
        ([b"Subject", b"RECEIVED"], False, b"Received: from a\r\n\tby b\r\nSUBJECT : Hello\r\n  world\r\n\r\n"),
        ([b"From", b"Received", b"Subject"], True, b"no field here\r\nX-Empty:\r\n\r\n"),
        ([b"X-Nothing"], False, b"\r\n"),
        ([], False, b"\r\n"),
    ],
)
def test_fields_are_selected_for_header_fields(names, others, expected):
    assert select(HEADER, names, others) == expected


def test_a_selection_ends_with_the_empty_line_even_if_the_header_does_not():
    assert select(b"A: b", [b"a"]) == b"A: b\r\n\r\n"


@pytest.mark.parametrize("spelling", [HEADER, HEADER.replace(b"\r\n", b"\n"), HEADER[:-2]])
def test_wanted_values_are_unfolded_and_in_order(spelling):
    values = wanted_values(spelling, {b"from", b"subject", b"x-empty", b"to"})
    assert values == {b"from": [b"x@y", b"second"], b"subject": [b"Hello  world"], b"x-empty": [b""]}


@pytest.mark.parametrize("seed", range(20))
def test_fields_known_beforehand_are_found_as_any_others_are(seed):
    chance = random.Random(seed)
    bits = (b"From", b"subject", b"SUBJECT", b"X-From", b":", b": ", b" :", b"a b", b" ", b"\t", b"\r", b"\0", b"\xff")
    ends = (b"\r\n", b"\n", b"\r\n ", b"\n\t", b"\r\r\n")
    known = Known.of({b"from", b"subject"})
    for _ in range(300):
        pieces = [chance.choice(ends if chance.random() < 0.3 else bits) for _ in range(chance.randrange(40))]
        octets = b"".join(pieces)
        octets = octets[: header_end(octets)]
        assert known_values(octets, known) == wanted_values(octets, known.names), octets
    long = b"From: a\r\n" + b"X-Filler: %b\r\n" % (b"a" * 70) * 1_000 + b"Subject: b\r\n\r\n"
    assert known_values(long, known) == {b"from": [b"a"], b"subject": [b"b"]}


@pytest.mark.parametrize("seed", range(20))
def test_a_selector_selects_as_ever(seed):
    chance = random.Random(seed)
    words = (b"From", b"subject", b"X.-^]y", b":", b": ", b" :", b"a", b" ", b"\t", b"\r", b"\0", b"\xff")
    ends = (b"\r\n", b"\r\n", b"\r\n ", b"\r\n\t", b"\r\r\n")
    sets = [
        {b"FROM"},
        {b"from", b"Subject", b"x.-^]y"},
        {b"a", b"from:"},
        {b""},
        {b"%d" % n for n in range(40)} | {b"a"},
    ]
    chosen = [selector(frozenset(names)) for names in sets]
    for _ in range(200):
        octets = b"".join(chance.choice(ends if chance.random() < 0.3 else words) for _ in range(chance.randrange(40)))
        octets = octets[: header_end(octets)]
        assert [each(octets) for each in chosen] == [select(octets, names) for names in sets], octets


def header_end(octets):
    """The place behind the first empty line, or the end."""
    return min([match.end() for match in re.finditer(rb"(?:\A|\n)\r?\n", octets)], default=len(octets))


@pytest.mark.parametrize("filler", [b"", b"X-Filler: " + b"a" * 100_000 + b"\r\n"])
def test_long_and_short_headers_give_the_same_values(filler):
    octets = filler + b"Subject: a\r\n \r\n\tb\r\nTo:\r\n c\r\n\r\nTo: body\r\n"
    assert wanted_values(octets, {b"subject", b"to"}) == {b"subject": [b"a \tb"], b"to": [b"c"]}


def test_values_are_unfolded():
    assert unfold(b" one\r\n two\r\n\tthree \r\n") == b"one two\tthree"


@pytest.mark.parametrize(
    ("octets", "length"),
    [(b"A: b\r\n c\r\nnone\r\nD: e\r\n", 10), (b"none\r\n", 0), (b" none\r\n", 0), (b"A: b\r\n\r\n", 8), (b"", 0)],
)
def test_the_fields_of_a_header_end_before_what_is_none(octets, length):
    assert length_of_fields(octets) == length


@pytest.mark.parametrize(
    ("value", "main", "found"),
    [
        (b"text/plain; charset=us-ascii", b"text/plain", [(b"charset", b"us-ascii")]),
        (b"text/plain; charset=us-ascii (Plain text)", b"text/plain", [(b"charset", b"us-ascii")]),
        (b'TEXT/Plain;Charset="us-\\"ascii"', b"TEXT/Plain", [(b"Charset", b'us-"ascii')]),
        (b"(c1)text(c2)/(c3)plain(c4);(c5)a(c6)=(c7)b (c8)", b"text", [(b"a", b"b")]),
        (b"text / plain ; a = b", b"text/plain", [(b"a", b"b")]),
        (b"multipart/mixed; boundary=a=b:c?d", b"multipart/mixed", [(b"boundary", b"a=b:c?d")]),
        (b'multipart/mixed; boundary="not closed', b"multipart/mixed", [(b"boundary", b"not closed")]),
        (b"multipart/mixed boundary=x", b"multipart/mixed", [(b"boundary", b"x")]),
        (b"text/plain; charset=utf-8 format=flowed", b"text/plain", [(b"charset", b"utf-8"), (b"format", b"flowed")]),
        (b"a/b; name=two words.pdf; x", b"a/b", [(b"name", b"two words.pdf")]),
        (b"a/b; name=report(1).pdf", b"a/b", [(b"name", b"report(1).pdf")]),
        (b"a/b;; ;x=1;;", b"a/b", [(b"x", b"1")]),
        (b"a/b; x=; y=2", b"a/b", [(b"x", b""), (b"y", b"2")]),
        (b'a/b; =1; x="1"2; y=3', b"a/b", [(b"x", b"1"), (b"y", b"3")]),
        (b"a/b; t*0*=utf-8''%c3%a4; t*1=b", b"a/b", [(b"t*0*", b"utf-8''%c3%a4"), (b"t*1", b"b")]),
        (b"attachment (note", b"attachment", []),
        (b"", b"", []),
        (b";;;(((\\", b"", []),
    ],
)
def test_parameters_are_read(value, main, found):
    assert parameters(value) == (main, tuple(found))


def test_parameters_have_a_limit():
    assert len(parameters(b"a/b" + b"; x*1=2" * 5_000)[1]) == 1_000


CET = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (b"Wed, 17 Jul 1996 02:23:25 -0700", datetime(1996, 7, 17, 2, 23, 25, tzinfo=timezone(timedelta(hours=-7)))),
        (b" Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n", datetime(1996, 7, 17, 9, 23, 25, tzinfo=UTC)),
        (b"17 Jul 1996 02:23 GMT", datetime(1996, 7, 17, 2, 23, tzinfo=UTC)),
        (b"7 May 95 16:21:03 EST", datetime(1995, 5, 7, 21, 21, 3, tzinfo=UTC)),
        (b"1 Jan 49 00:00:00 UT", datetime(2049, 1, 1, tzinfo=UTC)),
        (b"1 Jan 103 00:00:00 Z", datetime(2003, 1, 1, tzinfo=UTC)),
        (b"Thu (a (nested) comment), 1 (x) Feb 2024 (y) 10:00:60 +0100", datetime(2024, 2, 1, 10, 0, 59, tzinfo=CET)),
        (b"1 Feb 2024 10:00:00 -0000", datetime(2024, 2, 1, 10)),
        (b"1 Feb 2024 10:00:00 NOWHERE", datetime(2024, 2, 1, 10)),
        (b"1 Feb 2024", datetime(2024, 2, 1)),
        (b"1-February-2024 10.00.00 CET", datetime(2024, 2, 1, 10, tzinfo=CET)),
        (b"Thu Feb  1 10:00:00 2024", datetime(2024, 2, 1, 10)),
        (b"Thu Feb  1 10:00:00 CET 2024", datetime(2024, 2, 1, 10, tzinfo=CET)),
    ],
)
def test_dates_are_read(value, moment):
    found = parse_date(value)
    assert found == moment
    assert (found.tzinfo is None) == (moment.tzinfo is None)


@pytest.mark.parametrize(
    "value",
    [b"", b"yesterday", b"31 Feb 2024 10:00:00 +0100", b"1 Foo 2024 1:1:1", b"1 Jan 0000", b"(" * 5_000, b"\xff"],
)
def test_what_is_no_date_is_none(value):
    assert parse_date(value) is None
