"""The chain of directories as the settings make it."""

import pytest

from imapd.config import load
from imapd.model.errors import Refused
from imapd.server import directories, entrance, house
from tests.support.loop import PlainLoop

PEOPLE = """\
version: 1

dn: uid=ada,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: ada
cn: Ada
sn: Byron
mail: ada@example.org
userPassword: secret

dn: uid=eve,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: eve
cn: Eve
sn: Moss
mailHost: imap2.example.org
userPassword: secret

dn: cn=staff,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: staff
member: uid=ada,ou=people,dc=example,dc=org
"""

INI = """\
[service]
state_directory = state
name = imap.example.org
{service}
[listeners]
  [[imap]]
  port = 143
  security = plain
  plaintext_login = yes
  {listener}
  [[internal]]
  port = 1143
  security = plain
  plaintext_login = yes
  enforce_server_access = no
[directories]
  [[local]]
  type = ldif
  file = people.ldif
[mail]
root = mail
[authentication]
failure_delay = 0s
{rest}
"""


@pytest.fixture
def settings(tmp_path):
    """Makes settings out of lines for some of their sections."""
    (tmp_path / "people.ldif").write_text(PEOPLE)
    (tmp_path / "people.ldif").chmod(0o600)
    (tmp_path / "state").mkdir()

    def make(rest="", listener="", service=""):
        path = tmp_path / "imapd.ini"
        path.write_text(INI.format(rest=rest, listener=listener, service=service))
        return load(str(path))

    return make


def chain(settings, listener="imap"):
    loop = PlainLoop()
    opened = [directories.open_directory(settings, one, loop, True) for one in settings.directories]
    return entrance.chain(settings, opened, loop, None, None).at(listener)


def refused(chain, *arguments, **more):
    with pytest.raises(Refused) as error:
        chain.authenticate(*arguments, "192.0.2.1", **more)
    return error.value


def test_access_lists_are_in_force_where_they_are_enforced(settings):
    lists = 'allow = "cn=staff,ou=groups,dc=example,dc=org",\ndeny = bob@example.org,'
    served = "other_mail_server = serve\n"
    strict = settings(f"{served}[access]\nenforce = yes\n{lists}")
    assert chain(strict).authenticate("ada", b"secret", "::1").short_name == "ada"
    assert "not on the list" in refused(chain(strict), "eve", b"secret").reason
    assert chain(strict, "internal").authenticate("eve", b"secret", "::1").short_name == "eve"
    loose = settings(f"{served}[access]\n{lists}")
    assert chain(loose).authenticate("eve", b"secret", "::1").short_name == "eve"


def test_a_listener_has_lists_of_its_own(settings):
    rest = "[access]\nenforce = yes"
    assert (
        "denied access" in refused(chain(settings(rest, listener="deny = ada@example.org,")), "ada", b"secret").reason
    )


def test_lockout_counts_in_the_state_directory_for_all_workers(settings, tmp_path):
    strict = settings("[lockout]\nenforce = yes\nmax_tries = 3\nexpiration = 0s")
    for number in range(3):
        refused(chain(strict), "ada", b"%d" % number)
    assert "locked" in refused(chain(strict), "ada", b"secret").reason
    assert (tmp_path / "state" / "lockout.sqlite").exists()
    exempt = settings("[lockout]\nenforce = yes\nmax_tries = 3\nexempt_networks = 192.0.2.0/24,")
    assert chain(exempt).authenticate("ada", b"secret", "192.0.2.1").short_name == "ada"


def test_people_of_other_servers_are_refused_unless_this_one_has_that_name(settings):
    assert "imap2.example.org" in refused(chain(settings()), "eve", b"secret").reason
    assert refused(chain(settings("other_mail_server = referral")), "eve", b"secret").code.startswith(
        "REFERRAL imap://"
    )
    for more in ({"rest": "other_mail_server = serve"}, {"service": "aliases = imap2.example.org,"}):
        assert chain(settings(**more)).authenticate("eve", b"secret", "::1").short_name == "eve"


def test_administrators_come_from_the_settings(settings):
    some = settings('other_mail_server = serve\nadministrators = "uid=ada,ou=people,dc=example,dc=org",')
    assert chain(some).authenticate("ada", b"secret", "::1", authzid="eve").short_name == "eve"
    assert refused(chain(some), "eve", b"secret", authzid="ada").code == "AUTHORIZATIONFAILED"


def test_a_login_is_remembered_for_five_minutes_unless_the_settings_say_otherwise(settings):
    assert settings().authentication.cache == 300.0
    off = chain(settings("cache = 0s"))
    off.authenticate("ada", b"secret", "::1")
    assert off.flush() == 0
    on = chain(settings())
    on.authenticate("ada", b"secret", "::1")
    assert on.flush() == 1


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        ("[access]\nallow = cn=staff,ou=groups,dc=example,dc=org", r"\[access\] allow: 'cn=staff' is not"),
        ("[access]\ndeny = ada,", r"\[access\] deny: 'ada' is not"),
        ("administrators = *,", r"\[authentication\] administrators: \* would"),
        ("administrators = root,", r"\[authentication\] administrators: 'root' is not"),
        ("[lockout]\nexempt_networks = 192.0.2.0/33,", r"\[lockout\] exempt_networks: '192.0.2.0/33'"),
    ],
)
def test_a_list_that_cannot_be_read_stops_the_start_also_where_it_is_not_in_force(settings, rest, fault):
    with pytest.raises(house.HouseError, match=fault):
        house.check(settings(rest))


def test_a_listener_s_list_is_named_in_the_complaint(settings):
    with pytest.raises(house.HouseError, match=r"\[listeners\] \[\[imap\]\] allow: 'x' is not"):
        house.check(settings(listener="allow = x,"))
