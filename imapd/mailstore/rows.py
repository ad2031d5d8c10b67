"""The rows of the index as values: mailboxes, messages, and what is read of many of them.

A message is known by its key: mailbox id << 32 | UID.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from imapd.mailstore.errors import LimitExceeded
from imapd.mailstore.maildir import base_of

_UIDS: Final = 0xFFFFFFFF
LAST_UID: Final = _UIDS - 1
"""UIDNEXT has to be a number still when it is given."""
_MASK: Final = (1 << 64) - 1
_SUMMED: Final = Struct("<6q").pack


UNKNOWN, ABSENT, TAKING = "", "-", "?"
"""The `uidlist_stamp` of a mailbox that is older than these stamps, or has no such list; and how that of one begins
whose list is being taken in."""


class BoxRow(NamedTuple):
    """A mailbox. The stamps are of listings of new/ and cur/ that the rows agree with; doubt: see mailstore/sync.

    messages and octets: how many messages it has, and of how many octets on the wire. uidlist_stamp: of the other
    server's list of UIDs that the rows agree with, see mailstore/foreign.
    """

    id: int
    name: str
    directory: bytes
    uidvalidity: int
    uidnext: int
    modseq: int
    recent: int
    special_use: str
    new_stamp: str
    cur_stamp: str
    doubt: float
    messages: int
    octets: int
    uidlist_stamp: str


class Given(NamedTuple):
    """The UIDs that the messages of a mailbox had before it had rows: by the base names of their files (Maildir).

    uidvalidity: 0 where nobody knows. stamp: what to remember it by, see mailstore/foreign. modseq: to begin with.
    """

    uidvalidity: int
    uidnext: int
    uids: dict[bytes, int]
    stamp: str
    modseq: int = 1


class MessageRow(NamedTuple):
    """A message. id is the clustering key (rule 2). octets is 0 where the wire size was not counted by us.

    base is the base name the file is to have, where that is not the one of `file`; pending: the file has to be renamed.
    """

    id: int
    place: int
    file: bytes
    base: bytes | None
    mask: int
    modseq: int
    size: int
    octets: int
    date: int
    pending: int

    @property
    def uid(self) -> int:
        return self.id & _UIDS


@dataclass(frozen=True, slots=True)
class NewRows:
    """Messages that come into a mailbox at the same time, with one modseq, as columns: what MessageRow says of each.

    known_by: the base names of the files, which they keep. is_by_file: that is what `files` tell; if not, it stands in
    the row as `base`.
    """

    uids: list[int]
    places: list[int]
    files: list[bytes]
    known_by: list[bytes]
    masks: list[int]
    modseq: int
    sizes: list[int]
    octets: list[int]
    dates: list[int]
    pending: list[int]
    is_by_file: bool = True


class Usage(NamedTuple):
    """What an account, or a mailbox, comes to: messages, and their octets on the wire."""

    messages: int
    octets: int


@dataclass(frozen=True, slots=True)
class Columns:
    """All messages of a mailbox, as columns, and the mailbox as it was at that moment."""

    box: BoxRow
    keywords: tuple[str, ...]
    uids: "array[int]"
    masks: "array[int]"
    modseqs: "array[int]"
    sizes: "array[int]"
    dates: "array[int]"


@dataclass(frozen=True, slots=True)
class Delta:
    """What changed since a modseq: rows of (uid, mask, modseq, size, date) ascending, and the UIDs that vanished.

    What vanished up to the modseq `forgotten` is not known any more one by one.
    """

    box: BoxRow
    keywords: tuple[str, ...]
    rows: list[tuple[int, int, int, int, int]]
    vanished: list[int]
    forgotten: int


def identity(row: MessageRow) -> bytes:
    """What a message is known by among the files, whatever its flags are."""
    return row.base or base_of(row.file)


def message_sum(row: MessageRow) -> int:
    """The checksum of a message. place and pending are not in it: files move, and a wrong place is found out."""
    return packed_sum(row.id, signed(row.mask), row.modseq, row.size, row.octets, row.date, identity(row))


def packed_sum(key: int, mask: int, modseq: int, size: int, octets: int, date: int, base: bytes) -> int:
    """The checksum of a message by its values as SQLite has them. Raises struct.error or TypeError for nonsense."""
    return crc32(base, crc32(_SUMMED(key, mask, modseq, size, octets, date)))


def box_sum(row: BoxRow) -> int:
    """The checksum of a mailbox."""
    return crc32("\0".join([str(value) for value in row]).encode("utf-8", "surrogatepass"))


def message_id(box: int, uid: int) -> int:
    """The clustering key of a message. Raises LimitExceeded where the UIDs of the mailbox are used up."""
    if uid > LAST_UID:
        raise LimitExceeded("The mailbox has no UID left; please make a new one.")
    return box << 32 | uid


def span(box: int) -> tuple[int, int]:
    """The lowest and the highest key that a message of the mailbox can have."""
    return box << 32, box << 32 | _UIDS


def unsigned(mask: int) -> int:
    """A mask as SQLite gave it."""
    return mask & _MASK


def signed(mask: int) -> int:
    """A mask as SQLite takes it."""
    return mask - (1 << 64) if mask >> 63 else mask


def runs(uids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The UIDs, or keys, as closed ranges, ascending."""
    numbers = iter(sorted(set(uids)))
    low = high = next(numbers, 0)
    if not low:
        return
    for number in numbers:
        if number != high + 1:
            yield low, high
            low = number
        high = number
    yield low, high
