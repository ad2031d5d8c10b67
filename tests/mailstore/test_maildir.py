"""The Maildir store among other programs: deliveries, renames and removals behind its back, odd files, odd names."""

import errno
import gc
import os
import shutil
import stat
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imapd.mailstore import maildir
from imapd.mailstore.choice import Kinds
from imapd.mailstore.diskname import directory_of, name_of
from imapd.mailstore.errors import BadMailboxName, Denied, Expunged, Gone, NoSuchAccount, Retry, StoreError
from imapd.mailstore.local import LocalStore
from imapd.mailstore.lock import AccountLock
from imapd.mailstore.maildirformat import MaildirFormat
from imapd.mailstore.message import to_disk, to_wire
from imapd.mailstore.store import Owner
from imapd.model import names
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import MAIL, WIRE, Worker, deliver, files
from tests.support.loop import PlainLoop


@pytest.fixture
def home(tmp_path):
    return tmp_path / "ann"


@pytest.fixture
def ann(home):
    worker = Worker(home)
    yield worker
    worker.store.close()


# Names


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8), min_size=1, max_size=4
    )
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_every_name_comes_back_from_its_directory(levels):
    name = names.canonical("/".join(levels))
    try:
        names.check_new(name)
        directory = directory_of(name)
    except (names.BadName, BadMailboxName):
        return
    import unicodedata

    name = unicodedata.normalize("NFC", name)
    if not name.isprintable() or name == "INBOX":
        return
    directory = directory_of(name)
    assert b"/" not in directory and b"\0" not in directory and directory.startswith(b".") and len(directory) < 256
    assert name_of(directory) == name


def test_names_lie_where_dovecot_looks_for_them():
    assert directory_of("INBOX") == b""
    assert directory_of("Work/2024") == b".Work.2024"
    assert directory_of("Entw\u00fcrfe") == b".Entw&APw-rfe"
    assert directory_of("v1.0/a") == b".v1&AC4-0.a"
    assert name_of(b".Entw\xc3\xbcrfe") == "Entw\u00fcrfe"
    assert name_of(b".R&D") == "R&D"
    assert name_of(b".a..b") is None and name_of(b"cur") is None


def test_folders_of_other_programs_appear_and_links_do_not(ann, home, tmp_path):
    maildir.make_folder(os.fsencode(home / ".Lists.Python"), 0o700)
    (home / ".plain").mkdir()
    outside = tmp_path / "outside"
    maildir.make_folder(os.fsencode(outside), 0o700)
    (home / ".link").symlink_to(outside)
    listed = {entry.name: entry.selectable for entry in ann.ann.mailboxes()}
    assert listed == {"INBOX": True, "Lists": False, "Lists/Python": True}
    deliver(home, folder=".Lists.Python")
    assert ann.ann.status("Lists/Python").messages == 1
    os.rename(home / ".Lists.Python", home / ".Lists.Perl")
    assert not ann.ann.exists("Lists/Python") and ann.ann.exists("Lists/Perl")


def test_two_directories_of_one_name_are_one_mailbox(ann, home):
    maildir.make_folder(os.fsencode(home / ".B&APw-ro"), 0o700)
    maildir.make_folder(os.fsencode(home) + b"/.B\xc3\xbcro", 0o700)
    assert [entry.name for entry in ann.ann.mailboxes()] == ["INBOX", "B\u00fcro"]
    deliver(home, folder=".B&APw-ro")
    assert ann.ann.status("B\u00fcro").messages == 1


def test_uidvalidity_rises_when_a_name_is_used_again_and_the_clock_runs_back(ann):
    ann.ann.create("A")
    before = ann.ann.status("A").uidvalidity
    ann.ann.delete("A")
    ann.loop._now = 1_000.0
    ann.ann.create("A")
    assert ann.ann.status("A").uidvalidity > before


# What other programs do


