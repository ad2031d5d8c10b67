"""The event loop, as the lower floors know it (model/loop): gevent's hub behind plain calls.

One GeventLoop per worker, made after the fork. Threads: eight for the disk, and two of their own for password hashes,
so that a storm of logins cannot keep an fsync waiting, nor the other way round.
"""

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, cast

import gevent
import gevent.socket
import gevent.ssl
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool
from greenlet import getcurrent

from imapd.model.errors import Overdue
from imapd.model.loop import Result, Watching
from imapd.server.turns import Turns
from imapd.server.watch import Watch

if TYPE_CHECKING:
    from ssl import SSLContext

logger = logging.getLogger("imapd.server.loop")

# The longest a connection may keep the loop, about: p99 of another one's NOOP is 6 ms with it, 500 ms without.
QUANTUM = 0.002
DISK_THREADS = 8
# A slow hash takes 30 to 300 ms of a core; two at a time leave the machine to the mail.
HASH_THREADS = 2


class GeventLoop:
    """imapd.model.loop.Loop over gevent."""

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._disk = ThreadPool(DISK_THREADS, hub=self._hub)
        self._hashes = ThreadPool(HASH_THREADS, hub=self._hub)
        self._watch: Watch | None = None
        self._background: set[gevent.Greenlet] = set()
        self._turns = Turns()
        self._runner: object = None  # whose slice it is, by which look at the sockets, and since when
        self._look = -1
        self._began = 0.0

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        gevent.sleep(seconds)

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        # The timer throws an Overdue of this context itself: gevent.Timeout is a BaseException as well, and who gave
        # the work a bound of his own with it must not mistake ours for his.
        overdue = Overdue(f"not done within {seconds:g} s")
        timer = gevent.Timeout.start_new(seconds, overdue)
        try:
            yield
        finally:
            timer.close()

    def spawn(self, work: Callable[[], None]) -> None:
        greenlet = gevent.spawn(_in_background, work)
        self._background.add(greenlet)
        greenlet.rawlink(self._background.discard)

    def breathe(self) -> None:
        # A slice begins when a greenlet breathes that did not breathe last, and at a look at the sockets: who has just
        # been woken must not queue behind those who work hard.
        current, look = getcurrent(), self._hub.loop.iteration
        if current is not self._runner or look != self._look:
            self._runner, self._look, self._began = current, look, time.monotonic()
        elif time.monotonic() - self._began > QUANTUM:
            self._turns.wait()
            self._runner, self._look, self._began = current, self._hub.loop.iteration, time.monotonic()

    def offload(self, work: Callable[..., Result], *arguments: object) -> Result:
        return _in_thread(self._disk, work, arguments)

    def offload_each(self, works: Sequence[Callable[[], Result]]) -> list[Result]:
        if len(works) == 1:
            return [self.offload(works[0])]
        outcomes = [pending.get() for pending in [self._disk.spawn(_caught, work, ()) for work in works]]
        for _, error in outcomes:
            if error is not None:
                raise error
        return [result for result, _ in outcomes]

    def offload_hash(self, work: Callable[..., Result], *arguments: object) -> Result:
        return _in_thread(self._hashes, work, arguments)

    def lock(self) -> AbstractContextManager[object]:
        lock: AbstractContextManager[object] = BoundedSemaphore(1)
        return lock

    def slots(self, count: int) -> AbstractContextManager[object]:
        slots: AbstractContextManager[object] = BoundedSemaphore(count)
        return slots

    def connect(self, host: str, port: int | None, seconds: float) -> socket.socket:
        if port is not None:
            return cast("socket.socket", gevent.socket.create_connection((host, port), seconds))
        sock = gevent.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect(host)
        except BaseException:
            sock.close()
            raise
        return cast("socket.socket", sock)

    def tls_context(self, ca_file: str | None) -> "SSLContext":
        # Not gevent.ssl.create_default_context, which is the standard one: its handshakes would stop the loop. As a
        # client it requires a certificate, and checks the name, from the beginning.
        context = cast("SSLContext", gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT))
        context.minimum_version = gevent.ssl.TLSVersion.TLSv1_2
        if ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca_file)
        return context

    def watch(self, directories: Sequence[str], bell: Callable[[], None]) -> Watching:
        if self._watch is None:
            self._watch = Watch()
        return self._watch.add(directories, bell)

    def close(self) -> None:
        """End the watches and the background work. The threads end with the process: a disk that hangs must not keep
        it alive."""
        gevent.killall(list(self._background), block=False)
        if self._watch is not None:
            self._watch.close()
            self._watch = None


def _in_background(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:  # nobody waits for it: this is the last frame that can tell
        logger.error("background work failed: %s", error, exc_info=error)


def _in_thread(pool: ThreadPool, work: Callable[..., Result], arguments: tuple[object, ...]) -> Result:
    """Run the work in the pool. Its exception comes back as a value, or gevent would print it as nobody's."""
    result: Result
    result, error = pool.spawn(_caught, work, arguments).get()
    if error is not None:
        raise error
    return result


def _caught(work: Callable[..., Result], arguments: tuple[object, ...]) -> tuple[Result | None, BaseException | None]:
    try:
        return work(*arguments), None
    except BaseException as error:  # raised again where the result is waited for
        return None, error
