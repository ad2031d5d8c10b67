"""The octets of many messages at a time: for clients that copy a mailbox, or show how its messages begin.

Ten thousand small files are read in one go here, with few calls for each; whatever is not as usual is left to the open
Message (mailstore/message), which knows what to do about it.
"""

import errno
import os
from collections.abc import Sequence
from typing import Final

from imapd.mailstore.formats import MailFormat
from imapd.mailstore.message import to_wire
from imapd.mailstore.rows import BoxRow, MessageRow
from imapd.model.loop import Loop

_UNABLE: Final = (errno.EOPNOTSUPP, errno.ENOSYS)


def contents(
    kind: MailFormat, root: bytes, box: BoxRow, rows: Sequence[MessageRow], most: int, loop: Loop
) -> list[bytearray]:
    """The first `most` octets of messages with CRLF line ends, or all of those that have no more.

    Empty for one that is not where its row says, or not as long. What is not in memory is read in a disk thread, in one
    hop for all of them.
    """
    try:
        found = kind.read_together(root, box, rows, most, _at_hand)
    except BlockingIOError:
        found = loop.offload(kind.read_together, root, box, rows, most, os.preadv)
    return [_wire(row.size, data, most) for row, data in zip(rows, found, strict=True)]


def _wire(size: int, data: bytearray, most: int) -> bytearray:
    wire = to_wire(data)
    if size <= most:
        return wire if len(wire) == size else bytearray()
    return wire[:most] if len(wire) >= most else bytearray()


def _at_hand(fd: int, rooms: "list[bytearray]", start: int) -> int:
    """A Read of what is in memory. Raises BlockingIOError where it is not, OSError."""
    try:
        return os.preadv(fd, rooms, start, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        return os.preadv(fd, rooms, start)  # the file system cannot tell what it has in memory
