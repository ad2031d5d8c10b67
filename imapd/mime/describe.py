"""What FETCH tells of a message besides its octets, as values: the ENVELOPE, and the fields of a body structure.

The structure itself is the tree of parts (parts.py); here is what a renderer needs to know of one part. The values are
octets as sent and unfolded; how they are spelled on the wire is not known here.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from imapd.mime.parts import Fields, Part

MAX_ADDRESS_FIELDS: Final = 10_000
"""Of fields with the same name no more are read; they would not fit into the value that is read of one."""


def people(fields: Fields, name: bytes) -> bytes | None:
    """The addresses of all fields of that name, as the value of one; None where there is none."""
    values = fields.get(name)
    if not values:
        return None
    # One field of each name is allowed (RFC 2822 section 3.6); where there are more, nobody shall be missing.
    return values[0] if len(values) == 1 else b", ".join(values[:MAX_ADDRESS_FIELDS])


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
    if part.is_multipart or part.is_message:
        return b"application", b"octet-stream"
    return part.type, part.subtype
