"""Whom a login name means, or a certificate, over all directories.

Only directories in whose scope a name lies are asked, in their order; one that does not answer ends the search with
Unreachable, because it might know a namesake. What is found has to be something that its directory may speak for.

Where ambiguity is refused, the first directory that knows the name decides, and two entries of it are nobody's name.
Where the password decides, all directories are asked, and a few entries may be meant.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from imapd.directory.authcache import Expiring
from imapd.directory.certificate import ClientCertificate
from imapd.directory.interface import Ambiguous, Directory
from imapd.directory.names import LoginName
from imapd.directory.person import Person
from imapd.directory.trace import SILENT, Trace
from imapd.model.errors import Refused
from imapd.model.loop import Loop

# How long it is remembered that nobody has a name. Somebody who has just been given one waits as long at most.
NOBODY = 15.0

# Each of those whom a name may mean is asked for his password, and the directory counts it against him.
MOST_CANDIDATES = 3


class Ambiguity(Enum):
    """What is done about a name that several people have."""

    REFUSE = "refuse"
    PASSWORD_DECIDES = "password-decides"  # noqa: S105


class Found(NamedTuple):
    """Somebody, and the directory that knows him."""

    directory: Directory
    person: Person


class Finder:
    """Looks people up."""

    def __init__(self, directories: Sequence[Directory], loop: Loop, ambiguity: Ambiguity, nobody: float = NOBODY):
        self._directories = sorted(directories, key=lambda directory: directory.order)
        self._ambiguity = ambiguity
        self._nobody: Expiring[object, bool] = Expiring(loop, nobody)

    def __call__(self, name: LoginName, trace: Trace = SILENT) -> list[Found]:
        """Whom the name may mean: nobody, somebody, or a few whose passwords decide. Raises Refused, Unreachable."""
        key = key_of(name)
        if self._nobody.get(key):
            trace("nobody had that name a moment ago")
            return []
        found: list[Found] = []
        for directory in self._in_scope(name, trace):
            found += self._ask(directory, name, trace)
            if found and self._ambiguity is Ambiguity.REFUSE:
                break
        if len(found) > MOST_CANDIDATES:
            raise denied(f"the name is ambiguous: {_few([one.person.dn for one in found])}")
        if not found:
            self._nobody.put(key, True)
        return found

    def one(self, name: LoginName, trace: Trace = SILENT) -> Found | None:
        """The only one whom the name can mean, where no password decides. Raises Refused, Unreachable."""
        found = self(name, trace)
        if len(found) > 1:
            raise denied(f"the name is ambiguous: {_few([one.person.dn for one in found])}")
        return found[0] if found else None

    def owner(self, certificate: ClientCertificate, trace: Trace = SILENT) -> Found:
        """The one person over all directories whose entry holds the certificate. Raises Refused, Unreachable."""
        owners = []
        for directory in self._directories:
            if "certificates" not in directory.scope.trusted_for:
                trace("%s: not asked, it is not trusted for certificates", directory.name)
                continue
            found = directory.find_certificate(certificate, trace)
            if isinstance(found, Ambiguous):
                raise denied(f"several entries of {directory.name} have the certificate {certificate.fingerprint}")
            if found is not None:
                owners.append(_trusted(directory, found, trace))
        if len(owners) != 1:
            many = "several directories have" if owners else "no directory that is trusted for certificates has"
            raise denied(f"{many} the certificate of {certificate.subject!r}, {certificate.fingerprint}")
        return owners[0]

    def of(self, person: Person) -> Directory | None:
        """The directory that a person is of."""
        return next((directory for directory in self._directories if directory.name == person.directory), None)

    def stand_in(self, name: LoginName) -> Directory | None:
        """A directory that takes as long over nobody as it would have taken over somebody of that name."""
        return next(iter(self._in_scope(name) or self._directories), None)

    def flush(self) -> None:
        """Forget who was not there."""
        self._nobody.flush()

    def _in_scope(self, name: LoginName, trace: Trace = SILENT) -> list[Directory]:
        asked = []
        for directory in self._directories:
            if "credentials" not in directory.scope.trusted_for:
                trace("%s: not asked, it is not trusted for credentials", directory.name)
            elif not directory.scope.admits(name):
                trace("%s: not asked, it does not answer for such names", directory.name)
            else:
                asked.append(directory)
        return asked

    def _ask(self, directory: Directory, name: LoginName, trace: Trace) -> list[Found]:
        found = directory.find(name, trace)
        if found is None:
            trace("%s: knows nobody of that name", directory.name)
            return []
        if isinstance(found, Person):
            return [_trusted(directory, found, trace)]
        # Fewer persons than entries: the directory has not looked at all of them.
        whole = len(found.persons) == len(found.dns) <= MOST_CANDIDATES
        if self._ambiguity is Ambiguity.REFUSE or not whole:
            raise denied(f"the name is ambiguous in {directory.name}: {_few(found.dns)}")
        trace("%s: the password decides between %s", directory.name, _few(found.dns))
        return [_trusted(directory, person, trace) for person in found.persons]


def key_of(name: LoginName) -> tuple[object, ...]:
    """What spellings of one name have in common."""
    return name.kind, name.attribute, name.dn_key or name.key, name.abbreviated


def denied(reason: str) -> Refused:
    """What everybody is told who does not get in; the reason is for the log."""
    return Refused("Authentication failed.", code="AUTHENTICATIONFAILED", reason=reason)


def _trusted(directory: Directory, person: Person, trace: Trace) -> Found:
    if not directory.scope.trusts(person.dn):
        raise denied(f"{directory.name} is not trusted for {person.dn!r}: no naming rule fits")
    rules = " fits a naming rule" if directory.scope.naming_rules else ""
    trace("%s: found %r%s, who is %s", directory.name, person.dn, rules, person.identity)
    return Found(directory, person)


def _few(dns: Sequence[str]) -> str:
    return " and ".join(repr(dn) for dn in dns[:2]) + (" and others" if len(dns) > 2 else "")
