"""A message on its way into the store, and an open one on its way out.

On disk line ends are LF; on the wire they are CRLF. In: each CRLF becomes LF. Out: each LF that no CR stands before
becomes CRLF. So what came with CRLF goes out octet by octet as it came, also with lone CRs in it, and what other
programs wrote, with LF, CRLF or both, goes out with CRLF.

What is not in the machine's memory is read in a disk thread, and so does not hold up the loop.

The size that a Message says is the number of octets it gives, always: where the name of a file lies about it, the
octets have been counted before the size is said.
"""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from imapd.mailstore import maildir
from imapd.mailstore.bench import disk_errors
from imapd.mailstore.errors import Corrupt, Retry, StoreError
from imapd.mailstore.formats import Slice
from imapd.mailstore.maildir import PIECE
from imapd.mailstore.places import BEGINNING, Place, Places
from imapd.model.loop import Loop

IN_MEMORY: Final = 512 * 1024
"""Up to this size a message is read whole, which counts its octets by the way."""
_BUFFER: Final = 256 * 1024
Octets = TypeVar("Octets", bytes, bytearray)
_CRLF: Final = re.compile(rb"(?<!\r)\r\n")


def to_disk(data: bytes) -> bytes:
    """Each CRLF as LF; but not after another CR, where it could not be told from a lone LF any more."""
    return _CRLF.sub(b"\n", data) if b"\r\r\n" in data else data.replace(b"\r\n", b"\n")


def to_wire(data: Octets, last: int = -1) -> Octets:
    """Each LF without a CR before it as CRLF; `last` is the octet that came before the data."""
    if last == 0x0D and data[:1] == b"\n":
        return data[:1] + to_wire(data[1:], 0x0A)
    if b"\r" in data:  # looking for two octets takes as long again as all the rest
        data = data.replace(b"\r\n", b"\n")
    return data.replace(b"\n", b"\r\n")


class LocalSpool:
    """A message on its way in, a file in tmp/. Used by one connection.

    The file is made when there is more than a little of it, or all (`finish`, in a disk thread).
    """

    def __init__(self, path: bytes, mode: int, dir_mode: int) -> None:
        self.path = path
        self.octets = 0
        self.size = 0
        self._mode = mode
        self._dir_mode = dir_mode
        self._fd: int | None = None
        self._is_over = False  # released or abandoned
        self._pending: list[bytes] = []
        self._waiting = 0
        self._last = -1
        self._held = b""  # CRs at the end, whose LF may be still to come

    @property
    def is_small(self) -> bool:
        """Whether nothing of it is on the disk yet, so that it will be there in a moment."""
        return self._fd is None

    def write(self, data: bytes) -> None:
        self._pending.append(bytes(data))
        self._waiting += len(data)
        if self._waiting >= _BUFFER:
            self._put(self._taken())

    def _taken(self, everything: bool = False) -> bytes:
        """What came since the last time, as it is to lie on the disk."""
        data = self._held + b"".join(self._pending)
        self._pending.clear()
        self._waiting = 0
        # Two CRs are enough to see that the LF after them belongs to no CRLF of the line end.
        held = 0 if everything else min(2, len(data) - len(data.rstrip(b"\r")))
        body = data[: len(data) - held]
        self._held = data[len(body) :]
        return to_disk(body)

    def _put(self, data: bytes) -> None:
        if self._is_over:
            return
        with disk_errors():
            if self._fd is None:
                self._fd = self._create()
            left = memoryview(data)
            while left:
                left = left[os.write(self._fd, left) :]
        self._count(data)

    def _count(self, data: bytes) -> None:
        if data:
            self.size += len(data) + maildir.bare_line_feeds(data, self._last)
            self.octets += len(data)
            self._last = data[-1]

    def _create(self) -> int:
        try:
            return maildir.create_file(self.path, self._mode)
        except FileNotFoundError:  # others remove empty directories
            maildir.make_directory(os.path.dirname(self.path), self._dir_mode)
            return maildir.create_file(self.path, self._mode)

    def finish(self) -> int:
        """Write what is left; the open file, which `abandon` or `release` closes. Raises StoreError."""
        self._put(self._taken(everything=True))
        if self._fd is None:
            raise Retry(reason="a message was given up while it was written down")
        return self._fd

    def whole(self) -> bytes:
        """The text of a small one, as it would lie on the disk, which it need not. Raises StoreError."""
        if self._is_over:
            raise Retry(reason="a message was given up before it was appended")
        text = self._taken(everything=True)
        self._count(text)
        return text

    def release(self) -> None:
        """Close the file, which belongs to the mailbox now or is gone already."""
        self._is_over = True
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def abandon(self) -> None:
        is_there, self._is_over = self._fd is not None, True
        if is_there:
            # Before it is closed: a thread that is about to sync it would not tell another file under its number.
            with contextlib.suppress(OSError):
                maildir.discard(self.path)
            self.release()


