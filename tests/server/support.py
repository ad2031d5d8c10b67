"""What the tests of the server share: certificates, a small conversation, and a worker in a process of its own.

The small conversation knows LOGIN, BIG n (n untagged lines of 1,000 octets), IDLE, STARTTLS, CRASH, SPIN seconds,
ECHO with a literal, and LOGOUT. It notes the names of commands that it ran in untagged lines, so that a test sees what
was executed.
"""

import contextlib
import os
import signal
import socket
import ssl
import time
from types import SimpleNamespace

from imapd.imap.command import Await, Continue, State, Upgrade
from imapd.imap.dispatch import Admitted, Turned
from imapd.mailstore.errors import NoSpace
from imapd.server.children import fork
from imapd.server.partners import Patience
from imapd.server.process import READY
from imapd.server.sockets import open_places
from imapd.server.tls import Context, Identity
from imapd.server.worker import Door, Plan
from imapd.wire.responses import ContinueResponse, Raw, Status
from tests.support.certificates import self_signed


def certificate(folder, name="localhost", key_name=None):
    """A self-signed certificate for the name and 127.0.0.1; the Identity with its two files."""
    paths = Identity(str(folder / f"{name}.pem"), str(folder / f"{key_name or name}.key"))
    for path, content in zip((paths.certificate, paths.key), self_signed(name), strict=True):
        with open(path, "wb") as file:
            file.write(content)
    return paths


class SmallConversation:
    """See above. bells: what IDLE's view hands its bell to."""

    def __init__(self, private, log, loop):
        self.loop = loop
        self.log = log
        self.session = SimpleNamespace(
            state=State.NOT_AUTHENTICATED, utf8=False, private=private, person=SimpleNamespace(user_name="anna")
        )

    max_line = 8192
    resting = None

    def greeting(self):
        return [Status("OK", "private" if self.session.private else "clear")]

    def admit(self, offer):
        if offer.so_far.text.split()[1] == b"FULL":
            return Admitted(FullDisk(), [])
        if offer.size > 100:
            return Turned([Status("BAD", "too large")], close=False)
        return Admitted(None, [ContinueResponse(b"go")] if offer.synchronizing else [])

    def too_long(self, what):
        return [Status("BAD", "too long")]

    def literal_failed(self, error):
        return [Status("NO", error.text, tag="a")]

    def goodbye(self, reason):
        self.session.state = State.LOGOUT
        return [Status("BYE", reason)]

    def close(self):
        pass

    def rest(self, command):
        self.resting = command

    @property
    def is_resting(self):
        return self.resting is not None

    def idle(self, view, tag, line):
        while line is None:
            line = yield Await(view, (view, tag))
            if line is None:
                yield Raw(b"* NEWS")
        yield Status("OK", "done", tag=tag)

    def answer(self, line):
        resting, self.resting = self.resting, None
        if resting is not None:
            if line is None:
                yield Raw(b"* NEWS")
            yield from self.idle(*resting, line)
            return
        tag, name, *arguments = line.text.decode().split()
        name = name.upper()
        yield Raw(f"* RAN {name}".encode())
        if name == "LOGIN":
            self.session.state = State.AUTHENTICATED
            self.log("login", user="anna")
        elif name == "LOGOUT":
            self.session.state = State.LOGOUT
        elif name == "STARTTLS":
            yield Status("OK", "begin", tag=tag)
            done = yield Upgrade()
            assert done is True
            self.session.private = True
            return
        elif name == "BIG":
            for _ in range(int(arguments[0])):
                yield Raw(b"* " + b"x" * 996)
        elif name == "IDLE":
            yield ContinueResponse(b"idling")
            view = FolderView(self.loop, arguments[0]) if arguments else None
            yield from self.idle(view, tag, None)
            return
        elif name == "ASK":
            line = yield Continue(b"what")
            yield Raw(b"* HEARD " + line.text)
        elif name == "ECHO":
            yield Raw(b"* HEARD " + line.pieces[1].data)
        elif name == "CRASH":
            raise RuntimeError("a secret text")
        elif name == "SPIN":
            end = time.monotonic() + float(arguments[0])
            while time.monotonic() < end:
                self.loop.breathe()
        yield Status("OK", "done", tag=tag)


class FullDisk:
    def write(self, data):
        raise NoSpace("The disk is full.")


class FolderView:
    """Looks like a view whose mailbox is one folder."""

    def __init__(self, loop, folder):
        self.loop, self.folder = loop, folder

    def listen(self, bell):
        self.watching = self.loop.watch([self.folder], bell)

    def listen_no_more(self):
        self.watching.close()


class SmallHouse:
    def __init__(self, loop):
        self.loop = loop

    def begin(self, listener, peer):
        return lambda private, log, security: SmallConversation(private, log, self.loop)

    def close(self):
        pass


def listener(name="imap", port=0, security="starttls", address=("127.0.0.1",)):
    return SimpleNamespace(name=name, address=address, port=port, security=security, status="enabled")


@contextlib.contextmanager
def workers(count=1, identity=None, security="starttls", max_connections=100, shutdown_timeout=2.0, house=SmallHouse,
            tls=None, ends=True, **patience):  # fmt: skip
    """Workers in processes of their own, one listener; gives a namespace with port, ports, children and pids."""
    context = tls or (Context(identity) if identity else None)
    door = Door("imap", context, security == "tls")
    # Tests of two workers want to choose between them: each has a port of its own then.
    places = [open_places([listener()], 1)[0] for _ in range(count)]
    children = []
    for number in range(count):
        plan = Plan(house, [door], {"imap": places[number].sockets}, max_connections,
                    Patience(**{"handshake": 5.0, **patience}), shutdown_timeout)  # fmt: skip
        children.append(fork(plan, number, []))
    ports = [one.sockets[0].getsockname()[1] for one in places]
    for one in places:
        for sock in one.sockets:
            sock.close()
    for child in children:
        child.link.settimeout(10)
        assert child.link.recv(1) == READY
    try:
        yield SimpleNamespace(port=ports[0], ports=ports, children=children, pids=[child.pid for child in children])
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            if ends:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.pid, 0)
            child.link.close()


class Client:
    """A blocking client on 127.0.0.1 that speaks in lines."""

    def __init__(self, port, tls=None, server_name="localhost", timeout=10, session=None):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.wrap(tls, server_name, session)
        self.rest = b""

    def wrap(self, tls, server_name="localhost", session=None):
        self.sock = tls.wrap_socket(self.sock, server_hostname=server_name, session=session)

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        while b"\n" not in self.rest:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self.rest)
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line.rstrip(b"\r").decode()

    def command(self, text, tag="a"):
        """Send a command; all lines up to its tagged one."""
        self.send(f"{tag} {text}\r\n".encode())
        lines = [self.line()]
        while not lines[-1].startswith(f"{tag} "):
            lines.append(self.line())
        return lines

    def all(self):
        """Everything until the end of the connection."""
        data, self.rest = self.rest, b""
        with contextlib.suppress(ConnectionResetError):
            while more := self.sock.recv(65536):
                data += more
        return data

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()


def trusting(**options):
    """A client's TLS context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context


def resident(pid):
    """The memory of a process in octets."""
    with open(f"/proc/{pid}/status") as lines:
        for line in lines:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


__all__ = ["Client", "SmallHouse", "certificate", "listener", "resident", "trusting", "workers"]
