"""mbsync (isync) synchronises both ways; a second run finds nothing to do."""

import os
import subprocess

import pytest

from tests.clients.conftest import deliver, message
from tests.clients.mbsyncrc import PLAIN, mbsyncrc
from tests.support.daemon import Daemon


def state_of(folder):
    """Every file below a folder with its content, so that two runs can be compared."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "mbsync" not in path.name and "uidvalidity" not in path.name
    }


@pytest.fixture(params=["plain", "starttls", "tls"])
def mbsync(request, tmp_path, shared_daemon, person, program):
    daemon = shared_daemon
    near = tmp_path / "near"
    near.mkdir()
    certificate = f"CertificateFile {daemon.folder / 'cert.pem'}"
    tls = {
        "plain": PLAIN,
        "starttls": f"SSLType STARTTLS\n{certificate}",
        "tls": f"SSLType IMAPS\n{certificate}",
    }[request.param]
    port = (
        daemon.tls_port
        if request.param == "tls"
        else daemon.strict_port
        if request.param == "starttls"
        else daemon.port
    )
    config = tmp_path / "mbsyncrc"
    config.write_text(mbsyncrc(port, near, person, daemon.people[person], "localhost", tls))
    command = program("mbsync")

    def run():
        done = subprocess.run(
            [command, "-V", "-c", str(config), "-a"],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.near, run.maildir, run.person = near, daemon.maildir(person), person
    return run


def test_mail_goes_both_ways_and_the_second_run_does_nothing(mbsync, shared_daemon, person):
    with shared_daemon.login(person) as client:
        client.append("INBOX", message(1), r"\Seen \Flagged")
        client.append("INBOX", message(2))
        client.ok("CREATE Projects/Garden")
        client.append("Projects/Garden", message(3))
        client.ok('CREATE "Entw&APw-rfe 2"')
    deliver(mbsync.maildir, message(4).replace(b"\r\n", b"\n"))

    mbsync()
    inbox = sorted(path.name for path in (mbsync.near / "INBOX").glob("???/*") if path.is_file())
    assert len(inbox) == 3 and any(name.endswith(":2,FS") or ",FS" in name for name in inbox), inbox
    assert len(list((mbsync.near / "Projects" / "Garden").glob("???/*"))) == 1

    deliver(mbsync.near / "INBOX", message(5).replace(b"\r\n", b"\n"))
    mbsync()
    with shared_daemon.login(person) as client:
        client.ok("SELECT INBOX")
        assert client.ok("SEARCH SUBJECT {8+}\r\nNumber 5") == [b"* SEARCH 4"]

    near, far = state_of(mbsync.near), state_of(mbsync.maildir)
    mbsync()
    assert state_of(mbsync.near) == near
    assert {name for name in state_of(mbsync.maildir) if "imapd" not in name.name} == {
        name for name in far if "imapd" not in name.name
    }


def test_deletions_and_flags_go_both_ways(mbsync, shared_daemon, person):
    with shared_daemon.login(person) as client:
        for number in range(1, 7):
            client.append("INBOX", message(number))
    mbsync()
    with shared_daemon.login(person) as client:
        client.ok("SELECT INBOX")
        client.ok(r"STORE 1 +FLAGS.SILENT (\Deleted)")
        client.ok(r"STORE 2 +FLAGS.SILENT (\Answered)")
        client.ok("EXPUNGE")
    victim = next(path for path in (mbsync.near / "INBOX").glob("???/*") if b"Number 6" in path.read_bytes())
    base = victim.name.split(":2,")[0]
    victim.rename(mbsync.near / "INBOX" / "cur" / f"{base}:2,ST")
    mbsync()
    mbsync()
    texts = [path.read_bytes() for path in (mbsync.near / "INBOX").glob("???/*")]
    assert sorted(text.split(b"Text of number ")[1][:1] for text in texts) == [b"2", b"3", b"4", b"5"]
    with shared_daemon.login(person) as client:
        client.ok("SELECT INBOX")
        assert client.ok("SEARCH ALL") == [b"* SEARCH 1 2 3 4"]
    answered = next(path for path in (mbsync.near / "INBOX").glob("???/*") if b"Number 2" in path.read_bytes())
    assert "R" in answered.name.split(":2,")[1]


def test_an_mbox_is_synchronised_both_ways(tmp_path, program):
    near = tmp_path / "near"
    near.mkdir()
    config = tmp_path / "mbsyncrc"
    daemon = Daemon(tmp_path / "imapd", people={"anna": "secret"}, mail="format = mbox").start()
    try:
        config.write_text(mbsyncrc(daemon.port, near))

        def mbsync():
            command = [program("mbsync"), "-c", str(config), "-a"]
            subprocess.run(command, check=True, timeout=60, env={**os.environ, "HOME": str(tmp_path)})

        with daemon.login() as client:
            for number in range(1, 4):
                client.append("INBOX", message(number))
            client.ok("CREATE Projects/Garden")
            client.append("Projects/Garden", message(4))
        mbsync()
        victim = next(path for path in (near / "INBOX").glob("???/*") if b"Number 2" in path.read_bytes())
        victim.rename(near / "INBOX" / "cur" / f"{victim.name.split(':2,')[0]}:2,ST")
        deliver(near / "Projects" / "Garden", message(5).replace(b"\r\n", b"\n"))
        mbsync()
        with daemon.login() as client:
            client.ok("SELECT Projects/Garden")
            assert client.ok("SEARCH SUBJECT {8+}\r\nNumber 5") == [b"* SEARCH 2"]
            client.ok("SELECT INBOX")
            assert client.ok("UID SEARCH ALL") == [b"* SEARCH 1 3"]
            client.ok(r"STORE 1 +FLAGS.SILENT (\Answered)")
        mbsync()
        answered = next(path for path in (near / "INBOX").glob("???/*") if b"Number 1" in path.read_bytes())
        assert "R" in answered.name.split(":2,")[1]
        before = state_of(near)
        mbsync()
        assert state_of(near) == before
    finally:
        assert daemon.stop() == 0
