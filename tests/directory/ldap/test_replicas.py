"""Several servers of one directory: who is asked, who is left alone, and who is come back to."""

import gevent
import pytest

from imapd.directory import replicas
from imapd.directory.ldapconn import Depth, DirectoryDown, Places, Pool
from imapd.directory.ldapfilter import equal
from imapd.directory.verdict import Verdict
from tests.support.ldapfake import Fake, bind_answer, black_hole, extended_answer, search_done, silent
from tests.support.slapd import HIDDEN, person


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The first try in the background comes after 0.1 s instead of 1 s."""
    monkeypatch.setattr(replicas, "_BETWEEN_TRIES", 0.1)


def ada(server):
    return f"uid=ada,{server.base}"


def find(pool, server, name="ada"):
    return pool.search(server.base, Depth.SUBTREE, equal("uid", name), ["description"], 2)


@pytest.fixture
def twins(make_slapd):
    """Two servers with the same people; the description tells which one answered."""
    return make_slapd(person("ada", description="first")), make_slapd(person("ada", description="second"))


def told(found):
    return found[0].attributes["description"][0].decode()


def both(twins):
    return tuple(server.uri for server in twins)


def wait_for(condition, seconds=5):
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        gevent.sleep(0.01)
    raise AssertionError("it did not come to pass")


def test_the_first_one_is_asked_as_long_as_it_is_well(twins, open_pool):
    first, _ = twins
    pool = open_pool(first, uris=both(twins))
    assert {told(find(pool, first)) for _ in range(5)} == {"first"}
    assert [state.address for state in pool.health()] == list(both(twins))


def test_the_next_one_is_asked_at_once_where_the_first_is_gone_and_the_first_again_later(twins, open_pool):
    first, _ = twins
    pool = open_pool(first, uris=both(twins))
    first.kill()
    assert told(find(pool, first)) == "second"
    assert pool.bind_as(ada(first), b"secret") is Verdict.RIGHT
    assert not pool.health()[0].remark.startswith("1 connections;")
    assert "Connection refused" in pool.health()[0].remark and "tried again in" in pool.health()[0].remark
    first.start()
    wait_for(lambda: pool.health()[0].remark == "0 connections")
    assert told(find(pool, first)) == "first"


def test_a_silent_one_costs_one_user_a_moment_and_nobody_after_him(twins, open_pool, heart):
    first, _ = twins
    pool = open_pool(first, uris=both(twins), answer_seconds=0.4)
    find(pool, first)
    first.pause()
    heart.begin()
    with gevent.Timeout(0.8):
        assert told(find(pool, first)) == "second"
    with gevent.Timeout(0.2):
        assert told(find(pool, first)) == "second"
        assert pool.bind_as(ada(first), b"secret") is Verdict.RIGHT
    first.resume()
    wait_for(lambda: told(find(pool, first)) == "first")
    assert heart.longest() < 0.25


def test_a_password_that_one_may_have_seen_is_not_sent_to_the_next(twins, open_pool):
    first, second = twins
    pool = open_pool(first, uris=both(twins), answer_seconds=0.3, operation_seconds=0.8)
    assert pool.bind_as(ada(first), b"secret") is Verdict.RIGHT
    before = second.connections()
    first.pause()
    with pytest.raises(DirectoryDown, match="no answer within"):
        pool.bind_as(ada(first), b"secret")
    assert second.connections() == before + 1, "only the question came"
    assert pool.bind_as(ada(first), b"secret") is Verdict.RIGHT, "the next login goes to the other one"


def test_a_password_that_nobody_has_seen_goes_to_the_next(twins, open_pool):
    first, second = twins
    with black_hole() as hole:
        pool = open_pool(first, uris=(hole, second.uri), connect_seconds=0.3)
        assert pool.bind_as(ada(first), b"secret") is Verdict.RIGHT


def test_a_wrong_password_is_an_answer_and_not_tried_elsewhere(twins, open_pool):
    first, second = twins
    pool = open_pool(first, uris=both(twins))
    before = second.connections()
    for _ in range(5):
        assert pool.bind_as(ada(first), b"wrong") is Verdict.WRONG
    assert second.connections() == before + 1
    assert pool.health()[0].remark == "1 connections"


def test_when_all_are_down_that_is_said_at_once(open_pool, heart):
    with Fake(silent) as one, Fake(silent) as other:
        pool = open_pool([one.uri, other.uri], answer_seconds=0.2, operation_seconds=0.4)
        for _ in range(4):  # each tries one of them: a password is not sent twice
            with pytest.raises(DirectoryDown):
                pool.bind_as("uid=x,o=x", b"secret")
        assert [state.up for state in pool.health()] == [False, False]
        with (
            gevent.Timeout(0.05),
            pytest.raises(DirectoryDown, match=rf"{one.uri}: no answer .*{other.uri}: no answer"),
        ):
            pool.bind_as("uid=x,o=x", b"secret")
    assert heart.longest() < 0.25


def test_one_replica_alone_is_left_alone_after_two_failures_and_come_back_to(make_slapd, open_pool):
    server = make_slapd(person("ada"))
    pool = open_pool(server, operation_seconds=0.4)
    server.pause()
    for _ in range(2):
        assert pool.health()[0].up
        with pytest.raises(DirectoryDown):
            pool.bind_as(ada(server), b"secret")
    assert not pool.health()[0].up and "down: no answer within" in pool.health()[0].remark
    with gevent.Timeout(0.05), pytest.raises(DirectoryDown, match="no answer within"):
        pool.bind_as(ada(server), b"secret")
    server.resume()
    wait_for(lambda: pool.health()[0].up)
    assert pool.bind_as(ada(server), b"secret") is Verdict.RIGHT


def test_a_hundred_users_make_one_probe_at_a_time(open_pool):
    """Half open means one connection, not a stampede."""
    with Fake(silent) as server:
        pool = open_pool([server.uri], operation_seconds=0.3)
        for _ in range(2):
            with pytest.raises(DirectoryDown):
                pool.bind_as("uid=x,o=x", b"secret")
        before = server.clients

        def login():
            with pytest.raises(DirectoryDown):
                pool.bind_as("uid=x,o=x", b"secret")

        for _ in range(4):
            gevent.joinall([gevent.spawn(login) for _ in range(100)], raise_error=True)
            gevent.sleep(0.03)
        assert server.clients - before <= 1
        gevent.sleep(0.3)
        assert server.clients - before == 1, "one probe, which is waiting for its answer"


def test_a_server_that_is_down_is_tried_often_enough_to_be_back_within_two_seconds(open_pool, monkeypatch):
    pool = open_pool(["ldap://127.0.0.1:1"])
    slept = []
    monkeypatch.setattr(replicas, "_BETWEEN_TRIES", 1.5)
    monkeypatch.setattr(
        pool._loop,
        "sleep",
        lambda seconds: slept.append(seconds) or (gevent.sleep(60) if len(slept) == 8 else gevent.sleep(0)),
    )
    with pytest.raises(DirectoryDown):
        pool.bind_as("uid=x,o=x", b"secret")
    wait_for(lambda: len(slept) == 8)
    assert all(0.5 <= seconds <= 1.9 for seconds in slept)


def test_a_dead_server_is_noticed_while_a_connection_to_it_lives_on(make_slapd, open_pool):
    """The library, with one Server for both connections, says of the second that it is open."""
    server = make_slapd(person("ada"))
    pool = open_pool(server)
    assert pool.bind_as(ada(server), b"secret") is Verdict.RIGHT
    server.kill()
    with pytest.raises(DirectoryDown, match="Connection refused"):
        find(pool, server)
    with pytest.raises(DirectoryDown):
        pool.bind_as(ada(server), b"secret")


def test_a_server_that_comes_back_empty_is_not_believed(make_slapd, open_pool):
    """Restored from nothing, or with rights lost: it would say of everybody that there is none."""
    server = make_slapd(person("ada"))
    pool = open_pool(server)
    assert len(find(pool, server)) == 1
    server.configure(HIDDEN)
    server.restart()
    with pytest.raises(DirectoryDown):
        find(pool, server)
    server.configure()
    server.restart()
    wait_for(lambda: "doubtful" not in pool.health()[0].remark and pool.health()[0].up)
    assert len(find(pool, server)) == 1


def test_a_server_that_takes_the_daemon_for_nobody_is_not_believed(open_pool, acme):
    """It says yes to the bind, and whoami says nobody."""

    def handle(server, connection):
        connection.sendall(bind_answer(server.receive(connection)))
        connection.sendall(extended_answer(server.receive(connection)))
        connection.sendall(search_done(server.receive(connection)))

    with Fake(handle) as server:
        pool = open_pool(acme, uris=(server.uri,))
        with pytest.raises(DirectoryDown, match="for an anonymous one"):
            find(pool, acme)


def test_a_closed_pool_ends_its_tries(open_pool, gevent_loop):
    pool = open_pool(["ldap://127.0.0.1:1"])
    with pytest.raises(DirectoryDown):
        pool.bind_as("uid=x,o=x", b"secret")
    pool.close()
    wait_for(lambda: not gevent_loop._background)


def test_a_directory_without_servers_is_refused():
    with pytest.raises(ValueError, match="uri"):
        Pool(Places((), "o=x"), None)
    with pytest.raises(ValueError, match="LDAP URI|begins neither"):
        Pool(Places(("ldapx://a",), "o=x"), None)
