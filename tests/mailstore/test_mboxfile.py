"""Splitting an mbox into messages, and the fields in it that are no part of them."""

import os
import random
import re
import time

import pytest

from imapd.mailstore import mboxfile
from imapd.mailstore.mboxfile import Scan, date_of, is_from_line, read_head
from imapd.mailstore.mboxheader import Base, Wanted, fields, kept, parse, patches
from imapd.mailstore.mboxusual import HEADER_LIMIT
from tests.conftest import CORPUS
from tests.fuzz.fuzz_mbox import SEEDS, check, mutate

FROM = b"From ann@example.org Mon Nov 23 10:00:00 2026\n"
HEAD = b"Subject: one\nFrom: ann@example.org\n\n"


@pytest.fixture
def split(tmp_path):
    """The texts of the messages that octets hold, as they are read."""

    def texts(data: bytes) -> list[bytes]:
        path = tmp_path / "mbox"
        path.write_bytes(data)
        fd = os.open(path, os.O_RDONLY)
        try:
            return [
                found.head.text() + data[found.text + len(found.head.octets) : found.end]
                for found in Scan(fd, 0, len(data))
            ]
        finally:
            os.close(fd)

    return texts


FROM_LINES = [
    b"From ann@example.org Mon Nov 23 10:00:00 2026",
    b"From ann@example.org  Mon Nov  3 10:00:00 2026",
    b"From ann Mon Nov 23 10:00 2026",
    b"From MAILER-DAEMON Mon Nov 23 10:00:00 CET 2026",
    b"From ann Mon Nov 23 10:00:00 MET DST 2026",
    b"From ann Mon Nov 23 10:00:00 2026 +0100",
    b"From 1844347792267117879@xxx Mon Oct 06 16:36:14 +0000 2025",
    b"From ann@example.org Mon, 23 Nov 2026 10:00:00 +0100",
    b"From ann 23-Nov-2026 10:00:00 +0100",
    b"From ann@host Mon Nov 23 10:00:00 2026 remote from uuhost",
    b"From ???@??? Mon Nov 23 10:00:00 2026",
    b"From - Mon Nov 23 10:00:00 2026",
    b"From - ",
    b"From -\r",
    b"From \"a b\"@example.org Mon Nov 23 10:00:00 2026\r",
    b"From  Mon Nov 23 10:00:00 2026",
]  # fmt: skip
NO_FROM_LINES = [
    b"From Russia with love",
    b"From my point of view, Nov 23 was fine",
    b"From - and to",
    b"From here to 2026",
    b"From 10:00:00 on",
    b"From x Mon Nov 23 10:00:00 20261",
    b"From " + b"x" * 2_000 + b" Mon Nov 23 10:00:00 2026",
]


@pytest.mark.parametrize("line", FROM_LINES)
def test_a_line_with_a_date_is_a_from_line_in_every_dialect(line, split):
    assert is_from_line(line)
    assert split(FROM + HEAD + b"one\n\n" + line + b"\n" + HEAD + b"two\n") == [HEAD + b"one\n", HEAD + b"two\n"]


@pytest.mark.parametrize("line", NO_FROM_LINES)
def test_prose_that_begins_with_from_is_prose(line, split):
    text = HEAD + b"one\n\n" + line + b"\nand more\n"
    assert not is_from_line(line)
    assert split(FROM + text + b"\n" + FROM + HEAD) == [text, HEAD]


def test_a_date_alone_makes_no_from_line_in_the_middle_of_a_paragraph(split):
    text = HEAD + b"He wrote:\nFrom ann Mon Nov 23 10:00:00 2026\nand so on\n"
    assert split(FROM + text) == [text]


def test_a_from_line_needs_no_blank_line_where_a_header_follows(split):
    assert split(FROM + HEAD + b"one\n" + FROM + HEAD + b"two\n") == [HEAD + b"one\n", HEAD + b"two\n"]


def test_an_address_without_date_is_a_from_line_between_a_blank_line_and_a_header(split):
    assert split(FROM + HEAD + b"one\n\nFrom 18@xxx\n" + HEAD) == [HEAD + b"one\n", HEAD]
    text = HEAD + b"one\n\nFrom 18@xxx\nprose\n"
    assert split(FROM + text) == [text]


