"""The server's smaller rooms: log lines, sd_notify, the loop, watches, listening sockets."""

import json
import logging
import os
import random
import resource
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import gevent
import gevent.socket
import pytest

from imapd import log
from imapd.server.loop import GeventLoop
from imapd.server.notify import notify, reloading
from imapd.server.sockets import ListenError, handed_over, open_places, release
from imapd.server.transport import Transport
from imapd.server.watch import GATHER, STORM, STORM_RINGS, STORM_SECONDS, Watch
from tests.server.support import Client, listener, workers


def line(format, name="login", **fields):
    formatter = log._JsonLines() if format == "json" else log._TextLines(journal=False)
    record = logging.LogRecord("imapd.x", logging.INFO, "x.py", 1, "%s", (name,), None)
    record.imapd_fields = fields
    return formatter.format(record)


@pytest.mark.parametrize("evil", ["a\r\nlogin user=root", "\x1b[2J", "\u2028", "\u202e", "\udcff", "\x85", "\0"])
def test_an_event_is_one_line_whatever_is_in_it(evil):
    for format in ("text", "json"):
        written = line(format, user=evil, name_=evil.encode("utf-8", "surrogateescape"))
        assert written.isprintable() and len(written.splitlines()) == 1
    assert json.loads(line("json", user=evil))["user"] == evil


def test_a_value_cannot_pretend_to_be_a_field():
    assert line("text", user='x" result=ok').endswith(r'user="x\" result=ok"')
    assert line("text", user="anna", none=None, seconds=0.25).endswith("login user=anna seconds=0.25")


def test_secrets_are_blanked():
    for format in ("text", "json"):
        assert "hunter2" not in line(format, password="hunter2", token=b"hunter2", user="anna")


def test_a_traceback_is_a_field_of_its_line(capfd):
    log.setup("info", "text")
    try:
        try:
            raise ValueError("one\ntwo")
        except ValueError:
            logging.getLogger("imapd.server.x").exception("it broke")
        log.event(logging.getLogger("imapd.server.x"), logging.DEBUG, "not written")
    finally:
        logging.getLogger("imapd").handlers.clear()
    written = capfd.readouterr().err.splitlines()
    assert len(written) == 1 and "it broke traceback=" in written[0] and r"one\ntwo" in written[0]


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(tmp_path, monkeypatch, abstract):
    name = f"\0imapd-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        assert notify("READY=1", "STATUS=Serving")
        assert manager.recv(1000) == b"READY=1\nSTATUS=Serving"
        reloading()
        first, second = manager.recv(1000).decode().split("\n")
        assert first == "RELOADING=1"
        assert abs(int(second.removeprefix("MONOTONIC_USEC=")) - time.monotonic() * 1e6) < 1e6
    assert not notify("READY=1")  # nobody there any more: no error
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify("READY=1")


