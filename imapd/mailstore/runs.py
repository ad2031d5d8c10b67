"""Files of rendered runs: for each message of a mailbox the octets that FETCH sends again and again, ready to be sent.

A file may be thrown away at any time. It is written without waiting for the disk, and what cannot be believed is made
anew. Rules:

1. A file only grows, by whole blocks, each written under the file's lock with one write. So several processes may add
   to it while others read. A new file takes the place of one that is damaged, of another mailbox or of another version.
2. The head says whose file it is: version, mailbox, UIDVALIDITY and what the runs are. A block begins with its columns
   (UID, octets, sum, marks), which have a checksum of their own; the runs follow, in that order.
3. A run's checksum is over its octets and over the message's identity: UID, size and internal date. It is verified when
   this process uses the run for the first time. A run that does not fit counts as missing.
4. Of two runs of one message the later counts; an empty one says that nothing is known.
5. A block ends with a word that repeats its checksum. Who adds to a file that does not end so (somebody crashed when he
   wrote) begins a new one; nothing is ever cut off or written over, because others may have read it already.
"""

import contextlib
import errno
import fcntl
import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import lt
from struct import Struct, error
from typing import Final, NamedTuple
from zlib import crc32

VERSION: Final = 1
"""To be raised with every change of the texts that mailstore/render makes."""
MARKS: Final = 3
"""Ends of texts inside a run, where a blank stands: a run has one text more than it has marks."""

_MAGIC: Final = b"imapd-rn"
_HEAD: Final = Struct("<8sIQIII")  # magic, version, mailbox, UIDVALIDITY, octets of subject, checksum of all of it
_NAME: Final = 8  # octets behind the head that tell this file from one that had its place and its inode before
_BLOCK: Final = Struct("<4sIQI")  # magic, how many runs, octets of all runs, checksum of these and of the columns
_BLOCK_MAGIC: Final = b"runs"
_TAIL: Final = Struct("<4sI")  # magic, the checksum of the block's head
_TAIL_MAGIC: Final = b"done"
_IDENTITY: Final = Struct("<IQq")
_COLUMNS: Final = 3 + MARKS  # of 32 bits each
_SCATTERED: Final = 64 * 1024
LARGEST: Final = 64 * 1024
"""Octets of a run that is kept: whoever reads runs has those of some hundred messages in memory."""
_AT_ONCE: Final = 64  # blocks that are read before others get their turn, in about a millisecond

Cut = tuple[int, int]
"""The first text of a run that is wanted, and the one behind the last: (0, MARKS + 1) is the whole run."""

Edges = tuple[Sequence[int] | None, Sequence[int]]
"""Where a cut begins in each run, behind a blank (None: at its beginning), and where it ends."""

ReadAt = Callable[[int, int, int], bytes]
"""Reads so many octets of a descriptor, or fewer, from a place on."""


class Identity(NamedTuple):
    """What makes a message this one, within its UIDVALIDITY."""

    uid: int
    size: int
    date: int


class Run(NamedTuple):
    """The rendered octets of a message: texts with blanks between, and the marks."""

    message: Identity
    octets: bytes
    marks: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class RunStamp:
    """Whose a file is: the mailbox's id and UIDVALIDITY. subject: what its runs are; empty for descriptions."""

    box: int
    uidvalidity: int
    subject: bytes = b""

    def head(self) -> bytes:
        fields = (_MAGIC, VERSION, self.box, self.uidvalidity, len(self.subject))
        return _HEAD.pack(*fields, crc32(_HEAD.pack(*fields, 0) + self.subject)) + self.subject


