"""The mbox store among other programs: deliveries, mail readers that rewrite the file, other servers' UIDs, odd trees."""

import contextlib
import os
import re
import shutil
from array import array
from pathlib import Path

import pytest

from imapd.mailstore import mboxchanges, mboxcolumns, mboxread, mboxrewrite, mboxsync, mboxwriteback
from imapd.mailstore.choice import Kinds
from imapd.mailstore.errors import Corrupt, Denied, FileLocked, NoSuchMailbox
from imapd.mailstore.index import Index
from imapd.mailstore.mboxlock import take
from imapd.mailstore.mboxtree import level_to_disk, name_of
from imapd.mailstore.message import to_wire
from imapd.mailstore.rebuild import GAP
from imapd.model.flags import FlagChange
from tests.conftest import CORPUS
from tests.mailstore.maildirhouse import WIRE, Crash, Worker

FROM = b"From ann@example.org Mon Nov 23 10:00:00 2026\n"


def text(number: int, body: bytes = b"") -> bytes:
    return b"Subject: %d\nFrom: ann@example.org\n\n%s\n" % (number, body or b"Text %d." % number)


def mbox(*texts: bytes) -> bytes:
    return b"".join([FROM + one + b"\n" for one in texts])


def with_fields(fields: bytes, message: bytes) -> bytes:
    return fields + message


@pytest.fixture
def file(tmp_path) -> Path:
    """Ann's mail file, a file."""
    path = tmp_path / "ann"
    path.write_bytes(mbox(text(1), text(2), text(3)))
    return path


@pytest.fixture
def worker(file):
    made = Worker(file, kinds=Kinds(root=str(file.parent)))
    yield made
    made.store.close()


def again(worker: Worker) -> Worker:
    """The next process."""
    worker.crash()
    return Worker(worker.home, worker.loop, kinds=Kinds(root=str(worker.home.parent)))


def deliver(file: Path, *texts: bytes) -> None:
    with open(file, "ab") as end:
        end.write(mbox(*texts))


def subjects(worker: Worker, name: str = "INBOX") -> dict[int, int]:
    return {uid: int(re.search(rb"Subject: (\d+)", one)[1]) for uid, one in worker.texts(name).items()}


def test_a_mail_file_is_an_inbox_and_its_index_lies_beside_it(worker, file):
    assert worker.texts() == {number: to_wire(text(number)) for number in (1, 2, 3)}
    assert sorted(os.listdir(file.parent)) == ["ann", "ann.folders"]
    worker.ann.create("Work")
    worker.ann.create("Work/2026")
    worker.put("Work/2026")
    assert (file.parent / "ann.folders" / "Work.sbd" / "2026").read_bytes().startswith(b"From ")
    assert [entry.name for entry in worker.ann.mailboxes()] == ["INBOX", "Work", "Work/2026"]


def test_the_folders_lie_where_the_setting_says(tmp_path):
    file = tmp_path / "spool" / "ann"
    file.parent.mkdir()
    file.write_bytes(mbox(text(1)))
    kinds = Kinds(root=str(tmp_path), folders="folders/{mail_file}")
    worker = Worker(file, kinds=kinds)
    assert (tmp_path / "folders" / "spool" / "ann" / "imapd-index.sqlite").exists()
    assert kinds.directory_of(str(file)) == str(tmp_path / "folders" / "spool" / "ann")
    worker.store.close()


def test_a_delivery_is_one_more_message(worker, file):
    view = worker.look()
    deliver(file, text(4))
    assert subjects(worker) == {1: 1, 2: 2, 3: 3, 4: 4}
    assert worker.look().keys() - view.keys() == {4}


def scans(monkeypatch):
    """Where each look at a mail file begins to read, from now on."""
    starts = []

    class Noting(mboxsync.Scan):
        def __init__(self, fd, start, end):
            starts.append(start)
            super().__init__(fd, start, end)

    monkeypatch.setattr(mboxsync, "Scan", Noting)
    return starts


def test_only_the_tail_of_a_large_file_is_read_for_a_delivery(worker, file, monkeypatch):
    monkeypatch.setattr(mboxsync, "LARGE", 100)
    worker.look()
    starts = scans(monkeypatch)
    size = file.stat().st_size
    deliver(file, text(4))
    assert subjects(worker)[4] == 4
    assert starts == [size]
    worker.loop.advance(3600)  # another program may have changed something before the tail: the whole is read later
    worker.look()
    assert starts == [size, 0]


