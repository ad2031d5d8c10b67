"""The control socket: who is heard, and what the daemon is told by it."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

from imapd.server import control
from imapd.server.control import Control, ControlError, ask
from tests.support.daemon import Daemon

WORKERS = (11, 12)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run" / "control.sock")


@pytest.fixture
def served(path):
    """A control socket, served until the end; what the workers were told, and what they will answer."""
    one = Control(path)
    told, answers, done = [], {"logins": 2}, threading.Event()

    def tell(line):
        told.append(json.loads(line))
        return WORKERS

    def serve():
        while not done.wait(0.005):
            for pid in WORKERS:
                if pid in one.waiting and answers is not None:
                    one.heard(pid, json.dumps({"number": told[-1]["number"], **answers}).encode())
            one.serve(tell, WORKERS[: len(WORKERS) - (not answers)])

    thread = threading.Thread(target=serve)
    thread.start()
    yield told, answers
    done.set()
    thread.join()
    one.close()
    assert not os.path.exists(path)


def test_all_workers_are_told_and_their_answers_are_one(served, path):
    told, _ = served
    assert ask(path, {"verb": "auth flush", "user": "anna"}) == {"workers": 2, "logins": 4}
    assert told[0]["verb"] == "auth flush" and told[0]["user"] == "anna"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"flush",
        b"[]",
        b"null",
        b"{}",
        b'{"verb": "stop"}',
        b'{"verb": "auth flush", "user": 7}',
        b"\xff\xfe",
        b"[" * 3000,
    ],
)
def test_what_is_no_command_is_answered_with_an_error(served, path, line):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(line + b"\n")
        assert "error" in json.loads(sock.makefile().read())
    assert ask(path, {"verb": "auth flush"})["workers"] == 2


def test_whoever_sends_too_much_without_a_line_end_is_cut_off(served, path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(b"x" * 5000)
        try:
            assert sock.recv(10) == b""
        except ConnectionResetError:
            pass


def test_whoever_says_nothing_is_cut_off_and_keeps_nobody_waiting(served, path, monkeypatch):
    monkeypatch.setattr(control, "PATIENCE", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(path)
        assert ask(path, {"verb": "auth flush"})["workers"] == 2
        silent.settimeout(5)
        assert silent.recv(10) == b""


def test_other_users_are_not_heard(path):
    """Not even where the mode of the socket has been changed."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    one = Control(path)
    os.chmod(path, 0o666)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    child = os.fork()
    if child == 0:
        try:
            os.fchdir(folder)
            os.fchmod(folder, 0o755)
            os.setgid(65534)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(os.path.basename(path))
                os._exit(0 if b"only root" in sock.recv(200) else 2)
        finally:
            os._exit(3)
    os.close(folder)
    ended = 0, 0
    while not ended[0]:
        one.serve(lambda line: pytest.fail("it was heard"), WORKERS)
        ended = os.waitpid(child, os.WNOHANG)
    one.close()
    assert os.waitstatus_to_exitcode(ended[1]) == 0


def test_what_a_killed_daemon_left_is_taken_away(path):
    os.makedirs(os.path.dirname(path))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    Control(path).close()


def test_a_running_daemon_keeps_its_socket(path):
    first = Control(path)
    with pytest.raises(ControlError, match="another daemon"):
        Control(path)
    first.close()


def test_a_file_that_is_no_socket_stays(path):
    os.makedirs(os.path.dirname(path))
    with open(path, "w") as file:
        file.write("mine")
    with pytest.raises(ControlError, match="not a socket"):
        Control(path)
    with open(path) as file:
        assert file.read() == "mine"


def imapd(daemon, *arguments):
    command = [sys.executable, "-m", "imapd", *arguments, "-c", str(daemon.folder / "imapd.ini")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def logs_in(daemon, name, password):
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as sock:
        file = sock.makefile("rwb", buffering=0)
        file.readline()
        file.write(f"a LOGIN {name} {password}\r\n".encode())
        return file.readline().startswith(b"a OK")


def test_flush_has_all_workers_forget_somebody_or_everybody(tmp_path):
    daemon = Daemon(tmp_path / "daemon", service="control_socket = run/control.sock", workers=2).start()
    try:
        for _ in range(4):
            assert logs_in(daemon, "anna", "secret") and logs_in(daemon, "ben", "secret")
        daemon.people = {"anna": "other", "ben": "secret"}
        daemon.write_people()
        assert imapd(daemon, "auth", "flush", "nobody") == (
            0,
            "0 remembered logins of nobody are forgotten, by 2 workers.\n",
        )
        code, said = imapd(daemon, "auth", "flush", "anna@example.org")
        assert code == 0 and said[0] in "12" and said.endswith("by 2 workers.\n")
        assert not any(logs_in(daemon, "anna", "secret") for _ in range(6))
        code, said = imapd(daemon, "auth", "flush")
        assert code == 0 and said[0] != "0"
        assert imapd(daemon, "auth", "flush")[1].startswith("0 ")
    finally:
        daemon.stop()
    code, said = imapd(daemon, "auth", "flush")
    assert code == 1 and "the daemon does not run" in said


def test_without_a_socket_nobody_can_be_told(tmp_path):
    daemon = Daemon(tmp_path / "daemon")
    code, said = imapd(daemon, "auth", "flush")
    assert code == 1 and "control_socket is not set" in said
