"""How a connection treats its client: lines, literals, deadlines, slow readers, IDLE and the end."""

import gc
import os
import signal
import socket
import time
from types import GeneratorType

import gevent
import gevent.socket
import pytest

from imapd.server.connection import Connection
from imapd.server.loop import GeventLoop
from imapd.server.partners import Patience
from imapd.server.process import RETIRE
from imapd.server.transport import Transport
from tests.server.support import Client, SmallHouse, resident, workers


@pytest.fixture(scope="module")
def server():
    with workers() as running:
        yield running


def test_a_client_is_greeted_and_its_commands_are_answered_in_order(server):
    with Client(server.port) as client:
        assert client.line() == "* OK clear"
        client.send(b"a NOOP\r\nb NOOP\r\nc LOGOUT\r\n")
        said = client.all().decode().splitlines()
        assert [line for line in said if not line.startswith("*")] == ["a OK done", "b OK done", "c OK done"]


def test_literals_are_asked_for_and_refused_ones_do_not_put_the_client_out_of_step(server):
    with Client(server.port) as client:
        client.line()
        client.send(b"a ECHO {3}\r\n")
        assert client.line() == "+ go"
        client.send(b"abc\r\n")
        assert [client.line() for _ in range(3)] == ["* RAN ECHO", "* HEARD abc", "a OK done"]
        client.send(b"b ECHO {101}\r\n")
        assert client.line() == "* BAD too large"
        client.send(b"c ECHO {101+}\r\n" + b"d NOOP\r\n".rjust(101) + b"\r\n")
        assert client.line() == "* BAD too large"
        assert client.command("NOOP", "e") == ["* RAN NOOP", "e OK done"]


def test_a_disk_that_is_full_refuses_the_literal_and_the_connection_goes_on(server):
    with Client(server.port) as client:
        client.line()
        client.send(b"a FULL {300000+}\r\n" + b"x" * 300000 + b"\r\n")
        assert client.line().startswith("a NO")
        assert client.command("NOOP", "b") == ["* RAN NOOP", "b OK done"]


def test_a_line_that_is_too_long_is_answered_and_the_next_one_is_heard(server):
    with Client(server.port) as client:
        client.line()
        client.send(b"a " + b"x" * 20000 + b"\r\n")
        assert client.line() == "* BAD too long"
        assert client.command("NOOP")[-1] == "a OK done"


def test_a_command_may_ask_for_another_line(server):
    with Client(server.port) as client:
        client.line()
        client.send(b"a ASK\r\n")
        assert [client.line(), client.line()] == ["* RAN ASK", "+ what"]
        client.send(b"this\r\n")
        assert [client.line(), client.line()] == ["* HEARD this", "a OK done"]


def test_a_bug_ends_the_connection_with_an_id_and_without_its_text(server):
    with Client(server.port) as client:
        client.line()
        client.send(b"a CRASH\r\n")
        said = client.all()
        assert b"* BYE [SERVERBUG]" in said and b"secret" not in said and b"Traceback" not in said
    with Client(server.port) as client:
        assert client.line() == "* OK clear"


def test_idle_is_told_of_a_change_at_once_and_ended_by_done(server, tmp_path):
    with Client(server.port) as client:
        client.line()
        client.send(f"a IDLE {tmp_path}\r\n".encode())
        # the second one: what came before the watch would be missed otherwise
        assert [client.line() for _ in range(3)] == ["* RAN IDLE", "+ idling", "* NEWS"]
        for number in range(3):
            began = time.monotonic()
            (tmp_path / f"message{number}").touch()
            assert client.line() == "* NEWS"
            assert time.monotonic() - began < 0.5
        client.send(b"DONE\r\n")
        assert client.line() == "a OK done"


def test_a_mailbox_that_never_rests_does_not_keep_a_client_from_ending_idle(server, tmp_path):
    with Client(server.port) as client:
        client.line()
        client.send(f"a IDLE {tmp_path}\r\nDONE\r\n".encode())
        assert [client.line() for _ in range(4)][-1] == "a OK done"


def test_who_is_silent_between_commands_or_in_idle_costs_no_generator(tmp_path):
    loop = GeventLoop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    gone = []
    connection = Connection(Transport(ours), SmallHouse(loop).begin("", ""), loop, Patience(), {"id": "1"})

    def heard(until):
        data = b""
        while not data.endswith(until):
            gevent.socket.wait_read(theirs.fileno(), timeout=10)
            data += theirs.recv(4096)
        return data

    gevent.spawn(connection.serve, gone.append)
    heard(b"* OK clear\r\n")
    for said, answer in [(b"a IDLE %b\r\n" % os.fsencode(tmp_path), b"* NEWS\r\n"), (b"DONE\r\n", b"a OK done\r\n")]:
        theirs.send(said)
        heard(answer)
        assert connection._episode is None
        assert [one for one in gc.get_referrers(connection) if isinstance(one, GeneratorType)] == []
    theirs.send(b"b ASK\r\n")
    heard(b"+ what\r\n")
    assert connection._episode is not None
    theirs.send(b"this\r\nc LOGOUT\r\n")
    heard(b"c OK done\r\n")
    gevent.sleep(0)
    assert gone == [connection]
    theirs.close()
    loop.close()


