"""LDAP servers for the tests of this room.

`acme` and `partner` live as long as the run, and no test may change or stop them; `make_slapd` makes some of a test's
own, which may.
"""

import pytest

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
        server = Slapd(tmp_path / f"slapd{len(made)}", people("ada", "ben") if entries is None else entries, **arguments)
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.close()
