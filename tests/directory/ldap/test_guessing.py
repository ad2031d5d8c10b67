"""Guessing at the door of a server that locks people by itself: it does not come to that."""

import gevent
import pytest

from imapd.directory.chain import DirectoryChain, Policy
from imapd.directory.lockout import Lockout
from imapd.directory.tries import Rules
from imapd.model.errors import Refused

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def slapd(make_slapd):
    return make_slapd(policy=True)


def failures(slapd):
    return len(slapd.values(f"uid=ada,{slapd.base}", "pwdFailureTime"))


def refuse(chain, password, name="ada"):
    with pytest.raises(Refused):
        chain.authenticate(name, password, HOME)


def test_twenty_wrong_passwords_do_not_set_off_the_directory_s_own_lockout(slapd, open_directory, gevent_loop):
    chain = DirectoryChain([open_directory(slapd, loop=gevent_loop)], gevent_loop, Policy(delay=0))
    for number in range(20):
        refuse(chain, b"wrong %d" % number, ("ada", "ADA", "ada@acme.example")[number % 3])
    assert failures(slapd) < 5
    assert chain.authenticate("ada", b"secret", ELSEWHERE).short_name == "ada"


def test_nor_do_twenty_at_once_by_four_workers(slapd, open_directory, gevent_loop, tmp_path):
    path = str(tmp_path / "lockout.sqlite")
    chains = [
        DirectoryChain(
            [open_directory(slapd, loop=gevent_loop)], gevent_loop, Policy(delay=0), Lockout(gevent_loop, Rules(), path)
        )
        for _ in range(4)
    ]
    guesses = [gevent.spawn(refuse, chains[number % 4], b"wrong %d" % number) for number in range(20)]
    gevent.joinall(guesses, raise_error=True, timeout=20)
    assert failures(slapd) < 5


def test_a_login_that_is_remembered_asks_the_server_nothing(slapd, open_directory, gevent_loop):
    chain = DirectoryChain([open_directory(slapd, loop=gevent_loop)], gevent_loop, Policy(delay=0, cache=300))
    password = b"secret"
    chain.authenticate("ada", password, HOME)
    slapd.stop()
    assert chain.authenticate("ada", password, HOME).short_name == "ada"
