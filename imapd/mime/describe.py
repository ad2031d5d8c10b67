"""What FETCH tells of a message besides its octets, as values: the ENVELOPE, and the fields of a body structure.

The structure itself is the tree of parts (parts.py); here is what a renderer needs to know of one part. The values are
octets as sent and unfolded; how they are spelled on the wire is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imapd.mime.address import Address, addresses
from imapd.mime.header import wanted_values
from imapd.mime.parts import ENVELOPE_FIELDS, Fields, Part

MAX_ADDRESS_FIELDS: Final = 10_000
"""Of fields with the same name no more are read; they would not fit into the value that is read of one."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """The ENVELOPE of a message (RFC 3501 section 7.4.2).

    A field that is absent is None; one that is there and empty is an empty string. No addresses are an empty list.
    """

    date: bytes | None
    subject: bytes | None
    from_: list[Address]
    sender: list[Address]
    reply_to: list[Address]
    to: list[Address]
    cc: list[Address]
    bcc: list[Address]
    in_reply_to: bytes | None
    message_id: bytes | None


def envelope(header: bytes, breathe: Callable[[], None] | None = None) -> Envelope:
    """The envelope of a message with that header."""
    return envelope_of_fields(wanted_values(header, ENVELOPE_FIELDS, breathe), breathe)


def envelope_of_fields(fields: Fields, breathe: Callable[[], None] | None = None) -> Envelope:
    """The envelope made of the unfolded values of a header's fields, as `Part.fields` has them."""

    def text(name: bytes) -> bytes | None:
        values = fields.get(name)
        return values[0] if values else None

    def people(name: bytes) -> list[Address]:
        values = fields.get(name)
        if not values:
            return []
        # One field of each name is allowed (RFC 2822 section 3.6); where there are more, nobody shall be missing.
        return addresses(values[0] if len(values) == 1 else b", ".join(values[:MAX_ADDRESS_FIELDS]), breathe)

    from_ = people(b"from")
    return Envelope(
        date=text(b"date"),
        subject=text(b"subject"),
        from_=from_,
        sender=people(b"sender") or from_,
        reply_to=people(b"reply-to") or from_,
        to=people(b"to"),
        cc=people(b"cc"),
        bcc=people(b"bcc"),
        in_reply_to=text(b"in-reply-to"),
        message_id=text(b"message-id"),
    )


class Form(Enum):
    """Which of the grammar's body types a part is written as (RFC 9051 section 9, body)."""

    MULTIPART = "body-type-mpart"
    MESSAGE = "body-type-msg"
    TEXT = "body-type-text"
    BASIC = "body-type-basic"


def form(part: Part) -> Form:
    """The form of a part: what it says that it is, unless it could not be looked into."""
    if part.children:
        return Form.MULTIPART
    if part.embedded is not None:
        return Form.MESSAGE
    return Form.TEXT if part.type.lower() == b"text" else Form.BASIC


def shown_type(part: Part) -> tuple[bytes, bytes]:
    """Type and subtype as a client is told.

    A multipart or an embedded message that could not be looked into (encoded, or beyond the limits) cannot be told as
    such: clients would wait for its inside. It becomes octets that can be saved, as RFC 2045 section 6.4 wants it for
    encodings that are unknown.
    """
    if part.children or part.embedded is not None:
        return part.type, part.subtype
    if part.is_multipart or part.content_type in (b"message/rfc822", b"message/global"):
        return b"application", b"octet-stream"
    return part.type, part.subtype
