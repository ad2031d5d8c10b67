"""Lists of people: how entries are read, whom they mean, and what a directory that is down does to them."""

import pytest

from imapd.directory.access import Access, AccessList, Groups, Pattern
from imapd.directory.names import Scope
from imapd.directory.person import Person
from imapd.directory.trace import Trace
from imapd.model.errors import Unreachable

ADA = Person("acme", "1", "uid=ada,ou=people,dc=acme,dc=example", "Ada", internet_address="Ada@acme.example")
JO = Person("partner", "2", "CN=Jo Doe,OU=Sales,O=Partner", "Jo Doe")


class FakeGroups:
    """A directory that knows groups: the DN keys of groups and the identities in them."""

    def __init__(self, groups=None, trusted_for=("credentials", "groups"), down=False):
        self.scope = Scope(trusted_for=frozenset(trusted_for))
        self.groups, self.down, self.asked = groups or {}, down, []

    def member(self, person, group, trace=None):
        self.asked.append(group)
        if self.down:
            raise Unreachable("no answer")
        return person.identity in self.groups.get(group, ())


def groups(loop, *directories):
    return Groups(directories, loop)


@pytest.mark.parametrize(
    ("text", "ada", "jo"),
    [
        ("*", True, True),
        ("*/Partner", False, True),
        ("*/Sales/Partner", False, True),
        ("*/sales/PARTNER", False, True),
        ("*/Support/Partner", False, False),
        ("*/o=Partner", False, True),
        ("*/OU=Sales, O=Partner", False, True),
        ("*/ou=Sales/o=Partner", False, True),
        ("*/dc=acme,dc=example", True, False),
        ("*/dc=example", True, False),
        ("*/dc=xample", False, False),
        ("*/c=example", False, False),
        ("uid=ada, ou=People,dc=ACME,dc=example", True, False),
        ("CN=Jo Doe/OU=Sales/O=Partner", False, True),
        ("Jo Doe/Sales/Partner", False, True),
        ("Jo Doe/Partner", False, False),
        ("ada@ACME.example", True, False),
        ("eve@acme.example", False, False),
    ],
)
def test_an_entry_means_who_it_says(loop, text, ada, jo):
    pattern = Pattern.read(text)
    assert (pattern.matches(ADA), pattern.matches(JO)) == (ada, jo)


@pytest.mark.parametrize(
    "text", ["", " ", "ada", "uid=ada", "*ada", "*/", "*//Acme", "*/=x,o=y", "**", "/Acme", "a\0b/Acme", "*/Acme/"]
)
def test_what_is_no_entry_is_said_at_once(text):
    with pytest.raises(ValueError):
        Pattern.read(text)


def test_nobody_named_means_that_everybody_may(loop):
    assert AccessList().refusal(ADA, groups(loop)) is None


def test_only_those_on_the_list_may(loop):
    access = AccessList.read(["*/Partner"], [])
    assert access.refusal(JO, groups(loop, FakeGroups())) is None
    assert "not on the list" in access.refusal(ADA, groups(loop, FakeGroups()))


def test_who_is_denied_is_denied_whatever_allows_him(loop):
    access = AccessList.read(["*", "Jo Doe/Sales/Partner"], ["*/Partner"])
    assert "'*/Partner'" in access.refusal(JO, groups(loop)) and access.refusal(ADA, groups(loop)) is None


def test_members_of_groups_are_meant(loop):
    directory = FakeGroups({"cn=mail users,ou=groups,dc=acme,dc=example": {"acme/1"}})
    access = AccessList.read(["CN=Mail Users, ou=groups,dc=acme,dc=example"], [])
    assert access.refusal(ADA, groups(loop, directory)) is None
    assert access.refusal(JO, groups(loop, directory)) is not None


def test_directories_that_are_not_trusted_for_groups_do_not_say_who_is_in_them(loop):
    acme = FakeGroups()
    partner = FakeGroups({"cn=mail users,o=acme": {"partner/2"}}, trusted_for=("credentials",))
    access = AccessList.read(["cn=mail users,o=acme"], [])
    assert access.refusal(JO, groups(loop, acme, partner)) is not None
    assert partner.asked == []


def test_the_first_directory_knows_the_groups_where_none_is_said_to(loop):
    first = FakeGroups({"cn=mail users,o=acme": {"acme/1"}}, trusted_for=("credentials",))
    second = FakeGroups({"cn=mail users,o=acme": {"partner/2"}}, trusted_for=("credentials",))
    known = groups(loop, first, second)
    assert known.member(ADA, "cn=mail users,o=acme") and not known.member(JO, "cn=mail users,o=acme")


def test_a_list_is_never_taken_for_shorter_than_it_is(loop):
    down = groups(loop, FakeGroups(down=True))
    for access in (
        AccessList.read(["*"], ["cn=leavers,o=acme"]),
        AccessList.read(["cn=users,o=acme", "cn=others,o=acme"], []),
    ):
        with pytest.raises(Unreachable):
            access.refusal(ADA, down)


def test_no_directory_is_asked_where_a_name_is_enough(loop):
    directory = FakeGroups(down=True)
    access = AccessList.read(["cn=users,o=acme", "*"], [])
    assert access.refusal(ADA, groups(loop, directory)) is None and directory.asked == []


def test_membership_is_remembered_for_a_minute_and_asked_anew_on_demand(loop):
    directory = FakeGroups({"cn=users,o=acme": {"acme/1"}})
    known = groups(loop, directory)
    assert known.member(ADA, "cn=users,o=acme") and known.member(ADA, "cn=users,o=acme")
    assert len(directory.asked) == 1
    directory.groups.clear()
    assert known.member(ADA, "cn=users,o=acme")
    assert not known.member(ADA, "cn=users,o=acme", fresh=True)
    assert not known.member(ADA, "cn=users,o=acme")
    directory.groups["cn=users,o=acme"] = {"acme/1"}
    loop.advance(60)
    assert known.member(ADA, "cn=users,o=acme")


def test_a_directory_that_was_down_is_not_remembered(loop):
    directory = FakeGroups({"cn=users,o=acme": {"acme/1"}}, down=True)
    known = groups(loop, directory)
    with pytest.raises(Unreachable):
        known.member(ADA, "cn=users,o=acme")
    directory.down = False
    assert known.member(ADA, "cn=users,o=acme")


def test_a_listener_s_own_list_has_to_be_passed_as_well(loop):
    everywhere = AccessList.read(["*"], ["*/Partner"])
    access = Access({"imaps": [everywhere], "internal": [everywhere, AccessList.read(["jo@acme.example"], [])]})
    known = groups(loop, FakeGroups())
    assert access.refusal(ADA, "internal", known) is not None
    assert access.refusal(ADA, "imaps", known) is None
    assert access.refusal(JO, "another", known) is None
    assert access.refusal(JO, "internal", known) is not None and access.refusal(JO, "imaps", known) is not None
    assert Access().refusal(JO, "imaps", known) is None


def test_what_is_decided_can_be_told(loop):
    steps = []
    directory = FakeGroups({"cn=users,o=acme": {"acme/1"}})
    AccessList.read(["cn=users,o=acme"], []).refusal(ADA, groups(loop, directory), trace=Trace(steps.append))
    assert steps == ["'uid=ada,ou=people,dc=acme,dc=example' is a member of 'cn=users,o=acme'"]
