"""Failed logins: what a directory hears of them, when somebody is locked, and what is left of it after a restart."""

import contextlib
import logging
import os
import sqlite3
import stat
import threading
import time
from dataclasses import replace

import pytest

from imapd.directory.lockout import Lockout, Try
from imapd.directory.person import Person
from imapd.directory.tries import Answer, Rules, TriesFile
from tests.support.loop import PlainLoop

ADA = Person("acme", "1", "uid=ada,o=acme", "Ada")
EVE = Person("acme", "2", "uid=eve,o=acme", "Eve")
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"
LOCKING = Rules(enforce=True, max_tries=10, expiration=1800, tries_interval=900)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "lockout.sqlite")


def make(loop, rules=LOCKING, path=None, **more):
    return Lockout(loop, rules, path, secret=b"k" * 32, **more)


def wrong(lockout, password, peer=HOME, person=ADA):
    """One wrong password; tells whether the directory heard of it."""
    tried = lockout.begin(person, password, peer)
    if isinstance(tried, Try):
        lockout.end(tried, False)
    return isinstance(tried, Try)


def guess(lockout, count, peer=HOME, person=ADA):
    """Many different wrong passwords; tells how many the directory heard of."""
    return sum(wrong(lockout, b"guess %d %s" % (number, peer.encode()), peer, person) for number in range(count))


@pytest.mark.parametrize("rules", [Rules(enforce=False), LOCKING])
def test_a_directory_hears_four_of_twenty_wrong_passwords(loop, rules):
    assert guess(make(loop, rules), 20) == 4


def test_a_directory_hears_little_of_one_wrong_password_that_comes_again_and_again(loop):
    lockout = make(loop)
    heard = 0
    for _ in range(24):
        heard += wrong(lockout, b"stale")
        loop.advance(2)
    assert heard <= 4
    assert not lockout.locked(ADA, HOME), "it counts once"


def test_the_same_wrong_password_never_locks(loop):
    lockout = make(loop)
    for _ in range(500):
        wrong(lockout, b"stale")
        loop.advance(400)
    assert not lockout.locked(ADA, HOME)


def test_different_wrong_passwords_lock_also_those_that_were_not_asked_about(loop):
    lockout = make(loop)
    guess(lockout, 9)
    assert not lockout.locked(ADA, HOME)
    wrong(lockout, b"the tenth")
    assert lockout.locked(ADA, HOME)
    assert "locked" in lockout.begin(ADA, b"the right one", HOME)


def test_a_lock_ends_by_itself_and_the_count_begins_anew(loop):
    lockout = make(loop)
    guess(lockout, 10)
    loop.advance(1799)
    assert lockout.locked(ADA, HOME)
    loop.advance(1)
    assert not lockout.locked(ADA, HOME)
    assert wrong(lockout, b"one more") and not lockout.locked(ADA, HOME)


def test_the_count_begins_anew_also_where_a_lock_is_shorter_than_the_memory(loop):
    lockout = make(loop, replace(LOCKING, expiration=60))
    guess(lockout, 10)
    loop.advance(61)
    assert wrong(lockout, b"one more") and not lockout.locked(ADA, HOME)


def test_a_lock_without_an_end_lasts_until_it_is_lifted(loop):
    lockout = make(loop, replace(LOCKING, expiration=0))
    guess(lockout, 10)
    loop.advance(10_000_000)
    assert lockout.locked(ADA, HOME)
    assert lockout.purge() > 0 and lockout.locked(ADA, HOME)
    assert lockout.unlock("UID=ada,o=acme") == 1
    assert not lockout.locked(ADA, HOME) and wrong(lockout, b"one more")


def test_a_stranger_does_not_lock_somebody_out_of_where_he_is(loop):
    lockout = make(loop)
    guess(lockout, 50, peer=ELSEWHERE)
    assert lockout.locked(ADA, ELSEWHERE) and not lockout.locked(ADA, HOME)
    assert isinstance(lockout.begin(ADA, b"the right one", HOME), Try)


