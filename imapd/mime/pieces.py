"""Taking encodings off in pieces: what mime/text does to a whole body, done to one that is too large for one step.

Nothing in C that works on 50 MB lets others run, and nothing of 50 MB need be in memory at once. All here takes
pieces and gives pieces, of about the size they came in; the caller breathes between them. Put together they are what
mime/text gives, but for this: of base64 no more than REMAINDER octets are looked at behind the first padding, and a
charset that turns out to be wrong in the midst of a text is given up there and not from the beginning.
"""

from __future__ import annotations

import binascii
import codecs
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from imapd.mime.parts import Part
from imapd.mime.text import NOT_BASE64, UnknownEncoding, codec_of, decode_base64, html_text, is_html, texts_of_body

PIECE: Final = 64 * 1024
REMAINDER: Final = 1024 * 1024


def slices(data: bytes, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The octets between two places in pieces."""
    end = len(data) if end is None else end
    for place in range(start, end, PIECE):
        yield data[place : min(place + PIECE, end)]


def decoded(pieces: Iterable[bytes], encoding: bytes) -> Iterator[bytes]:
    """The octets without their transfer encoding. Raises UnknownEncoding, before the first piece is taken."""
    decode = _DECODERS.get(encoding.strip().lower())
    if decode is None:
        raise UnknownEncoding(encoding.decode("ascii", "replace"))
    return decode(pieces)


def _base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = b""  # up to three characters, which are no octets yet
    coming = iter(pieces)
    for piece in coming:
        run = held + piece.translate(None, NOT_BASE64)
        padding = run.find(b"=")
        whole = (len(run) if padding < 0 else padding) // 4 * 4
        yield binascii.a2b_base64(run[:whole])
        held = run[whole:]
        if padding >= 0:
            for piece in coming:
                held += piece.translate(None, NOT_BASE64)
                if len(held) > REMAINDER:
                    break
            break
    yield decode_base64(held)


def _quoted_printable(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = b""
    for piece in pieces:
        held += piece
        end = held.rfind(b"\n") + 1
        if not end and len(held) > PIECE:
            end = len(held) - 2  # a line without end is cut, but not within "=3D"
            escape = held.rfind(b"=", end - 2, end)
            end = end if escape < 0 else escape
        if end:
            yield binascii.a2b_qp(held[:end])
            held = held[end:]
    yield binascii.a2b_qp(held)


_DECODERS: Final[dict[bytes, Callable[[Iterable[bytes]], Iterator[bytes]]]] = {
    b"": iter,
    b"7bit": iter,
    b"8bit": iter,
    b"binary": iter,
    b"base64": _base64,
    b"quoted-printable": _quoted_printable,
}


def with_crlf(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The octets with each line end, whatever it was, as CRLF."""
    held = b""  # a CR whose LF may be still to come
    for piece in pieces:
        piece = held + piece
        held = b"\r" if piece.endswith(b"\r") else b""
        piece = piece[: len(piece) - len(held)]
        yield piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    if held:
        yield b"\r\n"


def as_text(pieces: Iterable[bytes], charset: bytes | None) -> Iterator[str]:
    """The octets as text; see mime/text.decode_charset."""
    codec = codec_of(charset) if charset else None
    decoder = codecs.getincrementaldecoder(codec or "utf-8")("strict" if codec is None else "replace")
    for piece in pieces:
        try:
            yield decoder.decode(piece)
        except (UnicodeError, LookupError):
            held, _ = decoder.getstate()
            decoder = codecs.getincrementaldecoder("cp1252")("replace")
            yield decoder.decode(held + piece)
    try:
        yield decoder.decode(b"", True)
    except (UnicodeError, LookupError):
        held, _ = decoder.getstate()
        yield held.decode("cp1252", "replace")


def windows(pieces: Iterable[str]) -> Iterator[str]:
    """The text cut behind line ends and blanks, where no character is composed with the one before."""
    held = ""
    for piece in pieces:
        held += piece
        end = max(held.rfind("\n"), held.rfind(" ")) + 1
        if not end and len(held) > PIECE:
            end = len(held)
        if end:
            yield held[:end]
            held = held[end:]
    if held:
        yield held


def without_tags(pieces: Iterable[str]) -> Iterator[str]:
    """The text as a reader sees it; see mime/text.html_text. A tag of more than some pieces is no tag."""
    held = ""
    for piece in pieces:
        held += piece
        end = held.rfind("<")
        if len(held) > 4 * PIECE and end <= 0:
            end = len(held)
        if end > 0:
            yield html_text(held[:end])
            held = held[end:]
    yield html_text(held)


def body_texts(root: Part, message: bytes) -> Iterator[Iterable[str]]:
    """What mime/text.body_texts gives, each text in windows; they are to be taken in their order."""
    for text in texts_of_body(root, message, _leaf_texts):
        yield (text,) if isinstance(text, str) else text


def _leaf_texts(part: Part, message: bytes) -> Iterator[Iterable[str]]:
    yield windows(_leaf_text(part, message))
    if is_html(part):
        yield windows(without_tags(_leaf_text(part, message)))


def _leaf_text(part: Part, message: bytes) -> Iterator[str]:
    octets = slices(message, part.body_start, part.end)
    try:
        octets = decoded(octets, part.encoding)
    except UnknownEncoding:
        pass
    return as_text(octets, part.parameter(b"charset"))
