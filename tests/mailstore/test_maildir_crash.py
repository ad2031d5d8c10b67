"""Crashes and failures of the disk at every step of every write: afterwards all is as before, or as it should be."""

import errno
import gc
import os
import sqlite3

import pytest

from imapd.mailstore import maildir
from imapd.mailstore.errors import NoSuchMailbox, StoreError, UnknownOutcome
from imapd.mailstore.index import Index
from imapd.mailstore.store import Incoming
from imapd.model.flags import FlagChange
from tests.mailstore.crashes import Deeds, state
from tests.mailstore.maildirhouse import WIRE, Crash, Faults, Worker, deliver, files

SECOND = b"b: 2\r\n\r\nsecond\r\n"


def prepare(home):
    worker = Worker(home)
    worker.put("INBOX", WIRE, SECOND, flags=frozenset({"\\Deleted", "Work"}), date=1_000_000)
    worker.ann.create("A")
    worker.ann.create("A/B")
    worker.put("A/B", WIRE)
    worker.look()
    return worker


def flag(worker, word):
    """Change flags, also in the names of the files."""
    worker.open().change_flags([1, 2], FlagChange.ADD, frozenset({word}))
    worker.loop.run_spawned()


DEEDS = {
    "append": lambda worker: worker.put("A/B", WIRE, SECOND, flags=frozenset({"\\Seen", "New"})),
    "append one": lambda worker: worker.put("A/B", SECOND, flags=frozenset({"\\Seen", "New"})),
    "flags": lambda worker: flag(worker, "\\Seen"),
    "keyword": lambda worker: flag(worker, "Later"),
    "expunge": lambda worker: worker.open().expunge(None),
    "copy": lambda worker: worker.open().copy([1, 2], "A/B"),
    "move": lambda worker: worker.open().move([1, 2], "A/B"),
    "create": lambda worker: worker.ann.create("C/D"),
    "delete": lambda worker: worker.ann.delete("A/B"),
    "rename": lambda worker: worker.ann.rename("A", "Z"),
    "rename INBOX": lambda worker: worker.ann.rename("INBOX", "Old"),
    "subscribe": lambda worker: worker.ann.subscribe("A/B"),
}


@pytest.fixture
def deeds(tmp_path, monkeypatch):
    return Deeds(tmp_path, monkeypatch, Worker, prepare)


@pytest.mark.parametrize("deed", DEEDS)
def test_a_crash_at_any_step_leaves_the_state_before_or_after(deeds, deed):
    deeds.crash_at_each_step(DEEDS[deed])


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_refuses_a_step_gives_an_error_or_does_it(deeds, deed, code):
    deeds.refuse_each_step(DEEDS[deed], code)


def test_a_failed_commit_leaves_nothing(tmp_path, monkeypatch):
    worker = prepare(tmp_path / "ann")
    before = state(worker)
    core = next(iter(worker.store._cores.values()))
    insert = core._index._writer._insert

    def full(rows):
        insert(rows)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        from imapd.mailstore.database import translated

        raise translated(error)

    monkeypatch.setattr(core._index._writer, "_insert", full)
    for deed in ("append", "append one", "copy", "move"):
        with pytest.raises(StoreError):
            DEEDS[deed](worker)
    monkeypatch.undo()
    assert state(worker) == before
    assert files(tmp_path / "ann")["tmp"] == []
    again = Worker(tmp_path / "ann")
    assert state(again) == before


def everything(home):
    """The names of files in cur/ and in tmp/."""
    return {name for place in ("cur", "tmp") for name in files(home)[place]}


def test_a_message_of_which_nobody_can_tell_whether_the_index_has_it_stays(tmp_path, monkeypatch):
    worker = prepare(tmp_path / "ann")
    core = next(iter(worker.store._cores.values()))

    def lost(rows):
        raise UnknownOutcome(reason="the commit failed")

    monkeypatch.setattr(core._index._writer, "_insert", lost)
    spool = worker.ann.spool()
    spool.write(WIRE)
    before = everything(tmp_path / "ann")
    with pytest.raises(UnknownOutcome):
        worker.ann.append("INBOX", [Incoming(spool)])
    spool.abandon()  # as the end of each command does
    (left,) = everything(tmp_path / "ann") - before
    opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert not [path for path in opened if path.endswith(left)]


