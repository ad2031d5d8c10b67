"""Groups of a real LDAP directory: direct, nested, in a circle, by name, and as the server keeps them."""

import pytest

from imapd.directory.interface import ReplicaState
from imapd.directory.ldapdirectory import LdapDirectory
from imapd.directory.ldapvalues import Depth, Entry
from imapd.directory.person import AttributeMap, Person
from imapd.directory.trace import Trace
from imapd.model.errors import Unreachable
from tests.directory.ldap.support import known
from tests.fuzz.hostile_names import read_filter
from tests.support.loop import PlainLoop
from tests.support.slapd import Slapd, people, person

PEOPLE = "ou=people,dc=acme,dc=example"
GROUPS = "ou=groups,dc=acme,dc=example"


def group(name, *members, kind="groupOfNames", attribute="member"):
    lines = [
        f"dn: cn={name},{GROUPS}",
        f"objectClass: {kind}",
        f"cn: {name}",
        *(f"{attribute}: {member}" for member in members),
    ]
    return "\n".join([*lines, "gidNumber: 100"] if kind == "posixGroup" else lines) + "\n"


ENTRIES = [
    people("ada", "ben", "cat", "dan"),
    person("x(y)*", cn="Odd"),
    group("staff", f"UID=Ada,{PEOPLE}", f"cn=builders,{GROUPS}"),
    group("builders", f"uid=ben,{PEOPLE}", f"cn=staff,{GROUPS}", kind="groupOfUniqueNames", attribute="uniqueMember"),
    group("shell", "cat", kind="posixGroup", attribute="memberUid"),
    group("odd", f"uid=x(y)*,{PEOPLE}"),
    group("guests", "uid=eve,ou=people,o=Partner", f"uid=ghost,{PEOPLE}"),
    group("level0", f"uid=dan,{PEOPLE}"),
    *(group(f"level{depth}", f"cn=level{depth - 1},{GROUPS}") for depth in range(1, 12)),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Slapd(tmp_path_factory.mktemp("groups") / "slapd", "\n".join(ENTRIES)) as slapd:
        yield slapd


MEMBERS = [
    ("ada", "staff", True),
    ("ada", "STAFF", True),
    ("ben", "builders", True),
    ("ben", "staff", True),
    ("ada", "builders", True),
    ("cat", "staff", False),
    ("cat", "shell", True),
    ("ada", "shell", False),
    ("uid=x(y)*", "odd", True),
    ("ada", "odd", False),
    ("dan", "level0", True),
    ("dan", "level8", True),
    ("dan", "level9", False),
]


@pytest.mark.parametrize(("name", "of", "expected"), MEMBERS)
def test_members_are_found_directly_and_by_groups_in_groups(server, open_directory, name, of, expected):
    directory = open_directory(server)
    assert directory.member(known(directory, name), f"cn={of},{GROUPS}") is expected


def test_a_group_is_granted_by_its_members_though_nobody_keeps_memberof(server, open_directory):
    for preset in ("inetorgperson", "ipa"):
        directory = open_directory(server, preset=preset)
        assert directory.member(known(directory, "ada"), f"cn=staff,{GROUPS}")


def test_a_group_that_the_server_keeps_in_the_entry_is_believed(make_slapd, open_directory):
    # Under another name: the schema of Active Directory, which this server has too, gives memberOf to its own people only.
    server = make_slapd(overlays="overlay memberof\nmemberof-memberof-ad seeAlso\n")
    server.modify(group("staff", f"uid=ada,{PEOPLE}"))
    assert server.values(f"uid=ada,{PEOPLE}", "seeAlso") == [f"cn=staff,{GROUPS}"]
    told = []
    directory = open_directory(server, overrides={"member_of": "seeAlso"})
    assert directory.member(known(directory, "ada"), f"CN=Staff,{GROUPS}", Trace(told.append))
    assert not any("member=" in step for step in told)
    assert not directory.member(known(directory, "ben"), f"cn=staff,{GROUPS}")


def test_a_group_that_is_not_there_has_no_members_and_is_named_once(server, open_directory, caplog):
    directory = open_directory(server)
    for _ in range(3):
        assert not directory.member(known(directory, "ada"), f"cn=staf,{GROUPS}")
        assert not directory.member(known(directory, "cat"), f"cn=staff,{GROUPS}")
    assert caplog.text.count("there is no group") == 1 and "cn=staf," in caplog.text


def test_groups_of_another_tree_are_not_asked_for(server, open_directory):
    directory = open_directory(server)
    directory._servers.close()
    told = []
    ada = Person("acme", "1", f"uid=ada,{PEOPLE}", "Ada")
    assert not directory.member(ada, "cn=staff,o=Partner", Trace(told.append))
    assert told == ["acme: the group cn=staff,o=Partner is not of this directory"]


def test_another_directorys_person_is_a_member_by_his_own_name_only(server, open_directory):
    directory = open_directory(server)
    eve = Person("partner", "1", "uid=eve,ou=people,o=Partner", "Eve", short_name="cat")
    assert directory.member(eve, f"cn=guests,{GROUPS}")
    assert not directory.member(eve, f"cn=shell,{GROUPS}")
    # A partner's directory that has names of ours does not make its people members.
    ghost = Person("partner", "2", f"uid=ghost,{PEOPLE}", "Ghost")
    ada = Person("partner", "3", f"uid=ada,{PEOPLE}", "Ada")
    assert not directory.member(ghost, f"cn=guests,{GROUPS}") and not directory.member(ada, f"cn=staff,{GROUPS}")


def test_a_place_of_groups_may_be_named(server, open_directory):
    elsewhere = open_directory(server, group_base=PEOPLE)
    assert not elsewhere.member(known(elsewhere, "ada"), f"cn=staff,{GROUPS}")
    here = open_directory(server, group_base=GROUPS)
    assert here.member(known(here, "ada"), f"cn=staff,{GROUPS}")


def test_more_groups_than_can_be_looked_at_are_no_answer(server, open_directory, monkeypatch):
    monkeypatch.setattr("imapd.directory.ldapdirectory._MOST_ENTRIES", 1)
    directory = open_directory(server)
    server_entries = group("extra1", f"uid=cat,{PEOPLE}"), group("extra2", f"uid=cat,{PEOPLE}")
    server.modify("\n".join(server_entries))
    try:
        with pytest.raises(Unreachable, match="more than 1"):
            directory.member(known(directory, "cat"), f"cn=staff,{GROUPS}")
    finally:
        server.delete(f"cn=extra1,{GROUPS}")
        server.delete(f"cn=extra2,{GROUPS}")


class Scripted:
    """Servers that give what they are told to, by the depth and a part of the filter."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def search(self, base, depth, filter, attributes, limit):
        text = str(filter)
        read_filter(text)
        self.asked.append((base, depth, text))
        return next((found for at, part, found in self.answers if at is depth and part in text), [])

    def health(self):
        return [ReplicaState("ldap://x", True)]

    def close(self):
        pass


SID = bytes.fromhex("010500000000000515000000") + b"\x01\0\0\0" * 3


def test_the_first_group_of_active_directory_counts():
    entry = Entry(
        "CN=Ada,CN=Users,DC=acme,DC=example", {"objectsid": [SID + b"\x50\x04\0\0"], "primarygroupid": [b"513"]}
    )
    users = Entry("CN=Domain Users,CN=Users,DC=acme,DC=example", {})
    every = Entry("CN=Everybody,CN=Users,DC=acme,DC=example", {})
    servers = Scripted(
        [
            (Depth.BASE, "objectCategory=person", [entry]),
            (Depth.SUBTREE, r"objectSid=\01\05\00\00\00\00\00\05\15", [users]),
            (Depth.SUBTREE, r"member=CN\3dDomain Users", [every]),
        ]
    )
    directory = LdapDirectory("ad", servers, "DC=acme,DC=example", AttributeMap.load("ad", binds=True), PlainLoop())
    ada = Person("ad", "1", entry.dn, "Ada", short_name="ada")
    assert directory.member(ada, users.dn) and directory.member(ada, every.dn)
    assert any(r"\15\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\02\00\00" in text for _, _, text in servers.asked)
    assert not directory.member(ada, "CN=Nobody,CN=Users,DC=acme,DC=example")
    # Nobody is a member of another directory's first group by his number.
    assert not directory.member(Person("partner", "1", "cn=x,o=Partner", "X"), users.dn)
