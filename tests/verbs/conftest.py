"""A site for the verbs: two LDAP servers, a configuration file, and `imapd` as an administrator types it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.slapd import Slapd, people, person

SITE = """\
[service]
state_directory = state
{service}
[listeners]
  [[imaps]]
  port = 9993
  security = tls
  client_certificate = optional
  [[hard]]
  port = 9994
  security = tls
  client_certificate = required
  require_both = yes
  [[cold]]
  port = 9143
  name_password = no
  client_certificate = optional
  [[old]]
  port = 9144
  status = disabled
[tls]
certificate = server.pem
key = server.key
client_ca = clients.pem
[authentication]
failure_delay = 30s
cache = 0s
[directories]
  [[acme]]
  type = ldap
  uri = {uri}
  base = "ou=people,dc=acme,dc=example"
  bind_dn = "cn=imapd,ou=services,dc=acme,dc=example"
  bind_password_file = acme.secret
  tls_ca = {ca}
  domains = acme.example
  flat_names = yes
  trusted_for = credentials, certificates, groups
{acme}
  [[partner]]
  type = ldap
  order = 2
  uri = {partner}
  base = "o=Partner"
  domains = partner.example
  mail_prefix = partner
  timeout = 2s
[access]
enforce = yes
deny = "uid=leaver,ou=people,dc=acme,dc=example",
[lockout]
enforce = yes
max_tries = 3
[mail]
root = mail
create = yes
{more}
"""


@pytest.fixture(scope="session")
def clients():
    """The authority of the clients' certificates, and ada's."""
    authority = Authority("Clients CA")
    return authority, authority.issue("ada")


@pytest.fixture(scope="session")
def acme(tmp_path_factory, clients):
    """dc=acme,dc=example: ada with a certificate, ben, leaver, and two who are called twin."""
    import base64

    der = base64.b64encode(clients[1].der).decode()
    entries = [
        person("ada") + f"userCertificate;binary:: {der}\n",
        people("ben", "leaver"),
        person("twin1", cn="Twin"),
        person("twin2", cn="Twin"),
    ]
    with Slapd(tmp_path_factory.mktemp("acme") / "slapd", "\n".join(entries)) as server:
        yield server


class Site:
    """The configuration in a folder. Changes are pieces of it: service, acme, more, uri, partner."""

    def __init__(self, folder: Path, server: Slapd, clients) -> None:
        self.folder = folder
        self.server = server
        authority, ada = clients
        (folder / "clients.pem").write_bytes(authority.itself.pem)
        ada.write(folder, "ada")
        authority.issue("server").write(folder, "server")
        (folder / "server.key").chmod(0o600)
        self.secret(server.service_password)
        for name in ("state", "mail"):
            (folder / name).mkdir()
        self.write()

    def write(self, **pieces: str) -> None:
        values = {"service": "", "acme": "", "more": "", "uri": self.server.tls_uri, "partner": "ldap://127.0.0.1:1"}
        (self.folder / "imapd.ini").write_text(SITE.format(**(values | {"ca": self.server.ca_file} | pieces)))

    def secret(self, text: str) -> None:
        (self.folder / "acme.secret").write_text(text + "\n")
        (self.folder / "acme.secret").chmod(0o600)

    def imapd(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Exit code, and what was said."""
        command = [sys.executable, "-m", "imapd", *arguments, "-c", str(self.folder / "imapd.ini")]
        done = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=60)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def site(tmp_path, acme, clients):
    return Site(tmp_path, acme, clients)
