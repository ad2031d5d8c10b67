"""A directory that is an LDAP server, or several with the same content.

What goes over the wire is made in directory/ldapquery and carried by directory/ldapconn. Here it is decided what an
answer means:

1. None means that the directory was asked and knows nobody. Whatever is less certain is Unreachable; an entry from
   outside the base is too, since a server that gives one does not do what it was asked for.
2. A search for one person may find two: that is Ambiguous, and so is more than was asked for.
3. Persons are made of the entry's own values. What was typed is forgotten after the search.
4. Passwords are tried by a bind as the person, unless the site has its hashes compared here; only then, or where SCRAM
   needs verifiers, are stored passwords read at all.
5. A certificate is somebody's only if his entry has it octet by octet.
"""

import hmac
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from imapd.directory import dn as names
from imapd.directory import groups, scram
from imapd.directory.certificate import ClientCertificate
from imapd.directory.interface import Ambiguous, ReplicaState
from imapd.directory.ldapfilter import Filter
from imapd.directory.ldapquery import Query
from imapd.directory.ldapvalues import Depth, Entry, TooMany
from imapd.directory.names import Level, LoginName, Scope
from imapd.directory.person import AttributeMap, Person
from imapd.directory.stored import StoredPasswords
from imapd.directory.survey import Survey, survey
from imapd.directory.trace import SILENT, Trace
from imapd.directory.verdict import Verdict
from imapd.model.errors import Unreachable
from imapd.model.loop import Loop

log = logging.getLogger("imapd.directory")

# Namesakes in different units, of whom one is meant by his DN; and people whose names are those in a certificate.
_MOST_NAMESAKES = 100
# The groups around one person, and the entries with one name for their leaf.
_MOST_ENTRIES = 1_000


class Servers(Protocol):
    """What is needed of directory/ldapconn.Pool."""

    def search(self, base: str, depth: Depth, filter: Filter, attributes: Sequence[str], limit: int) -> Sequence[Entry]:
        """The entries that match; raises TooMany, DirectoryDown. With Depth.BASE, none where there is no such entry."""

    def bind_as(self, dn: str, password: bytes) -> Verdict:
        """What the server says of a password; raises DirectoryDown."""

    def health(self) -> Sequence[ReplicaState]:
        """What is thought of each server."""

    def close(self) -> None:
        """End the connections."""


