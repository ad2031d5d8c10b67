"""Files of rendered runs: what is kept comes out again, and what is damaged, old or of others counts as missing."""

import os
import random
from array import array

import pytest

from imapd.mailstore import runs
from imapd.mailstore.message import read_at
from imapd.mailstore.render import cut, cuts_of
from imapd.mailstore.rendered import DIRECTORY, Rendered, files, path_of, subjects
from imapd.mailstore.runs import LARGEST, MARKS, Identity, Messages, Run, RunFile, RunStamp, append
from imapd.mailstore.store import Text
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import Worker
from tests.support.loop import PlainLoop

STAMP = RunStamp(3, 1_700_000_000)
WHOLE = [(0, MARKS + 1)]
FLIPS = int(os.environ.get("IMAPD_TEST_FLIPS", "60"))


def run(uid, text="text", size=100, date=7):
    texts = [b"%s %d %d" % (text.encode(), uid, part) for part in range(MARKS + 1)]
    marks = [len(b" ".join(texts[: part + 1])) for part in range(MARKS)]
    return Run(Identity(uid, size, date), b" ".join(texts), tuple(marks))


def messages(*uids, size=100, date=7):
    return Messages(array("I", uids), [size] * len(uids), [date] * len(uids))


def reader(path, stamp=STAMP):
    file = RunFile(path, stamp)
    while file.refresh():
        pass
    return file


def read(file, wanted, cuts=WHOLE):
    loop = PlainLoop()
    return file.read(wanted, cuts, lambda fd, size, place: read_at(fd, size, place, loop))


def octets(path):
    with open(path, "rb") as file:
        return file.read()


@pytest.fixture
def path(tmp_path):
    return os.fsencode(tmp_path / "runs")


def test_what_is_kept_comes_out_again_in_any_order_of_writing(path):
    shuffled = list(range(1, 400, 3))
    random.Random(7).shuffle(shuffled)
    for start in range(0, len(shuffled), 10):
        append(path, STAMP, [run(uid) for uid in shuffled[start : start + 10]], 0o600)
    uids = range(1, 400)
    expected = [run(uid).octets if uid % 3 == 1 else b"" for uid in uids]
    assert read(reader(path), messages(*uids)) == expected
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_blocks_that_overlap_cost_what_is_in_them_and_not_the_whole_file(path, monkeypatch):
    """As where two processes render the same messages, a few at a time."""
    ordered = []
    in_order = runs._in_order
    monkeypatch.setattr(runs, "_in_order", lambda columns: ordered.append(len(columns[0])) or in_order(columns))
    for start in range(1, 2_001, 10):
        for text in ("early", "late"):
            append(path, STAMP, [run(uid, text) for uid in range(start, start + 12)], 0o600)
    file = reader(path)
    assert read(file, messages(1, 1000, 2002)) == [run(uid, "late").octets for uid in (1, 1000, 2002)]
    assert len(file) == 2_002
    assert 0 < sum(ordered) < 5 * 2_002


def test_others_get_their_turn_while_a_file_of_many_blocks_is_read(tmp_path):
    root = os.fsencode(tmp_path)
    path = path_of(root, STAMP.box, STAMP.uidvalidity, b"")
    os.mkdir(os.path.dirname(path))
    for uid in range(1, 301):
        append(path, STAMP, [run(uid)], 0o600)
    loop = PlainLoop()
    assert Rendered(root, STAMP.box, STAMP.uidvalidity, loop, 0o600).missing(array("I", range(1, 302))) == [301]
    assert loop.breaths >= 4


def test_what_others_add_is_seen(path):
    file = reader(path)
    assert read(file, messages(1, 2)) == [b"", b""]
    append(path, STAMP, [run(2)], 0o600)
    file.refresh()
    assert read(file, messages(1, 2)) == [b"", run(2).octets]
    append(path, STAMP, [run(1)], 0o600)
    file.refresh()
    assert read(file, messages(1, 2)) == [run(1).octets, run(2).octets]


@pytest.mark.parametrize("texts", [(0,), (1,), (3,), (0, 1, 2), (1, 2, 3), (2, 0), (3, 1, 2), (0, 1, 2, 3)])
def test_texts_are_cut_out_of_a_run(path, texts):
    append(path, STAMP, [run(1), run(2)], 0o600)
    wanted = [Text(text) for text in texts]
    expected = [b" ".join([b"text %d %d" % (uid, text) for text in texts]) for uid in (1, 2)]
    assert read(reader(path), messages(1, 2), cuts_of(wanted)) == expected
    assert [cut(run(uid), cuts_of(wanted)) for uid in (1, 2)] == expected


