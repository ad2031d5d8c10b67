"""A real mail transfer agent: Postfix takes mail by SMTP and delivers it to us, by LMTP at a Unix socket and by a pipe.

It runs with a configuration, a queue and a log of its own, at a port of this machine alone.
"""

import os
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, free_ports

ROOT = Path(__file__).parents[2]
MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example.net
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
virtual_mailbox_domains = example.org, pipe.example
transport_maps = inline:{{ pipe.example=imapd: }}
default_transport = discard
relay_transport = discard
virtual_transport = lmtp:unix:{folder}/lmtp.sock
imapd_destination_recipient_limit = 1
recipient_delimiter = +
alias_maps =
alias_database =
smtpd_recipient_restrictions = permit_mynetworks, reject
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
"""
MASTER = """\
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
imapd unix - n n - 4 pipe
  flags=F user=daemon argv=/usr/bin/env PYTHONPATH={path} {python} -m imapd deliver -c {folder}/imapd.ini --sender=${{sender}} -- ${{recipient}}
"""
SITE = """\
[lmtp]
status = enabled
socket = lmtp.sock
socket_group = postfix
[delivery]
local_domains = pipe.example
"""


def python_for_others(folder):
    """A Python with our packages that another user may start, with its PYTHONPATH; None where there is none."""
    path = ":".join([str(ROOT), *(place for place in sys.path if place.endswith("site-packages"))])
    options = {"user": "daemon", "group": "daemon", "extra_groups": [], "cwd": folder, "capture_output": True}
    for python in (sys.executable, shutil.which("python3", path="/usr/bin")):
        if python is None:
            continue
        try:
            command = [python, "-c", "import imapd.server.house, imapd.cli"]
            done = subprocess.run(command, env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}, **options)
        except PermissionError:
            continue
        if not done.returncode:
            return python, path
    return None


class Site(Daemon):
    """Our daemon and Postfix, in a folder that others may look into."""

    def __init__(self, folder, python):
        super().__init__(folder, mail=SITE, service="user = daemon\nname = mx.example.org", workers=2)
        (self.smtp_port,) = free_ports(1)
        (folder / "postfix").mkdir()
        for name in ("queue", "data"):
            (folder / name).mkdir(mode=0o755)
        shutil.chown(folder / "data", "postfix")
        (folder / "postfix" / "main.cf").write_text(MAIN.format(folder=folder))
        program, path = python or ("/bin/false", "")
        text = MASTER.format(port=f"127.0.0.1:{self.smtp_port}", folder=folder, python=program, path=path)
        (folder / "postfix" / "master.cf").write_text(text)
        for one in (folder / "people.ldif", folder / "key.pem"):
            shutil.chown(one, "daemon")

    def postfix(self, *words):
        command = ["postfix", "-c", str(self.folder / "postfix"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def start(self):
        super().start()
        done = self.postfix("start")
        assert done.returncode == 0, (done.stderr, self.maillog())
        return self

    def stop(self, *arguments):
        self.postfix("abort")
        return super().stop(*arguments)

    def maillog(self):
        path = self.folder / "maillog"
        return path.read_text() if path.exists() else ""

    def send(self, subject, *recipients):
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=20) as client:
            client.sendmail("sender@example.com", recipients, f"Subject: {subject}\r\n\r\n.dot\r\nline\r\n")

    def logged(self, *words, seconds=20):
        """The line of Postfix' log that has these words, once it is there."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.maillog().splitlines():
                if all(word in line for word in words):
                    return line
            assert time.monotonic() < deadline, f"{words}\n{self.maillog()[-3000:]}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def site():
    if os.getuid() != 0:
        pytest.skip("Postfix is started by root")
    if shutil.which("postfix") is None:
        pytest.fail("postfix is not on this machine: apt-get install postfix (make test does it where it may)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        python = python_for_others(folder)
        site = Site(folder, python)
        site.has_pipe = python is not None
        try:
            yield site.start()
            assert not site.tracebacks()
        finally:
            site.stop()


def test_mail_comes_in_by_lmtp(site):
    site.send("by LMTP", "anna@example.org", "ben+x@example.org")
    for name in ("anna@example.org", "ben+x@example.org"):
        assert "delivered" in site.logged(f"to=<{name}>", "status=sent", "250 2.1.5")
    with site.login() as anna:
        anna.ok("SELECT INBOX")
        (text,) = anna.ok("FETCH 1 BODY.PEEK[]")
        assert b"Return-Path: <sender@example.com>\r\nDelivered-To: anna@example.org\r\n" in text
        assert text.endswith(b"\r\n\r\n.dot\r\nline\r\n)")
        assert b"by mx.example.org with LMTP id" in text


def test_nobody_is_told_to_the_sender(site):
    site.send("to nobody", "nobody@example.org")
    assert "550 5.1.1 Nobody here has that address" in site.logged("to=<nobody@example.org>", "status=bounced")


def test_a_worker_that_is_killed_loses_nothing(site):
    for number in range(10):
        site.send(f"burst {number}", "anna@example.org")
        if number == 3:
            for worker in site.workers():
                os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 60
    subjects = {b"burst %d" % number for number in range(10)}
    missing = subjects
    while missing:
        assert time.monotonic() < deadline, (missing, site.maillog())
        try:
            with site.login() as anna:
                anna.ok("SELECT INBOX")
                told = b"".join(anna.ok("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]"))
                missing = {subject for subject in subjects if subject + b"\r\n" not in told}
        except (OSError, AssertionError):
            pass
        time.sleep(0.1)


def test_mail_comes_in_by_a_pipe(site):
    if not site.has_pipe:
        pytest.skip("another user cannot start the Python of these tests")
    site.send("by a pipe", "ben+Sent@pipe.example")
    site.logged("to=<ben+Sent@pipe.example>", "status=sent")
    with site.login("ben") as ben:
        ben.ok("SELECT Sent")
        (text,) = ben.ok("FETCH 1 BODY.PEEK[]")
        assert b"Return-Path: <sender@example.com>\r\nDelivered-To: ben+Sent@pipe.example\r\n" in text
        assert text.endswith(b"\r\n\r\n.dot\r\nline\r\n)")


def test_the_pipe_says_why(site):
    if not site.has_pipe:
        pytest.skip("another user cannot start the Python of these tests")
    site.send("to nobody", "nobody@pipe.example")
    line = site.logged("to=<nobody@pipe.example>", "status=bounced")
    assert "dsn=5.1.1" in line and "Nobody here has that address" in line
    path = site.folder / "imapd.ini"
    text = path.read_text()
    path.write_text(text + "nonsense = yes\n")
    site.send("with a mistake", "anna@pipe.example")
    line = site.logged("to=<anna@pipe.example>", "status=deferred")
    assert "dsn=4.3.5" in line
    path.write_text(text)
    site.postfix("flush")
    site.logged("to=<anna@pipe.example>", "status=sent")
