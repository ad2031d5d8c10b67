"""A file of the columns of a large mailbox, so that a process that opens it need not read every row of the index.

It lies in the account's directory of derived files, beside the rendered runs (mailstore/rendered), and may be deleted
at any time. Rules:

1. It is written whole and takes its place by a rename, without waiting for the disk. A checksum over everything finds
   what a power cut left.
2. The head says of which mailbox it is: id, which is never given again, and UIDVALIDITY; and the inode of the index,
   since a copy of an index that was put back may have gone another way than the file tells.
3. It is older than the index or as old: what changed since the file's highest modseq is read from the index, as long as
   it is known there what was expunged. With that, the messages and their octets must come to what the index counts.
4. What does not fit is as good as absent: the rows are read, and the file is written anew.
"""

import contextlib
import os
from array import array
from collections.abc import Iterator
from operator import lt
from struct import Struct
from typing import Final
from zlib import crc32

from imapd.mailstore import maildir
from imapd.mailstore.columns import advanced
from imapd.mailstore.index import Index
from imapd.mailstore.indexfile import INDEX_FILE
from imapd.mailstore.rendered import DIRECTORY
from imapd.mailstore.rows import BoxRow, NewRows
from imapd.mailstore.store import Snapshot

LARGE: Final = 2_000
"""Messages from which on a mailbox has such a file: rows of fewer are read in some milliseconds."""
SUFFIX: Final = b".columns"

_MAGIC: Final = b"imapd-co"
_VERSION: Final = 1
_HEAD: Final = Struct("<8sIIIIQQQI")  # magic, version, mailbox, UIDVALIDITY, UIDNEXT, inode, modseq, messages, checksum
_TYPES: Final = "IQQQq"


class ColumnFile:
    """The file of one mailbox."""

    __slots__ = ("_box", "_index_path", "_mode", "_uidvalidity", "path")

    def __init__(self, root: bytes, box: int, uidvalidity: int, mode: int) -> None:
        self.path = b"/".join([root, DIRECTORY, b"%d-%d%s" % (box, uidvalidity, SUFFIX)])
        self._index_path = root + b"/" + INDEX_FILE
        self._box = box
        self._uidvalidity = uidvalidity
        self._mode = mode

    def snapshot(self, index: Index) -> tuple[Snapshot, int] | None:
        """What the file and the index say together, and how many changes the file lacks; None where they do not fit,
        or too much changed. Reads all of the file: for a disk thread."""
        kept = self._read()
        if kept is None:
            return None
        most = len(kept.uids) // 4 + LARGE
        delta = index.delta(self._box, kept.highestmodseq, most)
        if delta is None or delta.box.uidvalidity != self._uidvalidity:
            return None
        box = delta.box
        if len(delta.rows) > most or len(delta.vanished) > most:
            return None  # and it was cut short
        if not delta.forgotten <= kept.highestmodseq <= box.modseq or kept.uidnext > box.uidnext:
            return None
        fresh = advanced(kept, delta)
        if len(fresh.uids) != box.messages or sum(fresh.sizes) != box.octets:
            return None  # rule 3
        return fresh, len(delta.rows) + len(delta.vanished)

    def kept(self, box: BoxRow) -> Snapshot | None:
        """The columns of a mailbox as it is, to be extended; None where the file is of another moment."""
        kept = self._read() if box.messages else _snapshot(self._uidvalidity, box.uidnext, box.modseq, _empty())
        as_it_is = kept is not None and (kept.uidnext, kept.highestmodseq) == (box.uidnext, box.modseq)
        return kept if as_it_is else None

    def _read(self) -> Snapshot | None:
        with contextlib.suppress(OSError):
            fd, size = maildir.open_sized(self.path)
            with open(fd, "rb") as file:
                head = file.read(_HEAD.size)
                if len(head) < _HEAD.size:
                    return None
                *fields, uidnext, inode, modseq, messages, check = _HEAD.unpack(head)
                whose = [_MAGIC, _VERSION, self._box, self._uidvalidity]
                expected = _HEAD.size + messages * sum(array(code).itemsize for code in _TYPES)
                if fields != whose or inode != self._inode() or size != expected:
                    return None
                columns = _empty()
                for column in columns:
                    column.fromfile(file, messages)
            if _sum(head[:-4], columns) != check:
                return None
            return _snapshot(self._uidvalidity, uidnext, modseq, columns)
        return None

    def write(self, snapshot: Snapshot) -> None:
        """Keep the columns; where the disk refuses, nothing is kept. Only what the index has as durable. For a disk
        thread."""
        columns = [snapshot.uids, snapshot.masks, snapshot.modseqs, snapshot.sizes, snapshot.dates]
        with contextlib.suppress(OSError):
            head = _HEAD.pack(
                _MAGIC, _VERSION, self._box, self._uidvalidity, snapshot.uidnext, self._inode(),
                snapshot.highestmodseq, len(snapshot.uids), 0)[:-4]  # fmt: skip
            check = _sum(head, columns).to_bytes(4, "little")
            with self._replaced() as fd, open(fd, "wb", closefd=False) as file:
                file.write(head + check)
                for column in columns:
                    file.write(column)

    @contextlib.contextmanager
    def _replaced(self) -> Iterator[int]:
        """A new file, which takes the old one's place in the end. Raises OSError."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(self.path), self._mode | (self._mode & 0o444) >> 2)
        scratch = self.path + b".new"
        maildir.discard(scratch)
        fd = maildir.create_file(scratch, self._mode)
        try:
            try:
                yield fd
            finally:
                os.close(fd)
            os.rename(scratch, self.path)
        except OSError:
            maildir.discard(scratch)
            raise

    def _inode(self) -> int:
        return os.stat(self._index_path).st_ino


def extended(kept: Snapshot, after: BoxRow, rows: NewRows) -> Snapshot | None:
    """The columns with messages that came in one commit, which did nothing else to the mailbox; `kept` is used up.
    None where the UIDs do not ascend."""
    if not all(map(lt, rows.uids, rows.uids[1:])) or (kept.uids and rows.uids and kept.uids[-1] >= rows.uids[0]):
        return None
    columns = [kept.uids, kept.masks, kept.modseqs, kept.sizes, kept.dates]
    modseqs = [rows.modseq] * len(rows.uids)
    for column, more in zip(columns, (rows.uids, rows.masks, modseqs, rows.sizes, rows.dates), strict=True):
        column.extend(more)
    return _snapshot(after.uidvalidity, after.uidnext, after.modseq, columns)


def _empty() -> "list[array[int]]":
    return [array(code) for code in _TYPES]


def _snapshot(uidvalidity: int, uidnext: int, modseq: int, columns: "list[array[int]]") -> Snapshot:
    uids, masks, modseqs, sizes, dates = columns
    return Snapshot(uidvalidity, uidnext, modseq, uids, masks, modseqs, sizes, dates, keywords=())


def _sum(head: bytes, columns: "list[array[int]]") -> int:
    check = crc32(head)
    for column in columns:
        check = crc32(column, check)
    return check