def test_after_our_own_writing_only_that_of_others_is_looked_for(worker, file, monkeypatch):
    worker.look()
    worker.put()
    starts = scans(monkeypatch)
    for _ in range(3):
        worker.put()
    assert worker.look().keys() == {1, 2, 3, 4, 5, 6, 7}
    assert starts == []
    # In the same tick of the clock, mostly, and without another length.
    octets = file.read_bytes()
    at = octets.rindex(b"\nStatus: ") + len(b"\nStatus: ")
    with open(file, "r+b") as other:
        other.seek(at)
        other.write(b"R")
    assert worker.look()[7] == {"\\Seen"}
    assert starts == [0]


@pytest.mark.parametrize("at_hand", [0, 10_000])
def test_many_messages_are_copied_as_few_are(worker, file, monkeypatch, at_hand):
    monkeypatch.setattr(mboxchanges, "_AT_HAND", at_hand)
    view = worker.open()
    assert len(view.snapshot().uids) == 3
    view.change_flags([2], FlagChange.ADD, frozenset({"\\Seen", "Word"}))
    worker.ann.create("Work")
    view.copy([1, 2, 3], "Work")
    view.move([2, 3], "INBOX")
    view.close()
    worker = again(worker)
    assert worker.texts("Work") == {number: to_wire(text(number)) for number in (1, 2, 3)}
    assert worker.look("Work") == {1: frozenset(), 2: {"\\Seen", "Word"}, 3: frozenset()}
    assert subjects(worker) == {1: 1, 4: 2, 5: 3}
    worker.ann.rename("INBOX", "Old")
    assert subjects(worker, "Old") == {1: 1, 2: 2, 3: 3}
    worker.store.close()


@pytest.mark.parametrize("begin", [b" odd\n", b"\todd\n", b"Lines: 3\n"])
def test_a_header_that_begins_oddly_stays_as_it_is(worker, file, begin):
    odd = begin + text(4)
    deliver(file, odd)
    view = worker.open()
    assert len(view.snapshot().uids) == 4
    view.change_flags([4], FlagChange.ADD, frozenset({"Word"}))
    view.copy([4], "INBOX")
    view.close()
    assert b"Word" in file.read_bytes()
    assert worker.texts()[4] == worker.texts()[5] == to_wire(odd)
    assert subjects(again(worker)) == {1: 1, 2: 2, 3: 3, 4: 4, 5: 4}


def test_a_file_of_somebody_else_is_not_doubted_either(worker, monkeypatch):
    def refused(fd, **times):
        raise PermissionError

    worker.look()
    monkeypatch.setattr(os, "utime", refused)
    worker.put()
    monkeypatch.undo()
    monkeypatch.setattr(mboxsync, "Scan", lambda fd, start, end: pytest.fail("it was read once more"))
    assert worker.look().keys() == {1, 2, 3, 4}


def test_what_is_seen_for_the_first_time_is_shown_without_reading_its_rows_again(file, monkeypatch):
    monkeypatch.setattr(mboxsync, "AT_ONCE", 7)
    monkeypatch.setattr(mboxcolumns, "LARGE", 10)
    file.write_bytes(mbox(*[with_fields(b"Status: RO\nX-Keywords: k%d\n" % (n % 3), text(n)) for n in range(1, 31)]))
    worker = Worker(file)
    columns = Index.columns
    monkeypatch.setattr(Index, "columns", lambda index, box: pytest.fail("the rows were read"))
    view = worker.look()
    monkeypatch.setattr(Index, "columns", columns)
    for kept in (file.parent / "ann.folders").rglob("*.columns"):
        kept.unlink()
    assert view == {number: frozenset({"\\Seen", f"k{number % 3}"}) for number in range(1, 31)}
    worker = again(worker)
    assert worker.look() == view
    worker.store.close()


def test_a_first_sight_of_many_messages_is_taken_in_by_parts(file, monkeypatch):
    monkeypatch.setattr(mboxsync, "AT_ONCE", 7)
    file.write_bytes(mbox(*[text(number) for number in range(1, 31)]))
    worker = Worker(file)
    assert subjects(worker) == {number: number for number in range(1, 31)}
    worker.store.close()


def test_flags_of_mutt_are_flags_and_merged_with_ours(worker, file):
    mailbox = worker.open()
    mailbox.snapshot()
    mailbox.change_flags([1, 2], FlagChange.ADD, frozenset({"\\Flagged"}))
    # What mutt writes: fields at the end of headers, Content-Length and Lines among them.
    first = text(1).replace(b"\n\n", b"\nStatus: RO\nX-Status: A\nContent-Length: 8\nLines: 1\n\n", 1)
    second = text(2).replace(b"\n\n", b"\nStatus: O\nContent-Length: 8\nLines: 1\n\n", 1)
    file.write_bytes(mbox(first, second, text(3)))
    assert worker.look() == {1: {"\\Flagged", "\\Seen", "\\Answered"}, 2: {"\\Flagged"}, 3: frozenset()}
    mailbox.close()
    assert worker.texts() == {number: to_wire(text(number)) for number in (1, 2, 3)}
    assert re.findall(rb"X-Status: (\S*)", file.read_bytes()) == [b"AF", b"F", b""]


