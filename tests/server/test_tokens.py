"""OAUTHBEARER and XOAUTH2 with a daemon: a token of the issuer lets in whom it is for, and nobody else."""

import base64
import json
import socket

import pytest

from tests.support.daemon import Client, Daemon
from tests.support.tokens import TokenIssuer

SOURCE, OTHER = TokenIssuer(), TokenIssuer()
OAUTH = "[oauth]\nissuer = https://login.example.org\naudience = imap\nkeys = keys.json\n[authentication]"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    daemon = Daemon(folder, workers=1)
    settings = folder / "imapd.ini"
    settings.write_text(settings.read_text().replace("[authentication]", OAUTH))
    (folder / "keys.json").write_bytes(SOURCE.key_set())
    daemon.start()
    yield daemon
    daemon.stop()
    assert daemon.tracebacks() == []


def xoauth2(user, token):
    return base64.b64encode(f"user={user}\1auth=Bearer {token}\1\1".encode()).decode()


def oauthbearer(user, token):
    return base64.b64encode(f"n,a={user},\1auth=Bearer {token}\1\1".encode()).decode()


WAYS = [("XOAUTH2", xoauth2), ("OAUTHBEARER", oauthbearer)]


@pytest.mark.parametrize(("mechanism", "message"), WAYS)
def test_a_token_lets_in_whom_it_is_for(site, mechanism, message):
    with site.connect(tls=True) as client:
        assert f"AUTH={mechanism}".encode() in client.ok("CAPABILITY")[0]
        client.ok(f"AUTHENTICATE {mechanism} {message('anna', SOURCE.token(email='anna@example.org'))}")
        client.ok("SELECT INBOX")
    assert "method=" + mechanism in site.log()


@pytest.mark.parametrize(("mechanism", "message"), WAYS)
@pytest.mark.parametrize(
    ("user", "issuer", "claims", "reason"),
    [
        ("anna", OTHER, {"email": "anna@example.org"}, "the token is not right"),
        ("anna", SOURCE, {"email": "anna@example.org", "aud": "calendar"}, "the token is not right"),
        ("ben", SOURCE, {"email": "anna@example.org"}, "asked to act as 'ben'"),
        ("anna", SOURCE, {"email": "nobody@example.org"}, "no directory that may answer"),
    ],
)
def test_another_token_is_refused_and_the_client_told_in_json_first(
    site, mechanism, message, user, issuer, claims, reason
):
    token = issuer.token(**claims)  # made now: it is good for ten minutes
    with site.connect(tls=True) as client:
        tag = client.begin(f"AUTHENTICATE {mechanism} {message(user, token)}")
        challenge = client.response()
        assert json.loads(base64.b64decode(challenge[2:]))["status"]
        client.send(b"AQ==\r\n" if mechanism == "OAUTHBEARER" else b"\r\n")
        assert client.finish(tag)[1].startswith(b"NO [AUTH")
        client.ok("NOOP")
    assert reason in site.log() and token not in site.log()


def test_a_token_is_not_taken_in_the_clear(site):
    with Client(socket.create_connection(("127.0.0.1", site.strict_port))) as client:
        assert b"AUTH=XOAUTH2" not in client.ok("CAPABILITY")[0]
        tagged = client.command(f"AUTHENTICATE XOAUTH2 {xoauth2('anna', 'x')}")[1]
        assert tagged.startswith(b"NO [PRIVACYREQUIRED]")
