"""Bytes from strangers: a clear BAD or BYE, nobody else notices, and no traceback."""

import re
import socket
import time

import pytest

from tests.support.daemon import Daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("limits") / "imapd", workers=1, service="login_timeout = 5s").start()
    yield daemon
    code = daemon.stop()
    assert daemon.tracebacks() == [], daemon.log()
    assert code == 0


@pytest.fixture
def neighbour(daemon):
    """Somebody who is logged in to the same worker, and must not notice anything."""
    with daemon.login("ben") as client:
        client.ok("SELECT INBOX")
        yield client
        began = time.monotonic()
        client.ok("NOOP")
        assert time.monotonic() - began < 5, "the neighbour was kept waiting"


def answer(daemon, data, logged_in=False, seconds=8, silence=1.0):
    """What the server says to the bytes, up to the end of the connection or a second of silence; (text, closed)."""
    client = daemon.login() if logged_in else daemon.connect()
    client.socket.settimeout(seconds)
    try:
        client.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    heard = b""
    try:
        while True:
            client.socket.settimeout(silence if heard else seconds)
            part = client.socket.recv(65536)
            if not part:
                return heard, True
            heard += part
    except TimeoutError:
        return heard, False
    except ConnectionResetError:
        return heard, True
    finally:
        client.close()


BEFORE_LOGIN = {
    "literal of 4294967296 octets": b"a LOGIN {4294967296}\r\n",
    "non-synchronizing literal of 4294967296 octets": b"a LOGIN {4294967296+}\r\n",
    "negative literal": b"a LOGIN {-100}\r\n",
    "literal with a huge number": b"a LOGIN {99999999999999999999999999}\r\n",
    "literal above what a login needs": b"a LOGIN {1025}\r\n",
    "literal where no login is": b"a SELECT {5}\r\n",
    "NUL": b"a LOGIN an\0na secret\r\n",
    "line of 1 MB": b"a LOGIN " + b"x" * 1_000_000 + b"\r\n",
    "line of 1 MB without an end": b"a" * 1_000_000,
    "10,000 parentheses": b"a LOGIN " + b"(" * 10_000 + b"\r\n",
    "tag of 8 kB": b"t" * 8192 + b" NOOP\r\n",
    "garbage": bytes(range(256)) * 40 + b"\r\n",
    "no command": b"a\r\n",
    "only spaces": b"     \r\n",
    "plus as a tag": b"+ NOOP\r\n",
    "TLS hello to the wrong port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500 + b"\r\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "mail": b"EHLO example.org\r\nMAIL FROM:<x@example.org>\r\n",
}


@pytest.mark.parametrize("name", sorted(BEFORE_LOGIN))
def test_before_login(name, daemon, neighbour):
    heard, closed = answer(daemon, BEFORE_LOGIN[name])
    assert re.search(rb"(^|\n)(\S+ BAD|\S+ NO|\* BYE|\* BAD) ?[^\r\n]{5,}\r\n", heard), heard
    assert not re.search(rb"\bOK\b", heard), heard


def test_an_unterminated_literal_before_login_ends_with_the_login_deadline(daemon, neighbour):
    heard, closed = answer(daemon, b"a LOGIN {10}\r\nabc", silence=15)
    assert closed and heard.startswith(b"+") and b"* BYE" in heard


def test_bare_line_feeds_end_a_line_as_well(daemon, neighbour):
    heard, closed = answer(daemon, b"a LOGIN anna secret\nb NOOP\nc LOGOUT\n")
    assert re.search(rb"a OK .*b OK .*\* BYE .*c OK ", heard, re.DOTALL)


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off_at_the_login_deadline(daemon, neighbour):
    client = daemon.connect()
    began = time.monotonic()
    client.socket.settimeout(0.4)
    heard = b""
    while time.monotonic() - began < 15:
        try:
            client.send(b"a")
            part = client.socket.recv(4096)
            if not part:
                break
            heard += part
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            break
    else:
        pytest.fail("the connection is still there after three times the deadline")
    assert b"* BYE" in heard
    client.close()