def test_deliveries_get_uids_in_their_order_and_move_to_cur(ann, home):
    deliver(home, name="1600000002.M5P1.mx")
    deliver(home, name="1600000001.M9P1.mx")
    deliver(home, b"x: 1\n\nfirst\n", name="1600000001.M1P1.mx")
    assert list(ann.look()) == [1, 2, 3]
    assert ann.texts()[1] == b"x: 1\r\n\r\nfirst\r\n"
    assert files(home)["new"] == []
    assert files(home)["cur"][0] == "1600000001.M1P1.mx:2,"
    deliver(home, name="1500000000.M1P1.mx")
    assert list(ann.look()) == [1, 2, 3, 4]


def test_looking_only_leaves_files_in_new(ann, home):
    path = deliver(home)
    assert list(ann.look(read_only=True)) == [1]
    assert ann.ann.status("INBOX").recent == 1
    assert path.exists()
    assert list(ann.look()) == [1]
    assert not path.exists()


def test_the_internal_date_is_that_of_the_file(ann, home):
    os.utime(deliver(home), (1_234_567_890, 1_234_567_890))
    assert list(ann.open().snapshot().dates) == [1_234_567_890]


def test_flags_that_another_program_set_are_seen(ann, home):
    deliver(home)
    mailbox = ann.open()
    before = mailbox.snapshot()
    path = next((home / "cur").iterdir())
    path.rename(str(path) + "FS")
    after = mailbox.snapshot()
    assert after.flags_of(0) == {"\\Flagged", "\\Seen"}
    assert after.highestmodseq > before.highestmodseq
    assert before.flags_of(0) == frozenset()


def beat_us_to(path, other, monkeypatch):
    """Another program renames a file just before our own rename, after our commit."""
    rename = maildir.rename_aside

    def beaten(source, target):
        if os.path.exists(path):
            path.rename(other)
        return rename(source, target)

    monkeypatch.setattr(maildir, "rename_aside", beaten)


def test_flags_are_merged_with_what_another_program_changed_meanwhile(ann, home, monkeypatch):
    ann.put(flags=frozenset({"\\Seen"}))
    mailbox = ann.open()
    mailbox.snapshot()
    path = next((home / "cur").iterdir())

    beat_us_to(path, str(path).replace(":2,S", ":2,RS"), monkeypatch)
    mailbox.change_flags([1], FlagChange.ADD, frozenset({"\\Flagged"}))
    ann.loop.run_spawned()
    monkeypatch.undo()
    assert mailbox.snapshot().flags_of(0) == {"\\Seen", "\\Flagged", "\\Answered"}
    ann.loop.run_spawned()
    assert files(home)["cur"][0].endswith(":2,FRS")


def test_a_message_that_another_program_renames_while_it_is_moved_does_not_stay_behind(ann, home, monkeypatch):
    ann.put(flags=frozenset({"\\Seen", "Work"}))
    ann.ann.create("Archive")
    mailbox = ann.open()
    mailbox.snapshot()
    path = next((home / "cur").iterdir())
    assert path.name.endswith(":2,Sa")

    beat_us_to(path, str(path).replace(":2,Sa", ":2,Fa"), monkeypatch)
    assert mailbox.move([1], "Archive").uids == (1,)
    monkeypatch.undo()
    assert ann.look() == {} and files(home)["cur"] == []
    assert ann.look("Archive") == {1: {"\\Flagged", "Work"}}
    assert ann.texts("Archive") == {1: WIRE}


def test_keywords_are_letters_with_dovecots_table(ann, home):
    ann.put(flags=frozenset({"$Forwarded", "Work"}))
    table = (home / "dovecot-keywords").read_text()
    assert sorted(line.split()[1] for line in table.splitlines()) == ["$Forwarded", "Work"]
    assert files(home)["cur"][0].endswith(":2,ab")
    (home / "dovecot-keywords").write_text(table + "2 Later\n")
    path = next((home / "cur").iterdir())
    path.rename(str(path) + "c")
    assert ann.look()[1] == {"$Forwarded", "Work", "Later"}


