"""What LDAP directories are asked for: filters by name, level and preset, and no name that becomes syntax."""

import pytest

from imapd.directory import ldapfilter
from imapd.directory.certificate import ClientCertificate
from imapd.directory.ldapquery import Query
from imapd.directory.names import Level, LoginName
from imapd.directory.person import AttributeMap
from tests.fuzz.hostile_names import Judge, names, read_filter, run

PERSON = "(objectClass=inetOrgPerson)"


def query(preset="inetorgperson", level=Level.FEWER, **overrides):
    return Query(AttributeMap.load(preset, overrides), level)


def login(typed, **arguments):
    made = query(**arguments).login(LoginName.parse(typed))
    return None if made is None else str(made)


LOGINS = [
    ("ada", {}, f"(&{PERSON}(|(uid=ada)(mail=ada)(cn=ada)))"),
    (" Ada  Byron ", {}, f"(&{PERSON}(|(uid=Ada Byron)(mail=Ada Byron)(cn=Ada Byron)))"),
    ("ada@acme.example", {}, f"(&{PERSON}(|(uid=ada@acme.example)(mail=ada@acme.example)(cn=ada@acme.example)))"),
    ("uid=ada", {}, f"(&{PERSON}(uid=ada))"),
    ("CN = Ada Byron", {}, f"(&{PERSON}(cn=Ada Byron))"),
    ("ada", {"level": Level.MORE}, f"(&{PERSON}(|(uid=ada)(mail=ada)(cn=ada)(sn=ada)(givenName=ada)))"),
    ("Straße", {"login": "uid"}, f"(&{PERSON}(uid=Stra\\c3\\9fe))"),
    ("uid=ada", {"preset": "ad"}, "(&(objectClass=user)(objectCategory=person)(sAMAccountName=ada))"),
    (
        "ada",
        {"preset": "qmail"},
        "(&(objectClass=qmailUser)(|(uid=ada)(mail=ada)(mailAlternateAddress=ada)(cn=ada)))",
    ),
    (
        "ada",
        {"object_class": ("person", "account")},
        "(&(|(objectClass=person)(objectClass=account))(|(uid=ada)(mail=ada)(cn=ada)))",
    ),
    ("uid=ada", {"preset": "domino", "login": ("mail", "cn")}, None),
]


@pytest.mark.parametrize(("typed", "arguments", "text"), LOGINS)
def test_a_typed_name_is_asked_for(typed, arguments, text):
    assert login(typed, **arguments) == text


def test_the_case_and_the_accents_of_a_name_arrive_in_one_spelling():
    assert login("Zoe\u0301") == login("Zo\u00e9") == login(" Zo\u00e9 ")


def test_a_typed_dn_is_looked_for_by_its_leaf():
    name = LoginName.parse("CN=Ada Byron/OU=West/O=Acme")
    assert str(query().leaf(name.rdn)) == f"(&{PERSON}(cn=Ada Byron))"
    double = LoginName.parse("cn=Ada+uid=ada,o=Acme")
    assert str(query().leaf(double.rdn)) == f"(&{PERSON}(cn=Ada)(uid=ada))"


@pytest.mark.parametrize(
    "typed", ["userPassword=secret,o=Acme", "cn=Ada+userPassword=x,o=Acme", "cn=,o=Acme", "2.5.4.35=x,o=Acme"]
)
def test_a_typed_dn_does_not_ask_for_what_is_nobodys_name(typed):
    assert query().leaf(LoginName.parse(typed).rdn) is None


def test_nobody_is_looked_for_by_what_he_lacks():
    made = [name for name in dir(ldapfilter) if not name.startswith("_")]
    assert not [name for name in made if "not" in name.lower() or "negat" in name.lower()]
    for level in Level:
        for preset in ("inetorgperson", "domino", "ad", "qmail", "ipa"):
            assert "!" not in login("ada", preset=preset, level=level)


def test_a_certificate_is_asked_for_by_issuer_and_number_and_by_its_octets():
    certificate = ClientCertificate(b"\x30\x01", "CN=Ada", 'CN="A"\\, CA,O=Acme', 77, ("ada@acme.example",), "Ada")
    sign, filters = read_filter(str(query().certificate(certificate)))
    assert sign == "&"
    assert filters[1] == (
        "|",
        [
            ("usercertificate", b'{ serialNumber 77, issuer rdnSequence:"CN=""A""\\, CA,O=Acme" }'),
            ("usercertificate", b"\x30\x01"),
        ],
    )
    assert read_filter(str(query().certificate_names(certificate)))[1][1] == (
        "|",
        [("cn", b"Ada"), ("mail", b"ada@acme.example")],
    )
    assert query().certificate_names(ClientCertificate(b"\x30", "", "CN=CA", 1)) is None


def test_the_own_entry_is_asked_for_groups_only_where_servers_keep_them():
    assert query().belonging("cn=staff,o=a") is None
    assert str(query("ipa").belonging("cn=staff,o=a")) == "(memberOf=cn\\3dstaff,o\\3da)"


def test_groups_are_asked_for_by_members_and_short_names():
    assert str(query().groups(["uid=ada,o=a"], "ada")) == (
        "(&(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))"
        "(|(member=uid\\3dada,o\\3da)(uniqueMember=uid\\3dada,o\\3da)(memberUid=ada)))"
    )
    assert str(query("domino").groups(["cn=ada"], "ada")).endswith("(member=cn\\3dada))")
    assert query().groups([]) is None


def test_the_first_group_of_active_directory_is_asked_for_by_its_number():
    sid = bytes.fromhex("010500000000000515000000" + "01000000" * 3 + "50040000")
    made = query("ad").primary_group(sid, b"513")
    assert read_filter(str(made)) == ("&", [("objectclass", b"group"), ("objectsid", sid[:-4] + b"\x01\x02\0\0")])
    for number in (b"x", b"-1", b"99999999999"):
        assert query("ad").primary_group(sid, number) is None
    assert query("ad").primary_group(b"\1", b"513") is None


def test_a_directory_in_which_nobody_is_a_person_is_refused():
    with pytest.raises(ValueError, match="object_class"):
        query(object_class=())


def test_hostile_names_stay_values():
    assert run(20_000, seed=7) > 10_000


def test_the_judge_of_hostile_names_has_eyes(monkeypatch):
    monkeypatch.setattr(ldapfilter, "escaped", lambda value: value.decode("latin-1"))
    with pytest.raises(AssertionError, match="the name"):
        run(2_000, seed=7)
    judge = Judge()
    assert sum(1 for _ in names(10, 1)) == 10 and judge.understood == 0
