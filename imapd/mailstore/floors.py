"""How far the UIDs of an account's mailboxes have got, told by a second file than the index.

An older copy of the index, such as a backup that was put back, knows nothing of the UIDs that were given since, and
would give them again, to other messages. So after each commit UIDVALIDITY, UIDNEXT and the highest modseq of the
mailboxes that changed are written to `imapd-floors` too, and an index that is below it is found out when it is opened.

Rules:

1. The index commits first, so the file is never ahead of it, whatever crashes. It is written without waiting for the
   disk: after a power cut it may be behind, and then finds out less.
2. A record lies at 32 times the mailbox id, which is never used again, and has a checksum: what is no record says
   nothing. The record of a dropped mailbox is as high as can be.
3. Where the file cannot be written, that is no error: it only guards.
"""

import contextlib
import os
import struct
from collections.abc import Iterable
from typing import Final
from zlib import crc32

from imapd.mailstore import maildir
from imapd.mailstore.rows import BoxRow

FILE: Final = b"imapd-floors"
_RECORD: Final = struct.Struct("<IIQ")
_SUM: Final = struct.Struct("<I")
_SIZE: Final = 32
_LARGEST: Final = 64 * 1024 * 1024  # of two million mailboxes
_NONE: Final = (0, 0, 0)
_DROPPED: Final = (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)

Floor = tuple[int, int, int]  # UIDVALIDITY, UIDNEXT, modseq


def note(path: bytes, boxes: Iterable[BoxRow], dropped: Iterable[int], mode: int) -> None:
    """Write down how far mailboxes have got, and which are no more. Under the account's lock."""
    floors = {box.id: (box.uidvalidity, box.uidnext, box.modseq) for box in boxes}
    floors |= dict.fromkeys(dropped, _DROPPED)
    with contextlib.suppress(OSError):  # rule 3
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
        try:
            for box, floor in floors.items():
                os.pwrite(fd, _packed(box, floor), box * _SIZE)
        finally:
            os.close(fd)


def prune(path: bytes, boxes: Iterable[BoxRow]) -> None:
    """Void the records of mailboxes that are no more: an index that was lost knew them by other ids."""
    data, known = _read(path), {box.id for box in boxes}
    strangers = [number for number, floor in _floors(data).items() if number not in known and floor != _DROPPED]
    if strangers:
        note(path, (), strangers, 0)


def below(path: bytes, boxes: Iterable[BoxRow]) -> list[BoxRow]:
    """The mailboxes that had got further than the index knows."""
    floors = _floors(_read(path))
    return [box for box in boxes if _is_below(box, floors.get(box.id, _NONE))]


def by_id(path: bytes) -> dict[int, Floor]:
    """How far mailboxes have got, by their ids."""
    return _floors(_read(path))


def known(path: bytes) -> dict[int, tuple[int, int]]:
    """How far mailboxes have got: UIDNEXT and modseq, by UIDVALIDITY; the highest, where several have the same."""
    found: dict[int, tuple[int, int]] = {}
    for uidvalidity, uidnext, modseq in _floors(_read(path)).values():
        before = found.get(uidvalidity, (0, 0))
        found[uidvalidity] = max(uidnext, before[0]), max(modseq, before[1])
    found.pop(_DROPPED[0], None)
    return found


def highest_id(path: bytes) -> int:
    """The highest id that a mailbox ever had here."""
    return max(_floors(_read(path)), default=0)


def _read(path: bytes) -> bytes:
    try:
        fd = maildir.open_message(path)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    with open(fd, "rb") as file:
        return file.read(_LARGEST)


def _floors(data: bytes) -> dict[int, Floor]:
    """The records that are sound, by mailbox id."""
    records = {at // _SIZE: data[at : at + _SIZE] for at in range(0, len(data), _SIZE)}
    return {box: floor for box, record in records.items() if (floor := _unpacked(box, record)) != _NONE}


def _is_below(box: BoxRow, floor: Floor) -> bool:
    uidvalidity, uidnext, modseq = floor
    if box.uidvalidity != uidvalidity:
        return box.uidvalidity < uidvalidity
    return box.uidnext < uidnext or box.modseq < modseq


def _packed(box: int, floor: Floor) -> bytes:
    data = _RECORD.pack(*floor)
    return (data + _SUM.pack(crc32(data, box))).ljust(_SIZE, b"\0")


def _unpacked(box: int, record: bytes) -> Floor:
    data, check = record[: _RECORD.size], record[_RECORD.size : _RECORD.size + _SUM.size]
    if len(record) != _SIZE or check != _SUM.pack(crc32(data, box)):
        return _NONE
    uidvalidity, uidnext, modseq = _RECORD.unpack(data)
    return uidvalidity, uidnext, modseq
