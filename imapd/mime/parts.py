"""The parts of a message: what the header of each says, and which one a number of IMAP means.

The parts are a tree with the whole message as its root; parser.py makes it. A part knows its place in the message, not
its octets. It never refuses what a header says, and where a value is missing or makes no sense it has the usual one:

- A Content-Type that is missing or makes no sense means text/plain, in a digest message/rfc822 if it is missing
  (RFC 2045 section 5.2, RFC 2046 section 5.1.5). A bare "text", "multipart" or "application" gets the usual subtype.
- An encoding that is missing is 7bit (RFC 2045 section 6.1), a disposition that is unknown an attachment.

A tree may be deeper than Python's stack: walk it with `walk`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from imapd.mime.values import Parameters, parameters

Fields = dict[bytes, list[bytes]]
"""The unfolded values of a header's fields by their lower-case names."""

_Type = tuple[bytes, bytes, Parameters]

MIME_FIELDS: Final = frozenset(
    b"content-" + name
    for name in (
        b"type", b"transfer-encoding", b"id", b"description", b"disposition", b"language", b"location", b"md5",
    )
)  # fmt: skip
ENVELOPE_FIELDS: Final = frozenset(
    (b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"in-reply-to", b"message-id")
)

MAX_LANGUAGES: Final = 100
"""Any more are not for a reader."""

_USUAL: Final = 100  # octets of a type that is remembered
_PLAIN_TEXT: Final[_Type] = (b"text", b"plain", ((b"charset", b"us-ascii"),))  # RFC 2045 section 5.2
_IN_DIGEST: Final[_Type] = (b"message", b"rfc822", ())
_USUAL_SUBTYPE: Final = {b"text": b"plain", b"multipart": b"mixed", b"application": b"octet-stream"}


class Part:
    """One part of a message: the message itself, a part of a multipart, or an embedded message.

    Strings are as sent. type, subtype and encoding have their defaults where the header has none; the others are None.
    end is the place after the body; lines counts the body's line ends, for text and embedded messages only.
    fields has the values that an ENVELOPE is made of, where the part is a message.
    """

    __slots__ = (
        "body_start", "children", "description", "disposition", "embedded", "encoding", "end", "fields",
        "header_start", "id", "language", "lines", "location", "md5", "params", "subtype", "type",
    )  # fmt: skip

    def __init__(self, header_start: int, body_start: int, fields: Fields, in_digest: bool) -> None:
        self.header_start = header_start
        self.body_start = body_start
        self.end = body_start
        self.lines = 0
        self.children: list[Part] = []
        self.embedded: Part | None = None
        self.fields = fields
        value = first(fields, b"content-type")
        if value is None:
            self.type, self.subtype, self.params = _IN_DIGEST if in_digest else _PLAIN_TEXT
        else:
            usual = len(value) <= _USUAL
            self.type, self.subtype, self.params = _usual_type(value) if usual else _content_type(value)
        value = first(fields, b"content-transfer-encoding")
        self.encoding = b"7bit" if value is None else _encoding(value)
        value = first(fields, b"content-disposition")
        self.disposition = None if value is None else _disposition(value)
        value = first(fields, b"content-language")
        self.language = None if value is None else _languages(value)
        self.id = first(fields, b"content-id")
        self.description = first(fields, b"content-description")
        self.location = first(fields, b"content-location")
        self.md5 = first(fields, b"content-md5")

    @property
    def size(self) -> int:
        """The octets of the body, as they stand in the message."""
        return self.end - self.body_start

    @property
    def content_type(self) -> bytes:
        """Type and subtype in lower case."""
        return (self.type + b"/" + self.subtype).lower()

    @property
    def is_message(self) -> bool:
        """Whether the part says that it is an embedded message."""
        return self.content_type in (b"message/rfc822", b"message/global")

    @property
    def is_multipart(self) -> bool:
        """Whether the part says that it is a multipart; beyond the limits it may be one without children."""
        return self.type.lower() == b"multipart"

    def parameter(self, name: bytes) -> bytes | None:
        """The value of the first parameter of Content-Type with that name, given in lower case."""
        for key, value in self.params:
            if key.lower() == name:
                return value
        return None

    def header(self, message: bytes) -> bytes:
        """The header of this part with the empty line that ends it."""
        return message[self.header_start : self.body_start]

    def body(self, message: bytes) -> bytes:
        """The body of this part as it stands in the message."""
        return message[self.body_start : self.end]


