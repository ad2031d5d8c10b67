"""LDIF files of entries (RFC 2849): reading them whole, and writing single entries.

Promises:

1. Folded lines, base64 values, comments and the version line are understood; lines may end with LF or CRLF.
2. Nothing is fetched: a value given as an address (`attribute:< file:///...`) refuses the file, and so do change
   records. Every refusal is an LdifError that names the file and the line.
3. Every value knows where it stands in the file, so that one entry can be changed and all other bytes be kept.
4. What `entry` writes, `read` reads, whatever the octets.

Laxer than the RFC in one thing: octets above 127 may stand in a value as they are, because people write names so.
"""

import base64
import binascii
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imapd.directory import dn as names

# RFC 2849 asks for nothing here; 76 is what other tools fold at.
_WIDTH = 76

_DESCRIPTION = re.compile(rb"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*)(?:;[A-Za-z0-9-]+)*")
# RFC 2849, SAFE-STRING: anything but NUL, LF, CR and 8-bit octets, not beginning with space, ":" or "<".
# The space at the end is the RFC's note 8.
_SAFE = re.compile(
    rb"(?:[\x01-\x09\x0b\x0c\x0e-\x1f\x21-\x39\x3b\x3d-\x7f]"
    rb"(?:[\x01-\x09\x0b\x0c\x0e-\x7f]*[\x01-\x09\x0b\x0c\x0e-\x1f\x21-\x7f])?)?"
)


class LdifError(ValueError):
    """A file that cannot be taken; the text begins with the file and, where there is one, the line."""

    def __init__(self, path: str, line: int | None, text: str) -> None:
        super().__init__(f"{path}:{line}: {text}" if line else f"{path}: {text}")
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an entry: the attribute's name in lower case, options included, and where its lines stand."""

    name: str
    value: bytes
    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its DN as written, its values in order, and its octets in the file from "dn:" to its last line."""

    dn: str
    values: tuple[Value, ...]
    line: int
    start: int
    end: int

    def attributes(self) -> dict[str, list[bytes]]:
        """The values by attribute. Options are dropped (`cn;lang-de` is a cn), but `;binary` is part of the name."""
        found: dict[str, list[bytes]] = {}
        for value in self.values:
            name, _, options = value.name.partition(";")
            found.setdefault(f"{name};binary" if "binary" in options.split(";") else name, []).append(value.value)
        return found


@dataclass(slots=True)
class _Line:
    """A line with its continuations joined: number of its first line, octets in the file, text without line ends."""

    number: int
    start: int
    end: int
    text: bytes


def read(data: bytes, path: str) -> list[Entry]:
    """All entries of a file; path is for the texts of errors."""
    entries: list[Entry] = []
    current: list[_Line] = []
    first = True
    for line in _logical_lines(data, path):
        if not line.text:
            if current:
                entries.append(_entry(current, path))
                current = []
            continue
        if line.text.startswith(b"#"):
            continue
        if first and line.text[:8].lower() == b"version:":
            _check_version(line, path)
        else:
            current.append(line)
        first = False
    if current:
        entries.append(_entry(current, path))
    return entries


def entry(dn: str, attributes: Iterable[tuple[str, bytes]], line_end: bytes = b"\n") -> bytes:
    """An entry as it stands in a file, without the empty line that parts it from the next."""
    lines = [line("dn", dn.encode("utf-8"), line_end)]
    return b"".join(lines + [line(name, value, line_end) for name, value in attributes])


def line(name: str, value: bytes, line_end: bytes = b"\n") -> bytes:
    """One value as it stands in a file: in base64 where it has to be, folded, with the line end."""
    if _SAFE.fullmatch(value):
        text = name.encode("ascii") + b": " + value
    else:
        text = name.encode("ascii") + b":: " + base64.b64encode(value)
    # A value that ends in a fold of nothing but spaces is still read right: only the fold's own space is taken off.
    pieces = [text[:_WIDTH], *(text[at : at + _WIDTH - 1] for at in range(_WIDTH, len(text), _WIDTH - 1))]
    return (line_end + b" ").join(pieces) + line_end


def _logical_lines(data: bytes, path: str) -> Iterator[_Line]:
    """Lines with their continuations. Linear: pieces are joined once, at the end of each line."""
    pieces: list[bytes] = []
    number = start = end = 0
    at = 3 if data.startswith(b"\xef\xbb\xbf") else 0  # some editors put a byte order mark there
    # Not splitlines(): it would also end a line at a CR alone.
    for count, raw in enumerate(io.BytesIO(data[at:]), 1):
        text = raw.removesuffix(b"\n").removesuffix(b"\r")
        if text.startswith(b" "):
            if not pieces or not pieces[0]:
                raise LdifError(path, count, "the line continues nothing: it begins with a space")
            pieces.append(text[1:])
        else:
            if pieces:
                yield _Line(number, start, end, b"".join(pieces))
            pieces, number, start = [text], count, at
        at += len(raw)
        end = at
    if pieces:
        yield _Line(number, start, end, b"".join(pieces))


def _check_version(line: _Line, path: str) -> None:
    if line.text[8:].strip() != b"1":
        raise LdifError(path, line.number, "only version 1 of LDIF is understood")


def _entry(lines: list[_Line], path: str) -> Entry:
    head, values = lines[0], []
    name = _value(head, path)
    if name.name != "dn":
        raise LdifError(path, head.number, f"an entry begins with dn:, this one with {name.name}:")
    try:
        dn = name.value.decode("utf-8")
        names.parse(dn)
    except ValueError as error:
        raise LdifError(path, head.number, f"the DN cannot be read: {error}") from None
    for logical in lines[1:]:
        value = _value(logical, path)
        if value.name in ("changetype", "control"):
            raise LdifError(path, logical.number, "change records are not understood, only entries")
        if value.name == "dn":
            raise LdifError(path, logical.number, "a second dn: in one entry; an empty line is missing before it")
        values.append(value)
    if not values:
        raise LdifError(path, head.number, "the entry has no attributes")
    return Entry(dn, tuple(values), head.number, head.start, lines[-1].end)


def _value(line: _Line, path: str) -> Value:
    """attrval-spec = AttributeDescription ":" ( FILL SAFE-STRING / ":" FILL BASE64-STRING / "<" FILL url )"""
    name, colon, rest = line.text.partition(b":")
    if not colon:
        raise LdifError(path, line.number, "the line is not attribute: value")
    if not _DESCRIPTION.fullmatch(name):
        raise LdifError(path, line.number, f"{name[:40]!r} is not an attribute's name")
    if rest.startswith(b"<"):
        raise LdifError(path, line.number, "values from files or addresses (:<) are not read")
    if rest.startswith(b":"):
        value = _decode(rest[1:].strip(b" "), line, path)
    else:
        value = rest.lstrip(b" ")
        if b"\0" in value:
            raise LdifError(path, line.number, "a NUL in a plain value")
    return Value(name.decode("ascii").lower(), value, line.number, line.start, line.end)


def _decode(text: bytes, line: _Line, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise LdifError(path, line.number, f"the value is not base64: {error}") from None
