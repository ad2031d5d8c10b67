"""Servers that are slow, silent, broken or gone: every call ends in time, and nobody else's wait is held up."""

import socket
import time

import gevent
import pytest

from imapd.directory.ldapconn import Depth, DirectoryDown, Gone
from imapd.directory.ldapfilter import equal, present
from imapd.directory.ldapuri import parse
from imapd.directory.ldapwire import Link
from imapd.directory.verdict import Verdict
from imapd.model.errors import Overdue
from tests.support.ldapfake import (
    Fake,
    answer,
    bind_answer,
    black_hole,
    dripping,
    extended_answer,
    saying,
    search_done,
    silent,
)
from tests.support.slapd import people

# A loaded machine is late by that much.
SLACK = 0.4
STALL = 0.25


def ada(server):
    return f"uid=ada,{server.base}"


class Watch:
    """How long something took."""

    def __enter__(self):
        self._began = time.monotonic()
        return self

    def __exit__(self, *error):
        self.seconds = time.monotonic() - self._began


@pytest.mark.parametrize("tls", [False, True])
def test_a_stopped_server_is_waited_for_as_long_as_allowed(tls, make_slapd, open_pool, heart):
    server = make_slapd()
    pool = open_pool(server, uris=(server.tls_uri if tls else server.uri,), operation_seconds=0.8)

    def search():
        return pool.search(server.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)

    def bind():
        return pool.bind_as(ada(server), b"secret")

    search(), bind()  # there are connections to be kept
    server.pause()
    heart.begin()
    for ask in (search, bind):
        with Watch() as watch, pytest.raises(DirectoryDown, match="no answer within"):
            ask()
        assert 0.7 < watch.seconds < 0.8 + SLACK
    assert heart.longest() < STALL


def test_a_stopped_server_that_is_new_to_us_is_waited_for_as_long(make_slapd, open_pool, heart):
    server = make_slapd()
    server.pause()
    heart.begin()
    for uri in (server.uri, server.tls_uri, server.ipc_uri):
        pool = open_pool(server, uris=(uri,), operation_seconds=0.5)
        with Watch() as watch, pytest.raises(DirectoryDown, match="no answer within"):
            pool.bind_as(ada(server), b"secret")
        assert 0.4 < watch.seconds < 0.5 + SLACK
    assert heart.longest() < STALL


def test_an_address_that_swallows_everything_is_left_in_time(open_pool, heart):
    with black_hole() as uri:
        pool = open_pool([uri], connect_seconds=0.3)
        heart.begin()
        with Watch() as watch, pytest.raises(DirectoryDown, match="no answer within 0.3 s"):
            pool.bind_as("uid=x,o=x", b"secret")
    assert watch.seconds < 0.3 + SLACK
    assert heart.longest() < STALL