def test_messages_keep_their_uids_when_another_program_deletes_and_adds(worker, file):
    worker.look()
    file.write_bytes(mbox(text(1), text(3), text(4)))
    assert subjects(worker) == {1: 1, 3: 3, 4: 4}
    file.write_bytes(mbox(text(9), text(3), text(4)))
    assert subjects(worker) == {3: 3, 4: 4, 5: 9}
    file.write_bytes(b"")
    assert subjects(worker) == {}
    deliver(file, text(1))
    assert subjects(worker) == {6: 1}


def test_twins_are_told_apart_by_their_order(worker, file):
    file.write_bytes(mbox(text(1), text(1), text(1)))
    mailbox = worker.open()
    uids = list(worker.look())
    mailbox.change_flags([uids[1]], FlagChange.ADD, frozenset({"\\Flagged"}))
    deliver(file, text(1))
    assert [sorted(flags) for flags in worker.look().values()] == [[], ["\\Flagged"], [], []]
    mailbox.close()


def test_flags_are_written_back_when_the_last_session_closes(worker, file):
    mailbox, other = worker.open(), worker.open()
    mailbox.snapshot()
    mailbox.claim_recent(3)
    mailbox.change_flags([2], FlagChange.ADD, frozenset({"\\Seen", "\\Deleted", "$Work"}))
    before = file.read_bytes()
    mailbox.close()
    assert file.read_bytes() == before
    other.close()
    after = file.read_bytes()
    assert b"X-UID: 2 " in after
    assert b"X-Keywords: $Work " in after
    assert re.findall(rb"\nStatus: (..)\nX-Status: (....)", after) == [
        (b"O ", b"    "),
        (b"RO", b"D   "),
        (b"O ", b"    "),
    ]
    assert after.count(b"X-IMAPbase: ") == 1
    # The next change finds room, and the file stays the same one.
    inode = file.stat().st_ino
    mailbox = worker.open()
    mailbox.change_flags([1, 3], FlagChange.ADD, frozenset({"\\Answered"}))
    mailbox.close()
    assert file.stat().st_ino == inode
    assert re.findall(rb"X-Status: (....)", file.read_bytes()) == [b"A   ", b"D   ", b"A   "]
    assert worker.texts() == {number: to_wire(text(number)) for number in (1, 2, 3)}


def test_an_expunged_message_never_comes_back(worker, file, monkeypatch):
    monkeypatch.setattr(mboxwriteback, "SMALL", 10)  # so that it stays in the file for now
    mailbox = worker.open()
    mailbox.snapshot()
    mailbox.change_flags([2], FlagChange.ADD, frozenset({"\\Deleted"}))
    assert mailbox.expunge(None) == (2,)
    assert b"Text 2." in file.read_bytes()
    assert subjects(worker) == {1: 1, 3: 3}
    deliver(file, text(4))
    file.write_bytes(file.read_bytes().replace(b"Subject: 3\n", b"Subject: 3\nStatus: R\n"))
    assert subjects(worker) == {1: 1, 3: 3, 4: 4}
    other = again(worker)
    assert subjects(other) == {1: 1, 3: 3, 4: 4}
    mailbox = other.open()
    mailbox.close()
    assert b"Text 2." not in file.read_bytes()
    assert subjects(other) == {1: 1, 3: 3, 4: 4}
    other.store.close()


def test_an_expunged_message_is_cut_out_where_it_stands_by_now(worker, file, monkeypatch):
    monkeypatch.setattr(mboxwriteback, "SMALL", 10)
    mailbox = worker.open()
    mailbox.snapshot()
    mailbox.change_flags([2], FlagChange.ADD, frozenset({"\\Deleted"}))
    mailbox.expunge(None)
    file.write_bytes(file.read_bytes().replace(b"Subject: 1\n", b"Subject: 1\nStatus: RO\n"))
    mailbox.snapshot()
    mailbox.close()
    assert worker.texts() == {1: to_wire(text(1)), 3: to_wire(text(3))}
    assert b"Text 2." not in file.read_bytes()


