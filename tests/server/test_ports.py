"""The ports and their methods, every cell of the table tried over real sockets with real certificates.

One daemon has a listener for each row. Ada and Ben have certificates in their entries, and so have those whose
certificates do not count: revoked, expired, meant for servers, or in two entries.
"""

import base64
import signal
import socket
import ssl
import time

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from imapd.directory.scram import ScramVerifier
from tests.support.certificates import Authority, self_signed
from tests.support.daemon import Client, Daemon, free_ports, insecure_context
from tests.support.scramclient import scram_client

LISTENERS = {
    "clear": "security = plain\nplaintext_login = yes",
    "clear without": "security = starttls\nname_password = no\nclient_certificate = optional",
    "starttls": "security = starttls\nclient_certificate = optional",
    "starttls required": "security = starttls\nplaintext_login = yes\nclient_certificate = required",
    "redirect": "status = redirect",
    "disabled": "status = disabled",
    "tls": "security = tls",
    "optional": "security = tls\nclient_certificate = optional",
    "optional without": "security = tls\nclient_certificate = optional\nname_password = no",
    "required": "security = tls\nclient_certificate = required",
    "required without": "security = tls\nclient_certificate = required\nname_password = no",
    "both": "security = tls\nclient_certificate = required\nrequire_both = yes",
}
PEOPLE = ("ada", "ben", "revoked", "expired", "serverly", "twin", "twinned")
PASSWORD = "wonderland"


def entry(name, *ders):
    verifier = ScramVerifier.make(PASSWORD, 4096).written()
    certificates = "".join(f"userCertificate;binary:: {base64.b64encode(der).decode()}\n" for der in ders)
    return (
        f"dn: uid={name},dc=example\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name} Example\nsn: Example\n"
        f"authPassword: {verifier}\n{certificates}"
    )


class Site(Daemon):
    """The daemon of these tests."""

    def __init__(self, folder):
        super().__init__(folder, workers=1)
        self.ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
        self.port, self.tls_port = self.ports["clear"], self.ports["tls"]
        authority, forger = Authority("Acme CA"), Authority("Acme CA")
        self.certificates = {
            "ada": authority.issue("ada", serial=7),
            "ben": authority.issue("ben"),
            "revoked": authority.issue("revoked"),
            "expired": authority.issue("expired", days=-1),
            "serverly": authority.issue("serverly", purpose=ExtendedKeyUsageOID.SERVER_AUTH),
            "twin": authority.issue("twin"),
            "stranger": authority.issue("ada", serial=8),  # ada's name, and nobody's entry has it
            "forged": forger.issue("ada", serial=7),
            "foreign": Authority("Other CA").issue("ada", serial=7),
        }
        self.paths = {name: one.write(folder, name) for name, one in self.certificates.items()}
        (folder / "ca.pem").write_bytes(authority.itself.pem)
        (folder / "crl.pem").write_bytes(authority.revocations(self.certificates["revoked"]))
        other, other_key = self_signed("other.example")
        (folder / "other.pem").write_bytes(other)
        (folder / "other.key").write_bytes(other_key)
        self.authority = authority
        ders = {name: [one.der] for name, one in self.certificates.items()} | {
            "twinned": [self.certificates["twin"].der]
        }
        people = folder / "people.ldif"
        people.write_text("version: 1\n\n" + "\n".join(entry(name, *ders[name]) for name in PEOPLE))
        listeners = "".join(
            f"  [[{name}]]\n  address = 127.0.0.1\n  port = {self.ports[name]}\n"
            + settings.replace("\n", "\n  ")
            + "\n"
            for name, settings in LISTENERS.items()
        )
        (folder / "imapd.ini").write_text(
            "[service]\nworkers = 1\nstate_directory = state\nshutdown_timeout = 5s\nname = mail.example\n"
            f"[listeners]\n{listeners}"
            "[tls]\ncertificate = cert.pem\nkey = key.pem\nclient_ca = ca.pem\nclient_crl = crl.pem\n"
            "  [[other.example]]\n  certificate = other.pem\n  key = other.key\n"
            "[authentication]\nfailure_delay = 0s\nrecheck = 1s\n"
            "[directories]\n  [[people]]\n  type = ldif\n  file = people.ldif\n  trusted_for = credentials, certificates\n"
            "[mail]\nroot = mail\ncreate = yes\n[log]\nlevel = debug\n"
        )

    def dial(self, listener, certificate=None, version=None):
        """A client at that listener, with that certificate; in TLS where the listener begins with it."""
        raw = socket.create_connection(("127.0.0.1", self.ports[listener]), timeout=20)
        if "security = tls" in LISTENERS[listener]:
            raw = self.context(certificate, version).wrap_socket(raw, server_hostname="localhost")
        return Client(raw)

    def context(self, certificate=None, version=None):
        context = insecure_context()
        if version:
            context.maximum_version = version
        if certificate:
            context.load_cert_chain(*self.paths[certificate])
        return context

    def starttls(self, client, certificate=None):
        client.ok("STARTTLS")
        client.file.close()
        client.socket = self.context(certificate).wrap_socket(client.socket, server_hostname="localhost")
        client.file = client.socket.makefile("rb")
        return client


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    daemon = Site(tmp_path_factory.mktemp("ports")).start()
    yield daemon
    daemon.stop()
    assert daemon.tracebacks() == []