def test_a_message_that_moves_leaves_the_letters_of_the_other_folder_behind(ann, home):
    """They mean other keywords there, or will: the message would have those too where its row has to be found again."""
    ann.ann.create("A")
    ann.put("INBOX", flags=frozenset({"Later"}))
    ann.put("INBOX", flags=frozenset({"Work"}))
    assert [name.rpartition(",")[2] for name in files(home)["cur"]] == ["a", "b"]
    ann.open().move([2], "A")
    assert [name.rpartition(",")[2] for name in files(home, ".A")["cur"]] == ["a"]


def test_letters_that_mean_nothing_to_us_are_kept(ann, home):
    deliver(home, name="1600000000.M1P1.mx:2,PS", place="cur")
    assert ann.look()[1] == {"\\Seen"}
    ann.open().change_flags([1], FlagChange.ADD, frozenset({"\\Flagged"}))
    ann.loop.run_spawned()
    assert files(home)["cur"] == ["1600000000.M1P1.mx:2,FPS"]


def test_a_message_marked_new_by_mutt_keeps_its_uid(ann, home):
    ann.put(flags=frozenset({"\\Seen"}))
    mailbox = ann.open()
    mailbox.snapshot()
    path = next((home / "cur").iterdir())
    path.rename(home / "new" / path.name.partition(":")[0])
    assert ann.look() == {1: frozenset()}


def test_a_removed_file_is_an_expunged_message(ann, home):
    ann.put("INBOX", WIRE, WIRE, WIRE)
    mailbox = ann.open()
    mailbox.snapshot()
    os.unlink(home / "cur" / files(home)["cur"][1])
    with pytest.raises(Expunged):
        mailbox.message(2)
    assert list(mailbox.snapshot().uids) == [1, 3]
    assert ann.ann.status("INBOX").uidnext == 4


def test_a_file_renamed_since_the_listing_is_found(ann, home):
    ann.put()
    mailbox = ann.open()
    mailbox.snapshot()
    path = next((home / "cur").iterdir())
    path.rename(str(path) + "S")
    assert mailbox.message(1).read() == WIRE
    assert mailbox.snapshot().flags_of(0) == {"\\Seen"}


def test_a_message_being_renamed_during_the_listing_is_not_gone(ann, home, monkeypatch):
    ann.put()
    mailbox = ann.open()
    mailbox.snapshot()
    path = next((home / "cur").iterdir())
    path.rename(str(path) + "S")
    listing, missed = maildir.listing, []

    def blinking(directory):
        found = listing(directory)
        if directory.endswith(b"/cur") and not missed:
            missed.append(found.pop())
        return found

    monkeypatch.setattr(maildir, "listing", blinking)
    assert list(mailbox.snapshot().uids) == [1]
    assert missed


def test_a_duplicate_of_a_file_is_a_message_of_its_own_and_neither_is_lost(ann, home):
    ann.put()
    ann.look()
    path = next((home / "cur").iterdir())
    (home / "cur" / (path.name + "S")).write_bytes(b"A: 2\n\nother\n")
    assert len(ann.look()) == 2
    mailbox = ann.open()
    mailbox.change_flags([1], FlagChange.ADD, frozenset({"\\Seen"}))
    mailbox.change_flags([2], FlagChange.REMOVE, frozenset({"\\Seen"}))
    assert ann.look() == {1: frozenset({"\\Seen"}), 2: frozenset()}
    assert ann.texts() == {1: WIRE, 2: b"A: 2\r\n\r\nother\r\n"}


def test_a_file_that_a_listing_has_twice_is_one_message(ann, home, monkeypatch):
    deliver(home, name="9.M1P1.mx")
    deliver(home, name="8.M1P1.mx")
    assert list(ann.look()) == [1, 2]
    before = "9.M1P1.mx:2,"
    (home / "cur" / before).rename(home / "cur" / "9.M1P1.mx:2,S")
    listing = maildir.listing

    def seen_twice(directory):
        monkeypatch.setattr(maildir, "listing", listing if directory.endswith(b"cur") else seen_twice)
        return listing(directory) + ([before.encode()] if directory.endswith(b"cur") else [])

    monkeypatch.setattr(maildir, "listing", seen_twice)
    assert list(ann.look()) == [1, 2]
    assert ann.look() == {1: frozenset(), 2: frozenset({"\\Seen"})}