def test_many_expunges_of_a_large_file_do_not_rewrite_it_each_time(worker, file, monkeypatch):
    monkeypatch.setattr(mboxwriteback, "SMALL", 10)
    rewritten = []
    true = mboxwriteback.rewrite
    monkeypatch.setattr(mboxwriteback, "rewrite", lambda mail, parts: (rewritten.append(1), true(mail, parts)))
    file.write_bytes(mbox(*[text(number) for number in range(1, 41)]))
    mailbox = worker.open()
    for uid in list(worker.look())[:20]:
        mailbox.change_flags([uid], FlagChange.ADD, frozenset({"\\Deleted"}))
        mailbox.expunge([uid])
    assert not rewritten
    mailbox.close()
    assert len(rewritten) == 1
    assert len(worker.texts()) == 20


UW = (
    b"From MAILER-DAEMON Mon Nov 23 10:00:00 2026\nDate: 23 Nov 2026 10:00:00 +0000\n"
    b"From: Mail System Internal Data <MAILER-DAEMON@mx>\n"
    b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nMessage-ID: <1@mx>\n"
    b"X-IMAP: 1000000007 0000000042 Work $Junk           \nStatus: RO\n\n"
    b"This text is part of the internal format of your mail folder, and is not\na real message.\n\n"
)


def uw(number: int, uid: int, status: bytes, keywords: bytes = b"") -> bytes:
    fields = b"\nStatus: %s\nX-Status: \nX-Keywords: %s\nX-UID: %d\n\n" % (status, keywords.ljust(30), uid)
    return text(number).replace(b"\n\n", fields, 1)


def test_the_uids_flags_and_keywords_of_uw_imapd_are_taken_over(tmp_path):
    file = tmp_path / "ann"
    file.write_bytes(UW + mbox(uw(1, 17, b"RO"), uw(2, 40, b"O", b"Work"), text(3)))
    worker = Worker(file)
    status = worker.ann.status("INBOX")
    assert (status.uidvalidity, status.uidnext) == (1000000007, 44)
    assert subjects(worker) == {17: 1, 40: 2, 43: 3}
    assert worker.look() == {17: {"\\Seen"}, 40: {"Work"}, 43: frozenset()}
    mailbox = worker.open()
    assert mailbox.unclaimed_recent() == 40
    mailbox.change_flags([43], FlagChange.ADD, frozenset({"New"}))
    mailbox.close()
    data = file.read_bytes()
    assert data.startswith(UW[:60])
    assert b"X-IMAP: 1000000007 0000000043 Work New " in data
    assert subjects(worker) == {17: 1, 40: 2, 43: 3}
    worker.store.close()


@pytest.mark.parametrize(
    "fields",
    [
        b"X-IMAPbase: 1000000007 10\nX-UID: 7\n",
        b"X-IMAPbase: 1000000007 10\nX-UID: 99\n",
        b"X-IMAPbase: 0 1\nX-UID: 1\n",
    ],
)
def test_uids_that_cannot_be_are_not_believed(tmp_path, fields):
    file = tmp_path / "ann"
    file.write_bytes(mbox(with_fields(fields, text(1)), with_fields(b"X-UID: 7\n", text(2))))
    worker = Worker(file)
    found = subjects(worker)
    assert sorted(found.values()) == [1, 2]
    assert len(found) == 2
    assert max(found) < worker.ann.status("INBOX").uidnext <= 13
    worker.store.close()


def test_a_copy_of_a_mailbox_gets_a_uidvalidity_of_its_own(worker, file):
    worker.open().close()
    box = worker.open()
    box.change_flags([1], FlagChange.ADD, frozenset({"\\Seen"}))
    box.close()
    shutil.copy(file, file.parent / "ann.folders" / "Copy")
    assert worker.ann.status("Copy").uidvalidity != worker.ann.status("INBOX").uidvalidity
    assert len(worker.texts("Copy")) == 3


def test_a_lost_index_costs_no_uids_that_were_written_back(worker, file):
    mailbox = worker.open()
    mailbox.snapshot()
    mailbox.change_flags([2], FlagChange.ADD, frozenset({"\\Deleted"}))
    mailbox.expunge(None)
    mailbox.change_flags([3], FlagChange.ADD, frozenset({"\\Seen", "Work"}))
    mailbox.close()
    uidvalidity = worker.ann.status("INBOX").uidvalidity
    worker.store.close()
    for path in (file.parent / "ann.folders").glob("imapd-index*"):
        path.unlink()
    other = Worker(file, kinds=Kinds(root=str(file.parent)))
    assert (other.ann.status("INBOX").uidvalidity, subjects(other)) == (uidvalidity, {1: 1, 3: 3})
    assert other.look()[3] == {"\\Seen", "Work"}
    other.store.close()


