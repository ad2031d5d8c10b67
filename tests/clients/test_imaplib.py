"""The imaplib of Python's standard library, in the clear, with STARTTLS and over TLS."""

import imaplib
import time

import pytest

from tests.clients.conftest import deliver, message
from tests.support.daemon import insecure_context


@pytest.fixture(params=["plain", "starttls", "tls"])
def connection(request, shared_daemon, person):
    daemon = shared_daemon
    if request.param == "tls":
        connection = imaplib.IMAP4_SSL("127.0.0.1", daemon.tls_port, ssl_context=insecure_context(), timeout=20)
    else:
        connection = imaplib.IMAP4(
            "127.0.0.1", daemon.strict_port if request.param == "starttls" else daemon.port, timeout=20
        )
    if request.param == "starttls":
        with pytest.raises(imaplib.IMAP4.error):
            connection.login(person, daemon.people[person])
        assert "LOGINDISABLED" in connection.capabilities
        connection.starttls(insecure_context())
        assert "LOGINDISABLED" not in connection.capabilities
    connection.login(person, daemon.people[person])
    yield connection
    if connection.state != "LOGOUT":
        connection.logout()


def test_a_day_with_imaplib(connection, shared_daemon, person):
    ok, _ = connection.create('"Projects/Garden 2026"')
    assert ok == "OK"
    ok, _ = connection.append("INBOX", r"(\Seen)", imaplib.Time2Internaldate(760686745), message(1))
    assert ok == "OK"
    assert connection.select("INBOX") == ("OK", [b"1"])
    ok, data = connection.fetch("1", "(UID FLAGS INTERNALDATE BODY[])")
    assert data[0][1] == message(1) and b"UID 1" in data[0][0]
    assert connection.uid("STORE", "1", "+FLAGS", r"(\Flagged)")[0] == "OK"
    assert connection.search(None, "FLAGGED")[1] == [b"1"]
    assert connection.uid("COPY", "1", '"Projects/Garden 2026"')[0] == "OK"
    assert connection.status('"Projects/Garden 2026"', "(MESSAGES UIDNEXT)") == (
        "OK",
        [b'"Projects/Garden 2026" (MESSAGES 1 UIDNEXT 2)'],
    )
    deliver(shared_daemon.maildir(person), message(2).replace(b"\r\n", b"\n"))
    connection.noop()
    assert connection.response("EXISTS")[1][-1] == b"2"
    ok, data = connection.fetch("2", "(BODY.PEEK[] RFC822.SIZE)")
    assert data[0][1] == message(2) and b"RFC822.SIZE %d" % len(message(2)) in data[0][0] + data[1]
    assert connection.store("1:*", "+FLAGS.SILENT", r"\Deleted")[0] == "OK"
    assert connection.expunge() in (("OK", [b"1", b"1"]), ("OK", [b"2", b"1"]))  # either order is right
    assert connection.close()[0] == "OK"
    assert connection.logout()[0] == "BYE"


def test_authenticate_plain(shared_daemon, person):
    connection = imaplib.IMAP4("127.0.0.1", shared_daemon.port, timeout=20)
    ok, _ = connection.authenticate("PLAIN", lambda _: f"\0{person}\0secret".encode())
    assert ok == "OK"
    connection.logout()


def test_a_delivery_is_seen_in_idle_within_a_second(shared_daemon, person):
    with shared_daemon.login(person) as client:
        client.ok("SELECT INBOX")
        tag = client.begin("IDLE")
        assert client.response().startswith(b"+")
        for number in range(1, 6):
            began = time.monotonic()
            deliver(shared_daemon.maildir(person), message(number).replace(b"\r\n", b"\n"))
            client.socket.settimeout(1.0)  # "within a second" is what is promised; silence past it fails the test
            while not (response := client.response()).endswith(b"EXISTS\r\n"):
                assert time.monotonic() - began < 1.0
            assert response == b"* %d EXISTS\r\n" % number
        client.socket.settimeout(20)
        client.send(b"DONE\r\n")
        client.finish(tag)


def acting_for(daemon, person):
    """An administrator's connection, acting as the person."""
    connection = imaplib.IMAP4("127.0.0.1", daemon.port, timeout=20)
    assert connection.authenticate("PLAIN", lambda _: f"{person}\0root\0secret".encode())[0] == "OK"
    return connection


def test_quotas_are_set_told_and_kept(shared_daemon, person):
    root = acting_for(shared_daemon, person)
    assert "QUOTASET" in root.capability()[1][0].decode().split()
    assert root.setquota('""', "(STORAGE 2 MESSAGE 3)") == ("OK", [b'"" (STORAGE 0 2 MESSAGE 0 3)'])
    connection = imaplib.IMAP4("127.0.0.1", shared_daemon.port, timeout=20)
    connection.login(person, "secret")
    assert connection.getquotaroot("INBOX") == ("OK", [[b'INBOX ""'], [b'"" (STORAGE 0 2 MESSAGE 0 3)']])
    assert connection.append("INBOX", None, None, message(1) + b"x" * 3000)[0] == "NO"
    assert connection.append("INBOX", None, None, message(1))[0] == "OK"
    assert connection.getquota('""') == ("OK", [b'"" (STORAGE 1 2 MESSAGE 1 3)'])
    # What other programs deliver is counted, and never refused.
    for number in range(2, 6):
        deliver(shared_daemon.maildir(person), message(number).replace(b"\r\n", b"\n"))
    assert connection.getquota('""') == ("OK", [b'"" (STORAGE 1 2 MESSAGE 5 3)'])
    kind, data = connection.append("INBOX", None, None, b"x")
    assert kind == "NO" and data[0].startswith(b"[OVERQUOTA]")
    assert connection.select("INBOX") == ("OK", [b"5"])
    assert connection.untagged_responses["NO"] == [b"[ALERT] Your mail file is 166 % full."]
    connection.logout()
    root.logout()