def test_a_message_marked_new_while_new_is_listed_keeps_its_uid(ann, home, monkeypatch):
    deliver(home, name="9.M1P1.mx")
    ann.look()
    ann.loop.advance(10)
    ann.look()
    deliver(home, name="8.M1P1.mx")
    listing = maildir.listing

    def marked(directory):
        monkeypatch.setattr(maildir, "listing", listing)
        (home / "cur" / "9.M1P1.mx:2,").rename(home / "new" / "9.M1P1.mx")
        return listing(directory)

    monkeypatch.setattr(maildir, "listing", marked)
    ann.look()
    assert list(ann.look()) == [1, 2]


def test_copies_into_the_same_mailbox_come_behind_what_is_taken_in_for_them(ann, home):
    ann.put()
    mailbox = ann.open()
    mailbox.snapshot()
    deliver(home)
    (moved,) = (home / "cur").iterdir()
    moved.rename(f"{moved}F")
    placed = mailbox.copy([1], "INBOX")
    assert placed.uids == (3,)
    assert list(ann.look()) == [1, 2, 3]


def test_an_expunged_file_that_listings_miss_at_first_does_not_come_back(ann, home, monkeypatch):
    ann.put("INBOX", WIRE, flags=frozenset({"\\Deleted"}))
    mailbox = ann.open()
    mailbox.snapshot()
    (moved,) = (home / "cur").iterdir()
    moved.rename(f"{moved}X")
    listing = maildir.listing

    def missed(directory):
        monkeypatch.setattr(maildir, "listing", missed if directory.endswith(b"new") else listing)
        return []

    monkeypatch.setattr(maildir, "listing", missed)
    assert mailbox.expunge(None) == (1,)
    assert files(home) == {"new": [], "cur": [], "tmp": []}


def test_an_expunged_file_that_was_renamed_meanwhile_does_not_come_back(ann, home, monkeypatch):
    ann.put(flags=frozenset({"\\Deleted"}))
    mailbox = ann.open()
    mailbox.snapshot()
    path = next((home / "cur").iterdir())
    path.rename(str(path) + "X")
    assert mailbox.expunge(None) == (1,)
    assert files(home)["cur"] == [] and ann.look() == {}


def test_a_deleted_folder_is_gone_for_who_has_it_open(ann, home):
    ann.ann.create("A")
    mailbox = ann.open("A")
    mailbox.snapshot()
    import shutil

    shutil.rmtree(home / ".A")
    with pytest.raises(Gone):
        mailbox.snapshot()


# Odd files


def test_links_fifos_and_directories_are_no_messages(ann, home, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"not yours")
    ann.look()
    (home / "new" / "1.link").symlink_to(secret)
    os.mkfifo(home / "new" / "2.fifo")
    (home / "cur" / "3.dir:2,").mkdir()
    (home / "cur" / ".hidden").write_bytes(b"x")
    deliver(home)
    assert ann.texts() == {1: WIRE}


def test_a_message_replaced_by_a_link_or_fifo_is_expunged(ann, home, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"not yours")
    ann.put("INBOX", WIRE, WIRE)
    mailbox = ann.open()
    mailbox.snapshot()
    first, second = sorted((home / "cur").iterdir())
    first.unlink()
    first.symlink_to(secret)
    second.unlink()
    os.mkfifo(second)
    for uid in (1, 2):
        with pytest.raises(Expunged):
            mailbox.message(uid)


@pytest.mark.parametrize(
    "text", [b"a: 1\n\nb\n", b"a: 1\r\n\r\nb\r\n", b"a: 1\n\r\nb\r\nc\n", b"a\rb\r\r\n\r", b"\n", b""]
)
def test_any_line_ends_go_out_as_crlf_and_sizes_are_true(ann, home, text):
    deliver(home, text)
    (read,) = ann.texts().values()
    assert b"\n" not in read.replace(b"\r\n", b"")
    assert read.replace(b"\r\n", b"\n") == text.replace(b"\r\n", b"\n")
    assert list(ann.open().snapshot().sizes) == [len(read)]