@pytest.mark.parametrize("deed", ["append", "copy"])
def test_names_in_tmp_are_durable_before_the_rows_of_several_messages(tmp_path, monkeypatch, deed):
    """In the crash of a file system that keeps a synced file and not its name, several are all there or none."""
    worker = Worker(tmp_path / "ann")
    worker.put("INBOX", WIRE, WIRE)
    worker.ann.create("A")
    events = []
    sync, insert = maildir.sync_directory, Index._insert
    monkeypatch.setattr(maildir, "sync_directory", lambda path: events.append(path) or sync(path))
    monkeypatch.setattr(Index, "_insert", lambda index, rows: events.append("rows") or insert(index, rows))
    if deed == "append":
        worker.put("A", WIRE, WIRE)
    else:
        worker.open().copy([1, 2], "A")
    root = os.fsencode(tmp_path / "ann")
    assert events[:2] == [root + b"/tmp", "rows"]
    assert root + b"/.A/cur" in events[2:]


def test_an_fsync_that_failed_is_not_tried_again(tmp_path, monkeypatch):
    worker = prepare(tmp_path / "ann")
    calls = []

    def fails(fd):
        calls.append(os.readlink(f"/proc/self/fd/{fd}"))
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StoreError):
        worker.put()
    assert len(calls) == len(set(calls))
    monkeypatch.undo()
    assert len(worker.look()) == 2
    assert files(tmp_path / "ann")["tmp"] == []


def test_a_crash_while_taking_in_deliveries_loses_and_doubles_nothing(tmp_path, monkeypatch):
    faults = Faults(monkeypatch, Crash)
    for step in range(1, 50):
        home = tmp_path / str(step)
        worker = prepare(home)
        deliver(home, b"x: 1\n\none\n")
        deliver(home, b"x: 2\n\ntwo\n")
        mailbox = worker.open()
        faults.arm(step)
        try:
            mailbox.snapshot()
        except Crash:
            done = False
        else:
            done = True
        faults.disarm()
        worker.crash()
        texts = Worker(home).texts()
        assert sorted(texts) == [1, 2, 3, 4] and texts[3] == b"x: 1\r\n\r\none\r\n", step
        if done:
            break


def test_a_mailbox_deleted_halfway_by_a_crash_can_be_created_again(tmp_path, monkeypatch):
    faults = Faults(monkeypatch, Crash)
    worker = prepare(tmp_path / "ann")
    uidvalidity = worker.ann.status("A/B").uidvalidity
    faults.arm(2)
    with pytest.raises(Crash):
        worker.ann.delete("A/B")
    faults.disarm()
    worker.crash()
    again = Worker(tmp_path / "ann")
    with pytest.raises(NoSuchMailbox):
        again.ann.status("A/B")
    again.ann.create("A/B")
    assert again.ann.status("A/B").messages == 0
    assert again.ann.status("A/B").uidvalidity > uidvalidity


def refusing(monkeypatch, call, wrong, code=errno.EACCES):
    """Make an os function fail for some arguments, until `undo`."""
    true = getattr(os, call)

    def refuses(*arguments, **named):
        if wrong(*arguments):
            raise OSError(code, "refused", arguments[0])
        return true(*arguments, **named)

    monkeypatch.setattr(os, call, refuses)


def test_a_folder_that_cannot_be_renamed_keeps_its_name_and_its_uids(tmp_path, monkeypatch):
    worker = prepare(tmp_path / "ann")
    before, uidvalidity = state(worker), worker.ann.status("A").uidvalidity
    refusing(monkeypatch, "rename", lambda source, target: target.endswith(b".Z"))
    with pytest.raises(StoreError):
        worker.ann.rename("A", "Z")
    assert state(worker) == before and worker.ann.status("A").uidvalidity == uidvalidity
    worker.put("A/B")
    monkeypatch.undo()
    worker.ann.rename("A", "Z")
    assert worker.ann.status("Z").uidvalidity == uidvalidity


