"""The daemon as a whole: a real process, its signals, its workers' deaths, its privileges."""

import contextlib
import errno
import os
import pathlib
import pwd
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from imapd.server.indexer import NICE
from tests.server.support import Client, certificate, trusting

PEOPLE = """\
dn: uid=alice,dc=example
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
userPassword: wonderland
"""
SETTINGS = """\
[service]
name = {name}
workers = 2
shutdown_timeout = 3s
{service}
[listeners]
  [[imap]]
  address = 127.0.0.1
  port = {port}
  security = {security}
  plaintext_login = yes
{tls}
[directories]
  [[local]]
  type = ldif
  file = people.ldif
[mail]
root = mail
create = yes
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Daemon:
    """A daemon in a folder; it is ready when it says so."""

    def __init__(self, folder, **settings):
        self.folder = pathlib.Path(folder)
        self.values = {"name": "one.example", "port": free_port(), "security": "plain", "tls": "", "service": ""}
        self.port = self.values["port"]
        self.configure(**settings)
        (self.folder / "people.ldif").write_text(PEOPLE)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(self.folder / "notify"))
        (self.folder / "notify").chmod(0o777)
        self.manager.settimeout(20)
        self.log = (self.folder / "log").open("w+")
        self.process = None

    def configure(self, **settings):
        self.values.update(settings)
        (self.folder / "imapd.ini").write_text(SETTINGS.format(**self.values))

    def start(self, handed=None):
        command = [sys.executable, "-m", "imapd", "-c", str(self.folder / "imapd.ini")]
        env = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify"), "PYTHONPATH": os.getcwd()}
        if handed is None:
            self.process = subprocess.Popen(command, env=env, stderr=self.log)
            return
        # as systemd does it: the socket is descriptor 3, and LISTEN_PID is the daemon's own
        shell = f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&{handed.fileno()}'
        command = ["/bin/bash", "-c", shell, "bash", *command]
        self.process = subprocess.Popen(command, env=env, stderr=self.log, pass_fds=[handed.fileno()])

    def told(self):
        """What the service manager is told next."""
        return self.manager.recv(1000).decode().split("\n")[0]

    def logged(self):
        return (self.folder / "log").read_text()

    def wait_for(self, pattern, seconds=10):
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.logged())):
            assert time.monotonic() < end, self.logged()
            time.sleep(0.02)
        return found

    def workers(self):
        # by the log, because it takes a moment until a process has its name
        return self.children() - {int(pid) for pid in re.findall(r"indexer_started indexer_pid=(\d+)", self.logged())}

    def indexers(self):
        return self.children() - self.workers()

    def children(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return {int(pid) for pid in pathlib.Path(path).read_text().split()}

    def __enter__(self):
        self.start()
        assert self.told() == "READY=1", self.logged()
        return self

    def __exit__(self, *what):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.manager.close()
        self.log.close()


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path) as running:
        yield running


def log_in(port):
    client = Client(port)
    assert client.line().startswith("* OK")
    assert client.command("LOGIN alice wonderland")[-1].startswith("a OK")
    return client


def test_a_stop_says_bye_and_ends_in_time(daemon):
    with log_in(daemon.port) as client:
        began = time.monotonic()
        daemon.process.terminate()
        assert client.line().startswith("* BYE")
        assert daemon.told() == "STOPPING=1"
        assert daemon.process.wait(5) == 0
        assert time.monotonic() - began < 3
    with pytest.raises(OSError):
        Client(daemon.port)
    log = daemon.logged()
    assert re.search(r"login id=\S+ listener=imap peer=127.0.0.1 user=alice", log)
    assert re.search(r"logout id=\S+ listener=imap peer=127.0.0.1 user=Alice reason=stopped duration=", log)
    assert "wonderland" not in log and "Traceback" not in log


def test_a_stop_during_the_start_ends_it(tmp_path):
    daemon = Daemon(tmp_path)
    for moment in ("listening", "worker_started"):
        daemon.log.truncate(0)
        daemon.start()
        daemon.wait_for(moment)
        daemon.process.terminate()
        assert daemon.process.wait(5) == 0
        daemon.wait_for("stopped")
    daemon.manager.close()
    daemon.log.close()


def test_a_worker_that_is_killed_is_replaced_and_the_others_go_on(daemon):
    victim = sorted(daemon.workers())[0]
    clients = [log_in(daemon.port) for _ in range(8)]
    os.kill(victim, signal.SIGKILL)
    daemon.wait_for(rf"worker_ended .*worker_pid={victim} .*signal=SIGKILL")
    alive = 0
    for client in clients:
        try:
            alive += client.command("NOOP")[-1].startswith("a OK")
        except (EOFError, OSError):
            continue
    assert alive == 8 - len(re.findall(rf" login id={victim}\.", daemon.logged()))
    began = time.monotonic()
    # Clients that come meanwhile wait in the queue of the dead worker's socket, and are served by the new one.
    for client in [Client(daemon.port) for _ in range(8)]:
        assert client.line().startswith("* OK")
        client.close()
    assert time.monotonic() - began < 5
    daemon.wait_for("worker_started .*(?s:.*worker_started .*){2}")
    assert len(daemon.workers()) == 2 and victim not in daemon.workers()
    for client in clients:
        client.close()


def test_an_indexer_that_is_killed_is_replaced_and_workers_go_on(daemon):
    with log_in(daemon.port) as client:
        (indexer,) = daemon.indexers()
        workers = daemon.workers()
        os.kill(indexer, signal.SIGKILL)
        daemon.wait_for(rf"indexer_ended indexer_pid={indexer} .*signal=SIGKILL")
        daemon.wait_for("indexer_started(?s:.*)indexer_started")
        assert client.command("NOOP")[-1].startswith("a OK")
        assert daemon.workers() == workers and len(daemon.indexers()) == 1 and indexer not in daemon.children()
    # One that dies while a new generation begins does not keep that from serving.
    daemon.process.send_signal(signal.SIGSTOP)
    daemon.process.send_signal(signal.SIGHUP)
    os.kill(next(iter(daemon.children() - workers)), signal.SIGKILL)
    daemon.process.send_signal(signal.SIGCONT)
    assert [daemon.told(), daemon.told()] == ["RELOADING=1", "READY=1"]


def test_the_indexer_gives_way_and_ends_with_its_configuration(daemon):
    (indexer,) = daemon.indexers()
    fields = pathlib.Path(f"/proc/{indexer}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[16]) == min(os.nice(0) + NICE, 19)
    daemon.process.send_signal(signal.SIGHUP)
    assert [daemon.told(), daemon.told()] == ["RELOADING=1", "READY=1"]
    daemon.wait_for(rf"indexer_ended indexer_pid={indexer} .*status=0")
    assert len(daemon.indexers()) == 1


def test_a_reload_serves_new_clients_by_the_new_settings_and_keeps_the_old_ones(daemon):
    old = daemon.workers()
    with log_in(daemon.port) as client:
        daemon.configure(name="two.example")
        daemon.process.send_signal(signal.SIGHUP)
        assert [daemon.told(), daemon.told()] == ["RELOADING=1", "READY=1"]
        daemon.wait_for("worker_retired .*(?s:.*)worker_retired")
        assert client.command("NOOP")[-1].startswith("a OK")
        for _ in range(8):
            with Client(daemon.port) as other:
                assert "two.example" in other.line()
        assert client.command("LOGOUT")[-1].startswith("a OK")
    end = time.monotonic() + 5
    while daemon.workers() & old and time.monotonic() < end:
        time.sleep(0.02)
    assert not daemon.workers() & old and len(daemon.workers()) == 2


def test_a_reload_of_a_bad_file_is_refused_with_its_problems_and_nothing_changes(daemon):
    old = daemon.workers()
    with log_in(daemon.port) as client:
        daemon.configure(service="nonsense = 1\nmax_sessions = many")
        daemon.process.send_signal(signal.SIGHUP)
        assert [daemon.told(), daemon.told()] == ["RELOADING=1", "READY=1"]
        log = daemon.logged()
        assert "nonsense" in log and "many" in log and "reload_refused" in log and "Traceback" not in log
        assert client.command("NOOP")[-1].startswith("a OK")
        assert daemon.workers() == old
        (daemon.folder / "people.ldif").write_text("nonsense\n")
        daemon.configure(service="")
        daemon.process.send_signal(signal.SIGHUP)
        assert [daemon.told(), daemon.told()] == ["RELOADING=1", "READY=1"]
        assert daemon.workers() == old
    with Client(daemon.port) as other:
        assert "one.example" in other.line()


def test_a_reload_takes_new_certificates_and_more_workers_and_another_port(tmp_path):
    certificate(tmp_path, "first"), certificate(tmp_path, "second")
    text = "[tls]\ncertificate = {0}.pem\nkey = {0}.key"
    with Daemon(tmp_path, security="tls", tls=text.format("first")) as daemon:

        def shown(port):
            from cryptography import x509

            with Client(port, trusting()) as client:
                assert client.line().startswith("* OK")
                certificate = x509.load_der_x509_certificate(client.sock.getpeercert(binary_form=True))
                return certificate.subject.rfc4514_string()

        assert shown(daemon.port) == "CN=first"
        daemon.configure(tls=text.format("second").replace("second.key", "first.key"))
        daemon.process.send_signal(signal.SIGHUP)
        assert [daemon.told(), daemon.told()] == ["RELOADING=1", "READY=1"]
        assert "does not belong to the certificate" in daemon.logged()
        assert shown(daemon.port) == "CN=first"
        other = free_port()
        daemon.configure(tls=text.format("second"), port=other, service="max_sessions = 9\n")
        settings = daemon.folder / "imapd.ini"
        settings.write_text(settings.read_text().replace("workers = 2", "workers = 3"))
        daemon.process.send_signal(signal.SIGHUP)
        assert [daemon.told(), daemon.told()] == ["RELOADING=1", "READY=1"]
        assert {shown(other) for _ in range(6)} == {"CN=second"}
        assert "workers=3" in daemon.logged()
        # Nobody listens at the old one any more, where clients would wait for nobody.
        end = time.monotonic() + 10
        while knocked(daemon.port) != errno.ECONNREFUSED:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_socket_of_systemd_is_served_by_all_workers_and_kept_over_a_reload(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as handed, contextlib.ExitStack() as ending:
        daemon = Daemon(tmp_path, port=handed.getsockname()[1])
        daemon.start(handed)
        ending.push(daemon)
        daemon.port = handed.getsockname()[1]
        assert daemon.told() == "READY=1"
        for name in ("one.example", "two.example"):
            for _ in range(4):
                with log_in(daemon.port):
                    pass
            daemon.configure(name="two.example")
            daemon.process.send_signal(signal.SIGHUP)
            assert [daemon.told(), daemon.told()] == ["RELOADING=1", "READY=1"]
            with Client(daemon.port) as client:
                assert "* OK" in client.line(), name
    assert daemon.process.returncode == 0


def test_workers_and_indexer_end_when_the_master_is_killed(daemon):
    workers = daemon.children()
    assert len(workers) == 3
    daemon.process.kill()
    daemon.process.wait()
    end = time.monotonic() + 5
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
        time.sleep(0.02)
    # where nobody reaps orphans they stay as zombies, which serve nobody
    assert all(state(pid) in (None, "Z") for pid in workers)


def knocked(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port))


def state(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


@pytest.mark.parametrize("what", ["port", "certificate", "folder", "people"])
def test_a_start_that_cannot_succeed_says_why_and_ends(tmp_path, what):
    daemon = Daemon(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        if what == "port":
            daemon.configure(port=other.getsockname()[1])
        elif what == "certificate":
            daemon.configure(security="tls", tls="[tls]\ncertificate = no.pem\nkey = no.key")
        elif what == "folder":
            (tmp_path / "file").touch()
            (tmp_path / "imapd.ini").write_text(
                SETTINGS.format(**daemon.values).replace("root = mail", "root = file/mail")
            )
        elif what == "people":
            (tmp_path / "people.ldif").unlink()
        daemon.start()
        assert daemon.process.wait(20) == 1
    log = daemon.logged()
    expected = {
        "port": "cannot listen on 127.0.0.1:",
        "certificate": "no.pem",
        "folder": "file/mail",
        "people": "people",
    }
    assert expected[what] in log and "Traceback" not in log and len(log.splitlines()) <= 3
    daemon.manager.close()
    daemon.log.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_is_given_up_in_all_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dropped")
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(path.stat().st_mode | 0o755)
    nobody = pwd.getpwnam("nobody")
    with Daemon(folder, service="user = nobody") as daemon:
        assert len(daemon.workers()) == 2 and len(daemon.children()) == 3
        for pid in (daemon.process.pid, *daemon.children()):
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            assert re.search(
                rf"^Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}$", status, re.M
            )
            assert re.search(
                rf"^Gid:\t{nobody.pw_gid}\t{nobody.pw_gid}\t{nobody.pw_gid}\t{nobody.pw_gid}$", status, re.M
            )
            assert re.search(rf"^Groups:\t({nobody.pw_gid} )?$", status, re.M)
            assert re.search(r"^CapEff:\t0+$", status, re.M)
        log_in(daemon.port).close()
        assert (folder / "mail").stat().st_uid == nobody.pw_uid


def test_mail_that_is_delivered_shows_in_idle_and_what_one_client_does_another_sees(daemon):
    with log_in(daemon.port) as idle, log_in(daemon.port) as other:
        (inbox,) = (daemon.folder / "mail").iterdir()
        for client in (idle, other):
            assert client.command("SELECT INBOX")[-1].startswith("a OK")
        idle.send(b"i IDLE\r\n")
        assert idle.line().startswith("+ ")
        for number in range(1, 4):
            (inbox / "tmp" / f"{number}").write_bytes(b"Subject: hello\n\nbody\n")
            (inbox / "tmp" / f"{number}").rename(inbox / "new" / f"1.{number}.host")
            began = time.monotonic()
            lines = [idle.line()]
            while not lines[-1].endswith("EXISTS"):
                lines.append(idle.line())
            assert lines[-1] == f"* {number} EXISTS" and time.monotonic() - began < 1
        assert "* 3 EXISTS" in other.command("NOOP")
        fetched = other.command("FETCH 1:* (UID RFC822.SIZE BODY.PEEK[])")
        assert sum(line.startswith("* ") for line in fetched) == fetched.count("Subject: hello") == 3
        assert other.command("STORE 2 +FLAGS (\\Flagged)")[-1].startswith("a OK")
        lines = [idle.line()]
        while "Flagged" not in lines[-1]:
            lines.append(idle.line())
        idle.send(b"DONE\r\n")
        while not idle.line().startswith("i OK"):
            pass
        message = b"Subject: appended\r\n\r\nlonger\r\n"
        other.send(b"b APPEND INBOX {%d+}\r\n" % len(message) + message + b"\r\n")
        while not (line := other.line()).startswith("b "):
            pass
        assert "APPENDUID" in line
    assert "Traceback" not in daemon.logged()
