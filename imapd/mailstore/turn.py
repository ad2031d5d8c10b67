"""A lock of the loop that takes room only while somebody has it or waits for it.

An account needs one to be opened and one to be written to, and there are thousands of accounts that nobody opens or
writes to at this moment.
"""

from contextlib import AbstractContextManager
from types import TracebackType

from imapd.model.loop import Loop


class Turn:
    """One at a time, in the order of coming; a context manager."""

    __slots__ = ("_lock", "_loop", "_users")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._lock: AbstractContextManager[object] | None = None
        self._users = 0  # who have it or wait for it

    def __enter__(self) -> None:
        lock = self._lock = self._lock or self._loop.lock()
        self._users += 1
        try:
            lock.__enter__()
        except BaseException:
            self._leave()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lock is not None, "who leaves has entered"
        self._lock.__exit__(kind, error, trace)
        self._leave()

    def _leave(self) -> None:
        self._users -= 1
        if not self._users:
            self._lock = None
