"""TLS to directories: certificates that are good, and five that are not; what is never sent in the clear."""

import socket
import ssl
import statistics
import time

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from imapd.directory.ldapconn import Depth, DirectoryDown, Identity
from imapd.directory.ldapfilter import equal
from imapd.directory.ldapuri import parse
from imapd.directory.ldapwire import Link
from imapd.directory.verdict import Verdict
from tests.support.certificates import Authority
from tests.support.ldapfake import Fake, bind_answer, extended_answer
from tests.support.slapd import authority

PASSWORD = b"geheim-service"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    """The path of a file with the authority that we trust."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(authority().itself.pem)
    return str(path)


@pytest.fixture
def tls_server(tmp_path):
    """Makes servers that do TLS with a certificate, and answer one bind well behind it."""
    opened = []

    def make(issued):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*issued.write(tmp_path, f"server{len(opened)}"))

        def handle(server, connection):
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.sendall(bind_answer(server.receive(secured)))
                server.receive(secured)

        server = Fake(handle).__enter__()
        opened.append(server)
        return server

    yield make
    for server in opened:
        server.__exit__()


def issue(by=None, hosts=("localhost",), days=7):
    return (by or authority()).issue("server", purpose=ExtendedKeyUsageOID.SERVER_AUTH, hosts=hosts, days=days)


def bind(open_pool, server, host="localhost", **changes):
    pool = open_pool([f"ldaps://{host}:{server.port}"], **changes)
    return pool.bind_as("uid=ada,dc=acme,dc=example", PASSWORD)


def test_a_good_certificate_lets_the_password_through(tls_server, open_pool, trusted):
    server = tls_server(issue())
    assert bind(open_pool, server, ca_file=trusted) is Verdict.RIGHT
    assert PASSWORD in server.received


def test_a_certificate_may_name_an_ip_address(tls_server, open_pool, trusted):
    """With the library's own check this fails from Python 3.12 on."""
    assert bind(open_pool, tls_server(issue(hosts=("127.0.0.1",))), "127.0.0.1", ca_file=trusted) is Verdict.RIGHT


@pytest.mark.parametrize(
    ("why", "make", "host"),
    [
        ("an authority that is not ours", lambda: issue(by=Authority("Evil CA")), "localhost"),
        ("another host's name", lambda: issue(hosts=("ldap.elsewhere.example",)), "localhost"),
        ("expired", lambda: issue(days=-1), "localhost"),
        ("another address", lambda: issue(hosts=("127.0.0.2",)), "127.0.0.1"),
        ("a person's certificate", lambda: authority().issue("ada", hosts=("localhost",)), "localhost"),
        ("a name for an address", lambda: issue(hosts=("localhost",)), "127.0.0.1"),
    ],
)
def test_a_bad_certificate_ends_it_before_anything_is_said(why, make, host, tls_server, open_pool, trusted):
    server = tls_server(make())
    with pytest.raises(DirectoryDown, match="certificate is not good"):
        bind(open_pool, server, host, ca_file=trusted)
    assert server.received == b"", why


def test_without_an_authority_of_the_site_s_the_machine_s_count(tls_server, open_pool):
    server = tls_server(issue())
    with pytest.raises(DirectoryDown, match="certificate is not good"):
        bind(open_pool, server)
    assert server.received == b""


def test_old_tls_is_refused(tmp_path, open_pool, trusted):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issue().write(tmp_path, "old"))
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    def handle(server, connection):
        with context.wrap_socket(connection, server_side=True) as secured:
            server.receive(secured)

    with Fake(handle) as server:
        with pytest.raises(DirectoryDown, match="TLS fails"):
            bind(open_pool, server, ca_file=trusted)
        assert server.received == b""


