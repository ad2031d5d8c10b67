"""A mailbox that nobody has seen is taken in by parts, each message once, whatever happens between two of them."""

import os

import pytest

from imapd.mailstore import maildir, sync
from imapd.mailstore.index import Index
from tests.mailstore.maildirhouse import Worker, deliver, files

TEXT = b"Subject: x\n\nx\n"
SIZES = f",S={len(TEXT)},W={len(TEXT) + TEXT.count(10)}"
AT_ONCE = 24  # with sizes in the names, when sync.AT_ONCE is 2


@pytest.fixture
def home(tmp_path):
    return tmp_path / "ann"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(sync, "AT_ONCE", 2)


def fill(home, count, sizes=SIZES, place="cur"):
    for number in range(count):
        deliver(home, TEXT, name=f"{1_600_000_000 + number}.x{sizes}" + (":2," if place == "cur" else ""), place=place)


def take_part(worker, read_write=True):
    """Take in one part; whether there is no more."""
    row = worker.ann._core.reader.box_named("INBOX")
    return worker.ann._core.locked(lambda bench: bench.format.take_in(bench, row.id, read_write))


def names(worker):
    """The base names of the messages, by their UIDs."""
    index = worker.ann._core.reader
    return {row.uid: os.fsdecode(maildir.base_of(row.file)) for row in index.rows(index.box_named("INBOX").id)}


def in_order(count):
    return {1 + number: f"{1_600_000_000 + number}.x{SIZES}" for number in range(count)}


@pytest.mark.parametrize(("sizes", "parts"), [("", 25), (SIZES, 3)])
def test_many_parts_list_the_files_once_and_read_no_row_again(home, monkeypatch, sizes, parts):
    worker = Worker(home)
    fill(home, 50, sizes)
    counts = {"listings": 0, "rows": 0, "parts": 0}
    looks, rows, insert = maildir.looks, Index.rows, Index.insert_columns

    def counted_looks(folder):
        for listed in looks(folder):
            counts["listings"] += len(listed)
            yield listed

    def counted_rows(index, *arguments):
        found = rows(index, *arguments)
        counts["rows"] += len(found)
        return found

    def counted_insert(index, box, new):
        counts["parts"] += 1
        insert(index, box, new)

    monkeypatch.setattr(maildir, "looks", counted_looks)
    monkeypatch.setattr(Index, "rows", counted_rows)
    monkeypatch.setattr(Index, "insert_columns", counted_insert)
    assert len(worker.look()) == 50
    assert counts == {"listings": 50, "rows": 0, "parts": parts}


def test_uids_follow_the_delivery_over_all_parts(home):
    worker = Worker(home)
    fill(home, 2 * AT_ONCE + 5)
    assert list(worker.look()) == list(range(1, 2 * AT_ONCE + 6))
    assert names(worker) == in_order(2 * AT_ONCE + 5)


def test_files_of_the_same_second_come_in_the_order_of_their_microseconds(home):
    worker = Worker(home)
    for name in ("1600000000.M20P1.x", "1600000000.M3P1.x", "1600000001.M1P1.x", "999999999.M1P1.x"):
        deliver(home, TEXT, name=name + SIZES, place="cur")
    worker.look()
    assert [name.partition(",")[0] for name in names(worker).values()] == [
        "999999999.M1P1.x", "1600000000.M3P1.x", "1600000000.M20P1.x", "1600000001.M1P1.x"]  # fmt: skip


def test_parts_out_of_new_are_moved_and_then_nothing_is_to_do(home):
    worker = Worker(home)
    fill(home, 2 * AT_ONCE + 5, place="new")
    worker.look()
    assert names(worker) == in_order(2 * AT_ONCE + 5)
    assert files(home)["new"] == []
    assert len(files(home)["cur"]) == 2 * AT_ONCE + 5
    worker.look()
    assert names(worker) == in_order(2 * AT_ONCE + 5)


def test_a_message_that_comes_between_two_parts_is_seen_after_them(home):
    worker = Worker(home)
    fill(home, AT_ONCE + 5)
    assert not take_part(worker)
    late = deliver(home, TEXT, name="1500000000.late" + SIZES)
    worker.look()
    worker.look()
    assert names(worker) == {**in_order(AT_ONCE + 5), AT_ONCE + 6: late.name}


def test_uids_that_are_given_between_two_parts_are_not_given_again(home):
    worker, other = Worker(home), Worker(home)
    fill(home, 2 * AT_ONCE + 5)
    assert not take_part(worker)
    (appended,) = other.put("INBOX", TEXT).uids
    assert not take_part(other)
    worker.look()
    found = names(worker)
    assert len(found) == len(set(found.values())) == 2 * AT_ONCE + 6
    assert appended == AT_ONCE + 1
    assert [name for uid, name in found.items() if uid != appended] == list(in_order(2 * AT_ONCE + 5).values())


def test_files_that_go_or_get_flags_between_two_parts(home):
    worker = Worker(home)
    fill(home, 2 * AT_ONCE)
    assert not take_part(worker)
    cur = sorted((home / "cur").iterdir())
    cur[-1].unlink()
    cur[-2].rename(f"{cur[-2]}FS")
    worker.look()
    flags = worker.look()  # what happened meanwhile is no later than at the next look
    assert list(names(worker).values())[:-1] == list(in_order(2 * AT_ONCE - 2).values())
    assert names(worker)[2 * AT_ONCE - 1] == cur[-2].name.partition(":")[0]
    assert flags[2 * AT_ONCE - 1] == {"\\Flagged", "\\Seen"}


def test_a_forced_look_lists_the_files_again(home, monkeypatch):
    worker = Worker(home)
    fill(home, 2 * AT_ONCE)
    assert not take_part(worker)
    row = worker.ann._core.reader.box_named("INBOX")
    looked = []
    looks = maildir.looks
    monkeypatch.setattr(maildir, "looks", lambda folder: looked.append(folder) or looks(folder))
    worker.ann._core.locked(lambda bench: bench.format.take_in(bench, row.id, True, force=True))
    assert looked