def test_a_deadline_is_kept_over_several_addresses_that_swallow_everything(open_pool, gevent_loop, monkeypatch):
    """Catching Exception between two addresses, as the library does, made four seconds of one."""
    with black_hole() as one, black_hole() as other:
        ports = [parse(uri).port for uri in (one, other)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr("gevent.socket.getaddrinfo", lambda *arguments: found)
        with Watch() as watch, pytest.raises(Overdue), gevent_loop.deadline(0.5):
            gevent_loop.connect("two.example", 389, 10)
        assert watch.seconds < 0.5 + SLACK
        pool = open_pool(["ldap://two.example"], connect_seconds=10, operation_seconds=0.5)
        with Watch() as watch, pytest.raises(DirectoryDown, match="no answer within 0.5 s"):
            pool.bind_as("uid=x,o=x", b"secret")
        assert watch.seconds < 0.5 + SLACK


def test_a_deadline_is_kept_over_several_replicas(open_pool):
    with black_hole() as one, black_hole() as other:
        pool = open_pool([one, other], operation_seconds=0.8, answer_seconds=0.5)
        with Watch() as watch, pytest.raises(DirectoryDown):
            pool.search("o=x", Depth.BASE, present("cn"), [], 1)
        assert watch.seconds < 0.8 + SLACK


def test_a_server_that_answers_octet_by_octet_is_cut_off(open_pool, heart):
    """A bound on each receive would wait for as many seconds as the answer has octets."""
    with Fake(dripping(0.2)) as server:
        pool = open_pool([server.uri], operation_seconds=0.6)
        with Watch() as watch, pytest.raises(DirectoryDown, match="no answer within"):
            pool.bind_as("uid=x,o=x", b"secret")
        assert watch.seconds < 0.6 + SLACK
    assert heart.longest() < STALL


def test_a_server_that_drips_is_cut_off_by_the_socket_alone(gevent_loop):
    """Without the deadline of the loop, as in a plain process."""
    with Fake(dripping(0.2)) as server:
        link = Link(parse(server.uri), gevent_loop, 1, None, False)
        link.within(0.5)
        with Watch() as watch, pytest.raises(DirectoryDown, match="no answer within"):
            link.try_password("uid=x,o=x", b"secret")
        assert watch.seconds < 0.5 + SLACK
        assert link.closed


def test_who_waits_for_a_connection_is_told_when_there_is_none(make_slapd, open_pool, gevent_loop):
    server = make_slapd()
    pool = open_pool(server, connections=2, checkout_seconds=0.3, operation_seconds=2)
    server.pause()
    blocked = [gevent.spawn(pool.bind_as, ada(server), b"secret") for _ in range(2)]
    gevent_loop.sleep(0.05)
    with Watch() as watch, pytest.raises(DirectoryDown, match="all 2 connections are in use"):
        pool.bind_as(ada(server), b"secret")
    assert watch.seconds < 0.3 + SLACK
    assert pool.health()[0].up and "doubtful" not in pool.health()[0].remark, "being busy says nothing of the server"
    server.resume()
    gevent.joinall(blocked)
    assert [one.value for one in blocked] == [Verdict.RIGHT] * 2


def test_a_late_answer_is_not_taken_for_the_next_user_s(make_slapd, open_pool, gevent_loop):
    server = make_slapd()
    pool = open_pool(server, connections=1, operation_seconds=0.3)
    assert pool.bind_as(ada(server), b"secret") is Verdict.RIGHT
    server.pause()
    with pytest.raises(DirectoryDown):
        pool.bind_as(ada(server), b"secret")  # the answer, a success, comes after this
    server.resume()
    gevent_loop.sleep(0.1)
    for _ in range(3):
        assert pool.bind_as(f"uid=ben,{server.base}", b"wrong") is Verdict.WRONG
    assert pool.search(server.base, Depth.SUBTREE, equal("uid", "ben"), [], 2)[0].dn == f"uid=ben,{server.base}"


# -- broken answers ----------------------------------------------------------------------------------------------------

NONSENSE = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x30\x00",
    b"\x30\x03\x02\x01\x01",
    b"\x30\x84\x00\x00\x00\x07\x02\x01\x01\x61\x02\x0a\x00",
    b"\x00" * 50,
    b"\xff" * 50,
    b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00",
    b"\x30\x0c\x02\x01\x63\x61\x07\x0a\x01\x00\x04\x00\x04\x00",  # the answer to another request
    b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00",  # the answer to another kind of request
    b"\x30\x30" * 24,
]


@pytest.mark.parametrize("octets", NONSENSE)
def test_nonsense_is_no_answer_to_a_bind(octets, open_pool):
    with Fake(saying(octets)) as server:
        pool = open_pool([server.uri], operation_seconds=0.5)
        with pytest.raises(DirectoryDown):
            pool.bind_as("uid=x,o=x", b"secret")


@pytest.mark.parametrize("octets", NONSENSE[:8])
def test_nonsense_is_no_answer_to_a_search(octets, open_pool):
    with Fake(saying(octets)) as server:
        pool = open_pool([server.uri], operation_seconds=0.5)
        with pytest.raises(DirectoryDown):
            pool.search("o=x", Depth.BASE, present("cn"), [], 1)


def test_an_answer_in_pieces_is_put_together(gevent_loop):
    def handle(server, connection):
        for octet in bind_answer(server.receive(connection), 49):
            connection.sendall(bytes([octet]))

    with Fake(handle) as server:
        link = Link(parse(server.uri), gevent_loop, 1, None, False)
        link.within(2)
        assert link.try_password("uid=x,o=x", b"secret") is Verdict.WRONG
        link.close()


@pytest.mark.parametrize("code", [1, 2, 3, 8, 11, 13, 51, 52, 80, 4711 % 128])
def test_a_server_that_cannot_say_is_no_wrong_password(code, open_pool):
    def handle(server, connection):
        connection.sendall(bind_answer(server.receive(connection), code))
        server.receive(connection)

    with Fake(handle) as server, pytest.raises(DirectoryDown):
        open_pool([server.uri]).bind_as("uid=x,o=x", b"secret")