def test_an_authority_file_that_cannot_be_read_is_told(acme, open_pool, tmp_path):
    (tmp_path / "empty.pem").write_text("")
    for path in ("/nonexistent.pem", str(tmp_path / "empty.pem")):
        with pytest.raises(DirectoryDown, match="TLS cannot be set up"):
            open_pool(acme, uris=(acme.tls_uri,), ca_file=path).bind_as("uid=ada,o=x", b"secret")


# -- StartTLS ----------------------------------------------------------------------------------------------------------


def test_starttls_works_and_checks_the_certificate(acme, partner, open_pool, make_slapd):
    pool = open_pool(acme, starttls=True)
    assert pool.bind_as(f"uid=ada,{acme.base}", b"secret") is Verdict.RIGHT
    assert len(pool.search(acme.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)) == 1
    wrong = make_slapd(hosts=("elsewhere.example",))
    with pytest.raises(DirectoryDown, match="certificate is not good"):
        open_pool(wrong, starttls=True).bind_as(f"uid=ada,{wrong.base}", b"secret")


def refusing(server, connection):
    """A server without TLS, or somebody between who took it out."""
    request = server.receive(connection)
    connection.sendall(extended_answer(request, 2))
    server.receive(connection)


def pretending(server, connection):
    """Somebody between who says yes and goes on in the clear."""
    connection.sendall(extended_answer(server.receive(connection)))
    connection.sendall(bind_answer(b"\x30\x0c\x02\x01\x02"))
    server.receive(connection)


def slipping(server, connection):
    """Somebody between who puts the answer to the bind to come behind the answer to StartTLS."""
    connection.sendall(extended_answer(server.receive(connection)) + bind_answer(b"\x30\x0c\x02\x01\x02"))
    server.receive(connection)


def hanging_up(server, connection):
    server.receive(connection)


@pytest.mark.parametrize("handle", [refusing, pretending, slipping, hanging_up])
def test_where_starttls_is_required_nothing_is_said_without_it(handle, open_pool, trusted):
    with Fake(handle) as server:
        uri = f"ldap://localhost:{server.port}"
        pool = open_pool(
            [uri], starttls=True, ca_file=trusted, identity=Identity("cn=imapd", PASSWORD), operation_seconds=1
        )
        with pytest.raises(DirectoryDown):
            pool.search("dc=acme,dc=example", Depth.SUBTREE, equal("uid", "ada"), [], 2)
        with pytest.raises(DirectoryDown):
            pool.bind_as("uid=ada,dc=acme,dc=example", PASSWORD)
        assert PASSWORD not in server.received and b"cn=imapd" not in server.received
        assert server.clients >= 1


# -- who the daemon is, by its certificate -----------------------------------------------------------------------------


def test_the_daemon_may_prove_itself_by_a_certificate(make_slapd, open_pool, tmp_path):
    server = make_slapd()
    mine = authority().issue("imapd").write(tmp_path, "imapd")
    for uri, starttls in ((server.tls_uri, False), (server.uri, True)):
        pool = open_pool(
            server,
            uris=(uri,),
            starttls=starttls,
            identity=Identity(external=True),
            client_certificate=mine[0],
            client_key=mine[1],
        )
        found = pool.search(server.base, Depth.SUBTREE, equal("uid", "ada"), ["mail"], 2)
        assert [entry.attributes for entry in found] == [{"mail": [b"ada@acme.example"]}]


# -- speed -------------------------------------------------------------------------------------------------------------


def test_the_first_bind_over_tls_does_not_wait_for_acknowledgements(acme, gevent_loop):
    """43 ms of each without TCP_NODELAY."""
    context = gevent_loop.tls_context(acme.ca_file)
    times = []
    for _ in range(20):
        link = Link(parse(acme.tls_uri), gevent_loop, 5, context, False)
        link.within(5)
        assert link._socket._raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        began = time.monotonic()
        assert link.try_password(f"uid=ada,{acme.base}", b"secret") is Verdict.RIGHT
        times.append(time.monotonic() - began)
        link.close()
    assert statistics.median(times) < 0.015