@pytest.mark.parametrize("lost", ["", "imapd-uids", "imapd-floors", "imapd-[uf]*s"])
def test_a_lost_index_never_gives_a_uid_again_that_the_file_does_not_know(worker, file, lost):
    mailbox = worker.open()
    mailbox.snapshot()
    mailbox.change_flags([1], FlagChange.ADD, frozenset({"\\Seen"}))
    mailbox.close()
    deliver(file, text(4), text(5))
    assert subjects(worker) == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}  # 4 and 5 are in the index alone
    before = worker.ann.status("INBOX")
    worker.store.close()
    for path in [
        *file.parent.glob("ann.folders/imapd-index*"),
        *(file.parent.glob("ann.folders/" + lost) if lost else ()),
    ]:
        path.unlink()
    file.write_bytes(file.read_bytes().replace(mbox(text(5)), b""))
    deliver(file, text(6))
    other = Worker(file, kinds=Kinds(root=str(file.parent)))
    status = other.ann.status("INBOX")
    if lost:
        assert status.uidvalidity > before.uidvalidity
    else:  # the second record knows 4 and 5
        assert status.uidvalidity == before.uidvalidity
        assert status.highestmodseq >= before.highestmodseq + GAP
        assert subjects(other) == {1: 1, 2: 2, 3: 3, 4: 4, before.uidnext + GAP: 6}
    other.store.close()


def test_of_messages_that_are_alike_no_record_tells_which_is_which(worker, file):
    """One header, two texts of one length: by X-UID or their order they are told apart, and not by the record."""
    deliver(file, text(4, b"one"), text(4, b"two"))
    mailbox = worker.open()
    assert mailbox.snapshot().uids[3:] == array("I", [4, 5])
    mailbox.change_flags([4], FlagChange.ADD, frozenset({"\\Deleted"}))
    mailbox.expunge(None)
    mailbox.close()
    worker.store.close()
    for path in file.parent.glob("ann.folders/imapd-index*"):
        path.unlink()
    other = Worker(file, kinds=Kinds(root=str(file.parent)))
    texts = other.texts()
    assert texts.keys() & {4, 5} == set()
    assert texts[max(texts)] == to_wire(text(4, b"two"))
    other.store.close()


def test_the_record_of_uids_goes_where_its_mailbox_goes(worker, file):
    worker.ann.create("A")
    worker.ann.create("A/B")
    worker.put("A")
    worker.put("A/B")
    worker.ann.rename("A", "C")
    before = {name: worker.ann.status(name).uidvalidity for name in ("C", "C/B")}
    worker.store.close()
    for path in file.parent.glob("ann.folders/imapd-index*"):
        path.unlink()
    other = Worker(file, kinds=Kinds(root=str(file.parent)))
    assert {name: other.ann.status(name).uidvalidity for name in before} == before
    assert list(other.look("C/B")) == [1]
    other.ann.delete("C/B")
    other.ann.delete("C")
    assert not [path for path in file.parent.rglob("*imapd-uids*") if path.name != "imapd-uids"]
    other.store.close()


def _without_fields(data: bytes) -> bytes:
    return re.sub(rb"(?m)^(?:Content-Length: \d+ *\n(?:Lines: \d+\n)?|(?:X-)?Status:[ \w]*\n)", b"", data)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real mail is not beside the checkout")
@pytest.mark.parametrize("name", ["content-length", "issue1189", "simple", "unmunged"])
def test_real_mailboxes_come_out_octet_by_octet_also_after_being_rewritten(tmp_path, name):
    file = tmp_path / "ann"
    data = (CORPUS / "mbox" / f"{name}.mbox").read_bytes()
    file.write_bytes(data)
    worker = Worker(file)
    first = worker.texts()
    # Without the fields that are no part of messages, everything of the file but From_ lines and separators is there.
    rest = _without_fields(data)
    assert all(_without_fields(one.replace(b"\r\n", b"\n")) in rest for one in first.values())
    assert sum(map(len, first.values())) > 0.95 * len(rest)
    mailbox = worker.open()
    mailbox.change_flags(list(first), FlagChange.ADD, frozenset({"\\Seen", "Work"}))
    mailbox.close()
    assert worker.texts() == first
    other = again(worker)
    mailbox = other.open()
    uids = list(first)
    other.ann.create("Copies")
    mailbox.copy(uids, "Copies")
    assert list(other.texts("Copies").values()) == list(first.values())
    mailbox.change_flags(uids[::2], FlagChange.ADD, frozenset({"\\Deleted"}))
    mailbox.expunge(None)
    mailbox.close()
    assert other.texts() == {uid: first[uid] for uid in uids[1::2]}
    other.store.close()


