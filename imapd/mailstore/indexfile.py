"""The index as a file: whether the one that lies there may be trusted, and putting it aside where it may not.

Rules:

1. No link is followed, and no log is taken over from an index that is gone.
2. An index that was copied or put back (another inode than it was used in last) is checked before it is used.
3. After a failed sync of the database or its log the file bears a mark that all processes see: its sticky bit, which
   means nothing on a file, and needs no room on a disk that may be full. Whoever opens it then checks it, and has all
   of it written once more before anything else is (mailstore/database).
4. Damage does not stop anybody: the file is put aside as `imapd-index.sqlite.broken-<time>`, for an administrator to
   look at, and a new one begins.
"""

import contextlib
import os
import stat
from typing import Final

from imapd.mailstore import maildir
from imapd.mailstore.bench import disk_errors, log
from imapd.mailstore.errors import Corrupt, StoreError
from imapd.mailstore.index import Index, blank

INDEX_FILE: Final = b"imapd-index.sqlite"
SUFFIXES: Final = (b"", b"-wal", b"-shm")
"""Of the files of a database."""


Look = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of change of contents and of anything, in nanoseconds."""
_SMALL: Final = 256 * 1024
"""Octets of an index that is looked at before it is opened: that of some thousand messages."""
_LATELY: Final = 0.05  # seconds within which two changes may leave the same time on a file, and some more


class IndexFile:
    """The file of an account's index. mode: of a new one."""

    __slots__ = ("_is_in_doubt", "_mode", "path")

    def __init__(self, path: bytes, mode: int) -> None:
        self.path = path
        self._mode = mode
        self._is_in_doubt = False

    def identity(self) -> tuple[int, int, int] | None:
        """What tells the file from another one in its place, and from one with a mark (rule 3); None where none lies
        there. Quick."""
        try:
            seen = os.lstat(self.path)
        except FileNotFoundError:
            return None
        return (seen.st_dev, seen.st_ino, seen.st_mode & stat.S_ISVTX) if stat.S_ISREG(seen.st_mode) else None

    def doubt(self) -> None:
        """Say that a sync failed (rule 3). Quick."""
        self._is_in_doubt = True
        log.error("the disk failed to keep what was written to %r: it will be written once more", self.path)
        with contextlib.suppress(OSError):
            os.chmod(self.path, stat.S_IMODE(os.lstat(self.path).st_mode) | stat.S_ISVTX)

    def look(self) -> Look | None:
        """What changes when somebody writes to the file, or puts another one there. Quick."""
        try:
            seen = os.lstat(self.path)
        except OSError:
            return None
        return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns

    def at_rest(self, now: float) -> Look | None:
        """How the file lies there, if nobody has it open with a log, and it was not changed so lately that another
        change could leave the same times. Quick."""
        look = self.look()
        if look is None or not self.lies_as(look):
            return None
        return look if max(look[3:]) < (now - _LATELY) * 1e9 else None

    def lies_as(self, rest: Look) -> bool:
        """Whether it still lies there so, and has no log. Quick."""
        return not os.path.lexists(self.path + b"-wal") and self.look() == rest

    def is_at_hand(self) -> bool:
        """Whether it is small, and in memory: reading it waits for no disk then. Quick."""
        return maildir.is_at_hand(self.path, _SMALL)

    def as_left(self, unchanging: bool = False) -> Index | None:
        """The index for reading, if it lies there as it was left by a program of this version. unchanging: nobody has
        it open."""
        identity = self.identity()
        if identity is None or identity[2] or self._has_strangers():
            return None
        with contextlib.suppress(StoreError):
            index = Index(self.path, unchanging=unchanging)
            try:
                if index.is_as_left(identity[1]):
                    return index
            except StoreError:
                pass
            index.close()
        return None

    def writer(self, now: float, is_doubtful: bool) -> Index:
        """The index for writing, made where there is none that may be trusted."""
        if self.identity() is None or self._has_strangers():
            self._put_aside(now)
        try:
            return self._trusted_writer(is_doubtful)
        except Corrupt as damage:
            aside = self._put_aside(now)
            log.error("index damaged (%s), put aside as %r and made anew", damage.reason, aside)
            return self._trusted_writer(is_doubtful)

    def _has_strangers(self) -> bool:
        paths = [self.path + suffix for suffix in SUFFIXES]
        return any(os.path.lexists(path) and not _is_regular(path) for path in paths)

    def _trusted_writer(self, is_doubtful: bool) -> Index:
        is_new = not os.path.lexists(self.path)
        if is_new:
            self._make()
        writer = Index.writer(self.path)
        try:
            lies = os.lstat(self.path)
            inode, in_doubt = lies.st_ino, self._is_in_doubt or bool(lies.st_mode & stat.S_ISVTX)
            # What belonged to the file that lay there before may have been mixed into a copy (its -wal).
            moved = not is_new and writer.has_moved(inode)
            if (moved or is_doubtful or in_doubt) and not writer.is_sound():
                raise Corrupt(reason="quick_check failed")
            if in_doubt:
                writer.empty_log()
                if lies.st_mode & stat.S_ISVTX:
                    os.chmod(self.path, stat.S_IMODE(lies.st_mode) & ~stat.S_ISVTX)
                self._is_in_doubt = False
            if moved or is_new:
                writer.settle_down(inode)
        except BaseException:
            writer.close()
            raise
        return writer

    def _make(self) -> None:
        """Have a new index lie there. Its name is durable with the first commit: SQLite syncs the directory for the
        log's."""
        scratch = self.path + b".new"
        with disk_errors():
            maildir.discard(scratch)
            # SQLite gives its other files the mode of this one.
            maildir.replace_file(self.path, blank(), scratch, self._mode)

    def _put_aside(self, now: float) -> bytes:
        aside = self.path + b".broken-%d" % now
        while os.path.lexists(aside):
            aside += b"x"
        for suffix in SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.path + suffix, aside + suffix)
        return os.path.basename(aside)


def _is_regular(path: bytes) -> bool:
    return stat.S_ISREG(os.lstat(path).st_mode)
