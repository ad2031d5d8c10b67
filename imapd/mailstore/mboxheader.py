"""The fields in which an mbox keeps what is not part of its messages: flags, keywords, UIDs, lengths.

The words are those of mutt, UW-imapd and Dovecot:

    Status: RO                      R seen, O not recent any more
    X-Status: AFDT                  A answered, F flagged, D deleted, T draft
    X-Keywords: Work $Forwarded
    X-UID: 17
    X-IMAPbase: 1000000000 17 Work  in the first message: UIDVALIDITY, the last UID given, all keywords
    X-IMAP: ...                     the same in UW-imapd's pseudo message, which is no message
    Content-Length: 1234            octets of the body, without the blank line behind it
    Lines: 40                       right behind Content-Length, as mutt writes it

A field is one of these only where its value has that shape, so that `Status: Open` of a ticket system is text like any
other. What is one of them is hidden from those who read the message. A message that came from a client with such
fields in its own text has to be given back with them: they are written with `X-Imapd-Kept: ` before them, which is
taken off in reading. `X-Imapd-Cut: n` says that the last n octets of the header, which mbox needs to be well formed,
are no part of the text. Values are padded with blanks, so that they can be rewritten in place.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

KEPT: Final = b"X-Imapd-Kept: "
FINGERPRINT: Final = 16
_KEYWORD_ROOM: Final = 40
_DIGITS: Final = rb"[ \t]*\d{1,%d}[ \t\r]*"

_SHAPES: Final = {
    b"status": re.compile(rb"[RONUr \t\r]*"),
    b"x-status": re.compile(rb"[AFDTRr \t\r]*"),
    b"x-keywords": re.compile(rb"[ \t\r\n!#$&'+-\[^-z|}~]*"),
    b"x-uid": re.compile(_DIGITS % 10),
    b"x-imapbase": re.compile(rb"[ \t]*\d{1,10}[ \t]+\d{1,10}(?:[ \t\r\n][ -~\t\r\n]*)?"),
    b"x-imap": re.compile(rb"[ \t]*\d{1,10}[ \t]+\d{1,10}(?:[ \t\r\n][ -~\t\r\n]*)?"),
    b"content-length": re.compile(_DIGITS % 18),
    b"lines": re.compile(_DIGITS % 18),
    b"x-imapd-kept": re.compile(rb"(?s:.*)"),
    b"x-imapd-cut": re.compile(rb"[ ][12]"),
}  # fmt: skip
# One look over a header, whose first letters decide most lines: 3 us for an ordinary one of 2 kB.
_FIELD: Final = re.compile(
    rb"\n(?=[sSxXcClL])((?i:x-(?:status|uid|keywords|imap(?:base|d-kept|d-cut)?)|status|content-length|lines))"
    rb":([^\n]*(?:\n[ \t][^\n]*)*)"
)
_LINES: Final = re.compile(rb"\n(?i:lines):[^\n]*")
_PSEUDO: Final = re.compile(rb"\n(?i:subject):[^\n]*FOLDER INTERNAL DATA")
# Lines of a text's header that would be taken for something else: fields of ours, and From_ lines.
_DOUBTFUL: Final = re.compile(
    rb"\n(?=(?i:x-(?:status|uid|keywords|imap(?:base|d-kept|d-cut)?)|status|content-length):|From )"
)


@dataclass(frozen=True, slots=True)
class Base:
    """What X-IMAPbase or X-IMAP says of the mailbox."""

    uidvalidity: int
    last_uid: int
    keywords: tuple[str, ...]


class Field(NamedTuple):
    """A field in a header: its name in small letters, where it stands, and where its value does (without line end)."""

    name: bytes
    start: int
    end: int
    value_start: int
    value_end: int


class Head(NamedTuple):
    """The header of a message in an mbox: the octets between the From_ line and the body, and what they say.

    said: the value of the first field of each name (in small letters). bare: the header without what says flags, UIDs
    and the length, as it is put under new such fields. has_lines: there is a field Lines, whatever it says.
    """

    octets: bytes
    fields: tuple[Field, ...]
    said: dict[bytes, bytes]
    bare: bytes
    has_lines: bool

    def _number(self, name: bytes) -> int | None:
        value = self.said.get(name)
        return None if value is None else int(value)

    @property
    def length(self) -> int | None:
        """Content-Length."""
        return self._number(b"content-length")

    @property
    def uid(self) -> int | None:
        return self._number(b"x-uid")

    @property
    def letters(self) -> bytes:
        """The letters of Status and X-Status; those of the first are ROU..., of the second AFDT."""
        return self.said.get(b"status", b"") + self.said.get(b"x-status", b"").translate(None, b"Rr")

    @property
    def is_old(self) -> bool:
        """Whether somebody has seen the message, or its mailbox with it in it."""
        return b"O" in self.said.get(b"status", b"")

    @property
    def keywords(self) -> tuple[str, ...]:
        return tuple([word.decode("ascii") for word in self.said.get(b"x-keywords", b"").split()])

    @property
    def base(self) -> Base | None:
        """What the field X-IMAPbase says, or X-IMAP of a pseudo message."""
        value = self.said.get(b"x-imap" if self.is_pseudo else b"x-imapbase")
        if value is None:
            return None
        uidvalidity, last_uid, *words = value.split()
        keywords = tuple(
            dict.fromkeys([word.decode("ascii") for word in words if _SHAPES[b"x-keywords"].fullmatch(word)])
        )
        return Base(int(uidvalidity), int(last_uid), keywords)

    @property
    def is_pseudo(self) -> bool:
        """Whether it may be UW-imapd's pseudo message; only the first message of a mailbox is one."""
        return b"x-imap" in self.said and _PSEUDO.search(b"\n" + self.octets) is not None

    @property
    def cut(self) -> int:
        """How many octets at the end of the header are no part of the text."""
        return self._number(b"x-imapd-cut") or 0

    def text(self) -> bytes:
        """The header as the message has it."""
        if b"x-imapd-kept" not in self.said and b"x-imapd-cut" not in self.said:
            return self.bare
        pieces, at = [], 0
        for field in self.fields:
            pieces.append(self.octets[at : field.start])
            at = field.start + len(KEPT) if field.name == b"x-imapd-kept" else field.end
        pieces.append(self.octets[at : len(self.octets) - self.cut])
        return b"".join(pieces)

    def fingerprint(self, from_line: bytes, body_octets: int) -> bytes:
        """16 octets of what no program changes in a message that it keeps."""
        return fingerprint(from_line, body_octets, self.bare, self.has_lines)


