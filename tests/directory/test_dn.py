"""Distinguished names: one spelling for comparing, whatever the original's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.directory import dn

SAME = [
    ("uid=ada,ou=people,dc=example", "UID=Ada, OU=People, DC=example"),
    ("cn=Jo  Doe,o=Acme", "CN= jo doe ,O=ACME"),
    (r"cn=Doe\, Jo,o=Acme", r"cn=Doe\2C Jo,o=acme"),
    (r"cn=a\+b+uid=1,o=x", r"uid=1+CN=A\2bB,o=x"),
    (r"cn=L\C3\BCtz,o=x", "cn=Lütz,o=x"),
    ("commonName=Jo,organizationName=Acme", "cn=jo,o=acme"),
    (r"cn=\ a\ ,o=x", "cn=a,o=x"),
]
DIFFERENT = [("cn=a,o=b", "cn=a"), (r"cn=a\,o=b", "cn=a,o=b"), ("cn=a+uid=b", "cn=a,uid=b"), ("uid=1,o=x", "uid=2,o=x")]
BROKEN = ["alice", "=x", "cn", "cn=a,,o=b", "cn=a\\", "c n=a", r"cn=\ff,o=b", ",", "cn=a,"]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_spellings_of_one_name_have_one_key(one, other):
    assert dn.key(one) == dn.key(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_names_have_different_keys(one, other):
    assert dn.key(one) != dn.key(other)


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_name_is_a_value_error(text):
    with pytest.raises(ValueError):
        dn.parse(text)


@given(st.text())
def test_an_escaped_value_reads_as_itself(value):
    if "\ud800" <= max(value, default="") <= "\udfff":
        return
    parsed = dn.parse(f"cn={dn.escape(value)},o=x")
    if value.startswith("#"):
        assert parsed[0][0][1] in (value, value.lower())
    else:
        assert parsed == ((("cn", value),), (("o", "x"),))


@given(st.text())
def test_any_text_is_a_name_or_a_value_error(text):
    try:
        key = dn.key(text)
    except ValueError:
        return
    assert dn.key(key) == key


def test_the_parent_keeps_its_spelling():
    assert dn.parent(r"uid=a\,b, OU=People,dc=x") == "OU=People,dc=x"
    assert dn.parent("dc=x") == ""
