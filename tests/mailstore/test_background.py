"""Texts that are made before they are asked for: newest first, in the background, and never in a client's way."""

import contextlib
import os
from array import array

import pytest

from imapd.mailstore import background, rendered, shared
from imapd.mailstore import texts as texts_room
from imapd.mailstore.background import AT_ONCE, Wish
from imapd.mailstore.choice import Kinds
from imapd.mailstore.errors import NoSuchAccount, NoSuchMailbox, Retry
from imapd.mailstore.local import LocalStore
from imapd.mailstore.rendered import DIRECTORY, files, sweep
from imapd.mailstore.runs import RunFile
from imapd.mailstore.store import Text
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import Worker, deliver
from tests.support.loop import PlainLoop

ALL = tuple(Text)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "ann"


@pytest.fixture
def described(monkeypatch):
    """The messages that were described, in that order."""
    seen = []
    describe = texts_room.describe

    def noted(content, breathe):
        seen.append(int(content.split(b": ")[1].split(b"\r")[0]))
        return describe(content, breathe)

    monkeypatch.setattr(texts_room, "describe", noted)
    return seen


def mail(number):
    return b"Subject: %d\r\n\r\ntext\r\n" % number


def texts(mailbox, uids):
    return mailbox.texts(array("I", uids), ALL)


def test_what_is_appended_is_described_before_it_is_asked_for(home, described):
    worker = Worker(home)
    worker.put("INBOX", *map(mail, range(1, 6)))
    assert described == []  # the client who appends does not wait for it
    worker.loop.run_spawned()
    assert described == [1, 2, 3, 4, 5]
    assert b'"3"' in texts(worker.open(), range(1, 6))[2]
    assert len(described) == 5


def test_an_opened_mailbox_is_described_newest_first(home, described):
    worker = Worker(home)
    for number in range(1, 2 * AT_ONCE + 6):
        deliver(home, mail(number).replace(b"\r\n", b"\n"), name=f"{1_600_000_000 + number}.x")
    mailbox = worker.open()
    mailbox.snapshot()
    worker.loop.run_spawned()
    count = 2 * AT_ONCE + 5
    assert sorted(described) == list(range(1, count + 1))
    assert sorted(described[:AT_ONCE]) == list(range(count - AT_ONCE + 1, count + 1))
    texts(mailbox, range(1, count + 1))
    assert len(described) == count


def test_what_comes_into_an_open_mailbox_is_described(home, described):
    worker = Worker(home)
    mailbox = worker.open()
    mailbox.snapshot()
    worker.loop.run_spawned()
    deliver(home, mail(1).replace(b"\r\n", b"\n"))
    mailbox.snapshot()
    worker.loop.run_spawned()
    assert described == [1]


def test_copies_and_moves_are_described_where_they_came_to(home, described):
    worker = Worker(home)
    worker.ann.create("A")
    worker.put("INBOX", mail(1), mail(2))
    mailbox = worker.open()
    mailbox.copy([1], "A")
    mailbox.move([2], "A")
    worker.loop.run_spawned()
    del described[:]
    found = texts(worker.open("A"), [1, 2])
    assert b'"1"' in found[0] and b'"2"' in found[1] and described == []


def test_header_fields_that_clients_ask_for_are_kept_for_new_messages_too(home, monkeypatch):
    worker = Worker(home)
    worker.put("INBOX", *map(mail, range(1, 21)))
    fields = frozenset({b"Subject"})
    worker.open().header_fields(array("I", range(1, 21)), fields)
    worker.put("INBOX", mail(21))
    worker.loop.run_spawned()
    monkeypatch.setattr(texts_room, "of_fields", lambda *_: pytest.fail("it is there already"))
    assert worker.open().header_fields(array("I", range(1, 22)), fields)[-1] == b"{15}\r\nSubject: 21\r\n\r\n"


