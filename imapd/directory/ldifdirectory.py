"""A directory that is an LDIF file: for a first run without a server, and for people who must get in when all is down.

Promises:

1. The file is read whole and understood whole before anything of it counts. At the start a file that cannot be taken
   is an LdifError; later the people stay as they were, and one line of the log says why.
2. A changed file (time, size or inode) is seen at the next look-up. A program that replaces files by rename is safe;
   one that writes in place may be seen half way: a file that ends within a line and is still fresh is left alone.
3. Nobody shares a login value that has to be unique (uid and mail, unless mapped otherwise), a DN or a unique id with
   somebody else: such a file is not taken. Names that people share in life (cn, sn) are ambiguous when they are typed.
4. Look-ups ignore case and superfluous spaces, as LDAP does, and cost a few dictionary reads.
5. Groups in the file count as they do in LDAP. A name in memberUid means somebody of this file only.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from imapd.directory import dn as names
from imapd.directory import ldif, scram
from imapd.directory.certificate import ClientCertificate
from imapd.directory.groups import Groups
from imapd.directory.interface import Ambiguous, ReplicaState
from imapd.directory.ldif import LdifError
from imapd.directory.names import Level, LoginName, Scope
from imapd.directory.person import AttributeMap, Person
from imapd.directory.stored import StoredPasswords
from imapd.directory.trace import SILENT, Trace
from imapd.directory.verdict import Verdict
from imapd.model.loop import Loop

log = logging.getLogger("imapd.directory")

# A file that does not end with a line's end is taken for half written while it is younger than this.
_SETTLED = 2.0
# Two writes within one tick of the file system's clock look alike; a file read this soon after is read again.
_TICK = 0.1


class _Stamp(NamedTuple):
    """What tells that a file is another one now."""

    mtime_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "_Stamp":
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)

    def age(self, now: float) -> float:
        """Seconds since the last write; a time in the future counts as old, or a wrong clock would cost a lot."""
        age = now - self.mtime_ns / 1e9
        return age if age > -_TICK else float("inf")


@dataclass(slots=True)
class People:
    """The persons of one file, by their names, ids and certificates, and its groups."""

    by_dn: dict[str, Person] = field(default_factory=dict)
    by_uid: dict[str, Person] = field(default_factory=dict)
    by_value: dict[str, dict[str, list[Person]]] = field(default_factory=dict)
    by_certificate: dict[bytes, list[Person]] = field(default_factory=dict)
    groups: Groups = field(default_factory=Groups)

    @classmethod
    def read(cls, data: bytes, path: str, directory: str, attribute_map: AttributeMap, level: Level) -> "People":
        """The persons of a file's text; LdifError where it cannot be taken."""
        people = cls()
        taken: dict[tuple[str, str], ldif.Entry] = {}
        for entry in ldif.read(data, path):
            attributes = entry.attributes()
            _claim(taken, "dn", names.key(entry.dn), entry, path)
            people.groups.add(entry.dn, attributes, attribute_map)
            if not attribute_map.is_person(attributes):
                continue
            person = attribute_map.person(directory, entry.dn, attributes)
            _claim(taken, "unique id", person.uid, entry, path)
            for _, key in attribute_map.unique_values(attributes):
                _claim(taken, "login name", key, entry, path)
            people._add(person, attribute_map.login_values(attributes, level))
        return people

    def _add(self, person: Person, values: Iterator[tuple[str, str]]) -> None:
        self.by_dn[names.key(person.dn)] = person
        self.by_uid[person.uid] = person
        for certificate in set(person.certificates):
            self.by_certificate.setdefault(certificate, []).append(person)
        for attribute, key in values:
            self.by_value.setdefault(attribute, {}).setdefault(key, []).append(person)

    def matching(self, name: LoginName, level: Level) -> list[Person]:
        """Everybody whom a name may mean, each once."""
        found: list[Person] = []
        if name.dn_key is not None and (not name.abbreviated or level is Level.MORE):
            found += filter(None, [self.by_dn.get(name.dn_key)])
        if name.dn_key is None or name.abbreviated:
            for attribute, values in self.by_value.items():
                if name.attribute in (None, attribute):
                    found += values.get(name.key, ())
        return list({person.uid: person for person in found}.values())

    def __len__(self) -> int:
        return len(self.by_dn)

    def __iter__(self) -> Iterator[Person]:
        return iter(self.by_dn.values())


def _claim(taken: dict[tuple[str, str], ldif.Entry], kind: str, key: str, entry: ldif.Entry, path: str) -> None:
    other = taken.setdefault((kind, key), entry)
    if other is not entry:
        raise LdifError(path, entry.line, f"the {kind} {key!r} of {entry.dn!r} is also that of {other.dn!r}")


