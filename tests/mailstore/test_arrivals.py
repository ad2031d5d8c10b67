"""Messages that several clients of one process bring at the same time: in one turn, and to each his own answer."""

import errno
import os
import time

import gevent
import pytest

from imapd.mailstore.arrivals import Arrivals
from imapd.mailstore.database import Database
from imapd.mailstore.errors import NoSuchMailbox, StoreError
from imapd.mailstore.local import LocalStore
from imapd.mailstore.lock import AccountLock
from imapd.mailstore.store import Incoming, Owner, Placed
from imapd.server.loop import GeventLoop
from tests.mailstore.maildirhouse import WIRE, files

CLIENTS = 8


@pytest.fixture
def house(tmp_path):
    loop = GeventLoop()
    store = LocalStore(loop)
    clients = [store.open_account(Owner("id-ann", "ann", str(tmp_path / "ann"))) for _ in range(CLIENTS)]
    yield clients
    for client in clients:
        client.close()
    store.close()
    loop.close()


def append(client, name="INBOX", *texts):
    messages = []
    for text in texts or (WIRE,):
        spool = client.spool()
        spool.write(text)
        messages.append(Incoming(spool, frozenset({"Word"})))
    try:
        return client.append(name, messages)
    except StoreError as error:
        return error


def all_at_once(works):
    """What the works come to, of which the first holds the others up."""
    greenlets = [gevent.spawn(*work) for work in works]
    gevent.joinall(greenlets, timeout=30, raise_error=True)
    return [greenlet.value for greenlet in greenlets]


@pytest.fixture
def commits(monkeypatch):
    """The durable commits; each takes long enough for all others to come."""
    seen = []
    transaction = Database.transaction

    def counted(database):
        seen.append(database)
        time.sleep(0.2)  # in a disk thread: what a slow disk does
        return transaction(database)

    monkeypatch.setattr(Database, "transaction", counted)
    return seen


def uids(client, name="INBOX"):
    mailbox = client.open(name)
    found = list(mailbox.snapshot().uids)
    mailbox.close()
    return found


def test_who_comes_while_another_one_has_his_turn_shares_the_next(house, commits):
    before = len(commits)
    placed = all_at_once([(append, client) for client in house])
    assert sorted(one.uids for one in placed) == [(uid,) for uid in range(1, CLIENTS + 1)]
    assert len(commits) - before < 2 * CLIENTS  # each alone has two, of which one is not waited for
    assert uids(house[0]) == list(range(1, CLIENTS + 1))


def test_each_of_them_gets_what_is_his(house, commits, tmp_path):
    house[0].create("A")
    works = [(append, client, "INBOX" if number % 2 else "A") for number, client in enumerate(house)]
    works[3] = (append, house[3], "Nowhere")
    works[4] = (append, house[4], "A", WIRE, WIRE, WIRE)
    placed = all_at_once(works)
    assert isinstance(placed[3], NoSuchMailbox)
    assert len(placed[4].uids) == 3 and placed[4].uids == tuple(range(placed[4].uids[0], placed[4].uids[0] + 3))
    there = {name: sorted(uid for each, (_, _, at, *_) in zip(placed, works, strict=True)
                          if isinstance(each, Placed) and at == name for uid in each.uids)
             for name in ("INBOX", "A")}  # fmt: skip
    assert there["A"] == uids(house[0], "A") == list(range(1, 7))
    assert files(tmp_path / "ann")["tmp"] == []


def test_a_file_that_the_disk_refuses_is_refused_to_its_client_alone(house, commits, monkeypatch, tmp_path):
    rename = os.rename
    refused = []

    def refuses(source, target):
        if b"/cur/" in target and not refused:
            refused.append(source)
        if source in refused:
            raise OSError(errno.EIO, "no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuses)
    placed = all_at_once([(append, client) for client in house])
    monkeypatch.undo()
    assert [isinstance(one, StoreError) for one in placed].count(True) == 1
    assert uids(house[0]) == sorted(one.uids[0] for one in placed if isinstance(one, Placed))
    assert files(tmp_path / "ann")["tmp"] == []


def test_those_who_wait_come_in_once_where_the_one_whose_turn_it_is_is_killed_before_it_begins(house, monkeypatch):
    leaders, begun, ended = [], [], []
    led, at_once = Arrivals._append_waiting, AccountLock._at_once

    def leading(arrivals):
        leaders.append(gevent.getcurrent())
        led(arrivals)

    def late(lock, work, before):
        begun.append(work)
        if len(begun) <= 2:  # the first holds the others up, and the second has them with him
            time.sleep(0.3)
        try:
            return at_once(lock, work, before)
        finally:
            ended.append(work)

    monkeypatch.setattr(Arrivals, "_append_waiting", leading)
    monkeypatch.setattr(AccountLock, "_at_once", late)
    greenlets = [gevent.spawn(append, client) for client in house]
    while len(begun) < 2:
        gevent.sleep(0.01)
    leaders[1].kill()
    gevent.joinall(greenlets, timeout=30, raise_error=True)
    mine = [uid for greenlet in greenlets if greenlet is not leaders[1] for uid in greenlet.value.uids]
    while len(ended) < len(begun):
        gevent.sleep(0.01)
    assert sorted(mine) == uids(house[0]) == list(range(1, CLIENTS))
    assert house[0].status("INBOX").uidnext == CLIENTS


def test_those_who_wait_are_served_also_where_the_one_whose_turn_it_is_is_killed(house, commits):
    greenlets = [gevent.spawn(append, client) for client in house]
    gevent.sleep(0.1)
    greenlets[0].kill()
    gevent.joinall(greenlets[1:], timeout=30, raise_error=True)
    mine = [uid for greenlet in greenlets[1:] for uid in greenlet.value.uids]
    assert len(mine) == CLIENTS - 1 and set(mine) <= set(uids(house[1]))