def test_it_stands_still_while_a_client_waits(home, monkeypatch):
    worker = Worker(home)
    worker.put("INBOX", mail(1))
    background = worker.open()._shared.account.background
    waiting = contextlib.ExitStack()
    waiting.enter_context(background.standing_still())
    was_there = []

    def client_gets_it(seconds):
        was_there.append(bool(files(os.fsencode(home))))
        if len(was_there) == 3:
            waiting.close()

    monkeypatch.setattr(worker.loop, "sleep", client_gets_it)
    worker.loop.spawned = [work for work in worker.loop.spawned if work == background._work]
    worker.loop.run_spawned()
    assert was_there[:4] == [False, False, False, True]


def test_a_disk_that_refuses_ends_it(home, described):
    worker = Worker(home)
    (home / os.fsdecode(DIRECTORY)).write_bytes(b"in the way")
    worker.put("INBOX", *map(mail, range(1, 3 * AT_ONCE)))
    worker.loop.run_spawned()
    assert len(described) == AT_ONCE


def test_a_closed_account_is_left_alone(home, described):
    worker = Worker(home)
    worker.put("INBOX", mail(1))
    worker.store.close()
    worker.loop.run_spawned()
    assert described == []


def test_files_of_mailboxes_that_are_no_more_are_removed(home):
    worker = Worker(home)
    worker.ann.create("A")
    worker.put("A", mail(1))
    worker.put("INBOX", mail(2))
    worker.loop.run_spawned()
    before = files(os.fsencode(home))
    assert len(before) == 2
    worker.ann.delete("A")
    worker.store.close()
    Worker(home).put("INBOX", mail(3))  # an account is cleaned up with its first write
    left = files(os.fsencode(home))
    assert len(left) == 1 and left[0] in before
    sweep(os.fsencode(home), [])
    assert not files(os.fsencode(home))


def test_a_mailbox_whose_texts_are_all_kept_costs_nothing(home, described, monkeypatch):
    worker = Worker(home)
    worker.put("INBOX", *map(mail, range(1, 6)))
    worker.open()
    worker.loop.run_spawned()
    again = Worker(home)
    again.open()
    again.loop.run_spawned()
    assert len(described) == 5
    monkeypatch.setattr(RunFile, "missing", lambda *_: pytest.fail("this was found out already"))
    again.open()
    again.loop.run_spawned()


def test_a_file_that_is_mostly_of_messages_that_are_no_more_begins_anew(home, described, monkeypatch):
    monkeypatch.setattr(rendered, "SPARE", 5)
    worker = Worker(home)
    worker.put("INBOX", *map(mail, range(1, 21)))
    mailbox = worker.open()
    worker.loop.run_spawned()
    mailbox.change_flags(range(1, 18), FlagChange.ADD, frozenset({"\\Deleted"}))
    mailbox.expunge(None)
    before = os.path.getsize(files(os.fsencode(home))[0])
    worker.store.close()
    again = Worker(home)
    again.open()
    again.loop.run_spawned()
    assert os.path.getsize(files(os.fsencode(home))[0]) < before / 2
    assert described[20:] == [18, 19, 20]


def test_a_file_of_many_small_blocks_begins_anew(home, described, monkeypatch):
    monkeypatch.setattr(rendered, "SPARE", 5)
    worker = Worker(home)
    for number in range(1, 11):
        worker.put("INBOX", mail(number))
        worker.loop.run_spawned()
    worker.store.close()
    again = Worker(home)
    again.open()
    again.loop.run_spawned()
    assert sorted(described[10:]) == list(range(1, 11))
    assert b"" not in texts(again.open(), range(1, 11)) and len(described) == 20


def test_what_was_appended_is_appended_whatever_becomes_of_its_texts(home, monkeypatch):
    worker = Worker(home)

    def refuse(*_):
        raise Retry(reason="the index is busy")

    with monkeypatch.context() as patch:
        patch.setattr(shared.AccountCore, "reading", refuse)
        assert worker.put("INBOX", mail(1)).uids == (1,)
    assert worker.texts() == {1: mail(1)}


# What is much is done by another process


@pytest.fixture
def much(monkeypatch):
    """What is much here."""
    monkeypatch.setattr(background, "MUCH", 50)
    monkeypatch.setattr(background, "_PIECE", 20)
    return 50