def test_content_length_carries_over_a_from_line_in_the_body(split):
    body = b"one\n\n" + FROM + HEAD + b"forwarded\n"
    head = HEAD[:-1] + b"Content-Length: %d\n\n" % len(body)
    assert split(FROM + head + body + b"\n" + FROM + HEAD + b"two\n") == [HEAD + body, HEAD + b"two\n"]
    assert split(FROM + head + body) == [HEAD + body]


@pytest.mark.parametrize("length", [0, 3, 7, 1_000_000])
def test_a_content_length_that_points_nowhere_is_not_believed(length, split):
    head = HEAD[:-1] + b"Content-Length: %d\n\n" % length
    assert split(FROM + head + b"one two\n\n" + FROM + HEAD + b"two\n") == [HEAD + b"one two\n", HEAD + b"two\n"]


def test_content_length_tells_a_text_without_line_end(split):
    head = HEAD[:-1] + b"Content-Length: 3\n\n"
    assert split(FROM + head + b"one\n" + FROM + HEAD + b"two\n") == [HEAD + b"one", HEAD + b"two\n"]


def test_quoted_from_lines_stay_quoted(split):
    text = HEAD + b"one\n\n>From me\n>>From you\n"
    assert split(FROM + text + b"\n") == [text]


def test_a_header_without_body_ends_with_its_blank_line(split):
    assert split(FROM + b"Subject: x\n\n" + FROM + HEAD) == [b"Subject: x\n\n", HEAD]
    assert split(FROM + b"Subject: x\n" + FROM + HEAD) == [b"Subject: x\n", HEAD]
    assert split(FROM + b"Subject: x\n\n\n" + FROM + HEAD) == [b"Subject: x\n\n", HEAD]


def test_line_ends_may_be_crlf(split):
    one = FROM + HEAD + b"one\n\n" + FROM + HEAD + b"two\n\n"
    crlf = [text.replace(b"\n", b"\r\n") for text in (HEAD + b"one\n", HEAD + b"two\n")]
    assert split(one.replace(b"\n", b"\r\n")) == crlf


def test_what_is_no_mbox_is_one_message(split):
    assert split(b"just\n\ntext\n") == [b"just\n\ntext\n"]
    assert split(b"junk\n\n" + FROM + HEAD) == [b"junk\n\n", HEAD]
    assert split(b"") == []


def test_messages_are_found_across_pieces(split, monkeypatch):
    texts = [HEAD + b"%d %s\n" % (number, b"x" * (number * 37 % 500)) for number in range(300)]
    data = b"".join([FROM + text + b"\n" for text in texts])
    for piece in (1_200, 1_201, 5_000, 64_000):
        monkeypatch.setattr(mboxfile, "PIECE", piece)
        assert split(data) == texts


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real mail is not beside the checkout")
@pytest.mark.parametrize(("name", "count"), [("content-length", 29), ("issue1189", 4), ("simple", 3), ("unmunged", 2)])
def test_real_mailboxes_are_split_where_their_programs_meant_it(name, count):
    data = (CORPUS / "mbox" / f"{name}.mbox").read_bytes()
    starts = [match.start() for match in re.finditer(rb"(?m)^(?:\xef\xbb\xbf)?From (?:-|\d)", data)]
    with open(CORPUS / "mbox" / f"{name}.mbox", "rb") as file:
        found = list(Scan(file.fileno(), 0, len(data)))
    assert [message.offset for message in found] == starts
    assert len(starts) == count
    check(data)


def test_the_size_is_that_on_the_wire(tmp_path):
    path = tmp_path / "mbox"
    texts = [HEAD + b"one\n", HEAD + b"a\r\nb\n\r\rc\n", HEAD.replace(b"\n", b"\r\n") + b"x\n"]
    path.write_bytes(b"".join([FROM + b"Status: RO\n" + text + b"\n" for text in texts]))
    with open(path, "rb") as file:
        sizes = [found.size for found in Scan(file.fileno(), 0, path.stat().st_size)]
    wires = [re.sub(rb"(?<!\r)\n", b"\r\n", text) for text in texts]
    assert sizes == [len(wire) for wire in wires]


