"""Decoded text of headers and bodies, for SEARCH: transfer encodings, charsets, encoded words.

Mail says what it is encoded in, and is often wrong. Here everything comes out as some text: broken base64 gives what
can be decoded, unknown charsets are read as UTF-8 or else Windows Latin, what does not decode becomes U+FFFD. Only
`decode_transfer`, for callers that must not guess, raises: UnknownEncoding.

Charset names come from strangers. Only names that are known here reach Python's codecs: looking up any other is
remembered there for ever, and a few codecs (idna, punycode) take quadratic time.
"""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Callable, Iterator
from encodings.aliases import aliases
from typing import Final, TypeVar

from imapd.mime.header import Parameters, unfold, values
from imapd.mime.parts import Part, walk

Text = TypeVar("Text")


class UnknownEncoding(ValueError):
    """A Content-Transfer-Encoding that nobody here can take off (IMAP: UNKNOWN-CTE)."""


# Transfer encodings (RFC 2045 section 6).

NOT_BASE64: Final = bytes(
    octet for octet in range(256) if octet not in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
)


def decode_transfer(data: bytes, encoding: bytes) -> bytes:
    """The octets without their transfer encoding, as well as they can be had. Raises UnknownEncoding."""
    decode = _DECODERS.get(encoding.strip().lower())
    if decode is None:
        raise UnknownEncoding(encoding.decode("ascii", "replace"))
    return decode(data)


def decode_base64(data: bytes) -> bytes:
    """The octets of base64, as well as they can be had."""
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        runs = data.translate(None, NOT_BASE64).split(b"=")
        return b"".join(_base64_run(run) for run in runs if run)


def _base64_run(run: bytes) -> bytes:
    """Decode characters of the alphabet only; one that is left over carries no octet."""
    if len(run) % 4 == 1:
        run = run[:-1]
    return binascii.a2b_base64(run + b"=" * (-len(run) % 4))


_DECODERS: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"": bytes,
    b"7bit": bytes,
    b"8bit": bytes,
    b"binary": bytes,
    b"base64": decode_base64,
    b"quoted-printable": binascii.a2b_qp,
}


# Charsets.

_OWN_NAMES: Final = {
    # What is sent under a smaller charset's name is often its larger brother; it is never wrong to read it so.
    "iso_8859_1": "cp1252", "latin_1": "cp1252", "latin1": "cp1252", "l1": "cp1252", "iso8859_1": "cp1252",
    "gb2312": "gb18030", "gbk": "gb18030", "gb_2312_80": "gb18030", "x_gbk": "gb18030",
    "shift_jis": "cp932", "sjis": "cp932", "x_sjis": "cp932", "ms_kanji": "cp932",
    "euc_kr": "cp949", "ks_c_5601_1987": "cp949", "ks_c_5601": "cp949", "ksc5601": "cp949", "x_windows_949": "cp949",
    "big5": "big5hkscs", "x_x_big5": "big5hkscs", "iso_8859_9": "cp1254", "iso_8859_11": "cp874", "tis_620": "cp874",
    "windows_874": "cp874", "iso_8859_8_i": "iso8859_8", "iso_8859_8_e": "iso8859_8", "koi8_u": "koi8_u",
    "koi8_ru": "koi8_u", "unicode_1_1_utf_7": "utf_7", "x_mac_roman": "mac_roman", "x_mac_cyrillic": "mac_cyrillic",
    "utf8mb4": "utf_8", "unicode": "utf_16", "cp874": "cp874", "x_euc_jp": "euc_jp",
}  # fmt: skip
_NO_TEXT: Final = frozenset(
    ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem", "ascii",
     "base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec")
)  # fmt: skip
_CODECS: Final = {
    **{codec: codec for codec in aliases.values() if codec not in _NO_TEXT},
    **{name: codec for name, codec in aliases.items() if codec not in _NO_TEXT},
    **_OWN_NAMES,
}
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]++")


def codec_of(charset: bytes) -> str | None:
    """Python's name of a charset; None where it is not known here, or US-ASCII."""
    return _CODECS.get(_NOT_IN_NAMES.sub("_", charset[:80].decode("ascii", "replace").lower()).strip("_"))


def decode_charset(data: bytes, charset: bytes | None) -> str:
    """The octets as text; a charset that is missing, unknown or US-ASCII means UTF-8 where it fits, else Latin."""
    codec = codec_of(charset) if charset else None
    if codec is not None:
        try:
            return data.decode(codec, "replace")
        except (UnicodeError, LookupError):  # a few codecs do not know how to replace
            pass
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def decode_text(data: bytes, encoding: bytes, charset: bytes | None) -> str:
    """The text of a body; with an encoding that is unknown, the octets as they are."""
    try:
        data = decode_transfer(data, encoding)
    except UnknownEncoding:
        pass
    return decode_charset(data, charset)


# Encoded words (RFC 2047) and parameters (RFC 2231).

_ENCODED_WORD = re.compile(rb"=\?([^?\s]{1,80})\?([bBqQ])\?([^?]*+)\?=")