def test_a_folder_whose_rename_a_crash_left_to_do_and_the_disk_refuses_keeps_its_uids(tmp_path, monkeypatch):
    worker = prepare(tmp_path / "ann")
    uidvalidity = worker.ann.status("A/B").uidvalidity
    faults = Faults(monkeypatch, Crash)
    faults.arm(1)
    with pytest.raises(Crash):
        worker.ann.rename("A", "Z")
    worker.crash()
    monkeypatch.undo()
    refusing(monkeypatch, "rename", lambda source, target: b"/.Z" in target)
    again = Worker(tmp_path / "ann")
    again.ann.mailboxes()
    with pytest.raises(StoreError):
        again.put("INBOX")  # nothing is acknowledged that is not in its place
    with pytest.raises(StoreError):
        again.ann.status("Z/B")
    monkeypatch.undo()
    assert again.ann.status("Z/B").uidvalidity == uidvalidity
    assert len(again.look()) == 2


def test_a_mailbox_is_not_deleted_with_messages_that_were_moved_out_of_it(tmp_path, monkeypatch):
    worker = prepare(tmp_path / "ann")
    worker.ann.create("C")
    refusing(monkeypatch, "rename", lambda source, target: b"/.C/cur/" in target, errno.ENOSPC)
    worker.open("A/B").move([1], "C")
    for deed in (lambda: worker.ann.delete("A/B"), lambda: worker.ann.rename("A", "Z")):
        with pytest.raises(StoreError):
            deed()
    monkeypatch.undo()
    assert list(worker.texts("C").values()) == [WIRE]
    worker.ann.delete("A/B")
    assert list(worker.texts("C").values()) == [WIRE]


def test_small_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    worker = prepare(tmp_path / "ann")
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))
    worker.ann.subscribe("A/B")
    worker.ann.create("D")
    monkeypatch.undo()
    assert [entry.name for entry in worker.ann.mailboxes() if entry.subscribed] == ["A/B"]
    assert int((tmp_path / "ann" / "imapd-uidvalidity").read_text()) == worker.ann.status("D").uidvalidity


LOOKS = {
    "log in": lambda worker: Worker(worker.home),
    "look": lambda worker: worker.look(),
    "look only": lambda worker: worker.look(read_only=True),
    "status": lambda worker: worker.ann.status("A/B"),
    "list": lambda worker: worker.ann.mailboxes(),
    "read": lambda worker: worker.texts(),
    "describe": lambda worker: list(worker.open().descriptions([1, 2])),
    "append": lambda worker: worker.put("A/B"),
    "copy": DEEDS["copy"],
}


@pytest.mark.parametrize("deed", LOOKS)
def test_a_disk_that_cannot_be_read_gives_an_error_of_the_store_and_leaks_nothing(tmp_path, monkeypatch, deed):
    monkeypatch.setattr(Faults, "CALLS", ("open", "lstat", "stat", "fstat", "read", "pread", "listdir", "scandir"))
    faults = Faults(monkeypatch, lambda: OSError(errno.EMFILE, "refused"), sticky=False)
    worker = prepare(tmp_path / "ann")
    before = state(worker)
    for step in range(1, 200):
        deliver(worker.home)
        opened = None
        faults.arm(step)
        try:
            opened = LOOKS[deed](worker)
        except StoreError:
            pass
        hit = faults.calls >= step
        faults.disarm()
        if isinstance(opened, Worker):
            opened.store.close()
        if not hit:
            break
    assert step > 2
    after = state(worker)
    for name, rows in before.items():
        assert rows.items() <= after[name].items()
    faults.arm(1_000_000)
    worker.store.close()
    gc.collect()
    open_ones = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    left = [os.readlink(path) for path in open_ones if os.path.lexists(path)]
    assert [path for path in left if str(tmp_path) in path] == []