ODD = [
    b"", b"\r\n", b"\r\n\r\n", b"x", b"Subject: x", b"Subject: x\r\n", b"Subject: x\r\n\r\n", b" folded\r\nA: b\r\n\r\nc",
    b"From me Mon Nov 23 10:00:00 2026\r\nA: b\r\n\r\nFrom you Mon Nov 23 10:00:00 2026\r\nX: y\r\n\r\nz\r\n",
    b"Status: RO\r\nX-UID: 5\r\nX-IMAPbase: 1 2\r\nContent-Length: 3\r\nLines: 1\r\nX-Imapd-Cut: 1\r\n\r\nbody\r\n",
    b"X-Imapd-Kept: X-Imapd-Kept: y\r\n\r\nno end", b"A: b\r\n\r\n\r\n\r\nFrom \r\n\r\n", b"A: b\r\n\r\nbody\r\r\n\r",
    b"\r\r\n\r\r\n", b">From x\r\n\r\n>From y\r\n", b"A: b\r\n\r\n" + b"From - \r\nSubject: z\r\n\r\n" * 5, b"\0\r\n\r\n\0",
    b"A: " + b"x" * 600_000 + b"\r\nStatus: RO\r\n\r\nbody\r\n", b"A: b\r\n" * 100_000, b"x" * 524_288 + b"\r\n\r\nbody",
]  # fmt: skip


def test_what_a_client_appends_comes_back_octet_by_octet(worker, file):
    placed = worker.put("INBOX", *ODD, flags=frozenset({"\\Seen"}))
    expected = dict(zip(placed.uids, ODD, strict=True))

    def check(one: Worker, name: str = "INBOX") -> None:
        found = one.texts(name)
        assert [text for uid, text in found.items() if name != "INBOX" or uid in expected] == ODD

    check(worker)
    deliver(file, text(9))
    os.utime(file, (1, 1))  # all of it is read again
    check(worker)
    mailbox = worker.open()
    mailbox.change_flags(list(expected), FlagChange.ADD, frozenset({"k" * 60}))
    mailbox.close()  # and written again
    check(worker)
    worker.ann.create("Copies")
    worker.open().copy(list(expected), "Copies")
    check(worker, "Copies")
    worker.store.close()
    for path in (file.parent / "ann.folders").glob("imapd-*"):
        path.unlink()
    other = Worker(file, kinds=Kinds(root=str(file.parent)))
    assert [one for one in other.texts().values() if one in ODD] == ODD
    other.store.close()


def test_a_text_whose_last_line_has_no_end_keeps_its_uid_when_mail_comes_behind_it(worker, file):
    text = b"Subject: no end\r\n\r\nlast"
    first = worker.put("INBOX", text).uids[0]
    second = worker.put("INBOX", text).uids[0]
    with open(file, "ab") as mbox:
        mbox.write(b"\nFrom ann@example.org Tue Nov 14 22:13:20 2023\nSubject: more\n\nbody\n")
    found = worker.texts()
    assert {uid: found[uid] for uid in list(found)[-3:]} == {
        **dict.fromkeys((first, second), text),
        second + 1: b"Subject: more\r\n\r\nbody\r\n",
    }


def test_a_torn_append_is_cut_out_also_where_somebody_wrote_behind_it(worker, file):
    worker.look()
    before = file.read_bytes()
    torn = (FROM + b"Sta").ljust(4_999, b"\0") + b"\n"
    core = next(iter(worker.store._cores.values()))
    for behind, found in ((b"", {1: 1, 2: 2, 3: 3}), (mbox(text(8)), {1: 1, 2: 2, 3: 3, 4: 8})):
        file.write_bytes(before + torn + behind)
        core.locked(lambda bench: bench.index.update_box(1, cur_stamp=f"adding:{len(before)}:5000"))
        assert subjects(worker) == found
        assert file.read_bytes() == before + behind
    # What another program has put there since is left alone.
    file.write_bytes(before + mbox(text(8), text(9)))
    core.locked(lambda bench: bench.index.update_box(1, cur_stamp=f"adding:{len(before)}:5000"))
    assert subjects(worker) == {1: 1, 2: 2, 3: 3, 4: 8, 5: 9}


def test_a_mail_file_that_another_program_has_locked_is_waited_for(file):
    worker = Worker(file)
    worker.look()
    with open(file, "r+b") as held, pytest.raises(FileLocked):
        take(held.fileno(), ("fcntl",), write=True)
        worker.put()
    worker.put()
    assert len(worker.texts()) == 4
    assert sum(worker.loop.sleeps) > 20
    worker.store.close()


