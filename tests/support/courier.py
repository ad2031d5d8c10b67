"""A real Courier for tests, without its daemons: its imapd serves one Maildir to whoever comes to a port of 127.0.0.1,
as nobody where root runs the tests.

    with Courier(maildir, port) as server:
        server.login()              # nobody is asked for a password

Where Courier is missing, tests fail and say what to install.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from pathlib import Path

from tests.support.daemon import Client
from tests.support.dovecot import as_nobody, give

BINARY = Path("/opt/imapd-tests/usr/bin/imapd")
SETTINGS = {
    "AUTHENTICATED": "anna",
    "IMAP_CAPABILITY": "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE",
    "IMAP_KEYWORDS": "1",
    "IMAP_USELOCKS": "0",
    "IMAP_TRASHFOLDERNAME": "",
}


class Courier:
    """A server of one Maildir, which is made if it is not there."""

    def __init__(self, maildir: Path, port: int) -> None:
        assert BINARY.exists(), "there is no courier-imap here; as root: tests/install-debian-packages"
        self.maildir, self.port = maildir, port
        self._children: list[subprocess.Popen[bytes]] = []
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        if not maildir.exists():
            subprocess.run(["maildirmake.courier", str(maildir)], check=True)
            give(maildir)

    def start(self) -> Courier:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):  # closed by `stop`
            while True:
                client, _ = self._listener.accept()
                with client:
                    self._children.append(
                        subprocess.Popen(
                            [str(BINARY), str(self.maildir)],
                            stdin=client,
                            stdout=client,
                            stderr=subprocess.DEVNULL,
                            env={**os.environ, **SETTINGS, "MAILDIR": str(self.maildir)},
                            cwd="/",
                            **as_nobody(),
                        )
                    )

    def stop(self) -> None:
        """Take no more clients, and wait for the end of those that there are."""
        assert self._listener is not None and self._thread is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        for child in self._children:
            child.terminate()
            child.wait(10)
        self._children = []

    def login(self, name: str = "anna") -> Client:
        client = PlainClient(socket.create_connection(("127.0.0.1", self.port), timeout=20))
        assert client.greeting.startswith(b"* PREAUTH"), client.greeting
        return client

    def __enter__(self) -> Courier:
        return self.start()

    def __exit__(self, *nothing: object) -> None:
        self.stop()


class PlainClient(Client):
    """A client for a server without LITERAL+."""

    def append(self, mailbox: str, message: bytes, flags: str = "") -> bytes:
        tag = self.begin(f"APPEND {mailbox} ({flags}) {{{len(message)}}}")
        assert self.response().startswith(b"+ ")
        self.send(message + b"\r\n")
        tagged = self.finish(tag)[1]
        assert tagged.startswith(b"OK"), tagged
        return tagged
