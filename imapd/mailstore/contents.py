"""The octets of many messages at a time: for clients that copy a mailbox, or show how its messages begin.

Ten thousand small files are read in one go here, with few calls for each; whatever is not as usual is left to the open
Message (mailstore/message), which knows what to do about it.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from imapd.mailstore.errors import Expunged
from imapd.mailstore.formats import MailFormat
from imapd.mailstore.message import LocalMessage, header_of, to_wire
from imapd.mailstore.rows import BoxRow, MessageRow
from imapd.mailstore.runs import Messages
from imapd.mailstore.store import ReadMany
from imapd.model.loop import Loop

TOGETHER: Final = 256 * 1024
AT_ONCE: Final = 64
"""Octets, and messages, that are read before others get their turn: about a millisecond."""
_OF_HEADER: Final = 16 * 1024  # nearly every header is shorter
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


def portions(weights: Iterable[int]) -> Iterator[slice]:
    """Cuts messages by their octets into portions that may be in memory; what is too large is one by itself."""
    first = place = octets = 0
    for place, weight in enumerate(weights, 1):
        if place - first > 1 and (octets + weight > TOGETHER or place - first > AT_ONCE):
            yield slice(first, place - 1)
            first, octets = place - 1, 0
        octets += weight
    if place > first:
        yield slice(first, place)


@dataclass(frozen=True, slots=True)
class InTurn:
    """Messages of a mailbox read one after the other, many of them ahead. read and open_one are for these messages."""

    messages: Messages
    read: ReadMany
    open_one: Callable[[int], LocalMessage]

    def wholes(self) -> Iterator[bytes | None]:
        """Their octets; None for one that is gone, or is not what the index says."""
        for place, beginning in self._beginnings(sys.maxsize):
            yield bytes(beginning) or self._by_itself(place, LocalMessage.read)

    def headers(self) -> Iterator[bytes | None]:
        """Their headers, in the same way."""
        for place, beginning in self._beginnings(_OF_HEADER):
            is_whole = self.messages.sizes[place] <= _OF_HEADER
            header = header_of(bytes(beginning)) or (bytes(beginning) if is_whole else b"")
            yield header or self._by_itself(place, LocalMessage.header)

    def _beginnings(self, most: int) -> Iterator[tuple[int, bytearray]]:
        """The place of each message, and so many of its octets; none of one that has to be looked at by itself."""
        weights = [min(size, most) for size in self.messages.sizes]
        for portion in portions(weights):
            places = range(len(weights))[portion]
            fits = weights[places[0]] <= TOGETHER
            read = self.read(self.messages.uids[portion], most) if fits else [bytearray()]
            yield from zip(places, read, strict=True)

    def _by_itself(self, place: int, octets_of: Callable[[LocalMessage], bytes]) -> bytes | None:
        try:
            opened = self.open_one(self.messages.uids[place])
        except Expunged:
            return None
        try:
            return octets_of(opened) if opened.size == self.messages.sizes[place] else None
        finally:
            opened.close()


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