def test_many_strangers_lock_everywhere_and_only_they(loop):
    lockout = make(loop, replace(LOCKING, max_tries_everywhere=40))
    for host in range(3):
        guess(lockout, 10, peer=f"198.51.100.{host}")
    assert not lockout.locked(ADA, HOME)
    guess(lockout, 10, peer="198.51.100.9")
    assert lockout.locked(ADA, HOME)
    loop.advance(1801)
    assert not lockout.locked(ADA, HOME) and wrong(lockout, b"one more") and not lockout.locked(ADA, HOME)


def test_strangers_of_yesterday_do_not_count(loop):
    lockout = make(loop, replace(LOCKING, max_tries=0, max_tries_everywhere=12))
    guess(lockout, 10, peer=ELSEWHERE)
    loop.advance(86_400)
    guess(lockout, 10, peer=HOME)
    assert not lockout.locked(ADA, HOME)


def test_one_person_s_failures_are_not_another_s(loop):
    lockout = make(loop)
    guess(lockout, 10)
    assert not lockout.locked(EVE, HOME) and wrong(lockout, b"x", person=EVE)


def test_nobody_is_locked_where_locking_is_off(loop):
    lockout = make(loop, Rules(enforce=False))
    guess(lockout, 100)
    assert not lockout.locked(ADA, HOME)
    loop.advance(301)
    assert isinstance(lockout.begin(ADA, b"the right one", HOME), Try)


def test_the_right_password_wipes_the_failures(loop):
    lockout = make(loop)
    guess(lockout, 3)
    lockout.end(lockout.begin(ADA, b"right", HOME), True)
    assert lockout.entries() == []
    assert guess(lockout, 9) == 4


def test_failures_far_apart_are_not_added_up(loop):
    lockout = make(loop)
    for number in range(30):
        assert wrong(lockout, b"%d" % number)
        loop.advance(900)
    assert not lockout.locked(ADA, HOME)


def test_the_pause_doubles_and_is_bounded(loop):
    lockout = make(loop, Rules(enforce=False))
    guess(lockout, 4)
    pauses, since = [], loop.monotonic()
    number = 0
    while len(pauses) < 6:
        loop.advance(10)
        number += 1
        if wrong(lockout, b"later %d" % number):
            pauses.append(loop.monotonic() - since)
            since = loop.monotonic()
    assert pauses == [30, 60, 120, 240, 300, 300]


def test_a_password_that_was_not_asked_about_is_asked_about_later(loop):
    lockout = make(loop)
    guess(lockout, 4)
    assert lockout.begin(ADA, b"right", HOME) == "not asked: too many wrong passwords before, and too soon"
    loop.advance(31)
    tried = lockout.begin(ADA, b"right", HOME)
    lockout.end(tried, True)
    assert lockout.entries() == []


def test_a_directory_that_does_not_answer_counts_nothing(loop):
    lockout = make(loop)
    for number in range(20):
        lockout.end(lockout.begin(ADA, b"%d" % number, HOME), None)
    assert lockout.entries() == [] and guess(lockout, 20) == 4


def test_what_was_found_wrong_before_stays_so_where_the_directory_is_down(loop):
    lockout = make(loop)
    wrong(lockout, b"stale")
    loop.advance(60)
    lockout.end(lockout.begin(ADA, b"stale", HOME), None)
    assert [entry.failures for entry in lockout.entries()] == [1]


def test_asking_many_at_once_gains_nothing(loop):
    lockout = make(loop)
    asked = [lockout.begin(ADA, b"%d" % number, HOME) for number in range(4)]
    assert all(isinstance(tried, Try) for tried in asked)
    before = len(loop.sleeps)
    assert lockout.begin(ADA, b"fifth", HOME) == "not asked: too many passwords at the same time"
    assert sum(loop.sleeps[before:]) <= 8
    for tried in asked:
        lockout.end(tried, False)
    assert lockout.begin(ADA, b"fifth", HOME) == "not asked: too many wrong passwords before, and too soon"


def test_who_waits_for_others_gets_his_turn(loop):
    lockout = make(loop)
    asked = [lockout.begin(ADA, b"device %d" % number, HOME) for number in range(4)]
    sleep = loop.sleep

    def others_finish(seconds):
        sleep(seconds)
        while asked:
            lockout.end(asked.pop(), True)

    loop.sleep = others_finish
    assert isinstance(lockout.begin(ADA, b"device 5", HOME), Try)


