"""The second record of UIDs, and an index that is lost, damaged or too old: no UID ever has another message's text."""

import contextlib
import os
import shutil
import sqlite3
from array import array
from pathlib import Path

import pytest

from imapd.mailstore import floors, uidrecord
from imapd.mailstore.errors import Gone, StoreError
from imapd.mailstore.rebuild import GAP
from imapd.mailstore.store import Text
from imapd.model.flags import FlagChange
from tests.faults.index import Canaries, trials
from tests.mailstore.maildirhouse import WIRE, Worker, deliver

DELETED = frozenset({"\\Deleted"})


@pytest.fixture
def home(tmp_path):
    return tmp_path / "ann"


def lose_index(home):
    for path in home.glob("imapd-index.sqlite*"):
        path.unlink()


# The record


def test_a_record_comes_back_as_it_was_written(tmp_path):
    path = os.fsencode(tmp_path / "imapd-uids")
    odd = [(1, b"a"), (2, b"b%0A\n%25%"), (4_294_967_294, b" \xff 7")]
    assert uidrecord.read(path) is None
    assert not uidrecord.note(path, 7, odd, 3)
    uidrecord.write_whole(path, 7, odd[:1], path + b".new", 0o600)
    assert uidrecord.note(path, 7, odd[1:], 3)
    assert uidrecord.read(path) == (7, 4_294_967_295, {base: uid for uid, base in odd})
    assert not uidrecord.note(path, 8, odd, 3)


def test_no_damage_of_a_record_gives_a_message_another_uid(tmp_path):
    path = tmp_path / "imapd-uids"
    pairs = [(uid, b"1%d.M2P3.mx,S=4" % uid) for uid in range(9, 14)]
    uidrecord.write_whole(os.fsencode(path), 70, pairs, os.fsencode(tmp_path / "new"), 0o600)
    data = path.read_bytes()
    whole = uidrecord.read(os.fsencode(path))
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found = uidrecord.read(os.fsencode(path))
        assert found is None or (found.uidvalidity == 70 and found.uids.items() < whole.uids.items())
    for size in range(len(data)):
        path.write_bytes(data[:size])
        found = uidrecord.read(os.fsencode(path))
        assert found is None or found.uids.items() <= whole.uids.items()


def test_a_torn_line_takes_no_other_with_it(tmp_path):
    path = os.fsencode(tmp_path / "imapd-uids")
    uidrecord.write_whole(path, 7, [(1, b"a"), (2, b"b")], path + b".new", 0o600)
    os.truncate(path, os.stat(path).st_size - 1)
    assert uidrecord.note(path, 7, [(3, b"c")], 3)
    assert uidrecord.read(path) == (7, 4, {b"a": 1, b"b": 2, b"c": 3})


def test_a_record_of_the_dead_is_written_anew(home, monkeypatch):
    monkeypatch.setattr(uidrecord, "_SPARE", 5)
    worker = Worker(home)
    mailbox = worker.open()
    sizes = []
    for _ in range(30):
        worker.put()
        mailbox.change_flags(mailbox.snapshot().uids, FlagChange.ADD, DELETED)
        mailbox.expunge(None)
        sizes.append((home / "imapd-uids").stat().st_size)
    worker.put()
    assert max(sizes) < 12 * sizes[0]
    assert 31 in uidrecord.read(os.fsencode(home / "imapd-uids")).uids.values()


def test_every_way_in_is_written_down(home):
    worker = Worker(home)
    worker.ann.create("A")
    inbox = worker.open()
    worker.put("INBOX", WIRE, WIRE)
    deliver(home)
    inbox.copy([1], "A")
    inbox.move([2], "A")
    inbox.snapshot()
    for name, folder in (("INBOX", ""), ("A", ".A")):
        box = worker.ann._core.reader.box_named(name)
        record = uidrecord.read(os.fsencode(home / folder / "imapd-uids"))
        rows = {row.file.partition(b":")[0]: row.uid for row in worker.ann._core.reader.rows(box.id)}
        assert record.uidvalidity == box.uidvalidity and rows.items() <= record.uids.items()


