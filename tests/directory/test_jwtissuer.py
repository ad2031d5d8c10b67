"""Tokens: which are believed, and that nothing else is."""

import hmac
import json
import logging
import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.directory import jwtissuer
from imapd.directory.jwtissuer import LEAST_AGE, OLDEST, JwtIssuer, keys_of, reader
from imapd.directory.tokens import Terms
from imapd.model.errors import Unreachable
from tests.support.loop import PlainLoop
from tests.support.tokens import AUDIENCE, ISSUER, TokenIssuer, unsigned

OTHER = TokenIssuer()
SOURCE = TokenIssuer()


class Place:
    """Where the keys are; counts who reads them."""

    def __init__(self, content=None):
        self.content = SOURCE.key_set() if content is None else content
        self.read = 0

    def __call__(self):
        self.read += 1
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def issuer(place=None, loop=None, **terms):
    return JwtIssuer(Terms(ISSUER, AUDIENCE, **terms), loop or PlainLoop(), place or Place())


@pytest.mark.parametrize(("key", "algorithm"), [("rsa", "RS256"), ("rsa", "PS512"), ("ec", "ES256"), ("ed", "EdDSA")])
def test_a_token_of_the_issuer_names_its_holder(key, algorithm):
    assert issuer().holder(SOURCE.token(key, algorithm)) == "ada@acme.example"


def test_the_claim_with_the_name_and_a_scope_are_configured():
    assert issuer(claim="sub", scope="imap").holder(SOURCE.token(sub="ada")) == "ada"
    assert issuer(scope="imap").holder(SOURCE.token(scope=None, scp=["imap"])) == "ada@acme.example"


NOW = int(time.time())
WRONG = {
    "another issuer": lambda: SOURCE.token(iss="https://elsewhere.example"),
    "no issuer": lambda: SOURCE.token(iss=None),
    "for another service": lambda: SOURCE.token(aud="calendar"),
    "for nobody": lambda: SOURCE.token(aud=None),
    "ended": lambda: SOURCE.token(exp=NOW - 120),
    "without an end": lambda: SOURCE.token(exp=None),
    "not yet": lambda: SOURCE.token(nbf=NOW + 600),
    "without a name": lambda: SOURCE.token(email=None),
    "a name that is none": lambda: SOURCE.token(email=["ada"]),
    "an address that is not verified": lambda: SOURCE.token(email_verified=False),
    "another scope": lambda: SOURCE.token(scope="calendar imapx"),
    "another one's key": lambda: OTHER.token(),
    "a key that nobody has": lambda: OTHER.token(kid="elsewhere"),
    "no key named where there are several": lambda: SOURCE.token(kid=None),
    "another key's name": lambda: SOURCE.token("rsa", kid="ec"),
    "unsigned": lambda: unsigned({"alg": "none", "kid": "rsa"}, claims()),
    "unsigned, in another spelling": lambda: unsigned({"alg": "nOnE", "kid": "rsa"}, claims()),
    "the public key as a shared secret": lambda: shared_secret(),
    "cut": lambda: SOURCE.token()[:-4],
    "changed": lambda: changed(SOURCE.token()),
    "an extension that must be understood": lambda: critical(),
    "nothing": lambda: "",
    "words": lambda: "a.b.c",
}


def claims():
    return {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 600, "email": "ada@acme.example", "scope": "imap"}


def shared_secret():
    """The old trick: HS256 with what everybody knows."""
    text = unsigned({"alg": "HS256", "kid": "rsa"}, claims()).rpartition(".")[0]
    public = json.dumps(json.loads(SOURCE.key_set())["keys"][0]).encode()
    return text + "." + unsigned({}, {}, hmac.digest(public, text.encode(), "sha256")).rpartition(".")[2]


def changed(token):
    head, _, tail = token.split(".")
    return ".".join((head, unsigned({}, {**claims(), "email": "boss@acme.example"}).split(".")[1], tail))


def critical():
    headers = {"kid": "rsa", "crit": ["strange"], "strange": 1}
    return jwt.encode(claims(), SOURCE.keys["rsa"], algorithm="RS256", headers=headers)


