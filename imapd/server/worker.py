"""A worker: one process that accepts connections and serves each in a greenlet.

Its life: built (loop, then house: directory, store, offers), ready (the master is told), serving; then either retired
(accepts no more, serves who is there, up to half an hour) or stopped (everybody hears BYE, bounded). What ends it:

- SIGTERM from the master: stop. SIGINT and SIGHUP are the master's business; a terminal sends them to all.
- "R" on the link to the master: retire. New workers serve the sockets already.
- "L" on the link, and access lists: a reload has changed them, and those who are here have to pass the new ones.
- A line of JSON on the link: what the administrator wants (control); it is done, and answered.
- The link's end: the master is dead, and nobody would replace or stop us; stop.
"""

from __future__ import annotations

import _socket
import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import gevent
from gevent.event import Event
from gevent.server import StreamServer

from imapd.log import event
from imapd.server import control, memory, patched, process
from imapd.server.connection import Connection
from imapd.server.lmtp import Begin as BeginLmtp
from imapd.server.lmtp import LmtpConnection
from imapd.server.loop import GeventLoop
from imapd.server.partners import HANDSHAKE, Begin, Patience
from imapd.server.recheck import Recheck
from imapd.server.tls import Context, TlsFailure
from imapd.server.transport import Gone, TimedOut, Transport, tune
from imapd.wire.responses import Status

if TYPE_CHECKING:
    from imapd.deliverysettings import Lmtp
    from imapd.directory.person import Person

logger = logging.getLogger("imapd.server.worker")

LISTS = b"L"  # a word of the master; what the access lists hold by now follows it
# How long a retired worker serves its last clients. IDLE is renewed every 29 minutes by clients that follow RFC 2177.
RETIREMENT = 1800.0
# Clients over the limit that are told so at a time; a TLS handshake is needed for it, and more than that is a flood.
TURNED_AWAY = 50
# Clients at a time that deliver mail. Postfix opens 20 for a destination unless it is told otherwise.
DELIVERING = 100
# After a failed accept: out of files or memory. Short enough to be unnoticed, long enough to cost nothing.
FIRST_REST, LONGEST_REST = 0.05, 1.0


class House(Protocol):
    """What the conversations of a worker have in common."""

    def begin(self, listener: str, peer: str) -> Begin:
        """The maker of a conversation with a client that came in by that listener."""

    def receive(self, peer: str) -> BeginLmtp:
        """The maker of a conversation with a client that delivers mail."""

    def forget(self, name: str | None) -> int:
        """Forget what is remembered of logins, a person's or all; tells how many logins that were."""

    def objection(self, listener: str, person: Person) -> str | None:
        """Why somebody who came in by that listener may not stay, or None. Raises Unreachable."""

    def renew(self, lists: bytes) -> None:
        """Other access lists are in force from now on, as entrance writes them."""

    def close(self) -> None:
        """Give everything back."""


@dataclass(frozen=True)
class Door:
    """A listener as the worker serves it: its name, its TLS, and whether it begins with TLS.

    redirect: the port that clients are sent to instead of being served. lmtp: its section, where it is
    the listener for mail that is delivered.
    """

    name: str
    tls: Context | None
    implicit_tls: bool
    redirect: int | None = None
    lmtp: Lmtp | None = None


@dataclass(frozen=True)
class Plan:
    """All that a worker is made of, handed down by the master. sockets: by listener name, this worker's share.
    recheck: how often those who are logged in are looked at again, in seconds; 0 is never."""

    build: Callable[[GeventLoop], House]
    doors: Sequence[Door]
    sockets: Mapping[str, Sequence[socket.socket]]
    max_connections: int
    patience: Patience
    shutdown_timeout: float
    recheck: float = 0.0

    name = "worker"

    @property
    def listening(self) -> list[socket.socket]:
        """All that it accepts at."""
        return [sock for share in self.sockets.values() for sock in share]

    def run(self, number: int, link: socket.socket) -> int:
        """The worker's whole life, in its process; the exit status."""
        return Worker(self, number, link).run()


