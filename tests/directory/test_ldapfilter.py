"""Filters: what is written, and that no value becomes syntax."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.directory.ldapfilter import all_of, any_of, equal, matching, present


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (equal("uid", "ada"), "(uid=ada)"),
        (equal("uid", "*"), r"(uid=\2a)"),
        (equal("uid", "ada)(|(uid=*)"), r"(uid=ada\29\28\7c\28uid\3d\2a\29)"),
        (equal("uid", "\\2a"), r"(uid=\5c2a)"),
        (equal("cn", "Zoë"), r"(cn=Zo\c3\ab)"),
        (equal("uid", "a\0b"), r"(uid=a\00b)"),
        (equal("cn", " Jo Doe  "), r"(cn=\20Jo Doe\20\20)"),
        (equal("cn", "  "), r"(cn=\20\20)"),
        (equal("objectGUID", b"\x00\xff("), r"(objectGUID=\00\ff\28)"),
        (equal("userCertificate;binary", b"x"), "(userCertificate;binary=x)"),
        (equal("2.5.4.3", "x"), "(2.5.4.3=x)"),
        (present("mail"), "(mail=*)"),
        (matching("memberOf", "1.2.840.113556.1.4.1941", "cn=a"), r"(memberOf:1.2.840.113556.1.4.1941:=cn\3da)"),
        (any_of(equal("uid", "a"), equal("mail", "a")), "(|(uid=a)(mail=a))"),
        (all_of(present("cn"), any_of(equal("a", "1"), equal("b", "2"))), "(&(cn=*)(|(a=1)(b=2)))"),
        (all_of(present("cn")), "(cn=*)"),
    ],
)
def test_a_filter_is_written_as_rfc_4515_says(made, text):
    assert str(made) == text


@pytest.mark.parametrize("name", ["", "uid=*)(cn", "a b", "-a", "!uid", "uid;", "ü", "1", "1.", "uid\n", "a:dn"])
def test_a_name_that_would_change_the_filter_is_refused(name):
    with pytest.raises(ValueError):
        equal(name, "x")
    with pytest.raises(ValueError):
        present(name)


def test_an_empty_value_and_an_empty_list_are_refused():
    with pytest.raises(ValueError):
        equal("uid", "")
    with pytest.raises(ValueError):
        any_of()
    with pytest.raises(ValueError):
        all_of()


def test_text_is_no_filter():
    with pytest.raises(TypeError):
        any_of("(uid=*)")


def test_there_is_no_not():
    import imapd.directory.ldapfilter as room

    assert not [name for name in vars(room) if "not" in name.lower()]


@given(st.one_of(st.text(min_size=1), st.binary(min_size=1)))
def test_a_value_stays_a_value(value):
    try:
        octets = value if isinstance(value, bytes) else value.encode("utf-8")
    except UnicodeEncodeError:
        return
    text = str(equal("uid", value))
    assert text.isascii() and text.startswith("(uid=") and text.endswith(")")
    inner = text[5:-1]
    assert not set(inner) & set("()*\0&|=<>~")
    read, at = bytearray(), 0
    while at < len(inner):
        if inner[at] == "\\":
            read.append(int(inner[at + 1 : at + 3], 16))
            at += 3
        else:
            read.append(ord(inner[at]))
            at += 1
    assert bytes(read) == octets