@pytest.mark.parametrize("kind", WRONG)
def test_no_other_token_is_believed_and_none_is_in_a_text(kind, caplog):
    token = WRONG[kind]()
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError) as error:
        issuer(scope="imap").holder(token)
    assert len(token) < 20 or token not in str(error.value) + caplog.text


@given(st.text(max_size=100), st.text(max_size=100))
def test_whatever_a_token_is_it_is_refused_in_one_way(head, tail):
    for token in (head, f"{head}.{tail}.", f"{SOURCE_HEAD}.{head}.{tail}", unsigned({"alg": head, "kid": tail}, {})):
        with pytest.raises(ValueError):
            WHOLE.holder(token)


SOURCE_HEAD = SOURCE.token().split(".")[0]
WHOLE = issuer()


def test_a_single_key_needs_no_name():
    place = Place(SOURCE.key_set("rsa"))
    assert issuer(place).holder(SOURCE.token(kid=None)) == "ada@acme.example"


def test_a_key_is_used_for_its_own_algorithm_only():
    keys = json.loads(SOURCE.key_set("rsa"))
    keys["keys"][0]["alg"] = "RS512"
    with pytest.raises(ValueError, match="algorithm"):
        issuer(Place(json.dumps(keys).encode())).holder(SOURCE.token(algorithm="RS256"))


def test_a_new_key_is_looked_for_once_in_a_while():
    place, loop = Place(SOURCE.key_set("rsa")), PlainLoop()
    one = issuer(place, loop)
    one.holder(SOURCE.token())
    place.content = SOURCE.key_set()
    with pytest.raises(ValueError):
        one.holder(SOURCE.token("ec", "ES256"))
    assert place.read == 1  # the keys are too new to be asked for again
    loop.sleep(LEAST_AGE)
    assert one.holder(SOURCE.token("ec", "ES256")) and place.read == 2
    for number in range(20):
        with pytest.raises(ValueError):
            one.holder(OTHER.token(kid=f"made up {number}"))
    assert place.read == 2


def test_keys_that_cannot_be_read_again_stay_in_force(caplog):
    place, loop = Place(), PlainLoop()
    one = issuer(place, loop)
    one.holder(SOURCE.token())
    loop.sleep(OLDEST + 1)
    place.content = OSError("no route")
    for _ in range(3):
        assert one.holder(token_later()) == "ada@acme.example"
        loop.run_spawned()
    assert place.read == 2 and "no route" in caplog.text


def token_later():
    return SOURCE.token(exp=int(time.time()) + int(OLDEST) + 600)


def test_an_issuer_whose_keys_were_never_seen_is_unreachable():
    place, loop = Place(OSError("no route")), PlainLoop()
    one = issuer(place, loop)
    for _ in range(3):
        with pytest.raises(Unreachable):
            one.holder(SOURCE.token())
    assert place.read == 1
    place.content = SOURCE.key_set()
    loop.sleep(LEAST_AGE)
    assert one.holder(SOURCE.token())


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b'{"keys": 1}', b'{"keys": [1, {}]}', b"<html>", b"[" * 100_000]
)
def test_what_is_no_set_of_keys_is_a_value_error(content):
    with pytest.raises(ValueError):
        keys_of(content)


def test_secret_keys_and_those_for_encrypting_are_passed_over():
    listed = json.loads(SOURCE.key_set("ec"))["keys"]
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
    encrypting = {**json.loads(SOURCE.key_set("rsa"))["keys"][0], "use": "enc"}
    assert set(keys_of(json.dumps({"keys": [secret, encrypting, *listed]}).encode())) == {"ec"}


def test_keys_come_from_a_file_or_by_https(tmp_path):
    path = tmp_path / "keys.json"
    path.write_bytes(SOURCE.key_set())
    assert keys_of(reader(str(path))())
    for place in ("http://login.example.org/keys", "ftp://x/keys", "file:///etc/passwd"):
        with pytest.raises(ValueError, match="https"):
            reader(place)
    path.write_bytes(b" " * (2 << 20))
    with pytest.raises(ValueError, match="longer"):
        reader(str(path))()


def test_keys_are_not_fetched_from_where_a_redirection_leads():
    handler = jwtissuer._NotElsewhere()
    assert handler.redirect_request(None, None, 302, "", {}, "https://elsewhere.example/keys") is None
