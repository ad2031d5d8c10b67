"""People in a real LDAP directory: who is found by which name, what his entry says, and whether a password is his."""

import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imapd.directory.dn import text_key
from imapd.directory.interface import Ambiguous
from imapd.directory.names import Level, LoginName
from imapd.directory.person import Status
from imapd.directory.scram import ScramVerifier
from imapd.directory.verdict import Verdict
from imapd.model.errors import Unreachable
from tests.directory.ldap.support import find, known, who
from tests.directory.ldap.support import open_directory as opened
from tests.fuzz.hostile_names import names
from tests.support.loop import PlainLoop
from tests.support.slapd import Slapd, person

BASE = "ou=people,dc=acme,dc=example"
GUID = bytes(range(240, 256))
PICTURE = b"\xff\xd8\xff\xe0\x00\x80"
VERIFIER = ScramVerifier.make("secret", 100)


def binary(values):
    return "".join(f"{name}:: {base64.b64encode(value).decode()}\n" for name, value in values.items())


ENTRIES = [
    person("ada", cn="Ada Byron", sn="Byron", givenName="Ada"),
    person("ben", cn="Benjamin Example"),
    person("zoe", cn="Zo\u00eb Stra\u00dfe"),
    person("jo1", cn="Jo Doe"),
    person("jo2", cn="Jo Doe"),
    *(person(f"sam{number}", cn="Sam Smith") for number in range(3)),
    person("bait", cn="b(a)i*t \\2a", mail="bait+*@acme.example"),
    f"dn: ou=West,{BASE}\nobjectClass: organizationalUnit\nou: West\n",
    f"dn: cn=Jo Doe,ou=West,{BASE}\nobjectClass: inetOrgPerson\ncn: Jo Doe\nsn: Doe\nuid: jo3\nuserPassword: secret\n",
    f"dn: cn=printer,{BASE}\nobjectClass: device\ncn: printer\n",
    person("quentin", objectClass="qmailUser", mailMessageStore="q/quentin/", mailQuotaSize="1000", mailQuotaCount="20", accountStatus="noaccess", mailAlternateAddress="q@acme.example"),
    person("dora", objectClass="dominoPerson", cn="Dora Example", mailFile="mail\\Dora.nsf", mailServer="CN=Mail1,O=Acme", dominoUNID="0A0B"),
    person("iris", objectClass="ipaObject", ipaUniqueID="77-AB", nsAccountLock="TRUE", krbPrincipalName="iris@ACME.EXAMPLE"),
    person("walt", objectClass="anything", userAccountControl="514", sAMAccountName="walt", proxyAddresses="SMTP:w@acme.example") + binary({"objectGUID": GUID, "jpegPhoto": PICTURE}),
    person("mia", objectClass="qmailUser", mailMessageStore="../boss"),
    person("max", objectClass="qmailUser", mailMessageStore="/etc"),
    person("moe", objectClass="qmailUser") + binary({"mailMessageStore": b"a\x01b"}),
    person("sue", password="{SCRAM-SHA-256}x", objectClass="authPasswordObject") + binary({"authPassword": VERIFIER.written().encode()}),
]  # fmt: skip

# A site that has hashes compared by the daemon lets it read them.
READS_HASHES = 'access to * by dn.exact="{service}" read by users none by anonymous auth\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Slapd(tmp_path_factory.mktemp("people") / "slapd", "\n".join(ENTRIES)) as slapd:
        yield slapd


@pytest.fixture
def directory(server):
    directory = opened(server)
    yield directory
    directory.close()


@pytest.fixture(scope="module")
def more(server):
    directory = opened(server, level=Level.MORE)
    yield directory
    directory.close()


