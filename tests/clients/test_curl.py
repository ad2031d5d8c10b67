"""curl over imap:// and imaps://: lists, reads, appends, searches."""

import subprocess

import pytest

from tests.clients.conftest import message


@pytest.fixture(params=["imap", "imap with STARTTLS", "imaps"])
def curl(request, shared_daemon, person, program):
    daemon = shared_daemon
    port = {"imap": daemon.port, "imap with STARTTLS": daemon.strict_port, "imaps": daemon.tls_port}[request.param]
    more = ["--ssl-reqd"] if "STARTTLS" in request.param else []
    command = program("curl")

    def run(path, *arguments):
        url = f"{request.param.split()[0]}://127.0.0.1:{port}/{path}"
        done = subprocess.run(
            [command, "-sS", "-k", "-u", f"{person}:{daemon.people[person]}", *more, url, *arguments],
            capture_output=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_curl_does_its_work(curl, shared_daemon, person, tmp_path):
    with shared_daemon.login(person) as client:
        client.append("INBOX", message(1))
        client.ok("CREATE Archive/2026")
    assert b'"/" Archive/2026\r\n' in curl("")
    assert curl("INBOX;UID=1") == message(1)
    assert curl("INBOX;UID=1;SECTION=TEXT") == b"Text of number 1.\r\n"
    (tmp_path / "two.eml").write_bytes(message(2))
    curl("Archive%2f2026", "-T", str(tmp_path / "two.eml"))
    assert curl("Archive%2f2026;UID=1") == message(2)
    assert curl("INBOX?SUBJECT%20Number") == b"* SEARCH 1\r\n"
    assert b"* 1 EXISTS" in curl("", "-X", "EXAMINE INBOX")