def test_a_record_that_is_missing_is_made_with_the_first_write(home):
    worker = Worker(home)
    worker.put()
    worker.store.close()
    before = (home / "imapd-uids").read_bytes()
    (home / "imapd-uids").unlink()
    Worker(home).ann.subscribe("INBOX")
    assert (home / "imapd-uids").read_bytes() == before


def test_a_commit_that_fails_is_not_written_down(home):
    worker = Worker(home)
    worker.put()
    before = (home / "imapd-uids").read_bytes()

    def failing(bench):
        (row,) = bench.index.rows(1)
        with bench.index.transaction():
            bench.index.insert([row._replace(id=row.id + 1)])
            raise KeyError

    with pytest.raises(KeyError):
        worker.ann._core.locked(failing)
    worker.ann.create("A")
    assert (home / "imapd-uids").read_bytes() == before


def test_a_disk_that_refuses_the_record_hinders_nobody(home):
    (home / "imapd-uids").mkdir(parents=True)
    worker = Worker(home)
    worker.put()
    assert worker.texts() == {1: WIRE}


# What is made anew of it


def test_flags_keywords_and_dates_come_from_the_files(home):
    worker = Worker(home)
    worker.put("INBOX", WIRE, flags=frozenset({"\\Seen", "Work"}), date=1_600_000_000)
    worker.store.close()
    lose_index(home)
    worker = Worker(home)
    assert worker.look() == {1: {"\\Seen", "Work"}}
    assert list(worker.open().snapshot().dates) == [1_600_000_000]


def test_what_comes_afterwards_is_numbered_beyond_what_a_crash_may_have_lost(home):
    worker = Worker(home)
    worker.put("INBOX", WIRE, WIRE)
    before = worker.ann.status("INBOX")
    worker.store.close()
    lose_index(home)
    deliver(home)
    worker = Worker(home)
    assert worker.look().keys() == {1, 2, before.uidnext + GAP}
    status = worker.ann.status("INBOX")
    assert status.uidvalidity == before.uidvalidity
    assert status.highestmodseq >= before.highestmodseq + GAP


def test_a_session_that_knew_the_lost_index_selects_again_and_finds_its_uids(home):
    worker = Worker(home)
    worker.put("INBOX", WIRE, WIRE)
    mailbox = worker.open()
    before = mailbox.snapshot()
    lose_index(home)
    with pytest.raises(Gone):
        mailbox.snapshot()
    after = worker.open().snapshot()
    assert (after.uidvalidity, list(after.uids)) == (before.uidvalidity, list(before.uids))


@pytest.mark.parametrize("lost", ["floors", "record", "floors of another mailbox"])
def test_without_record_or_floor_uidvalidity_rises(home, lost):
    worker = Worker(home)
    worker.ann.create("A")
    worker.put("INBOX", WIRE, WIRE)
    worker.put("A")
    before = {name: worker.ann.status(name).uidvalidity for name in ("INBOX", "A")}
    worker.store.close()
    lose_index(home)
    if lost == "record":
        (home / "imapd-uids").unlink()
    elif lost == "floors":
        (home / "imapd-floors").unlink()
    else:
        with open(home / "imapd-floors", "r+b") as file:
            file.seek(32)
            file.write(b"\xff" * 32)
    worker = Worker(home)
    assert worker.ann.status("INBOX").uidvalidity > max(before.values())
    assert (worker.ann.status("A").uidvalidity == before["A"]) == (lost != "floors")
    assert worker.texts().keys() == {1, 2}


