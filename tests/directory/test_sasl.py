"""The mechanisms: what they ask, what they take, what they refuse. SCRAM is held against another implementation."""

import base64
import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramException

from imapd.directory import sasl, scram
from imapd.directory.sasl import (
    MECHANISMS,
    Bearer,
    Certified,
    Credentials,
    External,
    Login,
    Needs,
    OAuthBearer,
    Plain,
    ScramSha256,
    ScramSha256Plus,
    Surroundings,
    Wanted,
    XOAuth2,
)
from imapd.directory.scram import ScramVerifier
from imapd.model.errors import BadSyntax, Refused
from tests.support.scramclient import scram_client

VERIFIER = ScramVerifier.make("wonderland", 4096)
BINDING = bytes(range(32))
NOWHERE = Surroundings()
BOUND = Surroundings(BINDING, binding_offered=True)


def converse(mechanism, *responses, surroundings=NOWHERE, refuse=False):
    """The challenges and the proof of one exchange."""
    exchange = mechanism().exchange(surroundings)
    challenges, proof, left = [], None, list(responses)
    word = next(exchange)
    try:
        while True:
            if isinstance(word, bytes):
                challenges.append(word)
                if not left:
                    raise AssertionError("the exchange goes on")
                word = exchange.send(left.pop(0))
            elif isinstance(word, Wanted):
                word = exchange.send(SimpleNamespace(verifier=VERIFIER))
            else:
                proof = word
                word = exchange.throw(Refused("no")) if refuse else exchange.send(None)
    except StopIteration:
        return challenges, proof


PLAIN = [
    (b"\0tim\0tanstaaftanstaaf", Credentials("tim", b"tanstaaftanstaaf")),
    (b"Ursel\0Kurt\0xipj3plmq", Credentials("Kurt", b"xipj3plmq", "Ursel")),
    (b"\0j\xc3\xb6rg\0p\xc3\xa4ss", Credentials("jörg", "päss".encode())),
    (b"\0tim\0", Credentials("tim", b"")),
    (b"\0tim\0\xff\xfe", Credentials("tim", b"\xff\xfe")),
]


@pytest.mark.parametrize(("response", "credentials"), PLAIN)
def test_plain_is_one_message(response, credentials):
    assert converse(Plain, response) == ([b""], credentials)


@pytest.mark.parametrize(
    "response", [b"", b"tim", b"\0tim", b"\0\0secret", b"\0tim\0se\0cret", b"\0\xff\0x", b"\xff\0tim\0x"]
)
def test_plain_refuses_what_has_another_form(response):
    with pytest.raises(BadSyntax):
        converse(Plain, response)


def test_login_asks_twice():
    assert converse(Login, b"tim", b"secret") == ([b"Username:", b"Password:"], Credentials("tim", b"secret"))
    assert converse(Login, b"tim\0", b"secret\0")[1] == Credentials("tim", b"secret")


@pytest.mark.parametrize("name", [b"", b"\xff", b"a\0b"])
def test_login_refuses_what_is_no_name(name):
    with pytest.raises(BadSyntax):
        converse(Login, name, b"secret")


def test_external_may_say_as_whom():
    assert converse(External, b"") == ([b""], Certified())
    assert converse(External, b"ada") == ([b""], Certified("ada"))
    with pytest.raises(BadSyntax):
        converse(External, b"a\0b")


def test_a_cancelled_exchange_is_closed():
    exchange = Login().exchange(Surroundings())
    next(exchange)
    exchange.close()


def test_mechanisms_are_found_by_their_names_the_strongest_first():
    assert list(MECHANISMS) == [
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-256",
        "EXTERNAL",
        "OAUTHBEARER",
        "XOAUTH2",
        "PLAIN",
        "LOGIN",
    ]
    assert all(name == mechanism.name for name, mechanism in MECHANISMS.items())


def test_what_sends_secrets_needs_privacy():
    assert {name for name, one in MECHANISMS.items() if Needs.PRIVACY in one.needs} == {
        "PLAIN",
        "LOGIN",
        "OAUTHBEARER",
        "XOAUTH2",
    }


def test_proofs_hide_secrets():
    assert "secret" not in repr([Credentials("tim", b"secret"), Bearer("secret"), Surroundings(b"secret")])


# --- SCRAM