def test_the_later_run_counts_and_an_empty_one_means_nothing(path):
    append(path, STAMP, [run(1, "old"), run(2, "old"), run(3)], 0o600)
    append(path, STAMP, [run(2, "new")], 0o600)
    append(path, STAMP, [Run(Identity(1, 0, 0), b"")], 0o600)
    file = reader(path)
    assert read(file, messages(1, 2, 3)) == [b"", run(2, "new").octets, run(3).octets]
    assert file.missing(array("I", [1, 2, 3, 4])) == [1, 4]


def test_a_message_of_another_size_or_date_has_no_run(path):
    append(path, STAMP, [run(1)], 0o600)
    assert read(reader(path), messages(1, size=101)) == [b""]
    assert read(reader(path), messages(1, date=8)) == [b""]
    assert read(reader(path), messages(1)) == [run(1).octets]


@pytest.mark.parametrize(
    "other", [RunStamp(4, STAMP.uidvalidity), RunStamp(3, 1_700_000_001), RunStamp(3, STAMP.uidvalidity, b"SUBJECT")]
)
def test_the_file_of_another_mailbox_is_not_believed_but_replaced(path, other):
    append(path, other, [run(1)], 0o600)
    file = reader(path)
    assert file.is_broken and read(file, messages(1)) == [b""]
    append(path, STAMP, [run(2)], 0o600)
    file.refresh()
    assert read(file, messages(1, 2)) == [b"", run(2).octets]


def test_a_new_file_at_the_place_of_the_old_one_is_not_mistaken_for_it(path):
    append(path, STAMP, [run(1, "old"), run(2, "old")], 0o600)
    file = reader(path)
    assert read(file, messages(1, 2))[0] == run(1, "old").octets
    os.unlink(path)
    append(path, STAMP, [run(1, "new"), run(2, "new")], 0o600)  # most file systems give it the same inode
    with pytest.raises(OSError):
        read(file, messages(1, 2))
    file.refresh()
    assert read(file, messages(1, 2)) == [run(1, "new").octets, run(2, "new").octets]


def test_a_run_that_is_too_large_is_not_kept(path):
    append(path, STAMP, [Run(Identity(1, 1, 1), b"x" * (LARGEST + 1)), run(2)], 0o600)
    assert read(reader(path), messages(1, 2)) == [b"", run(2).octets]


def test_damage_never_gives_another_text(path):
    random.seed(11)
    for uid in range(1, 41, 5):
        append(path, STAMP, [run(each) for each in range(uid, uid + 5)], 0o600)
    whole = octets(path)
    expected = [run(uid).octets for uid in range(1, 41)]
    for _ in range(FLIPS):
        damaged = bytearray(whole)
        place = random.randrange(len(whole))
        damaged[place] ^= 1 << random.randrange(8)
        with open(path, "wb") as file:
            file.write(damaged)
        found = read(reader(path), messages(*range(1, 41)))
        assert all(text in (b"", good) for text, good in zip(found, expected, strict=True))
        assert found != expected


def test_a_file_cut_off_anywhere_gives_what_is_whole_and_begins_anew_when_it_is_added_to(path):
    for uid in range(1, 13, 4):
        append(path, STAMP, [run(each) for each in range(uid, uid + 4)], 0o600)
    whole = octets(path)
    for length in range(0, len(whole), 7):
        with open(path, "wb") as file:
            file.write(whole[:length])
        found = read(reader(path), messages(*range(1, 13)))
        assert all(text in (b"", run(uid).octets) for uid, text in enumerate(found, 1))
        append(path, STAMP, [run(99)], 0o600)
        file = reader(path)
        assert not file.is_broken and read(file, messages(99)) == [run(99).octets]
        os.unlink(path)