FOUND = [
    ("ada", "ada"),
    ("ADA", "ada"),
    ("ada ", "ada"),
    (" ada", "ada"),
    ("Ada  Byron", "ada"),
    ("ada@ACME.example", "ada"),
    ("uid=ada", "ada"),
    ("cn=ada byron", "ada"),
    ("cn=ada", None),
    (f"uid=ada,{BASE}", "ada"),
    ("UID = Ada / ou=people / dc=acme / dc=example", "ada"),
    ("uid=ada,ou=people,dc=other,dc=example", None),
    ("uid=ada,dc=acme,dc=example", None),
    (f"cn=Jo Doe,ou=West,{BASE}", "jo3"),
    (f"cn=Jo Doe,{BASE}", None),
    ("zo\u00eb stra\u00dfe", "zoe"),
    ("Zoe\u0308 Stra\u00dfe", "zoe"),
    ("Byron", None),
    ("printer", None),
    ("nobody", None),
    ("ad*", None),
    ("a?a", None),
]


@pytest.mark.parametrize(("typed", "short_name"), FOUND)
def test_people_are_found_by_their_names(directory, typed, short_name):
    assert who(directory, typed) == short_name


def test_first_and_last_names_are_more_variations(directory, more):
    assert who(more, "byron") == "ada" and who(directory, "byron") is None


def test_an_abbreviated_name_is_compared_with_the_whole_dn(server, open_directory):
    slashed = open_directory(server, level=Level.MORE, base="dc=acme,dc=example")
    # The tree has dc= above, which an abbreviated name cannot say, so nobody is found by it.
    assert who(slashed, "Jo Doe/West/acme") is None


def test_every_spelling_is_the_same_person(directory):
    typed = ["ada", "ADA", "ada ", "Ada Byron", "ADA@acme.EXAMPLE", f"UID=ADA, {BASE.upper()}"]
    assert len({known(directory, name).identity for name in typed}) == 1
    assert len({known(directory, name).mail_file for name in typed}) == 1


def test_two_people_of_one_name_are_ambiguous_and_may_be_told_apart(server, open_directory):
    found = find(open_directory(server, candidates=5), "Jo Doe")
    assert isinstance(found, Ambiguous) and len(found.dns) == 3
    assert {one.short_name for one in found.persons} == {"jo1", "jo2", "jo3"}


def test_three_people_of_one_name_are_ambiguous_where_two_are_asked_for(directory):
    found = find(directory, "Sam Smith")
    assert isinstance(found, Ambiguous) and found.persons == ()
    assert all("uid=sam" in dn for dn in found.dns)


def test_a_whole_name_is_not_ambiguous(directory):
    assert known(directory, f"uid=sam1,{BASE}").short_name == "sam1"


# Everything that anybody in the tree may be called by, as names are compared.
SAID = {
    text_key(value)
    for line in "\n".join(ENTRIES).splitlines()
    for kind, colon, value in [line.partition(": ")]
    if kind in ("uid", "cn", "mail", "sn", "givenName", "sAMAccountName", "mailAlternateAddress")
}


def fits(name, found):
    """Whether somebody was found by what he is called, and not by what a filter made of it."""
    if isinstance(found, Ambiguous) or name.dn_key is None or name.abbreviated:
        return found is None or name.key.partition("=")[2].strip() in SAID or name.key in SAID
    return found is None or text_key(found.dn).replace(" ", "") == name.dn_key.replace(" ", "")


def test_hostile_names_find_whom_they_equal_and_nobody_else(more):
    tried = found = 0
    for typed in names(1_400, seed=11):
        try:
            name = LoginName.parse(typed)
        except ValueError:
            continue
        tried += 1
        person = more.find(name)
        found += person is not None
        assert fits(name, person), typed
    assert tried >= 1_000 and found


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40))
def test_a_bait_is_found_by_equality_only(more, text):
    for typed in (text, f"bait{text}", f"{text}*", f"b(a)i*t{text}"):
        try:
            name = LoginName.parse(typed)
        except ValueError:
            continue
        assert fits(name, more.find(name)), typed


def test_the_bait_is_found_by_its_own_odd_names(directory):
    assert who(directory, "b(a)i*t \\2a") == who(directory, "BAIT+*@acme.example") == "bait"
    assert who(directory, "b(a)i*t **") is None


