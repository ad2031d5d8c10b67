"""The directories in their order, and what a login is.

Rules of a login, in this order:

1. A name or password that is garbage or empty is refused before any directory is asked.
2. Only directories in whose scope the name lies are asked, in order. A directory that does not answer ends the login
   with Unreachable: the next one is never asked instead, it might know a namesake.
3. The first directory that knows the name decides. Two entries for one name are refused, never the first one taken;
   a wrong password does not try the next directory.
4. The entry has to be one that its directory may speak for, its password right and the account open.
5. Whatever is refused is refused in the same words and after the same delay, counted from the beginning of the login,
   so that neither answer nor time tells which names there are; an unknown name costs a hash as well. The true reason
   is in Refused.reason, for the log. Only an account that has expired is called so, and only behind its password.
"""

import logging
import random
from collections.abc import Callable, Sequence

from imapd.directory.interface import Ambiguous as Ambiguous
from imapd.directory.interface import Directory as Directory
from imapd.directory.names import LoginName
from imapd.directory.person import Person, Status
from imapd.directory.verdict import Verdict
from imapd.model.errors import Refused
from imapd.model.loop import Loop

log = logging.getLogger("imapd.directory")

# Long enough to make guessing over one connection useless, short enough for somebody who mistyped.
FAILURE_DELAY = 2.0
_JITTER = 0.25

# Some hashes take time by the square of the password's length; no person types more.
LONGEST_PASSWORD = 1_024


class DirectoryChain:
    """All directories of a site as one."""

    def __init__(
        self,
        directories: Sequence[Directory],
        loop: Loop,
        delay: float = FAILURE_DELAY,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._directories = sorted(directories, key=lambda directory: directory.order)
        self._loop = loop
        self._delay = delay
        self._jitter = jitter

    def authenticate(self, login_name: str, password: bytes, peer: str, authzid: str | None = None) -> Person:
        """The person who proves to be one; raises Refused, after a delay, or Unreachable.

        peer is the client's address, for the log. authzid: as whom the client wants to act; only as himself.
        """
        started = self._loop.monotonic()
        try:
            person = self._authenticate(login_name, password)
            if authzid is not None:
                self._require_same(person, authzid)
            return person
        except Refused as refused:
            log.debug("login of %r from %s refused: %s", login_name, peer, refused.reason)
            self._hold_up(started)
            raise

    def lookup(self, name: str) -> Person | None:
        """The person with a name, without proof; raises Refused where there is more than one, and Unreachable."""
        try:
            found = self._find(LoginName.parse(name))
        except ValueError:
            return None
        return found[1] if found else None

    def close(self) -> None:
        """Close all directories."""
        for directory in self._directories:
            directory.close()

    def _authenticate(self, login_name: str, password: bytes) -> Person:
        if not password or b"\0" in password or len(password) > LONGEST_PASSWORD:
            raise _denied("the password is empty, too long or has a NUL")
        try:
            name = LoginName.parse(login_name)
        except ValueError as error:
            raise _denied(str(error)) from None
        try:
            found = self._find(name)
        except Refused:
            self._cost_of_nobody(name, password)
            raise
        if found is None:
            self._cost_of_nobody(name, password)
            raise _denied("no directory that may answer for the name knows it")
        directory, person = found
        if directory.verify(person, password) is not Verdict.RIGHT:
            raise _denied(f"wrong password for {person.dn!r} in {directory.name}")
        self._require_open(person)
        return person

    def _find(self, name: LoginName) -> tuple[Directory, Person] | None:
        for directory in self._in_scope(name):
            found = directory.find(name)
            if found is None:
                continue
            if isinstance(found, Ambiguous):
                which = " and ".join(repr(dn) for dn in found.dns[:2]) + (" and others" if len(found.dns) > 2 else "")
                raise _denied(f"the name is ambiguous in {directory.name}: {which}")
            if not directory.scope.trusts(found.dn):
                raise _denied(f"{directory.name} is not trusted for {found.dn!r}: no naming rule fits")
            return directory, found
        return None

    def _in_scope(self, name: LoginName) -> list[Directory]:
        return [
            directory
            for directory in self._directories
            if "credentials" in directory.scope.trusted_for and directory.scope.admits(name)
        ]

    def _cost_of_nobody(self, name: LoginName, password: bytes) -> None:
        for directory in (self._in_scope(name) or self._directories)[:1]:
            directory.verify(None, password)

    def _require_open(self, person: Person) -> None:
        reason = person.barred(self._loop.time())
        if reason is None:
            return
        if person.status is Status.ACTIVE:
            raise Refused("The account has expired.", code="EXPIRED", reason=f"{person.dn!r}: {reason}")  # RFC 5530
        raise _denied(f"{person.dn!r}: {reason}")

    def _require_same(self, person: Person, authzid: str) -> None:
        try:
            found = self._find(LoginName.parse(authzid))
        except (ValueError, Refused):
            found = None
        if found is None or found[1].identity != person.identity:
            raise Refused(
                "You may act as yourself only.",
                code="AUTHORIZATIONFAILED",
                reason=f"{person.dn!r} asked to act as {authzid[:80]!r}",
            )

    def _hold_up(self, started: float) -> None:
        """Wait until the delay has passed since the beginning, so that the work done does not show."""
        until = started + self._delay * self._jitter(1 - _JITTER, 1 + _JITTER)
        left = until - self._loop.monotonic()
        if left > 0:
            self._loop.sleep(left)


def _denied(reason: str) -> Refused:
    return Refused("Authentication failed.", code="AUTHENTICATIONFAILED", reason=reason)
