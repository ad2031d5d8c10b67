"""The lock of an account: one writer at a time, among all connections of all processes.

Three locks, always in this order: one of the process, whose waiters sleep in the loop in their order of coming; an
flock on the Maildir itself, the gate; and an flock on `imapd.lock` in it. The flocks are tried without waiting and
slept for between the tries, so nothing ever waits inside C, where it would hold up every connection of the worker.
SQLite's own lock comes last and is always free.

The gate is held only while waiting for the lock behind it. Without it a process that writes all the time would free the
lock and have it again before another one has tried once more; with it, whoever waits is next. Where a directory cannot
be locked (NFS) it goes without.

The work runs in a disk thread, and the lock is freed there, when the work has ended: a connection that is killed while
it waits for the thread does not let another writer in too early.
"""

import contextlib
import errno
import fcntl
import os
import random
from collections.abc import Callable
from typing import IO, Final, TypeVar

from imapd.mailstore.errors import Retry
from imapd.mailstore.turn import Turn
from imapd.model.loop import Loop

Result = TypeVar("Result")

PATIENCE: Final = 30.0
"""Seconds to wait for others; a client's patience is a minute or more, and no honest writer takes a second."""
_PAUSE: Final = 0.001
_LONG: Final = 2.0
_LONG_PAUSE: Final = 0.01
"""Pauses do not grow until something seems to be stuck: growing ones would favour those who have just come."""
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class AccountLock:
    """The lock of one account. turn: shared by all who take the lock in this process."""

    __slots__ = ("_loop", "_mode", "_path", "_turn")

    def __init__(self, path: bytes, loop: Loop, mode: int, turn: Turn) -> None:
        self._path = path
        self._loop = loop
        self._mode = mode
        self._turn = turn

    def run(self, work: Callable[[], Result], deadline: float | None = None) -> Result:
        """Do the work in a disk thread, with the lock. Raises Retry where others held it too long.

        deadline: until when to wait, by the loop's monotonic clock; if not PATIENCE from now.
        """
        # From here on, also for those who stand behind others: they would wait the patience of all before them.
        deadline = self._loop.monotonic() + PATIENCE if deadline is None else deadline
        with self._turn:
            file = self._acquire(deadline)
            return self._loop.offload(lambda: _work_and_free(file, work))

    def _acquire(self, deadline: float) -> IO[bytes]:
        gate = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
        try:
            self._wait_for(gate, deadline, is_gate=True)
            while True:
                with contextlib.ExitStack() as otherwise:
                    file = otherwise.enter_context(self._open())
                    self._wait_for(file.fileno(), deadline)
                    if _is_at(file, self._path):
                        otherwise.pop_all()
                        return file
                # Somebody removed the file while we waited for it, and it locks nobody out any more.
        finally:
            os.close(gate)

    def _wait_for(self, fd: int, deadline: float, is_gate: bool = False) -> None:
        while not _taken(fd, is_gate):
            left = deadline - self._loop.monotonic()
            if left <= 0:
                raise Retry
            pause = _PAUSE if left > PATIENCE - _LONG else _LONG_PAUSE
            self._loop.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that two do not keep step

    def _open(self) -> IO[bytes]:
        # Each time anew: flock belongs to the open file, so two openings exclude each other within a process too.
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | _FLAGS, self._mode)  # NFS locks only what may be written
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            fd = os.open(self._path, os.O_RDONLY | _FLAGS)
        return open(fd, "rb", buffering=0)


def _taken(fd: int, or_cannot: bool) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        if not or_cannot:
            raise
    return True


def _is_at(file: IO[bytes], path: bytes) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def _work_and_free(file: IO[bytes], work: Callable[[], Result]) -> Result:
    try:
        return work()
    finally:
        file.close()
