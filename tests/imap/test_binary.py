"""BINARY: parts without their transfer encoding."""

from base64 import b64encode, encodebytes
from dataclasses import replace

import pytest

from tests.support.talk import DEFAULT, Talk


def part(kind: bytes, encoding: bytes, body: bytes) -> bytes:
    return b"--cut\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s\r\n" % (kind, encoding, body)


MAIL = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=cut\r\n\r\n"
    + part(b"text/plain", b"quoted-printable", b"caf=C3=A9 =\r\nbar")
    + part(b"text/plain", b"base64", b64encode(b"one\ntwo\n"))
    + part(b"application/octet-stream", b"BASE64", b64encode(b"a\nb\xff"))
    + part(b"application/octet-stream", b"base64", b64encode(b"a\0b"))
    + part(b"text/plain", b"8bit", b"plain")
    + part(b"text/plain", b"x-unheard", b"what?")
    + part(b"message/rfc822", b"7bit", b"Subject: in\r\n\r\ninner")
    + b"--cut--\r\n"
)


class OctetTalk(Talk):
    """A client that takes each answer as one text in latin-1, as some of the octets here are no UTF-8."""

    def _collect(self) -> list[str]:
        said, self._out = b"".join(self._out), []
        return [said.decode("latin-1")]


@pytest.fixture
def talk() -> Talk:
    return Talk().login().append(MAIL, flags="(\\Seen)").select()


@pytest.mark.parametrize(
    ("item", "answer"),
    [
        ("BINARY[1]", "BINARY[1] {9}\r\ncafé bar".encode()),
        ("BINARY.PEEK[1]", "BINARY[1] {9}\r\ncafé bar".encode()),
        ("BINARY.SIZE[1]", b"BINARY.SIZE[1] 9"),
        ("BINARY[1]<6.2>", b"BINARY[1]<6> {2}\r\nba"),
        ("BINARY[1]<99.2>", b'BINARY[1]<99> ""'),
        ("BINARY[2]", b"BINARY[2] {10}\r\none\r\ntwo\r\n"),
        ("BINARY.SIZE[2]", b"BINARY.SIZE[2] 10"),
        ("BINARY[3]", b"BINARY[3] {4}\r\na\nb\xff"),
        ("BINARY[4]", b"BINARY[4] ~{3}\r\na\0b"),
        ("BINARY[5]", b"BINARY[5] {5}\r\nplain"),
        ("BINARY[7]", b"BINARY[7] {20}\r\nSubject: in\r\n\r\ninner"),
        ("BINARY[7.1]", b"BINARY[7.1] {5}\r\ninner"),
        ("BINARY[8]", b"BINARY[8] NIL"),
        ("BINARY.SIZE[8]", b"BINARY.SIZE[8] 0"),
        ("BINARY.SIZE[]", b"BINARY.SIZE[] %d" % len(MAIL)),
        ("BINARY[]<0.4>", b"BINARY[]<0> {4}\r\nMIME"),
    ],
)
def test_a_part_is_decoded(talk: Talk, item: str, answer: bytes) -> None:
    other = OctetTalk(store=talk.store, loop=talk.loop)
    for line in ("LOGIN alice secret", "EXAMINE INBOX"):
        other.say(f"a {line}")
    said = b"* 1 FETCH (%s)\r\na OK FETCH completed.\r\n" % answer
    assert other.say(f"a FETCH 1 {item}") == [said.decode("latin-1")]


@pytest.mark.parametrize("item", ["BINARY[6]", "BINARY.PEEK[6]", "BINARY.SIZE[6]"])
def test_an_unknown_encoding_fails_the_command(talk: Talk, item: str) -> None:
    assert talk.say(f"a FETCH 1 {item}") == ["a NO [UNKNOWN-CTE] The part has an encoding that is not known here."]


@pytest.mark.parametrize("item", ["BINARY", "BINARY[1.MIME]", "BINARY[TEXT]", "BINARY[1]<0.0>", "BINARY.SIZE[1]<0.5>"])
def test_what_is_no_binary_item_is_bad(talk: Talk, item: str) -> None:
    assert talk.say(f"a FETCH 1 {item}")[-1].startswith("a BAD")


