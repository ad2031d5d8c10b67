"""The file of columns: a new process opens a large mailbox by it, and it never says anything but what the index says."""

import os
import random
import shutil
import time

import pytest

from imapd.mailstore import columnfile, columns, findings, shared, sync
from imapd.mailstore.choice import Kinds
from imapd.mailstore.columnfile import SUFFIX
from imapd.mailstore.index import Index
from imapd.mailstore.indexfile import INDEX_FILE
from imapd.mailstore.verify import verify
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import WIRE, Worker, deliver

SEEN = frozenset({"\\Seen"})


@pytest.fixture
def home(tmp_path):
    return tmp_path / "ann"


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch):
    monkeypatch.setattr(columnfile, "LARGE", 5)
    monkeypatch.setattr(shared, "LARGE", 5)


def filled(home, count=20):
    """A Maildir with messages that were taken in at first sight by a worker that has gone."""
    Worker(home).store.close()
    for number in range(count):
        deliver(home, b"n: %d\r\n\r\n" % number, place="cur")
    look(home)


def snapshot_of(worker):
    mailbox = worker.open()
    snapshot = mailbox.snapshot()
    mailbox.close()
    return snapshot


def look(home):
    worker = Worker(home)
    snapshot = snapshot_of(worker)
    worker.store.close()
    return snapshot


def truth(home):
    """What the index says, read whole."""
    index = Index(os.fsencode(home) + b"/" + INDEX_FILE)
    box = index.box_named("INBOX")
    assert box is not None
    found = index.columns(box.id)
    index.close()
    assert found is not None
    return columns.whole(found)


def file_of(home):
    (path,) = [path for path in (home / "imapd-cache").iterdir() if path.name.endswith(os.fsdecode(SUFFIX))]
    return path


def reads_no_rows(monkeypatch):
    def refused(*_):
        raise AssertionError("all rows were read")

    monkeypatch.setattr(Index, "columns", refused)


def test_a_first_sight_writes_the_file_and_the_next_process_reads_no_row(home, monkeypatch):
    filled(home)
    expected = truth(home)
    reads_no_rows(monkeypatch)
    assert look(home) == expected
    assert len(expected.uids) == 20


def test_a_first_sight_in_several_parts_writes_all_of_it(home, monkeypatch):
    monkeypatch.setattr(sync, "AT_ONCE", 6)
    filled(home)
    assert len(look(home).uids) == 20
    reads_no_rows(monkeypatch)
    assert len(look(home).uids) == 20


def test_what_changed_since_is_read_by_modseq(home, monkeypatch):
    filled(home)
    worker = Worker(home)
    mailbox = worker.open()
    mailbox.change_flags([3, 7], FlagChange.ADD, frozenset({"\\Deleted", "Work"}))
    mailbox.expunge([3])
    worker.put("INBOX", WIRE)
    kept = file_of(home).read_bytes()
    worker.crash()
    assert file_of(home).read_bytes() == kept
    expected = truth(home)
    reads_no_rows(monkeypatch)
    assert look(home) == expected
    assert list(expected.uids)[-1] == 21


def test_more_changes_than_are_read_by_modseq_have_the_rows_read(home, monkeypatch):
    filled(home)
    monkeypatch.setattr(columnfile, "LARGE", 0)  # at most a quarter of the messages
    worker = Worker(home)
    worker.open().change_flags(list(range(1, 11)), FlagChange.ADD, SEEN)
    worker.crash()
    assert look(home) == truth(home)


def test_the_file_is_written_again_when_a_mailbox_that_changed_is_closed(home):
    filled(home)
    before = file_of(home).read_bytes()
    worker = Worker(home)
    mailbox = worker.open()
    mailbox.snapshot()
    mailbox.change_flags([1], FlagChange.ADD, SEEN)
    mailbox.snapshot()
    assert file_of(home).read_bytes() == before
    mailbox.close()
    assert file_of(home).read_bytes() != before
    worker.crash()
    assert look(home) == truth(home)


def test_damage_anywhere_is_found_and_mended(home):
    filled(home)
    expected = truth(home)
    sound = file_of(home).read_bytes()
    chance = random.Random(1)
    places = [*range(60), *(chance.randrange(len(sound)) for _ in range(20))]
    for place in places:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << chance.randrange(8)
        file_of(home).write_bytes(damaged)
        assert look(home) == expected
        assert file_of(home).read_bytes() == sound
    for size in (0, 10, 59, 60, len(sound) - 1):
        file_of(home).write_bytes(sound[:size])
        assert look(home) == expected


def test_an_older_index_that_was_put_back_is_believed_and_not_the_file(home, tmp_path):
    filled(home)
    kept = tmp_path / "backup"
    shutil.copytree(home, kept)
    worker = Worker(home)
    mailbox = worker.open()
    mailbox.change_flags([1, 2, 3], FlagChange.ADD, SEEN)
    mailbox.snapshot()
    mailbox.close()
    worker.store.close()
    newer = file_of(home).read_bytes()
    shutil.rmtree(home)
    shutil.copytree(kept, home)
    file_of(home).write_bytes(newer)
    for uid in (8, 9, 10):  # as many changes as the file knows of, and other ones
        worker = Worker(home)
        worker.open().change_flags([uid], FlagChange.ADD, SEEN)
        worker.store.close()
    snapshot = look(home)
    assert snapshot == truth(home)
    assert [uid for row, uid in enumerate(snapshot.uids) if "\\Seen" in snapshot.flags_of(row)] == [8, 9, 10]


def test_a_place_that_takes_no_file_does_no_harm(home):
    Worker(home).store.close()
    (home / "imapd-cache").write_bytes(b"in the way")
    for number in range(20):
        deliver(home, b"n: %d\r\n\r\n" % number, place="cur")
    assert len(look(home).uids) == 20


def test_the_file_of_a_mailbox_that_is_no_more_is_removed(home):
    worker = Worker(home)
    worker.ann.create("A")
    for number in range(20):
        deliver(home, b"n: %d\r\n\r\n" % number, folder=".A", place="cur")
    assert len(worker.look("A")) == 20
    assert file_of(home)
    worker.ann.delete("A")
    worker.store.close()
    Worker(home).ann.create("B")
    assert [path for path in (home / "imapd-cache").iterdir() if path.name.endswith(os.fsdecode(SUFFIX))] == []


def test_a_look_at_all_files_takes_it_for_a_good_one(home):
    filled(home)
    assert file_of(home)
    root, mail_format = Kinds("maildir").find(os.fsencode(home))
    report = verify(root, mail_format, time.time() + 40 * 3600, lambda seconds: None, False)
    assert findings.CACHE not in {finding.fault for finding in report.findings}
