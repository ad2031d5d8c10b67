"""BINARY, RFC 3516: FETCH of a part with its content-transfer-encoding taken off.

    item =/ "BINARY" [".PEEK"] section-binary [partial] / "BINARY.SIZE" section-binary

1. What the answer holds and what BINARY.SIZE says come out of one function, so they agree.
2. A part of text gets CRLF line ends whatever its encoding hid (section 6). A part that holds NUL is a literal8.
3. An encoding that nobody knows fails the command: NO [UNKNOWN-CTE].
4. The whole message, and parts made of parts, have no encoding to take off: they come as they are.
5. A part that is large is decoded in pieces, and more than once: to know what is in it, for its size, and while it is
   sent. So it neither stands in memory nor keeps others waiting.

APPEND of a literal8 belongs to APPEND.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from imapd.imap.commands.fetchitems import IN_MEMORY, Partial, cut, from_memory, origin, streamed
from imapd.imap.extension import Extension, FetchItem, Need, Record
from imapd.mime import parts, pieces, text
from imapd.model.errors import Refused

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.wire.responses import Streamed
    from imapd.wire.scanner import Scanner

Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Binary(FetchItem):
    """BINARY[part]<partial>: the decoded part, or some octets of it."""

    name = "BINARY"
    needs = Need.MESSAGE

    path: Path
    partial: Partial = None
    sets_seen: bool = True

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        return cls(scan.section_binary(), scan.partial())

    def render(self, record: Record) -> bytes | Streamed:
        label = b"BINARY[%s]%s" % (_spelled(self.path), origin(self.partial))
        found = decoded(record, self.path)
        if not isinstance(found, Pieces):
            return from_memory(label, found, self.partial, binary=found is not None and b"\0" in found)
        return streamed(label, found.size, found.again(), self.partial, found.has_nul)


class BinaryPeek(Binary):
    """BINARY.PEEK[part]<partial>: without setting \\Seen."""

    name = "BINARY.PEEK"

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        return cls(scan.section_binary(), scan.partial(), sets_seen=False)


@dataclass(frozen=True, slots=True)
class BinarySize(FetchItem):
    """BINARY.SIZE[part]: how many octets BINARY[part] would give; 0 for a part that does not exist."""

    name = "BINARY.SIZE"
    needs = Need.MESSAGE

    path: Path

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        return cls(scan.section_binary())

    def render(self, record: Record) -> bytes:
        found = decoded(record, self.path)
        size = found.size if isinstance(found, Pieces) else len(found or b"")
        return b"BINARY.SIZE[%s] %d" % (_spelled(self.path), size)


class Pieces:
    """A large part, decoded each time anew. size: of what `again` gives. has_nul: whether there is a NUL in it."""

    def __init__(self, record: Record, start: int, length: int, encoding: bytes, is_text: bool) -> None:
        assert record.message is not None
        self._message = record.message
        self._place = start, length
        self._encoding = encoding
        self._breathe = record.session.loop.breathe
        self._line_ends = False
        self.has_nul = any(b"\0" in piece for piece in self.again())
        self._line_ends = is_text and not self.has_nul
        self.size = sum(map(len, self.again()))

    def again(self) -> Iterator[bytes]:
        """The octets, from the beginning."""
        octets = pieces.decoded(cut(self._message.chunks(self._place[0]), 0, self._place[1]), self._encoding)
        for piece in pieces.with_crlf(octets) if self._line_ends else octets:
            yield piece
            self._breathe()


def decoded(record: Record, path: Path) -> bytes | Pieces | None:
    """The octets of a part without its encoding, None where there is no such part. Raises Refused."""
    content, root = record.parts()
    part = parts.part_at(root, path) if path else root
    if part is None:
        return None
    start, length = (part.body_start, part.size) if path else (0, len(content))
    is_whole = not path or bool(part.children) or part.embedded is not None
    encoding = b"" if is_whole else part.encoding
    is_text = not is_whole and part.type.upper() == b"TEXT"
    try:
        if length > IN_MEMORY:
            return Pieces(record, start, length, encoding, is_text)
        octets = text.decode_transfer(content[start : start + length], encoding)
    except text.UnknownEncoding:
        raise Refused("The part has an encoding that is not known here.", code="UNKNOWN-CTE") from None
    return b"".join(pieces.with_crlf((octets,))) if is_text and b"\0" not in octets else octets


def _spelled(path: Path) -> bytes:
    return b".".join(b"%d" % number for number in path)


extension = Extension(words=("BINARY",), fetch_items=(Binary, BinaryPeek, BinarySize))