def test_binary_sets_seen_and_peek_does_not() -> None:
    talk = Talk().login().append(MAIL).select()
    assert "FLAGS" not in talk.say("a FETCH 1 (BINARY.PEEK[5] BINARY.SIZE[5])")[0]
    assert talk.say("b FETCH 1 BINARY[5]")[1] == "plain FLAGS (\\Seen \\Recent))"


# --- large parts

TEXT = b"Gr\xfc\xdfe =3D\n" * 40_000
NUL = b"\0\n" + bytes(range(256)) * 2_000
LARGE = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=cut\r\n\r\n"
    + part(b"text/plain", b"base64", encodebytes(TEXT).replace(b"\n", b"\r\n"))
    + part(b"text/plain", b"base64", encodebytes(NUL).replace(b"\n", b"\r\n"))
    + part(b"application/octet-stream", b"base64", encodebytes(TEXT).replace(b"\n", b"\r\n"))
    + part(b"text/plain", b"x-unheard", b"what?\r\n" * 20_000)
    + b"--cut--\r\n"
)


@pytest.fixture(scope="module")
def large() -> Talk:
    first = Talk(settings=replace(DEFAULT, append_limit=10_000_000)).login().append(LARGE, flags="(\\Seen)")
    talk = OctetTalk(store=first.store, loop=first.loop)
    talk.say("a LOGIN alice secret")
    talk.say("b SELECT INBOX")
    return talk


@pytest.mark.parametrize(("path", "octets"), [(1, TEXT.replace(b"\n", b"\r\n")), (2, NUL), (3, TEXT)])
def test_a_large_part_is_decoded_in_pieces(large: Talk, path: int, octets: bytes) -> None:
    mark = "~" if b"\0" in octets else ""
    whole = octets.decode("latin-1")
    size = len(octets)
    (answer,) = large.say(f"a FETCH 1 BINARY.SIZE[{path}]")
    assert answer.startswith(f"* 1 FETCH (BINARY.SIZE[{path}] {size})")
    (answer,) = large.say(f"b FETCH 1 BINARY[{path}]")
    assert answer.startswith(f"* 1 FETCH (BINARY[{path}] {mark}{{{size}}}\r\n{whole})\r\n")
    (answer,) = large.say(f"c FETCH 1 BINARY[{path}]<100001.70000>")
    assert answer.startswith(f"* 1 FETCH (BINARY[{path}]<100001> {mark}{{70000}}\r\n{whole[100_001:170_001]})\r\n")


def test_a_large_part_of_an_unknown_encoding_is_refused(large: Talk) -> None:
    assert large.say("a FETCH 1 BINARY[4]")[0].startswith("a NO [UNKNOWN-CTE]")


def test_a_large_section_is_given_as_it_is(large: Talk) -> None:
    start = LARGE.index(b"\r\n\r\n", LARGE.index(b"octet-stream")) + 4
    end = LARGE.index(b"\r\n--cut", start)
    for answer, octets in (
        (large.say("a FETCH 1 BODY[3]"), LARGE[start:end]),
        (large.say("b FETCH 1 BODY[3]<70000.80000>"), LARGE[start + 70_000 : start + 150_000]),
        (large.say("c FETCH 1 BODY[TEXT]"), LARGE[LARGE.index(b"\r\n\r\n") + 4 :]),
    ):
        assert f"{{{len(octets)}}}\r\n{octets.decode('latin-1')})\r\n" in answer[0]


def test_an_answer_that_would_fill_the_memory_is_refused() -> None:
    message = b"X: " + b"x" * 900_000 + b"\r\n\r\nx\r\n"
    talk = Talk(settings=replace(DEFAULT, append_limit=10_000_000)).login().append(message).select()
    items = " ".join(f"BODY.PEEK[HEADER.FIELDS (X Y{number})]" for number in range(50))
    assert talk.say(f"a FETCH 1 ({items})")[-1].startswith("a NO [LIMIT]")
    assert talk.say("b NOOP") == ["b OK NOOP completed."]