def test_a_server_that_says_goodbye_is_gone(gevent_loop):
    """RFC 4511 section 4.4.1: message 0, in place of an answer."""

    def handle(server, connection):
        server.receive(connection)
        goodbye = answer(0, 0x78, 52)
        content = goodbye[2:] + b""
        name = b"\x8a\x16" + b"1.3.6.1.4.1.1466.20036"
        result = content[3:]
        connection.sendall(
            bytes([0x30, 3 + len(result) + len(name)])
            + content[:3]
            + bytes([0x78, len(result) - 2 + len(name)])
            + result[2:]
            + name
        )
        server.over.wait(5)

    with Fake(handle) as server:
        link = Link(parse(server.uri), gevent_loop, 1, None, False)
        link.within(2)
        with pytest.raises(Gone):
            link.try_password("uid=x,o=x", b"secret")
        assert link.closed


# -- connections that were kept ----------------------------------------------------------------------------------------


def test_connections_that_a_restart_made_stale_cost_one_more_try_and_no_error(make_slapd, open_pool):
    server = make_slapd(people("ada", "ben"))
    pool = open_pool(server)

    def everybody():
        jobs = [gevent.spawn(pool.bind_as, ada(server), b"secret") for _ in range(4)]
        jobs += [gevent.spawn(pool.search, server.base, Depth.SUBTREE, equal("uid", "ada"), [], 2) for _ in range(4)]
        gevent.joinall(jobs, raise_error=True)
        return jobs

    everybody()
    assert "8 connections" in pool.health()[0].remark
    server.restart()
    assert pool.bind_as(ada(server), b"secret") is Verdict.RIGHT
    assert len(pool.search(server.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)) == 1
    server.kill()
    server.start()
    everybody()
    assert pool.health()[0].up and "doubtful" not in pool.health()[0].remark


def test_connections_that_the_server_ended_for_idleness_cost_no_error(make_slapd, open_pool, gevent_loop):
    server = make_slapd(settings="idletimeout 1")
    pool = open_pool(server)
    assert pool.bind_as(ada(server), b"secret") is Verdict.RIGHT
    gevent_loop.sleep(2.5)
    assert pool.bind_as(ada(server), b"wrong") is Verdict.WRONG
    assert pool.health()[0].up


def test_a_password_is_sent_once_to_a_server_that_keeps_hanging_up(open_pool):
    def handle(server, connection):
        server.receive(connection)

    with Fake(handle) as server, Fake(handle) as other:
        pool = open_pool([server.uri, other.uri])
        with pytest.raises(DirectoryDown, match="closed the connection"):
            pool.bind_as("uid=x,o=x", b"geheim")
        assert server.received.count(b"geheim") == 1
        assert other.clients == 0, "a new connection was good; the server may have counted the try"


def test_a_connection_is_dropped_when_it_rested_too_long_or_is_old(acme, open_pool, gevent_loop):
    for bound in ("idle_seconds", "lifetime_seconds"):
        pool = open_pool(acme, **{bound: 0.2})
        before = acme.connections()
        for _ in range(3):
            pool.bind_as(ada(acme), b"secret")
        assert acme.connections() - before == 2, "one, and the question"
        gevent_loop.sleep(0.25)
        before = acme.connections()
        pool.bind_as(ada(acme), b"secret")
        assert acme.connections() - before == 2


def test_a_closed_pool_keeps_nothing(acme, open_pool):
    pool = open_pool(acme)
    pool.bind_as(ada(acme), b"secret")
    pool.close()
    assert pool.health()[0].remark == "0 connections"


def test_the_fakes_speak_as_servers_do(gevent_loop):
    """Lest a test passes because a fake is wrong in another way than it means to be."""

    def handle(server, connection):
        connection.sendall(bind_answer(server.receive(connection)))
        connection.sendall(extended_answer(server.receive(connection), 2))
        connection.sendall(search_done(server.receive(connection)))
        server.receive(connection)

    with Fake(handle) as server, Fake(silent) as quiet:
        link = Link(parse(server.uri), gevent_loop, 1, None, False)
        link.within(2)
        assert link.try_password("uid=x,o=x", b"secret") is Verdict.RIGHT
        assert link._who_am_i() is None
        assert link.search("o=x", Depth.SUBTREE, equal("cn", "x"), ["cn"], 2, 2) == []
        link.close()
        link = Link(parse(quiet.uri), gevent_loop, 1, None, False)
        link.within(0.2)
        with pytest.raises(DirectoryDown, match="no answer"):
            link.try_password("uid=x,o=x", b"secret")