def words(client):
    return set(client.ok("CAPABILITY")[0].decode().split()[2:])


def by_password(client, name="ada", password=PASSWORD):
    return client.command(f"LOGIN {name} {password}")[1].decode()


def by_certificate(client, authzid=""):
    response = base64.b64encode(authzid.encode()).decode() or "="
    return client.command(f"AUTHENTICATE EXTERNAL {response}")[1].decode()


def who(site, client):
    """The last login in the log, once it is there."""
    client.ok("NOOP")
    return [line for line in site.log().splitlines() if " login " in line][-1]


SCRAM = {"AUTH=SCRAM-SHA-256"}
PASSWORDS = {"AUTH=PLAIN", "AUTH=LOGIN"}
CERTIFICATE = {"AUTH=EXTERNAL"}
PLUS = {"AUTH=SCRAM-SHA-256-PLUS"}
ALL = SCRAM | PASSWORDS | CERTIFICATE | PLUS | {"LOGINDISABLED", "AUTH=OAUTHBEARER", "AUTH=XOAUTH2", "AUTH=CRAM-MD5"}

# listener, certificate, what is offered, whether a password lets in, whether the certificate does
TABLE = [
    ("clear", None, SCRAM | PASSWORDS, True, False),
    ("clear without", None, {"LOGINDISABLED"}, False, False),
    ("starttls", None, SCRAM | {"LOGINDISABLED"}, False, False),
    ("starttls required", None, {"LOGINDISABLED"}, False, False),
    ("tls", None, PLUS | SCRAM | PASSWORDS, True, False),
    ("tls", "ada", PLUS | SCRAM | PASSWORDS, True, False),  # nobody asks for it
    ("optional", None, PLUS | SCRAM | PASSWORDS, True, False),
    ("optional", "ada", PLUS | SCRAM | PASSWORDS | CERTIFICATE, True, True),
    ("optional", "stranger", PLUS | SCRAM | PASSWORDS | CERTIFICATE, True, False),
    ("optional", "twin", PLUS | SCRAM | PASSWORDS | CERTIFICATE, True, False),
    ("optional", "forged", PLUS | SCRAM | PASSWORDS, True, False),
    ("optional", "revoked", PLUS | SCRAM | PASSWORDS, True, False),
    ("optional", "expired", PLUS | SCRAM | PASSWORDS, True, False),
    ("optional", "serverly", PLUS | SCRAM | PASSWORDS, True, False),
    ("optional without", None, {"LOGINDISABLED"}, False, False),
    ("optional without", "ada", CERTIFICATE | {"LOGINDISABLED"}, False, True),
    ("optional without", "stranger", CERTIFICATE | {"LOGINDISABLED"}, False, False),
    ("required", "ada", PLUS | SCRAM | PASSWORDS | CERTIFICATE, True, True),
    ("required", "stranger", PLUS | SCRAM | PASSWORDS | CERTIFICATE, True, False),
    ("required without", "ada", CERTIFICATE | {"LOGINDISABLED"}, False, True),
    ("required without", "stranger", CERTIFICATE | {"LOGINDISABLED"}, False, False),
    ("both", "ada", PLUS | SCRAM | PASSWORDS, True, False),
    ("both", "stranger", PLUS | SCRAM | PASSWORDS, False, False),
]


