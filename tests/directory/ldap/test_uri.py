"""Where servers are."""

import pytest

from imapd.directory.ldapuri import Address, Domain, parse


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("ldap://a.example", Address("a.example", 389, False)),
        ("ldap://a.example/", Address("a.example", 389, False)),
        ("ldap://127.0.0.1:3890/", Address("127.0.0.1", 3890, False)),
        ("ldaps://A.example", Address("a.example", 636, True)),
        ("ldaps://[::1]:6360", Address("::1", 6360, True)),
        ("ldapi://%2Frun%2Fslapd%2Fldapi/", Address("/run/slapd/ldapi", None, False)),
        ("ldap+srv://acme.example", Domain("acme.example", False)),
        ("ldaps+srv://acme.example./", Domain("acme.example", True)),
    ],
)
def test_a_uri_names_a_place(uri, address):
    assert parse(uri) == address


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a.example",
        "http://a.example",
        "ldap://",
        "ldap://a.example:x",
        "ldap://a.example:0",
        "ldap://a.example:99999",
        "ldap://a.example/ou=people",
        "ldap://a.example?uid",
        "ldap://cn=imapd@a.example",
        "ldapi:///run/ldapi",
        "ldapi://run",
        "ldap+srv://a.example:389",
        "ldap://[::1",
    ],
)
def test_what_is_no_place_is_refused_with_its_words(uri):
    with pytest.raises(ValueError) as refused:
        parse(uri)
    assert repr(uri) in str(refused.value)


def test_an_address_is_written_as_a_uri():
    assert [str(parse(uri)) for uri in ("ldaps://[::1]:6360/", "ldap://a", "ldapi://%2Frun%2Fx")] == [
        "ldaps://[::1]:6360",
        "ldap://a:389",
        "ldapi:///run/x",
    ]
