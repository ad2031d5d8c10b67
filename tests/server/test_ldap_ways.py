"""SCRAM, client certificates and the second look at live sessions, with people in an LDAP server."""

import base64
import signal
import socket
import time

import pytest

from imapd.directory.scram import ScramVerifier
from tests.server.test_ports import by_certificate, scram
from tests.support.certificates import Authority
from tests.support.daemon import Client, Daemon, insecure_context
from tests.support.slapd import Slapd, person

GOODBYE = b"* BYE You are not let in here any more\r\n"
CA = Authority("Acme CA")
ADA, BEN, SAME_NUMBER = CA.issue("ada", serial=77), CA.issue("ben"), CA.issue("ada", serial=77)
VERIFIER = base64.b64encode(ScramVerifier.make("wonderland", 4096).written().encode()).decode()

DIRECTORIES = """\
[directories]
  [[acme]]
  type = ldap
  uri = {acme.tls_uri}
  tls_ca = "{acme.ca_file}"
  base = "{acme.base}"
  bind_dn = "{acme.service_dn}"
  bind_password_file = ldap.secret
  domains = acme.example
  scram = yes
  trusted_for = credentials, certificates, groups
  timeout = 2s
"""
STAFF = "dn: cn=staff,dc=acme,dc=example\nobjectClass: groupOfNames\ncn: staff\n{members}\n"


def entry(name, certificate):
    held = f"userCertificate;binary:: {base64.b64encode(certificate.der).decode()}\nauthPassword:: {VERIFIER}\n"
    return person(name, objectClass="authPasswordObject") + held


@pytest.fixture
def acme(tmp_path):
    with Slapd(tmp_path / "acme", "\n".join([entry("ada", ADA), entry("ben", BEN)])) as server:
        yield server


@pytest.fixture
def daemon(tmp_path, acme):
    daemon = Daemon(tmp_path / "imapd", workers=1)
    daemon.people = {"ada": "secret", "ben": "secret"}
    (daemon.folder / "ldap.secret").write_text("service\n")
    (daemon.folder / "ldap.secret").chmod(0o600)
    (daemon.folder / "ca.pem").write_bytes(CA.itself.pem)
    for name, one in (("ada", ADA), ("ben", BEN), ("same", SAME_NUMBER)):
        one.write(daemon.folder, name)
    path = daemon.folder / "imapd.ini"
    text = path.read_text()
    old = text[text.index("[directories]") : text.index("[mail]")]
    text = text.replace(old, DIRECTORIES.format(acme=acme))
    text = text.replace("  security = tls\n", "  security = tls\n  client_certificate = optional\n")
    text = text.replace("[tls]\n", "[tls]\nclient_ca = ca.pem\n")
    path.write_text(text.replace("[authentication]\n", "[authentication]\nrecheck = 0.5s\n"))
    yield daemon.start()
    daemon.stop()
    assert not daemon.tracebacks(), daemon.log()


def dial(daemon, certificate):
    context = insecure_context()
    context.load_cert_chain(daemon.folder / f"{certificate}.pem", daemon.folder / f"{certificate}.key")
    raw = socket.create_connection(("127.0.0.1", daemon.tls_port), timeout=20)
    return Client(context.wrap_socket(raw, server_hostname="localhost"))


def test_a_verifier_in_the_entry_serves_scram_while_the_directory_goes_on_to_judge_passwords(daemon):
    with daemon.connect() as client:
        assert b"AUTH=SCRAM-SHA-256" in client.ok("CAPABILITY")[0]
        assert b"NO [AUTHENTICATIONFAILED]" in scram(client, "ada", "secret")
        assert b" OK " in scram(client, "ada@acme.example", "wonderland")
    daemon.login("ada").close()


def test_while_the_directory_is_away_scram_makes_nobody_up(daemon, acme):
    acme.stop()
    with daemon.connect() as client:
        assert b"NO [UNAVAILABLE]" in scram(client, "nobody", "wonderland")
        assert b"NO [UNAVAILABLE]" in scram(client, "ada", "wonderland")


def test_a_certificate_is_found_in_its_entry_and_one_like_it_is_not(daemon):
    with dial(daemon, "ben") as client:
        assert by_certificate(client).startswith("OK")
        client.ok("NOOP")
        assert 'person="Ben Example"' in daemon.log()
    with dial(daemon, "same") as client:
        assert by_certificate(client).startswith("NO [AUTHENTICATIONFAILED]")


def test_who_is_deleted_loses_his_sessions_and_a_silent_server_ends_nobodys(daemon, acme):
    with daemon.login("ada") as ada, dial(daemon, "ben") as ben:
        assert by_certificate(ben).startswith("OK")
        acme.pause()
        try:
            time.sleep(3)
            ada.ok("NOOP")
            ben.ok("NOOP")
        finally:
            acme.resume()
        acme.delete(f"uid=ada,{acme.base}")
        assert ada.response() == GOODBYE
        ben.ok("NOOP")
    assert "recheck_incomplete" in daemon.log() and "is gone from acme" in daemon.log()


def test_who_leaves_the_group_that_is_let_in_leaves(daemon, acme):
    people = "ou=people,dc=acme,dc=example"
    acme.modify(STAFF.format(members=f"member: uid=ada,{people}\nmember: uid=ben,{people}"))
    path = daemon.folder / "imapd.ini"
    path.write_text(path.read_text() + '[access]\nenforce = yes\nallow = "cn=staff,dc=acme,dc=example",\n')
    daemon.process.send_signal(signal.SIGHUP)
    while " reloaded " not in daemon.log():
        time.sleep(0.05)
    with daemon.login("ada") as ada, daemon.login("ben") as ben:
        time.sleep(1.2)
        ada.ok("NOOP")
        change = f"dn: cn=staff,dc=acme,dc=example\nchangetype: modify\ndelete: member\nmember: uid=ada,{people}\n"
        acme.modify(change)
        assert ada.response() == GOODBYE
        ben.ok("NOOP")