@pytest.mark.parametrize(("listener", "certificate", "offered", "password", "external"), TABLE)
def test_a_port_offers_and_takes_what_it_should(site, listener, certificate, offered, password, external):
    with site.dial(listener, certificate) as client:
        assert words(client) & ALL == offered
        assert by_certificate(client).startswith("OK") == external
    with site.dial(listener, certificate) as client:
        assert by_password(client).startswith("OK") == password


NO_HANDSHAKE = [
    (listener, certificate, reason)
    for listener in ("required", "required without", "both")
    for certificate, reason in [
        (None, "peer did not return a certificate"),
        ("forged", "its authority has not signed it"),
        ("foreign", "its authority is not one of client_ca"),
        ("revoked", "it is revoked"),
        ("expired", "it has expired"),
        ("serverly", "it is not meant for clients"),
    ]
]


@pytest.mark.parametrize(("listener", "certificate", "reason"), NO_HANDSHAKE)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_where_a_certificate_is_required_the_handshake_fails_without_a_good_one(
    site, listener, certificate, reason, version
):
    before = site.log().count(reason)
    # A client of TLS 1.3 has finished by the time its certificate is looked at, and learns it when it reads.
    context = site.context(certificate, version)
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        socket.create_connection(("127.0.0.1", site.ports[listener]), timeout=20) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        assert tls.recv(1) == b""
        raise ConnectionError("closed")
    deadline = time.monotonic() + 5
    while site.log().count(reason) == before:
        assert time.monotonic() < deadline, site.log()[-2000:]
        time.sleep(0.02)
    assert "tls_failed" in site.log()


def test_the_log_tells_why_a_certificate_was_ignored(site):
    with site.dial("optional", "revoked") as client:
        client.ok("NOOP")
        assert 'certificate_ignored="it is revoked"' in site.log()


def test_a_redirected_client_is_told_the_port_and_served_nothing(site):
    raw = socket.create_connection(("127.0.0.1", site.ports["redirect"]), timeout=20)
    raw.sendall(b"a LOGIN ada wonderland\r\n")
    heard = raw.makefile("rb").read()
    raw.close()
    port = site.ports["tls"]
    assert heard == f"* BYE Please connect to port {port}, with TLS from the beginning.\r\n".encode()


def test_a_disabled_port_is_closed(site):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", site.ports["disabled"]), timeout=5)


def test_who_the_certificate_lets_in_is_whose_entry_holds_it(site):
    with site.dial("optional", "ben") as client:
        assert by_certificate(client).startswith("OK")
        assert 'person="ben Example"' in who(site, client) and "method=EXTERNAL" in who(site, client)


def test_a_certificate_is_no_way_to_act_as_somebody_else(site):
    for authzid, outcome in (("ada", "OK"), ("uid=ada,dc=example", "OK"), ("ben", "NO [AUTHORIZATIONFAILED]")):
        with site.dial("optional", "ada") as client:
            assert by_certificate(client, authzid).startswith(outcome), authzid


def test_a_name_in_a_certificate_that_is_nobodys_is_refused_and_the_log_knows_why(site):
    with site.dial("required without", "stranger") as client:
        assert by_certificate(client).startswith("NO [AUTHENTICATIONFAILED]")
        client.ok("NOOP")
    assert "trusted for certificates" in site.log()


def test_where_both_are_wanted_they_are_one_person(site):
    with site.dial("both", "ada") as client:
        assert by_password(client, "ben").startswith("NO [AUTHENTICATIONFAILED]")
        client.ok("NOOP")
        assert "the certificate is that of 'uid=ada,dc=example'" in site.log()
        assert by_password(client, "ada", "wrong").startswith("NO [AUTHENTICATIONFAILED]")
        assert by_certificate(client).startswith("NO")
        assert by_password(client, "ada").startswith("OK")


