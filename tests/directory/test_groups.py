"""Groups, certificates, verifiers and ids in an LDIF file; and the way up through groups."""

import pytest

from imapd.directory.certificate import ClientCertificate
from imapd.directory.groups import DEPTH, reaches
from imapd.directory.interface import Ambiguous
from imapd.directory.ldif import line
from imapd.directory.names import LoginName
from imapd.directory.person import Person
from imapd.directory.scram import ScramVerifier
from tests.directory.conftest import ALICE, BOB

ALICE_DN = "uid=alice,ou=people,dc=example,dc=org"
BOB_DN = "uid=bob,ou=people,dc=example,dc=org"
BASE = "ou=groups,dc=example,dc=org"

GROUPS = f"""
dn: cn=staff,{BASE}
objectClass: groupOfNames
cn: staff
member: UID=Alice, OU=People, DC=Example, DC=Org
member: cn=builders,{BASE}

dn: cn=builders,{BASE}
objectClass: groupOfUniqueNames
cn: builders
uniqueMember: {BOB_DN}
uniqueMember: cn=staff,{BASE}

dn: cn=shell,{BASE}
objectClass: posixGroup
cn: shell
memberUid: bob

dn: cn=list,{BASE}
objectClass: organizationalRole
cn: list
member: {BOB_DN}
"""


def directory_of(open_directory, people_file, more):
    people_file.write_text(f"{ALICE}\n{BOB}\n{more}")
    return open_directory(people_file)


def known(directory, name):
    found = directory.find(LoginName.parse(name))
    assert isinstance(found, Person)
    return found


MEMBERS = [
    ("alice", f"cn=staff,{BASE}", True),
    ("alice", f"CN=Staff, {BASE.upper()}", True),
    ("bob", f"cn=builders,{BASE}", True),
    ("bob", f"cn=staff,{BASE}", True),
    ("alice", f"cn=builders,{BASE}", True),
    ("bob", f"cn=shell,{BASE}", True),
    ("alice", f"cn=shell,{BASE}", False),
    ("bob", f"cn=list,{BASE}", False),
    ("bob", f"cn=nowhere,{BASE}", False),
    ("bob", "no name at all", False),
]


@pytest.mark.parametrize(("name", "group", "expected"), MEMBERS)
def test_members_are_found_directly_and_by_groups_in_groups(open_directory, people_file, name, group, expected):
    directory = directory_of(open_directory, people_file, GROUPS)
    assert directory.member(known(directory, name), group) is expected


def test_a_short_name_is_a_member_only_if_it_is_of_this_directory(open_directory, people_file):
    directory = directory_of(open_directory, people_file, GROUPS)
    other = Person("partner", "1", "uid=bob,o=Partner", "Bob", short_name="bob")
    assert not directory.member(other, f"cn=shell,{BASE}")


def test_groups_of_the_file_as_it_is_now_count(open_directory, people_file):
    directory = directory_of(open_directory, people_file, GROUPS)
    bob = known(directory, "bob")
    people_file.write_text(f"{ALICE}\n{BOB}")
    assert not directory.member(bob, f"cn=shell,{BASE}")


def chain_of_groups(length):
    return lambda level: [
        f"cn=g{int(dn[4:].split(',')[0]) + 1},o=x" for dn in level if int(dn[4:].split(",")[0]) < length
    ]


def test_the_way_up_ends_after_some_groups_and_says_so(caplog):
    assert reaches(["cn=g0,o=x"], f"cn=g{DEPTH},o=x", chain_of_groups(20))
    assert not caplog.text
    assert not reaches(["cn=g0,o=x"], f"cn=g{DEPTH + 1},o=x", chain_of_groups(20))
    assert "not followed" in caplog.text


def test_groups_that_hold_each_other_end():
    asked = []

    def above(level):
        asked.extend(level)
        return ["cn=b,o=x"] if level == ["cn=a,o=x"] else ["CN=A,o=x"]

    assert not reaches(["cn=a,o=x"], "cn=c,o=x", above)
    assert len(asked) == 2


def certificate(der):
    return ClientCertificate(der, "CN=Alice", "CN=CA", 1)


def test_a_certificate_is_found_by_all_its_octets(open_directory, people_file):
    held = line("userCertificate;binary", b"\x30\x01\x00", b"\n").decode()
    people_file.write_text(f"{ALICE}{held}\n{BOB}")
    directory = open_directory(people_file)
    assert directory.find_certificate(certificate(b"\x30\x01\x00")) == known(directory, "alice")
    assert directory.find_certificate(certificate(b"\x30\x01\x01")) is None
    people_file.write_text(f"{ALICE}{held}\n{BOB}{held}")
    found = directory.find_certificate(certificate(b"\x30\x01\x00"))
    assert isinstance(found, Ambiguous) and found.dns == (ALICE_DN, BOB_DN)


def test_somebody_is_found_again_by_the_id_and_not_by_the_name(open_directory, people_file):
    people_file.write_text(f"{ALICE}entryUUID: 1-1\n\n{BOB}entryUUID: 2-2\n")
    directory = open_directory(people_file)
    alice, bob = known(directory, "alice"), known(directory, "bob")
    people_file.write_text(
        f"{ALICE}entryUUID: 3-3\n\n{BOB.replace('uid=bob', 'uid=rob').replace('uid: bob', 'uid: rob')}entryUUID: 2-2\n"
    )
    assert directory.again(alice) is None
    renamed = directory.again(bob)
    assert renamed is not None and renamed.short_name == "rob" and renamed.identity == bob.identity


def test_a_verifier_is_given_for_scram(open_directory, people_file):
    verifier = ScramVerifier.make("second", 10)
    people_file.write_text(f"{ALICE}authPassword: {verifier.written()}\n\n{BOB}")
    directory = open_directory(people_file)
    assert directory.scram(known(directory, "alice")) == verifier
    assert directory.scram(known(directory, "bob")) is None


def test_the_state_of_a_file_tells_its_last_complaint(open_directory, people_file):
    directory = open_directory(people_file)
    assert [(one.up, one.remark) for one in directory.status()] == [(True, "2 people")]
    people_file.write_text("nonsense\n")
    directory.find(LoginName.parse("alice"))
    (state,) = directory.status()
    assert state.up and "people.ldif:1" in state.remark