def fingerprint(from_line: bytes, body_octets: int, bare: bytes, may_have_lines: bool = True) -> bytes:
    """The same of a message by its header without our fields. mutt throws `Lines` away."""
    text = _LINES.sub(b"", b"\n" + bare)[1:] if may_have_lines else bare
    return blake2b(b"%s%d\n%s" % (from_line, body_octets, text), digest_size=FINGERPRINT).digest()


def parse(octets: bytes) -> Head:
    """Read a header: what follows the From_ line, up to and with the blank line (or without one at the end)."""
    fields: list[Field] = []
    said: dict[bytes, bytes] = {}
    pieces: list[bytes] = []
    at = 0
    has_lines = False
    has_cr = b"\r" in octets
    for match in _FIELD.finditer(b"\n" + octets):
        name = match[1].lower()
        start, end = match.span()  # the added line end makes up for the one before
        value_start, value_end = start + len(name) + 1, end - 1
        if has_cr and octets[value_end - 1 : value_end] == b"\r":
            value_end -= 1
        if name == b"lines":
            has_lines = True
            if not (fields and fields[-1].name == b"content-length" and fields[-1].end == start):
                continue
        if _SHAPES[name].fullmatch(octets, value_start, value_end):
            end = min(end, len(octets))
            fields.append(Field(name, start, end, value_start, value_end))
            if name not in said:
                said[name] = octets[value_start:value_end]
            if name != b"x-imapd-kept":
                if at < start:
                    pieces.append(octets[at:start])
                at = end
    pieces.append(octets[at:])
    return Head(octets, tuple(fields), said, b"".join(pieces), has_lines)


def kept(text: bytes) -> bytes:
    """The header of a client's text, with what would be taken for a field of ours or a From_ line marked as text."""
    return beginning(_DOUBTFUL.sub(b"\n" + KEPT, b"\n" + text)[1:])


def beginning(bare: bytes) -> bytes:
    """A header without our fields, as it can stand under them: with a blank it would go on with the last of them."""
    return KEPT + bare if bare[:1] in (b" ", b"\t") else bare


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the fields of a message are to say; letters are any of R O A F D T."""

    letters: bytes
    keywords: Sequence[str]
    uid: int

    def values(self) -> dict[bytes, bytes]:
        """The value of each field."""
        status, x_status = _split(self.letters)
        return {
            b"status": status,
            b"x-status": x_status,
            b"x-keywords": " ".join(self.keywords).encode("ascii"),
            b"x-uid": b"%d" % self.uid,
        }


@lru_cache(256)
def _split(letters: bytes) -> tuple[bytes, bytes]:
    """What Status and X-Status are to say."""
    status, x_status = [bytes([letter for letter in some if letter in letters]) for some in (b"RO", b"AFDT")]
    return status, x_status


def fields(wanted: Wanted, length: int, cut: int = 0, base: Base | None = None) -> bytes:
    """The fields of a message, with room to be changed in place. length: of the body; base: for the first message."""
    words = " ".join(wanted.keywords).encode("ascii")
    begin = b"X-IMAPbase: " + base_value(base).ljust(len(words) + 2 * _KEYWORD_ROOM) + b"\n" if base else b""
    cut_line = b"X-Imapd-Cut: %d\n" % cut if cut else b""
    # Content-Length does not come right before the text, which may begin with a field Lines of its own.
    return b"%sContent-Length: %d\n%sStatus: %-2b\nX-Status: %-4b\nX-Keywords: %-*b\nX-UID: %-10d\n" % (
        begin, length, cut_line, *_split(wanted.letters), _KEYWORD_ROOM, words, wanted.uid)  # fmt: skip


def base_value(base: Base) -> bytes:
    """What X-IMAPbase says; both numbers have ten digits, so that they change in place."""
    return b"%010d %010d " % (base.uidvalidity, base.last_uid) + " ".join(base.keywords).encode("ascii")


def patches(head: Head, wanted: Wanted, base: Base | None = None) -> list[tuple[int, bytes]] | None:
    """What has to be written over the header, as (offset in it, octets); None where there is no room for it.

    A field that would say nothing may be missing. So may X-UID: the UID is known elsewhere too.
    """
    values = wanted.values()
    if base is not None:
        values[b"x-imap" if head.is_pseudo else b"x-imapbase"] = base_value(base)
    written: list[tuple[int, bytes]] = []
    for name, value in values.items():
        found = [field for field in head.fields if field.name == name]
        if not found:
            if value and name != b"x-uid":
                return None
            continue
        field, *others = found
        room = field.value_end - field.value_start
        if others or len(value) + 1 > room or b"\n" in head.octets[field.value_start : field.value_end]:
            return None
        new = b" " + value.ljust(room - 1)
        if new != head.octets[field.value_start : field.value_end]:
            written.append((field.value_start, new))
    return written