def test_the_certificate_comes_with_starttls_too(site):
    with site.dial("starttls") as client:
        assert by_certificate(client).startswith("NO")
        site.starttls(client, "ada")
        assert words(client) & ALL == PLUS | SCRAM | PASSWORDS | CERTIFICATE
        assert by_certificate(client).startswith("OK")


def test_before_starttls_nothing_is_taken_where_a_certificate_is_required(site):
    with site.dial("starttls required") as client:
        assert by_password(client).startswith("NO [PRIVACYREQUIRED]")
        site.starttls(client, "ben")
        assert by_password(client, "ada").startswith("OK")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("listener", "resumed"), [("tls", True), ("optional", False), ("required", False)])
def test_a_session_of_tls_is_not_resumed_without_showing_the_certificate_again(site, listener, version, resumed):
    context = site.context("ada", version)
    session = None
    for _ in range(2):
        raw = socket.create_connection(("127.0.0.1", site.ports[listener]), timeout=20)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as tls, Client(tls) as client:
            client.ok("NOOP")
            reused, session = tls.session_reused, tls.session
    assert reused == resumed


# --- SCRAM over the wire


class OpenSslSocket:
    """What pyOpenSSL has of a socket, as Client wants it; unlike Python's ssl it gives tls-exporter data."""

    def __init__(self, port, version=SSL.TLS1_3_VERSION):
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        raw = socket.create_connection(("127.0.0.1", port))
        self.connection = SSL.Connection(context, raw)
        self.connection.set_connect_state()
        self.connection.do_handshake()
        self.sendall = self.connection.sendall

    def exporter(self):
        return self.connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")

    def makefile(self, mode):
        return self

    def readline(self):
        line = b""
        while not line.endswith(b"\n"):
            try:
                line += self.connection.recv(1)
            except (SSL.ZeroReturnError, SSL.SysCallError):
                break
        return line

    def close(self):
        self.connection.close()


def scram(client, name, password, binding=None, mechanism=None):
    """Log in by SCRAM; the tagged line. The server's signature is checked."""
    other = scram_client(name, password, binding)
    mechanism = mechanism or other.mechanism_name
    tag = client.begin(f"AUTHENTICATE {mechanism} {encoded(other.get_client_first())}")
    response = client.response()
    if response.startswith(tag):
        return response
    other.set_server_first(decoded(response))
    client.send(encoded(other.get_client_final()).encode() + b"\r\n")
    response = client.response()
    if response.startswith(tag):
        return response
    other.set_server_final(decoded(response))
    client.send(b"\r\n")
    return client.response()


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def decoded(response):
    assert response.startswith(b"+ "), response
    return base64.b64decode(response[2:]).decode()


@pytest.mark.parametrize("listener", ["clear", "tls"])
def test_scram_lets_in_by_the_password_and_by_no_other(site, listener):
    with site.dial(listener) as client:
        assert b"NO [AUTHENTICATIONFAILED]" in scram(client, "ada", "looking-glass")
        assert b"NO [AUTHENTICATIONFAILED]" in scram(client, "nobody", PASSWORD)
        assert b" OK [CAPABILITY " in scram(client, "ada", PASSWORD)


def test_scram_plus_is_bound_to_the_connection(site):
    raw, other = OpenSslSocket(site.ports["tls"]), OpenSslSocket(site.ports["tls"])
    with Client(raw) as client:
        # The proof of a connection that somebody else has, in the middle, is worth nothing on this one.
        assert b"NO [AUTHENTICATIONFAILED]" in scram(client, "ada", PASSWORD, other.exporter())
        assert b" OK [CAPABILITY " in scram(client, "ada", PASSWORD, raw.exporter())
    assert "the channel binding is another connection's" in site.log()
    other.close()


def test_tls_1_2_has_no_channel_binding(site):
    with site.dial("tls", version=ssl.TLSVersion.TLSv1_2) as client:
        assert words(client) & ALL == SCRAM | PASSWORDS
        assert b"NO [CANNOT]" in scram(client, "ada", PASSWORD, bytes(32))


