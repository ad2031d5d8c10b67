"""Reading many message files of a Maildir: three calls for each, and nothing that is not needed where all is well."""

import os
from collections.abc import Sequence
from typing import Final

from imapd.mailstore.formats import Read
from imapd.mailstore.maildir import ELSEWHERE, place_name
from imapd.mailstore.rows import MessageRow

# As maildir.open_sized. What is no regular file cannot be read at a place (FIFOs, sockets, directories).
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_together(folder: bytes, rows: Sequence[MessageRow], most: int, read: Read) -> list[bytearray]:
    """See mailstore/formats; messages of one folder. Raises BlockingIOError."""
    opened: dict[int, int] = {}
    try:
        # The kernel walks the path once for each folder, and not for each message.
        for place in {row.place for row in rows} - {ELSEWHERE}:
            opened[place] = os.open(folder + b"/" + place_name(place), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        pass  # none of its messages is where it should be
    try:
        return [_read(opened.get(row.place), row, most, read) for row in rows]
    finally:
        for fd in opened.values():
            os.close(fd)


def _read(folder: int | None, row: MessageRow, most: int, read: Read) -> bytearray:
    """The beginning of a file, or nothing where it is longer on the disk than it should be on the wire."""
    if folder is None:
        return bytearray()
    room = bytearray(min(row.size, most))
    rooms = [room, bytearray(1)] if row.size <= most else [room]
    try:
        fd = os.open(row.file, _FLAGS, dir_fd=folder)
        try:
            got = read(fd, rooms, 0)
        finally:
            os.close(fd)
    except BlockingIOError:
        raise
    except OSError:
        return bytearray()
    if got > len(room):
        return bytearray()
    del room[got:]
    return room