def decode_words(value: bytes) -> str:
    """A header value as text: encoded words decoded, whether they stand where they may or not.

    Blanks between two encoded words vanish (RFC 2047 section 6.2). Words of one charset are put together before they
    are decoded: many programs cut characters in two.
    """
    return _decode_words(unfold(value))


def _decode_words(value: bytes) -> str:
    if b"=?" not in value:
        return value.decode("ascii") if value.isascii() else decode_charset(value, None)
    text: list[str] = []
    octets: list[bytes] = []  # of the encoded words that are being put together, all of one charset
    charset = b""
    at = 0
    for match in _ENCODED_WORD.finditer(value):
        gap = value[at : match.start()]
        word_charset = match[1].partition(b"*")[0].lower()  # RFC 2231 section 5: "*" and a language
        if octets and (gap.strip() or word_charset != charset):
            text.append(decode_charset(b"".join(octets), charset))
            octets = []
        if gap.strip():
            text.append(decode_charset(gap, None))
        charset = word_charset
        octets.append(_word_octets(match[2], match[3]))
        at = match.end()
    if octets:
        text.append(decode_charset(b"".join(octets), charset))
    text.append(decode_charset(value[at:], None))
    return "".join(text)


def _word_octets(encoding: bytes, data: bytes) -> bytes:
    if encoding in b"Qq":
        return binascii.a2b_qp(data, header=True)
    return decode_base64(data)


def parameter_text(params: Parameters, name: bytes) -> str | None:
    """The decoded value of a parameter, put together from its pieces (RFC 2231 sections 3 and 4); name in lower case.

    An encoded word in a parameter is forbidden, and common.
    """
    pieces: dict[int, tuple[bytes, bool]] = {}
    for key, value in params:
        base, star, rest = key.lower().partition(b"*")
        if base != name:
            continue
        if not star:
            return decode_words(value)
        number = rest.rstrip(b"*")
        if not number or (number.isdigit() and len(number) <= 4):
            pieces.setdefault(int(number or b"0"), (value, rest.endswith(b"*") or not rest))
    if not pieces:
        return None
    charset: bytes | None = None
    octets: list[bytes] = []
    for place, (value, is_encoded) in sorted(pieces.items()):
        if is_encoded and place == 0 and value.count(b"'") >= 2:
            charset, _, value = value.split(b"'", 2)
        octets.append(_percent(value) if is_encoded else value)
    return decode_charset(b"".join(octets), charset)


_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")


def _percent(value: bytes) -> bytes:
    return _PERCENT.sub(lambda match: bytes((int(match[1], 16),)), value)


# What SEARCH looks at.


def header_texts(header: bytes) -> Iterator[tuple[str, str]]:
    """The fields of a header in order: the name in lower case, the decoded value."""
    for name, value in values(header):
        yield name.decode("ascii", "replace").lower(), _decode_words(value)


def body_texts(root: Part, message: bytes) -> Iterator[str]:
    """The decoded texts of a message's body, each in one piece; see `texts_of_body`."""
    return texts_of_body(root, message, _leaf_texts)


def texts_of_body(root: Part, message: bytes, of_leaf: Callable[[Part, bytes], Iterator[Text]]) -> Iterator[Text | str]:
    """The decoded texts of a message's body: text parts, headers of embedded messages, file names and descriptions.

    HTML is given as it is, and then once more as a reader sees it, without tags: a search shall find a link's address
    as well as words that are half bold. Parts of type message that are not embedded messages (delivery reports) are
    text too, and so is an embedded message in base64, which has no structure for IMAP. The texts of a leaf are what
    `of_leaf` gives.
    """
    for part in walk(root):
        for params in (part.params, part.disposition[1] if part.disposition else ()):
            name = parameter_text(params, b"name") or parameter_text(params, b"filename")
            if name:
                yield name
        if part is not root and part.description:
            yield decode_words(part.description)
        if part.embedded is not None:
            for name, text in header_texts(part.embedded.header(message)):
                yield f"{name}: {text}"
        elif part.type.lower() in (b"text", b"message"):
            yield from of_leaf(part, message)


def _leaf_texts(part: Part, message: bytes) -> Iterator[str]:
    text = decode_text(part.body(message), part.encoding, part.parameter(b"charset"))
    yield text
    if is_html(part) and ("<" in text or "&" in text):
        yield html_text(text)


def is_html(part: Part) -> bool:
    """Whether a reader sees the text without its tags."""
    return part.subtype.lower() in (b"html", b"xhtml", b"xml")


def html_text(text: str) -> str:
    """The text without tags, and with character references decoded. A "<" that is never closed stays."""
    first, *tagged = text.split("<")
    pieces = [first]
    for piece in tagged:
        _, close, rest = piece.partition(">")
        pieces.append(rest if close else "<" + piece)
    plain = "".join(pieces)
    try:
        return html.unescape(plain)
    except ValueError:  # a reference of more digits than Python turns into a number
        return plain
