"""The loop's bounds and background work, and what a patched worker can still do."""

import subprocess
import sys
import textwrap
import threading

import argon2
import gevent
import pytest

from imapd.directory import passwords
from imapd.model.errors import Overdue
from imapd.server.loop import QUANTUM, GeventLoop


@pytest.fixture
def loop():
    loop = GeventLoop()
    yield loop
    loop.close()


def test_a_deadline_cuts_a_wait(loop):
    began = loop.monotonic()
    with pytest.raises(Overdue), loop.deadline(0.05):
        loop.sleep(5)
    assert loop.monotonic() - began < 1


def test_a_deadline_is_not_swallowed_by_who_catches_exceptions(loop):
    with pytest.raises(Overdue), loop.deadline(0.05):
        for _ in range(3):
            try:
                loop.sleep(5)
            except Exception:  # noqa: S112, this is what libraries do
                continue


def test_a_deadline_that_was_kept_is_forgotten(loop):
    with loop.deadline(0.02):
        pass
    loop.sleep(0.05)


def test_the_first_of_two_deadlines_is_raised_and_the_other_one_stays(loop):
    with pytest.raises(Overdue), loop.deadline(0.1):
        with pytest.raises(Overdue), loop.deadline(0.02):
            loop.sleep(5)
        loop.sleep(5)


def test_background_work_runs_while_the_caller_goes_on(loop):
    done = []
    loop.spawn(lambda: done.append("background"))
    done.append("caller")
    loop.sleep(0.01)
    assert done == ["caller", "background"]


def test_background_work_that_fails_is_logged(loop, caplog):
    def work():
        raise RuntimeError("no luck")

    loop.spawn(work)
    loop.sleep(0.01)
    assert "background work failed: no luck" in caplog.text


def test_background_work_ends_with_the_loop():
    loop = GeventLoop()
    ended = []

    def work():
        try:
            gevent.sleep(60)
        finally:
            ended.append(True)

    loop.spawn(work)
    loop.sleep(0.01)
    loop.close()
    gevent.sleep(0.01)
    assert ended


def test_works_of_one_caller_run_beside_each_other(loop):
    barrier = threading.Barrier(3)  # which lets nobody through alone
    assert sorted(loop.offload_each([lambda: barrier.wait(10)] * 3)) == [0, 1, 2]
    assert loop.offload_each([lambda number=number: number for number in range(20)]) == list(range(20))


def test_the_error_of_one_of_several_works_is_raised_when_all_are_done(loop):
    done = []
    with pytest.raises(OSError, match="refused"):
        loop.offload_each([_refused, lambda: done.append(1)])
    assert done == [1]


def _refused():
    raise OSError("refused")


def test_who_has_little_to_do_waits_for_one_slice_of_those_who_work_hard(loop):
    wires = [gevent.socket.socketpair() for _ in range(3)]
    slices = []
    waits = []

    def a_slice(name):
        slices.append(name)
        until = loop.monotonic() + QUANTUM * 1.1
        while loop.monotonic() < until:
            pass

    def work_hard(name):
        while len(slices) < 200:
            a_slice(name)
            if len(slices) % 10 == 0:
                for _, there in wires:
                    there.send(len(slices).to_bytes(2, "big"))
            loop.breathe()

    def list_on_and_on(wire):  # what it waits for is its client, who takes what it has listed
        while len(slices) < 200:
            wire.recv(2)
            loop.breathe()
            a_slice("list")
            loop.breathe()

    def have_little_to_do(wire):
        while len(waits) < 19:
            began = int.from_bytes(wire.recv(2), "big")
            loop.breathe()
            waits.append(len(slices) - began)

    hard = [gevent.spawn(work_hard, name) for name in "abcdef"]
    listing = [gevent.spawn(list_on_and_on, wire[0]) for wire in wires[::2]]
    gevent.joinall([*hard, gevent.spawn(have_little_to_do, wires[1][0])], timeout=30, raise_error=True)
    gevent.killall(listing)
    for wire in sum(wires, ()):
        wire.close()
    assert len(waits) == 19
    assert max(waits[1:]) <= 2  # when the slice is over in which his octets came, or those of the lists that they woke
    order = [name for name in slices[60:80] if name != "list"]
    assert order[:6] == order[6:12] and len(set(order[:6])) == 6


def test_who_just_woke_up_does_not_queue_behind_those_who_work_hard(loop):
    went_on = []
    loop.sleep(QUANTUM * 2)
    loop.spawn(lambda: went_on.append("another"))
    loop.breathe()
    assert went_on == []


def test_who_is_ended_while_he_waits_for_his_turn_loses_his_place(loop):
    turns = []

    def work_hard(name):
        while len(turns) < 30:
            turns.append(name)
            until = loop.monotonic() + QUANTUM * 1.1
            while loop.monotonic() < until:
                pass
            loop.breathe()

    hard = [gevent.spawn(work_hard, name) for name in "abc"]
    loop.sleep(QUANTUM * 5)
    hard[1].kill()
    ended = len(turns)
    gevent.joinall(hard, timeout=30, raise_error=True)
    assert "b" in turns[:ended] and set(turns[ended:]) == {"a", "c"}


def test_a_patched_process_keeps_its_threads_locks_processes_and_databases():
    """In a process of its own: patching cannot be undone."""
    program = """
        import os, queue, sqlite3, subprocess, threading, time
        from imapd.server import patched
        patched.patch(); patched.patch()
        import gevent, gevent.monkey, socket, ssl
        from imapd.server.loop import GeventLoop
        assert gevent.monkey.is_module_patched("socket") and gevent.monkey.is_module_patched("ssl")
        loop = GeventLoop()
        beats = []
        def heart():
            while True:
                beats.append(loop.monotonic())
                gevent.sleep(0.01)
        loop.spawn(heart)
        assert loop.offload(threading.get_ident) != threading.get_ident()
        def disk():
            base = sqlite3.connect(":memory:")
            base.execute("create table t (a)")
            with threading.Lock():
                import time as clock
                end = clock.monotonic() + 0.1
                while clock.monotonic() < end:
                    base.execute("insert into t values (1)")
            return base.execute("select count(*) from t").fetchone()[0]
        assert loop.offload(disk) > 0
        assert loop.offload_hash(sum, [1, 2]) == 3
        assert subprocess.run(["/bin/echo", "x"], capture_output=True).stdout == b"x\\n"
        numbers = queue.Queue(); numbers.put(1); assert numbers.get() == 1
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        silent = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(silent.getsockname())
        before = len(beats)
        client.settimeout(0.2)
        try:
            client.recv(1)
        except TimeoutError:
            pass
        assert len(beats) - before > 5, "a plain socket stops the loop"
        print("well")
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "well\n", done.stderr


def test_a_password_hash_lets_others_go_on(loop):
    stored = argon2.PasswordHasher(time_cost=4, memory_cost=65536, parallelism=1).hash("secret").encode()
    beats = []

    def beat():
        while True:
            beats.append(True)
            gevent.sleep(0.001)

    heart = gevent.spawn(beat)
    gevent.sleep(0)
    before = len(beats)
    assert loop.offload_hash(passwords.verify, b"{ARGON2}" + stored, b"secret")
    heart.kill()
    # The hash takes some hundred milliseconds; a loop that was held would not have had a single turn.
    assert len(beats) - before >= 5
