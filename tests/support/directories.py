"""Directories of a few people, for tests of what stands above them.

What is asked of one stands in lists. A value among its people, groups or certificates that is an error is raised; `down`
makes every question an error.
"""

from imapd.directory.names import Scope
from imapd.directory.person import Person
from imapd.directory.verdict import Verdict
from imapd.model.errors import Unreachable

EVERYTHING = frozenset({"credentials", "certificates", "groups"})


def person(name, directory="first", password=b"secret", **fields):
    """Somebody whose uid, name and password are known."""
    fields = {"dn": f"uid={name},o={directory}", "short_name": name, **fields}
    return Person(directory, name, user_name=name, passwords=(password,), **fields)


class FakeDirectory:
    """A Directory. people: by the key of a name; groups: the identities in a group by its DN; owners: by certificate.

    verdicts: what is said to the right password of an identity, where that is not RIGHT.
    """

    def __init__(self, name, order, people, scope=None, groups=None, owners=None, verifiers=None):
        self.name, self.order, self.people = name, order, people
        self.scope = scope or Scope(trusted_for=EVERYTHING)
        self.groups, self.owners, self.verifiers = groups or {}, owners or {}, verifiers or {}
        self.verdicts = {}
        self.asked, self.verified, self.memberships, self.closed = [], [], [], False
        self.down = None

    def find(self, name, trace=None):
        self.asked.append(name.key)
        return self._answer(self.people.get(name.key))

    def find_certificate(self, certificate, trace=None):
        return self._answer(self.owners.get(certificate))

    def verify(self, person, password, trace=None):
        self.verified.append(person)
        self._answer(None)
        if person is None or password not in person.passwords:
            return Verdict.WRONG
        return self.verdicts.get(person.identity, Verdict.RIGHT)

    def scram(self, person):
        return self._answer(self.verifiers.get(person.identity))

    def member(self, person, group, trace=None):
        self.memberships.append((person.identity, group))
        return person.identity in self._answer(self.groups.get(group, ()))

    def again(self, person):
        found = [one for one in self.people.values() if isinstance(one, Person) and one.uid == person.uid]
        return self._answer(found[0] if found else None)

    def status(self):
        return []

    def close(self):
        self.closed = True

    def _answer(self, answer):
        if self.down:
            raise Unreachable(self.down)
        if isinstance(answer, Exception):
            raise answer
        return answer
