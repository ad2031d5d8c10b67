"""Comparing typed passwords with those that entries hold: for LDIF files, and LDAP directories with verify = hash.

Hashes run in their pool of threads. A stored value that cannot be used is logged with its entry and without itself, and
is wrong. Nobody costs what somebody does: a dummy of the kind that most people have is compared instead.
"""

import logging

from imapd.directory import passwords
from imapd.directory.person import Person
from imapd.model.loop import Loop

log = logging.getLogger("imapd.directory")

# A person with more stored passwords than this is an attempt to make one login expensive.
MOST_PASSWORDS = 10


class StoredPasswords:
    """The comparing of one directory."""

    def __init__(self, directory: str, loop: Loop) -> None:
        self._directory = directory
        self._loop = loop
        self._dummy = passwords.dummy_verifier()

    def resemble(self, person: Person) -> bool:
        """Let nobody cost what this person does, if a password of his is slow; whether one is."""
        slow = next(filter(passwords.slow, person.passwords), None)
        self._dummy = slow or self._dummy
        return slow is not None

    def fits(self, person: Person | None, password: bytes) -> bool:
        """Whether the password is one of the person's; None is nobody."""
        if not password:
            return False
        if person is None:
            self._matches(self._dummy, password, "nobody")
            return False
        if not person.passwords:
            # So that those who must not log in by password do not tell themselves by the time it takes.
            self._matches(self._dummy, password, "nobody")
            return False
        if len(person.passwords) > MOST_PASSWORDS:
            log.warning("%r has %d passwords; %d are tried", person.dn, len(person.passwords), MOST_PASSWORDS)
        return any(self._matches(stored, password, person.dn) for stored in person.passwords[:MOST_PASSWORDS])

    def _matches(self, stored: bytes, password: bytes, dn: str) -> bool:
        try:
            if passwords.slow(stored):
                return self._loop.offload_hash(passwords.check, stored, password)
            return passwords.check(stored, password)
        except passwords.Unusable as reason:
            log.warning("a password of %r in directory %s cannot be used: %s", dn, self._directory, reason)
            return False