class Accepting(StreamServer):  # type: ignore[misc]
    """gevent's StreamServer on a listening socket that exists; a failed accept rests instead of spinning."""

    def __init__(
        self, sock: socket.socket, handle: Callable[[socket.socket, Any], None], accepted: Callable[[], None]
    ) -> None:
        super().__init__(sock, handle=handle)
        self._accepted = accepted
        self._rest = FIRST_REST
        self._resting: gevent.Greenlet | None = None

    def do_read(self) -> tuple[socket.socket, Any] | None:
        try:
            accepted = _accept(self.socket)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return None
        except OSError as error:
            if error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):
                raise
            self._take_a_rest(error)
            return None
        self._rest = FIRST_REST
        return accepted

    def do_handle(self, *arguments: object) -> None:
        # Not gevent's way, which closes the socket when the greenlet ends: ours ends whenever the client is waited for.
        self._accepted()  # at once: the greenlet that serves the client begins in the next turn of the loop
        gevent.spawn(self._handle, *arguments)

    def _take_a_rest(self, error: OSError) -> None:
        # The connection stays in the queue, and the socket readable: without a rest the loop would spin.
        if self._rest == FIRST_REST:
            hint = "raise LimitNOFILE, or lower max_sessions"
            event(logger, logging.ERROR, "accept_failed", error=error.strerror, hint=hint)
        self.stop_accepting()
        self._resting = gevent.spawn_later(self._rest, self._resume)
        self._rest = min(self._rest * 2, LONGEST_REST)

    def _resume(self) -> None:
        self._resting = None
        if not self.closed:
            self.start_accepting()

    def close(self) -> None:
        if self._resting is not None:
            self._resting.kill(block=False)
        super().close()

    def do_close(self, sock: socket.socket, *arguments: object) -> None:
        sock.close()


def _accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """The next connection, as a plain socket: gevent's would keep two watchers of its own, and we have ours."""
    descriptor, address = listening._accept()  # type: ignore[attr-defined]
    return cast("socket.socket", _socket.socket(fileno=descriptor)), address


