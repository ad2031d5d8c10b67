"""Whose a mail file is, whatever names are given to whom."""

import os
import threading

import pytest

from imapd.mailstore.local import LocalStore
from imapd.mailstore.store import Owner
from imapd.model.errors import Refused
from imapd.server import owners
from imapd.server.house import BelowRoot
from tests.support.loop import PlainLoop


@pytest.fixture
def store(tmp_path):
    """Makes stores below a root."""
    loop = PlainLoop()
    made = []

    def make(keep_owners=True):
        made.append(BelowRoot(LocalStore(loop, create=True), str(tmp_path), loop, keep_owners))
        return made[-1]

    yield make
    for one in made:
        one.close()


def came_in(store, identity, home="ada"):
    store.open_account(Owner(identity, identity, home)).close()


def test_a_name_that_is_given_again_does_not_inherit_mail(store, tmp_path):
    came_in(store(), "acme/1")
    came_in(store(), "acme/1")
    with pytest.raises(Refused) as refused:
        came_in(store(), "acme/2")
    assert "acme" not in refused.value.text
    assert "that of acme/1, not of acme/2" in refused.value.reason and owners.FILE in refused.value.reason
    came_in(store(), "acme/2", "eve")


def test_an_administrator_may_give_a_mail_file_away(store, tmp_path):
    came_in(store(), "acme/1")
    (tmp_path / "ada" / owners.FILE).unlink()
    came_in(store(), "acme/2")
    assert (tmp_path / "ada" / owners.FILE).read_text() == "acme/2\n"


def test_a_site_may_do_without(store, tmp_path):
    came_in(store(keep_owners=False), "acme/1")
    came_in(store(keep_owners=False), "acme/2")
    assert not (tmp_path / "ada" / owners.FILE).exists()


def test_of_those_who_come_at_once_one_gets_it(tmp_path):
    let_in = []

    def come(identity):
        try:
            owners.record(str(tmp_path), identity)
            let_in.append(identity)
        except Refused:
            pass

    threads = [threading.Thread(target=come, args=(f"acme/{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [f"{one}\n" for one in let_in] == [(tmp_path / owners.FILE).read_text()]
    assert os.listdir(tmp_path) == [owners.FILE]


def test_mail_that_can_only_be_read_may_be_read(tmp_path, monkeypatch, caplog):
    def fail(*arguments, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(owners.tempfile, "mkstemp", fail)
    owners.record(str(tmp_path), "acme/1")
    assert "cannot be written: Permission denied" in caplog.text


def test_an_owner_who_is_remembered_is_forgotten_when_the_file_changes(store, tmp_path):
    house = store()
    came_in(house, "acme/1")
    path = tmp_path / "ada" / owners.FILE
    os.utime(path, (1, 1))
    while owners.stamp(str(tmp_path / "ada")) is None:
        pass  # the file is too young to be believed for 50 ms
    came_in(house, "acme/1")
    came_in(house, "acme/1")  # remembered by now
    with pytest.raises(Refused):
        came_in(house, "acme/2")
    path.write_text("acme/2\n")
    came_in(house, "acme/2")
    with pytest.raises(Refused):
        came_in(house, "acme/1")


@pytest.mark.parametrize(("in_memory", "waits"), [(True, []), (False, [owners.require])])
def test_who_is_written_down_waits_for_a_thread_only_where_that_waits_for_the_disk(
    tmp_path, monkeypatch, in_memory, waits
):
    def came(loop):
        house = BelowRoot(LocalStore(loop), str(tmp_path), loop, keep_owners=True)
        came_in(house, "acme/1")
        house.close()
        return [work for work in loop.offloaded if work in (owners.require, owners.record)]

    monkeypatch.setattr(owners, "is_at_hand", lambda home: in_memory)
    assert came(PlainLoop()) == [*waits, owners.record]
    assert came(PlainLoop()) == waits
