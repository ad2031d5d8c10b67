"""What another server left in a Maildir: its UIDs, keywords and subscriptions are taken over, and followed."""

import os

import pytest

from imapd.mailstore import sync
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import MAIL, Worker, deliver


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "ann"
    for part in ("tmp", "new", "cur"):
        (home / part).mkdir(parents=True)
    return home


def message(home, name, folder="", place="cur"):
    for part in ("tmp", "new", "cur"):
        (home / folder / part).mkdir(parents=True, exist_ok=True)
    return deliver(home, MAIL.replace(b"one", name.encode()), name, folder, place)


def dovecot(home, header, *lines, folder=""):
    """Write a list as Dovecot does: replaced as a whole."""
    path = home / folder / "fresh"
    path.write_text("\n".join([f"3 {header}", *lines, ""]))
    path.rename(home / folder / "dovecot-uidlist")


def uids(worker, name="INBOX"):
    """The UIDs by the subjects, UIDVALIDITY and UIDNEXT."""
    subjects = {uid: text.split(b"Subject: ")[1].split(b"\r")[0].decode() for uid, text in worker.texts(name).items()}
    status = worker.ann.status(name)
    return {subject: uid for uid, subject in subjects.items()}, status.uidvalidity, status.uidnext


def test_a_list_is_taken_over(home):
    for name in ("3.a", "1.b", "2.c"):
        message(home, f"{name}:2,S")
    message(home, "5.new", place="new")
    message(home, "4.unlisted:2,")
    dovecot(home, "V77 N50 G00", "7 :3.a", "9 W12 :1.b:2,", "30 :2.c", "31 :8.gone")
    worker = Worker(home)
    assert uids(worker) == ({"3.a:2,S": 7, "1.b:2,S": 9, "2.c:2,S": 30, "4.unlisted:2,": 50, "5.new": 51}, 77, 52)
    worker.put("INBOX", MAIL.replace(b"one", b"ours").replace(b"\n", b"\r\n"))
    assert uids(worker)[0]["ours"] == 52
    worker.crash()
    assert uids(Worker(home))[2] == 53


def test_later_mailboxes_have_a_higher_uidvalidity(home):
    far = 4_000_000_000
    dovecot(home, f"V{far} N1")
    worker = Worker(home)
    worker.ann.create("Later")
    assert worker.ann.status("INBOX").uidvalidity == far < worker.ann.status("Later").uidvalidity
    worker.ann.delete("Later")
    worker.crash()
    (home / "imapd-index.sqlite").unlink()
    worker = Worker(home)
    worker.ann.create("Later")
    assert worker.ann.status("Later").uidvalidity > far + 1


@pytest.mark.parametrize("deed", ["append", "copy", "move"])
def test_what_comes_in_before_anybody_has_looked_gets_a_uid_behind_the_list(home, deed):
    message(home, "1.a:2,", ".Work")
    message(home, "2.b:2,")
    dovecot(home, "V77 N9", "5 :1.a", folder=".Work")
    worker = Worker(home)
    if deed == "append":
        assert worker.put("Work").uids == (9,)
    else:
        mailbox = worker.open()
        mailbox.snapshot()
        assert getattr(mailbox, deed)([1], "Work").uids == (9,)
    assert sorted(uids(worker, "Work")[0].values()) == [5, 9]


def test_what_was_seen_elsewhere_is_not_recent(home):
    message(home, "1.a:2,")
    message(home, "2.b", place="new")
    dovecot(home, "V77 N9", "5 :1.a")
    worker = Worker(home)
    worker.look()
    assert worker.ann.status("INBOX").recent == 1


def test_an_empty_mailbox_keeps_its_next_uid(home):
    dovecot(home, "V77 N50")
    assert uids(Worker(home)) == ({}, 77, 50)


def test_a_first_sight_by_parts(home, monkeypatch):
    monkeypatch.setattr(sync, "AT_ONCE", 2)
    names = [f"{9 - number}.m" for number in range(7)]
    for name in names:
        message(home, name + ":2,")
    message(home, "1.unlisted:2,")
    dovecot(home, "V77 N90", *[f"{10 + number} :{name}" for number, name in enumerate(names)])
    found, _, uidnext = uids(Worker(home))
    assert found == {f"{name}:2,": 10 + number for number, name in enumerate(names)} | {"1.unlisted:2,": 90}
    assert uidnext == 91