class Client:
    """scramp's client, and what goes back and forth."""

    def __init__(self, name="alice", password="wonderland", bound=False, data=BINDING):
        self.client = scram_client(name, password, data if bound else None)

    def run(self, mechanism=ScramSha256, surroundings=NOWHERE, verifier=VERIFIER):
        """The proof; the server's signature has been seen and found right."""
        exchange = mechanism().exchange(surroundings)
        assert next(exchange) == b""
        wanted = exchange.send(self.client.get_client_first().encode())
        assert isinstance(wanted, Wanted)
        self.wanted = wanted.authcid
        self.client.set_server_first(exchange.send(SimpleNamespace(verifier=verifier)).decode())
        proof = exchange.send(self.client.get_client_final().encode())
        if proof.fault is None:
            self.client.set_server_final(exchange.send(None).decode())
            with pytest.raises(StopIteration):
                exchange.send(b"")
        return proof


def test_another_implementation_proves_its_password_and_we_prove_to_know_the_verifier():
    client = Client()
    assert client.run().fault is None and client.wanted == "alice"


def test_a_wrong_password_is_no_proof():
    assert Client(password="looking-glass").run().fault


def test_a_verifier_that_was_made_up_is_proved_by_nothing():
    assert Client().run(verifier=scram.made_up(b"secret", "alice")).fault


def test_the_channel_binding_of_the_same_connection_is_right():
    assert Client(bound=True).run(ScramSha256Plus, BOUND).fault is None


def test_the_channel_binding_of_another_connection_is_no_proof():
    proof = Client(bound=True, data=bytes(32)).run(ScramSha256Plus, BOUND)
    assert proof.fault == "the channel binding is another connection's"


def test_names_with_commas_and_equals_signs_come_through():
    first = b"n,,n=cn=3Dada=2Co=3Dacme,r=nonce"
    assert started(first) == Wanted("cn=ada,o=acme")


def test_the_client_may_say_as_whom():
    assert isinstance(started(b"n,a=boss,n=ada,r=nonce"), Wanted)


def started(first, mechanism=ScramSha256, surroundings=NOWHERE):
    exchange = mechanism().exchange(surroundings)
    next(exchange)
    return exchange.send(first)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n,,",
        b"n,,n=ada",
        b"n,,r=nonce,n=ada",
        b"n,,n=,r=nonce",
        b"n,,n=ada,r=",
        b"n,,m=ext,n=ada,r=nonce",
        b"n,,n=a=da,r=nonce",
        b"n,,n=a=2cda,r=nonce",
        b"n,,n=\xff,r=nonce",
        b"x,,n=ada,r=nonce",
        b"p=tls-exporter,,n=ada,r=nonce",
        b"n,ada,n=ada,r=nonce",
        b"n=ada,r=nonce",
    ],
)
def test_a_first_message_of_another_form_is_bad(first):
    with pytest.raises(BadSyntax):
        started(first)


def test_who_would_have_bound_the_channel_was_not_shown_the_offer():
    with pytest.raises(BadSyntax, match="between"):
        started(b"y,,n=ada,r=nonce", surroundings=BOUND)
    assert started(b"y,,n=ada,r=nonce")
    assert started(b"n,,n=ada,r=nonce", surroundings=BOUND)


@pytest.mark.parametrize(
    "first", [b"n,,n=ada,r=x", b"y,,n=ada,r=x", b"p=tls-unique,,n=ada,r=x", b"p=tls-server-end-point,,n=ada,r=x"]
)
def test_plus_wants_the_binding_that_there_is(first):
    with pytest.raises(BadSyntax):
        started(first, ScramSha256Plus, BOUND)
    with pytest.raises(BadSyntax):
        started(b"p=tls-exporter,,n=ada,r=x", ScramSha256Plus, Surroundings())


@pytest.mark.parametrize("change", ["nonce", "header", "no proof", "short proof", "nonsense"])
def test_a_last_message_that_does_not_fit_is_bad_or_no_proof(change):
    exchange = ScramSha256().exchange(Surroundings())
    next(exchange)
    exchange.send(b"n,,n=ada,r=nonce")
    challenge = exchange.send(SimpleNamespace(verifier=VERIFIER))
    nonce = challenge.split(b",")[0]
    zeros = base64.b64encode(bytes(32))
    final = {
        "nonce": b"c=biws,r=nonce,p=" + zeros,
        "header": b"c=eSws," + nonce + b",p=" + zeros,
        "no proof": b"c=biws," + nonce,
        "short proof": b"c=biws," + nonce + b",p=AAAA",
        "nonsense": b"\xff\0",
    }[change]
    if change in ("header", "short proof"):
        assert exchange.send(final).fault
    else:
        with pytest.raises(BadSyntax):
            exchange.send(final)