class Indexer:
    """The wishes that a worker told, and a store that fulfils them."""

    def __init__(self, kinds: Kinds, hears: bool = True) -> None:
        self.wishes: list[Wish] = []
        self.hears = hears
        self.store = LocalStore(PlainLoop(), create=False, kinds=kinds)

    def ask(self, wish: Wish) -> bool:
        self.wishes += [wish] if self.hears else []
        return self.hears


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_what_is_much_is_left_to_a_process_without_clients(home, described, much, kind):
    indexer = Indexer(Kinds(kind))
    worker = Worker(home, kinds=Kinds(kind), ask=indexer.ask)
    worker.put("INBOX", *map(mail, range(1, much)))
    worker.loop.run_spawned()
    assert len(described) == much - 1 and not indexer.wishes
    worker.ann.create("A")
    worker.put("A", *map(mail, range(101, 101 + much)))
    mailbox = worker.open("A")
    worker.loop.run_spawned()
    assert len(described) == much - 1
    assert indexer.wishes == [Wish(str(home), "A", mailbox.snapshot().uidvalidity, much + 1)]
    assert list(indexer.store.rendering(indexer.wishes[0])) == [20, 20, 10]
    assert described[much - 1 :][:20] == list(range(101 + much - 20, 101 + much))  # newest first
    assert list(indexer.store.rendering(indexer.wishes[0])) == []
    assert b"" not in texts(mailbox, range(1, much + 1)) and len(described) == 2 * much - 1
    indexer.store.close()


def test_a_mailbox_that_was_never_seen_is_wished_for_when_it_is_taken_in(home, described, much):
    indexer = Indexer(Kinds())
    worker = Worker(home, ask=indexer.ask)
    for number in range(much):
        deliver(home, mail(number).replace(b"\r\n", b"\n"))
    worker.open().snapshot()
    worker.loop.run_spawned()
    assert len(indexer.wishes) == 1 and described == []


def test_a_wish_is_told_once_and_again_where_a_text_was_missed(home, described, much):
    indexer = Indexer(Kinds())
    worker = Worker(home, ask=indexer.ask)
    worker.put("INBOX", *map(mail, range(much)))
    for _ in range(3):
        worker.open().close()
    assert len(indexer.wishes) == 1
    mailbox = worker.open()
    assert b"" not in texts(mailbox, [1])  # nobody has come to it
    worker.open()
    assert len(indexer.wishes) == 2 and described == [0]
    indexer.store.close()


def test_what_cannot_be_wished_for_is_done_by_the_worker(home, described, much):
    worker = Worker(home, ask=Indexer(Kinds(), hears=False).ask)
    worker.put("INBOX", *map(mail, range(much)))
    worker.open()
    worker.loop.run_spawned()
    assert sorted(described) == list(range(much))


def test_worker_and_indexer_work_from_both_ends_until_they_meet(home, described, much):
    indexer = Indexer(Kinds())
    worker = Worker(home, ask=indexer.ask)
    worker.put("INBOX", *map(mail, range(1, 101)))
    mailbox = worker.open()
    work = indexer.store.rendering(indexer.wishes[0])
    rendered = []
    for start in range(1, 101, 20):
        rendered.append(next(work))
        assert b"" not in texts(mailbox, range(start, start + 20))
    assert rendered == [20, 20, 20, 0, 0] and not list(work)
    assert sorted(described) == list(range(1, 101))
    indexer.store.close()


def test_a_wish_that_is_late_is_no_harm(home, described, much):
    indexer = Indexer(Kinds())
    worker = Worker(home, ask=indexer.ask)
    worker.ann.create("A")
    worker.put("A", *map(mail, range(much)))
    (wish,) = indexer.wishes
    assert list(indexer.store.rendering(wish._replace(uidvalidity=wish.uidvalidity + 1))) == []
    worker.ann.delete("A")
    with pytest.raises(NoSuchMailbox):
        list(indexer.store.rendering(wish))
    with pytest.raises(NoSuchAccount):
        list(indexer.store.rendering(wish._replace(mail_file=str(home / "nobody"))))
    assert described == [] and not (home / "nobody").exists()
    indexer.store.close()
