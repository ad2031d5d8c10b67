"""Deliveries by LMTP to real daemons: at a port, at a Unix socket, in TLS, beside clients in IDLE, over a crash."""

import os
import signal
import smtplib
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from imapd.delivery.lmtp import Conversation
from imapd.delivery.replies import Terms
from imapd.server import lmtp
from imapd.server.loop import GeventLoop
from imapd.server.transport import Transport
from imapd.server.worker import DELIVERING
from tests.delivery.office import Office
from tests.support.daemon import Daemon, free_ports, insecure_context

ROOT = Path(__file__).parents[2]
TEXT = b"From: a@b\r\nSubject: Number %d\r\n\r\nx\r\n"
LMTP = "[lmtp]\nstatus = enabled\nsocket = lmtp.sock\nport = {port}\nstarttls = yes\n{more}\n"


class Site(Daemon):
    """A daemon that takes mail."""

    def __init__(self, folder, more="", **options):
        (self.lmtp_port,) = free_ports(1)
        super().__init__(folder, mail=LMTP.format(port=self.lmtp_port, more=more), **options)

    def lmtp(self, by_socket=False):
        """smtplib hears one reply behind a text: it is good for one recipient."""
        if by_socket:
            return smtplib.LMTP(str(self.folder / "lmtp.sock"))
        return smtplib.LMTP("127.0.0.1", self.lmtp_port, timeout=20)

    def deliver_by_socket(self, recipient="anna@example.org"):
        with self.lmtp(by_socket=True) as client:
            return deliver(client, 1, recipient)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("lmtp"), workers=2).start()
    yield site
    assert site.stop() == 0
    assert not (site.folder / "lmtp.sock").exists()
    assert not site.tracebacks()


def deliver(client, number, *recipients):
    return client.sendmail("sender@example.net", recipients or ["anna@example.org"], TEXT % number)