def test_our_half_of_the_nonce_is_new_each_time():
    nonces = set()
    for _ in range(50):
        exchange = ScramSha256().exchange(Surroundings())
        next(exchange)
        exchange.send(b"n,,n=ada,r=x")
        nonces.add(exchange.send(SimpleNamespace(verifier=VERIFIER)).split(b",")[0])
    assert len(nonces) == 50 and all(len(nonce) == len(b"r=x") + 24 for nonce in nonces)


def test_the_dialogue_of_rfc_7677():
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = ScramVerifier.make("pencil", 4096, salt)
    exchange = ScramSha256(nonce=lambda: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0").exchange(Surroundings())
    next(exchange)
    exchange.send(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    first = exchange.send(SimpleNamespace(verifier=verifier))
    assert first == b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    proof = exchange.send(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert proof.fault is None
    assert exchange.send(None) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_client_notices_a_server_that_does_not_know_the_verifier():
    client = Client()
    exchange = ScramSha256().exchange(Surroundings())
    next(exchange)
    exchange.send(client.client.get_client_first().encode())
    other = ScramVerifier(VERIFIER.iterations, VERIFIER.salt, VERIFIER.stored_key, bytes(32))
    client.client.set_server_first(exchange.send(SimpleNamespace(verifier=other)).decode())
    assert exchange.send(client.client.get_client_final().encode()).fault is None
    with pytest.raises(ScramException):
        client.client.set_server_final(exchange.send(None).decode())


# --- tokens


def test_oauthbearer_is_one_message():
    message = b"n,a=ada@acme.example,\1host=imap.acme.example\1port=993\1auth=Bearer abc.def\1\1"
    assert converse(OAuthBearer, message) == ([b""], Bearer("abc.def", "ada@acme.example"))
    assert converse(OAuthBearer, b"n,,\1auth=bearer abc\1\1") == ([b""], Bearer("abc"))


def test_xoauth2_is_one_message():
    message = b"user=ada@acme.example\1auth=Bearer abc.def==\1\1"
    assert converse(XOAuth2, message) == ([b""], Bearer("abc.def==", "ada@acme.example"))


@pytest.mark.parametrize(
    ("mechanism", "message"), [(OAuthBearer, b"n,,\1auth=Bearer x\1\1"), (XOAuth2, b"user=a\1auth=Bearer x\1\1")]
)
def test_a_client_whose_token_is_refused_is_told_in_json_before_the_end(mechanism, message):
    exchange = mechanism().exchange(Surroundings())
    next(exchange)
    assert isinstance(exchange.send(message), Bearer)
    assert json.loads(exchange.throw(Refused("no")))["status"]
    with pytest.raises(Refused):
        exchange.send(b"\1")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\1",
        b"n,,\1\1",
        b"n,,\1auth=Bearer x",
        b"n,,auth=Bearer x\1\1",
        b"n,,\1auth=Basic x\1\1",
        b"n,,\1auth=Bearer \1\1",
        b"n,,\1auth=Bearer a b\1\1",
        b"n,,\1auth=Bearer x\1auth=Bearer y\1\1",
        b"n,,\1nothing\1auth=Bearer x\1\1",
        b"p=tls-exporter,,\1auth=Bearer x\1\1",
        b"user=\1auth=Bearer x\1\1",
        b"auth=Bearer x\1\1",
    ],
)
def test_a_message_of_another_form_is_bad(message):
    for mechanism in (OAuthBearer, XOAuth2):
        with pytest.raises(BadSyntax):
            converse(mechanism, message)


@given(st.lists(st.binary(max_size=60), min_size=4, max_size=4), st.sampled_from(list(MECHANISMS.values())))
def test_only_bad_syntax_comes_out(responses, mechanism):
    heads = [
        b"",
        b"n,,n=ada,r=",
        b"p=tls-exporter,,n=ada,r=",
        b"n,,\1auth=Bearer ",
        b"c=biws,r=",
        b"user=a\1auth=Bearer ",
    ]
    for head in heads:
        try:
            converse(mechanism, head + responses[0], *responses[1:], surroundings=BOUND)
        except BadSyntax:
            pass


def test_there_is_no_cram_md5():
    assert "CRAM-MD5" not in MECHANISMS and not hasattr(sasl, "CramMd5")