def test_a_crash_between_two_parts(home, monkeypatch):
    monkeypatch.setattr(sync, "AT_ONCE", 2)
    for number in range(5):
        message(home, f"{9 - number}.m:2,")
    dovecot(home, "V77 N90", *[f"{10 + number} :{9 - number}.m" for number in range(5)])
    worker = Worker(home)
    core = next(iter(worker.store._cores.values()))
    row = core.reader.box_named("INBOX")
    assert not core.locked(lambda bench: bench.format.take_in(bench, row.id, True))
    worker.crash()
    assert uids(Worker(home)) == ({f"{9 - number}.m:2,": 10 + number for number in range(5)}, 77, 90)


def test_two_files_of_one_name_are_two_messages(home):
    message(home, "1.a:2,S")
    message(home, "1.a", place="new")
    dovecot(home, "V77 N5", "3 :1.a")
    assert sorted(uids(Worker(home))[0].values()) == [3, 5]


def test_mailboxes_may_have_the_same_uidvalidity(home):
    """Courier's is the second in which a folder was first looked into."""
    for folder in ("", ".Sent"):
        message(home, f"1.in{folder}:2,", folder)
        (home / folder / "courierimapuiddb").write_text(f"1 77 2\n1 1.in{folder}\n")
    worker = Worker(home)
    assert uids(worker) == ({"1.in:2,": 1}, 77, 2)
    assert uids(worker, "Sent") == ({"1.in.Sent:2,": 1}, 77, 2)
    envelopes = [list(worker.open(name).descriptions([1]))[0][1].envelope for name in ("INBOX", "Sent")]
    assert b'"1.in:2,"' in envelopes[0] and b'"1.in.Sent:2,"' in envelopes[1]


def test_the_list_that_knows_more_of_the_files_counts(home):
    for name in ("1.a", "2.b"):
        message(home, f"{name}:2,")
    dovecot(home, "V77 N2", "1 :1.a")
    (home / "courierimapuiddb").write_text("1 66 9\n3 1.a\n4 2.b\n")
    assert uids(Worker(home)) == ({"1.a:2,": 3, "2.b:2,": 4}, 66, 9)


def test_a_damaged_list_says_nothing(home, caplog):
    message(home, "1.a:2,")
    dovecot(home, "nonsense", "1 :1.a")
    worker = Worker(home)
    assert uids(worker)[0] == {"1.a:2,": 1} and worker.ann.status("INBOX").uidvalidity > 1_000_000
    assert "damaged" in caplog.text


# Served by the other one in between


def served_here(home):
    """A mailbox that was taken over with a and b, and got c here."""
    for name in ("1.a", "2.b"):
        message(home, f"{name}:2,")
    dovecot(home, "V77 N3", "1 :1.a", "2 :2.b")
    worker = Worker(home)
    uids(worker)
    message(home, "3.c:2,")
    assert uids(worker) == ({"1.a:2,": 1, "2.b:2,": 2, "3.c:2,": 3}, 77, 4)
    return worker


def test_the_other_server_agreed_and_gave_more(home):
    worker = served_here(home)
    mailbox = worker.open()
    message(home, "4.d:2,")
    message(home, "5.e:2,")
    dovecot(home, "V77 N9", "1 :1.a", "2 :2.b", "3 :3.c", "7 :5.e", "8 :4.d")
    found = {"1.a:2,": 1, "2.b:2,": 2, "3.c:2,": 3, "5.e:2,": 7, "4.d:2,": 8}
    assert uids(worker) == (found, 77, 9)
    assert list(mailbox.snapshot().uids) == [1, 2, 3, 7, 8]  # who has it open goes on


def test_the_other_server_gave_another_uid_that_nobody_had(home):
    worker = served_here(home)
    worker.open().change_flags([3], FlagChange.ADD, frozenset({"\\Flagged", "work"}))
    dovecot(home, "V77 N12", "1 :1.a", "2 :2.b", "11 :3.c")
    found, uidvalidity, uidnext = uids(worker)
    assert (sorted(found.values()), uidvalidity, uidnext) == ([1, 2, 11], 77, 12)
    assert worker.look()[11] == {"\\Flagged", "work"}


