"""The rows of the index: their checksums, the counts of mailboxes, and an index of version 1."""

import os
import sqlite3
from pathlib import Path

import pytest

from imapd.mailstore.errors import Corrupt, Gone
from imapd.mailstore.index import Index
from imapd.mailstore.rows import Usage
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import WIRE, Worker, deliver

VERSION_1 = Path(__file__).parent.parent / "data" / "index-version-1.sql"
DELETED = frozenset({"\\Deleted"})


@pytest.fixture
def home(tmp_path):
    return tmp_path / "ann"


def filled(home):
    worker = Worker(home)
    for number in range(20):
        worker.put("INBOX", b"n: %d\r\n\r\n" % number, flags=frozenset({"\\Seen", "Work"}))
    worker.ann.create("A")
    worker.put("A", WIRE)
    return worker


def change(home, statement):
    with sqlite3.connect(home / "imapd-index.sqlite") as db:
        db.execute(statement)
    db.close()


# Checksums

DAMAGES = {
    "another file": "UPDATE message SET file = (SELECT file FROM message WHERE id & 4294967295 = 3) "
    "WHERE id & 4294967295 = 7",
    "another uid": "UPDATE message SET id = id + 40 WHERE id & 4294967295 = 7",
    "another flag": "UPDATE message SET mask = mask + 4 WHERE id & 4294967295 = 7",
    "another size": "UPDATE message SET size = size + 1 WHERE id & 4294967295 = 7",
    "another date": "UPDATE message SET date = date + 1 WHERE id & 4294967295 = 7",
    "two uids that changed places": "UPDATE message SET file = (SELECT other.file FROM message other WHERE "
    "other.id = message.id + 8 - 2 * (message.id & 4294967295)) WHERE id & 4294967295 BETWEEN 3 AND 5",
    "no row": "DELETE FROM message WHERE id & 4294967295 = 7",
    "another uidnext": "UPDATE mailbox SET uidnext = 3 WHERE name = 'INBOX'",
    "another uidvalidity": "UPDATE mailbox SET uidvalidity = uidvalidity + 1000 WHERE name = 'INBOX'",
    "another directory": "UPDATE mailbox SET directory = CASE directory WHEN x'' THEN x'2e42' ELSE x'' END",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("when", ["closed", "open"])
def test_a_row_that_is_not_as_it_was_written_is_damage(home, damage, when):
    worker = filled(home)
    uidvalidity = worker.ann.status("INBOX").uidvalidity
    if when == "closed":
        worker.store.close()
    change(home, DAMAGES[damage])
    if when == "closed":
        worker = Worker(home)
    try:
        texts = worker.texts()
    except Gone:  # found while it was open: the client selects again
        texts = worker.texts()
    assert sorted(texts.values()) == sorted(b"n: %d\r\n\r\n" % number for number in range(20))
    if worker.ann.status("INBOX").uidvalidity == uidvalidity:
        assert texts == {uid: b"n: %d\r\n\r\n" % (uid - 1) for uid in range(1, 21)}
    assert worker.look() == dict.fromkeys(texts, frozenset({"\\Seen", "Work"}))
    assert list(home.glob("imapd-index.sqlite.broken-*"))


def test_damage_of_one_row_is_found_when_the_message_is_opened(home):
    worker = filled(home)
    mailbox = worker.open()
    mailbox.snapshot()
    change(home, DAMAGES["another file"])
    with pytest.raises(Gone):
        mailbox.message(7)


def test_a_row_that_is_missing_is_no_expunged_message(home):
    worker = filled(home)
    mailbox = worker.open()
    mailbox.snapshot()
    change(home, DAMAGES["no row"])
    with pytest.raises(Gone):
        mailbox.message(7)
    assert 7 in worker.texts()


def test_damage_is_not_taken_for_a_flag_to_be_changed(home):
    worker = filled(home)
    mailbox = worker.open()
    mailbox.snapshot()
    change(home, DAMAGES["another flag"])  # which is \Deleted
    with pytest.raises(Gone):
        mailbox.expunge(None)
    assert len(worker.texts()) == 20


def test_an_index_with_sound_rows_is_sound(home):
    worker = filled(home)
    worker.store.close()
    index = Index(os.fsencode(home / "imapd-index.sqlite"))
    assert index.is_sound()
    change(home, DAMAGES["another size"])
    assert not index.is_sound()
    with pytest.raises(Corrupt):
        index.message(1, 7)
    index.close()


# Counts


def test_a_damaged_row_gets_no_new_checksum_by_a_change_of_flags(home):
    filled(home).store.close()
    change(home, DAMAGES["another size"])
    index = Index.writer(bytes(home / "imapd-index.sqlite"))
    with pytest.raises(Corrupt), index.transaction():
        index.reflag_many(1, [6, 7, 8], kept=0, added=1, modseq=99)
    assert index.reflag_many(1, [6, 8], kept=0, added=1, modseq=99) == [6, 8]
    index.close()


def test_a_snapshot_that_follows_our_own_changes_of_flags_is_as_one_that_is_read(home):
    worker = filled(home)
    inbox, flagged = worker.open(), frozenset({"\\Flagged"})
    inbox.expunge(inbox.change_flags([4], FlagChange.ADD, DELETED))
    changes = [
        (range(1, 21), FlagChange.ADD, flagged, 19),
        ([9, 2, 4, 77, 11], FlagChange.REMOVE, flagged | {"Work", "unknown"}, 3),
        ([2, 3], FlagChange.REPLACE, frozenset({"\\Draft", "New"}), 2),
        (range(2, 9), FlagChange.REPLACE, frozenset({"New", "\\Draft"}), 6),
        ([20], FlagChange.ADD, frozenset({"\\Seen"}), 1),
        ([77], FlagChange.ADD, flagged, 0),
    ]
    for uids, how, flags, there in changes:
        inbox.snapshot()
        assert len(inbox.change_flags(uids, how, flags)) == there
        assert inbox.snapshot() == Worker(home).open().snapshot()
        Worker(home).open().change_flags([1], how, flags)  # so that the next one does not follow upon what is known
        assert len(inbox.change_flags([1, 2], how, flags)) == 2
        assert inbox.snapshot() == Worker(home).open().snapshot()


def counted(home):
    """The counts that are kept, and those that rows give."""
    with sqlite3.connect(home / "imapd-index.sqlite") as db:
        kept = db.execute("SELECT name, messages, octets FROM mailbox ORDER BY id").fetchall()
        true = db.execute(
            "SELECT name, count(message.id), ifnull(sum(size), 0) FROM mailbox LEFT JOIN message "
            "ON message.id >> 32 = mailbox.id GROUP BY mailbox.id ORDER BY mailbox.id"
        ).fetchall()
    db.close()
    return kept, true


def test_counts_follow_every_write(home):
    worker = filled(home)
    inbox = worker.open()
    deeds = [
        lambda: inbox.copy([1, 2], "A"),
        lambda: inbox.move([3, 4], "A"),
        lambda: inbox.move([5], "INBOX"),
        lambda: inbox.change_flags([6, 7], FlagChange.ADD, DELETED),
        lambda: inbox.expunge([6]),
        lambda: deliver(home),
        lambda: deliver(home, b"x\n", "1.lies,S=2,W=4"),
        lambda: [path.unlink() for path in (home / "cur").glob("*W=9:*T*")],
        lambda: (home / "cur" / "1.lies,S=2,W=4:2,").write_bytes(b"longer than that\n"),
        lambda: worker.texts(),
        lambda: worker.ann.rename("INBOX", "B"),
        lambda: worker.ann.delete("A"),
    ]
    seen = set()
    for deed in deeds:
        deed()
        inbox.snapshot()
        kept, true = counted(home)
        assert kept == true
        seen.add(tuple(kept))
        usage = worker.ann._core.reading(lambda index: index.usage())
        assert usage == Usage(sum(row[1] for row in kept), sum(row[2] for row in kept))
    assert len(seen) == 8


# Version 1


def version_1(home):
    """A Maildir with an index of version 1: INBOX with three messages and one expunged, and a mailbox A."""
    for folder in ("cur", "new", "tmp", ".A/cur", ".A/new", ".A/tmp"):
        (home / folder).mkdir(parents=True)
    db = sqlite3.connect(home / "imapd-index.sqlite")
    db.executescript(VERSION_1.read_text())
    for key, file in db.execute("SELECT id, file FROM message").fetchall():
        box, uid = key >> 32, key & 0xFFFFFFFF
        (home / ("" if box == 1 else ".A") / "cur" / file.decode()).write_bytes(b"n: %d\n\n" % (uid - 1))
    db.close()


def test_an_index_of_version_1_is_brought_up_to_date(home):
    version_1(home)
    worker = Worker(home)
    status = worker.ann.status("INBOX")
    assert (status.uidvalidity, status.uidnext, status.messages) == (1795393546, 5, 3)
    assert worker.texts() == {uid: b"n: %d\r\n\r\n" % (uid - 1) for uid in (1, 3, 4)}
    assert worker.look() == dict.fromkeys((1, 3, 4), frozenset({"\\Seen", "Work"}))
    assert worker.texts("A") == {1: b"n: 0\r\n\r\n"}
    assert {entry.name: entry.special_use for entry in worker.ann.mailboxes()} == {"INBOX": (), "A": ("\\Sent",)}
    kept, true = counted(home)
    assert kept == true == [("INBOX", 3, 24), ("A", 1, 8)]
    worker.ann.create("C")
    with sqlite3.connect(home / "imapd-index.sqlite") as db:
        assert db.execute("SELECT id FROM mailbox WHERE name = 'C'").fetchone() == (4,)  # 3 was given to one before
        assert db.execute("SELECT * FROM tombstone").fetchall() == [(4294967298, 7, None)]
    db.close()
    worker.store.close()
    assert not list(home.glob("*broken*"))
    assert Worker(home).texts().keys() == {1, 3, 4}


def test_a_damaged_index_of_version_1_gets_no_checksums(home, monkeypatch):
    version_1(home)
    data = bytearray((home / "imapd-index.sqlite").read_bytes())
    first = data.index(b"1795393546")
    data[first - 40 : first - 20] = b"\xff" * 20  # the headers of some rows
    (home / "imapd-index.sqlite").write_bytes(data)
    worker = Worker(home)
    assert worker.ann.status("INBOX").uidvalidity > 1795393548 or worker.texts().keys() == {1, 3, 4}


def test_an_upgrade_that_fails_leaves_version_1(home, monkeypatch):
    version_1(home)
    path = os.fsencode(home / "imapd-index.sqlite")

    def failing(row):
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setattr("imapd.mailstore.index.message_sum", failing)
        with pytest.raises(KeyError):
            Index.writer(path)
    with sqlite3.connect(home / "imapd-index.sqlite") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert [row[1] for row in db.execute("PRAGMA table_info(mailbox)")][-1] == "doubt"
    db.close()
    assert Worker(home).texts().keys() == {1, 3, 4}
