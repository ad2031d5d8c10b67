"""Directories made of settings: what can be seen to be wrong before a server is asked, and what is handed down."""

import subprocess
import sys

import pytest

from imapd.config import load
from imapd.directory.ldapvalues import Identity
from imapd.directory.names import LoginName
from imapd.directory.verdict import Verdict
from imapd.server import directories, house
from tests.support.loop import PlainLoop
from tests.support.slapd import Slapd, person

INI = """
[listeners]
  [[imap]]
  port = 1143
  security = plain
  plaintext_login = yes
[directories]
  [[acme]]
  type = ldap
  uri = {uri}
  base = "ou=people,dc=acme,dc=example"
  bind_dn = "cn=imapd,ou=services,dc=acme,dc=example"
  bind_password_file = secret
{lines}
[mail]
root = mail
"""


@pytest.fixture
def declared(tmp_path):
    """Makes settings with one LDAP directory."""
    (tmp_path / "secret").write_text("service\n")
    (tmp_path / "secret").chmod(0o600)

    def make(lines="", uri="ldaps://ldap1.acme.example"):
        path = tmp_path / "imapd.ini"
        path.write_text(INI.format(uri=uri, lines=lines))
        return load(str(path))

    return make


def test_the_settings_become_places(declared):
    lines = 'canary = "uid=ada,dc=acme"\nstarttls = required\ntimeout = 10s\nconnections = 8'
    where = directories.places(declared(lines, "ldap://a, ldap://b:390/").directories[0])
    assert where.uris == ("ldap://a", "ldap://b:390/") and where.base == "ou=people,dc=acme,dc=example"
    assert where.identity == Identity("cn=imapd,ou=services,dc=acme,dc=example", b"service")
    assert where.starttls and where.canary == "uid=ada,dc=acme"
    assert (where.operation_seconds, where.answer_seconds, where.connections) == (10.0, 4.0, 8)


def test_the_password_is_in_no_text(declared):
    assert "service'" not in repr(directories.places(declared().directories[0]))


FAULTS = [
    ("preset = ad\nverify = hash", "verify = bind"),
    ("preset = domino\nscram = yes", "SCRAM"),
    ("tls_ca = nowhere.pem", "nowhere.pem cannot be read"),
    ("mail_prefix = ../x", "mail_prefix"),
    ('naming_rules = "*/Acme",', "six parts"),
    ("[[[attributes]]]\nstatus = acountStatus", "acountStatus"),
    ('[[[attributes]]]\nmail_file = "{uid}"', "template"),
]


@pytest.mark.parametrize(("lines", "words"), FAULTS)
def test_what_is_wrong_is_said_before_a_server_is_asked(declared, lines, words):
    with pytest.raises(house.HouseError, match=words) as error:
        house.check(declared(lines))
    assert str(error.value).startswith("[directories] [[acme]]: ")


@pytest.mark.parametrize("uri", ["http://a", "ldap://a/dc=acme", "ldap://", "a"])
def test_a_uri_that_is_none_is_said(declared, uri):
    with pytest.raises(house.HouseError, match="acme"):
        house.check(declared(uri=uri))


@pytest.mark.parametrize("text", ["", "\n", "one\ntwo\n", "x" * 5000])
def test_a_password_file_has_one_line(declared, tmp_path, text):
    (tmp_path / "secret").write_text(text)
    with pytest.raises(house.HouseError, match="one line"):
        house.check(declared())


def test_a_password_file_that_is_missing_is_said(declared, tmp_path):
    (tmp_path / "secret").unlink()
    with pytest.raises(house.HouseError, match="secret cannot be read"):
        house.check(declared())


def test_everybody_may_not_read_the_password(declared, tmp_path, caplog):
    house.check(declared())
    assert not caplog.text
    (tmp_path / "secret").chmod(0o644)
    house.check(declared())
    assert "everybody may read" in caplog.text


CLEAR = [
    ("ldap://ldap.acme.example", "", True),
    ("ldap://ldap.acme.example", "starttls = required", False),
    ("ldaps://ldap.acme.example", "", False),
    ("ldap://localhost", "", False),
    ("ldapi://%2Frun%2Fldapi", "", False),
    ("ldap+srv://acme.example", "", True),
    ("ldaps://a, ldap://b", "", True),
]


@pytest.mark.parametrize(("uri", "lines", "warned"), CLEAR)
def test_passwords_without_tls_are_warned_of(declared, caplog, uri, lines, warned):
    house.check(declared(lines, uri))
    assert ("without TLS" in caplog.text) is warned


def test_the_master_does_not_bring_the_library_that_has_to_be_patched():
    code = "import sys, imapd.server.house, imapd.server.directories; sys.exit('ldap3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_directory_of_the_settings_lets_people_in(declared, tmp_path):
    with Slapd(tmp_path / "slapd", person("ada", description="big/ada")) as server:
        made = declared("flat_names = yes\n[[[attributes]]]\nmail_file = description", server.uri)
        opened = directories.open_directory(made, made.directories[0], PlainLoop(), primary=True)
        ada = opened.find(LoginName.parse("ada"))
        assert ada.mail_file == "big/ada" and ada.identity.startswith("acme/")
        assert opened.verify(ada, b"secret") is Verdict.RIGHT
        assert not opened.offers_scram
        opened.close()
