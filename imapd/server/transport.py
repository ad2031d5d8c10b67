"""A connection's socket: octets in and out with deadlines, in the clear or through TLS.

1. Nothing here keeps output: `write` returns when the kernel has taken everything, so a slow client slows the one
   greenlet that writes to it, and memory does not grow.
2. Every wait has an end: reading by the deadline handed in, writing when nothing at all could be written for
   STALL seconds, the handshake by its own deadline.
3. Who waits for his client needs no greenlet: `rest` has him called when octets or a bell (a changed mailbox, the end
   of the worker) come, or the time is over. `hear` is the same for who has a greenlet to wait in.
"""

import enum
import errno
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent.hub import Waiter
from gevent.socket import wait_read, wait_write

from imapd.directory.certificate import ClientCertificate
from imapd.server import tls

# A client that takes nothing for that long is gone, or wants to hold our memory.
STALL = 300.0
# One write to the kernel or to OpenSSL: big enough to be cheap (1.1 GB/s of TLS), small enough to share the loop.
SLICE = 128 * 1024
# What the kernel is given in one call; any more are put together before.
PIECES = 64
# OpenSSL gives one record, 16 kB, at a time.
READ_SIZE = 16 * 1024
# The shortest wait, which lets the loop look at the sockets once.
_TURN = 1e-6


class Gone(Exception):
    """The client has closed the connection, or the network has."""


class TimedOut(Exception):
    """The deadline has passed, or the client takes no output."""


class Heard(enum.Enum):
    """What a wait ended with."""

    INPUT = enum.auto()
    BELL = enum.auto()
    NOTHING = enum.auto()


