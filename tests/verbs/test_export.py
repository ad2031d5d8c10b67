"""`imapd export-uidlist`: what is written, and what is said where it cannot be."""

import subprocess
import sys

import pytest

from tests.clients.conftest import message
from tests.support.daemon import Daemon


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path / "imapd", workers=1)
    daemon.start()
    yield daemon
    daemon.stop()


def export(daemon, *whose):
    command = [sys.executable, "-m", "imapd", "export-uidlist", *whose, "-c", str(daemon.folder / "imapd.ini")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_beside_the_running_daemon(daemon):
    for name in ("anna", "ben"):
        with daemon.login(name) as client:
            client.append("INBOX", message(1))
            client.ok("CREATE Work/Deep")
    assert export(daemon, "anna") == (0, f"{daemon.maildir('anna')}: 1 messages in 6 mailboxes\n")
    assert not (daemon.maildir("ben") / "dovecot-uidlist").exists()
    code, said = export(daemon, "--all")
    assert code == 0 and sorted(said.splitlines()) == [
        f"{daemon.maildir(name)}: 1 messages in 6 mailboxes" for name in ("anna", "ben")
    ]
    with daemon.login("anna") as client:
        (status,) = client.ok("STATUS INBOX (UIDVALIDITY UIDNEXT)")
        validity = status.split(b"UIDVALIDITY ")[1].split(b" ")[0].strip(b")").decode()
        first, second = (daemon.maildir("anna") / "dovecot-uidlist").read_text().splitlines()
        assert first == f"3 V{validity} N2" and second.startswith("1 :")
        assert (daemon.maildir("anna") / ".Work.Deep" / "dovecot-uidlist").exists()


def test_what_is_said(daemon):
    assert export(daemon, "nobody") == (1, "imapd export-uidlist: no directory knows nobody\n")
    code, said = export(daemon, "ben@example.org")  # who has never logged in
    assert code == 1 and "mail file" in said
    assert export(daemon)[0] == 2
    assert export(daemon, "anna", "--all")[0] == 2
    assert export(daemon, "--all") == (0, "")


def test_one_that_cannot_be_written_keeps_nobody_else_waiting(daemon):
    for name in ("anna", "ben"):
        with daemon.login(name) as client:
            client.append("INBOX", message(1))
    (daemon.maildir("anna") / "dovecot-uidlist.lock").touch()
    code, said = export(daemon, "--all")
    assert code == 1 and f"{daemon.maildir('ben')}: 1 messages in 5 mailboxes\n" in said
    assert f"{daemon.maildir('anna')}: Dovecot is writing" in said
