"""The items of FETCH in the base protocol, as a table (RFC 9051 section 6.4.5, RFC 3501 section 6.4.5).

What an item is called in the answer is made once, when it is read; `render` adds the value. Columns and finished
descriptions are bytes; what comes out of a message is streamed, in pieces that are never copied twice:

1. BODY[] goes from the disk to the client piece by piece; a part of it too.
2. A header needs only the header to be read.
3. For any other section the message is read and parsed once, for all items of the command together (Record.parts).
4. A section that does not exist is NIL; what begins beyond the end of a section is "" (RFC 3501 section 6.4.5).
5. A section that has octets is a literal always: some clients take a quoted string here for a flaw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from imapd.imap.extension import FetchItem, Need, Record
from imapd.mime import header, parts
from imapd.wire import writer
from imapd.wire.responses import Streamed
from imapd.wire.section import SectionSpec

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.wire.scanner import Scanner

PIECE = 64 * 1024
"""Octets of a section given to the connection at a time."""

Partial = tuple[int, int] | None


class Uid(FetchItem):
    """UID."""

    name = "UID"

    def render(self, record: Record) -> bytes:
        return b"UID %d" % record.uid


class Flags(FetchItem):
    """FLAGS, with \\Recent for IMAP4rev1."""

    name = "FLAGS"

    def render(self, record: Record) -> bytes:
        return b"FLAGS " + writer.flag_list(record.session.view.flags(record.uid))


class InternalDate(FetchItem):
    """INTERNALDATE."""

    name = "INTERNALDATE"

    def render(self, record: Record) -> bytes:
        return b"INTERNALDATE " + writer.date_time(record.snapshot.dates[record.row])


class Size(FetchItem):
    """RFC822.SIZE."""

    name = "RFC822.SIZE"

    def render(self, record: Record) -> bytes:
        return b"RFC822.SIZE %d" % record.snapshot.sizes[record.row]


class Envelope(FetchItem):
    """ENVELOPE."""

    name = "ENVELOPE"
    needs = Need.DESCRIPTION

    def render(self, record: Record) -> bytes:
        assert record.description is not None
        return b"ENVELOPE " + record.description.envelope


class BodyStructure(FetchItem):
    """BODYSTRUCTURE."""

    name = "BODYSTRUCTURE"
    needs = Need.DESCRIPTION

    def render(self, record: Record) -> bytes:
        assert record.description is not None
        return b"BODYSTRUCTURE " + record.description.bodystructure


class Body(FetchItem):
    """BODY: the structure without extension data; or BODY[section]<partial>, if a bracket follows."""

    name = "BODY"
    needs = Need.DESCRIPTION

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Body:
        return Section.of(scan, sets_seen=True) if scan.peek() == b"[" else cls()

    def render(self, record: Record) -> bytes | Streamed | None:
        assert record.description is not None
        return b"BODY " + record.description.body


@dataclass(frozen=True, slots=True)
class Section(Body):
    """BODY[section]<partial>, and the items of RFC 1730 that are the same under other names."""

    needs = Need.MESSAGE

    label: bytes
    section: SectionSpec = SectionSpec()
    partial: Partial = None
    sets_seen: bool = False

    @classmethod
    def of(cls, scan: Scanner, sets_seen: bool) -> Self:
        """Read what follows BODY or BODY.PEEK; in the answer both are BODY, and only the origin is told."""
        section = scan.section()
        partial = scan.partial()
        return cls(b"BODY[%s]%s" % (bytes(section), origin(partial)), section, partial, sets_seen)

    def render(self, record: Record) -> bytes | Streamed | None:
        assert record.message is not None
        if self.section == SectionSpec():
            return streamed(self.label, record.message.size, record.message.chunks(), self.partial)
        octets = self._octets(record)
        if octets is None:
            return self.label + b" NIL"
        return from_memory(self.label, octets, self.partial)

    def _octets(self, record: Record) -> memoryview | None:
        """The section, without a copy of it where it is not a choice of header fields."""
        assert record.message is not None
        section = self.section
        if section.text is not None and section.text.startswith("HEADER"):
            top = memoryview(record.message.header()) if not section.parts else _found(record, section.parts, "HEADER")
            return top if section.text == "HEADER" or top is None else self._fields(bytes(top))
        return _found(record, section.parts, section.text)

    def _fields(self, whole: bytes) -> memoryview:
        return memoryview(header.select(whole, self.section.fields, others=self.section.text == "HEADER.FIELDS.NOT"))


class BodyPeek(Section):
    """BODY.PEEK[section]<partial>: without setting \\Seen."""

    name = "BODY.PEEK"

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        return cls.of(scan, sets_seen=False)


class Rfc822(Section):
    """RFC822: BODY[] under its old name."""

    name = "RFC822"

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        return cls(b"RFC822", sets_seen=True)


class Rfc822Header(Section):
    """RFC822.HEADER: BODY.PEEK[HEADER] under its old name."""

    name = "RFC822.HEADER"

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        return cls(b"RFC822.HEADER", SectionSpec(text="HEADER"))


class Rfc822Text(Section):
    """RFC822.TEXT: BODY[TEXT] under its old name."""

    name = "RFC822.TEXT"

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        return cls(b"RFC822.TEXT", SectionSpec(text="TEXT"), sets_seen=True)


def origin(partial: Partial) -> bytes:
    """What the answer says of a partial fetch: where it began."""
    return b"" if partial is None else b"<%d>" % partial[0]


def from_memory(label: bytes, octets: memoryview, partial: Partial = None, binary: bool = False) -> bytes | Streamed:
    """The item with these octets, or the part of them that was asked for."""
    if partial is not None:
        octets = octets[partial[0] : partial[0] + partial[1]]
    if not octets:
        return label + b' ""'
    return Streamed(label, len(octets), _pieces(octets), binary)


def streamed(label: bytes, size: int, chunks: Iterable[bytes], partial: Partial) -> bytes | Streamed:
    """The item with octets that come in chunks, or the part of them that was asked for."""
    start, length = (0, size) if partial is None else (partial[0], min(partial[1], size - partial[0]))
    if length <= 0:
        return label + b' ""'
    return Streamed(label, length, chunks if length == size else _cut(chunks, start, length))


def _pieces(octets: memoryview) -> Iterator[bytes]:
    for start in range(0, len(octets), PIECE):
        yield bytes(octets[start : start + PIECE])


def _cut(chunks: Iterable[bytes], start: int, length: int) -> Iterator[bytes]:
    """So many octets of the chunks, from a place on."""
    for chunk in chunks:
        if start >= len(chunk):
            start -= len(chunk)
            continue
        piece = chunk[start : start + length]
        start = 0
        length -= len(piece)
        yield piece
        if not length:
            return


def _found(record: Record, path: tuple[int, ...], text: str | None) -> memoryview | None:
    content, root = record.parts()
    place = parts.find(root, content, path, text)
    if place is None:
        return None
    offset, length = place
    return memoryview(content)[offset : offset + length]


BASE_ITEMS: tuple[type[FetchItem], ...] = (
    Uid,
    Flags,
    InternalDate,
    Size,
    Envelope,
    BodyStructure,
    Body,
    BodyPeek,
    Rfc822,
    Rfc822Header,
    Rfc822Text,
)