def test_a_uid_never_comes_to_mean_another_message(home):
    worker = served_here(home)
    message(home, "4.d:2,")
    dovecot(home, "V77 N5", "1 :1.a", "2 :2.b", "3 :4.d", "4 :3.c")
    found, uidvalidity, uidnext = uids(worker)
    assert found == {"1.a:2,": 1, "2.b:2,": 2, "4.d:2,": 3, "3.c:2,": 4} and uidnext == 5
    assert uidvalidity > 1_000_000
    assert uids(worker)[1] == uidvalidity  # the list, which still says 77, says nothing any more


def test_the_other_server_began_anew(home):
    worker = served_here(home)
    dovecot(home, "V99 N30", "20 :1.a", "21 :2.b", "22 :3.c")
    assert uids(worker) == ({"1.a:2,": 20, "2.b:2,": 21, "3.c:2,": 22}, 99, 30)


def test_a_mailbox_that_was_opened_before_its_mail_came(home):
    worker = Worker(home)
    assert uids(worker)[2] == 1
    message(home, "1.a:2,")
    dovecot(home, "V77 N9", "5 :1.a")
    assert uids(worker) == ({"1.a:2,": 5}, 77, 9)


def test_the_index_is_lost_and_made_anew_from_our_own_record(home):
    worker = served_here(home)
    worker.crash()
    (home / "imapd-index.sqlite").unlink()
    found, uidvalidity, uidnext = uids(Worker(home))
    assert (found, uidvalidity) == ({"1.a:2,": 1, "2.b:2,": 2, "3.c:2,": 3}, 77) and uidnext > 3


def test_the_index_and_our_record_are_lost(home):
    worker = served_here(home)
    worker.crash()
    (home / "imapd-index.sqlite").unlink()
    (home / "imapd-uids").unlink()
    assert uids(Worker(home))[1] > 1_000_000  # UID 3 was given here, and the list does not know to what


def test_the_record_follows_when_the_other_server_numbers(home):
    worker = served_here(home)
    dovecot(home, "V77 N12", "1 :1.a", "2 :2.b", "11 :3.c")
    expected = uids(worker)
    worker.crash()
    (home / "imapd-index.sqlite").unlink()
    assert uids(Worker(home))[:2] == expected[:2]


def test_the_index_is_lost_and_the_list_is_old(home):
    worker = served_here(home)
    worker.put("INBOX")
    worker.crash()
    for path in home.glob("imapd-*"):
        path.unlink()  # all that could say better
    found, uidvalidity, _ = uids(Worker(home))
    assert uidvalidity != 77


# Courier


def test_keywords_of_courier(home):
    for number in range(1, 6):
        message(home, f"{number}.m:2,S")
    (home / "courierimapuiddb").write_text("1 77 6\n" + "".join([f"{n} {n}.m\n" for n in range(1, 6)]))
    keywords = home / "courierimapkeywords"
    keywords.mkdir()
    (keywords / ":list").write_text("Fun\n$Later\nno(word\n\n1.m:1 0\n2.m:0\n3.m:0 9 x\n4.m:2\n")
    (keywords / "2.m").write_text("other\n")
    (keywords / ".10.3.m").write_text("newer\n$Later\n")
    (keywords / ".9.3.m").write_text("older\n")
    worker = Worker(home)
    words = {uid: flags - {"\\Seen"} for uid, flags in worker.look().items()}
    assert words == {1: {"Fun", "$Later"}, 2: {"other"}, 3: {"newer", "$Later"}, 4: set(), 5: set()}
    # Written where Dovecot and we look for them: the files' names have letters soon.
    worker.loop.run_spawned()
    assert sum("2,S:" not in name and not name.endswith(":2,S") for name in os.listdir(home / "cur")) == 3
    worker.crash()
    (home / "imapd-index.sqlite").unlink()
    assert sorted(map(sorted, Worker(home).look().values())) == sorted(
        sorted(flags | {"\\Seen"}) for flags in words.values()
    )


def test_more_keywords_than_there_is_room_for(home):
    message(home, "1.m:2,")
    (home / "courierimapuiddb").write_text("1 77 2\n1 1.m\n")
    (home / "courierimapkeywords").mkdir()
    words = "\n".join(f"word{number}" for number in range(80))
    (home / "courierimapkeywords" / "1.m").write_text(words)
    assert len(Worker(home).look()[1]) == 56