class LdapDirectory:
    """People of an LDAP directory; a Directory.

    hashes: stored passwords are compared here, instead of a bind. offers_scram: verifiers are read. group_base: where
    groups are; not given: anywhere in the organization that the base belongs to. candidates: so many people with one
    name become persons, for a password that decides between them.
    """

    def __init__(
        self,
        name: str,
        servers: Servers,
        base: str,
        attribute_map: AttributeMap,
        loop: Loop,
        *,
        order: int = 1,
        scope: Scope | None = None,
        level: Level = Level.FEWER,
        hashes: bool = False,
        offers_scram: bool = False,
        group_base: str | None = None,
        candidates: int = 2,
    ) -> None:
        self.name = name
        self.order = order
        self.scope = scope if scope is not None else Scope()
        self._servers = servers
        self._base = base
        self._map = attribute_map
        self._query = Query(attribute_map, level)
        self._level = level
        self._stored = StoredPasswords(name, loop) if hashes else None
        self.offers_scram = offers_scram
        self._group_base = names.organization(base) if group_base is None else group_base
        self._candidates = candidates
        self._attributes = attribute_map.attributes(secrets=hashes or offers_scram)
        self._groups_looked_for: set[str] = set()
        if hashes and not attribute_map.sources("passwords") + attribute_map.sources("auth_passwords"):
            raise ValueError("stored passwords cannot be read in a directory of this kind; verify = bind is what works")
        if offers_scram and not attribute_map.sources("passwords") + attribute_map.sources("auth_passwords"):
            raise ValueError("there are no verifiers for SCRAM in a directory of this kind")

    # -- who is it ---------------------------------------------------------------------------------------------------

    def find(self, name: LoginName, trace: Trace = SILENT) -> Person | Ambiguous | None:
        """The person with this name."""
        found: list[Person] = []
        if name.dn_key is not None and (not name.abbreviated or self._level is Level.MORE):
            by_leaf = self._named(name.rdn, name.dn_key, trace)
            if isinstance(by_leaf, Ambiguous):
                return by_leaf
            found += by_leaf
        if name.dn_key is None or name.abbreviated:
            try:
                found += self._persons(self._query.login(name), self._candidates, trace)
            except TooMany as more:
                return self._ambiguous(more, trace)
        return self._only(found, trace)

    def find_certificate(self, certificate: ClientCertificate, trace: Trace = SILENT) -> Person | Ambiguous | None:
        """The person whose entry holds this certificate."""
        for question in (self._query.certificate(certificate), self._query.certificate_names(certificate)):
            try:
                candidates = self._persons(question, _MOST_NAMESAKES, trace)
            except TooMany as more:
                return self._ambiguous(more, trace)
            found = [person for person in candidates if _holds(person, certificate.der)]
            if found:
                return self._only(found, trace)
            if candidates:
                trace("%s: none of these entries has the certificate itself", self.name)
        return None

    def again(self, person: Person) -> Person | None:
        """The same entry as it is now: where it was, which every server finds at once, or wherever its id is now."""
        for entry in self._entry(person.dn, self._query.person, self._attributes, SILENT):
            if self._map.unique_id(entry.dn, entry.attributes) == person.uid:
                return self._person(entry)
        for entry in self._all(self._base, self._query.unique(person.uid), self._attributes, SILENT):
            if self._map.unique_id(entry.dn, entry.attributes) == person.uid:
                return self._person(entry)
        return None

    # -- what proves it ----------------------------------------------------------------------------------------------

    def verify(self, person: Person | None, password: bytes, trace: Trace = SILENT) -> Verdict:
        """What the directory says of the password."""
        if self._stored is not None:
            right = self._stored.fits(person, password)
            if person is not None and not person.passwords:
                log.warning("directory %s gives no password of %r that could be compared", self.name, person.dn)
            trace("%s: compared with the stored passwords: %s", self.name, "right" if right else "wrong")
            return Verdict.RIGHT if right else Verdict.WRONG
        if person is None or not password or not person.dn or not _is_text(password):
            trace("%s: nothing to try by a bind", self.name)
            return Verdict.WRONG
        verdict = self._servers.bind_as(person.dn, password)
        trace("%s: bind as %s: %s", self.name, person.dn, verdict.value)
        return verdict

    def scram(self, person: Person) -> scram.ScramVerifier | None:
        """The person's verifier, where this directory is one that gives them."""
        return scram.among(person.passwords) if self.offers_scram else None

    # -- what he belongs to ------------------------------------------------------------------------------------------

    def member(self, person: Person, group: str, trace: Trace = SILENT) -> bool:
        """Whether the person is in the group, directly or by groups in it."""
        own = person.directory == self.name
        if not _is_below(group, self._group_base):
            trace("%s: the group %s is not of this directory", self.name, group)
            return False
        if not own and _is_below(person.dn, self._base):
            # Another directory's entry with a name of ours: our groups mean our own people.
            trace("%s: %s is not of this directory", self.name, person.dn)
            return False
        try:
            inside = (own and self._belongs(person, group, trace)) or self._reaches(person, own, group, trace)
        except ValueError as fault:
            raise Unreachable(f"directory {self.name} has groups with names that are none: {fault}") from None
        trace("%s: %s %s %s", self.name, person.dn, "is in" if inside else "is not in", group)
        if not inside:
            self._look_for(group)
        return inside

    def _belongs(self, person: Person, group: str, trace: Trace) -> bool:
        """Whether the person's own entry names the group, where the server keeps that."""
        return bool(self._entry(person.dn, self._query.belonging(group), (), trace))

    def _reaches(self, person: Person, own: bool, group: str, trace: Trace) -> bool:
        def above(dns: Sequence[str]) -> list[str]:
            return self._groups(self._query.groups(dns), trace)

        # A name in memberUid is a name of this directory; somebody else's may be the same.
        direct = self._groups(self._query.groups([person.dn], person.short_name if own else None), trace)
        if own and self._map.sources("primary_group"):
            direct += self._primary_groups(person, trace)
        return groups.reaches(direct, group, above)

    def _primary_groups(self, person: Person, trace: Trace) -> list[str]:
        """Active Directory does not list the group that people have as their first one among its members."""
        numbers = self._map.sources("primary_group")
        for entry in self._entry(person.dn, self._query.person, ("objectSid", *numbers), trace):
            sid, number = entry.first("objectSid"), entry.first(*numbers)
            if sid and number:
                return self._groups(self._query.primary_group(sid, number), trace)
        return []

    def _groups(self, question: Filter | None, trace: Trace) -> list[str]:
        return [entry.dn for entry in self._all(self._group_base, question, (), trace)]

    def _look_for(self, group: str) -> None:
        """Say once that a group is not there: a list that names it does not do what somebody believes."""
        key = names.key(group)
        if key in self._groups_looked_for:
            return
        self._groups_looked_for.add(key)
        if not self._entry(group, self._query.group, (), SILENT):
            log.warning("directory %s: there is no group %r", self.name, group)

    def survey(self, limit: int, mapped: Iterable[str] = ()) -> Survey:
        """Some of the people, and what they lack; mapped: see survey. Raises Unreachable."""
        secrets = self.offers_scram or self._stored is not None
        wanted = (*self._attributes, *self._map.login_attributes(None, self._level), *self._mapped(mapped))
        try:
            entries, more = self._search(self._base, self._query.person, wanted, limit, SILENT), False
        except TooMany as many:
            entries, more = many.entries, True
        return survey(self.name, entries, more, self._map, mapped, secrets)

    def _mapped(self, fields: Iterable[str]) -> Iterator[str]:
        for field in fields:
            yield from (source for source in self._map.sources(field) if source != "dn")

    # -- the servers -------------------------------------------------------------------------------------------------

    def status(self) -> Sequence[ReplicaState]:
        """The servers, as they seem."""
        return self._servers.health()

    def close(self) -> None:
        """End the connections."""
        self._servers.close()

    def _named(self, rdn: names.Rdn, dn_key: str, trace: Trace) -> list[Person] | Ambiguous:
        """The person with a DN, found by its leaf: the typed name never becomes the name of an entry in a request."""
        if not _is_below(dn_key, self._base):
            trace("%s: the name does not lie below %s", self.name, self._base)
            return []
        try:
            namesakes = self._persons(self._query.leaf(rdn), _MOST_NAMESAKES, trace)
        except TooMany as more:
            return self._ambiguous(more, trace)
        return [person for person in namesakes if names.key(person.dn) == dn_key]

    def _persons(self, question: Filter | None, limit: int, trace: Trace) -> list[Person]:
        """The persons that match, each once."""
        found = self._search(self._base, question, self._attributes, limit, trace)
        return list({names.key(person.dn): person for person in map(self._person, found)}.values())

    def _person(self, entry: Entry) -> Person:
        if not _is_below(entry.dn, self._base):
            raise Unreachable(f"directory {self.name} gives {entry.dn!r}, which is not below {self._base!r}")
        return self._map.person(self.name, entry.dn, entry.attributes)

    def _all(self, base: str, question: Filter | None, attributes: Sequence[str], trace: Trace) -> Sequence[Entry]:
        """Every entry that matches; where there are more than anybody would have, nothing is certain."""
        try:
            return self._search(base, question, attributes, _MOST_ENTRIES, trace)
        except TooMany:
            raise Unreachable(f"directory {self.name}: more than {_MOST_ENTRIES} entries for {question}") from None

    def _entry(self, dn: str, question: Filter | None, attributes: Sequence[str], trace: Trace) -> Sequence[Entry]:
        """The entry with a DN that a server gave or an administrator wrote, if it matches."""
        return self._search(dn, question, attributes, 1, trace, Depth.BASE)

    def _search(
        self,
        base: str,
        question: Filter | None,
        attributes: Sequence[str],
        limit: int,
        trace: Trace,
        depth: Depth = Depth.SUBTREE,
    ) -> Sequence[Entry]:
        if question is None:
            return ()
        trace("%s: %s %s is asked for %s", self.name, "below" if depth is Depth.SUBTREE else "at", base, question)
        found = self._servers.search(base, depth, question, attributes, limit)
        trace("%s: %d found", self.name, len(found))
        return found

    def _only(self, found: list[Person], trace: Trace) -> Person | Ambiguous | None:
        distinct = list({names.key(person.dn): person for person in found}.values())
        trace("%s: %s", self.name, " and ".join(person.dn for person in distinct) or "nobody")
        if len(distinct) > 1:
            return Ambiguous(tuple(person.dn for person in distinct), tuple(distinct))
        return distinct[0] if distinct else None

    def _ambiguous(self, more: TooMany, trace: Trace) -> Ambiguous:
        """More than were asked for. Persons are not made of them: one who is missing might be the one."""
        trace("%s: too many entries match", self.name)
        return Ambiguous(tuple(entry.dn for entry in more.entries))


def _holds(person: Person, der: bytes) -> bool:
    return any(hmac.compare_digest(held, der) for held in person.certificates)


def _is_text(password: bytes) -> bool:
    """RFC 4513 section 5.1.3: passwords are sent in UTF-8. What is none would be taken for a server's bad answer."""
    try:
        password.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_below(dn: str, base: str) -> bool:
    try:
        return names.is_below(dn, base)
    except ValueError:
        return False