def test_a_copied_folder_does_not_take_the_uids_of_the_first(home):
    worker = Worker(home)
    worker.ann.create("A")
    worker.put("A")
    before = worker.ann.status("A").uidvalidity
    shutil.copytree(home / ".A", home / ".B")
    assert worker.ann.status("B").uidvalidity > before
    worker.store.close()
    Worker(home).store.close()
    lose_index(home)
    worker = Worker(home)
    assert worker.ann.status("A").uidvalidity == before
    assert worker.ann.status("B").uidvalidity > before


def test_ids_and_floors_of_a_lost_index_come_to_nothing_else(home):
    worker = Worker(home)
    worker.ann.create("A")
    worker.ann.create("B")
    worker.put("A")
    worker.store.close()
    shutil.copytree(home / ".A", home.parent / "kept")
    lose_index(home)
    worker = Worker(home)
    before = worker.ann.status("A").uidvalidity
    assert min(box.id for box in worker.ann._core.reader.boxes()) > 3
    worker.put("A", WIRE)
    worker.ann.delete("A")
    worker.store.close()
    lose_index(home)
    shutil.move(home.parent / "kept", home / ".A")  # from a backup: UIDs were given since that it does not know
    worker = Worker(home)
    assert worker.ann.status("A").uidvalidity > before
    known = floors.known(os.fsencode(home / "imapd-floors"))
    assert before not in known and len(known) == 3


def test_ten_thousand_messages_are_made_anew_with_their_uids(home):
    worker = Worker(home)
    for number in range(10_000):
        name = f"16000{number:05}.M1P1.mx,S=5,W=6"
        (home / "new" / name).write_bytes(b"%04d\n" % number)
    assert len(worker.look()) == 10_000
    uidvalidity = worker.ann.status("INBOX").uidvalidity
    worker.store.close()
    lose_index(home)
    worker = Worker(home)
    status = worker.ann.status("INBOX")
    assert (status.uidvalidity, status.messages) == (uidvalidity, 10_000)
    mailbox = worker.open()
    assert list(mailbox.snapshot().uids) == list(range(1, 10_001))
    assert [mailbox.message(uid).read() for uid in (1, 777, 10_000)] == [b"0000\r\n", b"0776\r\n", b"9999\r\n"]


# Damage


@pytest.mark.parametrize("trial", [*trials(flips=3, truncations=5)], ids=str)
def test_a_damaged_index_never_gives_a_wrong_text(tmp_path, canaries, trial):
    assert trial.run(canaries, tmp_path / "ann") in ("kept", "raised")


@pytest.mark.parametrize("trial", [*trials(flips=2, truncations=2)], ids=str)
def test_a_damaged_index_of_mboxes_never_gives_a_wrong_text(tmp_path, mboxes, trial):
    assert trial.run(mboxes, tmp_path / "ann") in ("kept", "raised")


@pytest.fixture(scope="module")
def canaries(tmp_path_factory):
    return Canaries(tmp_path_factory.mktemp("canaries") / "ann", messages=40)


@pytest.fixture(scope="module")
def mboxes(tmp_path_factory):
    return Canaries(tmp_path_factory.mktemp("mboxes") / "ann", messages=40, is_mbox=True)


def test_a_damaged_page_that_the_writer_has_in_memory_as_it_was_is_noticed(home):
    """The name of a file is right in what one connection remembers, and wrong in what the other one reads."""
    worker = Worker(home)
    worker.put(flags=frozenset({"\\Seen"}))
    worker.put("INBOX", *[WIRE] * 100)  # the newest stand on another page than the first
    worker.store.close()
    worker = Worker(home)
    worker.ann._core.locked(lambda bench: bench.index.rows(1))
    path = home / "imapd-index.sqlite"
    data = path.read_bytes()
    assert data.count(b":2,S") == 1
    with open(path, "r+b") as file:
        file.seek(data.index(b":2,S") + 3)
        file.write(b"R")
    deliver(home, b"new\n")
    texts = worker.texts()
    assert (texts[1], texts[102]) == (WIRE, b"new\r\n")