LOGGED_IN = {
    "literal of 4294967296 octets": b"a APPEND INBOX {4294967296}\r\n",
    "non-synchronizing literal of 4294967296 octets": b"a APPEND INBOX {4294967296+}\r\n",
    "negative literal": b"a APPEND INBOX {-100}\r\n",
    "literal8 of nothing": b"a APPEND INBOX ~{0+}\r\n\r\n",
    "literal in a flag list": b"a STORE 1 FLAGS ({5}\r\n",
    "huge literal in a name": b"a SELECT {100000000}\r\n",
    "NUL": b"a SELECT in\0box\r\n",
    "NUL in a quoted string": b'a SELECT "in\0box"\r\n',
    "line of 1 MB": b"a SEARCH SUBJECT " + b"x" * 1_000_000 + b"\r\n",
    "10,000 parentheses": b"a SEARCH " + b"(" * 10_000 + b"\r\n",
    "10,000 closed parentheses": b"a SEARCH " + b"(" * 10_000 + b"ALL" + b")" * 10_000 + b"\r\n",
    "1,000 NOTs": b"a SEARCH " + b"NOT " * 1000 + b"ALL\r\n",
    "bad UTF-7": b"a SELECT &!!!\r\n",
    "UTF-7 without an end": b"a SELECT &AOQ\r\n",
    "UTF-7 that hides a slash": b"a CREATE a&AC8-b\r\n",
    "raw 8-bit that is no UTF-8": b"a CREATE caf\xe9\r\n",
    "quoted string without an end": b'a SELECT "inbox\r\n',
    "tag of 8 kB": b"t" * 8192 + b" NOOP\r\n",
    "set with zero": b"a UID FETCH 0:4 FLAGS\r\n",
    "set with a huge number": b"a UID FETCH 1:99999999999 FLAGS\r\n",
    "set that is no set": b"a UID FETCH ,, FLAGS\r\n",
    "a name that climbs": b"a CREATE ../../../etc/passwd\r\n",
    "an absolute name": b"a CREATE /etc/passwd\r\n",
    "a name with a control character": b'a CREATE "bell\x07"\r\n',
    "a name that is too long": b"a CREATE " + b"x" * 5000 + b"\r\n",
    "wrong date": b"a SEARCH SINCE 31-Feb-2020\r\n",
    "wrong section": b"a UID FETCH 1 BODY[1..2]\r\n",
    "partial of nothing": b"a UID FETCH 1 BODY[]<0.0>\r\n",
}


@pytest.mark.parametrize("name", sorted(LOGGED_IN))
def test_logged_in(name, daemon, neighbour):
    data = LOGGED_IN[name]
    heard, closed = answer(daemon, data, logged_in=True)
    assert re.search(rb"(^|\n)(\S+ (BAD|NO)|\* BYE|\* BAD) ?[^\r\n]{5,}\r\n", heard), heard
    assert not re.search(rb"a OK", heard), heard


def test_an_interval_of_all_numbers_is_no_work(daemon, neighbour):
    with daemon.login() as client:
        client.ok("SELECT INBOX")
        assert client.ok("UID FETCH 1:4294967295 (FLAGS)") == []
        assert client.ok("UID SEARCH UID 1:4294967295") == [b"* SEARCH"]


def test_bytes_behind_starttls_are_never_executed(daemon, neighbour):
    for split in (b"", b"\r\n"):
        client = daemon.connect()
        client.send(b"a STARTTLS\r\nb LOGIN anna secret\r\nc CREATE injected" + split)
        heard = b""
        try:
            while part := client.socket.recv(4096):
                heard += part
        except ConnectionError:
            pass
        assert not re.search(rb"[bc] (OK|NO|BAD)", heard), heard
        client.close()
    with daemon.login() as client:
        assert client.ok('LIST "" injected') == []


def test_passwords_are_not_taken_in_the_clear_where_they_are_not_allowed(daemon):
    with socket.create_connection(("127.0.0.1", daemon.strict_port), timeout=10) as raw:
        file = raw.makefile("rwb", buffering=0)
        assert b"LOGINDISABLED" in file.readline()
        file.write(b"a LOGIN anna secret\r\n")
        assert file.readline().startswith(b"a NO [PRIVACYREQUIRED]")
        file.write(b"b AUTHENTICATE PLAIN AGFubmEAc2VjcmV0\r\n")
        assert re.match(rb"b (NO|BAD)", file.readline())
        file.close()


def test_passwords_and_mail_never_reach_the_log(daemon):
    with daemon.connect() as client:
        client.command("LOGIN anna canary-wrong-password")
        client.ok("LOGIN anna secret")
        client.append("INBOX", b"Subject: canary-subject\r\n\r\ncanary-body\r\n")
        client.ok("SELECT INBOX")
        client.ok("SEARCH TEXT canary-needle")
    assert "canary" not in daemon.log()
    assert "login" in daemon.log()
