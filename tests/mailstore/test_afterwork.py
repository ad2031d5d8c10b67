"""Work on many files, which is done after the answer: what others see meanwhile, and what becomes of it."""

import errno
import os

import pytest

from imapd.mailstore import maildir, settle
from imapd.mailstore.errors import NoSpace
from imapd.mailstore.index import Index
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import Worker, deliver, files

COUNT = settle.MANY + 50
ALL = range(1, COUNT + 1)
DELETED = frozenset({"\\Deleted"})


@pytest.fixture
def home(tmp_path):
    return tmp_path / "ann"


@pytest.fixture
def ann(home):
    worker = Worker(home)
    worker.ann.create("A")
    for number in ALL:
        deliver(home, name=f"{1_600_000_000 + number}.{number}")
    assert len(worker.look()) == COUNT
    worker.loop.run_spawned()
    return worker


def letters(home, folder=""):
    return {name.partition(":2,")[2] for name in files(home, folder)["cur"]}


def test_flags_of_many_messages_come_to_the_files_after_the_answer(ann, home):
    ann.open().change_flags(ALL, FlagChange.ADD, frozenset({"\\Seen"}))
    assert letters(home) == {""}
    assert set(map(frozenset, ann.look().values())) == {frozenset({"\\Seen"})}
    ann.loop.run_spawned()
    assert letters(home) == {"S"} and len(files(home)["cur"]) == COUNT


def test_flags_that_are_changed_one_after_the_other_come_to_the_files_together(ann, home, monkeypatch):
    synced = []
    sync = maildir.sync_directory
    monkeypatch.setattr(maildir, "sync_directory", lambda path: synced.append(path) or sync(path))
    mailbox = ann.open()
    for uid in range(1, 10):
        mailbox.change_flags([uid], FlagChange.ADD, frozenset({"\\Seen"}))
    assert synced == [] and letters(home) == {""}
    ann.put()  # nor does a message that comes wait for them
    assert len(synced) == 1 and letters(home) == {""}
    ann.loop.run_spawned()
    assert len(synced) == 2
    assert sorted(name.partition(":2,")[2] for name in files(home)["cur"]) == [""] * (COUNT - 8) + ["S"] * 9


def test_another_process_sees_many_changed_flags_and_changes_them_again_before_the_files_have_them(ann, home):
    ann.open().change_flags(ALL, FlagChange.ADD, frozenset({"\\Seen"}))
    other = Worker(home)
    other.open().change_flags(ALL, FlagChange.REPLACE, frozenset({"\\Flagged"}))
    assert set(ann.look().values()) == {frozenset({"\\Flagged"})}
    other.loop.run_spawned()
    ann.loop.run_spawned()
    assert letters(home) == {"F"}
    assert set(other.look().values()) == {frozenset({"\\Flagged"})}


def test_flags_that_another_program_changes_meanwhile_are_merged(ann, home):
    ann.open().change_flags(ALL, FlagChange.ADD, frozenset({"\\Seen"}))
    name = files(home)["cur"][7]
    os.rename(home / "cur" / name, home / "cur" / f"{name}F")
    ann.loop.run_spawned()
    ann.loop.advance(60)
    assert sorted(map(sorted, ann.look().values()))[0] == ["\\Flagged", "\\Seen"]
    ann.loop.run_spawned()
    assert letters(home) == {"S", "FS"}


def test_many_expunged_messages_do_not_come_back_while_their_files_are_there(ann, home):
    mailbox = ann.open()
    mailbox.change_flags(ALL, FlagChange.ADD, DELETED)
    assert mailbox.expunge(None) == tuple(ALL)
    assert len(files(home)["cur"]) == COUNT
    deliver(home)  # makes the next look list the files
    assert list(ann.look()) == [COUNT + 1]
    assert list(Worker(home).look()) == [COUNT + 1]


def test_the_files_of_many_expunged_messages_go_after_the_answer(ann, home):
    mailbox = ann.open()
    mailbox.change_flags(ALL, FlagChange.ADD, DELETED)
    mailbox.expunge(None)
    ann.loop.run_spawned()
    assert files(home)["cur"] == []


