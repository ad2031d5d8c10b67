"""A daemon of our own for a test: real processes, real sockets, real files, all below one folder."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from tests.support.certificates import self_signed

CONFIGURATION = """\
[service]
workers = {workers}
state_directory = state
shutdown_timeout = 5s
{service}
[listeners]
  [[imap]]
  address = 127.0.0.1
  port = {port}
  security = starttls
  plaintext_login = yes
  [[imaps]]
  address = 127.0.0.1
  port = {tls_port}
  security = tls
  [[strict]]
  address = 127.0.0.1
  port = {strict_port}
  security = starttls
[tls]
certificate = cert.pem
key = key.pem
[authentication]
failure_delay = 0s
{authentication}
[directories]
  [[people]]
  type = ldif
  file = people.ldif
[mail]
root = mail
create = yes
{mail}
[log]
level = {level}
"""


def free_ports(number: int) -> list[int]:
    """Ports on 127.0.0.1 that nobody uses at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def called(pid: int) -> str:
    """What a process says that it is."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # it has ended
        return ""


class Daemon:
    """`imapd -c FILE` as a child process. people: login name to password, all in the clear."""

    def __init__(
        self,
        folder: Path,
        people: dict[str, str] | None = None,
        workers: int = 2,
        service: str = "",
        mail: str = "",
        authentication: str = "",
        level: str = "info",
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.people = people or {"anna": "secret", "ben": "secret"}
        self.port, self.tls_port, self.strict_port = free_ports(3)
        certificate, key = self_signed("localhost")
        (folder / "cert.pem").write_bytes(certificate)
        (folder / "key.pem").write_bytes(key)
        os.chmod(folder / "key.pem", 0o600)
        self.write_people()
        (folder / "imapd.ini").write_text(
            CONFIGURATION.format(
                port=self.port,
                tls_port=self.tls_port,
                strict_port=self.strict_port,
                workers=workers,
                service=service,
                mail=mail,
                authentication=authentication,
                level=level,
            )  # fmt: skip
        )
        self.log_path = folder / "log"
        self.program = [sys.executable, "-m", "imapd"]
        self.process: subprocess.Popen[bytes] | None = None

    def write_people(self) -> None:
        entries = ["version: 1\n\ndn: dc=example,dc=org\nobjectClass: domain\ndc: example\n"]
        for name, password in self.people.items():
            entries.append(
                f"dn: uid={name},dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name} Example\n"
                f"sn: Example\nmail: {name}@example.org\nuserPassword: {password}\n"
            )
        path = self.folder / "people.ldif"
        path.touch(mode=0o600)
        path.write_text("\n".join(entries))

    def start(self) -> Daemon:
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.program, "-c", str(self.folder / "imapd.ini")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.wait_until_it_answers()
        return self

    def wait_until_it_answers(self, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while True:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log()}")
            try:
                for port in (self.port, self.tls_port):
                    with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
                        if port == self.port:
                            assert one.recv(2) == b"* "
                return
            except (ConnectionError, OSError):
                if time.monotonic() > deadline:
                    raise AssertionError(f"the daemon does not answer:\n{self.log()}") from None
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 20) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"the daemon did not end within {seconds} s:\n{self.log()}") from None

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        assert self.process is not None
        indexers = self.indexers()
        return [pid for pid in self._children() if pid not in indexers]

    def indexers(self) -> list[int]:
        """The process ids of the indexer, and of one that is about to leave it the work."""
        # By the log, because it takes a moment until a process has its name; a number may have come round again.
        last = {int(pid): what for what, pid in re.findall(r" (\w+)_started .*?\w+_pid=(\d+)", self.log())}
        return [pid for pid in self._children() if last.get(pid) == "indexer" or called(pid) == "imapd-indexer"]

    def _children(self) -> list[int]:
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def tracebacks(self) -> list[str]:
        return re.findall(r"Traceback.*", self.log())

    def maildir(self, name: str = "anna") -> Path:
        return self.folder / "mail" / name

    # -- talking to it ---------------------------------------------------------------------------------------------

    def connect(self, tls: bool = False, timeout: float = 20) -> Client:
        raw = socket.create_connection(("127.0.0.1", self.tls_port if tls else self.port), timeout=timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            raw = insecure_context().wrap_socket(raw, server_hostname="localhost")
        try:
            return Client(raw)
        except OSError:
            raw.close()
            raise

    def login(self, name: str = "anna", tls: bool = False) -> Client:
        client = self.connect(tls)
        try:
            client.ok(f"LOGIN {name} {self.people[name]}")
        except (OSError, AssertionError):
            client.close()
            raise
        return client


def insecure_context() -> ssl.SSLContext:
    """A client's context that takes the self-signed certificate of a test."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """The bare minimum of an IMAP client: it sends bytes, and reads responses with their literals."""

    def __init__(self, raw: socket.socket) -> None:
        self.socket = raw
        self.file = raw.makefile("rb")
        self.number = 0
        try:
            self.greeting = self.response()
        except OSError:
            self.file.close()
            raise

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def response(self) -> bytes:
        """One whole response, its literals included; b"" at the end of the connection."""
        whole = b""
        while True:
            line = self.file.readline()
            whole += line
            match = re.search(rb"\{(\d+)\}\r\n$", line)
            if not match:
                return whole
            whole += self.file.read(int(match[1]))

    def begin(self, command: str | bytes) -> bytes:
        """Send a command; returns its tag."""
        self.number += 1
        tag = b"t%d" % self.number
        self.send(tag + b" " + (command.encode() if isinstance(command, str) else command) + b"\r\n")
        return tag

    def finish(self, tag: bytes) -> tuple[list[bytes], bytes]:
        """Read to the tagged line: (untagged responses, the tagged line without its tag)."""
        untagged = []
        while True:
            response = self.response()
            if not response:
                raise AssertionError(f"the connection ended before {tag!r} was answered; before that: {untagged[-3:]}")
            if response.startswith(tag + b" "):
                return untagged, response[len(tag) + 1 :].rstrip(b"\r\n")
            untagged.append(response.rstrip(b"\r\n"))

    def command(self, command: str | bytes) -> tuple[list[bytes], bytes]:
        return self.finish(self.begin(command))

    def ok(self, command: str | bytes) -> list[bytes]:
        """A command that must succeed; its untagged responses."""
        untagged, tagged = self.command(command)
        assert tagged.startswith(b"OK"), (command, tagged)
        return untagged

    def append(self, mailbox: str, message: bytes, flags: str = "") -> bytes:
        """Append by a non-synchronizing literal; the tagged line."""
        words = f"APPEND {mailbox} {f'({flags}) ' if flags else ''}{{{len(message)}+}}"
        self.number += 1
        tag = b"t%d" % self.number
        self.send(tag + b" " + words.encode() + b"\r\n" + message + b"\r\n")
        tagged = self.finish(tag)[1]
        assert tagged.startswith(b"OK"), tagged
        return tagged

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *nothing: object) -> None:
        self.close()
