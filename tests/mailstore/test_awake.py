"""Which accounts keep their databases open."""

import pytest

from imapd.mailstore.awake import _PATIENCE, Awake
from tests.support.loop import PlainLoop


class Account:
    def __init__(self, is_silent=False, is_busy=False):
        self.is_silent, self.is_busy = is_silent, is_busy


class House:
    """An Awake, and who was sent to sleep by it at which look."""

    def __init__(self, most=10):
        self.loop = PlainLoop()
        self.looks = 0
        self.asleep = {}
        self.at = {}
        self.awake = Awake(most, lambda account: self.asleep.update({account: self.looks}), self.loop)
        self.loop.sleep = self.sleep

    def sleep(self, seconds):
        self.looks += 1
        self.at.pop(self.looks, lambda: None)()


@pytest.mark.parametrize(("is_silent", "after"), [(True, 2), (False, _PATIENCE + 1)])
def test_who_is_silent_sleeps_soon_and_the_others_later(is_silent, after):
    house, account = House(), Account(is_silent)
    house.awake.used(account)
    house.loop.run_spawned()
    assert house.asleep == {account: after}
    house.awake.used(account)  # and again after that
    house.loop.run_spawned()
    assert house.asleep == {account: 2 * after}


def test_who_is_used_between_two_looks_stays_awake():
    house, one, other = House(), Account(True), Account(True)
    house.awake.used(one)
    house.awake.used(other)
    house.at = {look: lambda: house.awake.used(one) for look in range(1, 8)}
    house.loop.run_spawned()
    assert house.asleep == {other: 2, one: 8}


def test_who_is_busy_stays_awake_until_the_work_is_done():
    house, account = House(), Account(True, is_busy=True)
    house.awake.used(account)
    house.at = {7: lambda: setattr(account, "is_busy", False)}
    house.loop.run_spawned()
    assert house.asleep == {account: 7}


def test_of_too_many_those_that_were_used_last_stay_awake():
    house = House(most=2)
    accounts = [Account(), Account(is_busy=True), Account(), Account()]
    for account in accounts:
        house.awake.used(account)
    assert list(house.asleep) == [accounts[0], accounts[2]]
    house.awake.forget(accounts[3])
    accounts[1].is_busy = False
    house.loop.run_spawned()
    assert list(house.asleep) == [accounts[0], accounts[2], accounts[1]]