def test_who_looks_does_not_wait_for_the_files_of_many_expunged_messages(ann, home):
    ann.put("INBOX")
    for place in ("new", "cur"):
        os.utime(home / place, (1, 1))
    ann.look()  # so that the times of the files are believed
    other = Worker(home).open()
    mailbox = ann.open()
    mailbox.change_flags(ALL, FlagChange.ADD, DELETED)
    assert mailbox.expunge(None) == tuple(ALL)
    for _ in range(2):
        assert list(mailbox.snapshot().uids) == list(other.snapshot().uids) == [COUNT + 1]
        assert len(files(home)["cur"]) == COUNT + 1
    ann.loop.run_spawned()
    assert len(files(home)["cur"]) == 1
    assert list(mailbox.snapshot().uids) == list(ann.look()) == [COUNT + 1]


def test_names_of_octets_that_are_no_text_are_removed_too(ann, home):
    (name,) = [name for name in os.listdir(bytes(home / "cur")) if name.startswith(b"1600000007.")]
    os.rename(bytes(home / "cur") + b"/" + name, bytes(home / "cur") + b"/1600000007.\xff\xfe\x80:2,")
    ann.loop.advance(60)
    assert len(ann.look()) == COUNT
    mailbox = ann.open()
    mailbox.expunge(mailbox.change_flags([*ALL, COUNT + 1], FlagChange.ADD, DELETED))
    ann.loop.run_spawned()
    assert files(home)["cur"] == []


@pytest.mark.parametrize("deed", ["copy", "move"])
def test_many_placed_messages_can_be_read_at_once(ann, home, deed):
    getattr(ann.open(), deed)(ALL, "A")
    assert files(home, ".A")["cur"] == []
    mailbox = ann.open("A", read_only=True)
    mailbox.message(COUNT).close()
    assert list(ann.look()) == (list(ALL) if deed == "copy" else [])
    assert list(ann.look("A")) == list(ALL)
    assert len(ann.texts("A")) == COUNT
    ann.loop.run_spawned()
    assert len(files(home, ".A")["cur"]) == COUNT and files(home)["tmp"] == []


@pytest.mark.parametrize("deed", ["copy", "move"])
def test_another_process_does_what_a_killed_one_has_left(ann, home, deed):
    mailbox = ann.open()
    mailbox.change_flags(ALL, FlagChange.ADD, frozenset({"\\Seen"}))
    getattr(mailbox, deed)(ALL, "A")
    ann.crash()
    again = Worker(home)
    assert list(again.look("A")) == list(ALL)
    assert set(again.look("A").values()) == {frozenset({"\\Seen"})}
    assert letters(home, ".A") == {"S"}


def test_a_disk_that_refuses_ends_the_work_for_now(ann, home, monkeypatch):
    ann.open().change_flags(ALL, FlagChange.ADD, frozenset({"\\Seen"}))

    def refuses(*_names):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "rename", refuses)
    ann.loop.run_spawned()
    monkeypatch.undo()
    assert letters(home) == {""}
    assert set(ann.look().values()) == {frozenset({"\\Seen"})}
    ann.open().change_flags([1], FlagChange.ADD, DELETED)  # whoever comes next
    ann.loop.run_spawned()
    assert letters(home) == {"S", "ST"}


def test_marks_that_the_index_cannot_drop_are_left_for_the_next_write(ann, home, monkeypatch):
    tries = []

    def full(index, placed):
        tries.append(len(placed))
        assert len(tries) < 5, "it goes on and on"
        raise NoSpace

    mailbox = ann.open()
    mailbox.change_flags([1, 2], FlagChange.ADD, frozenset({"\\Seen"}))
    monkeypatch.setattr(Index, "relocate", full)
    ann.loop.run_spawned()
    assert tries == [2]
    monkeypatch.undo()
    mailbox.change_flags([3], FlagChange.ADD, frozenset({"\\Seen"}))
    ann.loop.run_spawned()
    assert sorted(name.partition(":2,")[2] for name in files(home)["cur"]) == [""] * (COUNT - 3) + ["S"] * 3
    assert ann.ann._core.locked(lambda bench: bench.index.is_settled())
