"""People who are logged in are looked at again, and go where they may not stay; nobody goes for want of an answer."""

import time
from types import SimpleNamespace

import gevent
import pytest

from imapd.model.errors import Unreachable
from imapd.server.recheck import GOODBYE, Recheck
from tests.support.people import person


class Session:
    """A connection of somebody (None: nobody has logged in)."""

    def __init__(self, name, listener="imap"):
        self.person = person(name) if name else None
        self.listener = listener
        self.stopped = None

    def stop(self, text):
        self.stopped = text


class Directory:
    """Whom there is something against; an exception is raised."""

    def __init__(self, **objections):
        self.objections = objections
        self.asked = []

    def __call__(self, listener, person):
        self.asked.append((listener, person.uid))
        found = self.objections.get(person.uid)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def sessions():
    return SimpleNamespace(ada=Session("ada"), ada_too=Session("ada"), ben=Session("ben"), nobody=Session(None))


def recheck(directory, sessions, interval=60.0):
    return Recheck(directory, interval, lambda: list(vars(sessions).values()))


def test_who_may_not_stay_loses_all_his_sessions_and_nobody_else_does(sessions):
    directory = Directory(ada="the entry is locked")
    recheck(directory, sessions).round()
    assert sessions.ada.stopped == sessions.ada_too.stopped == GOODBYE
    assert sessions.ben.stopped is None and sessions.nobody.stopped is None
    assert sorted(directory.asked) == [("imap", "ada"), ("imap", "ben")]


def test_each_listener_has_its_own_rules(sessions):
    sessions.ada_too.listener = "imaps"
    directory = Directory()
    recheck(directory, sessions).round()
    assert ("imap", "ada") in directory.asked and ("imaps", "ada") in directory.asked


@pytest.mark.parametrize("trouble", [Unreachable("ldap1 is silent"), ValueError("a mistake of ours")])
def test_a_directory_that_does_not_answer_throws_nobody_out_and_the_others_are_looked_at(sessions, trouble, caplog):
    recheck(Directory(ada=trouble, ben="gone"), sessions).round()
    assert sessions.ada.stopped is None and sessions.ben.stopped == GOODBYE
    assert "recheck_incomplete" in caplog.text or "looking at 'uid=ada' again failed" in caplog.text


def test_rounds_come_by_themselves_and_at_once_when_asked(sessions):
    directory = Directory()
    one = recheck(directory, sessions, interval=0.2)
    greenlet = gevent.spawn(one.run)
    gevent.sleep(0.4)
    assert len(directory.asked) >= 2
    slow = recheck(directory := Directory(), sessions, interval=3600.0)
    greenlet_too = gevent.spawn(slow.run)
    gevent.sleep(0.02)
    slow.at_once()
    gevent.sleep(0.02)
    assert len(directory.asked) == 2
    gevent.killall([greenlet, greenlet_too])


def test_a_round_is_spread_and_a_hurry_ends_its_pauses(sessions):
    directory = Directory()
    one = recheck(directory, sessions, interval=8.0)
    started = time.monotonic()
    greenlet = gevent.spawn(one.round, True)
    gevent.sleep(0.05)
    assert directory.asked == []
    one.at_once()
    greenlet.join(2)
    assert len(directory.asked) == 2 and time.monotonic() - started < 1
