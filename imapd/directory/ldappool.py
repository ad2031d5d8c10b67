"""Connections of one kind to one server, kept for the next who needs one.

1. At most so many are in use at a time; who comes later waits a while, and then is told Busy.
2. The last one put aside is the first one taken, so that a quiet site keeps few. One that rested too long or has grown
   old is closed instead: servers close idle connections, and balancers and names of hosts change.
3. Whoever leaves by an exception leaves a closed connection behind, wherever it was interrupted; the place is free.
4. A kept connection may turn out to be gone. Then all that were kept are dropped, and the work is begun once more, on a
   new one.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from imapd.directory.ldapvalues import Busy, Gone, TooMany
from imapd.directory.ldapwire import Link
from imapd.model.errors import Overdue
from imapd.model.loop import Loop

Result = TypeVar("Result")

# Lifetimes differ by that much, so that connections which came together do not go together.
_SPREAD = 0.2


class LinkPool:
    """The connections. open makes a new one within so many seconds, fit for use."""

    def __init__(
        self, open: Callable[[float], Link], loop: Loop, size: int, patience: float, idle: float, lifetime: float
    ) -> None:
        self._open = open
        self._loop = loop
        self._size = size
        self._slots = loop.slots(size)
        self._patience = patience
        self._idle = idle
        self._lifetime = lifetime
        self._kept: list[Link] = []
        self._in_use = 0
        self._closed = False

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._kept) + self._in_use

    def run(self, work: Callable[[Link], Result], seconds: float) -> Result:
        """Do something on a connection within so many seconds."""
        until = self._loop.monotonic() + seconds
        kept = False
        try:
            with self._one(seconds, new=False) as link:
                kept = link.used
                return work(link)
        except Gone:
            if not kept:
                raise
        self.drop()
        with self._one(until - self._loop.monotonic(), new=True) as link:
            return work(link)

    def drop(self) -> None:
        """Close all that are kept."""
        while self._kept:
            self._kept.pop().close()

    def close(self) -> None:
        """Close all that are kept, and keep none any more."""
        self._closed = True
        self.drop()

    @contextlib.contextmanager
    def _one(self, seconds: float, new: bool) -> Iterator[Link]:
        """A connection for the caller alone (rules 1 to 3)."""
        until = self._loop.monotonic() + seconds
        with contextlib.ExitStack() as held:
            try:
                with self._loop.deadline(min(seconds, self._patience)):
                    held.enter_context(self._slots)
            except Overdue:
                raise Busy(f"all {self._size} connections are in use") from None
            self._in_use += 1
            held.callback(self._leave)
            link = (None if new else self._take()) or self._open(until - self._loop.monotonic())
            link.within(until - self._loop.monotonic())
            try:
                yield link
            except TooMany:
                self._put(link)
                raise
            except BaseException:
                link.close()
                raise
            self._put(link)

    def _leave(self) -> None:
        self._in_use -= 1

    def _take(self) -> Link | None:
        now = self._loop.monotonic()
        for link in [link for link in self._kept if now - link.rested > self._idle or self._is_old(link, now)]:
            self._kept.remove(link)
            link.close()
        return self._kept.pop() if self._kept else None

    def _put(self, link: Link) -> None:
        now = self._loop.monotonic()
        if link.closed or self._closed or self._is_old(link, now):
            link.close()
            return
        link.rested = now
        self._kept.append(link)

    def _is_old(self, link: Link, now: float) -> bool:
        return now - link.opened > self._lifetime * (1 - link.luck * _SPREAD)
