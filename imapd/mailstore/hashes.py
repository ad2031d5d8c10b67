"""The list of hashes of an account: what the text of each message was when `imapd repair --hashes` looked last.

    imapd-hashes 1
    <hash> <what the message is known by>
    ...
    end <checksum>

A hash is a BLAKE2b of 16 octets over the text as it lies on the disk, in hexadecimal. A message is known by the base
name of its file, or in an mbox by its fingerprint in hexadecimal, so the list holds also when mailboxes are renamed,
messages moved and UIDs given anew. Several messages may be known by the same; each of their texts is right then.
"""

import os
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final
from zlib import crc32

from imapd.mailstore import maildir
from imapd.mailstore.formats import Slice
from imapd.mailstore.rows import MessageRow, identity

FILE: Final = b"imapd-hashes"
_HEAD: Final = b"imapd-hashes 1\n"
_PIECE: Final = 1 << 20

Hashes = Mapping[bytes, frozenset[bytes]]
"""The hashes of messages by what they are known by (`key`)."""


def key(row: MessageRow) -> bytes:
    """What a message is known by, as it stands in the list."""
    known_by = identity(row)
    # The name of a file may have any octets but / and NUL, and a fingerprint has any.
    return known_by.hex().encode() if len(known_by) == 16 and row.base else known_by.replace(b"\n", b"%0A")


def of_text(text: Slice) -> tuple[bytes, int]:
    """The hash of an open message, and its octets on the wire. Raises OSError."""
    hashed = blake2b(text.head, digest_size=16)
    size, last = 0, -1
    if text.head:
        size, last = len(text.head) + maildir.bare_line_feeds(text.head, -1), text.head[-1]
    at, end = text.start, text.start + text.octets - len(text.head)
    while at < end and (data := os.pread(text.fd, min(_PIECE, end - at), at)):
        hashed.update(data)
        size += len(data) + maildir.bare_line_feeds(data, last)
        last = data[-1]
        at += len(data)
    return hashed.digest(), size


def read(path: bytes) -> Hashes | None:
    """The list; an empty one where there is none, None where it is damaged. Raises OSError."""
    try:
        fd = maildir.open_message(path)
    except FileNotFoundError:
        return {}
    with open(fd, "rb") as file:
        data = file.read()
    body, end, check = data.rpartition(b"end ")
    if not (end and body.startswith(_HEAD) and check == b"%08x\n" % crc32(body)):
        return None
    found: dict[bytes, frozenset[bytes]] = {}
    for line in body.split(b"\n")[1:-1]:
        known_by = line[33:]
        found[known_by] = found.get(known_by, frozenset()) | {bytes.fromhex(line[:32].decode())}
    return found


def write(path: bytes, hashes: Hashes, scratch: bytes, mode: int) -> None:
    """Replace the list, durably. Raises OSError."""
    lines = [b"%s %s\n" % (each.hex().encode(), known_by) for known_by in sorted(hashes) for each in hashes[known_by]]
    body = _HEAD + b"".join(lines)
    maildir.write_whole(path, body + b"end %08x\n" % crc32(body), scratch, mode)
