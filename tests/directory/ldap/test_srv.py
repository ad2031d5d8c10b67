"""Servers that DNS names: a small name server answers."""

import socket
import struct
import threading
from collections import Counter

import dns.message
import dns.resolver
import dns.rrset
import gevent
import pytest

from imapd.directory import srv
from imapd.directory.ldapconn import Depth, DirectoryDown
from imapd.directory.ldapfilter import equal
from imapd.directory.ldapuri import Address, Domain, parse


class Names:
    """A name server that knows some SRV records: name to lines of (priority, weight, port, target)."""

    def __init__(self):
        self.records = {}
        self.asked = []
        self.ttl = 300
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def resolver(self):
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], self.port
        return resolver

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()

    def _serve(self):
        while True:
            packet, peer = self._socket.recvfrom(4096)
            if not packet:
                return
            query = dns.message.from_wire(packet)
            name = query.question[0].name.to_text()
            self.asked.append(name)
            response = dns.message.make_response(query)
            if name not in self.records:
                response.set_rcode(dns.rcode.NXDOMAIN)
            else:
                response.answer.append(dns.rrset.from_text(name, self.ttl, "IN", "SRV", *self.records[name]))
            self._socket.sendto(response.to_wire(), peer)


@pytest.fixture
def names():
    names = Names()
    yield names
    names.close()


def test_servers_come_by_their_priority(names):
    names.records["_ldap._tcp.acme.example."] = [
        "20 0 389 c.acme.example.",
        "10 0 3890 b.acme.example.",
        "0 0 389 ACME.example.",
    ]
    answer = srv.look_up(Domain("acme.example", False), names.resolver())
    assert [str(address) for address in answer.addresses] == [
        "ldap://ACME.example:389",
        "ldap://b.acme.example:3890",
        "ldap://c.acme.example:389",
    ]
    assert answer.seconds == 300


def test_servers_for_tls_have_records_of_their_own(names):
    names.records["_ldaps._tcp.acme.example."] = ["0 0 636 a.acme.example."]
    names.ttl = 5
    answer = srv.look_up(Domain("acme.example", True), names.resolver())
    assert answer == srv.Answer((Address("a.acme.example", 636, True),), 60.0)


def test_within_a_priority_chance_decides_by_weight(names):
    names.records["_ldap._tcp.acme.example."] = [
        "0 3 1 a.acme.example.",
        "0 1 2 b.acme.example.",
        "0 0 3 c.acme.example.",
    ]
    first = Counter(srv.look_up(Domain("acme.example", False), names.resolver()).addresses[0].port for _ in range(200))
    assert first[1] > first[2] > 20 and first[3] < 5


def test_a_host_outside_of_the_domain_is_passed_over(names, caplog):
    """Whoever forges an answer has a good certificate for his own host."""
    names.records["_ldap._tcp.acme.example."] = [
        "0 0 389 ldap.evil.example.",
        "1 0 389 evilacme.example.",
        "2 0 389 a.acme.example.",
    ]
    assert [one.host for one in srv.look_up(Domain("acme.example", False), names.resolver()).addresses] == [
        "a.acme.example"
    ]
    assert "ldap.evil.example, which is not of the domain" in caplog.text
    names.records["_ldap._tcp.acme.example."] = ["0 0 389 ldap.evil.example."]
    with pytest.raises(DirectoryDown, match="names no server of the domain"):
        srv.look_up(Domain("acme.example", False), names.resolver())


def test_no_service_no_name_and_no_answer_are_no_directory(names):
    names.records["_ldap._tcp.none.example."] = ["0 0 0 ."]
    for domain in ("none.example", "unknown.example"):
        with pytest.raises(DirectoryDown):
            srv.look_up(Domain(domain, False), names.resolver())
    silent = dns.resolver.Resolver(configure=False)
    silent.nameservers, silent.port = ["127.0.0.1"], 9
    with pytest.raises(DirectoryDown, match="DNS does not tell"):
        srv.look_up(Domain("acme.example", False), silent)


@pytest.fixture
def local(names, monkeypatch):
    """The machine's DNS is the small one. All its targets are the host localhost, which is in the domain localhost."""
    real = srv.look_up
    monkeypatch.setattr(srv, "look_up", lambda domain: real(domain, names.resolver()))
    return names


def test_the_servers_of_a_domain_are_asked_and_dns_only_once_in_a_while(local, acme, open_pool, heart):
    local.records["_ldap._tcp.localhost."] = ["0 0 1 localhost.", f"1 0 {acme.port} localhost."]
    pool = open_pool(acme, uris=("ldap+srv://localhost",))
    assert pool.health() == []
    for _ in range(3):
        assert len(pool.search(acme.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)) == 1
    assert local.asked == ["_ldap._tcp.localhost."]
    assert [state.address for state in pool.health()] == ["ldap://localhost:1", acme.uri]
    assert "Connection refused" in pool.health()[0].remark
    assert heart.longest() < 0.25


def test_what_dns_told_stays_good_while_it_tells_nothing_new(local, acme, open_pool, gevent_loop):
    local.records["_ldap._tcp.localhost."] = [f"0 0 {acme.port} localhost."]
    pool = open_pool(acme, uris=("ldap+srv://localhost",))

    def find():
        return len(pool.search(acme.base, Depth.SUBTREE, equal("uid", "ada"), [], 2))

    assert find() == 1
    local.records.clear()
    pool._replicas._good_until[parse("ldap+srv://localhost")] = 0.0
    assert find() == 1, "nobody waits for DNS"
    for _ in range(300):
        gevent.sleep(0.01)
        if len(local.asked) == 2:
            break
    gevent.sleep(0.05)
    assert find() == 1 and local.asked == ["_ldap._tcp.localhost."] * 2


def test_a_domain_that_dns_does_not_know_is_a_directory_that_is_down(local, open_pool):
    with pytest.raises(DirectoryDown, match=r"DNS does not tell the servers of ldap\+srv://nowhere.example"):
        open_pool(["ldap+srv://nowhere.example"]).bind_as("uid=x,o=x", b"secret")


def test_the_small_name_server_answers_as_one_does(names):
    names.records["_ldap._tcp.a."] = ["0 0 1 b.a."]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        one.sendto(dns.message.make_query("_ldap._tcp.a.", "SRV").to_wire(), ("127.0.0.1", names.port))
        assert struct.unpack(">H", one.recv(512)[6:8]) == (1,)
