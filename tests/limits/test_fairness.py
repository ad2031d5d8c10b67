"""One client's work neither fills the memory nor stalls the others. Counted here are kilobytes, and how often a neighbour
is answered meanwhile; how long he waits is for `make bench-directories` (tests/bench/fairness.py)."""

import os
import threading
import time
from pathlib import Path

import pytest

from tests.support.daemon import Daemon

MESSAGES = int(os.environ.get("IMAPD_TEST_MESSAGES", "100000"))


def memory(pid):
    """Resident memory of a process that is its own, in kB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("no Pss line")


def forget_peak(pid):
    """Let the highest resident memory be what it is now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid):
    """The highest resident memory since then, in kB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM line")


def fill(maildir, count):
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True, exist_ok=True)
    base = b"From: Sender <sender@example.org>\nTo: anna@example.org\nSubject: Number %d\nDate: Mon, 7 Feb 1994 21:52:25 -0800\nMessage-ID: <%d@example.org>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\n\nText of number %d.\n"
    for number in range(1, count + 1):
        text = base % (number, number, number)
        name = f"{1_700_000_000 + number}.M{number}P1.test,S={len(text)},W={len(text) + text.count(10)}:2,S"
        fd = os.open(maildir / "cur" / name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, text)
        os.close(fd)


class Neighbour(threading.Thread):
    """Somebody on the same worker who asks for nothing again and again, and keeps the time of each answer."""

    def __init__(self, daemon, name="ben", password="secret"):
        super().__init__(daemon=True)
        self.client = daemon.connect()
        self.client.ok(f"LOGIN {name} {password}")
        self.times = []
        self.go_on = True

    def run(self):
        while self.go_on:
            began = time.perf_counter()
            self.client.ok("NOOP")
            self.times.append(time.perf_counter() - began)
            time.sleep(0.005)

    def finish(self):
        self.go_on = False
        self.join(60)
        self.client.close()
        return self.times


def large_daemon(folder):
    """A daemon of one worker, with a large mailbox that has an index and no description of any message yet."""
    daemon = Daemon(folder / "imapd", workers=1)
    fill(daemon.maildir("anna"), MESSAGES)
    daemon.start()
    with daemon.login("anna") as client:
        client.socket.settimeout(400)
        assert b"* %d EXISTS" % MESSAGES in client.ok("SELECT INBOX")
    daemon.stop()  # a worker that never built an index has no memory of it to use again
    return daemon.start()


def fetch_all_envelopes(daemon):
    """FETCH 1:* (ENVELOPE) beside a neighbour: (envelopes, octets, kB that the worker grew by, his waits in s)."""
    (worker,) = daemon.workers()
    with daemon.login("anna") as client:
        client.socket.settimeout(400)
        client.ok("SELECT INBOX")
        forget_peak(worker)
        before = peak(worker)
        neighbour = Neighbour(daemon)
        neighbour.start()
        tag = client.begin("FETCH 1:* (ENVELOPE)")
        count = octets = 0
        while not (line := client.response()).startswith(tag):
            count += b"FETCH (ENVELOPE " in line
            octets += len(line)
        assert line.startswith(tag + b" OK")
        return count, octets, peak(worker) - before, neighbour.finish()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    daemon = large_daemon(tmp_path_factory.mktemp("large"))
    yield daemon
    assert daemon.stop() == 0
    assert daemon.tracebacks() == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("time", ["never seen", "once more"])
def test_fetch_of_all_envelopes_keeps_memory_flat_and_lets_others_in(time, daemon):
    count, _, grown, waits = fetch_all_envelopes(daemon)
    assert count == MESSAGES
    assert grown < 32 * 1024
    assert len(waits) >= 10  # once more takes a quarter of a second at best, and he asks every five milliseconds


@pytest.mark.timeout(600)
def test_a_reader_that_does_not_read_fills_no_memory(daemon):
    (worker,) = daemon.workers()
    with daemon.login("anna") as client, daemon.login("ben") as other:
        client.ok("SELECT INBOX")
        before = memory(worker)
        for _ in range(20):
            client.begin("FETCH 1:* (FLAGS ENVELOPE)")
        for _ in range(20):
            other.ok("NOOP")
            time.sleep(0.1)
        assert memory(worker) - before < 16 * 1024
