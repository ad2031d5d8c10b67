"""Logins by LDAP through a whole daemon: two directories over TLS, one of which goes away and comes back."""

import time

import pytest

from tests.support.daemon import Daemon
from tests.support.slapd import Slapd, person

DIRECTORIES = """\
[directories]
  [[acme]]
  type = ldap
  order = 1
  uri = {acme.tls_uri}
  base = "{acme.base}"
  bind_dn = "{acme.service_dn}"
  bind_password_file = ldap.secret
  tls_ca = "{acme.ca_file}"
  domains = acme.example
  timeout = 2s
    [[[attributes]]]
    mail_file = mailMessageStore, "{{short_name}}"
    quota = mailQuota
  [[partner]]
  type = ldap
  order = 2
  uri = {partner.uri}
  starttls = required
  tls_ca = "{partner.ca_file}"
  base = "o=Partner"
  bind_dn = "{partner.service_dn}"
  bind_password_file = ldap.secret
  domains = partner.example
  naming_rules = "*/*/*/*/Partner/*",
  mail_prefix = partner
  [[people]]
  type = ldif
  order = 3
  file = people.ldif
  domains = example.org
"""


# What entries say of quotas.
QUOTAS = {"kim": "2097152S", "lee": "3M", "max": "as much as he likes", "ned": "0"}


@pytest.fixture
def acme(tmp_path):
    ada = person("ada", objectClass="qmailUser", mailMessageStore="big/ada")
    with Slapd(
        tmp_path / "acme",
        "\n".join(
            [
                ada,
                person("u8"),
                person("mia", objectClass="qmailUser", mailMessageStore="../boss"),
                *[person(name, objectClass="qmailUser", mailQuota=said) for name, said in QUOTAS.items()],
            ]
        ),
    ) as server:
        yield server


@pytest.fixture
def partner(tmp_path):
    with Slapd(
        tmp_path / "partner",
        person("u8", "o=Partner", mail="u8@partner.example", password="partner"),
        suffix="o=Partner",
    ) as server:
        yield server


@pytest.fixture
def daemon(tmp_path, acme, partner):
    daemon = Daemon(tmp_path / "imapd", mail="[quota]\ndefault = 1M\nmessages = 70")
    (daemon.folder / "ldap.secret").write_text("service\n")
    (daemon.folder / "ldap.secret").chmod(0o600)
    path = daemon.folder / "imapd.ini"
    text = path.read_text()
    old = text[text.index("[directories]") : text.index("[mail]")]
    path.write_text(text.replace(old, DIRECTORIES.format(acme=acme, partner=partner)))
    daemon.start()
    yield daemon
    daemon.stop()
    assert not daemon.tracebacks(), daemon.log()


def outcome(daemon, name, password="secret"):
    """The code in the answer to a login."""
    client = daemon.connect()
    try:
        _, tagged = client.command(f'LOGIN "{name}" "{password}"')
    finally:
        client.file.close()
        client.socket.close()
    return tagged.decode().partition("[")[2].split("]")[0].split()[0]


def test_people_of_all_directories_come_in_and_have_their_mail_where_it_belongs(daemon):
    expected = {
        "ada": "CAPABILITY",
        "ADA@acme.example": "CAPABILITY",
        "u8@partner.example": "AUTHENTICATIONFAILED",
        "nobody": "AUTHENTICATIONFAILED",
        "mia": "CONTACTADMIN",
    }
    assert {name: outcome(daemon, name) for name in expected} == expected
    assert outcome(daemon, "ada", "wrong") == "AUTHENTICATIONFAILED"
    assert outcome(daemon, "u8@partner.example", "partner") == "CAPABILITY"
    assert outcome(daemon, "anna@example.org") == "CAPABILITY"
    mail = daemon.folder / "mail"
    assert (
        (mail / "big" / "ada" / "cur").is_dir()
        and (mail / "partner" / "u8" / "cur").is_dir()
        and (mail / "anna").is_dir()
    )
    assert not (mail / "ada").exists()
    log = daemon.log().replace("ou=services", "").replace("ldap.secret", "")
    assert "service" not in log and "secret" not in log


def test_a_directory_that_is_silent_holds_up_its_own_people_only_and_is_back_by_itself(daemon, acme):
    assert outcome(daemon, "u8") == "CAPABILITY"
    acme.pause()
    try:
        started = time.monotonic()
        assert outcome(daemon, "u8", "partner") == "UNAVAILABLE"
        assert time.monotonic() - started < 5
        started = time.monotonic()
        assert outcome(daemon, "u8@partner.example", "partner") == "CAPABILITY"
        assert time.monotonic() - started < 2
    finally:
        acme.resume()
    deadline = time.monotonic() + 20
    while outcome(daemon, "u8") != "CAPABILITY":
        assert time.monotonic() < deadline, daemon.log()


def test_a_name_that_is_given_again_does_not_inherit_mail(daemon, acme):
    assert outcome(daemon, "u8") == "CAPABILITY"
    acme.delete(f"uid=u8,{acme.base}")
    acme.modify(person("u8", password="another"))
    assert outcome(daemon, "u8", "another") == "CONTACTADMIN" and "imapd-owner" in daemon.log()


def test_the_quota_of_an_entry_stands_above_the_default_and_nonsense_keeps_nobody_out(daemon):
    said = {}
    for name in ("ada", *QUOTAS):
        with daemon.connect() as client:
            client.ok(f"LOGIN {name}@acme.example secret")
            said[name] = client.ok('GETQUOTA ""')[0].decode().removeprefix('* QUOTA "" ')
    assert said == {
        "ada": "(STORAGE 0 1024 MESSAGE 0 70)",
        "kim": "(STORAGE 0 2048 MESSAGE 0 70)",
        "lee": "(STORAGE 0 3072 MESSAGE 0 70)",
        "max": "(STORAGE 0 1024 MESSAGE 0 70)",
        "ned": "(MESSAGE 0 70)",
    }
    assert "the quota b'as much as he likes' cannot be read" in daemon.log()
