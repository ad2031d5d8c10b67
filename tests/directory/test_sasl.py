"""PLAIN and LOGIN: what they ask, what they take, what they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.directory.sasl import MECHANISMS, Credentials, Login, Plain
from imapd.model.errors import BadSyntax


def converse(mechanism, *responses):
    """The challenges and the credentials of one exchange."""
    exchange = mechanism().exchange()
    challenges = [next(exchange)]
    try:
        for response in responses:
            challenges.append(exchange.send(response))
    except StopIteration as end:
        return challenges, end.value
    raise AssertionError("the exchange goes on")


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


@pytest.mark.parametrize("response", [b"", b"tim", b"\0tim", b"\0\0secret", b"\0tim\0se\0cret", b"\0\xff\0x", b"\xff\0tim\0x"])
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


def test_a_cancelled_exchange_is_closed():
    exchange = Login().exchange()
    next(exchange)
    exchange.close()


def test_mechanisms_are_found_by_their_names():
    assert {name: mechanism.name for name, mechanism in MECHANISMS.items()} == {"PLAIN": "PLAIN", "LOGIN": "LOGIN"}
    assert all(mechanism.reveals_password for mechanism in MECHANISMS.values())


def test_credentials_hide_the_password():
    assert "secret" not in repr(Credentials("tim", b"secret"))


@given(st.lists(st.binary(max_size=30), min_size=2, max_size=2))
def test_only_bad_syntax_comes_out(responses):
    for mechanism in (Plain, Login):
        try:
            converse(mechanism, *responses)
        except BadSyntax:
            pass