@pytest.mark.parametrize("large", [False, True])
def test_a_name_that_lies_about_the_size_is_found_out(ann, home, large):
    text = b"a: 1\n\n" + b"line\n" * (200_000 if large else 3)
    wire = text.replace(b"\n", b"\r\n")
    deliver(home, text, name=f"1600000000.M1P1.mx,S={len(text)},W={len(text) + 1}")
    mailbox = ann.open()
    assert list(mailbox.snapshot().sizes) == [len(text) + 1]
    message = mailbox.message(1)
    assert message.size == len(wire) and b"".join(message.chunks()) == wire
    assert list(mailbox.snapshot().sizes) == [len(wire)]


def test_true_sizes_in_the_name_are_taken_without_reading(ann, home, monkeypatch):
    deliver(home, MAIL, name=f"1600000000.M1P1.mx,S={len(MAIL)},W={len(WIRE)}")
    monkeypatch.setattr(maildir, "measure", None)
    assert list(ann.open().snapshot().sizes) == [len(WIRE)]


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bc"])).map(b"".join), st.integers(1, 9))
def test_text_with_crlf_comes_back_octet_by_octet(text, piece):
    assert to_wire(to_disk(text)) == to_wire(text)
    disk = to_disk(text)
    read, last = b"", -1
    for start in range(0, len(disk), piece):
        part = disk[start : start + piece]
        read += to_wire(part, last)
        last = part[-1]
    assert read == to_wire(text)


def test_spools_cut_anywhere_give_the_same_file(ann, monkeypatch):
    monkeypatch.setattr("imapd.mailstore.message._BUFFER", 1)
    from imapd.mailstore.store import Incoming

    text = b"a: 1\r\n\r\nx\r\r\ny\r\r\r\nz\nlone\rcr\r"
    spool = ann.ann.spool()
    for at in range(len(text)):
        spool.write(text[at : at + 1])
    ann.ann.append("INBOX", [Incoming(spool)])
    assert ann.texts() == {1: to_wire(text)}
    assert list(ann.open().snapshot().sizes) == [len(to_wire(text))]


def test_a_large_message_streams_with_its_header_read_alone(ann):
    text = b"a: 1\r\n" * 10_000 + b"\r\n" + b"line\r\n" * 200_000
    ann.put("INBOX", text)
    message = ann.open().message(1)
    assert message.header() == b"a: 1\r\n" * 10_000 + b"\r\n"
    pieces = list(message.chunks())
    assert b"".join(pieces) == text and max(map(len, pieces)) <= 128 * 1024


# Accounts


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EOPNOTSUPP])
def test_what_is_not_in_memory_is_read_in_a_disk_thread(ann, monkeypatch, code):
    texts = [WIRE, b"a: b\r\n\r\n" + b"line\r\n" * 100_000]
    ann.put("INBOX", *texts)
    ann.look()
    ann.loop.offloaded.clear()
    assert list(ann.texts().values()) == texts
    assert os.pread not in ann.loop.offloaded

    def refused(*_):
        raise OSError(code, "not now")

    monkeypatch.setattr(os, "preadv", refused)
    assert list(ann.texts().values()) == texts
    assert (os.pread in ann.loop.offloaded) == (code == errno.EAGAIN)


def test_a_file_whose_name_has_no_room_for_flags_gets_another_one(ann, home, caplog):
    deliver(home, name="9.M1P1." + "x" * 248)
    deliver(home, name="8.M1P1." + "y" * 245, place="cur")
    assert list(ann.look()) == [1, 2]
    ann.open().change_flags([1, 2], FlagChange.ADD, frozenset({"\\Seen", "\\Flagged", "\\Answered"}))
    ann.loop.run_spawned()
    assert files(home)["new"] == [] and all(name.endswith(":2,FRS") for name in files(home)["cur"])
    assert list(ann.look()) == [1, 2] and len(ann.texts()) == 2
    assert "put off" not in caplog.text


