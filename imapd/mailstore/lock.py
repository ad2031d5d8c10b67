"""The lock of an account: one writer at a time, among all connections of all processes.

Two locks, always in this order: one of the process, whose waiters sleep in the loop in their order of coming, then an
flock on `imapd.lock` in the Maildir, tried without waiting and slept for between the tries. So nothing ever waits
inside C, where it would hold up every connection of the worker. SQLite's own lock comes last and is always free.

The work runs in a disk thread, and the flock is freed there, when the work has ended: a connection that is killed
while it waits for the thread does not let another writer in too early.
"""

import fcntl
import os
from collections.abc import Callable
from typing import IO, Final, TypeVar

from imapd.mailstore.errors import Retry
from imapd.model.loop import Loop

Result = TypeVar("Result")

PATIENCE: Final = 30.0
"""Seconds to wait for others; a client's patience is a minute or more, and no honest writer takes a second."""
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.02


class AccountLock:
    """The lock of one account; one object for each process and account."""

    def __init__(self, path: bytes, loop: Loop, mode: int) -> None:
        self._path = path
        self._loop = loop
        self._mode = mode
        self._turn = loop.lock()

    def run(self, work: Callable[[], Result]) -> Result:
        """Do the work in a disk thread, with the lock. Raises Retry where others held it too long."""
        with self._turn:
            file = self._acquire()
            return self._loop.offload(lambda: _work_and_free(file, work))

    def _acquire(self) -> IO[bytes]:
        file = open(self._open(), "rb", buffering=0)  # noqa: SIM115 - closed in the thread
        deadline = self._loop.monotonic() + PATIENCE
        pause = _FIRST_PAUSE
        while not _taken(file):
            if self._loop.monotonic() >= deadline:
                file.close()
                raise Retry
            self._loop.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return file

    def _open(self) -> int:
        # Each time anew: flock belongs to the open file, so two openings exclude each other within a process too.
        flags = os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._path, os.O_RDONLY | flags)
        except FileNotFoundError:
            return os.open(self._path, os.O_RDONLY | os.O_CREAT | flags, self._mode)


def _taken(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _work_and_free(file: IO[bytes], work: Callable[[], Result]) -> Result:
    try:
        return work()
    finally:
        file.close()
