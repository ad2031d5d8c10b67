"""Clients that go away in the midst of things leave nothing behind: no file, no descriptor, no greenlet, no memory."""

import os
import signal
import socket
import struct
import time
from pathlib import Path

import pytest

from tests.limits.test_fairness import memory
from tests.support.daemon import Daemon

MESSAGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 40 + b"\r\n"
LARGE = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n"
    + MESSAGE * 12_000
    + b"--c--\r\n"
)


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path / "imapd", workers=1)
    daemon.start()
    yield daemon
    assert daemon.stop() == 0
    assert daemon.tracebacks() == [], daemon.log()


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def temporary_files(daemon):
    return [path for path in daemon.maildir().rglob("tmp/*") if path.is_file()]


def reset(client):
    """Close with RST, as a crashed program does."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def settled(daemon, pid):
    """The descriptors of a worker when it has noticed that its clients went away."""
    fewest = descriptors(pid)
    for _ in range(10):
        time.sleep(0.05)
        fewest = min(fewest, descriptors(pid))
    assert wait_for(lambda: not temporary_files(daemon))
    return fewest


def in_a_literal(client):
    client.send(b"a APPEND INBOX {500000+}\r\n" + MESSAGE * 500)


def in_the_second_message_of_an_append(client):
    client.send(b"a APPEND INBOX {%d+}\r\n%s {500000+}\r\n%s" % (len(MESSAGE), MESSAGE, MESSAGE * 500))


def behind_a_literal(client):
    client.send(b"a APPEND INBOX {%d+}\r\n%s" % (len(MESSAGE), MESSAGE))


def in_idle(client):
    client.ok("SELECT INBOX")
    client.send(b"a IDLE\r\n")
    client.response()


def in_a_fetch(client):
    client.ok("SELECT INBOX")
    client.send(b"a FETCH 1 (BODY.PEEK[1] BODY.PEEK[] BINARY.PEEK[1])\r\n" * 5)
    client.socket.recv(1000)


def in_a_search(client):
    client.ok("SELECT INBOX")
    client.send(b"a SEARCH TEXT never-there\r\n" * 3)


MIDSTS = [in_a_literal, in_the_second_message_of_an_append, behind_a_literal, in_idle, in_a_fetch, in_a_search]


@pytest.mark.parametrize("midst", MIDSTS)
@pytest.mark.parametrize("end", [reset, lambda client: client.close()], ids=["reset", "closed"])
def test_a_client_that_goes_away_leaves_nothing_behind(daemon, midst, end):
    (worker,) = daemon.workers()
    with daemon.login() as first:
        first.append("INBOX", LARGE)
        first.ok("SELECT INBOX")
        first.ok("FETCH 1 BODYSTRUCTURE")
        for _ in range(3):
            client = daemon.login()
            midst(client)
            end(client)
        before = settled(daemon, worker)
        for _ in range(15):
            client = daemon.login()
            midst(client)
            end(client)
        time.sleep(0.3)  # what the last ones sent may be on its way still, and makes a file for a moment
        # One left by each client would be fifteen; a file of the index or two may have been opened meanwhile.
        assert wait_for(lambda: not temporary_files(daemon) and descriptors(worker) <= before + 5), (
            temporary_files(daemon),
            descriptors(worker),
        )
        first.ok("NOOP")


def test_a_stop_in_the_midst_of_things_is_clean(tmp_path):
    daemon = Daemon(tmp_path / "imapd", workers=1)
    daemon.start()
    clients = []
    with daemon.login() as first:
        first.append("INBOX", LARGE)
    for midst in MIDSTS:
        clients.append(daemon.login())
        midst(clients[-1])
    began = time.monotonic()
    assert daemon.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 6
    assert temporary_files(daemon) == []
    assert daemon.tracebacks() == [], daemon.log()
    said = [client.file.read() for client in clients if client is not clients[4]]
    assert all(b"* BYE" in one for one in said), said
    for client in clients:
        client.close()


def test_who_reads_slowly_holds_no_large_message_in_memory(daemon):
    (worker,) = daemon.workers()
    with daemon.login() as first:
        first.append("INBOX", LARGE)
        first.ok("SELECT INBOX")
        first.ok("FETCH 1 (BODYSTRUCTURE BINARY.SIZE[1])")
    before = memory(worker)
    clients = [daemon.login() for _ in range(8)]
    for client in clients:
        client.ok("SELECT INBOX")
        client.begin("FETCH 1 BODY.PEEK[1]")
        client.socket.recv(100)
    assert memory(worker) - before < len(LARGE) * 2  # and not eight times
    for client in clients:
        client.close()


def test_a_connection_costs_little_before_and_after_login(daemon):
    (worker,) = daemon.workers()
    warm = [daemon.connect() for _ in range(20)]
    before = memory(worker)
    silent = [daemon.connect() for _ in range(200)]
    each = (memory(worker) - before) / 200
    assert each < 64
    for client in silent:
        client.send(b"a LOGIN " + b"x" * 8_000)
    time.sleep(0.5)
    assert (memory(worker) - before) / 200 < 64
    for client in warm + silent:
        client.close()
    with daemon.login() as first:
        first.ok("SELECT INBOX")
        before = memory(worker)
        idle = []
        for _ in range(60):
            idle.append(daemon.login())
            in_idle(idle[-1])
        assert (memory(worker) - before) / 60 < 64
        for client in idle:
            client.close()


def test_secrets_are_in_no_log_whatever_goes_wrong(tmp_path):
    daemon = Daemon(tmp_path / "imapd", workers=1, level="debug")
    daemon.start()
    for words in (
        b"a LOGIN anna canary-password",
        b'a LOGIN anna "canary-password" x',
        b'a LOGIN anna "canary-password',
        b"a LOGIN anna canary-\xff\xfepassword",
        b"a LOGIN {4}\r\nanna {15+}\r\ncanary-password",
        b"a AUTHENTICATE PLAIN Y2FuYXJ5",
        b"a AUTHENTICATE PLAIN canary!",
        b"a AUTHENTICATE LOGIN\r\nYW5uYQ==\r\nY2FuYXJ5LXBhc3N3b3Jk",
        b"canary-password\xff",
        b"a LOGIN anna" + b" canary-password" * 1000,
    ):
        with daemon.connect() as client:
            client.send(words + b"\r\n")
            client.response()
            client.send(b"b LOGOUT\r\n")
            client.file.read()
    with daemon.login() as client:
        client.ok(b'ID ("name" "evil\xff\\"" "x\x01y" "z")')
        client.command(b"LOGIN anna canary-password")
    assert daemon.stop() == 0
    log = Path(daemon.log_path).read_bytes()
    for secret in (b"canary", b"Y2FuYXJ5"):
        assert [line for line in log.splitlines() if secret in line] == []
    assert all(line.isprintable() for line in log.decode().split("\n"))
