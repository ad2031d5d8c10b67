"""BINARY, RFC 3516: FETCH of a part with its content-transfer-encoding taken off.

    item =/ "BINARY" [".PEEK"] section-binary [partial] / "BINARY.SIZE" section-binary

1. What the answer holds and what BINARY.SIZE says come out of one function, so they agree.
2. A part of text gets CRLF line ends whatever its encoding hid (section 6). A part that holds NUL is a literal8.
3. An encoding that nobody knows fails the command: NO [UNKNOWN-CTE].
4. The whole message, and parts made of parts, have no encoding to take off: they come as they are.

APPEND of a literal8 belongs to APPEND.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from imapd.imap.commands.fetchitems import Partial, from_memory, origin
from imapd.imap.extension import Extension, FetchItem, Need, Record
from imapd.mime import parts, text
from imapd.model.errors import Refused

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.wire.responses import Streamed
    from imapd.wire.scanner import Scanner

Path = tuple[int, ...]

_BARE_LINE_END = re.compile(rb"\r\n|\r|\n")


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
        octets = decoded(record, self.path)
        if octets is None:
            return label + b" NIL"
        return from_memory(label, memoryview(octets), self.partial, binary=b"\0" in octets)


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
        octets = decoded(record, self.path)
        return b"BINARY.SIZE[%s] %d" % (_spelled(self.path), 0 if octets is None else len(octets))


def decoded(record: Record, path: Path) -> bytes | None:
    """The octets of a part without its encoding, None where there is no such part. Raises Refused."""
    content, root = record.parts()
    if not path:
        return content
    part = parts.part_at(root, path)
    if part is None:
        return None
    octets = part.body(content)
    if part.children or part.embedded is not None:
        return octets
    try:
        octets = text.decode_transfer(octets, part.encoding)
    except text.UnknownEncoding:
        raise Refused("The part has an encoding that is not known here.", code="UNKNOWN-CTE") from None
    record.session.loop.breathe()
    if part.type.upper() == b"TEXT" and b"\0" not in octets:
        return _BARE_LINE_END.sub(b"\r\n", octets)
    return octets


def _spelled(path: Path) -> bytes:
    return b".".join(b"%d" % number for number in path)


extension = Extension(words=("BINARY",), fetch_items=(Binary, BinaryPeek, BinarySize))