class LocalMessage:
    """An open message, a slice of a file. The file stays readable when it is renamed or removed meanwhile."""

    def __init__(
        self,
        opened: Slice,
        size: int,
        loop: Loop,
        content: bytes | None = None,
        places: Places | None = None,
        reopen: Callable[[], Slice] | None = None,
    ) -> None:
        """places: what is known of the message, where it is to be remembered for the next time. reopen: finds it again
        where it is not in its place any more; raises StoreError."""
        self._slice: Slice | None = opened
        self._places = places or Places()
        self._reopen = reopen
        self._loop = loop
        self._content = content
        self.size = size

    def read(self) -> bytes:
        if self._content is None:
            return b"".join(self.chunks())
        return self._content

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        if self._content is not None:
            for begin in range(start, len(self._content), PIECE):
                yield self._content[begin : begin + PIECE]
            return
        place = self._places.before(start)
        left, skipped = self.size - place.wire, start - place.wire
        for piece in self._pieces(PIECE // 2, place):
            if len(piece) > left:
                break
            left -= len(piece)
            if skipped < len(piece):
                yield piece[skipped:]
            skipped = max(0, skipped - len(piece))
            self._loop.breathe()
        if left:
            # Another program changed the file in place after its octets were counted. The announced size cannot be
            # taken back, so the connection cannot go on.
            raise Corrupt(reason="a message file changed while it was read")

    def header(self) -> bytes:
        if self._content is not None:
            return header_of(self._content) or self._content
        read = bytearray()
        for piece in self._pieces(16 * 1024):
            start = max(0, len(read) - 4)
            read += piece
            if end := _header_end(read, start):
                return bytes(read[:end])
            self._loop.breathe()
        return bytes(read)

    def _pieces(self, size: int, begin: Place = BEGINNING) -> Iterator[bytes]:
        """The message with CRLF line ends, from a place on; a piece is at most twice `size` long."""
        wire, offset, last = begin
        with disk_errors():
            while offset < (opened := self._open()).octets:
                data = _read_at(opened, size, offset, self._loop)
                if not opened.is_there():
                    self._find_again()
                    continue
                if not data:
                    return
                offset += len(data)
                piece = to_wire(data, last)
                wire += len(piece)
                last = data[-1]
                self._places.note(Place(wire, offset, last))
                yield piece

    def _find_again(self) -> None:
        """Another program moved the message within its file. Raises Corrupt where it is gone: see `chunks`."""
        octets = self._open().octets
        with contextlib.suppress(StoreError):
            if self._reopen is not None:
                fresh = self._reopen()
                self.close()
                self._slice = fresh
        if not self._open().is_there() or self._open().octets != octets:
            raise Corrupt(reason="a message was removed from its file while it was read")

    def taken(self) -> Slice:
        """The open slice, which is the caller's from now on."""
        opened, self._slice = self._open(), None
        return opened

    def _open(self) -> Slice:
        if self._slice is None:
            raise ValueError("the message was closed")
        return self._slice

    def close(self) -> None:
        if self._slice is not None:
            opened, self._slice = self._slice, None
            opened.close()


def header_of(content: bytes) -> bytes | None:
    """The header of a message that begins so, with the empty line that ends it; None where that is not there."""
    end = _header_end(content, 0)
    return content[:end] if end else None


def _header_end(content: bytes | bytearray, start: int) -> int:
    """Where the empty line ends that ends the header, looked for from there on; 0 where there is none."""
    if content.startswith(b"\r\n"):
        return 2
    end = content.find(b"\r\n\r\n", start)
    return end + 4 if end >= 0 else 0


def count_wire(opened: Slice, loop: Loop) -> int:
    """The octets that a message has on the wire."""
    size, offset, last = 0, 0, -1
    with disk_errors():
        while data := _read_at(opened, PIECE, offset, loop):
            offset += len(data)
            size += len(data) + maildir.bare_line_feeds(data, last)
            last = data[-1]
            loop.breathe()
    return size


def read_whole(opened: Slice, loop: Loop, places: Places | None = None) -> bytes:
    """A small message with CRLF line ends; places: where it is noted down what stands where, for the next time."""
    with disk_errors():
        pieces = []
        wire, offset, last = BEGINNING
        size = opened.octets if places is None else PIECE // 2
        while data := _read_at(opened, size, offset, loop):
            offset += len(data)
            piece = to_wire(data, last)
            wire += len(piece)
            last = data[-1]
            pieces.append(piece)
            if places is not None:
                places.note(Place(wire, offset, last))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _read_at(opened: Slice, size: int, offset: int, loop: Loop) -> bytes:
    """Some octets of a message, none at its end."""
    size = min(size, opened.octets - offset)
    if size <= 0:
        return b""
    if offset < len(opened.head):
        return opened.head[offset : offset + size]
    return read_at(opened.fd, size, opened.start + offset - len(opened.head), loop)


def read_at(fd: int, size: int, start: int, loop: Loop) -> bytes:
    """Some octets of a file; what is not in memory is read in a disk thread. Raises OSError."""
    room = bytearray(size)
    try:
        got = os.preadv(fd, [room], start, os.RWF_NOWAIT)
    except BlockingIOError:
        return loop.offload(os.pread, fd, size, start)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return os.pread(fd, size, start)  # the file system cannot tell what it has in memory
    return bytes(memoryview(room)[:got])
