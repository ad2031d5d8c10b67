"""Two clients, two workers, one mailbox: each sees the other's changes, in the right order, in IDLE within a second."""

import os
import re
import threading
import time
from pathlib import Path

import pytest

from tests.clients.conftest import deliver, message


def worker_of(client, daemon):
    """Which worker serves this connection: the process that has the other end of its socket."""
    port = client.socket.getsockname()[1]
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if int(line.split()[2].split(":")[1], 16) == port
    }
    for pid in daemon.workers():
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(fd))
            except OSError:
                continue
            if match and match[1] in inodes:
                return pid
    raise AssertionError("nobody serves this connection")


@pytest.fixture
def pair(shared_daemon, person):
    """Two clients of one person, selected INBOX, on different workers."""
    with shared_daemon.login(person) as setup:
        for number in range(1, 5):
            setup.append("INBOX", message(number))
        setup.ok("SELECT INBOX")
    first = shared_daemon.login(person)
    others = []
    for _ in range(40):
        second = shared_daemon.login(person)
        if worker_of(second, shared_daemon) != worker_of(first, shared_daemon):
            break
        others.append(second)
    else:
        pytest.fail("40 connections went to the same worker")
    first.ok("SELECT INBOX")
    second.ok("SELECT INBOX")
    yield first, second
    for client in (first, second, *others):
        client.close()


def heard_within(client, seconds, wanted):
    """The responses up to the wanted one, which must come in time."""
    deadline = time.monotonic() + seconds
    heard = []
    while True:
        client.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            heard.append(client.response().rstrip(b"\r\n"))
        except TimeoutError:
            pytest.fail(f"{wanted!r} did not come within {seconds} s, only {heard}")
        if re.fullmatch(wanted, heard[-1]):
            client.socket.settimeout(20)
            return heard


def test_in_idle_each_sees_what_the_other_does_within_a_second(pair):
    first, second = pair
    tag = first.begin("IDLE")
    assert first.response().startswith(b"+")

    second.append("INBOX", message(5))
    heard_within(first, 1.0, rb"\* 5 EXISTS")
    second.ok("NOOP")
    second.ok(r"STORE 2 +FLAGS.SILENT (\Flagged $Work)")
    heard_within(first, 1.0, rb"\* 2 FETCH \(.*FLAGS \(\\Flagged \$Work\).*\)")
    second.ok(r"STORE 1,3 +FLAGS.SILENT (\Deleted)")
    heard_within(first, 1.0, rb"\* 3 FETCH \(.*\\Deleted.*\)")
    second.ok("EXPUNGE")
    heard = heard_within(first, 1.0, rb"\* 1 EXPUNGE")
    heard += (
        heard_within(first, 1.0, rb"\* \d EXPUNGE") if len([line for line in heard if b"EXPUNGE" in line]) < 2 else []
    )
    assert sorted(line for line in heard if b"EXPUNGE" in line) in (
        [b"* 1 EXPUNGE", b"* 2 EXPUNGE"],
        [b"* 1 EXPUNGE", b"* 3 EXPUNGE"],
    )

    first.send(b"DONE\r\n")
    untagged, tagged = first.finish(tag)
    assert tagged.startswith(b"OK")
    assert first.ok("FETCH 1:* (UID)") == [b"* 1 FETCH (UID 2)", b"* 2 FETCH (UID 4)", b"* 3 FETCH (UID 5)"]


def test_sequence_numbers_hold_still_for_the_other_worker_too(pair):
    first, second = pair
    second.ok(r"STORE 1 +FLAGS.SILENT (\Deleted)")
    second.ok("EXPUNGE")
    untagged = first.ok("FETCH 2:4 (UID)")
    assert [line for line in untagged if b"UID" in line] == [
        b"* 2 FETCH (UID 2)",
        b"* 3 FETCH (UID 3)",
        b"* 4 FETCH (UID 4)",
    ]
    assert not any(b"EXPUNGE" in line for line in untagged)
    assert b"* 1 EXPUNGE" in first.ok("NOOP")


def test_both_workers_give_uids_and_no_uid_is_given_twice(pair, shared_daemon, person):
    first, second = pair
    uids, failures = [], []

    def append(client, start):
        try:
            for number in range(start, start + 40):
                uids.append(int(re.search(rb"APPENDUID \d+ (\d+)", client.append("INBOX", message(number)))[1]))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=append, args=(client, start)) for client, start in ((first, 100), (second, 200))]
    for thread in threads:
        thread.start()
    for number in range(300, 320):
        deliver(shared_daemon.maildir(person), message(number).replace(b"\r\n", b"\n"))
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(uids)) == 80
    for client in (first, second):
        client.ok("NOOP")
        found = client.ok("UID SEARCH ALL")[-1].split()[2:]
        assert len(found) == len(set(found)) == 4 + 80 + 20
    views = [client.ok("FETCH 1:* (UID BODY.PEEK[TEXT])") for client in (first, second)]
    assert views[0] == views[1]
    numbers = sorted(int(re.search(rb"number (\d+)", line)[1]) for line in views[0])
    assert numbers == sorted([1, 2, 3, 4, *range(100, 140), *range(200, 240), *range(300, 320)])


def test_a_worker_that_is_killed_loses_nothing_and_is_replaced(daemon):
    with daemon.login() as client:
        for number in range(1, 4):
            client.append("INBOX", message(number))
    before = daemon.workers()
    os.kill(before[0], 9)
    deadline = time.monotonic() + 15
    while len(daemon.workers()) < len(before) or before[0] in daemon.workers():
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.05)
    for _ in range(8):
        with daemon.login() as client:
            assert b"* 3 EXISTS" in client.ok("SELECT INBOX")
            assert client.ok("FETCH 1:* (UID)") == [b"* %d FETCH (UID %d)" % (n, n) for n in (1, 2, 3)]
