"""The directories in their order, and what a login is.

Rules of a login, in this order:

1. A name or password that is garbage or empty is refused before any directory is asked.
2. Who got in by the same name and password a moment ago gets in again without a question (authcache). A network from
   which much has failed waits before anybody is asked (lockout).
3. The finder says whom the name means. A directory that does not answer ends the login with Unreachable: the next one
   is never asked instead, it might know a namesake. Nobody, too many, or somebody whom his directory may not speak for
   are refused.
4. The lockout says whether the password may be asked about; the person's own directory says whether it is right. A
   wrong one does not try the next directory. Where the password decides between a few, it has to be one's alone.
5. Who has proven to be who he is has to be admitted (admission): an open account, the access lists, acting as somebody
   else, mail that is here.
6. Whatever is refused is refused in the same words and after the same delay, counted from the beginning of the login,
   so that neither answer nor time tells which names there are; an unknown name costs a hash as well. The true reason
   is in Refused.reason, for the log. Only behind the right proof is anybody told more: that the account has expired,
   that the mail is elsewhere, that he may not act as somebody else.
7. Whatever else proves somebody's name ends like a password: SCRAM, a certificate, a token. A certificate is looked for
   in every directory that is trusted for certificates, and has to be one person's over all of them. A name without a
   verifier for SCRAM gets one made up, so that its first challenge does not tell that there is none.
"""

import copy
import logging
import os
import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imapd.directory import scram
from imapd.directory.access import Access, Groups, Pattern
from imapd.directory.admission import Admission
from imapd.directory.authcache import AuthCache, Expiring
from imapd.directory.certificate import ClientCertificate
from imapd.directory.finder import Ambiguity, Finder, denied, key_of
from imapd.directory.interface import Ambiguous as Ambiguous
from imapd.directory.interface import Directory as Directory
from imapd.directory.lockout import Lockout, Try
from imapd.directory.mailserver import Elsewhere, Home
from imapd.directory.names import LoginName
from imapd.directory.person import Person
from imapd.directory.proof import Passwords
from imapd.directory.sasl import ScramProof
from imapd.directory.scram import ScramVerifier
from imapd.directory.trace import SILENT, Trace
from imapd.directory.tries import Rules
from imapd.model.errors import Refused
from imapd.model.loop import Loop

if TYPE_CHECKING:
    from imapd.directory.tokens import Issuer

log = logging.getLogger("imapd.directory")

# Long enough to make guessing over one connection useless, short enough for somebody who mistyped.
FAILURE_DELAY = 2.0
_JITTER = 0.25

# How long people who were looked up without a proof, and verifiers for SCRAM, are remembered.
_LOOKED_UP = 60.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the administrator wants, besides the directories. Times in seconds.

    cache: how long a login is remembered; grace: how much longer where the directory does not answer then.
    administrators: who may act as others. issuer: whose tokens are believed. secret: what made-up verifiers are made
    of; the same in all workers.
    """

    delay: float = FAILURE_DELAY
    ambiguity: Ambiguity = Ambiguity.REFUSE
    cache: float = 0.0
    grace: float = 0.0
    access: Access = field(default_factory=Access)
    administrators: tuple[Pattern, ...] = ()
    home: Home = field(default_factory=Home)
    issuer: "Issuer | None" = None
    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    scram_iterations: int = scram.ITERATIONS


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who is about to prove by SCRAM that a name is his. person is None where nobody could, and fault says why."""

    verifier: ScramVerifier
    person: Person | None = field(repr=False)
    fault: str = ""