@pytest.mark.parametrize("place", ["7", "-1", "x''"])
def test_a_place_that_there_is_not_is_found_out(home, place):
    worker = Worker(home)
    worker.put("INBOX", WIRE, WIRE)
    mailbox = worker.open()
    mailbox.snapshot()
    with sqlite3.connect(home / "imapd-index.sqlite") as db:
        db.execute("PRAGMA writable_schema = 1")  # or it would take no octets for a number
        db.execute("UPDATE sqlite_master SET sql = replace(sql, 'STRICT', '') WHERE name = 'message'")
    db.close()
    with sqlite3.connect(home / "imapd-index.sqlite") as db:
        db.execute(f"UPDATE message SET place = {place} WHERE id & 3 = 1")
        db.execute("PRAGMA writable_schema = 1")
        db.execute("UPDATE sqlite_master SET sql = rtrim(sql) || ' STRICT' WHERE name = 'message'")
    db.close()
    with contextlib.suppress(Gone), contextlib.closing(mailbox.message(1)) as message:
        assert message.read() == WIRE
    assert worker.texts() == {1: WIRE, 2: WIRE}
    assert len(worker.open().texts(array("I", [1, 2]), [Text.ENVELOPE])) == 2


@pytest.mark.parametrize("place", [-7, 1 << 62])
def test_a_place_outside_an_mbox_is_found_out(tmp_path, mboxes, place):
    home = tmp_path / "ann"
    shutil.copytree(mboxes.home, home)
    worker = Worker(home)
    mailbox = worker.open()
    uid = mailbox.snapshot().uids[0]
    with sqlite3.connect(home / "imapd-index.sqlite") as db:
        db.execute(f"UPDATE message SET place = {place} WHERE id = (SELECT min(id) FROM message WHERE id >> 32 = 1)")
    db.close()
    with contextlib.closing(mailbox.message(uid)) as message:
        assert message.read() == mboxes.truth["INBOX"].given[uid]
    assert mboxes.check(home, worker) in ("kept", "raised")


def test_the_trials_notice_a_wrong_text(tmp_path, canaries, monkeypatch):
    """A checksum that is not looked at, and two rows that changed places: the trial has to see it."""
    monkeypatch.setattr("imapd.mailstore.index.message_sum", lambda row: 0)
    monkeypatch.setattr("imapd.mailstore.messagetable.packed_sum", lambda *row: 0)
    monkeypatch.setattr("imapd.mailstore.bulktable.packed_sum", lambda *row: 0)
    blind = Canaries(Path(tmp_path) / "blind", messages=10)
    with sqlite3.connect(blind.home / "imapd-index.sqlite") as db:
        (one, two) = db.execute("SELECT id, file FROM message WHERE id >> 32 = 1 ORDER BY id LIMIT 2").fetchall()
        db.executemany("UPDATE message SET file = ? WHERE id = ?", [(one[1], two[0]), (two[1], one[0])])
    db.close()
    with pytest.raises(AssertionError):
        blind.check(blind.home)


def test_a_wrong_owner_gives_an_error_of_the_store(home):
    worker = Worker(home)
    worker.put()
    worker.store.close()
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(home, 65534, 65534)
    for path in home.rglob("*"):
        os.chown(path, 65534, 65534)
    os.chown(home / "imapd-index.sqlite", 0, 0)
    os.chmod(home / "imapd-index.sqlite", 0o600)
    for parent in (home.parent, *home.parent.parents):
        os.chmod(parent, os.stat(parent).st_mode | 0o055) if str(parent).startswith("/tmp/pytest") else None
    os.seteuid(65534)
    try:
        with pytest.raises(StoreError):
            Worker(home)
    finally:
        os.seteuid(0)
    os.chown(home / "imapd-index.sqlite", 65534, 65534)
    assert Worker(home).texts() == {1: WIRE}