def test_a_link_is_not_followed(path, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    os.symlink(other, path)
    with pytest.raises(OSError):
        append(path, STAMP, [run(1)], 0o600)
    assert other.read_bytes() == b"precious" and read(reader(path), messages(1)) == [b""]


# In a mailbox


def filled(home, count=20):
    worker = Worker(home)
    worker.put("INBOX", *[b"Subject: %d\r\nX: y\r\n\r\ntext\r\n" % number for number in range(1, count + 1)])
    return worker


ALL = tuple(Text)
FIELDS = frozenset({b"Subject", b"From"})


def texts(worker, count=20):
    mailbox = worker.open()
    uids = array("I", range(1, count + 1))
    found = mailbox.texts(uids, ALL), mailbox.header_fields(uids, FIELDS)
    mailbox.close()
    return found


def test_damaged_files_are_made_anew(tmp_path):
    home = tmp_path / "ann"
    worker = filled(home)
    first = texts(worker)
    assert first[1][0] == b"{14}\r\nSubject: 1\r\n\r\n" and b"" not in first[0]
    worker.store.close()
    kept = {path: octets(path) for path in files(os.fsencode(home))}
    assert len(kept) == 2
    for damage in (
        lambda data: b"nonsense",
        lambda data: data[: len(data) // 2],
        lambda data: data[:300] + bytes(2000),
    ):
        for path, data in kept.items():
            with open(path, "wb") as file:
                file.write(damage(data))
        worker = Worker(home)
        assert texts(worker) == first and texts(worker) == first
        worker.store.close()
        assert {path: len(octets(path)) > 500 for path in kept} == dict.fromkeys(kept, True)


def test_files_of_two_mailboxes_that_were_exchanged(tmp_path):
    home = tmp_path / "ann"
    worker = filled(home)
    worker.ann.create("A")
    worker.put("A", *[b"Subject: other %d\r\n\r\nelse\r\n" % number for number in range(20)])
    other = worker.open("A")
    inbox, _ = texts(worker)
    elsewhere = other.texts(array("I", range(1, 21)), ALL)
    worker.store.close()
    one, two = sorted(path for path in files(os.fsencode(home)) if os.path.basename(path).count(b"-") == 1)
    os.rename(one, one + b"x")
    os.rename(two, one)
    os.rename(one + b"x", two)
    worker = Worker(home)
    assert texts(worker)[0] == inbox
    assert worker.open("A").texts(array("I", range(1, 21)), ALL) == elsewhere


def test_who_is_expunged_has_no_text_any_more(tmp_path):
    worker = filled(tmp_path / "ann")
    before = texts(worker)
    mailbox = worker.open()
    mailbox.change_flags([2], FlagChange.ADD, frozenset({"\\Deleted"}))
    mailbox.expunge(None)
    assert texts(worker) == ([before[0][0], b"", *before[0][2:]], [before[1][0], b"", *before[1][2:]])


def test_a_file_that_turns_out_to_be_another_is_described_anew(tmp_path):
    home = tmp_path / "ann"
    worker = filled(home, 2)
    before = texts(worker, 2)
    changed = sorted((home / "cur").iterdir())[0]
    changed.write_bytes(b"Subject: changed\n\nin place\n")
    mailbox = worker.open()
    mailbox.message(1).close()  # notices
    after = mailbox.texts(array("I", [1, 2]), ALL)
    assert b'"changed"' in after[0] and after[1] == before[0][1]


def test_a_set_of_fields_is_kept_when_it_is_a_habit(tmp_path):
    home = tmp_path / "ann"
    worker = filled(home)
    mailbox = worker.open()
    assert mailbox.header_fields(array("I", [1]), FIELDS) == [b""]
    assert mailbox.header_fields(array("I", range(1, 21)), frozenset({b"x" * 2000})) == [b""] * 20
    assert not subjects(os.fsencode(home), *mailbox._shared.key)
    mailbox.header_fields(array("I", range(1, 21)), FIELDS)
    assert subjects(os.fsencode(home), *mailbox._shared.key) == [b"FROM SUBJECT"]
    assert b"Subject: 1" in mailbox.header_fields(array("I", [1]), FIELDS)[0]


def test_no_more_sets_of_fields_are_kept_than_a_few(tmp_path):
    home = tmp_path / "ann"
    worker = filled(home)
    mailbox = worker.open()
    for number in range(7):
        asked = frozenset({b"X", b"F%d" % number})
        assert mailbox.header_fields(array("I", range(1, 21)), asked) == [b"{8}\r\nX: y\r\n\r\n"] * 20
    assert len(subjects(os.fsencode(home), *mailbox._shared.key)) == 4


def test_a_disk_that_refuses_costs_only_time(tmp_path):
    home = tmp_path / "ann"
    worker = filled(home)
    (home / os.fsdecode(DIRECTORY)).write_bytes(b"in the way")
    assert texts(worker) == texts(worker) and b"" not in texts(worker)[0]