def subject_of(path: bytes, box: int, uidvalidity: int) -> bytes | None:
    """What the runs of a file are; None where it is no such file of that mailbox. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        start = os.pread(fd, _HEAD.size + 4096, 0)
    finally:
        os.close(fd)
    with contextlib.suppress(error):
        subject = start[_HEAD.size : _HEAD.size + _HEAD.unpack_from(start)[4]]
        if start.startswith(RunStamp(box, uidvalidity, subject).head()):
            return subject
    return None


def append(path: bytes, stamp: RunStamp, runs: Sequence[Run], mode: int) -> None:
    """Add runs to the file, which is made where there is none. For a disk thread; raises OSError."""
    runs = [run for run in runs if len(run.octets) <= LARGEST]
    if not runs:
        return
    fd = _open_for_writing(path, mode)
    try:
        head = stamp.head()
        if not _may_grow(fd, head):
            os.unlink(path)
            os.close(fd)
            fd = _open_for_writing(path, mode)
            if os.fstat(fd).st_size:
                return  # somebody was quicker; these runs are made again when they are missed
        if not os.fstat(fd).st_size:
            os.write(fd, head + os.urandom(_NAME))
        os.write(fd, _block(runs))
    finally:
        os.close(fd)


def _may_grow(fd: int, head: bytes) -> bool:
    """Whether the file is empty, or begins with that head and ends with a whole block."""
    size = os.fstat(fd).st_size
    if not size:
        return True
    end = os.pread(fd, _TAIL.size, max(0, size - _TAIL.size))
    return os.pread(fd, len(head), 0) == head and (size == len(head) + _NAME or end.startswith(_TAIL_MAGIC))


def _open_for_writing(path: bytes, mode: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        fd = os.open(path, flags, mode)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(fd), os.lstat(path)):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # another file has taken its place while we waited


def _block(runs: Sequence[Run]) -> bytes:
    marks = zip(*[run.marks for run in runs], strict=True)
    columns = [
        array("I", [run.message.uid for run in runs]),
        array("I", [len(run.octets) for run in runs]),
        array("I", [_sum(run.message, run.octets) for run in runs]),
        *[array("I", mark) for mark in marks],
    ]
    packed = b"".join([column.tobytes() for column in columns])
    octets = b"".join([run.octets for run in runs])
    head = (_BLOCK_MAGIC, len(runs), len(octets))
    check = crc32(packed, crc32(_BLOCK.pack(*head, 0)))
    return b"".join([_BLOCK.pack(*head, check), packed, octets, _TAIL.pack(_TAIL_MAGIC, check)])


def _sum(message: Identity, octets: bytes) -> int:
    return crc32(octets, crc32(_IDENTITY.pack(message.uid, message.size, message.date)))


class RunFile:
    """A file of runs as this process has read it. Nothing is raised for a file that is not there or not good.

    Its columns stay in memory (33 octets for each message), ascending by UID.
    """

    def __init__(self, path: bytes, stamp: RunStamp) -> None:
        self.path = path
        self.stamp = stamp
        self.is_broken = False
        self.blocks = 0
        self._identity = (0, 0)
        self._start = b""
        self._end = 0
        self._uids = array("I")
        self._starts = array("Q")
        self._lengths = array("I")
        self._sums = array("I")
        self._marks = tuple(array("I") for _ in range(MARKS))
        self._checked = bytearray()

    def __len__(self) -> int:
        return len(self._uids)

    def refresh(self) -> bool:
        """Read what was added since, or a part of that where it is much: then True, and there is more. Quick."""
        try:
            seen = os.stat(self.path, follow_symlinks=False)
            is_other = (seen.st_dev, seen.st_ino) != self._identity or seen.st_size < self._end
            if is_other or self.is_broken:
                self.forget()
            if seen.st_size > self._end:
                with self._opened() as fd:
                    return self._read_on(fd, seen.st_size)
        except FileNotFoundError:
            self.forget()
        except OSError:
            self.is_broken = True
        return False

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """The file that was read so far, or the one that is there now where none was. Raises OSError."""
        fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            head = self.stamp.head()
            start = os.pread(fd, len(head) + _NAME, 0)
            if not self._end:
                seen = os.fstat(fd)
                self._identity, self._start, self._end = (seen.st_dev, seen.st_ino), start, len(start)
                self.is_broken = start[: len(head)] != head or len(start) < len(head) + _NAME
            elif start != self._start:
                self.forget()
                raise FileNotFoundError(errno.ESTALE, "another file has taken its place")
            yield fd
        finally:
            os.close(fd)

    def _read_on(self, fd: int, size: int) -> bool:
        """Some of the blocks; whether there are more."""
        for _ in range(_AT_ONCE):
            if self._end >= size or self.is_broken:
                return False
            start = os.pread(fd, _BLOCK.size, self._end)
            if len(start) < _BLOCK.size:
                return False  # somebody is writing it
            magic, count, octets, check = _BLOCK.unpack(start)
            columns = self._end + _BLOCK.size
            runs = columns + 4 * _COLUMNS * count
            end = runs + octets + _TAIL.size
            if magic == _BLOCK_MAGIC and end > size:
                return False
            packed = os.pread(fd, runs - columns, columns) if magic == _BLOCK_MAGIC else b""
            is_whole = crc32(packed, crc32(_BLOCK.pack(magic, count, octets, 0))) == check
            if (
                not count
                or not is_whole
                or os.pread(fd, _TAIL.size, end - _TAIL.size) != _TAIL.pack(_TAIL_MAGIC, check)
            ):
                self.is_broken = True
                return False
            self._take(packed, count, runs)
            self._end = end
            self.blocks += 1
        return True

    def _take(self, packed: bytes, count: int, start: int) -> None:
        """Put the columns of a block to those that are known."""
        uids, lengths, sums, *marks = (
            array("I", packed[place : place + 4 * count]) for place in range(0, 4 * _COLUMNS * count, 4 * count)
        )
        starts = array("Q")
        for length in lengths:
            starts.append(start)
            start += length
        added: Sequence[array[int]] = (uids, starts, lengths, sums, *marks)
        # Blocks of several processes may overlap; only what lies between the first and the last of a block is moved.
        first, last = bisect_left(self._uids, min(uids)), bisect_right(self._uids, max(uids))
        if first < last or not all(map(lt, uids, uids[1:])):
            added = _in_order([known[first:last] + more for known, more in zip(self._columns(), added, strict=True)])
        for column, more in zip(self._columns(), added, strict=True):
            column[first:last] = more
        self._checked[first:last] = bytes(len(added[0]))

    def _columns(self) -> "tuple[array[int], ...]":
        return self._uids, self._starts, self._lengths, self._sums, *self._marks

    def missing(self, uids: "array[int]") -> list[int]:
        """Those of the UIDs for which there is no run; another one may turn out to be none when it is read."""
        if self._uids == uids and all(self._lengths):
            return []
        kept = set(compress(self._uids, self._lengths))
        return [uid for uid in uids if uid not in kept]

    def lacking(self, uids: Sequence[int]) -> list[int]:
        """The same, of a few of them."""
        return [uid for uid in uids if self._row(uid) is None]

    def _row(self, uid: int) -> int | None:
        row = bisect_left(self._uids, uid)
        return row if row < len(self._uids) and self._uids[row] == uid and self._lengths[row] else None

    def read(self, messages: "Messages", cuts: Sequence[Cut], read_at: ReadAt) -> list[bytes]:
        """What the cuts take of each message's run, with a blank between; b"" for messages whose run is not kept.

        The UIDs ascend. Raises OSError.
        """
        uids = messages.uids
        if not uids or not self._uids:
            return [b""] * len(uids)
        first = bisect_left(self._uids, uids[0])
        if self._uids[first : first + len(uids)] == uids:
            with self._opened() as fd:
                return self._cut(fd, range(first, first + len(uids)), messages, cuts, read_at)
        rows = [self._row(uid) for uid in uids]
        there = [place for place, row in enumerate(rows) if row is not None]
        texts = [b""] * len(uids)
        found = [row for row in rows if row is not None]
        with self._opened() as fd:
            for place, text in zip(there, self._cut(fd, found, messages.of(there), cuts, read_at), strict=True):
                texts[place] = text
        return texts

    def _cut(
        self, fd: int, rows: Sequence[int], messages: "Messages", cuts: Sequence[Cut], read_at: ReadAt
    ) -> list[bytes]:
        if not rows:
            return []
        starts, lengths = taken(self._starts, rows), taken(self._lengths, rows)
        low = min(starts)
        span = max(starts) - low + max(lengths)
        if span > 2 * sum(lengths) + _SCATTERED and len(rows) > 1:
            half = len(rows) // 2
            return [
                *self._cut(fd, rows[:half], messages.of(range(half)), cuts, read_at),
                *self._cut(fd, rows[half:], messages.of(range(half, len(rows))), cuts, read_at),
            ]
        data = _all_of(read_at, fd, min(span, self._end - low), low)
        starts = array("Q", [start - low for start in starts])
        if not all(taken(self._checked, rows)):
            self._check(rows, messages, data, starts)
            lengths = taken(self._lengths, rows)
        return _cut_out(data, starts, lengths, [self._edges(rows, lengths, cut) for cut in cuts])

    def _edges(self, rows: Sequence[int], lengths: Sequence[int], cut: Cut) -> Edges:
        first, behind = cut
        begins = taken(self._marks[first - 1], rows) if first else None
        return begins, lengths if behind > MARKS else taken(self._marks[behind - 1], rows)

    def _check(self, rows: Sequence[int], messages: "Messages", data: bytes, starts: Sequence[int]) -> None:
        """Verify runs that are used for the first time; one that does not fit is forgotten (rule 3)."""
        runs = [data[start : start + length] for start, length in zip(starts, taken(self._lengths, rows), strict=True)]
        # As `_sum`, for all of them, whether checked or not: a client's first list asks for every message.
        identities = map(crc32, map(_IDENTITY.pack, messages.uids, messages.sizes, messages.dates))
        checks = array("I", map(crc32, runs, identities))
        if isinstance(rows, range) and checks == taken(self._sums, rows):
            self._checked[rows.start : rows.stop] = b"\1" * len(rows)
            return
        for row, check in zip(rows, checks, strict=True):
            if check == self._sums[row]:
                self._checked[row] = 1
            else:
                self._lengths[row] = 0

    def forget(self) -> None:
        """Forget everything; it is read again with the next `refresh`."""
        self._identity, self._end, self.blocks, self.is_broken = (0, 0), 0, 0, False
        for column in self._columns():
            del column[:]
        self._checked = bytearray()


@dataclass(frozen=True, slots=True)
class Messages:
    """Identities of messages as columns, ascending by UID."""

    uids: "array[int]"
    sizes: Sequence[int]
    dates: Sequence[int]

    def identity(self, place: int) -> Identity:
        return Identity(self.uids[place], self.sizes[place], self.dates[place])

    def of(self, places: Sequence[int]) -> "Messages":
        """Some of them."""
        return Messages(taken(self.uids, places), taken(self.sizes, places), taken(self.dates, places))


def taken(column: "Sequence[int]", rows: Sequence[int]) -> "array[int]":
    """Some rows of a column; one slice where they are a range."""
    if isinstance(rows, range):
        return column[rows.start : rows.stop]  # type: ignore[return-value]
    kind = column.typecode if isinstance(column, array) else "B"
    return array(kind, [column[row] for row in rows])


def _in_order(columns: "Sequence[array[int]]") -> "list[array[int]]":
    """Rows in the order of the UIDs, the first column; of several for one UID the last stays (rule 4)."""
    last = {uid: row for row, uid in enumerate(columns[0])}
    rows = [last[uid] for uid in sorted(last)]
    return [array(column.typecode, [column[row] for row in rows]) for column in columns]


def _all_of(read_at: ReadAt, fd: int, size: int, place: int) -> bytes:
    pieces = []
    while size > 0 and (piece := read_at(fd, size, place)):
        pieces.append(piece)
        size -= len(piece)
        place += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _cut_out(data: bytes, starts: Sequence[int], lengths: Sequence[int], cuts: Sequence[Edges]) -> list[bytes]:
    if len(cuts) > 1:
        columns = [_cut_out(data, starts, lengths, [cut]) for cut in cuts]
        return [b" ".join(texts) if texts[0] else b"" for texts in zip(*columns, strict=True)]
    begins, ends = cuts[0]
    if begins is None:
        texts = [data[start : start + end] for start, end in zip(starts, ends, strict=True)]
    else:
        edges = zip(starts, begins, ends, strict=True)
        texts = [data[start + begin + 1 : start + end] for start, begin, end in edges]
    if 0 in lengths:
        texts = [text if length else b"" for text, length in zip(texts, lengths, strict=True)]
    return texts
