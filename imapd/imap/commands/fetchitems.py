"""The items of FETCH in the base protocol, as a table (RFC 9051 section 6.4.5, RFC 3501 section 6.4.5).

What an item is called in the answer is made once, when it is read; `render` adds the value. Columns and finished
descriptions are bytes; what comes out of a message is streamed, in pieces that are never copied twice:

1. BODY[] goes from the disk to the client piece by piece; a part of it too.
2. A header needs only the header to be read.
3. For any other section the message is read and parsed once, for all items of the command together (Record.parts), and
   let go before the answer is sent: a client that reads slowly shall not hold a large message in memory. What is large
   is read from the disk once more.
4. A section that does not exist is NIL; what begins beyond the end of a section is "" (RFC 3501 section 6.4.5).
5. A section that has octets is a literal always: some clients take a quoted string here for a flaw.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from imapd.imap.extension import Column, FetchItem, Need, Piece, Record
from imapd.mailstore import contents
from imapd.mailstore.runs import taken
from imapd.mailstore.store import Message, Text
from imapd.mime import header, parts
from imapd.mime.pieces import slices
from imapd.wire import writer
from imapd.wire.responses import Streamed
from imapd.wire.section import SectionSpec

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.wire.scanner import Scanner

IN_MEMORY = 64 * 1024
"""Octets of a section, or of a message, that are kept while they are sent."""

_WHOLE = SectionSpec()

Partial = tuple[int, int] | None


class Uid(FetchItem):
    """UID."""

    name = "UID"

    def column(self, piece: Piece) -> Column:
        return b"UID %d", piece.uids

    def render(self, record: Record) -> bytes:
        return b"UID %d" % record.uid


class Flags(FetchItem):
    """FLAGS, with \\Recent for IMAP4rev1."""

    name = "FLAGS"

    def column(self, piece: Piece) -> Column:
        flags = piece.session.view.flags_of(piece.uids, piece.rows)
        lists = {each: writer.flag_list(each) for each in set(flags)}
        return b"FLAGS %b", list(map(lists.__getitem__, flags))

    def render(self, record: Record) -> bytes:
        return b"FLAGS " + writer.flag_list(record.session.view.flags(record.uid))


class InternalDate(FetchItem):
    """INTERNALDATE."""

    name = "INTERNALDATE"

    def column(self, piece: Piece) -> Column:
        dates = piece.snapshot.dates
        return b"INTERNALDATE %b", [writer.date_time(dates[row]) for row in piece.rows]

    def render(self, record: Record) -> bytes:
        return b"INTERNALDATE " + writer.date_time(record.snapshot.dates[record.row])


class Size(FetchItem):
    """RFC822.SIZE."""

    name = "RFC822.SIZE"

    def column(self, piece: Piece) -> Column:
        return b"RFC822.SIZE %d", taken(piece.snapshot.sizes, piece.rows)

    def render(self, record: Record) -> bytes:
        return b"RFC822.SIZE %d" % record.snapshot.sizes[record.row]


class Envelope(FetchItem):
    """ENVELOPE."""

    name = "ENVELOPE"
    needs = Need.DESCRIPTION
    text = Text.ENVELOPE

    def render(self, record: Record) -> bytes:
        assert record.description is not None
        return b"ENVELOPE " + record.description.envelope


class BodyStructure(FetchItem):
    """BODYSTRUCTURE."""

    name = "BODYSTRUCTURE"
    needs = Need.DESCRIPTION
    text = Text.BODYSTRUCTURE

    def render(self, record: Record) -> bytes:
        assert record.description is not None
        return b"BODYSTRUCTURE " + record.description.bodystructure


class Body(FetchItem):
    """BODY: the structure without extension data; or BODY[section]<partial>, if a bracket follows."""

    name = "BODY"
    needs = Need.DESCRIPTION
    text: ClassVar[Text | None] = Text.BODY

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
    text = None

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
        if self.section == _WHOLE:
            return read_out(self.label, record.message, (0, record.message.size), self.partial)
        text = self.section.text
        if text is not None and text.startswith("HEADER."):
            whole = self._octets(record, "HEADER")
            chosen = (
                None if whole is None else header.select(whole, self.section.fields, others=text == "HEADER.FIELDS.NOT")
            )
            return from_memory(self.label, chosen, self.partial)
        place = None if self._is_top_header(text) else self._place(record, text)
        if place is None or place[1] <= IN_MEMORY:
            return from_memory(self.label, self._octets(record, text), self.partial)
        return read_out(self.label, record.message, place, self.partial)

    def column(self, piece: Piece) -> Column | None:
        """Messages, or their beginnings, are read many at a time. Chosen header fields of the message itself are kept
        by the store, if they are not many."""
        if most := self.reads():
            return self._beginnings(piece, most)
        if self.partial is not None or self.section.parts or self.section.text != "HEADER.FIELDS":
            return None
        texts = piece.session.view.mailbox.header_fields(piece.uids, frozenset(self.section.fields))
        return None if b"" in texts else (self.label.replace(b"%", b"%%") + b" %b", texts)

    def _beginnings(self, piece: Piece, most: int) -> Column | None:
        sizes = piece.snapshot.sizes
        if sum([min(sizes[row], most) for row in piece.rows]) > contents.TOGETHER:
            return None
        octets = piece.read(piece.uids, most)
        if not all(octets):
            return None
        return self.label.replace(b"%", b"%%") + b" {%d}\r\n%b", list(map(len, octets)), octets

    def reads(self) -> int:
        if self.section != _WHOLE:
            return 0
        if self.partial is None:
            return sys.maxsize
        return 0 if self.partial[0] else self.partial[1]

    def _is_top_header(self, text: str | None) -> bool:
        return text == "HEADER" and not self.section.parts

    def _place(self, record: Record, text: str | None) -> tuple[int, int] | None:
        _, root = record.parts()
        return parts.find(root, self.section.parts, text)

    def _octets(self, record: Record, text: str | None) -> bytes | None:
        assert record.message is not None
        if self._is_top_header(text):
            return record.message.header()
        place = self._place(record, text)
        if place is None:
            return None
        content, _ = record.parts()
        return content[place[0] : place[0] + place[1]]


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


class Held(Streamed):
    """Octets that stand in memory until they are sent."""

    __slots__ = ()


def from_memory(label: bytes, octets: bytes | None, partial: Partial = None, binary: bool = False) -> bytes | Streamed:
    """The item with these octets, or the part of them that was asked for; NIL where there are none to be had."""
    if octets is None:
        return label + b" NIL"
    if partial is not None:
        octets = octets[partial[0] : partial[0] + partial[1]]
    if not octets:
        return label + b' ""'
    if len(octets) <= IN_MEMORY:
        return b"%b %b{%d}\r\n%b" % (label, b"~" if binary else b"", len(octets), octets)
    return Held(label, len(octets), slices(octets), binary)


def read_out(label: bytes, message: Message, place: tuple[int, int], partial: Partial) -> bytes | Streamed:
    """The item with the octets of a message at a place (start and length), or the part of them that was asked for.

    What stands before that part is not read, if the store knows how.
    """
    start, length = place
    if partial is not None:
        start, length = start + partial[0], max(0, min(partial[1], length - partial[0]))
    chunks = cut(message.chunks(start), 0, length) if length else ()
    if length <= IN_MEMORY:
        return from_memory(label, b"".join(chunks))
    return Streamed(label, length, chunks)


def streamed(
    label: bytes, size: int, chunks: Iterable[bytes], partial: Partial, binary: bool = False
) -> bytes | Streamed:
    """The item with octets that come in chunks, or the part of them that was asked for."""
    start, length = (0, size) if partial is None else (partial[0], min(partial[1], size - partial[0]))
    if length <= 0:
        return label + b' ""'
    return Streamed(label, length, chunks if length == size else cut(chunks, start, length), binary)


def cut(chunks: Iterable[bytes], start: int, length: int) -> Iterator[bytes]:
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