def test_an_mbox_where_maildirs_are_set_or_a_relative_home_is_refused(tmp_path):
    store = LocalStore(PlainLoop(), kinds=Kinds("maildir"))
    mbox = tmp_path / "mbox"
    mbox.write_bytes(b"From x\n")
    with pytest.raises(Denied, match="mbox"):
        store.open_account(Owner("i", "ann", str(mbox)))
    with pytest.raises(NoSuchAccount):
        store.open_account(Owner("i", "ann", "ann"))
    with pytest.raises(NoSuchAccount):
        LocalStore(PlainLoop(), create=False).open_account(Owner("i", "ann", str(tmp_path / "none")))


def test_a_new_account_has_the_special_mailboxes_and_private_modes(home):
    worker = Worker(home, special_use=[("\\Sent", "Sent"), ("\\Drafts", "My/Drafts")])
    entries = {entry.name: entry.special_use for entry in worker.ann.mailboxes()}
    assert entries == {"INBOX": (), "Sent": ("\\Sent",), "My": (), "My/Drafts": ("\\Drafts",)}
    worker.put()
    for path in home.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_handles_are_closed_with_the_store(home):
    gc.collect()  # what other tests left open
    before = len(os.listdir("/proc/self/fd"))
    worker = Worker(home)
    other = worker.store.open_account(Owner("id-ann", "ann", str(home)))
    mailbox = other.open("INBOX")
    worker.put()
    list(mailbox.descriptions([1]))
    worker.ann.close()
    worker.ann.close()
    assert len(mailbox.snapshot().uids) == 1
    other.close()
    mailbox.close()
    mailbox.close()
    worker.store.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_accounts_that_were_not_used_for_long_doze(tmp_path):
    loop = PlainLoop()
    store = LocalStore(loop, awake=2)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    accounts = [store.open_account(Owner(f"id-{n}", f"p{n}", str(tmp_path / f"p{n}"))) for n in range(2)]
    mailboxes = [account.open("INBOX") for account in accounts]
    for mailbox in mailboxes:
        mailbox.snapshot()
    two_awake = len(os.listdir("/proc/self/fd"))
    for n in range(2, 6):
        store.open_account(Owner(f"id-{n}", f"p{n}", str(tmp_path / f"p{n}"))).close()
        loop.run_spawned()
    assert len(os.listdir("/proc/self/fd")) <= two_awake
    deliver(tmp_path / "p0", MAIL)
    assert [len(mailbox.snapshot().uids) for mailbox in mailboxes] == [1, 0]
    assert accounts[0].status("INBOX").messages == 1
    for one in (*mailboxes, *accounts):
        one.close()
    store.close()
    loop.run_spawned()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_account_that_was_kept_open_is_checked_when_its_index_was_changed_meanwhile(home):
    worker = Worker(home)
    worker.put()
    worker.store.close()
    copy = (home / "imapd-index.sqlite").read_bytes()
    worker = Worker(home)
    worker.put()
    mailbox = worker.open()
    told = mailbox.snapshot()
    mailbox.close()
    worker.ann.close()
    (home / "imapd-index.sqlite").write_bytes(copy)  # an older copy is put back, into the same file
    for suffix in ("-wal", "-shm"):
        (home / f"imapd-index.sqlite{suffix}").unlink(missing_ok=True)
    ann = worker.store.open_account(Owner("id-ann", "ann", str(home)))
    mailbox = ann.open("INBOX")
    fresh = mailbox.snapshot()
    assert len(fresh.uids) == 2
    assert fresh.uidvalidity > told.uidvalidity or fresh.uids == told.uids
    mailbox.close()