def test_subscriptions_of_courier(home):
    for folder in (".Sent", ".Entw&APw-rfe", ".Work.Deep"):
        message(home, "1.m", folder)
    (home / "courierimapsubscribed").write_bytes(
        "INBOX\nINBOX.Sent\nINBOX.Entwürfe\nINBOX.Work.Deep\nINBOX.R&AOQ-ume\nshared.x\n\n".encode()
    )
    worker = Worker(home)

    def subscribed():
        return {entry.name for entry in worker.ann.mailboxes() if entry.subscribed}

    assert subscribed() == {"INBOX", "Sent", "Entwürfe", "Work/Deep", "Räume"}
    worker.ann.unsubscribe("Sent")
    assert subscribed() == {"INBOX", "Entwürfe", "Work/Deep", "Räume"}


# And back


def test_what_is_handed_over_is_what_was_taken(home):
    message(home, "1.a,S=46,W=50:2,S")
    message(home, "2.b:2,")
    dovecot(home, "V77 N50 G0123 Xtra", "7 P00ff :1.a,S=46,W=50", "9 W50 O3 :2.b", "11 Pgone :3.gone")
    before = (home / "dovecot-uidlist").read_bytes()
    worker = Worker(home)
    assert worker.ann.hand_over() == [("INBOX", 2)]
    assert (home / "dovecot-uidlist").read_bytes() == before.replace(b"11 Pgone :3.gone\n", b"")
    message(home, "3.c", place="new")
    assert worker.ann.hand_over() == [("INBOX", 3)]
    assert (home / "dovecot-uidlist").read_text().splitlines()[0] == "3 V77 N51 G0123 Xtra"
    assert (home / "dovecot-uidlist").read_text().splitlines()[-1] == "50 :3.c"
    assert not list(home.glob("*.lock")) or [path.name for path in home.glob("*.lock")] == ["imapd.lock"]
    assert uids(worker)[1] == 77  # our own list is no news


def test_a_list_that_dovecot_has_locked_is_left_alone(home):
    from imapd.mailstore.errors import Retry

    worker = Worker(home)
    worker.loop.now = lambda: 0
    (home / "dovecot-uidlist.lock").touch()
    with pytest.raises(Retry):
        worker.ann.hand_over()
    assert not (home / "dovecot-uidlist").exists() and (home / "dovecot-uidlist.lock").exists()
    os.utime(home / "dovecot-uidlist.lock", (1, 1))  # whose owner is long gone
    assert worker.ann.hand_over() == [("INBOX", 0)]


def test_dovecot_gives_higher_uidvalidities_afterwards(home):
    (home / "dovecot-uidvalidity").write_text("0000004d")
    (home / "dovecot-uidvalidity.0000004d").touch()
    worker = Worker(home)
    worker.ann.hand_over()
    last = f"{worker.ann.status('INBOX').uidvalidity:08x}"
    assert [path.name for path in home.glob("dovecot-uidvalidity.*")] == [f"dovecot-uidvalidity.{last}"]
    assert (home / "dovecot-uidvalidity").read_text() == last


# Quota of Maildir++


def held(home):
    """What `maildirsize` says: its quota, octets and messages."""
    quota, *changes = (home / "maildirsize").read_text().splitlines()
    return quota, *[sum(int(line.split()[column]) for line in changes) for column in (0, 1)]


def test_maildirsize_is_kept_right(home):
    message(home, "1.a,S=48:2,")
    message(home, "2.b:2,")
    before = sum(path.stat().st_size for path in (home / "cur").iterdir())
    (home / "maildirsize").write_text(f"1000000S,100C\n{before} 2\n")
    worker = Worker(home)
    worker.ann.create("Trash")
    worker.put("INBOX", MAIL.replace(b"\n", b"\r\n"))
    mailbox = worker.open()
    mailbox.snapshot()
    mailbox.copy([1], "INBOX")
    mailbox.copy([1], "Trash")

    def there():
        sizes = [path.stat().st_size for path in (home / "cur").iterdir()]
        return "1000000S,100C", sum(sizes), len(sizes)

    assert held(home) == there() and there()[2] == 4
    mailbox.change_flags([1, 2], FlagChange.ADD, frozenset({"\\Deleted"}))
    mailbox.expunge(None)
    mailbox.move([3], "Trash")
    assert held(home) == there() and there()[2] == 1
    worker.ann.delete("Trash")
    assert not (home / "maildirsize").exists()  # made anew by whoever needs it


def test_no_maildirsize_is_made(home):
    Worker(home).put("INBOX")
    assert not (home / "maildirsize").exists()
