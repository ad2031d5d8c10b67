"""Who is logged out for being silent, and who is not; how a stop meets a command that has much to say."""

import os
import signal
import socket
import time

from imapd import log
from imapd.mailstore.errors import Corrupt
from tests.server.support import Client, SmallConversation, SmallHouse, workers


def test_a_client_in_idle_may_be_silent_for_as_long_as_it_likes():
    with workers(session=0.5, wake=(0.2, 0.3)) as server, Client(server.port) as client:
        client.line()
        client.command("LOGIN")
        client.send(b"a IDLE\r\n")
        began = time.monotonic()
        heard = []
        while time.monotonic() - began < 1.6:
            heard.append(client.line())
        assert heard[:2] == ["* RAN IDLE", "+ idling"] and set(heard[2:]) == {"* NEWS"}
        client.send(b"DONE\r\n")
        while (line := client.line()) == "* NEWS":
            pass
        assert line == "a OK done"


def test_after_idle_the_session_timeout_counts_from_done():
    with workers(session=0.6, wake=(5.0, 5.0)) as server, Client(server.port) as client:
        client.line()
        client.command("LOGIN")
        client.send(b"a IDLE\r\n")
        time.sleep(1.0)
        client.send(b"DONE\r\n")
        assert [client.line() for _ in range(3)][-1] == "a OK done"
        began = time.monotonic()
        assert client.line().startswith("* BYE")
        assert 0.5 < time.monotonic() - began < 1.5


def test_idle_before_login_does_not_put_the_login_deadline_off():
    with workers(login=0.6, wake=(5.0, 5.0)) as server, Client(server.port) as client:
        client.line()
        client.send(b"a IDLE\r\n")
        assert [client.line() for _ in range(3)][-1].startswith("* BYE")


def test_the_session_timeout_counts_from_the_end_of_a_command():
    with workers(session=0.5) as server, Client(server.port) as client:
        client.line()
        client.command("LOGIN")
        client.send(b"a SPIN 0.9\r\n")
        assert [client.line() for _ in range(2)][-1] == "a OK done"
        time.sleep(0.2)
        assert client.command("NOOP", "b")[-1] == "b OK done"


def test_commands_that_were_sent_ahead_are_carried_out_after_a_long_one():
    with workers(session=0.5) as server, Client(server.port) as client:
        client.line()
        client.command("LOGIN")
        client.send(b"a SPIN 0.9\r\nb NOOP\r\n")
        assert [client.line() for _ in range(4)][-1] == "b OK done"


def test_a_command_with_much_to_say_is_ended_by_a_stop_between_two_responses():
    with workers(shutdown_timeout=20.0, ends=False) as server, Client(server.port) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.line()
        client.command("LOGIN")
        client.send(b"a BIG 100000\r\n")
        client.line()
        os.kill(server.pids[0], signal.SIGTERM)
        lines = client.all().split(b"\r\n")
        assert lines.pop() == b""
        assert lines.pop().startswith(b"* BYE")
        assert set(lines) == {b"* " + b"x" * 996}
        assert len(lines) < 50_000
        _, status = os.waitpid(server.pids[0], 0)
        assert os.waitstatus_to_exitcode(status) == 0


def test_a_connection_that_is_cut_off_says_so_in_the_log(capfd):
    log.setup("info", "text")
    with workers(shutdown_timeout=1.0, ends=False) as server, Client(server.port) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.line()
        client.command("LOGIN")
        client.send(b"a BIG 50000\r\n")
        time.sleep(0.3)
        os.kill(server.pids[0], signal.SIGTERM)
        os.waitpid(server.pids[0], 0)
        assert not client.all().endswith(b"BYE")
    assert 'reason="cut off"' in capfd.readouterr().err


class BrokenDisk:
    """A response whose message cannot be read to its end."""

    def chunks(self, utf8):
        yield b"* 1 FETCH (BODY[] {100}\r\n"
        yield b"the beginning"
        raise Corrupt(reason="the disk")


class BrokenHouse(SmallHouse):
    def begin(self, listener, peer):
        return lambda private, log, security: BrokenConversation(private, log, self.loop)


class BrokenConversation(SmallConversation):
    def answer(self, line):
        yield BrokenDisk()


def test_a_literal_that_cannot_be_read_to_its_end_has_no_words_of_ours_in_it(capfd):
    log.setup("info", "text")
    with workers(house=BrokenHouse) as server, Client(server.port) as client:
        client.line()
        client.send(b"a FETCH\r\n")
        assert b"BYE" not in client.all()
    assert "traceback" not in capfd.readouterr().err
