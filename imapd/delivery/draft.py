"""A message on its way in, before it is known where it goes: a small one in memory, a larger one in a file without a
name, which is gone when the process is, however it ends.

Each recipient gets his own copy of it, on the disk of his own mail file and with his own lines above it.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from typing import IO

from imapd.delivery.outcome import EMPTY, FULL_DISK, TOO_LARGE, TROUBLE, Undelivered
from imapd.model.loop import Loop

# As much as that of each connection may be in memory: most messages, and little enough for a hundred connections.
IN_MEMORY = 128 * 1024
PIECE = 128 * 1024


class Draft:
    """One message. folder: where its file is made; limit: the octets it may have, 0 for any number.

    Writing never raises: an agent sends its message to the end, whatever happens. `require` tells.
    """

    def __init__(self, loop: Loop, folder: str, limit: int = 0) -> None:
        self._loop = loop
        self._folder = folder
        self._limit = limit
        self._buffer = bytearray()
        self._file: IO[bytes] | None = None
        self._fault: Undelivered | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        """Take the next octets."""
        self.size += len(data)
        if self._fault is not None:
            return
        if self._limit and self.size > self._limit:
            self._fail(Undelivered(TOO_LARGE, f"the message has more than {self._limit} octets"))
            return
        self._buffer += data
        if len(self._buffer) > IN_MEMORY:
            try:
                self._loop.offload(self._to_file)
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                self._fail(Undelivered(FULL_DISK if full else TROUBLE, f"{self._folder}: {error.strerror}"))

    def _to_file(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by close()
        left = memoryview(bytes(self._buffer))
        while left:
            left = left[self._file.write(left) :]
        self._buffer.clear()

    def _fail(self, fault: Undelivered) -> None:
        self._fault = fault
        self.close()

    def require(self) -> None:
        """Raises Undelivered where the message did not come in whole, or is none."""
        if self._fault is not None:
            raise self._fault
        if not self.size:
            raise Undelivered(EMPTY)

    def pieces(self) -> Iterator[bytes]:
        """The message from its beginning, in pieces; as often as there are recipients."""
        if self._file is not None:
            offset = 0
            while piece := self._loop.offload(os.pread, self._file.fileno(), PIECE, offset):
                offset += len(piece)
                yield piece
        if self._buffer:
            yield bytes(self._buffer)

    def close(self) -> None:
        """Throw it away. Closing twice does nothing."""
        self._buffer.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
