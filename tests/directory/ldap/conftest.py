"""LDAP servers for the tests of this room.

`acme` and `partner` live as long as the run, and no test may change or stop them; `make_slapd` makes some of a test's
own, which may. `open_pool` opens connections as the service, on a real loop.
"""

import dataclasses

import gevent
import pytest

from imapd.directory.ldapconn import Identity, Places, Pool
from imapd.server.loop import GeventLoop
from tests.directory.ldap import support
from tests.support.slapd import Slapd, people


@pytest.fixture(scope="session")
def acme(tmp_path_factory):
    """dc=acme,dc=example with ada, ben and u8."""
    with Slapd(tmp_path_factory.mktemp("acme") / "slapd", people("ada", "ben", "u8")) as server:
        yield server


@pytest.fixture(scope="session")
def partner(tmp_path_factory):
    """o=Partner with eve and another u8."""
    entries = people("eve", "u8", suffix="o=Partner")
    with Slapd(tmp_path_factory.mktemp("partner") / "slapd", entries, suffix="o=Partner") as server:
        yield server


@pytest.fixture
def make_slapd(tmp_path):
    """Makes servers, started; the arguments are those of Slapd."""
    made = []

    def make(entries=None, **arguments):
        server = Slapd(
            tmp_path / f"slapd{len(made)}", people("ada", "ben") if entries is None else entries, **arguments
        )
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.close()


@pytest.fixture
def gevent_loop():
    loop = GeventLoop()
    yield loop
    loop.close()
    gevent.sleep(0)


@pytest.fixture
def open_pool(gevent_loop):
    """Connections to a server, or to URIs; arguments as for Places."""
    opened = []

    def open(server, **changes):
        places = (
            places_of(server) if isinstance(server, Slapd) else Places(uris=tuple(server), base="dc=acme,dc=example")
        )
        pool = Pool(dataclasses.replace(places, **changes), gevent_loop)
        opened.append(pool)
        return pool

    yield open
    for pool in opened:
        pool.close()


def places_of(server):
    return Places(
        uris=(server.uri,),
        base=server.base,
        identity=Identity(server.service_dn, server.service_password.encode()),
        ca_file=server.ca_file,
    )


class Heart:
    """Beats every 5 ms in a greenlet, to notice who keeps the loop for himself."""

    def __init__(self, loop):
        self._loop = loop
        self.begin()

    def begin(self):
        """Forget what was before."""
        self._last, self._longest = self._loop.monotonic(), 0.0

    def longest(self):
        """The longest time between two beats, in seconds."""
        return max(self._longest, self._loop.monotonic() - self._last)

    def beat(self):
        while True:
            gevent.sleep(0.005)
            self._longest = self.longest()
            self._last = self._loop.monotonic()


@pytest.fixture
def heart(gevent_loop):
    heart = Heart(gevent_loop)
    greenlet = gevent.spawn(heart.beat)
    yield heart
    greenlet.kill()


@pytest.fixture
def open_directory():
    """Makes directories over servers; the arguments are those of support.open_directory."""
    made = []

    def make(server, **arguments):
        made.append(support.open_directory(server, **arguments))
        return made[-1]

    yield make
    for directory in made:
        directory.close()