def test_delivery_agents_are_not_kept_out_of_a_mailbox_that_messages_are_copied_from(worker, file, monkeypatch):
    """For maildrop sleeps five seconds where it finds a dotlock."""
    worker.ann.create("Archive")
    locks = []
    add = mboxchanges._Adding.run

    def run(*arguments):
        locks.append([path.name for path in file.parent.rglob("*.lock") if path.name != "imapd.lock"])
        return add(*arguments)

    monkeypatch.setattr(mboxchanges._Adding, "run", run)
    mailbox = worker.open()
    mailbox.copy([1], "Archive")
    mailbox.move([2], "Archive")
    mailbox.copy([1], "INBOX")
    assert locks == [["Archive.lock"], ["Archive.lock"], ["ann.lock"]]
    mailbox.close()
    assert sorted(subjects(worker).values()) == [1, 1, 3]
    assert sorted(subjects(worker, "Archive").values()) == [1, 2]


def test_who_was_kept_from_looking_is_rung_to_look_once_more(worker, file):
    mailbox = worker.open()
    assert len(mailbox.snapshot().uids) == 3
    rung = file.with_name("ann.folders") / "tmp"
    os.utime(rung, (1_000, 1_000))
    deliver(file, text(4))
    with open(file, "r+b") as held:
        take(held.fileno(), ("fcntl",), write=True)
        assert len(mailbox.snapshot().uids) == 3
    assert rung.stat().st_mtime > 1_000  # for nothing else may ever happen to the file
    assert len(mailbox.snapshot().uids) == 4
    mailbox.close()


