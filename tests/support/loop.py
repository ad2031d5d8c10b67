"""A loop for tests: it has the shape of imapd.model.loop.Loop and runs everything at once, in the caller.

Nothing waits: sleep() writes down how long it was asked to wait and puts the clock forward by as much. What a test
wants to know stands in lists: `sleeps`, `offloaded` and `hashed` (the callables that were handed over), `spawned`
(background work that waits until the test calls run_spawned()), `deadlines` (seconds), `watches` (rung by the test
itself, with ring()). `breaths` counts; `on_breathe`, if set, is called at each breath.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from imapd.model.errors import Overdue

Result = TypeVar("Result")


class PlainWatching:
    """A watch that rings when the test says so."""

    def __init__(self, directories: Sequence[str], bell: Callable[[], None]) -> None:
        self.directories = tuple(directories)
        self.bell = bell
        self.closed = False

    def ring(self) -> None:
        """Ring the bell, unless the watch is closed."""
        if not self.closed:
            self.bell()

    def close(self) -> None:
        self.closed = True


class PlainLoop:
    """A Loop whose clock stands still but for sleep() and advance()."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 1_000.0
        self.sleeps: list[float] = []
        self.breaths = 0
        self.on_breathe: Callable[[], None] | None = None
        self.offloaded: list[Callable[..., object]] = []
        self.hashed: list[Callable[..., object]] = []
        self.watches: list[PlainWatching] = []
        self.deadlines: list[float] = []
        self._bounds: list[float] = []
        self.spawned: list[Callable[[], None]] = []

    def advance(self, seconds: float) -> None:
        """Put both clocks forward."""
        self._now += seconds
        self._monotonic += seconds

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        bound = min(self._bounds, default=float("inf"))
        if self._monotonic + seconds >= bound:
            self.advance(max(0.0, bound - self._monotonic))
            raise Overdue("the deadline came while sleeping")
        self.advance(seconds)

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Raises Overdue from a sleep() that is too long; real waiting is not interrupted."""
        self.deadlines.append(seconds)
        bound = self._monotonic + seconds
        self._bounds.append(bound)
        try:
            yield
        finally:
            self._bounds.remove(bound)

    def spawn(self, work: Callable[[], None]) -> None:
        self.spawned.append(work)

    def run_spawned(self) -> None:
        """Do the background work that has been handed over so far."""
        works, self.spawned = self.spawned, []
        for work in works:
            work()

    def breathe(self) -> None:
        self.breaths += 1
        if self.on_breathe is not None:
            self.on_breathe()

    def offload(self, work: Callable[..., Result], *arguments: object) -> Result:
        self.offloaded.append(work)
        return work(*arguments)

    def offload_each(self, works: Sequence[Callable[[], Result]]) -> list[Result]:
        return [self.offload(work) for work in works]

    def offload_hash(self, work: Callable[..., Result], *arguments: object) -> Result:
        self.hashed.append(work)
        return work(*arguments)

    def lock(self) -> AbstractContextManager[object]:
        # Not an RLock: a room that takes its own lock twice would hang under the real loop as well.
        return threading.Lock()

    def slots(self, count: int) -> AbstractContextManager[object]:
        return threading.BoundedSemaphore(count)

    def connect(self, host: str, port: int | None, seconds: float) -> socket.socket:
        if port is not None:
            return socket.create_connection((host, port), seconds)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(seconds)
        sock.connect(host)
        return sock

    def tls_context(self, ca_file: str | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca_file)
        return context

    def watch(self, directories: Sequence[str], bell: Callable[[], None]) -> PlainWatching:
        watching = PlainWatching(directories, bell)
        self.watches.append(watching)
        return watching

    def ring(self) -> None:
        """Ring every watch that is open."""
        for watching in list(self.watches):
            watching.ring()
