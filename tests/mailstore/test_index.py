"""The index: lost, damaged, replaced, too new; shared by several workers; cheap where nothing changed."""

import errno
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from array import array
from pathlib import Path

import pytest

from imapd.mailstore.database import Database
from imapd.mailstore.errors import Corrupt, Denied, Gone, LimitExceeded, NoSpace, Retry, StoreError
from imapd.mailstore.index import Index
from imapd.mailstore.indexfile import INDEX_FILE
from imapd.mailstore.rows import MessageRow, message_id, runs, signed, unsigned
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import WIRE, WaitingLoop, Worker, deliver, files
from tests.support.loop import PlainLoop

INDEX = os.fsdecode(INDEX_FILE)
FLIPS = int(os.environ.get("IMAPD_TEST_FLIPS", "60"))


@pytest.fixture
def home(tmp_path):
    return tmp_path / "ann"


def filled(home):
    """A Maildir whose worker has gone, and the UIDVALIDITY of its INBOX."""
    worker = Worker(home)
    for number in range(20):
        worker.put("INBOX", b"n: %d\r\n\r\n" % number, flags=frozenset({"\\Seen", "Work"}))
    worker.ann.create("A", ("\\Sent",))
    uidvalidity = worker.ann.status("INBOX").uidvalidity
    worker.store.close()
    return uidvalidity


def bodies(worker):
    return sorted(worker.texts().values())


# Loss and damage


def test_an_index_that_is_gone_is_made_anew(home):
    uidvalidity = filled(home)
    for suffix in ("", "-wal", "-shm"):
        (home / (INDEX + suffix)).unlink(missing_ok=True)
    worker = Worker(home)
    worker.loop._now = 0.0
    assert worker.ann.status("INBOX").uidvalidity == uidvalidity
    assert bodies(worker) == sorted(b"n: %d\r\n\r\n" % number for number in range(20))
    assert worker.look()[1] == {"\\Seen", "Work"}


def test_a_new_index_is_what_sqlite_makes_of_the_statements(home, tmp_path):
    def seen(path):
        index = Index(os.fsencode(path), unchanging=True)
        tables = index._all("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")
        said = [index._value(f"PRAGMA {what}") for what in ("user_version", "application_id", "page_size", "encoding")]
        index.close()
        return tables, said, Path(path).read_bytes()[18:20], oct(os.stat(path).st_mode)

    bare = tmp_path / "bare"
    bare.touch(0o600)
    Index.writer(os.fsencode(bare)).close()
    (home / "imapd-index.sqlite.new").parent.mkdir()
    (home / "imapd-index.sqlite.new").write_text("left by a crash")
    worker = Worker(home)
    worker.store.close()
    path = home / os.fsdecode(INDEX_FILE)
    assert seen(path) == seen(bare)
    assert not (home / "imapd-index.sqlite.new").exists()