def test_what_came_to_a_file_that_a_crash_left_half_written_is_not_lost(worker, file, monkeypatch):
    mailbox = worker.open()
    mailbox.snapshot()
    mailbox.change_flags([1], FlagChange.ADD, frozenset({"\\Deleted"}))

    write = mboxrewrite.pwrite_all

    def write_half(fd, data, offset):
        if offset or len(data) != mboxrewrite._HEAD:
            write(fd, data[: len(data) // 2], offset)
            raise Crash
        write(fd, data, offset)

    monkeypatch.setattr(mboxrewrite, "pwrite_all", write_half)
    with open(file, "ab") as late:
        with pytest.raises(Crash):
            mailbox.expunge(None)
        assert not file.read_bytes().endswith(mbox(text(2), text(3)))
        late.write(mbox(text(8)))
    monkeypatch.undo()
    other = again(worker)
    assert subjects(other) == {2: 2, 3: 3, 4: 8}
    assert file.read_bytes().count(b"From ") == 3
    other.store.close()


def test_a_message_is_there_for_its_readers_though_something_is_delivered_before_each_of_them(
    worker, file, monkeypatch
):
    mailbox = worker.open()
    uids = list(mailbox.snapshot().uids)
    opened = mboxread.open_seen

    def delivered_first(*arguments):
        deliver(file, text(9))
        return opened(*arguments)

    monkeypatch.setattr(mboxread, "open_seen", delivered_first)
    for uid in uids * 2:
        with contextlib.closing(mailbox.message(uid)) as message:
            assert b"Subject: %d" % uid in message.read()
    monkeypatch.setattr(mboxread, "_opened", _mutt_was_first(file, mboxread._opened))
    with contextlib.closing(mailbox.message(3)) as message:
        assert b"Subject: 3" in message.read()
    mailbox.close()


def _mutt_was_first(file: Path, opened):
    """Somebody rewrites the file, so that its messages move, in the moment before it is locked to read one."""
    rewritten = []

    def open_after(*arguments):
        if not rewritten:
            rewritten.append(True)
            file.write_bytes(with_fields(b"Status: RO\n", mbox(text(1))) + file.read_bytes()[len(mbox(text(1))) :])
        return opened(*arguments)

    return open_after


def test_a_long_message_that_moves_while_it_is_read_is_read_to_its_end(worker, file):
    long = text(7, b"".join(b"%07d\r\n" % number for number in range(200_000)))
    worker.put("INBOX", long)
    mailbox = worker.open()
    uid = mailbox.snapshot().uids[-1]
    message = mailbox.message(uid)
    chunks = message.chunks()
    read = next(chunks)
    mailbox.change_flags([1], FlagChange.ADD, frozenset({"\\Deleted"}))
    mailbox.expunge(None)
    assert read + b"".join(chunks) == to_wire(long)
    message.close()
    message = mailbox.message(uid)
    chunks = message.chunks()
    next(chunks)
    file.write_bytes(mbox(text(2)))
    with pytest.raises(Corrupt, match="removed"):
        b"".join(chunks)
    message.close()
    mailbox.close()


def test_a_file_that_is_free_for_some_milliseconds_twenty_times_a_second_is_had_soon(worker, file, monkeypatch):
    worker.look()
    loop, lock = worker.loop, file.with_name("ann.lock")
    began, sleep = loop.monotonic(), loop.sleep

    def sleep_beside_deliveries(seconds):
        sleep(seconds)
        if (loop.monotonic() - began) % 0.05 < 0.04:
            lock.write_bytes(b"0")
        else:
            lock.unlink(missing_ok=True)

    lock.write_bytes(b"0")
    monkeypatch.setattr(loop, "sleep", sleep_beside_deliveries)
    worker.put()
    assert loop.monotonic() - began < 0.1


# Trees


def test_a_directory_of_mboxes_is_an_account(tmp_path):
    home = tmp_path / "ann"
    (home / "Work.sbd" / "Deep").mkdir(parents=True)
    (home / "Plain").mkdir()
    for path in ("mbox", "Work", "Work.sbd/A", "Work.sbd/Deep/B", "Plain/C", "Gr\u00fcn", "&U,BTFw-"):
        (home / path).write_bytes(mbox(text(1)))
    for path in ("notes.txt", "Work.msf", ".hidden", "x.lock", "dovecot.index"):
        (home / path).write_bytes(b"no mail\n")
    (home / "empty").touch()
    worker = Worker(home)
    found = [entry.name for entry in worker.ann.mailboxes() if entry.selectable]
    assert found == ["INBOX", "Gr\u00fcn", "Plain/C", "Work", "Work/A", "Work/Deep/B", "empty", "\u53f0\u5317"]
    assert all(subjects(worker, name) == ({} if name == "empty" else {1: 1}) for name in found)
    worker.ann.create("Plain/D")
    assert (home / "Plain" / "D").exists()
    worker.ann.rename("Work", "Play")
    assert subjects(worker, "Play/Deep/B") == {1: 1}
    assert not (home / "Work.sbd").exists()
    worker.ann.delete("Play")
    assert subjects(worker, "Play/A") == {1: 1}
    worker.store.close()


@pytest.mark.parametrize(
    "name",
    [
        "tmp",
        "imapd-index",
        "subscriptions",
        "x.lock",
        "a.msf",
        "b.sbd",
        ".hidden",
        "Dovecot",
        "dovecot",
        "mbox",
        "v1.0",
        "Gr\u00fcn",
        "a&b",
        "INBOX2",
    ],
)
def test_any_name_finds_a_file(tmp_path, name):
    assert name_of(level_to_disk(name, True)) == name
    worker = Worker(tmp_path / "ann", kinds=Kinds("mbox"))
    worker.ann.create(name)
    worker.ann.create(f"{name}/{name}")
    worker.put(f"{name}/{name}")
    assert {entry.name for entry in worker.ann.mailboxes()} == {"INBOX", name, f"{name}/{name}"}
    other = again(worker)
    assert list(other.texts(f"{name}/{name}").values()) == [WIRE]
    other.ann.delete(f"{name}/{name}")
    other.ann.delete(name)
    with pytest.raises(NoSuchMailbox):
        other.ann.status(name)
    other.store.close()


def test_a_kind_that_is_set_refuses_the_other(tmp_path):
    for name, kinds in (("a", Kinds("mbox")), ("b", Kinds("maildir"))):
        Worker(tmp_path / name, kinds=kinds).store.close()
        other = Kinds("maildir" if kinds.kind == "mbox" else "mbox")
        with pytest.raises(Denied):
            Worker(tmp_path / name, kinds=other)
        made = Worker(tmp_path / name)  # by looking
        made.put()
        made.store.close()
    assert (tmp_path / "a" / "inbox").read_bytes().startswith(b"From ")


def test_an_inbox_that_was_removed_comes_back_empty(worker, file):
    worker.look()
    file.unlink()
    assert subjects(worker) == {}
    assert file.read_bytes() == b""
    deliver(file, text(7))
    assert list(subjects(worker).values()) == [7]


@pytest.mark.parametrize("kept", [0, 60, 200])
def test_what_a_power_cut_left_of_an_append_is_cut_off(worker, file, monkeypatch, kept):
    before, size = worker.texts(), file.stat().st_size

    def cut(*arguments):
        raise Crash

    monkeypatch.setattr("imapd.mailstore.mboxchanges._Adding._commit", cut)
    with pytest.raises(Crash):
        worker.put("INBOX", WIRE)
    worker.crash()
    written = file.read_bytes()
    file.write_bytes(written[: size + kept].ljust(len(written), b"\0"))
    other = Worker(file, kinds=Kinds(root=str(file.parent)))
    assert other.texts() == before
    assert file.stat().st_size == size
    other.store.close()


def test_a_mailbox_of_which_a_power_cut_left_zeros_is_a_mailbox_still(worker, file):
    worker.ann.create("Plans")
    path = file.parent / "ann.folders" / "Plans"
    path.write_bytes(bytes(4096))
    assert "Plans" in {entry.name for entry in worker.ann.mailboxes()}