def test_the_same_password_of_many_connections_does_not_wait(loop):
    lockout = make(loop)
    assert all(isinstance(lockout.begin(ADA, b"right", HOME), Try) for _ in range(20))


def test_who_is_killed_while_asking_counts_as_wrong(loop):
    lockout = make(loop)
    for number in range(4):
        lockout.begin(ADA, b"%d" % number, HOME)
    loop.advance(31)
    assert not isinstance(lockout.begin(ADA, b"fifth", HOME), Try) or guess(lockout, 20) == 0


def test_exempt_networks_are_not_counted(loop):
    lockout = make(loop, exempt=("192.0.2.0/24", "2001:db8::/32"))
    assert guess(lockout, 30) == 30 and guess(lockout, 30, peer="2001:db8::1") == 30
    assert not lockout.locked(ADA, HOME) and lockout.entries() == []
    assert guess(lockout, 30, peer=ELSEWHERE) == 4


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("local", "local"),
    ],
)
def test_a_client_is_counted_by_its_network(loop, peer, network):
    assert make(loop).network(peer) == network


def test_a_network_of_many_failures_waits_before_a_directory_is_asked(loop):
    lockout = make(loop)
    waits = []
    for number in range(60):
        waits.append(lockout.wait(HOME))
        lockout.failed(HOME, f"nobody{number}")
    assert waits[:10] == [0.0] * 10 and waits == sorted(waits) and waits[-1] == 8.0
    assert lockout.wait(ELSEWHERE) == 0.0
    loop.advance(900)
    assert lockout.wait(HOME) == 0.0


def test_a_network_waits_for_wrong_passwords_and_not_for_right_ones_nor_for_the_same_again(loop):
    lockout = make(loop)
    for _ in range(50):
        lockout.failed(HOME, "somebody who is gone")
        wrong(lockout, b"stale")
        lockout.end(lockout.begin(EVE, b"right", HOME), True)
        loop.advance(10)
    assert lockout.wait(HOME) == 0.0
    for number in range(50):
        wrong(lockout, b"guess", person=replace(EVE, uid=f"person {number}"))
    assert lockout.wait(HOME) > 0.0


def test_a_restart_forgets_nothing(loop, path):
    guess(make(loop, path=path), 10)
    again = make(loop, path=path)
    assert again.locked(ADA, HOME)
    assert [(entry.label, entry.failures, entry.locked) for entry in again.entries()] == [("uid=ada,o=acme", 10, True)]


def test_workers_count_together(loop, path):
    workers = [make(loop, path=path) for _ in range(4)]
    heard = sum(wrong(workers[number % 4], b"%d" % number) for number in range(20))
    assert heard == 4 and all(worker.locked(ADA, HOME) for worker in workers)
    workers[0].unlock(ADA.identity)
    assert not any(worker.locked(ADA, HOME) for worker in workers)


def test_workers_that_are_tried_at_the_same_moment_count_together(path):
    heard = []

    def worker(number):
        loop = PlainLoop()
        loop.sleep = lambda seconds: time.sleep(
            0.001
        )  # all have one time: from a clock that goes back nobody counts on
        lockout = make(loop, path=path)
        heard.extend(wrong(lockout, b"%d of %d" % (guess, number)) for guess in range(10))

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(heard) == 40 and sum(heard) == 4


def test_a_worker_that_starts_while_another_makes_the_file_waits_for_it(path):
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.2, other.execute, ("COMMIT",))
    done.start()
    TriesFile(path, Rules()).close()
    done.join()
    other.close()


def test_the_file_is_the_daemon_s_alone_and_has_no_password(loop, path, tmp_path):
    lockout = make(loop, path=path)
    guess(lockout, 3)
    wrong(lockout, b"hunter2hunter2")
    assert stat.S_IMODE((tmp_path / "lockout.sqlite").stat().st_mode) == 0o600
    for file in tmp_path.iterdir():
        assert b"hunter2" not in file.read_bytes()
    lockout.close()