def test_dates_of_from_lines():
    local = int(time.mktime((2026, 11, 23, 10, 0, 0, 0, 0, -1)))
    assert date_of(FROM) == local
    assert date_of(b"From a Mon Nov 23 10:00:00 2026 +0100") == 1795424400
    assert date_of(b"From a Mon, 23 Nov 2026 10:00:00 +0100") == 1795424400
    assert date_of(b"From a Mon Nov 23 10:00:00 GMT 2026") == 1795428000
    for clock in (b"10:00:00", b"00:00:59", b"23:59:60", b"24:00:00", b"99:99:99"):
        line = b"From a Mon Mar  1 %s 2027" % clock
        assert date_of(line + b"\n") == date_of(line)
    assert date_of(b"From -") is None
    assert date_of(b"From a Mon Nov 99 10:00:00 99999") is None


# The fields


def test_fields_are_hidden_where_they_have_the_shape_of_one():
    octets = b"Status: RO\nX-Status: A   \nSubject: x\nX-UID: 7   \nStatus: Open\nX-Keywords: a $b\nLines: 3\n\n"
    head = parse(octets)
    assert head.text() == b"Subject: x\nStatus: Open\nLines: 3\n\n"
    assert (head.letters.replace(b" ", b""), head.uid, head.keywords) == (b"ROA", 7, ("a", "$b"))


def test_lines_belongs_to_the_content_length_before_it():
    assert parse(b"Subject: x\nContent-Length: 3\nLines: 1\n\n").text() == b"Subject: x\n\n"
    assert parse(b"Lines: 1\nContent-Length: 3\n\n").text() == b"Lines: 1\n\n"


def test_what_a_client_writes_comes_back():
    text = b"Status: RO\nFrom nobody\nSubject: x\ncontent-length: 5\nX-IMAPD-KEPT: y\nX-Imapd-Cut: 1\n\n"
    octets = fields(Wanted(b"RA", ["Work"], 3), 0) + kept(text)
    assert parse(octets).text() == text
    assert parse(fields(Wanted(b"", [], 4), 9) + parse(octets).bare).text() == text
    assert not re.search(rb"^From ", octets, re.MULTILINE)


def test_a_field_lines_at_the_beginning_is_text_under_our_fields():
    text = b"Lines: 3\nSubject: x\n\n"
    assert parse(fields(Wanted(b"", [], 1), 5) + text).text() == text


@pytest.mark.parametrize("cut", [1, 2])
def test_a_header_without_its_end_comes_back(cut):
    assert parse(fields(Wanted(b"", [], 1), 0, cut) + b"Subject: x\n\n").text() == b"Subject: x\n\n"[:-cut]


def test_fields_are_rewritten_in_place():
    head = parse(fields(Wanted(b"", [], 3), 5, base=Base(1, 3, ())) + HEAD)
    octets = bytearray(head.octets)
    wanted = Wanted(b"ROAFDT", ["Work", "$Forwarded"], 4_000_000_000)
    written = patches(head, wanted, Base(2, 4_000_000_000, ("Work",)))
    assert written
    for offset, value in written:
        octets[offset : offset + len(value)] = value
    again = parse(bytes(octets))
    assert len(again.octets) == len(head.octets)
    assert again.text() == HEAD
    assert sorted(again.letters.replace(b" ", b"")) == sorted(b"ROAFDT")
    assert (again.uid, again.keywords) == (4_000_000_000, ("Work", "$Forwarded"))
    assert again.base == Base(2, 4_000_000_000, ("Work",))
    assert patches(again, wanted, Base(2, 4_000_000_000, ("Work",))) == []


def test_without_room_there_is_no_patch():
    assert patches(parse(HEAD), Wanted(b"R", [], 1)) is None
    assert patches(parse(HEAD), Wanted(b"", [], 1)) == []
    assert patches(parse(b"Status: O\n" + HEAD), Wanted(b"RO", [], 1)) is None
    assert patches(parse(fields(Wanted(b"", [], 3), 5) + HEAD), Wanted(b"", ["k" * 41], 3)) is None