@contextmanager
def text_begun(site):
    """A connection as a file, at which the text of a message to anna is awaited."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(site.folder / "lmtp.sock"))
        with sock.makefile("rwb") as file:
            assert file.readline().startswith(b"220 ")
            for line in (b"LHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<anna@example.org>"):
                assert said(file, line).startswith(b"250 ")
            assert said(file, b"DATA").startswith(b"354 ")
            yield file


def said(file, line):
    """Send a line; the last line of the reply."""
    file.write(line + b"\r\n")
    file.flush()
    while (answer := file.readline())[3:4] == b"-":
        pass
    return answer


def test_a_message_comes_in_at_the_port_and_at_the_socket(site):
    with site.lmtp() as client:
        assert deliver(client, 1, "ben@example.org", "nobody@example.org") == {
            "nobody@example.org": (550, b"5.1.1 Nobody here has that address")
        }
    with site.lmtp(by_socket=True) as client:
        assert deliver(client, 2, "ben@example.org") == {}
    with site.login("ben") as ben:
        ben.ok("SELECT INBOX")
        subjects = b"".join(ben.ok("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]"))
        assert b"Number 1" in subjects and b"Number 2" in subjects


def test_the_first_fetch_finds_the_message_described(site):
    with site.lmtp() as client:
        deliver(client, 3, "ben@example.org")
    with site.login("ben") as ben:
        (count,) = [line for line in ben.ok("SELECT INBOX") if line.endswith(b"EXISTS")]
        (told,) = ben.ok(f"FETCH {count.split()[1].decode()} (ENVELOPE BODYSTRUCTURE)")
        assert b'"Number 3"' in told and b'BODYSTRUCTURE ("text" "plain"' in told


def test_a_message_is_described_before_anybody_asks(tmp_path):
    site = Site(tmp_path, workers=1).start()
    try:
        site.deliver_by_socket()
        deadline = time.monotonic() + 20
        while not any(b"Number 1" in path.read_bytes() for path in site.maildir().glob("imapd-cache/*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        site.stop()


def test_the_socket_is_for_its_group_and_nobody_else(site):
    assert stat.S_IMODE(os.stat(site.folder / "lmtp.sock").st_mode) == 0o660


def test_tls(site):
    with site.lmtp() as client:
        client.starttls(context=insecure_context())
        assert isinstance(client.sock, ssl.SSLSocket)
        assert deliver(client, 4, "ben@example.org") == {}


def test_octets_in_the_clear_behind_starttls_end_the_connection(site):
    with socket.create_connection(("127.0.0.1", site.lmtp_port), timeout=20) as sock, sock.makefile("rwb") as file:
        file.readline()
        said(file, b"LHLO x")
        file.write(b"STARTTLS\r\nMAIL FROM:<a@b>\r\n")
        file.flush()
        assert file.read() in (b"", b"421 4.3.2 Nothing may be sent behind STARTTLS\r\n")


def test_idle_clients_of_both_workers_see_each_message(site):
    clients = [site.login("anna") for _ in range(6)]
    before = []
    for client in clients:
        (exists,) = [line for line in client.ok("SELECT INBOX") if line.endswith(b"EXISTS")]
        before.append(int(exists.split()[1]))
        client.send(b"i IDLE\r\n")
        assert client.response().startswith(b"+")

    def many():
        with site.lmtp() as lmtp:
            for number in range(20):
                for name in ("anna@example.org", "anna"):
                    assert deliver(lmtp, number, name) == {}

    threads = [threading.Thread(target=many) for _ in range(2)]
    for thread in threads:
        thread.start()
    for client, count in zip(clients, before, strict=True):
        client.socket.settimeout(30)
        while b"* %d EXISTS\r\n" % (count + 80) != client.response():
            pass
    for thread in threads:
        thread.join()
    for client in clients:
        client.send(b"DONE\r\n")
        client.finish(b"i")
    uids = clients[0].ok("UID SEARCH ALL")
    assert len(uids[0].split()) == 2 + before[0] + 80
    for client in clients:
        client.close()


def test_a_kill_in_the_middle_of_a_text_leaves_nothing(tmp_path):
    site = Site(tmp_path, workers=1).start()
    try:
        with site.lmtp() as client:
            deliver(client, 1)
        before = sorted(str(path) for path in site.maildir().rglob("*") if "," in path.name)
        with text_begun(site) as file:
            for _ in range(20):
                file.write(b"half a message " * 5000)
            file.flush()
            (worker,) = site.workers()
            os.kill(worker, signal.SIGKILL)
            with suppress(ConnectionResetError):
                assert file.read() == b""
        deadline = time.monotonic() + 20
        while not [pid for pid in site.workers() if pid != worker]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with site.login() as anna:
            anna.ok("SELECT INBOX")
            assert anna.ok("SEARCH ALL") == [b"* SEARCH 1"]
        assert sorted(str(path) for path in site.maildir().rglob("*") if "," in path.name) == before
        assert os.listdir(site.maildir() / "tmp") == []
        assert [path.name for path in (tmp_path / "mail").iterdir()] == ["anna"]
        with site.lmtp() as client:
            deliver(client, 2)
    finally:
        site.stop()


def test_a_stop_is_told_and_a_text_that_is_coming_is_not_delivered(tmp_path):
    site = Site(tmp_path, workers=1).start()
    with text_begun(site) as file:
        file.write(b"Subject: x\r\n")
        file.flush()
        assert site.stop() == 0
        assert file.read().startswith(b"421 4.3.2 ")
    assert not (tmp_path / "mail" / "anna").exists()


@pytest.mark.parametrize(
    ("rule", "expected"), [("", b"4.2.2 The mail file is full"), ("bounce", b"5.2.2 The mail file is full")]
)
def test_a_full_mail_file(tmp_path, rule, expected):
    more = f"[delivery]\nover_quota = {rule}\n" if rule else ""
    site = Site(tmp_path, workers=1, more=f"{more}[quota]\nmessages = 2").start()
    try:
        with site.lmtp() as client:
            assert deliver(client, 1) == {} and deliver(client, 2) == {}
            with pytest.raises(smtplib.SMTPDataError) as caught:
                deliver(client, 3)
            assert (caught.value.smtp_code, caught.value.smtp_error) == (552 if rule else 452, expected)
        with site.login() as anna:
            anna.ok("SELECT INBOX")
            anna.ok("STORE 1 +FLAGS (\\Deleted)")
            anna.ok("EXPUNGE")
        with site.lmtp() as client:
            assert deliver(client, 3) == {}
        assert os.listdir(site.maildir() / "tmp") == []
    finally:
        site.stop()


def test_a_full_disk(tmp_path):
    """The daemon and its clients in a namespace of their own, with a small disk in memory for the mail."""
    mount = f"mount -t tmpfs -o size=2m none {tmp_path}/mail"
    (tmp_path / "mail").mkdir()
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = f"{mount} && exec {sys.executable} -m tests.server.test_lmtp {tmp_path}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], cwd=ROOT, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr.decode()


def on_a_full_disk(folder):
    site = Site(folder, workers=1).start()
    try:
        with site.lmtp() as client:
            assert deliver(client, 1) == {}
            for size in (3_000_000, 1_900_000):  # too large for the file in which it waits, and for its copy
                with pytest.raises(smtplib.SMTPDataError) as caught:
                    client.sendmail("a@b", ["anna@example.org"], b"Subject: x\r\n\r\n" + b"x" * size)
                assert caught.value.smtp_code == 452 and caught.value.smtp_error.startswith(b"4.3.1 ")
            with open(folder / "mail" / "ballast", "wb", buffering=0) as ballast:
                for size in (65536, 512):
                    with suppress(OSError):
                        while True:
                            ballast.write(b"x" * size)
            with pytest.raises(smtplib.SMTPDataError) as caught:
                client.sendmail("a@b", ["anna@example.org"], b"Subject: x\r\n\r\n" + b"x" * 50_000)
            assert caught.value.smtp_code == 452 and caught.value.smtp_error.startswith(b"4.3.1 ")
            (folder / "mail" / "ballast").unlink()
            assert deliver(client, 2) == {}
        assert os.listdir(site.maildir() / "tmp") == []
        with site.login() as anna:
            anna.ok("SELECT INBOX")
            assert anna.ok("SEARCH ALL") == [b"* SEARCH 1 2"]
    finally:
        assert site.stop() == 0


def test_more_clients_than_are_served_are_told_to_come_again(tmp_path):
    site = Site(tmp_path, workers=1).start()
    with ExitStack() as sockets:
        for number in range(DELIVERING + 1):
            sock = sockets.enter_context(socket.socket(socket.AF_UNIX))
            sock.settimeout(20)
            sock.connect(str(tmp_path / "lmtp.sock"))
            assert sock.recv(100).startswith(b"220 " if number < DELIVERING else b"421 4.3.2 ")
        with site.login() as anna:  # sessions are counted apart
            anna.ok("NOOP")
    assert site.stop() == 0


def test_a_silent_client_is_told_and_left(tmp_path, monkeypatch):
    monkeypatch.setattr(lmtp, "SILENCE", 0.05)
    ours, theirs = socket.socketpair()
    office = Office(tmp_path)

    def begin(tell, number, starttls):
        return Conversation(office, Terms("mx"), tell, time.time, number)

    with theirs:
        theirs.sendall(b"LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\nSubject: x\r\n")
        loop = GeventLoop()
        lmtp.LmtpConnection(Transport(ours), begin, loop, {"id": "1", "peer": ""}, ()).serve()
        loop.close()
        assert theirs.recv(4096).endswith(b"\r\n421 4.3.2 Nothing was heard for too long\r\n")
    assert office.texts("anna") == []


def test_networks_that_no_mail_is_taken_from(tmp_path):
    site = Site(tmp_path, workers=1, more="networks = 192.0.2.0/24").start()
    try:
        with socket.create_connection(("127.0.0.1", site.lmtp_port), timeout=20) as sock:
            assert sock.recv(1000) == b"554 No mail is taken from you\r\n"
        assert site.deliver_by_socket() == {}  # a socket has its mode
    finally:
        site.stop()


def test_a_reload_keeps_the_socket_and_takes_the_new_rules(tmp_path):
    site = Site(tmp_path, workers=1).start()
    try:
        inode = os.stat(tmp_path / "lmtp.sock").st_ino
        path = tmp_path / "imapd.ini"
        path.write_text(path.read_text() + "[delivery]\nseparator = -\ncreate = yes\n")
        site.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while "worker_retired" not in site.log():  # both generations accept until then
            assert time.monotonic() < deadline, site.log()
            time.sleep(0.02)
        assert os.stat(tmp_path / "lmtp.sock").st_ino == inode
        assert site.deliver_by_socket("anna-new@example.org") == {}
        with site.login() as anna:
            assert anna.ok("STATUS new (MESSAGES)") == [b"* STATUS new (MESSAGES 1)"]
    finally:
        assert site.stop() == 0


def test_a_socket_of_a_daemon_that_was_killed_is_taken_over(tmp_path):
    site = Site(tmp_path, workers=1).start()
    os.killpg(site.process.pid, signal.SIGKILL)
    site.process.wait()
    assert (tmp_path / "lmtp.sock").exists()
    site.start()
    try:
        assert site.deliver_by_socket() == {}
    finally:
        assert site.stop() == 0


if __name__ == "__main__":
    on_a_full_disk(Path(sys.argv[1]))