def test_links_in_place_of_a_maildirs_own_files_are_not_followed(home, tmp_path):
    worker = Worker(home)
    worker.put()
    worker.store.close()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "old").write_text("old")
    os.utime(outside / "old", (1, 1))
    (home / "imapd-index.sqlite-wal").symlink_to(outside / "wal")
    (home / "imapd-index.sqlite-shm").symlink_to(outside / "shm")
    assert len(Worker(home).texts()) == 1
    for path in (home / "tmp").iterdir():
        path.unlink()
    (home / "tmp").rmdir()
    (home / "tmp").symlink_to(outside)
    with pytest.raises(StoreError):
        Worker(home).put()
    assert os.listdir(outside) == ["old"]
    (tmp_path / "link").symlink_to(home)
    with pytest.raises(NoSuchAccount):
        Worker(tmp_path / "link")


def test_a_fifo_for_the_mark_of_a_folder_holds_nobody_up(ann, home):
    (home / ".B").mkdir()
    os.mkfifo(home / ".B" / "maildirfolder")
    ann.ann.create("B")
    assert ann.ann.status("B").messages == 0


def test_a_tmp_that_others_removed_is_made_again(ann, home):
    (home / "tmp").rmdir()
    ann.put()
    assert len(ann.look()) == 1


def test_an_account_that_is_removed_is_gone_for_who_has_it_open_and_can_begin_anew(ann, home):
    ann.put()
    mailbox = ann.open()
    mailbox.snapshot()
    shutil.rmtree(home)
    with pytest.raises(Gone):
        mailbox.snapshot()
    with pytest.raises(Gone):
        ann.ann.status("INBOX")
    assert not home.exists()
    again = ann.store.open_account(Owner("id-ann", "ann", str(home)))
    assert again.status("INBOX").messages == 0
    with pytest.raises(Gone):
        mailbox.snapshot()


def test_old_files_in_tmp_and_deleted_folders_are_swept(ann, home):
    ann.store.close()
    old, young = home / "tmp" / "old", home / "tmp" / "young"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    maildir.make_folder(os.fsencode(home / "imapd-deleted-7"), 0o700)
    Worker(home, PlainLoop(time.time() + 37 * 3600)).ann.subscribe("INBOX")
    assert not old.exists() and not (home / "imapd-deleted-7").exists()


def test_subscriptions_are_in_dovecots_file(ann, home):
    ann.ann.subscribe("v1.0/Entw\u00fcrfe")
    ann.ann.subscribe("INBOX")
    assert (home / "subscriptions").read_bytes() == b"V\t2\n\nv1.0\tEntw&APw-rfe\nINBOX\n"
    (home / "subscriptions").write_bytes(b"INBOX\nWork.2024\nWork.2024\n")
    ann.ann.unsubscribe("INBOX")
    assert {entry.name for entry in ann.ann.mailboxes() if entry.subscribed} == {"Work/2024"}


def test_copies_are_hard_links_with_their_own_flags(ann, home):
    ann.ann.create("B")
    ann.put(flags=frozenset({"Work"}), date=1_000_000)
    placed = ann.open().copy([1], "B")
    assert placed.uids == (1,) and placed.sources == (1,)
    (source,), (target,) = (home / "cur").iterdir(), (home / ".B" / "cur").iterdir()
    assert source.stat().st_ino == target.stat().st_ino
    ann.open("B").change_flags([1], FlagChange.ADD, frozenset({"\\Seen"}))
    assert ann.look() == {1: frozenset({"Work"})}
    assert ann.look("B") == {1: frozenset({"Work", "\\Seen"})}
    assert list(ann.open("B").snapshot().dates) == [1_000_000]


def test_copies_are_made_also_where_another_program_renames_the_file_again_and_again(ann, home, monkeypatch):
    ann.put()
    link, flags = os.link, iter("SFR")

    def renamed_before(source, target, **how):
        flag = next(flags, None)
        if flag is not None:
            (name,) = os.listdir(home / "cur")
            os.rename(home / "cur" / name, home / "cur" / (name.split(":")[0] + f":2,{flag}"))
        return link(source, target, **how)

    monkeypatch.setattr(os, "link", renamed_before)
    placed = ann.open().copy([1], "INBOX")
    assert next(flags, None) is None
    assert len(placed.uids) == 1 and len(os.listdir(home / "cur")) == 2