def test_a_fingerprint_does_not_move_with_flags():
    plain, flagged = parse(HEAD), parse(fields(Wanted(b"RO", [], 3), 5) + HEAD)
    assert plain.fingerprint(FROM, 5) == flagged.fingerprint(FROM, 5)
    assert plain.fingerprint(FROM, 5) == parse(HEAD[:-1] + b"Lines: 4\n\n").fingerprint(FROM, 5)
    others = {plain.fingerprint(FROM, 6), plain.fingerprint(FROM + b"x", 5), parse(b"x" + HEAD).fingerprint(FROM, 5)}
    assert plain.fingerprint(FROM, 5) not in others


def test_the_pseudo_message_of_uw_imapd():
    octets = (
        b"Date: 23 Nov 2026 10:00:00 +0000\nFrom: Mail System Internal Data <MAILER-DAEMON@mx>\n"
        b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1000000000 0000000017 Work $Junk\n"
        b"Status: RO\n\n"
    )
    assert parse(octets).is_pseudo
    assert parse(octets).base == Base(1000000000, 17, ("Work", "$Junk"))
    assert not parse(octets.replace(b"X-IMAP:", b"X-IMAPbase:")).is_pseudo


def test_a_head_is_read_as_the_scan_read_it(tmp_path):
    path = tmp_path / "mbox"
    long = b"".join([b"X-%d: %s\n" % (number, b"x" * 900) for number in range(1_300)])
    path.write_bytes(b"\n" + FROM + HEAD + b"one\n\n" + FROM + long[:40_000] + b"\n\n" + FROM + long + b"\n" + b"b")
    with open(path, "rb") as file:
        found = list(Scan(file.fileno(), 0, path.stat().st_size))
        assert len(found) == 3
        assert len(found[2].head.octets) == HEADER_LIMIT
        for message in found:
            assert read_head(file.fileno(), message.offset, message.octets) == (message.from_line, message.head)


# Any octets


@pytest.mark.parametrize("seed", range(300))
def test_any_octets_are_covered_in_linear_time(seed):
    choose = random.Random(seed)
    check(mutate(choose, choose.choice(SEEDS)))


def nothing_usual(data, at, base, has_cr):
    yield from ()
    return at


@pytest.mark.parametrize("seed", range(100))
def test_usual_messages_are_what_the_rules_make_of_them(seed, tmp_path, monkeypatch):
    usual = FROM + HEAD + b"Text.\n\n"
    odd = (
        b"From here on\n", FROM, b"Text.\r\n", FROM + b"Content-Length: 3\n\nFrom\n\n", FROM + b"\n\n",
        FROM + b"Content-Length: 6\nLines: 1\n\nText.\n\n", FROM + b"X-Imapd-Kept: Status: R\nLines: 2\n\n\n",
        FROM + b"X-Imapd-Cut: 1\nContent-Length: 0\n\n\n", b"From a Mon Nov 23 10:00:00 2026 +0100\n", b"\nFrom x\n",
        FROM + b"Status: RO\n X\nA: b\n" + FROM + b"\n", FROM + b"Content-Length: 80\n\n\n" + usual,
    )  # fmt: skip
    chance = random.Random(seed)
    data = b"".join(
        [chance.choice((usual, chance.choice(odd), mutate(chance, chance.choice(SEEDS))[:200])) for _ in range(200)]
    )
    path = tmp_path / "mbox"
    path.write_bytes(data)
    monkeypatch.setattr(mboxfile, "PIECE", 500)
    with open(path, "rb") as file:
        found = list(Scan(file.fileno(), 0, len(data)))
        monkeypatch.setattr(mboxfile, "usual", nothing_usual)
        assert list(Scan(file.fileno(), 0, len(data))) == found


def test_hostile_files_take_linear_time():
    for unit in (
        b"\nFrom ", b"\nFrom x\n\n", FROM, FROM + b"\n", b"\n\n", b"\r\n", FROM.replace(b"\n", b"\r\n") + b"a\r\n",
        FROM + b"Content-Length: 90\n\n", FROM + b"Content-Length: 99999\n\n", b"From " + b"Nov " * 20,
        FROM + b"X-UID: 1\n" * 10, b"Status: R\n ", FROM + b"X-Keywords: " + b"a\n b " * 50 + b"@\n", b"x" * 50 + b"\n\r",
    ):  # fmt: skip
        check(unit * (300_000 // len(unit)))