def walk(root: Part) -> Iterator[Part]:
    """The part and all below it, in the order of the message."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        yield part
        if part.embedded is not None:
            waiting.append(part.embedded)
        waiting.extend(reversed(part.children))


# The values of a part's header.


def first(fields: Fields, name: bytes) -> bytes | None:
    """The value of the first field of that name; None where there is none."""
    values = fields.get(name)
    return values[0] if values else None


def _content_type(value: bytes) -> _Type:
    main, params = parameters(value.replace(b"\0", b""))  # no string of IMAP can hold it, so it is no part of a type
    kind, _, subtype = main.partition(b"/")
    subtype = subtype or _USUAL_SUBTYPE.get(kind.lower(), b"")
    if not kind or not subtype or b"/" in subtype:
        return b"text", b"plain", params or _PLAIN_TEXT[2]  # a name for the attachment is worth keeping
    return kind, subtype, params


# There are some dozens of them, but for boundaries and names of files.
_usual_type = lru_cache(maxsize=512)(_content_type)


def _encoding(value: bytes) -> bytes:
    return value if value.replace(b"-", b"").isalnum() else parameters(value)[0] or b"7bit"


def _disposition(value: bytes) -> tuple[bytes, Parameters] | None:
    kind, params = parameters(value)
    # RFC 2183 section 2.8: what is unknown is an attachment; so is what cannot be read.
    return (kind or b"attachment", params) if kind or params else None


def _languages(value: bytes) -> tuple[bytes, ...] | None:
    tags = (parameters(piece)[0] for piece in value.split(b",", MAX_LANGUAGES))
    return tuple(tag for tag in tags if tag) or None


# The parts of a message by IMAP's numbers.


def find(root: Part, path: tuple[int, ...], text: str | None = None) -> tuple[int, int] | None:
    """The (offset, length) in the message of BODY[section], or None where there is no such section.

    RFC 3501 section 6.4.5. text is None, "HEADER", "TEXT" or "MIME"; for HEADER.FIELDS take HEADER and header.select.
    The parts of a multipart are numbered from 1. Anything else has a part 1, which is its body; but below a leaf
    there is nothing. Below an embedded message go the numbers of that message's parts.
    """
    if not path:
        return None if text == "MIME" else _section(root, text or "WHOLE")
    part = part_at(root, path)
    if part is None:
        return None
    if text == "MIME":
        return _section(part, "HEADER")
    if text is None:
        return _section(part, "TEXT")
    return None if part.embedded is None else _section(part.embedded, text)


def part_at(root: Part, path: tuple[int, ...]) -> Part | None:
    """The part with that path of numbers, of which there is at least one; None where there is no such part."""
    part = _numbered(root, path[0])
    for number in path[1:]:
        if part is None:
            return None
        if part.embedded is not None:
            part = _numbered(part.embedded, number)
        else:
            part = _child(part, number)
    return part


def _numbered(message: Part, number: int) -> Part | None:
    """The part of a message with that number: where it is no multipart, it is its own part 1."""
    if message.children:
        return _child(message, number)
    return message if number == 1 else None


def _child(part: Part, number: int) -> Part | None:
    return part.children[number - 1] if 0 < number <= len(part.children) else None


def _section(part: Part, text: str) -> tuple[int, int]:
    if text == "HEADER":
        return part.header_start, part.body_start - part.header_start
    if text == "TEXT":
        return part.body_start, part.end - part.body_start
    return part.header_start, part.end - part.header_start