def test_an_entry_becomes_a_person(directory):
    ada = known(directory, "ada")
    assert ada.dn == f"uid=ada,{BASE}" and ada.user_name == "Ada Byron" and ada.mail_file == "ada"
    assert len(ada.uid) == 36  # entryUUID
    assert ada.passwords == () and ada.certificates == ()


def test_people_of_qmail(server, open_directory):
    quentin = known(open_directory(server, preset="qmail"), "q@acme.example")
    assert quentin.mail_file == "q/quentin" and (quentin.quota_bytes, quentin.quota_messages) == (1000, 20)
    assert quentin.status is Status.DISABLED
    assert who(open_directory(server, preset="qmail"), "ada") is None  # not of the class


def test_people_of_domino(server, open_directory):
    dora = known(open_directory(server, preset="domino"), "Dora Example")
    assert (dora.mail_file, dora.mail_server, dora.uid) == ("mail/Dora", "Mail1/Acme", "0a0b")


def test_people_of_freeipa(server, open_directory):
    iris = known(open_directory(server, preset="ipa"), "iris@ACME.EXAMPLE")
    assert iris.uid == "77-ab" and iris.status is Status.DISABLED


def test_octets_come_through_as_they_are(server, open_directory):
    directory = open_directory(
        server,
        overrides={
            "unique_id": "objectGUID",
            "certificates": "jpegPhoto",
            "status": "userAccountControl",
            "addresses": "proxyAddresses",
        },
    )
    walt = known(directory, "walt")
    assert walt.uid == "f3f2f1f0-f5f4-f7f6-f8f9-fafbfcfdfeff"
    assert walt.certificates == (PICTURE,)
    assert walt.status is Status.DISABLED and walt.addresses == ("w@acme.example",)


@pytest.mark.parametrize("typed", ["mia", "max", "moe"])
def test_a_mail_file_that_leaves_the_root_is_none(server, typed, caplog, open_directory):
    assert known(open_directory(server, preset="qmail"), typed).mail_file is None
    assert known(open_directory(server, preset="qmail", mail_prefix="partner"), typed).mail_file is None
    assert "has no mail file" in caplog.text


def test_the_people_of_a_secondary_directory_stay_below_their_prefix(server, open_directory):
    assert (
        known(open_directory(server, preset="qmail", mail_prefix="partner"), "quentin").mail_file == "partner/q/quentin"
    )


def test_a_password_is_tried_by_a_bind(directory):
    ada = known(directory, "ada")
    assert directory.verify(ada, b"secret") is Verdict.RIGHT
    assert directory.verify(ada, b"Secret") is Verdict.WRONG
    assert directory.verify(ada, b"") is Verdict.WRONG
    assert directory.verify(None, b"secret") is Verdict.WRONG


def test_a_password_that_is_no_text_is_wrong_and_no_fault_of_the_server(directory):
    ada = known(directory, "ada")
    for password in (b"\xff\xfe", b"\xed\xa0\x80", "\u20ac\x01*)(".encode(), b"x" * 1000) * 5:
        assert directory.verify(ada, password) is Verdict.WRONG
    assert directory.verify(ada, b"secret") is Verdict.RIGHT
    assert all(state.up for state in directory.status())


def test_secrets_are_not_asked_for_where_a_bind_decides(directory):
    assert not {"userPassword", "authPassword"} & set(directory._attributes)


@pytest.fixture
def readable(make_slapd):
    hashed = person("ada", password="{SSHA}JEN9ZRSNnpYRKEaDbI2ksOgKEehtYWlsYm94MQ==")
    reset = person("ron")
    return make_slapd("\n".join([hashed, reset, ENTRIES[-1], person("nil")]), access=READS_HASHES)


