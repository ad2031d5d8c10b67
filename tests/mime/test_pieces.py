"""What is taken apart in pieces is what is taken apart whole."""

import base64
import binascii
import quopri
import random

import pytest

from imapd.mime import pieces
from imapd.mime.parser import parse
from imapd.mime.text import UnknownEncoding, body_texts, decode_charset, decode_transfer, html_text
from tests.mime.mails import mails

RANDOM = random.Random(4)  # noqa: S311 - no secret
OCTETS = RANDOM.randbytes(200_000)


def cut(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


BASE64 = {
    "in lines": base64.encodebytes(OCTETS),
    "with CRLF": base64.encodebytes(OCTETS).replace(b"\n", b"\r\n"),
    "with one octet of padding": base64.encodebytes(OCTETS[:-1]),
    "without its padding": base64.b64encode(OCTETS).rstrip(b"="),
    "with something behind it": base64.encodebytes(OCTETS[:1001]) + base64.encodebytes(OCTETS[:100]),
    "with padding in the midst": b"QUI=\r\nQUJD\r\nQUJ",
    "with padding where none is": b"Q=U=J=D=QUJD" * 100,
    "with strange characters": b"Q-U?JDQ\xffUJD" * 999,
    "of nothing": b"",
    "of one character": b"Q",
}


@pytest.mark.parametrize("size", [1, 3, 76, 4_096, 65_536])
@pytest.mark.parametrize("name", sorted(BASE64))
def test_base64(name, size):
    data = BASE64[name] if size > 3 else BASE64[name][:3_000]
    assert b"".join(pieces.decoded(cut(data, size), b"Base64 ")) == decode_transfer(data, b"base64")


@pytest.mark.parametrize("size", [1, 2, 77, 65_536])
@pytest.mark.parametrize(
    "data",
    [quopri.encodestring(OCTETS[:5_000]), b"soft =\r\nbreak=20\r\nend=", b"=3D=3d=\n=4", b"", b"no line end =C3=BC"],
)
def test_quoted_printable(data, size):
    assert b"".join(pieces.decoded(cut(data, size), b"quoted-printable")) == binascii.a2b_qp(data)


def test_quoted_printable_without_line_ends_is_cut_between_escapes():
    data = b"=C3=BC" * 100_000
    found = list(pieces.decoded(pieces.slices(data), b"quoted-printable"))
    assert b"".join(found) == "ü".encode() * 100_000 and len(found) > 5


def test_an_unknown_encoding_is_said_before_anything_is_read():
    with pytest.raises(UnknownEncoding):
        pieces.decoded(iter([]), b"x-uuencode")


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_line_ends(size):
    data = b"a\nb\r\nc\rd\r\r\n\n\r"
    assert b"".join(pieces.with_crlf(cut(data, size))) == b"a\r\nb\r\nc\r\nd\r\n\r\n\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize(
    ("data", "charset"),
    [
        ("Größe 鍵 𝄞\n".encode() * 20, None),
        ("Größe 鍵\n".encode() * 20, b"utf-8"),
        ("Größe\n".encode("latin-1"), None),
        ("Größe\n".encode("latin-1"), b"iso-8859-1"),
        ("門の鍵\n".encode("iso-2022-jp") * 20, b"ISO-2022-JP"),
        ("門の鍵\n".encode("utf-16") * 20, b"utf-16"),
        (b"half \xc3", None),
        (b"half \xc3", b"utf-8"),
        (b"x\xff\xfe", b"never-heard-of"),
        (b"", b"utf-8"),
    ],
)
def test_charsets(data, charset, size):
    assert "".join(pieces.as_text(cut(data, size), charset)) == decode_charset(data, charset)


@pytest.mark.parametrize("size", [1, 5, 300])
def test_windows_are_the_text_and_end_behind_blanks(size):
    text = "e\u0301tude and\nmore " * 30 + "end"
    found = list(pieces.windows(cut(text, size)))
    assert "".join(found) == text
    assert all(window[-1] in "\n " for window in found[:-1])


@pytest.mark.parametrize("size", [1, 5, 300])
def test_html(size):
    text = "<p>Key &amp; <b>lo</b>ck 1 < 2</p " + "<i>a</i>&lt;" * 50
    assert "".join(pieces.without_tags(cut(text, size))) == html_text(text)


def test_ten_megabytes_of_anything_take_no_time_in_one_step():
    for data in (b"<" * 10_000_000, b"&" * 10_000_000, b"x" * 10_000_000):
        texts = pieces.as_text(pieces.slices(data), b"utf-8")
        assert max(map(len, pieces.without_tags(texts))) <= 5 * pieces.PIECE


@pytest.mark.parametrize("name", sorted(dict(mails())))
def test_the_texts_of_a_body_are_those_of_the_whole(name):
    message = dict(mails())[name]
    root = parse(message)
    found = ["".join(windows) for windows in pieces.body_texts(root, message)]
    missing = [text for text in body_texts(root, message) if text not in found]
    assert missing == []