def test_a_client_from_whom_the_offer_of_binding_was_hidden_is_turned_away(site):
    with site.dial("tls") as client:
        tagged = client.command(f"AUTHENTICATE SCRAM-SHA-256 {encoded('y,,n=ada,r=nonce')}")[1]
        assert tagged.startswith(b"BAD")
    with site.dial("clear") as client:
        client.begin(f"AUTHENTICATE SCRAM-SHA-256 {encoded('y,,n=ada,r=nonce')}")
        assert client.response().startswith(b"+ ")


def test_a_name_that_is_nobodys_has_the_same_salt_each_time(site):
    salts = []
    for name in ("nobody", "nobody", "NOBODY", "ada", "somebody"):
        with site.dial("clear") as client:
            client.begin(f"AUTHENTICATE SCRAM-SHA-256 {encoded(f'n,,n={name},r=nonce')}")
            salts.append(decoded(client.response()).split(",")[1])
    assert salts[0] == salts[1] == salts[2]
    assert len(set(salts)) == 3


def test_a_client_that_breaks_off_at_the_servers_signature_is_not_logged_in(site):
    other = scram_client("ada", PASSWORD)
    with site.dial("clear") as client:
        tag = client.begin(f"AUTHENTICATE SCRAM-SHA-256 {encoded(other.get_client_first())}")
        other.set_server_first(decoded(client.response()))
        client.send(encoded(other.get_client_final()).encode() + b"\r\n")
        assert client.response().startswith(b"+ ")
        client.send(b"*\r\n")
        assert client.finish(tag)[1].startswith(b"BAD")
        assert client.command("NAMESPACE")[1].startswith(b"BAD")


def test_the_secret_of_made_up_salts_is_nobody_elses_to_read(site):
    path = site.folder / "state" / "secret"
    assert path.stat().st_size == 32 and path.stat().st_mode & 0o777 == 0o600


def test_self_signed_is_by_nobody_but_itself(site, tmp_path):
    certificate, key = self_signed("ada")
    (tmp_path / "ada.pem").write_bytes(certificate)
    (tmp_path / "ada.key").write_bytes(key)
    site.paths["self"] = (str(tmp_path / "ada.pem"), str(tmp_path / "ada.key"))
    with site.dial("optional", "self") as client:
        assert "AUTH=EXTERNAL" not in words(client)


def test_the_certificate_that_a_host_name_chooses_asks_as_strictly(site):
    raw = socket.create_connection(("127.0.0.1", site.ports["required"]), timeout=20)
    with site.context("ben").wrap_socket(raw, server_hostname="other.example") as tls, Client(tls) as client:
        assert tls.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(self_signed("other.example")[0].decode())
        assert by_certificate(client).startswith("OK")
    for certificate in (None, "forged", "revoked"):
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            socket.create_connection(("127.0.0.1", site.ports["required"]), timeout=20) as raw,
            site.context(certificate).wrap_socket(raw, server_hostname="other.example") as tls,
        ):
            assert tls.recv(1) == b""
            raise ConnectionError("closed")


def reload(site):
    before = site.log().count(" reloaded ")
    site.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while site.log().count(" reloaded ") == before:
        assert time.monotonic() < deadline, site.log()[-2000:]
        time.sleep(0.05)


def test_a_reload_reads_the_revoked_certificates_again_and_a_list_that_is_too_old_lets_nobody_in(site):
    path, revoked = site.folder / "crl.pem", site.certificates["revoked"]
    try:
        path.write_bytes(site.authority.revocations(revoked, site.certificates["ben"]))
        reload(site)
        with site.dial("optional", "ben") as client:
            assert "AUTH=EXTERNAL" not in words(client)
        with site.dial("optional", "ada") as client:
            assert by_certificate(client).startswith("OK")
        path.write_bytes(site.authority.revocations(revoked, days=-1))
        reload(site)
        with site.dial("optional", "ada") as client:
            assert "AUTH=EXTERNAL" not in words(client)
        assert "the list of revoked certificates is too old" in site.log()
    finally:
        path.write_bytes(site.authority.revocations(revoked))
        reload(site)
