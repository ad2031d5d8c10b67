"""Servers that answer LDAP wrongly, slowly or not at all, in a thread each, on ports of 127.0.0.1.

    with Fake(handle) as server:      # handle(connection) is called for each client, in a thread of its own
        server.uri; server.received   # all octets of all clients; server.clients, how many there were

`bind_answer`, `start_tls_answer` and `search_done` are messages to answer with.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator


def _element(tag: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def answer(number: int, operation: int, code: int = 0, text: bytes = b"") -> bytes:
    """A message with an LDAPResult (RFC 4511 section 4.1.9)."""
    result = _element(0x0A, bytes([code])) + _element(4, b"") + _element(4, text)
    return _element(0x30, _element(2, bytes([number])) + _element(operation, result))


def bind_answer(request: bytes, code: int = 0) -> bytes:
    return answer(message_id(request), 0x61, code)


def extended_answer(request: bytes, code: int = 0) -> bytes:
    return answer(message_id(request), 0x78, code)


def search_done(request: bytes, code: int = 0) -> bytes:
    return answer(message_id(request), 0x65, code)


def message_id(request: bytes) -> int:
    """The number of the request that the octets begin with; small ones only, which a new process gives."""
    at = 2 if request[1] < 128 else 2 + (request[1] & 0x7F)
    assert request[at] == 2
    number = int.from_bytes(request[at + 2 : at + 2 + request[at + 1]])
    assert number < 128, "the answers of this room have short numbers"
    return number


class Fake:
    """A server that does with each client what `handle` does."""

    def __init__(self, handle: Callable[[Fake, socket.socket], None]) -> None:
        self._handle = handle
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.uri = f"ldap://127.0.0.1:{self.port}"
        self.received = b""
        self.clients = 0
        self.over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []

    def receive(self, connection: socket.socket) -> bytes:
        """What the client sends next; where it has left, that ends the work on it."""
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError
        self.received += data
        return data

    def __enter__(self) -> Fake:
        self._begin(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.clients += 1
            self._connections.append(connection)
            self._begin(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            self._handle(self, connection)


def silent(server: Fake, connection: socket.socket) -> None:
    """Takes everything and says nothing."""
    while True:
        server.receive(connection)


def dripping(seconds: float) -> Callable[[Fake, socket.socket], None]:
    """Answers a bind octet by octet, so many seconds apart."""

    def handle(server: Fake, connection: socket.socket) -> None:
        for octet in bind_answer(server.receive(connection)):
            connection.sendall(bytes([octet]))
            if server.over.wait(seconds):
                return

    return handle


def saying(octets: bytes) -> Callable[[Fake, socket.socket], None]:
    """Answers whatever it is asked with these octets."""

    def handle(server: Fake, connection: socket.socket) -> None:
        while True:
            server.receive(connection)
            connection.sendall(octets)

    return handle


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """The URI of a port whose queue is full: connecting to it waits for ever, as behind a firewall that drops."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    waiting = []
    for _ in range(8):
        one = socket.socket()
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect(listening.getsockname())
        waiting.append(one)
    time.sleep(0.05)
    try:
        yield f"ldap://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        for one in waiting:
            one.close()
        listening.close()