class DirectoryChain:
    """All directories of a site as one, seen from a listener; `at` gives the view of another one."""

    def __init__(
        self,
        directories: Sequence[Directory],
        loop: Loop,
        policy: Policy | None = None,
        lockout: Lockout | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        policy = policy or Policy()
        self._directories = sorted(directories, key=lambda directory: directory.order)
        self._loop = loop
        self._policy = policy
        self._jitter = jitter
        self._listener = ""
        self._lockout = lockout or Lockout(loop, Rules())
        self._looked_up: Expiring[Hashable, Person] = Expiring(loop, _LOOKED_UP)
        self._verifiers: Expiring[Hashable, Candidate] = Expiring(loop, _LOOKED_UP)
        self._find = Finder(self._directories, loop, policy.ambiguity)
        self._cache = AuthCache(loop, policy.cache, policy.grace)
        self._passwords = Passwords(self._find, self._cache, self._lockout, loop)
        self._groups = Groups(self._directories, loop, stale=policy.cache + policy.grace)
        self._admission = Admission(
            self._find, self._groups, loop.time, policy.access, policy.administrators, policy.home
        )

    def at(self, listener: str) -> "DirectoryChain":
        """The same chain, for those who come in by this listener."""
        view = copy.copy(self)
        view._listener = listener
        return view

    @property
    def directories(self) -> Sequence[Directory]:
        """The directories, in their order."""
        return self._directories

    @property
    def lockout(self) -> Lockout:
        """The failures and locks, for the administrator."""
        return self._lockout

    # -- proofs: each gives the person as whom the client comes in, or raises Refused, after a delay, or Unreachable.
    # -- peer is the client's address. authzid: as whom he wants to act.

    def authenticate(
        self,
        login_name: str,
        password: bytes,
        peer: str,
        authzid: str | None = None,
        certificate: ClientCertificate | None = None,
        trace: Trace = SILENT,
    ) -> Person:
        """A name and its password. certificate: has to be the same person's, where it is given."""
        with self._held_up(login_name, peer):
            person = self._passwords(login_name, password, peer, trace)
            self._require_owner(person, certificate, trace)
            return self._admission.admit(person, authzid, self._listener, peer, trace)

    @property
    def offers_scram(self) -> bool:
        """Whether people can be asked to prove by SCRAM who they are."""
        asked = [one for one in self._directories if "credentials" in one.scope.trusted_for]
        return all(directory.offers_scram for directory in asked)

    def candidate(self, login_name: str) -> Candidate:
        """Who is about to prove by SCRAM that he has a name; any name has somebody, or seems to."""
        key, fault = login_name, "no directory that may answer for the name knows it"
        try:
            name = LoginName.parse(login_name)
            key = name.key
            if known := self._verifiers.get(key_of(name)):
                return known
            if found := self._find.one(name):
                if verifier := found.directory.scram(found.person):
                    candidate = Candidate(verifier, found.person)
                    self._verifiers.put(key_of(name), candidate)
                    return candidate
                fault = f"{found.directory.name} has no verifier for SCRAM of {found.person.dn!r}"
        except ValueError as error:
            fault = str(error)
        except Refused as refused:
            fault = refused.reason
        return Candidate(scram.made_up(self._policy.secret, key, self._policy.scram_iterations), None, fault)

    def authenticate_scram(
        self, proof: ScramProof, peer: str, certificate: ClientCertificate | None = None, trace: Trace = SILENT
    ) -> Person:
        """A proof of SCRAM, right or wrong, for somebody who was a candidate."""
        with self._held_up(proof.authcid, peer):
            assert isinstance(proof.candidate, Candidate)
            person = proof.candidate.person
            if person is None:
                self._lockout.failed(peer, proof.authcid)
                raise denied(proof.candidate.fault)
            # A wrong proof does not tell which password it was made of; each counts.
            tried = self._lockout.begin(person, os.urandom(16), peer)
            if not isinstance(tried, Try):
                raise denied(f"{person.dn!r} in {person.directory}: {tried}")
            self._lockout.end(tried, proof.fault is None)
            if proof.fault is not None:
                raise denied(f"{person.dn!r} in {person.directory}: {proof.fault}")
            self._require_owner(person, certificate, trace)
            return self._admission.admit(person, proof.authzid, self._listener, peer, trace)

    def authenticate_certificate(
        self, certificate: ClientCertificate, peer: str, authzid: str | None = None, trace: Trace = SILENT
    ) -> Person:
        """A certificate that TLS has found valid."""
        with self._held_up(certificate.subject, peer):
            person = self._find.owner(certificate, trace).person
            return self._admission.admit(person, authzid, self._listener, peer, trace)

    def authenticate_token(self, token: str, user: str | None, peer: str, trace: Trace = SILENT) -> Person:
        """A token that somebody was issued. user: whom the client names; himself, or as whom he wants to act."""
        with self._held_up(user or "", peer):
            if self._policy.issuer is None:
                raise denied("no tokens are taken")
            try:
                login_name = self._policy.issuer.holder(token)
                found = self._find.one(LoginName.parse(login_name), trace)
            except ValueError as error:
                raise denied(str(error)) from None
            if found is None:
                raise denied(f"the token is for {login_name[:80]!r}, whom no directory that may answer for it knows")
            return self._admission.admit(found.person, user, self._listener, peer, trace)

    # -- other questions

    def explain(
        self,
        login_name: str,
        peer: str,
        trace: Trace,
        password: bytes | None = None,
        authzid: str | None = None,
        certificate: ClientCertificate | None = None,
    ) -> Person:
        """What a login would come to, told step by step, at once and without a trace in any count or memory. Without
        a password: as if it were right. Raises Refused, Unreachable, as the login would."""
        person = self._passwords.rehearse(login_name, password, peer, trace)
        self._require_owner(person, certificate, trace)
        return self._admission.admit(person, authzid, self._listener, peer, trace, tell=False)

    def explain_certificate(
        self, certificate: ClientCertificate, peer: str, trace: Trace, authzid: str | None = None
    ) -> Person:
        """The same for a login by a certificate."""
        person = self._find.owner(certificate, trace).person
        return self._admission.admit(person, authzid, self._listener, peer, trace, tell=False)

    def renew(self, access: Access) -> None:
        """Other access lists are in force from now on, by whatever listener."""
        self._admission.renew(access)
        self._groups.flush()

    def objection(self, person: Person) -> str | None:
        """Why somebody who is logged in may not stay, for the log, or None. Asks anew; raises Unreachable."""
        return self._admission.objection(person, self._listener)

    def lookup(self, name: str) -> Person | None:
        """The person with a name, without proof, as of the last minute. Raises Refused where there is more than one,
        and Unreachable."""
        try:
            parsed = LoginName.parse(name)
        except ValueError:
            return None
        key = key_of(parsed)
        known = self._looked_up.get(key)
        if known is None and (found := self._find.one(parsed)):
            known = found.person
            self._looked_up.put(key, known)
        return known

    def is_at_home(self, person: Person) -> bool:
        """Whether the person's mail is kept here: it is, or it would be served here wherever it is."""
        return self._policy.home.elsewhere is Elsewhere.SERVE or self._policy.home.is_here(person)

    def flush(self, name: str | None = None) -> int:
        """Forget what is remembered, of whoever is called so or of all; tells how many logins that were. Asks nobody,
        so it is of use where a directory is down."""
        self._find.flush()
        self._groups.flush()
        self._looked_up.flush()
        self._verifiers.flush()
        return self._cache.flush(lambda person: name is None or person.is_called(name))

    def close(self) -> None:
        """Close all directories."""
        try:
            for directory in self._directories:
                directory.close()
        finally:
            self._lockout.close()

    # -- what they have in common

    def _require_owner(self, person: Person, certificate: ClientCertificate | None, trace: Trace) -> None:
        if certificate is None:
            return
        owner = self._find.owner(certificate, trace).person
        if owner.identity != person.identity:
            raise denied(f"the certificate is that of {owner.dn!r}, the password that of {person.dn!r}")

    @contextmanager
    def _held_up(self, who: str, peer: str) -> Iterator[None]:
        """Log a refusal, and keep it until its time has come, so that the work done does not show."""
        started = self._loop.monotonic()
        try:
            yield
        except Refused as refused:
            log.debug("login of %r from %s by %r refused: %s", who, peer, self._listener, refused.reason)
            left = started + self._policy.delay * self._jitter(1 - _JITTER, 1 + _JITTER) - self._loop.monotonic()
            if left > 0:
                self._loop.sleep(left)
            raise