def test_a_disk_without_room_for_a_new_index_says_so(home, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(NoSpace):
        Worker(home)


def test_uidvalidity_rises_when_nothing_is_left_of_the_index_and_the_clock_ran_back(home):
    uidvalidity = filled(home)
    (home / INDEX).unlink()
    (home / "imapd-floors").unlink()
    assert Worker(home, PlainLoop(1_000.0)).ann.status("INBOX").uidvalidity > uidvalidity


def test_an_index_removed_while_it_is_open_makes_open_mailboxes_gone(home):
    filled(home)
    worker = Worker(home)
    mailbox = worker.open()
    mailbox.snapshot()
    (home / INDEX).unlink()
    with pytest.raises(Gone):
        mailbox.snapshot()
    with pytest.raises(Gone):
        mailbox.change_flags([1], FlagChange.ADD, frozenset({"\\Seen"}))
    assert len(worker.look()) == 20


@pytest.mark.parametrize("damage", ["empty", "text", "half", "holes"])
def test_a_damaged_index_is_put_aside(home, damage, caplog):
    uidvalidity = filled(home)
    path = home / INDEX
    data = path.read_bytes()
    holes = data[:4096] + os.urandom(len(data) - 4096)
    path.write_bytes(
        {"empty": b"", "text": b"hello" * 1000, "half": data[: len(data) // 2 + 100], "holes": holes}[damage]
    )
    worker = Worker(home)
    assert bodies(worker) == sorted(b"n: %d\r\n\r\n" % number for number in range(20))
    assert worker.ann.status("INBOX").uidvalidity == uidvalidity
    if damage != "empty":
        assert len(list(home.glob("imapd-index.sqlite.broken-*"))) >= 1
        assert len([record for record in caplog.records if "put aside" in record.message]) == 1


def test_no_flipped_bit_gives_a_wrong_text_or_an_odd_error(home):
    uidvalidity = filled(home)
    data = (home / INDEX).read_bytes()
    chance = random.Random(7)
    copy = home.parent / "copy"
    for _ in range(FLIPS):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(home, copy)
        flipped = bytearray(data)
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        (copy / INDEX).write_bytes(flipped)
        try:
            worker = Worker(copy)
            mailbox = worker.open()
            for uid, text in worker.texts().items():
                known = mailbox.snapshot().uidvalidity == uidvalidity and uid <= 20
                assert text == b"n: %d\r\n\r\n" % (uid - 1) if known else text.startswith(b"n: ")
        except StoreError:
            continue


def test_damage_found_while_it_is_open_is_mended_with_the_next_look(home):
    filled(home)
    worker = Worker(home)
    worker.ann.subscribe("A")
    core = next(iter(worker.store._cores.values()))
    core._index._writer._all("PRAGMA wal_checkpoint(TRUNCATE)")
    data = (home / INDEX).read_bytes()
    with open(home / INDEX, "r+b") as file:  # in place, as a bad disk does
        file.seek(4096)
        file.write(b"\xff" * (len(data) - 4096))
    with pytest.raises(Corrupt):
        core._index.on_another(lambda index: index.columns(1))
    core.suspect()
    assert bodies(worker) == sorted(b"n: %d\r\n\r\n" % number for number in range(20))


def test_a_newer_index_is_refused_and_not_written(home):
    filled(home)
    with sqlite3.connect(home / INDEX) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("UPDATE meta SET value = 99 WHERE name = 'version'")
    db.close()
    before = (home / INDEX).read_bytes()
    with pytest.raises(Denied):
        Worker(home)
    assert (home / INDEX).read_bytes() == before


def test_a_version_that_a_flipped_bit_made_is_damage(home):
    filled(home)
    with sqlite3.connect(home / INDEX) as db:
        db.execute("PRAGMA user_version = 34")
    db.close()
    assert len(Worker(home).look()) == 20
    assert list(home.glob(INDEX + ".broken-*"))


def test_names_of_a_wrong_type_are_damage(home):
    filled(home)
    with sqlite3.connect(home / INDEX) as db:
        db.execute("PRAGMA writable_schema = 1")
        db.execute("UPDATE sqlite_master SET name = CAST(name AS BLOB) WHERE name = 'message_pending'")
    db.close()
    index = Index(os.fsencode(home / INDEX))
    assert not index.is_sound()
    index.close()


def test_text_that_is_none_is_damage(home):
    filled(home)
    with sqlite3.connect(home / INDEX) as db:
        db.execute("UPDATE mailbox SET new_stamp = CAST(x'31ff32' AS TEXT)")
    db.close()
    assert len(Worker(home).look()) == 20
    assert list(home.glob(INDEX + ".broken-*"))


def test_whoever_comes_after_a_failed_commit_has_all_written_once_more(home, monkeypatch):
    emptied = []
    empty_log = Database.empty_log
    monkeypatch.setattr(Database, "empty_log", lambda self: (emptied.append(self), empty_log(self))[1])
    first, second = Worker(home), Worker(home)
    first.put()
    second.put()

    def failing(bench):
        bench.index.is_in_doubt = True
        with bench.index.transaction():
            pass

    with pytest.raises(Retry):
        first.ann._core.locked(failing)
    assert (home / INDEX).stat().st_mode & stat.S_ISVTX
    second.put()
    assert len(emptied) == 1
    assert not (home / INDEX).stat().st_mode & stat.S_ISVTX
    first.put()
    assert first.texts().keys() == second.texts().keys() == {1, 2, 3, 4}
    assert len(emptied) == 2  # who had the failure remembers it too, for where a file can have no mark
    first.put()
    assert len(emptied) == 2 and not list(home.glob(INDEX + ".broken-*"))


def test_a_disk_that_fails_again_is_not_written_to(home, monkeypatch):
    worker = Worker(home)
    worker.put()
    worker.ann._core.locked(lambda bench: setattr(bench.index, "is_in_doubt", True))

    def fails(self):
        raise Retry(reason="index: disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "empty_log", fails)
        with pytest.raises(Retry):
            worker.put()
        with pytest.raises(Retry):
            Worker(home).put()
    worker.put()
    assert worker.texts().keys() == {1, 2}


def test_what_fails_at_the_last_close_is_made_good_by_who_comes_next(home, monkeypatch):
    worker = Worker(home)
    worker.put("INBOX", WIRE, WIRE)  # whose files are followed by a commit that does not wait for the disk

    def fails(self):
        raise Retry(reason="index: disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "bring_home", fails)
        worker.store.close()
    assert (home / INDEX).stat().st_mode & stat.S_ISVTX
    worker = Worker(home)
    worker.put()
    assert not (home / INDEX).stat().st_mode & stat.S_ISVTX


def test_a_link_in_place_of_the_index_is_not_followed(home, tmp_path):
    filled(home)
    other = tmp_path / "other.sqlite"
    shutil.move(home / INDEX, other)
    (home / INDEX).symlink_to(other)
    before = other.read_bytes()
    worker = Worker(home)
    assert len(worker.look()) == 20
    assert other.read_bytes() == before and not (home / INDEX).is_symlink()


def test_expunged_messages_have_no_description(home):
    filled(home)
    worker = Worker(home)
    mailbox = worker.open()
    list(mailbox.descriptions([1, 2, 3]))
    mailbox.change_flags([2], FlagChange.ADD, frozenset({"\\Deleted"}))
    Worker(home).open().expunge(None)
    assert [uid for uid, _ in mailbox.descriptions([3, 2, 1])] == [3, 1]


def all_of(home):
    """UIDVALIDITY, UID and text of each message of INBOX."""
    worker = Worker(home)
    uidvalidity = worker.ann.status("INBOX").uidvalidity
    seen = {(uidvalidity, uid): text for uid, text in worker.texts().items()}
    worker.store.close()
    return seen


@pytest.mark.parametrize("how", ["copied", "moved", "while it is open", "below its log"])
def test_an_older_index_put_back_never_gives_a_uid_again(home, tmp_path, how):
    filled(home)
    shutil.copy(home / INDEX, tmp_path / "older")
    worker = Worker(home)
    worker.put("INBOX", b"one: 1\r\n\r\n", b"two: 2\r\n\r\n", flags=frozenset({"\\Deleted"}))
    worker.open().expunge([21])
    before = {(worker.ann.status("INBOX").uidvalidity, uid): text for uid, text in worker.texts().items()}
    before[worker.ann.status("INBOX").uidvalidity, 21] = b"one: 1\r\n\r\n"
    mailbox = worker.open()
    mailbox.snapshot()
    if how == "while it is open":
        for suffix in ("-wal", "-shm"):
            (home / (INDEX + suffix)).unlink()
        os.rename(tmp_path / "older", home / INDEX)
        with pytest.raises(Gone):
            mailbox.snapshot()
    elif how == "below its log":  # which brings it up to date
        os.rename(tmp_path / "older", home / INDEX)
    worker.store.close()
    if how == "copied":
        shutil.copyfile(tmp_path / "older", home / INDEX)
    elif how == "moved":
        os.rename(tmp_path / "older", home / INDEX)
    deliver(home, b"three: 3\n\n")
    after = all_of(home)
    assert len(after) == 22
    gone = {key for key in before if key[1] == 21}
    assert after.keys() & before.keys() == before.keys() - gone
    assert all(before.get(key, text) == text for key, text in after.items())
    assert all_of(home) == after  # once is enough


def test_a_mailbox_that_was_made_anew_since_the_copy_does_not_get_its_old_uidvalidity_back(home, tmp_path):
    filled(home)
    shutil.copy(home / INDEX, tmp_path / "older")
    worker = Worker(home)
    worker.ann.delete("A")
    worker.ann.create("A")
    uidvalidity = worker.ann.status("A").uidvalidity
    worker.store.close()
    shutil.copyfile(tmp_path / "older", home / INDEX)
    assert Worker(home).ann.status("A").uidvalidity > uidvalidity


def test_an_account_that_is_copied_as_a_whole_keeps_its_uids(home, tmp_path):
    filled(home)
    before = all_of(home)
    shutil.copytree(home, tmp_path / "copy")
    assert all_of(tmp_path / "copy") == before


@pytest.mark.parametrize("damage", [b"", b"x" * 500, None])
def test_a_damaged_second_record_does_no_harm(home, damage):
    filled(home)
    before = all_of(home)
    if damage is None:
        (home / "imapd-floors").unlink()
        (home / "imapd-floors").mkdir()
    else:
        (home / "imapd-floors").write_bytes(damage)
    assert all_of(home) == before


def test_uids_that_do_not_ascend_are_damage(home, monkeypatch):
    filled(home)
    index = Index(os.fsencode(home / INDEX))
    chunks = index._chunks
    monkeypatch.setattr(index, "_chunks", lambda *statement: [*chunks(*statement)] * 2)
    with pytest.raises(Corrupt):
        index.columns(1)


def test_no_uid_is_given_beyond_the_last(home):
    filled(home)
    index = Index.writer(os.fsencode(home / INDEX))
    index.update_box(1, uidnext=4294967294)
    index.close()
    worker = Worker(home)
    assert worker.put().uids == (4294967294,)
    with pytest.raises(LimitExceeded):
        worker.put()
    deliver(home)
    assert len(worker.texts()) == 21
    assert worker.ann.status("A").messages == 0


def test_tombstones_do_not_grow_for_ever(home, monkeypatch):
    monkeypatch.setattr("imapd.mailstore.tree.TOMBSTONES", 5)
    filled(home)
    sleeper = Worker(home)
    asleep, awake = sleeper.open(), sleeper.open("A")
    assert len(asleep.snapshot().uids) == 20 and len(awake.snapshot().uids) == 0
    worker = Worker(home)
    mailbox = worker.open()
    for uid in range(1, 11):
        mailbox.change_flags([uid], FlagChange.ADD, frozenset({"\\Deleted"}))
        mailbox.expunge([uid])
    worker.store.close()
    again = Worker(home)
    again.ann.subscribe("A")  # cleaning up waits for a write
    assert again.ann._core.reader._value("SELECT count(*) FROM tombstone") == 5
    assert list(asleep.snapshot().uids) == list(range(11, 21))
    assert list(again.look()) == list(range(11, 21))


# Several workers


def test_two_workers_see_each_other(home):
    one, two = Worker(home), Worker(home)
    mailbox = two.open()
    mailbox.snapshot()
    one.put("INBOX", WIRE, WIRE)
    two.put()
    one.open().change_flags([1], FlagChange.ADD, frozenset({"\\Seen", "Work"}))
    snapshot = mailbox.snapshot()
    assert list(snapshot.uids) == [1, 2, 3]
    assert snapshot.flags_of(0) == {"\\Seen", "Work"}
    one.open().change_flags([2], FlagChange.ADD, frozenset({"\\Deleted"}))
    one.open().expunge(None)
    assert list(mailbox.snapshot().uids) == [1, 3]
    one.ann.create("B")
    two.ann.rename("B", "C")
    assert one.ann.exists("C") and not one.ann.exists("B")


def test_a_commit_touches_the_folder_that_others_watch(home):
    worker = Worker(home)
    os.utime(home, (1, 1))
    worker.put()
    assert home.stat().st_mtime > 1
    mailbox = worker.open()
    watching = mailbox.listen(lambda: None)
    assert watching.directories == (f"{home}/new", f"{home}/cur", str(home))


def test_a_lock_that_others_hold_is_waited_for_in_the_loop_and_not_for_ever(home):
    import fcntl

    worker = Worker(home)
    with open(home / "imapd.lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        begun = worker.loop.monotonic()
        with pytest.raises(Retry):
            worker.put()
        assert 30 <= worker.loop.monotonic() - begun < 31
        assert max(worker.loop.sleeps[:100]) < 0.002 and max(worker.loop.sleeps) <= 0.01
        assert files(home)["tmp"] == []
    worker.put()
    assert len(worker.look()) == 1


def test_who_waits_for_the_lock_comes_before_who_has_just_had_it(home):
    """One process that writes without a pause, and one that asks now and then: each time it is the next but one."""
    root = str(Path(__file__).parents[2])
    greedy = subprocess.Popen([sys.executable, "-c", GREEDY.format(root=root, home=str(home))], cwd=root)
    try:
        worker = Worker(home, WaitingLoop())
        while not (home / "begun").exists():
            time.sleep(0.01)
        waits = []
        for _ in range(10):
            begun = time.monotonic()
            worker.ann._core.locked(lambda bench: None)
            waits.append(time.monotonic() - begun)
            time.sleep(0.01)
    finally:
        greedy.kill()
        greedy.wait()
    assert sorted(waits)[7] < 0.08, waits


def test_a_lock_file_removed_while_it_is_waited_for_does_not_let_two_in(home):
    import fcntl

    worker = Worker(home)
    path = home / "imapd.lock"
    with open(path) as first, open(home / "other", "w") as other:
        fcntl.flock(first, fcntl.LOCK_EX)
        fcntl.flock(other, fcntl.LOCK_EX)

        def replaced(seconds, sleep=worker.loop.sleep):
            sleep(seconds)
            if len(worker.loop.sleeps) == 5:
                os.rename(home / "other", path)
                fcntl.flock(first, fcntl.LOCK_UN)

        worker.loop.sleep = replaced
        with pytest.raises(Retry):
            worker.put()


def test_those_who_wait_behind_others_lose_their_patience_at_the_same_time(home):
    import fcntl

    worker = Worker(home)

    class Turn:
        def __enter__(self):
            worker.loop.advance(29)  # somebody before us waited so long

        def __exit__(self, *_):
            pass

    worker.ann._core._turn = Turn()
    with open(home / "imapd.lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        begun = worker.loop.monotonic()
        with pytest.raises(Retry):
            worker.put()
        assert worker.loop.monotonic() - begun < 31


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_a_fifo_or_link_in_place_of_the_lock_holds_nobody_up(home, tmp_path, kind):
    worker = Worker(home)
    (home / "imapd.lock").unlink()
    if kind == "fifo":
        os.mkfifo(home / "imapd.lock")
    else:
        (home / "imapd.lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(Retry):
            worker.put()
        assert not (tmp_path / "elsewhere").exists()
        return
    worker.put()


GREEDY = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.mailstore.maildirhouse import WaitingLoop, Worker
worker = Worker(Path({home!r}), WaitingLoop())
Path({home!r}, "begun").touch()
while True:
    worker.ann._core.locked(lambda bench: time.sleep(0.02))
"""
APPENDER = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.mailstore.maildirhouse import WaitingLoop, Worker
worker = Worker(Path({home!r}), WaitingLoop())
for number in range({count}):
    placed = worker.put("INBOX", b"who: %s\\r\\n\\r\\n%d\\r\\n" % (sys.argv[1].encode(), number))
    print(placed.uidvalidity, *placed.uids, flush=True)
worker.store.close()
"""


def test_two_processes_append_at_once_and_no_uid_is_given_twice(home):
    root = str(Path(__file__).parents[2])
    script = APPENDER.format(root=root, home=str(home), count=200)
    running = [
        subprocess.Popen([sys.executable, "-c", script, name], stdout=subprocess.PIPE, cwd=root) for name in ("a", "b")
    ]
    worker = Worker(home, WaitingLoop())
    mailbox = worker.open()
    try:
        while any(process.poll() is None for process in running):
            deliver(home)
            uids = list(mailbox.snapshot().uids)
            assert uids == sorted(set(uids))
            time.sleep(0.05)
    finally:
        for process in running:
            process.wait()
    told = [tuple(line.split()) for process in running for line in process.communicate()[0].splitlines()]
    assert all(process.returncode == 0 for process in running)
    assert len(told) == len(set(told)) == 400
    texts = worker.texts()
    assert {int(uid) for _, uid in told} <= texts.keys()
    own = [text for text in texts.values() if text.startswith(b"who: ")]
    assert len(own) == len(set(own)) == 400


# Cost


def test_nothing_is_listed_or_read_where_nothing_changed(home, monkeypatch):
    filled(home)
    worker = Worker(home)
    worker.loop.advance(10)
    mailbox = worker.open()
    first = mailbox.snapshot()
    mailbox.snapshot()
    monkeypatch.setattr(os, "listdir", None)
    worker.loop.offloaded.clear()
    assert mailbox.snapshot() is first
    assert worker.loop.offloaded == []


def test_a_restarted_worker_trusts_an_unchanged_maildir(home, monkeypatch):
    filled(home)
    worker = Worker(home)
    worker.loop.advance(10)
    worker.look()
    worker.look()
    worker.store.close()
    again = Worker(home)
    monkeypatch.setattr("imapd.mailstore.maildir.listing", None)
    assert len(again.look()) == 20


def test_snapshots_stay_as_they_were_and_share_what_did_not_change(home):
    filled(home)
    worker = Worker(home)
    mailbox = worker.open()
    before = mailbox.snapshot()
    kept = [array(column.typecode, column) for column in (before.uids, before.masks, before.modseqs, before.sizes)]
    mailbox.change_flags([3], FlagChange.REPLACE, frozenset({"\\Deleted"}))
    flagged = mailbox.snapshot()
    assert flagged.uids is before.uids and flagged.sizes is before.sizes
    mailbox.expunge(None)
    worker.put()
    assert list(mailbox.snapshot().uids) == [1, 2, *range(4, 22)]
    assert [before.uids, before.masks, before.modseqs, before.sizes] == kept


def test_a_large_mailbox_is_not_listed_for_each_delivery(home, monkeypatch):
    worker = Worker(home)
    monkeypatch.setattr("imapd.mailstore.sync.SMALL", 10)
    for _ in range(5):
        worker.put("INBOX", WIRE, WIRE, WIRE)
    mailbox = worker.open()
    mailbox.snapshot()
    worker.loop.advance(3600)
    mailbox.snapshot()
    listed = []
    from imapd.mailstore import maildir

    listing = maildir.listing
    monkeypatch.setattr(maildir, "listing", lambda directory: listed.append(directory[-3:]) or listing(directory))
    deliver(home)
    assert len(mailbox.snapshot().uids) == 16
    mailbox.change_flags([1], FlagChange.ADD, frozenset({"\\Seen"}))
    mailbox.snapshot()
    assert b"cur" not in listed
    worker.loop.advance(3600)
    mailbox.snapshot()
    assert b"cur" in listed


# The database itself


def test_keywords_end_at_56(home):
    worker = Worker(home)
    worker.put(flags=frozenset(f"k{number}" for number in range(56)))
    with pytest.raises(LimitExceeded):
        worker.put(flags=frozenset({"one-more"}))
    with pytest.raises(LimitExceeded):
        worker.open().change_flags([1], FlagChange.ADD, frozenset({"one-more"}))
    worker.open().change_flags([1], FlagChange.REPLACE, frozenset({"K55", "\\Seen"}))
    assert worker.look() == {1: frozenset({"k55", "\\Seen"})}


def test_masks_of_64_bits_come_back():
    for mask in (0, 1, 1 << 62, 1 << 63, (1 << 64) - 1):
        assert unsigned(signed(mask)) == mask and -(1 << 63) <= signed(mask) < 1 << 63


def test_uids_become_runs():
    assert list(runs([5, 1, 2, 2, 9])) == [(1, 2), (5, 5), (9, 9)]
    assert list(runs([])) == []


def test_a_delta_says_when_there_is_too_much(tmp_path):
    index = Index.writer(os.fsencode(tmp_path / "index"))
    with index.transaction():
        box = index.add_box("INBOX", b"", 7, "")
        index.insert(
            [MessageRow(message_id(box, uid), 0, b"f%d" % uid, None, 1 << 63, uid, 1, 1, 1, 0) for uid in range(1, 9)]
        )
    few = index.delta(box, 6, 5)
    assert few is not None and [row[:3] for row in few.rows] == [(7, 1 << 63, 7), (8, 1 << 63, 8)]
    many = index.delta(box, 0, 5)
    assert many is not None and len(many.rows) == 6
    assert index.delta(99, 0, 5) is None
    index.close()


def test_a_transaction_that_fails_leaves_nothing(tmp_path):
    index = Index.writer(os.fsencode(tmp_path / "index"))
    with pytest.raises(KeyError), index.transaction():
        index.add_box("INBOX", b"", 7, "")
        raise KeyError
    assert index.boxes() == []
    assert index.last_uidvalidity() == 0
    index.close()