def test_copies_are_made_where_links_are_not_possible(ann, home, monkeypatch):
    import errno

    def refuse(*_arguments, **_named):
        raise OSError(errno.EMLINK, "too many links")

    ann.ann.create("B")
    ann.put(date=1_000_000)
    monkeypatch.setattr(os, "link", refuse)
    ann.open().copy([1], "B")
    assert ann.texts("B") == {1: WIRE}
    assert files(home)["tmp"] == []


def test_what_changed_while_the_lock_was_waited_for_is_young(home, monkeypatch):
    loop = PlainLoop(time.time())
    worker = Worker(home, loop)
    worker.put()
    core = worker.ann._core
    run = AccountLock.run

    def slow(lock, work, *deadline):
        loop.advance(1.0)
        os.utime(home / "new", (loop.time(), loop.time()))  # as a delivery of this moment
        return run(lock, work, *deadline)

    monkeypatch.setattr(AccountLock, "run", slow)
    worker.look(read_only=True)
    assert core.reader.box_named("INBOX").new_stamp == ""


def test_a_message_that_others_rename_all_the_time_is_not_taken_for_expunged(home, monkeypatch):
    worker = Worker(home)
    worker.put()
    mailbox = worker.open()
    names = iter(range(100))
    open_message = MaildirFormat.open_message

    def busy(times):
        left = [times]

        def opening(*arguments):
            if left[0]:
                left[0] -= 1
                (path,) = (home / "cur").iterdir()
                number = next(names)
                letters = "".join(letter for bit, letter in enumerate("DFRST") if number >> bit & 1)
                path.rename(path.with_name(f"{path.name.partition(':')[0]}:2,{letters}"))
                raise FileNotFoundError
            return open_message(*arguments)

        return opening

    monkeypatch.setattr(MaildirFormat, "open_message", busy(5))
    message = mailbox.message(1)
    assert message.read() == WIRE
    message.close()
    monkeypatch.setattr(MaildirFormat, "open_message", busy(99))
    with pytest.raises(Retry):
        mailbox.message(1)
    monkeypatch.setattr(MaildirFormat, "open_message", open_message)
    (path,) = (home / "cur").iterdir()
    path.unlink()
    with pytest.raises(Expunged):
        mailbox.message(1)


def test_a_file_that_has_to_be_waited_for_is_not_at_hand(tmp_path, monkeypatch):
    path = os.fsencode(tmp_path / "file")
    assert maildir.is_at_hand(path, 10)  # there is nothing to be read
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert maildir.is_at_hand(path, 10)
    assert not maildir.is_at_hand(path, 9)
    assert not maildir.is_at_hand(os.fsencode(tmp_path / "file" / "below"), 10)

    def preadv(fd, rooms, start, how):
        assert how == os.RWF_NOWAIT
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", preadv)
    assert not maildir.is_at_hand(path, 10)


@pytest.mark.parametrize("in_memory", [True, False])
def test_an_account_that_is_known_is_opened_in_a_thread_only_where_that_waits_for_the_disk(
    home, monkeypatch, in_memory
):
    worker = Worker(home)
    worker.put()
    worker.store.close()
    monkeypatch.setattr(maildir, "is_at_hand", lambda path, most: in_memory)
    loop = PlainLoop()
    Worker(home, loop)
    assert len(loop.offloaded) == (0 if in_memory else 1)


def test_names_do_not_repeat_at_the_same_time_nor_in_a_process_that_is_forked():
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, maildir.new_unique(1.5))
        os._exit(0)
    os.waitpid(child, 0)
    theirs, ours = os.read(read, 255), [maildir.new_unique(1.5) for _ in range(3)]
    os.close(read)
    os.close(write)
    # Also where it gets the number of a process that is gone.
    assert theirs.partition(b"R")[2] != ours[0].partition(b"R")[2]
    assert len({*ours, theirs}) == 4
