"""Looks at a mailbox that many ask for at the same time: one for all who have come before it began."""

import gevent
import pytest
from gevent.event import Event

from imapd.mailstore.errors import FileLocked, Retry
from imapd.mailstore.looks import Looks
from imapd.server.loop import GeventLoop


class Mailbox:
    """Looks that take until they are let go; `seen` has what each found."""

    def __init__(self) -> None:
        self.looks = Looks(GeventLoop())
        self.gates: list[Event] = []
        self.outcomes: list[bool | Exception] = []

    def ask(self, read_write=True):
        """Somebody asks; the greenlet in which he waits."""
        asking = gevent.spawn(self._asked, read_write)
        gevent.idle()
        return asking

    def _asked(self, read_write):
        try:
            return self.looks.take(self._look, read_write)
        except (FileLocked, Retry) as error:
            return error

    def _look(self):
        gate, number = Event(), len(self.gates)
        self.gates.append(gate)
        gate.wait(10)
        outcome = self.outcomes[number] if number < len(self.outcomes) else True
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def end(self, number):
        self.gates[number].set()
        gevent.idle()


@pytest.fixture
def mailbox():
    return Mailbox()


def values(*asked):
    gevent.joinall(asked, timeout=10)
    return [one.value for one in asked]


def test_who_comes_while_a_look_is_under_way_shares_the_next_one(mailbox):
    first, others = mailbox.ask(), [mailbox.ask() for _ in range(5)]
    mailbox.end(0)
    assert first.ready() and not any(other.ready() for other in others)
    mailbox.end(1)
    assert values(first, *others) == [True] * 6 and len(mailbox.gates) == 2


def test_a_look_serves_nobody_who_came_after_it_began(mailbox):
    first, second = mailbox.ask(), mailbox.ask()
    mailbox.end(0)
    third = mailbox.ask()  # the second look is under way
    mailbox.end(1)
    assert second.ready() and not third.ready()
    mailbox.end(2)
    assert values(first, second, third) == [True] * 3 and len(mailbox.gates) == 3


def test_what_is_left_to_take_in_and_refusals_are_told_to_all_who_share_the_look(mailbox):
    mailbox.outcomes = [FileLocked(reason="held"), False]
    first, second, third = mailbox.ask(), mailbox.ask(), mailbox.ask()
    mailbox.end(0)
    mailbox.end(1)
    assert isinstance(values(first)[0], FileLocked) and values(second, third) == [False, False]
    mailbox.outcomes += [True, Retry(reason="elsewhere")]
    asked = [mailbox.ask() for _ in range(4)]
    mailbox.end(2)
    mailbox.end(3)
    assert values(asked[0]) == [True] and all(isinstance(one, Retry) for one in values(*asked[1:]))


def test_a_look_that_moves_nothing_on_is_none_for_who_may(mailbox):
    first, reading, writing, also = (mailbox.ask(how) for how in (True, False, True, False))
    mailbox.end(0)
    mailbox.end(1)
    assert reading.ready() and not writing.ready()
    mailbox.end(2)
    assert values(first, reading, writing, also) == [True] * 4 and len(mailbox.gates) == 3


def test_who_is_killed_in_his_look_leaves_the_others_to_take_one(mailbox):
    first, second = mailbox.ask(), mailbox.ask()
    first.kill()
    gevent.idle()
    mailbox.end(1)
    assert values(second) == [True] and len(mailbox.gates) == 2
