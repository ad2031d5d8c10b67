"""A client that costs little: it reads in large pieces while the clock runs, and looks at what it got afterwards.

It is one conversation, command by command; `crowd` is many at once. An answer that is not what was asked for is a WrongAnswer, and ends the run: a server is not fast by being wrong.
The time of an answer is that from the first octet sent to the tagged line received.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.daemon import insecure_context

PATIENCE = 120.0  # seconds: the first look at 100,000 messages is the longest that anybody takes; --patience
PIECE = 1 << 20  # octets that are asked for at once
TAG = b"zq"  # a tag begins with it; no line in a message does

_LITERAL = re.compile(rb"\{(\d+)\}\r\n")


class WrongAnswer(AssertionError):
    """A server's answer is not what was asked for."""


@dataclass(slots=True)
class Answer:
    """All that came for one command, the tagged line included. seconds: until that was there."""

    data: memoryview
    seconds: float

    def outside(self) -> tuple[bytes, int, int]:
        """(what is outside literals, how many literals there were, their octets)."""
        whole = bytes(self.data)
        if b"}\r\n" not in whole:
            return whole, 0, 0
        kept, count, octets, begin = [], 0, 0, 0
        while found := _LITERAL.search(whole, begin):
            size = int(found[1])
            kept.append(whole[begin : found.start()])
            begin, count, octets = found.end() + size, count + 1, octets + size
        kept.append(whole[begin:])
        return b"".join(kept), count, octets


class Connection:
    """One conversation with the server on a port of this machine. The view of an answer is good until the next command."""

    patience = PATIENCE
    _buffer = bytearray(4 * PIECE)  # one for all: they speak one after the other, and its pages stay warm

    def __init__(self, port: int, tls: bool = False) -> None:
        self._socket: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=Connection.patience)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self._socket = insecure_context().wrap_socket(self._socket, server_hostname="localhost")
        self._number = 0
        self._filled = 0
        try:
            self._read_until(lambda: self._buffer.endswith(b"\r\n", 0, self._filled))
            if not self._buffer.startswith(b"* OK"):
                raise WrongAnswer(bytes(self._buffer[: self._filled]))
        except BaseException:
            self.close()
            raise

    def ask(self, command: bytes) -> Answer:
        """One command, whose tagged answer must be OK. Literals in it are non-synchronizing."""
        begun = time.perf_counter()
        tag = self.begin(command)
        return self._finish(tag, begun, command)

    def begin(self, command: bytes) -> bytes:
        """Send a command; its tag."""
        self._number += 1
        tag = TAG + b"%d " % self._number
        self._socket.sendall(tag + command + b"\r\n")
        return tag

    def _finish(self, tag: bytes, begun: float, command: bytes) -> Answer:
        self._filled = 0
        at = 0

        def complete() -> bool:
            nonlocal at
            if not self._buffer.endswith(b"\r\n", 0, self._filled):
                return False
            at = self._buffer.rfind(b"\r\n", 0, self._filled - 2)
            at = at + 2 if at >= 0 else 0
            return self._buffer.startswith(tag, at, self._filled)

        self._read_until(complete)
        seconds = time.perf_counter() - begun
        tagged = bytes(self._buffer[at : self._filled])
        if not tagged.startswith(tag + b"OK"):
            raise WrongAnswer(f"{command[:200]!r} was answered {tagged!r}")
        return Answer(memoryview(self._buffer)[: self._filled].toreadonly(), seconds)

    def wait_for(self, words: bytes) -> float:
        """Read what comes unasked until `words` have come; the time of that, of time.perf_counter()."""
        self._filled = 0
        self._read_until(lambda: self._buffer.find(words, 0, self._filled) >= 0)
        return time.perf_counter()

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def _read_until(self, enough: Callable[[], bool]) -> None:
        while True:
            if len(self._buffer) - self._filled < PIECE:
                self._grow()
            with memoryview(self._buffer) as view, view[self._filled :] as room:
                got = self._socket.recv_into(room)
            if not got:
                end = bytes(self._buffer[max(0, self._filled - 300) : self._filled])
                raise WrongAnswer(f"the connection ended after {end!r}")
            self._filled += got
            if enough():
                return

    def _grow(self) -> None:
        grown = bytearray(2 * len(self._buffer))  # another one: views of the old one may be alive
        with memoryview(self._buffer) as view:
            grown[: self._filled] = view[: self._filled]
        Connection._buffer = grown

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *nothing: object) -> None:
        self.close()