def test_breathing_lets_others_in_between_long_work():
    loop = GeventLoop()
    gaps, last = [], [time.monotonic()]

    def other():
        while True:
            gevent.sleep(0.0005)
            now = time.monotonic()
            gaps.append(now - last[0])
            last[0] = now

    greenlet = gevent.spawn(other)
    loop.sleep(0.01)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        loop.breathe()
    greenlet.kill()
    assert sorted(gaps)[len(gaps) * 9 // 10] < 0.02


def test_work_in_threads_lets_others_in_and_its_errors_come_back(capfd):
    loop = GeventLoop()
    ticks = []
    ticker = gevent.spawn(lambda: [ticks.append(gevent.sleep(0.005)) for _ in range(100)])
    assert loop.offload(lambda a, b: (time.sleep(0.1), a + b)[1], 1, 2) == 3
    assert len(ticks) > 5
    ticker.kill()
    for where in (loop.offload, loop.offload_hash):
        with pytest.raises(ZeroDivisionError):
            where(lambda: 1 // 0)
    assert capfd.readouterr().err == ""


def test_a_lock_keeps_others_out_and_lets_the_rest_of_the_process_go_on():
    loop, order = GeventLoop(), []
    lock = loop.lock()

    def hold(name):
        with lock:
            order.append(name)
            gevent.sleep(0.02)
            order.append(name)

    gevent.joinall([gevent.spawn(hold, name) for name in "ab"])
    assert order == ["a", "a", "b", "b"]


class Bell:
    def __init__(self):
        self.rings = 0

    def __call__(self):
        self.rings += 1


def settle(seconds=0.1):
    gevent.sleep(seconds)


def test_a_bell_rings_once_for_a_burst_and_not_after_its_watch_is_closed(tmp_path):
    watch, bell, other = Watch(), Bell(), Bell()
    watched, too = watch.add([str(tmp_path)], bell), watch.add([str(tmp_path)], other)
    for number in range(50):
        (tmp_path / str(number)).touch()
    settle()
    assert (bell.rings, other.rings) == (1, 1)
    (tmp_path / "1").rename(tmp_path / "x")
    settle()
    os.utime(tmp_path)
    settle()
    (tmp_path / "x").unlink()
    settle()
    assert bell.rings == 4
    watched.close()
    watched.close()
    (tmp_path / "y").touch()
    settle()
    assert (bell.rings, other.rings) == (4, 5)
    too.close()
    assert not watch._places and not watch._numbers
    watch.close()


def test_two_places_with_a_directory_in_common_are_both_told_of_it(tmp_path):
    """As the mailboxes of an account of mboxes."""
    for name in "abc":
        (tmp_path / name).mkdir()
    common = str(tmp_path / "c")
    watch, bells = Watch(), [Bell(), Bell()]
    watched = [watch.add([str(tmp_path / name), common], bell) for name, bell in zip("ab", bells, strict=True)]
    os.utime(common)
    settle()
    assert [bell.rings for bell in bells] == [1, 1]
    (tmp_path / "a" / "mail").touch()
    settle()
    assert [bell.rings for bell in bells] == [2, 1]
    watched[0].close()
    os.utime(common)
    settle()
    assert [bell.rings for bell in bells] == [2, 2]
    again = watch.add([str(tmp_path / "a"), common], bells[0])
    watched[1].close()
    os.utime(common)
    settle()
    assert [bell.rings for bell in bells] == [3, 2]
    again.close()
    assert not watch._places and not watch._numbers and not watch._others
    watch.close()


def pauses_before_rings(monkeypatch, times, quiet):
    """How long is waited before so many rings, where the next thing happens that much after each of them."""
    now = [1000.0]
    monkeypatch.setattr("imapd.server.watch.time", SimpleNamespace(monotonic=lambda: now[0]))
    watch = Watch(use_inotify=False)
    pauses = []
    for number in range(times):
        pauses.append(watch._pause())
        now[0] += pauses[-1]
        watch._ring()
        now[0] += quiet(number)
    watch.close()
    return pauses


def test_deliveries_now_and_then_and_what_the_store_does_to_them_are_not_held_up(monkeypatch):
    assert set(pauses_before_rings(monkeypatch, 100, lambda number: 0.003 if number % 2 else 0.03)) == {GATHER}


def test_a_storm_rings_a_hundred_times_a_second(monkeypatch):
    pauses = pauses_before_rings(monkeypatch, 1000, lambda number: 0.0001)
    assert pauses[:STORM_RINGS] == [GATHER] * STORM_RINGS
    assert sum(pauses) > 0.99 * 1000 / STORM_RINGS * STORM_SECONDS
    assert max(pauses) <= GATHER + STORM


def test_the_stores_own_files_ring_nothing(tmp_path):
    rung = []
    watch = Watch()
    try:
        watch.add([str(tmp_path)], lambda: rung.append("rung"))
        (tmp_path / "imapd-index.sqlite-wal").touch()
        gevent.sleep(0.1)
        assert rung == []
        (tmp_path / "mail").touch()
        gevent.sleep(0.1)
        assert rung == ["rung"]
    finally:
        watch.close()


def test_a_file_rings_when_it_is_written_to_and_so_does_the_one_that_replaces_it(tmp_path):
    file, fresh = tmp_path / "mbox", tmp_path / "new"
    file.write_bytes(b"")
    watch, bell = Watch(), Bell()
    watched = watch.add([str(file)], bell)
    assert watch._numbers
    for rings in (1, 2, 3):
        with open(file, "ab") as end:
            end.write(b"From x\n")
        settle()
        assert bell.rings == 2 * rings - 1
        fresh.write_bytes(b"")
        (tmp_path / f"old-{rings}").hardlink_to(file)
        fresh.rename(file)
        settle()
        assert bell.rings == 2 * rings
    watched.close()
    assert not watch._places and not watch._numbers
    watch.close()


@pytest.mark.parametrize("away", [0.03, 0.3])
def test_a_file_that_is_away_for_a_moment_is_watched_again_when_it_is_back(tmp_path, monkeypatch, away):
    """As a mail reader replaces it that first puts the old one aside."""
    file = tmp_path / "mbox"
    file.write_bytes(b"")
    watch, bell = Watch(poll=0.2 if away > 0.1 else 60), Bell()
    monkeypatch.setattr("imapd.server.watch.RETURNS", (0.01, 0.02, 0.04))
    watched = watch.add([str(file)], bell)
    file.rename(tmp_path / "aside")
    settle(away)
    assert not watch._numbers
    file.write_bytes(b"")
    settle(0.3)
    rings = bell.rings
    assert watch._numbers and rings > 1
    watch._poll = 60
    with open(file, "ab") as end:
        end.write(b"From x\n")
    settle()
    assert bell.rings == rings + 1
    watched.close()
    watch.close()


def test_a_bell_that_fails_does_not_hinder_the_next(tmp_path):
    watch, bell = Watch(), Bell()

    def broken():
        raise RuntimeError

    watch.add([str(tmp_path)], broken)
    watch.add([str(tmp_path)], bell)
    (tmp_path / "a").touch()
    settle()
    assert bell.rings == 1
    watch.close()


def test_an_overflow_rings_every_bell(tmp_path):
    from inotify_simple import Event, flags

    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    watch, bells = Watch(), [Bell(), Bell()]
    for bell, name in zip(bells, "ab", strict=True):
        watch.add([str(tmp_path / name)], bell)
    watch._reader.stop()
    real, watch._inotify.read = watch._inotify.read, lambda timeout: [Event(-1, flags.Q_OVERFLOW, 0, "")]
    watch._read()
    watch._inotify.read = real
    settle()
    assert [bell.rings for bell in bells] == [1, 1]
    watch.close()


@pytest.mark.parametrize("blind", [False, True])
def test_where_inotify_sees_nothing_a_slow_look_does(tmp_path, monkeypatch, blind):
    if blind:
        monkeypatch.setattr("imapd.server.watch.is_blind", lambda path, device: True)
    watch, bell = Watch(use_inotify=blind, poll=0.1), Bell()
    watched = watch.add([str(tmp_path)], bell)
    (tmp_path / "a").touch()
    settle(0.3)
    assert bell.rings == 1
    watched.close()
    settle(0.3)
    assert watch._poller is None
    watch.close()


def test_a_folder_that_was_removed_and_comes_back_rings(tmp_path):
    folder = tmp_path / "cur"
    folder.mkdir()
    watch, bell = Watch(poll=0.1), Bell()
    watch.add([str(folder), str(tmp_path / "not there")], bell)
    folder.rmdir()
    settle()
    rings = bell.rings
    assert rings
    folder.mkdir()
    settle(0.3)
    assert bell.rings > rings
    watch.close()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_was_missing_when_its_watch_began_is_heard_of_by_the_kernel_once_it_is_there(tmp_path, kind):
    place, other = tmp_path / "place", tmp_path / "other"
    watch, bell = Watch(poll=0.1), Bell()
    watch.add([str(place)], bell)
    make = {"file": lambda path: path.write_bytes(b""), "folder": lambda path: path.mkdir()}[kind]
    for _ in range(2):
        make(other)
        other.rename(place)
        settle(0.3)
        rings = bell.rings
        assert rings and watch._numbers and watch._poller is None
        change = (lambda: place.write_bytes(b"From x\n")) if kind == "file" else (place / "new").mkdir
        change()
        settle()
        assert bell.rings == rings + 1
        place.rename(tmp_path / "away")
        settle()
        assert bell.rings > rings + 1 and not watch._numbers  # what is somewhere else now is not listened to
        (tmp_path / "away").rename(tmp_path / f"away-{rings}")
    watch.close()


def ports_of(places):
    return [sock.getsockname()[1] for place in places for sock in place.sockets]


def test_each_worker_has_its_own_socket_of_each_address():
    places = open_places([listener(address=("127.0.0.1", "::1"))], 3)
    assert [len(place.sockets) for place in places] == [3, 3]
    assert len(set(ports_of(places))) == 2  # the port 0 is chosen once for each address
    assert places[1].sockets[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    assert sorted(sock.fileno() for k in range(2) for sock in places[0].share(k, 2)) == sorted(
        sock.fileno() for sock in places[0].sockets
    )
    assert [places[0].share(k, 5)[0] for k in (0, 3)] == [places[0].sockets[0]] * 2
    release(places, [])


def test_an_address_in_use_is_named_also_when_the_other_one_shares_its_port():
    for shared in (False, True):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            with pytest.raises(
                ListenError, match=rf"\[\[imap\]\]: cannot listen on 127.0.0.1:{port}: .*another program"
            ):
                open_places([listener(port=port)], 2)


def test_an_address_that_is_not_ours_is_named():
    with pytest.raises(ListenError, match="192.0.2.1.*no such address"):
        open_places([listener(address=("192.0.2.1",))], 1)
    with pytest.raises(ListenError, match="there is no address 'nonsense.invalid'"):
        open_places([listener(address=("nonsense.invalid",))], 1)


def test_a_reload_keeps_what_is_open_and_closes_only_what_is_no_longer_wanted():
    before = open_places([listener("one"), listener("two")], 1)
    port = before[0].sockets[0].getsockname()[1]
    again = [listener("renamed", port=before[0].port)]
    before[0] = type(before[0])("one", "127.0.0.1", 0, before[0].sockets)
    after = open_places(again, 2, open_already=before)
    assert after[0].sockets[0] is before[0].sockets[0] and len(after[0].sockets) == 2
    release(before, after)
    assert before[0].sockets[0].fileno() != -1 and before[1].sockets[0].fileno() == -1
    assert port == after[0].sockets[1].getsockname()[1]
    release(after, [])


ACTIVATED = """
import os, sys
sys.path.insert(0, {path!r})
os.environ["LISTEN_PID"] = str(os.getpid())
from types import SimpleNamespace
from imapd.server.sockets import handed_over, open_places
handed = handed_over()
listeners = [SimpleNamespace(name=n, address=("127.0.0.1",), port=p, status="enabled") for n, p in (("a", 1), ("b", int(sys.argv[1])))]
places = open_places(listeners, 2, handed)
print([(p.listener, p.activated, p.sockets[0].getsockname()[1], p.share(1, 2)[0] is p.sockets[0]) for p in places], handed_over())
"""


def test_sockets_of_systemd_are_taken_by_name_or_by_port():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
        names = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:imapd.socket"}

        def give():
            a, b = os.dup(one.fileno()), os.dup(two.fileno())
            os.dup2(a, 3)
            os.dup2(b, 4)

        done = subprocess.run(
            [sys.executable, "-c", ACTIVATED.format(path=os.getcwd()), str(ports[1])], env={**os.environ, **names},
            preexec_fn=give, close_fds=False, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.stdout.strip() == f"[('a', True, {ports[0]}, True), ('b', True, {ports[1]}, True)] []", done.stderr
    assert handed_over() == []


def test_a_worker_without_free_files_neither_spins_nor_forgets_who_waits():
    with workers() as server:
        pid = server.pids[0]
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 3, used + 100))
        clients = [Client(server.port) for _ in range(6)]
        for client in clients[:3]:
            assert client.line() == "* OK clear"
        began = cpu(pid)
        time.sleep(1.0)
        assert cpu(pid) - began < 0.1
        assert clients[0].command("NOOP")[-1] == "a OK done"
        for client in clients[:3]:
            client.close()
        for client in clients[3:]:
            assert client.line() == "* OK clear"
            client.close()


def cpu(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("count", [1, 3, 60, 200])
def test_pieces_are_written_one_behind_the_other_whatever_the_kernel_takes_at_a_time(count):
    chance = random.Random(count)
    pieces = [chance.randbytes(chance.choice([0, 1, 700, 30_000])) for _ in range(count)]
    ours, client = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    transport = Transport(ours)
    writing = gevent.spawn(transport.write_all, pieces)
    got = b""
    client.setblocking(False)
    while len(got) < sum(map(len, pieces)):
        try:
            got += client.recv(1_000)
        except BlockingIOError:
            gevent.sleep(0)
            gevent.socket.wait_read(client.fileno(), timeout=5)
    writing.get(timeout=5)
    assert got == b"".join(pieces) and transport.octets_out == len(got)
    transport.close()
    client.close()
