"""Login names: what kind they are, and which directory may answer for them."""

import pytest

from imapd.directory import dn
from imapd.directory.names import Kind, LoginName, NamingRule, Scope

KINDS = [
    ("ada", Kind.FLAT, "ada", None, None, None),
    ("  ADA ", Kind.FLAT, "ada", None, None, None),
    ("Ada  Lovelace", Kind.FLAT, "ada lovelace", None, None, None),
    ("uid=Ada", Kind.FLAT, "ada", "uid", None, None),
    ("CN = Ada L", Kind.FLAT, "ada l", "cn", None, None),
    ("sn=ada", Kind.FLAT, "sn=ada", None, None, None),
    ("Ada@Example.ORG", Kind.ADDRESS, "ada@example.org", None, "example.org", None),
    ("uid=ada@example.org", Kind.ADDRESS, "ada@example.org", "uid", "example.org", None),
    ("cn=Jo Doe,o=Acme", Kind.HIERARCHICAL, "cn=jo doe,o=acme", None, None, "cn=Jo Doe,o=Acme"),
    ("CN=Jo Doe/OU=West/O=Acme", Kind.HIERARCHICAL, "cn=jo doe/ou=west/o=acme", None, None, "cn=jo doe,ou=west,o=acme"),
    ("Jo Doe/West/Acme", Kind.HIERARCHICAL, "jo doe/west/acme", None, None, "cn=jo doe,ou=west,o=acme"),
    ("a=b,c", Kind.FLAT, "a=b,c", None, None, None),
]


@pytest.mark.parametrize(("text", "kind", "key", "attribute", "domain", "name"), KINDS)
def test_names_are_of_a_kind(text, kind, key, attribute, domain, name):
    parsed = LoginName.parse(text)
    assert (parsed.kind, parsed.key, parsed.attribute, parsed.domain) == (kind, key, attribute, domain)
    assert parsed.dn_key == (name and dn.key(name))


@pytest.mark.parametrize(
    "text", ["", "   ", "*", " * ", "a\0b", "ada\n", "\x7f", "\x85", "\ud800", "a" * 321, "é" * 161, "uid="]
)
def test_garbage_is_refused(text):
    with pytest.raises(ValueError):
        LoginName.parse(text)


def test_composed_and_decomposed_letters_are_one_name():
    assert LoginName.parse("Jose\u0301").key == LoginName.parse("JOS\u00c9").key


RULES = [
    ("*/*/*/*/Acme/US", "cn=jo,ou=west,o=acme,c=us", True),
    ("*/*/*/*/Acme/US", "cn=jo,o=acme", False),
    ("*/*/*/*/Acme/*", "cn=jo,o=ACME", True),
    ("*/*/*/West/Acme/*", "cn=jo,ou=inner,ou=west,o=acme", True),
    ("*/*/*/West/Acme/*", "cn=jo,ou=west,ou=outer,o=acme", False),
    ("////Acme/", "cn=jo,ou=west,o=acme", False),
    ("*/*/*/*/Partner/*", "cn=boss,o=acme", False),
    ("*/*/*/*/*/*", "uid=a,ou=1,ou=2,ou=3,ou=4,ou=5,dc=x", True),
]


@pytest.mark.parametrize(("rule", "name", "fits"), RULES)
def test_naming_rules_fit_or_not(rule, name, fits):
    assert NamingRule(rule).matches(dn.key(name)) is fits


def test_a_naming_rule_has_six_parts():
    with pytest.raises(ValueError, match="six parts"):
        NamingRule("*/Acme")


PRIMARY = Scope.of(primary=True)
OWNER = Scope.of(primary=True, domains=("Acme.example",))
PARTNER = Scope.of(primary=False, domains=("partner.example",), naming_rules=("*/*/*/*/Partner/*",))
BARE = Scope.of(primary=False)
SCOPES = [
    (PRIMARY, "ada", True),
    (PRIMARY, "ada@anywhere.example", True),
    (PRIMARY, "cn=a,o=b", True),
    (OWNER, "ada@ACME.example", True),
    (OWNER, "ada@partner.example", False),
    (PARTNER, "ada", False),
    (PARTNER, "ada@partner.example", True),
    (PARTNER, "boss@acme.example", False),
    (PARTNER, "Jo/Partner", True),
    (PARTNER, "Boss/Acme", False),
    (BARE, "ada", False),
    (BARE, "ada@x.example", False),
    (Scope.of(primary=False, flat_names=True), "ada", True),
]


@pytest.mark.parametrize(("scope", "name", "admitted"), SCOPES)
def test_a_scope_admits_its_own_names(scope, name, admitted):
    assert scope.admits(LoginName.parse(name)) is admitted


def test_an_entry_outside_the_rules_is_not_trusted():
    assert PARTNER.trusts("CN=Jo,O=Partner")
    assert not PARTNER.trusts("CN=Boss,O=Acme")
    assert PRIMARY.trusts("uid=x,dc=anything")