def test_hashes_are_compared_here_where_the_site_wants_it(readable, open_directory):
    loop = PlainLoop()
    directory = open_directory(readable, hashes=True, loop=loop)
    ada, sue = known(directory, "ada"), known(directory, "sue")
    assert directory.verify(ada, b"builder") is Verdict.RIGHT
    assert directory.verify(ada, b"Builder") is Verdict.WRONG
    assert directory.verify(sue, b"secret") is Verdict.RIGHT
    assert directory.verify(None, b"builder") is Verdict.WRONG
    assert len(loop.hashed) == 2  # sue's verifier and nobody's


def test_hashes_that_cannot_be_read_are_wrong_and_said(server, caplog, open_directory):
    directory = open_directory(server, hashes=True)
    assert directory.verify(known(directory, "ada"), b"secret") is Verdict.WRONG
    assert "gives no password" in caplog.text


def test_verifiers_are_given_where_the_directory_has_them(readable, open_directory):
    directory = open_directory(readable, offers_scram=True)
    assert directory.scram(known(directory, "sue")) == VERIFIER
    assert directory.scram(known(directory, "nil")) is None
    assert open_directory(readable).scram(known(directory, "sue")) is None


@pytest.mark.parametrize("preset", ["ad", "ipa", "domino"])
def test_hashes_cannot_be_had_from_every_kind_of_directory(server, preset, open_directory):
    with pytest.raises(ValueError, match="verify = bind"):
        open_directory(server, preset=preset, hashes=True)
    with pytest.raises(ValueError, match="SCRAM"):
        open_directory(server, preset=preset, offers_scram=True)


def test_a_lock_for_good_shows_in_the_entry_and_one_for_a_while_in_the_bind(make_slapd, open_directory):
    server = make_slapd(policy=True)
    directory = open_directory(server)
    for _ in range(6):
        directory.verify(known(directory, "ben"), b"wrong")
    ben = known(directory, "ben")
    assert ben.status is Status.ACTIVE
    assert directory.verify(ben, b"secret") in (Verdict.LOCKED, Verdict.WRONG)
    server.modify(
        f"dn: uid=ada,{BASE}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n"
    )
    assert known(directory, "ada").status is Status.LOCKED


# Names that change hands.


def test_a_name_that_is_given_again_is_somebody_else(make_slapd, open_directory):
    server = make_slapd()
    directory = open_directory(server)
    before = known(directory, "ada")
    server.delete(before.dn)
    assert directory.again(before) is None
    server.modify(person("ada"))
    after = known(directory, "ada")
    assert after.dn == before.dn and after.identity != before.identity
    assert directory.again(before) is None
    assert directory.again(after) == after


def test_somebody_who_is_renamed_stays_who_he_is(make_slapd, open_directory):
    server = make_slapd()
    directory = open_directory(server)
    before = known(directory, "ada")
    server.modify(f"dn: {before.dn}\nchangetype: modrdn\nnewrdn: uid=byron\ndeleteoldrdn: 1\n")
    again = directory.again(before)
    assert again is not None and again.short_name == "byron" and again.identity == before.identity
    # ... also where the old name has somebody new by then.
    server.modify(person("ada"))
    again = directory.again(before)
    assert again is not None and again.short_name == "byron"


# What is less than certain.


def test_a_base_that_is_not_there_is_no_answer(server, open_directory):
    with pytest.raises(Unreachable):
        find(open_directory(server, base="ou=persons,dc=acme,dc=example"), "ada")


def test_entries_from_elsewhere_are_no_answer(server, directory):
    directory._base, directory._servers = "ou=West," + BASE, Elsewhere(directory._servers)
    with pytest.raises(Unreachable, match="not below"):
        find(directory, "ada")


class Elsewhere:
    """A server that looks where it likes."""

    def __init__(self, servers):
        self._servers = servers

    def search(self, base, *arguments):
        return self._servers.search(BASE, *arguments)

    def close(self):
        self._servers.close()


def test_the_state_of_the_servers_is_told(server, directory):
    find(directory, "ada")
    (state,) = directory.status()
    assert state.up and str(server.port) in state.address