class Worker:
    """This process's connections."""

    def __init__(self, plan: Plan, number: int, link: socket.socket) -> None:
        self._plan = plan
        self._number = number
        self._link = link
        self._ended = Event()
        self._retired = False
        self._connections: set[Connection] = set()
        self._deliveries: dict[LmtpConnection, gevent.Greenlet] = {}
        self._empty = Event()  # set when the last connection has ended
        self._turned_away = 0
        self._open = 0  # accepted and not gone yet, the greenlet begun or not
        self._accepted = 0
        self._accepting: list[Accepting] = []
        self._recheck: Recheck | None = None

    def run(self) -> int:
        """Serve until told to end; returns the exit status."""
        patched.patch()  # before the house is built: it opens directories
        self._loop = process.begin("imapd-worker", self._ended)
        self._house = self._plan.build(self._loop)
        for door in self._plan.doors:
            for sock in self._plan.sockets.get(door.name, ()):
                accepting = Accepting(sock, partial(self._serve, door), self._count)
                accepting.start()
                self._accepting.append(accepting)
        if self._plan.recheck:
            self._recheck = Recheck(self._house.objection, self._plan.recheck, lambda: list(self._connections))
            gevent.spawn(self._recheck.run)
        gevent.spawn(self._listen_to_master)
        gevent.spawn(memory.give_back, self._loop.sleep, self._loop.offload)
        event(logger, logging.DEBUG, "worker_ready", worker=self._number, pid=os.getpid())
        self._ended.wait()
        self._stop()
        return 0

    def _listen_to_master(self) -> None:
        for message in process.words_of_master(self._link):
            if message == process.RETIRE:
                self._retire()
            elif message.startswith(LISTS):
                self._house.renew(message.removeprefix(LISTS))
                if self._recheck is not None:
                    self._recheck.at_once()
            elif message.startswith(b"{"):
                self._link.send(control.reply(message, self._house.forget))
        event(logger, logging.ERROR, "master_lost", worker=self._number)
        self._ended.set()

    # -- connections -------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        self._open += 1

    def _serve(self, door: Door, sock: socket.socket, address: tuple[Any, ...]) -> None:
        """Serve a client that has just come; a greenlet's work until the client has to be waited for."""
        connection: Connection | None = None
        try:
            connection = self._met(door, sock, address)
        finally:
            if connection is None:
                self._count_out()
        if connection is not None:
            self._connections.add(connection)
            connection.serve(self._ended_with)

    def _count_out(self) -> None:
        self._open -= 1
        if self._retired and not self._open:
            self._ended.set()

    def _ended_with(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._note_empty()
        self._count_out()

    def _note_empty(self) -> None:
        if not (self._connections or self._deliveries):
            self._empty.set()

    def _met(self, door: Door, sock: socket.socket, address: tuple[Any, ...]) -> Connection | None:
        """The connection to a client that may stay."""
        tune(sock)
        transport = Transport(sock)
        self._accepted += 1
        peer = str(address[0]) if isinstance(address, tuple) else ""  # at a Unix socket nobody has an address
        identity = {"id": f"{os.getpid()}.{self._accepted}", "listener": door.name, "peer": peer}
        if door.lmtp is not None:
            self._serve_lmtp(door, door.lmtp, transport, identity)
            return None
        if door.redirect is not None:
            self._redirect(door.redirect, transport, identity)
            return None
        if len(self._connections) >= self._plan.max_connections:
            self._turn_away(door, transport, identity)
            return None
        return Connection(
            transport,
            self._house.begin(door.name, peer),
            self._loop,
            self._plan.patience,
            identity,
            door.tls,
            door.implicit_tls,
        )

    def _serve_lmtp(self, door: Door, lmtp: Lmtp, transport: Transport, identity: dict[str, str]) -> None:
        """Somebody who delivers mail. He is counted apart, so that mail comes in where all sessions are taken."""
        begin = self._house.receive(identity["peer"])
        tls = door.tls if lmtp.starttls else None
        connection = LmtpConnection(transport, begin, self._loop, identity, lmtp.networks, tls)
        if len(self._deliveries) >= DELIVERING:
            connection.turn_away()
            return
        self._deliveries[connection] = gevent.getcurrent()
        try:
            connection.serve()
        finally:
            del self._deliveries[connection]
            self._note_empty()

    def _redirect(self, port: int, transport: Transport, identity: dict[str, str]) -> None:
        """Say where to go, and close; nothing that the client sends is read."""
        event(logger, logging.INFO, "redirected", **identity, port=port)
        bye = Status("BYE", f"Please connect to port {port}, with TLS from the beginning.")
        try:
            transport.write(b"".join(bye.chunks(False)), time.monotonic() + HANDSHAKE)
        except (Gone, TimedOut):
            pass
        finally:
            transport.close()

    def _turn_away(self, door: Door, transport: Transport, identity: dict[str, str]) -> None:
        """Over the limit: say so if it costs little, and close."""
        event(logger, logging.WARNING, "turned_away", **identity, reason="max_sessions")
        self._turned_away += 1
        try:
            if self._turned_away <= TURNED_AWAY:
                deadline = time.monotonic() + HANDSHAKE
                if door.implicit_tls and door.tls is not None:
                    transport.start_tls(door.tls, deadline)
                bye = Status("BYE", "Too many connections; please try again later.", "UNAVAILABLE")
                transport.write(b"".join(bye.chunks(False)), deadline)
        except (Gone, TimedOut, TlsFailure):
            pass
        finally:
            self._turned_away -= 1
            transport.close()

    # -- the end -----------------------------------------------------------------------------------------------------

    def _accept_no_more(self) -> None:
        for accepting in self._accepting:
            accepting.stop(timeout=0)
        self._accepting.clear()

    def _retire(self) -> None:
        """Leave new clients to the new workers, and serve who is here."""
        event(logger, logging.INFO, "worker_retired", worker=self._number, connections=len(self._connections))
        self._retired = True
        self._accept_no_more()
        if not self._open:
            self._ended.set()
        gevent.spawn_later(RETIREMENT, self._ended.set)

    def _stop(self) -> None:
        """Everybody hears BYE; who does not take it in time is cut off."""
        self._accept_no_more()
        gevent.sleep(0)  # who was accepted in this turn of the loop has a greenlet that begins now, and hears it too
        self._empty.clear()
        everybody: list[Connection | LmtpConnection] = [*self._connections, *self._deliveries]
        for connection in everybody:
            connection.stop("The server is going down; please connect again.")
        if self._connections or self._deliveries:
            # The rest of the time is for those who must be cut off, and for the store.
            self._empty.wait(self._plan.shutdown_timeout * 0.7)
        if left := len(self._connections) + len(self._deliveries):
            event(logger, logging.WARNING, "cut_off", worker=self._number, connections=left)
            cut = [greenlet for connection in self._connections for greenlet in connection.cut()]
            cut += self._deliveries.values()
            gevent.killall(cut, block=True, timeout=max(0.2, self._plan.shutdown_timeout * 0.1))
        with gevent.Timeout(max(0.2, self._plan.shutdown_timeout * 0.1), False):
            try:
                self._house.close()
            finally:
                self._loop.close()
