"""Many clients at once in one epoll loop: each connects and goes through a script, word by word.

A script is a list of steps: octets to send, and how the line that ends the answer begins. A step that begins with a tag must be
answered OK. Handshakes of TLS are part of the loop.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.bench.client import PATIENCE, WrongAnswer
from tests.support.daemon import insecure_context

# (octets to send, what the last line of the answer begins with)
Step = tuple[bytes, bytes]
GREETED: Step = (b"", b"* OK")


def command(number: int, words: bytes) -> Step:
    """A command under tag `zqN`, which must be answered OK."""
    tag = b"zq%d " % number
    return tag + words + b"\r\n", tag + b"OK"


class Client:
    """One of the crowd. `times` are the seconds that each step took."""

    def __init__(self, port: int, script: list[Step], context: ssl.SSLContext | None) -> None:
        self.script, self.at, self.times = script, 0, []
        self.begun = time.perf_counter()
        raw = socket.socket()
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setblocking(False)
        if (problem := raw.connect_ex(("127.0.0.1", port))) not in (0, errno.EINPROGRESS):
            raise OSError(problem, "connect")
        self.raw = raw
        self.socket: socket.socket | None = None if context else raw
        self._context = context
        self._got, self._to_send = b"", b""
        self._step_begun = self.begun

    def fileno(self) -> int:
        return self.raw.fileno()

    def go_on(self) -> int:
        """Do what can be done without waiting. What to wait for: EPOLLIN or EPOLLOUT; 0: the script is through."""
        try:
            if self._context is not None and not self._shaken():
                return select.EPOLLOUT
            while self.at < len(self.script):
                self._write()
                self._read()
            return 0
        except (BlockingIOError, ssl.SSLWantReadError):
            return select.EPOLLIN if not self._to_send else select.EPOLLOUT | select.EPOLLIN
        except ssl.SSLWantWriteError:
            return select.EPOLLOUT

    def _shaken(self) -> bool:
        if self.socket is None:
            if self.raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise WrongAnswer("the connection was refused")
            try:
                self.raw.getpeername()
            except OSError:
                return False
            assert self._context is not None
            self.socket = self._context.wrap_socket(
                self.raw, server_hostname="localhost", do_handshake_on_connect=False
            )
            self.raw = self.socket
        self.socket.do_handshake()  # type: ignore[attr-defined]
        self._context = None
        return True

    def _write(self) -> None:
        assert self.socket is not None
        while self._to_send:
            self._to_send = self._to_send[self.socket.send(self._to_send) :]

    def _read(self) -> None:
        assert self.socket is not None
        piece = self.socket.recv(1 << 16)
        until = self.script[self.at][1]
        if not piece:
            raise WrongAnswer(f"the connection ended; expected {until!r}, got {self._got[-300:]!r}")
        self._got += piece
        if not self._got.endswith(b"\r\n"):
            return
        last = self._got[self._got.rfind(b"\r\n", 0, -2) + 2 :] if self._got.count(b"\r\n") > 1 else self._got
        if last.startswith(until):
            self._next()
        elif last.startswith(b"zq"):
            raise WrongAnswer(f"expected {until!r}, got {last!r}")

    def _next(self) -> None:
        now = time.perf_counter()
        self.times.append(now - self._step_begun)
        self._step_begun, self._got = now, b""
        self.at += 1
        if self.at < len(self.script):
            self._to_send = self.script[self.at][0]
            self._write()

    def close(self) -> None:
        self.raw.close()


@dataclass(slots=True)
class Outcome:
    """What a crowd did: how many scripts went through in how many seconds, and the seconds of each of their steps."""

    done: int = 0
    seconds: float = 0.0
    times: list[list[float]] = field(default_factory=list)
    staying: list[Client] = field(default_factory=list)

    def close(self) -> None:
        for client in self.staying:
            client.close()
        self.staying = []


def run(
    port: int,
    scripts: Iterable[list[Step]],
    at_once: int,
    *,
    tls: bool = False,
    seconds: float = PATIENCE,
    stay: bool = False,
) -> Outcome:
    """Go through the scripts, so many at a time, until there are none or the seconds are over; then let those end that
    have begun. stay: leave the connections open (Outcome.staying)."""
    context = insecure_context() if tls else None
    outcome, waiting, poll = Outcome(), iter(scripts), select.epoll()
    active: dict[int, Client] = {}
    begun = time.perf_counter()
    latest = begun + seconds

    def begin_more() -> None:
        while len(active) < at_once and time.perf_counter() < latest:
            script = next(waiting, None)
            if script is None:
                return
            client = Client(port, script, context)
            active[client.fileno()] = client
            poll.register(client.fileno(), select.EPOLLOUT)

    begin_more()
    try:
        while active:
            for number, _ in _events(poll, latest + PATIENCE):
                client = active[number]
                wanted = client.go_on()
                if wanted:
                    poll.modify(number, wanted)
                    continue
                poll.unregister(number)
                del active[number]
                outcome.done += 1
                outcome.times.append(client.times)
                outcome.staying.append(client) if stay else client.close()
            begin_more()
        outcome.seconds = time.perf_counter() - begun
        return outcome
    finally:
        poll.close()
        for client in active.values():
            client.close()


def _events(poll: select.epoll, latest: float) -> list[tuple[int, int]]:
    events = poll.poll(20)
    if not events or time.perf_counter() > latest:
        raise WrongAnswer("a server does not answer its crowd")
    return events


def logins(names: Iterator[str], *more: bytes, logout: bool = True) -> Iterator[list[Step]]:
    """Scripts: greeting, LOGIN, further commands, LOGOUT."""
    for name in names:
        words = [b"LOGIN %s secret" % name.encode(), *more, *([b"LOGOUT"] if logout else [])]
        yield [GREETED, *(command(number, one) for number, one in enumerate(words))]