def test_in_idle_the_command_is_woken_now_and_then():
    with workers(wake=(0.1, 0.2)) as server, Client(server.port) as client:
        client.line()
        client.send(b"a IDLE\r\n")
        assert [client.line() for _ in range(4)] == ["* RAN IDLE", "+ idling", "* NEWS", "* NEWS"]


def test_a_client_that_sends_an_octet_now_and_then_is_cut_at_the_login_deadline():
    with workers(login=1.0) as server, Client(server.port) as client:
        client.line()
        began = time.monotonic()
        client.sock.settimeout(0.1)
        said = b""
        while time.monotonic() - began < 5 and b"BYE" not in said:
            client.send(b"x")
            try:
                said += client.sock.recv(100)
            except TimeoutError:
                continue
        assert b"* BYE" in said
        assert 0.9 < time.monotonic() - began < 2.0


def test_commands_without_end_do_not_put_the_login_deadline_off():
    with workers(login=1.0) as server, Client(server.port) as client:
        client.line()
        began = time.monotonic()
        with pytest.raises((EOFError, OSError)):
            while time.monotonic() - began < 5:
                client.command("NOOP")
        assert 0.9 < time.monotonic() - began < 2.0


def test_a_silent_client_is_logged_out_after_the_session_timeout():
    with workers(login=0.5, session=1.0) as server, Client(server.port) as client:
        client.line()
        client.command("LOGIN")
        time.sleep(0.7)  # past the login deadline
        assert client.command("NOOP")[-1] == "a OK done"
        began = time.monotonic()
        assert client.line().startswith("* BYE")
        assert 0.8 < time.monotonic() - began < 2.0


def test_output_for_a_slow_reader_waits_with_its_command_and_not_in_memory():
    with workers() as server, Client(server.port) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.line()
        client.command("LOGIN")
        before = resident(server.pids[0])
        client.send(b"a BIG 50000\r\n")
        highest = 0
        for _ in range(20):
            client.sock.recv(65536)
            time.sleep(0.02)
            highest = max(highest, resident(server.pids[0]))
        assert highest - before < 2 * 1024 * 1024
        with Client(server.port) as other:
            other.line()
            assert other.command("NOOP")[-1] == "a OK done"
        received = 20 * 65536
        while received < 50_000_000:
            received += len(client.sock.recv(1 << 20))
        assert resident(server.pids[0]) - before < 2 * 1024 * 1024


def test_a_command_that_works_long_lets_others_in(server):
    with Client(server.port) as busy, Client(server.port) as other:
        busy.line(), other.line()
        busy.send(b"a SPIN 1.0\r\n")
        waits = []
        until = time.monotonic() + 0.8
        while time.monotonic() < until:
            began = time.monotonic()
            other.command("NOOP")
            waits.append(time.monotonic() - began)
            time.sleep(0.01)
        waits.sort()
        assert waits[len(waits) // 2] < 0.03
        busy.line(), busy.line()


def test_clients_over_the_limit_are_told_so_and_places_become_free():
    with workers(max_connections=2) as server, Client(server.port) as one, Client(server.port) as two:
        one.line(), two.line()
        with Client(server.port) as three:
            assert three.line().startswith("* BYE [UNAVAILABLE]")
        one.command("LOGOUT")
        one.all()
        with Client(server.port) as four:
            assert four.line() == "* OK clear"


def test_a_worker_that_is_stopped_says_bye_and_cuts_off_who_does_not_listen():
    with workers(shutdown_timeout=1.0, ends=False) as server, Client(server.port) as quiet, Client(server.port) as deaf:
        quiet.line(), deaf.line()
        deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        deaf.send(b"a BIG 50000\r\n")
        time.sleep(0.2)
        began = time.monotonic()
        os.kill(server.pids[0], signal.SIGTERM)
        assert quiet.line().startswith("* BYE")
        assert time.monotonic() - began < 0.5
        pid, status = os.waitpid(server.pids[0], 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert time.monotonic() - began < 1.5


def test_a_retired_worker_serves_its_clients_and_ends_with_the_last():
    with workers(ends=False) as server:
        with Client(server.port) as client:
            client.line()
            server.children[0].link.send(RETIRE)
            time.sleep(0.2)
            with pytest.raises(OSError):
                Client(server.port)
            assert client.command("NOOP")[-1] == "a OK done"
            client.command("LOGOUT")
        pid, status = os.waitpid(server.pids[0], 0)
        assert os.waitstatus_to_exitcode(status) == 0


def test_a_worker_whose_master_is_gone_ends():
    with workers(ends=False) as server:
        server.children[0].link.close()
        pid, status = os.waitpid(server.pids[0], 0)
        assert os.waitstatus_to_exitcode(status) == 0
