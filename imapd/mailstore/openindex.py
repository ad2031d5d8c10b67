"""An account's index as one process has it open: a handle for reading, another for writing, and the file they are on.

Rules:

1. The index is looked at each time the account's lock is taken: if its file was removed or replaced, it is opened anew.
   If SQLite found damage and a check confirms it, the file is put aside (mailstore/indexfile) and a new index is made
   from the files. New rows mean a new UIDVALIDITY, so no client believes an old UID. The same is done for mailboxes of
   which an older copy of the index does not know all (mailstore/floors).
2. What is to be closed is taken away in the loop first, so that nobody finds a handle that is being closed.
3. After a failed commit nothing more is written by that connection, nor by those of other processes; whoever comes next
   opens the index anew (mailstore/indexfile, rule 3).

What is said to be done under the lock is done in a disk thread, all else in the loop.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from imapd.mailstore import floors, maildir, quotafile, rebuild, reserve, tree
from imapd.mailstore.bench import Bench, DiskSettings
from imapd.mailstore.diskname import INBOX_DIRECTORY
from imapd.mailstore.errors import Corrupt, Retry, StoreError
from imapd.mailstore.formats import MailFormat
from imapd.mailstore.index import Index
from imapd.mailstore.indexfile import INDEX_FILE, IndexFile, Look
from imapd.mailstore.quota import Limits
from imapd.mailstore.reader import Reader
from imapd.model.loop import Loop

Result = TypeVar("Result")

_FLOORS: Final = 64 * 1024
"""Octets of the floors (mailstore/floors) that are looked at before they are read: those of 2,000 mailboxes."""
_NONE: Final[frozenset[bytes]] = frozenset()


class OpenIndex:
    """The index of one account in one process. root: the directory that has the store's own files."""

    __slots__ = (
        "_begun", "_file", "_format", "_identity", "_is_doubtful", "_root", "_settings", "_writer", "reader", "unfit",
    )  # fmt: skip

    def __init__(self, root: bytes, mail_format: MailFormat, loop: Loop, settings: DiskSettings) -> None:
        self._root = root
        self._format = mail_format
        self._settings = settings
        self._file = IndexFile(root + b"/" + INDEX_FILE, settings.file_mode)
        self._writer: Index | None = None
        self.reader = Reader(self._file, loop)
        self._identity: tuple[int, int, int] | None = None
        self._is_doubtful = False
        self._begun: tuple[int, int, int] | None = None  # the file that was looked over before its first use
        self.unfit = _NONE  # folders that cannot be mailboxes

    # Opening it as it is

    def look(self) -> Look | None:
        """How the file lies there. Quick."""
        return self._file.look()

    def is_at_hand(self) -> bool:
        """Whether what `open_as_left` reads is small, and in memory. Quick."""
        return self._file.is_at_hand() and maildir.is_at_hand(self._root + b"/" + floors.FILE, _FLOORS)

    def open_as_left(self) -> bool:
        """Open it for reading, if the account lies there as the store left it; whether it does. Cleaning up waits for
        a write."""
        if os.path.islink(self._root) or not self._format.is_there(self._root):
            return False
        identity = self._file.identity()
        index = self.reader.open_as_left()
        if index is None:
            return False
        try:
            is_behind = rebuild.is_behind(self._root, index)
        except Corrupt:
            is_behind = True
        if is_behind or not self.reader.lay_still():
            self.close_each(self.taken())
            return False
        self._identity = identity
        return True

    def open_to_read(self) -> bool:
        """Open it on a file system that is mounted read-only; whether it is so."""
        with contextlib.suppress(OSError, StoreError):
            if os.statvfs(self._root).f_flag & os.ST_RDONLY:
                self.reader.open_on_read_only_disk()
                self._identity = self._file.identity()
                return True
        return False

    def is_current(self) -> bool:
        """Whether the index in use is the one that lies there. Quick."""
        return self._identity == self._file.identity()

    def on_another(self, read: Callable[[Index], Result]) -> Result:
        """Read by a connection of its own, in a disk thread."""
        index = Index(self._file.path, patience=5.0, unchanging=self.reader.is_on_read_only_disk)
        try:
            return read(index)
        finally:
            index.close()

    # Closing it

    @property
    def is_silent(self) -> bool:
        """Whether it can be closed without work (mailstore/awake, rule 1)."""
        return self._writer is None and not self.reader.is_shared

    def taken(self) -> list[Index]:
        """Take both handles away (rule 2): those that have to be closed."""
        handles = [handle for handle in (self.reader.taken(), self._writer) if handle is not None]
        self._writer = None
        return handles

    def writer_taken(self) -> list[Index]:
        """Take the handle for writing away (rule 2), if there is one."""
        writer, self._writer = self._writer, None
        if writer is None:
            return []
        if self.reader.is_shared:  # and closes later
            self.reader.index().is_ahead_of_disk |= writer.is_ahead_of_disk
            writer.is_ahead_of_disk = False
        return [writer]

    def close_each(self, handles: Sequence[Index]) -> None:
        """Close what was taken away. Under the lock where it is to be had, for the last close tidies the database."""
        for handle in handles:
            with contextlib.suppress(StoreError):
                if handle.is_ahead_of_disk:
                    self._bring_home(handle)
                handle.close()

    def _bring_home(self, handle: Index) -> None:
        """What SQLite does with the last close, where it does not tell whether it failed."""
        try:
            handle.bring_home()
        except Retry:
            self._file.doubt()

    # Writing, under the lock

    @property
    def has_writer(self) -> bool:
        """Whether it was opened for writing."""
        return self._writer is not None

    def ready(self, now: float, limits: Limits) -> Bench:
        """A bench with an index that may be trusted (rule 1). limits: of the account's owner."""
        writer = self._writer
        if writer is not None and not self._is_doubtful and self.is_current():
            return self._bench(writer, now, limits)
        bench = self._bench(self._opened(now), now, limits)
        try:
            self._begin(bench)
        except BaseException:
            self._close_writer()  # an index that was not looked over to the end is none to be used
            raise
        return bench

    def suspect(self) -> None:
        """Say that it may be damaged: it is checked before it is used again."""
        self._is_doubtful = True

    def mended(self, now: float, limits: Limits) -> Bench | None:
        """Check the index that gave nonsense; a bench with the one that has taken its place, None where it is sound."""
        self.suspect()
        damaged = self._identity
        bench = self.ready(now, limits)
        return None if self._identity == damaged else bench

    def failed(self) -> None:
        """Say that a commit failed (rule 3)."""
        self.suspect()
        self._file.doubt()

    def _bench(self, writer: Index, now: float, limits: Limits) -> Bench:
        return Bench(self._root, writer, now, self._settings, self._format, limits)

    def _opened(self, now: float) -> Index:
        self._close_writer()
        writer = self._file.writer(now, self._is_doubtful)
        try:
            if not self.reader.is_shared or self._is_doubtful or not self.is_current():
                self.reader.open_shared()
        except BaseException:
            writer.close()
            raise
        self._writer = writer
        self._identity = self._file.identity()
        self._is_doubtful = False
        return writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with contextlib.suppress(StoreError):
                writer.close()

    def _begin(self, bench: Bench) -> None:
        """What an index needs before its first use; once, while it is the same one and knows what was given out."""
        if self._begun == self._identity and not rebuild.is_behind(bench.root, bench.index):
            return
        self._make_account()
        quotafile.bring_back(bench)
        rebuild.mend(bench)
        self.unfit = tree.discover(bench) or _NONE
        rebuild.complete(bench)
        tree.sweep(bench)
        reserve.keep(self._root + b"/" + reserve.FILE, self._settings.file_mode)
        self._begun = self._identity

    def _make_account(self) -> None:
        """The first mailboxes of a new account; INBOX comes last, so that a crash before it begins them again."""
        if not self._format.is_there(self._root):
            for _, name in self._settings.special_use:
                directory = self._format.directory_of(self._root, name)
                self._format.make_mailbox(self._root, directory, self._settings)
            self._format.make_mailbox(self._root, INBOX_DIRECTORY, self._settings)
        maildir.make_directory(self._root + b"/tmp", self._settings.dir_mode)
