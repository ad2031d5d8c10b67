"""What the tests of this room share."""

import pytest

from imapd.directory.ldifdirectory import LdifDirectory
from imapd.directory.person import AttributeMap
from tests.support.loop import PlainLoop

ALICE = """\
dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice Martin
givenName: Alice
sn: Martin
mail: alice@example.org
userPassword: wonderland
"""

BOB = """\
dn: uid=bob,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob Stone
cn: Robert Stone
givenName: Bob
sn: Stone
mail: bob@example.org
mail: stone@example.org
userPassword: {SSHA}JEN9ZRSNnpYRKEaDbI2ksOgKEehtYWlsYm94MQ==
"""


@pytest.fixture
def loop():
    return PlainLoop()


@pytest.fixture
def people_file(tmp_path):
    path = tmp_path / "people.ldif"
    path.write_text(f"version: 1\n\n{ALICE}\n{BOB}")
    path.chmod(0o600)
    return path


@pytest.fixture
def open_directory(loop):
    """Makes directories of the usual kind."""

    def make(path, name="local", mail_file="{short_name}", **arguments):
        return LdifDirectory(name, str(path), AttributeMap.load(mail_file=mail_file), loop, **arguments)

    return make