class Transport:
    """One connection. sock is a plain socket; it is made non-blocking and belongs to the transport from now on."""

    __slots__ = ("_rung", "_sock", "_timer", "_tls", "_wake", "_watcher", "certificate", "octets_in", "octets_out")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._tls: Any = None
        self._watcher: Any = None
        self._timer: Any = None
        self._wake: Callable[[Heard], None] | None = None  # of who rests
        self._rung = False
        self.octets_in = 0
        self.octets_out = 0
        self.certificate: ClientCertificate | None = None  # the client's, where it has shown one that counts

    @property
    def private(self) -> bool:
        """Whether the connection is encrypted."""
        return self._tls is not None

    def facts(self) -> dict[str, Any]:
        """Version, cipher and the server name asked for, for the log."""
        return tls.facts(self._tls) if self._tls is not None else {}

    def exporter(self) -> bytes | None:
        """The data that SASL binds itself to this connection with; None where there are none."""
        return tls.exporter(self._tls) if self._tls is not None else None

    # -- reading -----------------------------------------------------------------------------------------------------

    def ring(self) -> None:
        """End a rest, or the next one; to be called from any greenlet, and from the hub."""
        self._rung = True
        if self._wake is not None:
            self._set_timer(_TURN)

    def rest(self, deadline: float, wake: Callable[[Heard], None]) -> None:
        """Have `wake` called once, from the hub: when there are octets to read, a bell has rung, or time.monotonic()
        has passed the deadline.

        Octets come before bells, or a busy mailbox would keep a client from ending its IDLE; the bell that rang
        meanwhile is kept for the next rest.
        """
        self._wake = wake
        pending = self._tls is not None and self._tls.pending()  # OpenSSL has read them: the descriptor would not tell
        if pending:
            gevent.get_hub().loop.run_callback(self._tell, Heard.INPUT)
            return
        if self._watcher is None:
            self._watcher = gevent.get_hub().loop.io(self._sock.fileno(), 1)
        self._watcher.start(self._tell, Heard.INPUT)
        self._set_timer(_TURN if self._rung else max(_TURN, deadline - time.monotonic()))

    def hear(self, deadline: float) -> Heard:
        """Rest in the greenlet that calls; what `wake` would be told."""
        waiter = Waiter()
        self.rest(deadline, waiter.switch)
        try:
            heard: Heard = waiter.get()
        finally:
            self._rest_no_more()
        return heard

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.close()
        self._timer = gevent.get_hub().loop.timer(seconds)
        self._timer.start(self._ring_out)

    def _ring_out(self) -> None:
        """The time is over, or a bell has rung."""
        if not self._rung:
            self._tell(Heard.NOTHING)
        elif self.has_input():
            self._tell(Heard.INPUT)
        else:
            self._rung = False
            self._tell(Heard.BELL)

    def _tell(self, heard: Heard) -> None:
        wake = self._wake
        self._rest_no_more()
        if wake is not None:
            wake(heard)

    def _rest_no_more(self) -> None:
        self._wake = None
        if self._watcher is not None:
            self._watcher.stop()
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def read_now(self) -> bytes:
        """The octets that are there; empty where none are, the news being half of a TLS record. Raises Gone."""
        try:
            data = self._sock.recv(READ_SIZE) if self._tls is None else tls.receive(self._tls, READ_SIZE)
        except (BlockingIOError, InterruptedError, tls.WantRead):
            return b""
        except tls.WantWrite:
            self._wait_write(time.monotonic() + STALL)
            return b""
        except (OSError, tls.TlsFailure) as error:
            raise Gone(_reason(error)) from None
        if not data:
            raise Gone("closed by the client")
        self.octets_in += len(data)
        return data

    def has_input(self) -> bool:
        """Whether the client has sent octets that the kernel still has, or has closed."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes, until: float = float("inf")) -> None:
        """Write everything, and be done at that time.monotonic(). Raises Gone, TimedOut."""
        rest = memoryview(data)
        deadline = time.monotonic() + STALL
        while rest:
            written = self._write_some(rest[:SLICE], min(deadline, until))
            if written:
                rest = rest[written:]
                self.octets_out += written
                deadline = time.monotonic() + STALL

    def write_all(self, pieces: Sequence[bytes], until: float = float("inf")) -> None:
        """Write pieces one behind the other, as `write`; in the clear they need not be put together for that."""
        if self._tls is None and len(pieces) <= PIECES:
            try:
                written = self._sock.sendmsg(pieces)
            except (BlockingIOError, InterruptedError):
                written = 0
            except OSError as error:
                raise Gone(_reason(error)) from None
            self.octets_out += written
            pieces = _behind(pieces, written)
        if pieces:
            self.write(b"".join(pieces), until)

    def _write_some(self, data: memoryview, deadline: float) -> int:
        try:
            return self._sock.send(data) if self._tls is None else tls.send(self._tls, data)
        except (BlockingIOError, InterruptedError, tls.WantWrite):
            self._wait_write(deadline)
        except tls.WantRead:
            self._wait_read(deadline)
        except (OSError, tls.TlsFailure) as error:
            raise Gone(_reason(error)) from None
        return 0

    def _wait_write(self, deadline: float) -> None:
        self._wait(wait_write, deadline)

    def _wait_read(self, deadline: float) -> None:
        self._wait(wait_read, deadline)

    def _wait(self, wait: Callable[..., object], deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimedOut
        wait(self._sock.fileno(), timeout=left, timeout_exc=TimedOut())

    # -- TLS and the end ---------------------------------------------------------------------------------------------

    def start_tls(self, context: tls.Context, deadline: float) -> None:
        """Do the handshake as the server. Raises tls.TlsFailure, Gone, TimedOut; the connection is then good for
        nothing any more."""
        connection = context.wrap(self._sock)
        while True:
            try:
                tls.handshake(connection)
            except tls.WantRead:
                self._wait_read(deadline)
            except tls.WantWrite:
                self._wait_write(deadline)
            except OSError as error:
                raise Gone(_reason(error)) from None
            else:
                self._tls = connection
                self.certificate = tls.certificate(connection)
                return

    def close(self) -> None:
        """Close; says goodbye in TLS's manner without waiting for the answer. Closing twice does nothing."""
        self._rest_no_more()
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        if self._tls is not None:
            tls.goodbye(self._tls)
            self._tls = None
        try:
            self._sock.shutdown(socket.SHUT_WR)
            # With unread input in the kernel close() sends RST, which can overtake our last words.
            for _ in range(4):
                if not self._sock.recv(READ_SIZE):
                    break
        except OSError:
            pass
        self._sock.close()


def _behind(pieces: Sequence[bytes], octets: int) -> list[bytes]:
    """What follows so many octets of the pieces."""
    if octets == sum(map(len, pieces)):
        return []
    left = list(pieces)
    while left and octets >= len(left[0]):
        octets -= len(left.pop(0))
    if octets:
        left[0] = left[0][octets:]
    return left


def tune(sock: socket.socket) -> None:
    """Small answers at once (no Nagle), and dead peers noticed in about a quarter of an hour."""
    options = (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        # Mobile clients sleep for minutes at a time, and every probe wakes their radio.
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 600),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 60),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5),
    )
    for level, option, value in options:
        try:
            sock.setsockopt(level, option, value)
        except OSError:
            pass  # not TCP (a socket pair in a test), or gone already: reading will tell


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT):
        return {errno.ETIMEDOUT: "the network lost the client"}.get(error.errno, "reset by the client")
    return str(error)