def test_a_file_that_cannot_be_used_is_done_without_and_complained_about(loop, path, caplog):
    with open(path, "wb") as file:
        file.write(b"this is no database " * 100)
    lockout = make(loop, path=path)
    assert "counted for each worker alone" in caplog.text
    assert guess(lockout, 20) == 4 and lockout.locked(ADA, HOME)
    make(loop, path="/nonexistent/lockout.sqlite")


def test_a_disk_that_fails_later_is_done_without_too(loop, path, caplog):
    lockout = make(loop, path=path)
    lockout._file.close()
    assert wrong(lockout, b"x")
    assert "counted for each worker alone" in caplog.text


@contextlib.contextmanager
def writing(path):
    """Another worker writes to the file."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        other.close()


def test_a_thread_is_waited_for_only_where_another_worker_writes(loop, path):
    lockout = make(loop, path=path)
    before = len(loop.offloaded)
    assert isinstance(lockout.begin(ADA, b"x", HOME), Try) and not lockout.locked(ADA, HOME)
    assert len(loop.offloaded) == before
    offload = loop.offload
    with writing(path) as other:

        def after_the_other(work, *arguments):
            other.execute("ROLLBACK")
            return offload(work, *arguments)

        loop.offload = after_the_other
        assert isinstance(lockout.begin(ADA, b"y", HOME), Try)
    loop.offload = offload
    assert len(loop.offloaded) == before + 1
    assert [entry.failures for entry in make(loop, path=path).entries()] == [2]


def test_the_log_of_the_file_is_emptied_now_and_then(loop, path, monkeypatch):
    monkeypatch.setattr("imapd.directory.lockout._TIDY", 20)
    lockout = make(loop, path=path)
    for number in range(400):
        tried = lockout.begin(ADA, b"x%d" % number, HOME)
        if isinstance(tried, Try):
            lockout.end(tried, True)
    assert os.path.getsize(path + "-wal") < 20 * 4 * 4200


def test_who_is_killed_while_the_file_is_written_leaves_it_whole_for_the_others(loop, path, caplog):
    class Killed(BaseException):
        pass

    lockout = make(loop, path=path)
    guess(lockout, 3)
    offload, threads = loop.offload, []

    def killed(work, *arguments):
        threads.append((work, arguments))
        raise Killed()

    loop.offload = killed
    with writing(path), pytest.raises(Killed):
        lockout.begin(ADA, b"x", HOME)
    loop.offload = offload
    assert guess(lockout, 20) == 4 - 3 and lockout.locked(ADA, HOME)
    for work, arguments in threads:  # the thread that was left at work ends
        work(*arguments)
    assert lockout.locked(ADA, HOME) and make(loop, path=path).locked(ADA, HOME) and not caplog.records[1:]


def test_a_lock_is_told_once_to_the_log(loop, caplog):
    with caplog.at_level(logging.WARNING):
        guess(make(loop), 30)
    assert caplog.text.count("is locked for 1800 s") == 1


def test_sweeping_keeps_what_counts(loop, path):
    lockout = make(loop, path=path)
    guess(lockout, 2, peer=ELSEWHERE)
    loop.advance(700)
    guess(lockout, 10)
    loop.advance(601)
    wrong(lockout, b"x", person=EVE)
    assert {(entry.subject, entry.network, entry.locked) for entry in lockout.entries()} == {
        ("acme/1", HOME, True),
        ("acme/2", HOME, False),
    }


def test_what_is_kept_for_one_entry_is_bounded(loop):
    file = TriesFile(None, Rules())
    for number in range(500):
        file.begin("acme/1", "ada", HOME, b"%d" % number, loop.time())
        file.end("acme/1", "ada", HOME, b"%d" % number, False, loop.time())
    assert file.entries(loop.time())[0].failures <= 100
    assert file.begin("acme/1", "ada", HOME, b"new", loop.time()).answer is Answer.PAUSED


def test_a_clock_that_is_put_back_locks_nobody_for_years(loop):
    lockout = make(loop)
    guess(lockout, 9)
    loop.advance(-86_400)
    assert wrong(lockout, b"x") and not lockout.locked(ADA, HOME)


def test_a_limit_below_the_free_tries_holds(loop):
    lockout = make(loop, replace(LOCKING, max_tries=3))
    assert guess(lockout, 20) == 3 and lockout.locked(ADA, HOME)
