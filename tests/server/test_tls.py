"""TLS on real sockets: STARTTLS and what may be hidden behind it, versions, names, protocols, tickets, stalls."""

import contextlib
import socket
import ssl
import time

import pytest

from imapd.server.tls import Context, Identity, TlsError
from tests.server.support import Client, certificate, trusting, workers


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(identity):
    with workers(identity=identity) as running:
        yield running


@pytest.fixture(scope="module")
def implicit(identity, tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    names = {"mail.example.org": certificate(folder, "mail.example.org"), "*.Sub.example": certificate(folder, "star")}
    with workers(tls=Context(identity, names), security="tls") as running:
        yield running


def test_starttls_begins_tls_and_the_session_goes_on_in_it(server):
    with Client(server.port) as client:
        assert client.line() == "* OK clear"
        assert client.command("STARTTLS") == ["* RAN STARTTLS", "a OK begin"]
        client.wrap(trusting())
        assert client.command("NOOP") == ["* RAN NOOP", "a OK done"]


INJECTED = b"a STARTTLS\r\nb LOGIN evil evil\r\nc LOGOUT\r\n"


@pytest.mark.parametrize("cut", range(1, len(INJECTED) + 1))
def test_nothing_that_came_in_the_clear_behind_starttls_is_executed(server, cut):
    """At every split of the octets: what is behind STARTTLS may come with it, or after the answer, before TLS."""
    with Client(server.port) as client:
        client.line()
        client.send(INJECTED[:cut])
        if cut < len(INJECTED):
            time.sleep(0.02)  # the pieces come one by one
            with contextlib.suppress(OSError):
                client.send(INJECTED[cut:])
        with contextlib.suppress(OSError):  # closed already
            client.sock.shutdown(socket.SHUT_WR)
        said = client.all()
        assert b"LOGIN" not in said and b"LOGOUT" not in said
        assert b"b OK" not in said and b"c OK" not in said


def test_a_command_hidden_in_front_of_a_real_handshake_is_not_executed(server):
    with Client(server.port) as client:
        client.line()
        client.send(b"a STARTTLS\r\nb LOGIN evil evil\r\n")
        with pytest.raises((ssl.SSLError, OSError)):
            client.wrap(trusting())
            client.command("NOOP")
            raise AssertionError("the connection went on")


def test_a_literal_behind_starttls_closes_the_connection_too(server):
    with Client(server.port) as client:
        client.line()
        client.send(b"a STARTTLS\r\nb ECHO {4+}\r\nevil\r\n")
        assert b"evil" not in client.all()


def test_tls_from_the_first_octet(implicit):
    with Client(implicit.port, trusting()) as client:
        assert client.line() == "* OK private"
        assert client.command("NOOP")[-1] == "a OK done"
        assert client.sock.version() == "TLSv1.3" and client.sock.compression() is None


def test_large_output_passes_through_tls_whole(implicit):
    with Client(implicit.port, trusting()) as client:
        client.line()
        assert sum(len(line) + 2 for line in client.command("BIG 5000") if line.startswith("* x")) == 5000 * 1000


@pytest.mark.parametrize(
    ("asked", "given"),
    [("localhost", "localhost"), ("MAIL.example.org", "mail.example.org"), ("a.sub.example", "star"),
     ("a.b.sub.example", "localhost"), ("elsewhere.example", "localhost")],
)  # fmt: skip
def test_the_certificate_is_that_of_the_name_the_client_asks_for(implicit, asked, given):
    from cryptography import x509

    with Client(implicit.port, trusting(), server_name=asked) as client:
        shown = x509.load_der_x509_certificate(client.sock.getpeercert(binary_form=True))
        assert shown.subject.rfc4514_string() == f"CN={given}"


def test_alpn_imap_is_agreed_on_and_another_protocol_refused(implicit):
    context = trusting()
    context.set_alpn_protocols(["imap", "http/1.1"])
    with Client(implicit.port, context) as client:
        assert client.sock.selected_alpn_protocol() == "imap"
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name in ("localhost", "mail.example.org"):
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
            Client(implicit.port, context, server_name=name)


def test_tls_1_1_is_refused(implicit):
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Client(implicit.port, context)


def test_a_minimum_of_1_3_refuses_1_2(identity):
    with workers(tls=Context(identity, minimum_version="1.3"), security="tls") as server:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            Client(server.port, trusting(maximum_version=ssl.TLSVersion.TLSv1_2))
        with Client(server.port, trusting()) as client:
            assert client.line() == "* OK private"


def test_tls_1_2_has_forward_secrecy_and_authenticated_encryption_only(implicit):
    context = trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
    for weak in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA"):
        context.set_ciphers(f"{weak}:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            Client(implicit.port, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_with_another_worker(identity, version):
    with workers(count=2, identity=identity, security="tls") as server:
        context = trusting(maximum_version=version)
        with Client(server.ports[0], context) as client:
            client.line()
            client.command("NOOP")  # the tickets of 1.3 come after the handshake
            session = client.sock.session
            assert session.has_ticket
        with Client(server.ports[1], context, session=session) as client:
            client.line()
            assert client.sock.session_reused


def test_a_handshake_that_stalls_is_cut(identity):
    with workers(identity=identity, security="tls", handshake=0.5) as server, Client(server.port) as client:
        began = time.monotonic()
        client.send(b"\x16\x03\x01")
        assert client.all() in (b"",)
        assert 0.4 < time.monotonic() - began < 2.0


def test_cleartext_on_the_tls_port_ends_the_connection(implicit):
    with Client(implicit.port) as client:
        client.send(b"a LOGIN x y\r\n")
        assert b"OK" not in client.all()
    with Client(implicit.port, trusting()) as client:
        assert client.line() == "* OK private"


def test_renegotiation_is_refused(implicit):
    from OpenSSL import SSL

    with Client(implicit.port) as client:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        client.sock.settimeout(None)
        tls = SSL.Connection(context, client.sock)
        tls.set_connect_state()
        tls.do_handshake()
        tls.recv(100)
        tls.renegotiate()
        with pytest.raises(SSL.Error):
            tls.do_handshake()
            tls.send(b"a NOOP\r\n")
            tls.recv(100)


def test_a_key_that_does_not_belong_to_its_certificate_is_named(identity, tmp_path):
    other = certificate(tmp_path, "other")
    with pytest.raises(TlsError, match="does not belong to the certificate"):
        Context(Identity(identity.certificate, other.key))


def test_files_that_are_missing_or_hold_something_else_are_named(identity, tmp_path):
    with pytest.raises(TlsError, match="cannot be read: No such file"):
        Context(Identity(identity.certificate, str(tmp_path / "missing.key")))
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    with pytest.raises(TlsError, match="no certificate in PEM form"):
        Context(Identity(str(nonsense), identity.key))
    with pytest.raises(TlsError, match="no private key in PEM form"):
        Context(Identity(identity.certificate, str(nonsense)))
    with pytest.raises(TlsError, match="no cipher"):
        Context(identity, ciphers="NONSENSE")