class LdifDirectory:
    """Persons of an LDIF file; a Directory. offers_scram: None is yes where the file has a verifier for everybody."""

    def __init__(
        self,
        name: str,
        path: str,
        attribute_map: AttributeMap,
        loop: Loop,
        *,
        order: int = 1,
        scope: Scope | None = None,
        level: Level = Level.FEWER,
        offers_scram: bool | None = None,
    ) -> None:
        self.name = name
        self._offers_scram = offers_scram
        self._all_have_verifiers = False
        self.order = order
        self.scope = scope if scope is not None else Scope()
        self._path = path
        self._map = attribute_map
        self._loop = loop
        self._level = level
        self._loading = False
        self._complaint: str | None = None
        self._warned_mode: int | None = None
        self._passwords = StoredPasswords(name, loop)
        self._stamp: _Stamp | None = None
        data, status = _read_file(path)
        self._take(self._understand(data), status)

    @property
    def offers_scram(self) -> bool:
        """Whether everybody who has a password has a verifier, unless it was configured."""
        return self._all_have_verifiers if self._offers_scram is None else self._offers_scram

    def find(self, name: LoginName, trace: Trace = SILENT) -> Person | Ambiguous | None:
        """The person with this name in the file as it is now."""
        self._refresh()
        return self._only(self._people.matching(name, self._level), trace)

    def find_certificate(self, certificate: ClientCertificate, trace: Trace = SILENT) -> Person | Ambiguous | None:
        """The person whose entry holds this certificate."""
        self._refresh()
        return self._only(self._people.by_certificate.get(certificate.der, []), trace)

    def verify(self, person: Person | None, password: bytes, trace: Trace = SILENT) -> Verdict:
        """Whether the password is one of the person's."""
        right = self._passwords.fits(person, password)
        trace("%s: the password is %s", self.name, "right" if right else "wrong")
        return Verdict.RIGHT if right else Verdict.WRONG

    def scram(self, person: Person) -> scram.ScramVerifier | None:
        """The first of the person's passwords that is a verifier."""
        return scram.among(person.passwords)

    def member(self, person: Person, group: str, trace: Trace = SILENT) -> bool:
        """Whether the person is in a group of the file."""
        self._refresh()
        short_name = person.short_name if person.directory == self.name else None
        return self._people.groups.has(group, person.dn, short_name)

    def again(self, person: Person) -> Person | None:
        """The same entry in the file as it is now."""
        self._refresh()
        return self._people.by_uid.get(person.uid)

    def status(self) -> tuple[ReplicaState, ...]:
        """The file, which is always there: what was read once stays."""
        return (ReplicaState(self._path, up=True, remark=self._complaint or f"{len(self._people)} people"),)

    def close(self) -> None:
        """Nothing is held open."""

    def __len__(self) -> int:
        return len(self._people)

    def _only(self, found: list[Person], trace: Trace) -> Person | Ambiguous | None:
        trace("%s: %s", self.name, " and ".join(person.dn for person in found) or "nobody")
        if len(found) > 1:
            return Ambiguous(tuple(person.dn for person in found), tuple(found))
        return found[0] if found else None

    def _refresh(self) -> None:
        """Read the file again if it is another one than the last that was looked at."""
        if self._loading:
            return  # somebody else is at it; what is there is good until then
        self._loading = True
        try:
            if _Stamp.of(os.stat(self._path)) != self._stamp:
                self._reload()
        except OSError as error:
            self._complain(f"{self._path}: {error.strerror}")
        finally:
            self._loading = False

    def _reload(self) -> None:
        try:
            data, status = self._loop.offload(_read_file, self._path)
        except LdifError as error:
            self._complain(str(error))
            return
        stamp = _Stamp.of(status)
        if data and not data.endswith(b"\n") and stamp.age(self._loop.time()) < _SETTLED:
            return  # being written; looked at again next time
        try:
            people = self._loop.offload(self._understand, data)
        except LdifError as error:
            self._complain(str(error))
            self._stamp = self._trusted(stamp)
            return
        self._take(people, status)
        log.info("directory %s: %s read again, %d people", self.name, self._path, len(people))

    def _understand(self, data: bytes) -> People:
        return People.read(data, self._path, self.name, self._map, self._level)

    def _take(self, people: People, status: os.stat_result) -> None:
        self._stamp = self._trusted(_Stamp.of(status))
        self._people = people
        self._complaint = None
        stored = [person.passwords for person in people if person.passwords]
        self._all_have_verifiers = bool(stored) and all(scram.among(passwords) for passwords in stored)
        self._warn_of_mode(people, status.st_mode)
        any(self._passwords.resemble(person) for person in people)

    def _trusted(self, stamp: _Stamp) -> _Stamp | None:
        """The stamp to compare with next time; None has the file read again."""
        return None if stamp.age(self._loop.time()) < _TICK else stamp

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            log.error("directory %s: %s; its people stay as they were", self.name, text)
        self._complaint = text

    def _warn_of_mode(self, people: People, mode: int) -> None:
        if mode & 0o006 and mode != self._warned_mode and any(person.passwords for person in people):
            log.warning(
                "%s holds passwords and everybody may %s it; chmod 600 would do",
                self._path,
                "write" if mode & 0o002 else "read",
            )
        self._warned_mode = mode


def _read_file(path: str) -> tuple[bytes, os.stat_result]:
    """The octets of a file and its status from before they were read: a write in between is seen next time."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            return file.read(), status
    except OSError as error:
        raise LdifError(path, None, f"it cannot be read: {error.strerror}") from None
