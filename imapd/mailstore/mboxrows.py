"""What the index keeps of an mbox, and how it is written down in the columns that a Maildir uses otherwise.

A message: `place` is the offset of its From_ line, `octets` the length of its text in the file with the hidden fields,
`base` its fingerprint, `file` the flags that the file had for it when it was looked at last, which is what changes
are told from; `pending` that the file lacks flags which the index has. The grave of an expunged message that is still
in the file has its fingerprint and offset.

A mailbox: `new_stamp` is the Seen that its rows agree with, `cur_stamp` the Owed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import Final, NamedTuple

from imapd.mailstore.flagnames import FIRST_KEYWORD, KEYWORDS, FlagNames
from imapd.mailstore.mboxfile import date_of
from imapd.mailstore.mboxheader import FINGERPRINT, Head, Wanted
from imapd.mailstore.mboxusual import Found
from imapd.mailstore.rows import BoxRow, MessageRow, NewRows
from imapd.model.flags import SYSTEM_FLAGS

PART: Final = "part"
"""The times of a file that is being taken in for the first time."""
_MASK: Final = Struct("<Q")
_PLACE: Final = Struct("<Q")
_LETTERS: Final = {
    letter: 1 << SYSTEM_FLAGS.index(flag)
    for letter, flag in zip(b"RAFDT", ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"), strict=True)
}

_SYSTEM: Final = sum(_LETTERS.values())


@dataclass(frozen=True, slots=True)
class Seen:
    """What a mail file was when it was looked at: the inode, how far it was taken in, its times.

    last_uid: while it is taken in for the first time, the UIDs up to this one are those that X-UID says; 0 afterwards.
    """

    inode: int = 0
    end: int = 0
    times: str = ""
    last_uid: int = 0

    @classmethod
    def of(cls, status: os.stat_result) -> "Seen":
        return cls(status.st_ino, status.st_size, f"{status.st_mtime_ns}.{status.st_ctime_ns}")

    @classmethod
    def read(cls, text: str) -> "Seen":
        inode, _, rest = text.partition(" ")
        end, _, rest = rest.partition(" ")
        times, _, last_uid = rest.partition(" ")
        return cls(int(inode), int(end), times, int(last_uid)) if last_uid.isdigit() else cls()

    def __str__(self) -> str:
        return f"{self.inode} {self.end} {self.times} {self.last_uid}"


@dataclass(frozen=True, slots=True)
class Owed:
    """What a mail file is in need of at the next look: the (offset, length) of an append that has begun."""

    adding: tuple[int, int] | None = None

    @classmethod
    def read(cls, text: str) -> "Owed":
        for word in text.split():
            kind, *numbers = word.split(":")
            if kind == "adding":
                return cls((int(numbers[0]), int(numbers[1])))
        return cls()

    def __str__(self) -> str:
        return f"adding:{self.adding[0]}:{self.adding[1]}" if self.adding else ""


def pack_mask(mask: int) -> bytes:
    """The flags of a message in the file."""
    return _MASK.pack(mask)


def mask_in_file(row: MessageRow) -> int:
    """The flags that the file had for the message."""
    return int(_MASK.unpack(row.file)[0]) if len(row.file) == _MASK.size else row.mask


@dataclass(frozen=True, slots=True, order=True)
class Grave:
    """An expunged message that is still in the file."""

    place: int
    key: int = field(compare=False)
    fingerprint: bytes = field(compare=False)

    def packed(self) -> bytes:
        return self.fingerprint + _PLACE.pack(self.place)

    @classmethod
    def unpack(cls, key: int, data: bytes) -> "Grave":
        return cls(int(_PLACE.unpack(data[FINGERPRINT:])[0]), key, data[:FINGERPRINT])


@lru_cache(1024)
def _mask_of_letters(letters: bytes) -> int:
    return sum([bit for letter, bit in _LETTERS.items() if letter in letters])


def mask_of(head: Head, names: FlagNames) -> int:
    """The flags that the fields of a message say. Keywords beyond what a mailbox can have are left out."""
    mask = _mask_of_letters(head.letters)
    for word in head.keywords if b"x-keywords" in head.said else ():
        known = word.lower() in {known.lower() for known in names.keywords}
        mask |= names.mask([word], create=known or len(names.keywords) < KEYWORDS)
    return mask


def wanted(box: BoxRow, row: MessageRow, keywords: list[str]) -> Wanted:
    """What the fields of a message are to say."""
    letters = _letters_of_mask(row.mask & _SYSTEM)
    words = row.mask >> FIRST_KEYWORD and [
        word for number, word in enumerate(keywords) if row.mask >> FIRST_KEYWORD + number & 1
    ]
    return Wanted(letters + b"O" if row.uid <= box.recent else letters, words or (), row.uid)


@lru_cache(32)
def _letters_of_mask(mask: int) -> bytes:
    return bytes([letter for letter, bit in _LETTERS.items() if mask & bit])


class Stranger(NamedTuple):
    """A message in the file, as far as its row needs it."""

    place: int
    octets: int
    size: int
    fingerprint: bytes
    mask: int
    date: int
    uid: int | None
    is_old: bool


def stranger_of(found: Found, names: FlagNames, now: float) -> Stranger:
    """A message that was found in the file."""
    offset, text, end, _, size, line, head = found
    date = date_of(line)
    if date is None:
        date = int(now)
    fingerprint = head.fingerprint(line, end - text - len(head.octets))
    if not head.fields:
        return Stranger(offset, end - text, size, fingerprint, 0, date, None, False)
    return Stranger(offset, end - text, size, fingerprint, mask_of(head, names), date, head.uid, head.is_old)


def new_rows(arrived: Sequence[tuple[int, Stranger]], modseq: int) -> NewRows:
    """The rows of messages, of which there are some, with these UIDs."""
    uids = [uid for uid, _ in arrived]
    columns = zip(*[stranger for _, stranger in arrived], strict=True)
    places, octets, sizes, fingerprints, masks, dates = [list(column) for column in islice(columns, 6)]
    files = [pack_mask(mask) for mask in masks]
    pending = [0] * len(uids)
    return NewRows(uids, places, files, fingerprints, masks, modseq, sizes, octets, dates, pending, is_by_file=False)
