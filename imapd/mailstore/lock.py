"""The lock of an account: one writer at a time, among all connections of all processes.

Three locks, always in this order: one of the process, whose waiters sleep in the loop in their order of coming; an
flock on the Maildir itself, the gate; and an flock on `imapd.lock` in it. The flocks are tried without waiting and
slept for between the tries, so nothing ever waits inside C, where it would hold up every connection of the worker.
SQLite's own lock comes last and is always free.

The gate is held only while waiting for the lock behind it. Without it a process that writes all the time would free the
lock and have it again before another one has tried once more; with it, whoever waits is next. Where a directory cannot
be locked (NFS) it goes without.

The work runs in a disk thread, and the lock is freed there, when the work has ended: a connection that is killed while
it waits for the thread does not let another writer in too early. A lock that is free, as it mostly is, is taken there
too, so that a write is one way to a thread and back.
"""

import errno
import fcntl
import os
import random
from collections.abc import Callable
from typing import Final, TypeVar

from imapd.mailstore.baton import carried
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

    def run(
        self, work: Callable[[], Result], deadline: float | None = None, before: Callable[[], None] | None = None
    ) -> Result:
        """Do the work in a disk thread, with the lock. Raises Retry where others held it too long.

        deadline: until when to wait, by the loop's monotonic clock; if not PATIENCE from now. before: what is done in
        the thread before, without the flocks.
        """
        # From here on, also for those who stand behind others: they would wait the patience of all before them.
        deadline = self._loop.monotonic() + PATIENCE if deadline is None else deadline
        with self._turn:
            done = self._loop.offload(lambda: self._at_once(work, before))
            if done is not None:
                return done[0]
            fd = self._acquire(deadline)
            return self._loop.offload(lambda: _work_and_free(fd, work))

    def _at_once(self, work: Callable[[], Result], before: Callable[[], None] | None) -> tuple[Result] | None:
        """Do the work if nobody has the lock or waits for it; what it gives, in a disk thread."""
        with carried():
            if before is not None:
                before()
            fd = self._taken_at_once()
            return None if fd is None else (_work_and_free(fd, work),)

    def _taken_at_once(self) -> int | None:
        gate = self._open_gate()
        try:
            return self._open_locked() if _taken(gate, or_cannot=True) else None
        finally:
            os.close(gate)

    def _acquire(self, deadline: float) -> int:
        gate = self._open_gate()
        try:
            self._wait_for(lambda: _taken(gate, or_cannot=True) or None, deadline)
            return self._wait_for(self._open_locked, deadline)
        finally:
            os.close(gate)

    def _open_gate(self) -> int:
        return os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | _FLAGS)

    def _wait_for(self, tried: Callable[[], Result | None], deadline: float) -> Result:
        while (got := tried()) is None:
            left = deadline - self._loop.monotonic()
            if left <= 0:
                raise Retry
            pause = _PAUSE if left > PATIENCE - _LONG else _LONG_PAUSE
            self._loop.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that two do not keep step
        return got

    def _open_locked(self) -> int | None:
        """The open file, locked; None where somebody else has the lock, or has removed the file: it locks nobody out
        any more, and the next try finds another one."""
        fd = self._open()
        try:
            is_ours = _taken(fd) and _is_at(fd, self._path)
        except BaseException:
            os.close(fd)
            raise
        if is_ours:
            return fd
        os.close(fd)
        return None

    def _open(self) -> int:
        # Each time anew: flock belongs to the open file, so two openings exclude each other within a process too.
        try:
            # NFS locks only what may be written.
            return os.open(self._path, os.O_RDWR | os.O_CREAT | _FLAGS, self._mode)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            return os.open(self._path, os.O_RDONLY | _FLAGS)


def _taken(fd: int, or_cannot: bool = False) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        if not or_cannot:
            raise
    return True


def _is_at(fd: int, path: bytes) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _work_and_free(fd: int, work: Callable[[], Result]) -> Result:
    with carried():
        try:
            return work()
        finally:
            os.close(fd)
