"""Names and passwords: whose they are, as the directories say or as it is remembered.

1. A right password that is remembered asks nobody; a lock shuts out that one too.
2. Those who ask the same at the same time share one request. One network's request is not another's, because what a
   network has failed with counts.
3. Every password that a directory is asked about has been admitted by the lockout before, and the lockout is told what
   came of it, whatever happens meanwhile.
4. Nothing is remembered of an answer that was not given, and nothing but a right password of an open account.
"""

import hashlib
import logging
import os
from collections.abc import Hashable, Iterable, Sequence

from imapd.directory.authcache import AuthCache, SingleFlight
from imapd.directory.finder import Finder, Found, denied, key_of
from imapd.directory.lockout import LOCKED, Lockout, Try
from imapd.directory.names import LoginName
from imapd.directory.person import Person
from imapd.directory.trace import SILENT, Trace
from imapd.directory.verdict import Verdict
from imapd.model.errors import Refused, Unreachable
from imapd.model.loop import Loop

log = logging.getLogger("imapd.directory")

# Some hashes take time by the square of the password's length; no person types more.
LONGEST_PASSWORD = 1_024


class Passwords:
    """Says whose name and password they are."""

    def __init__(self, find: Finder, cache: AuthCache, lockout: Lockout, loop: Loop) -> None:
        self._find = find
        self._cache = cache
        self._lockout = lockout
        self._loop = loop
        self._flights: SingleFlight[Hashable, Person | Refused] = SingleFlight(loop)
        self._flight_key = os.urandom(32)

    def __call__(self, login_name: str, password: bytes, peer: str, trace: Trace = SILENT) -> Person:
        """The person whose name and password they are, remembered or asked about. Raises Refused, Unreachable."""
        _require_password(password)
        name = _parse(login_name, trace)
        key = key_of(name)
        known = self._cache.get(key, password)
        if known is not None:
            trace("the login is remembered: %r in %s", known.dn, known.directory)
            if self._lockout.locked(known, peer):
                raise denied(f"{known.dn!r} in {known.directory}: {LOCKED}")
            return known
        if wait := self._lockout.wait(peer):
            trace("too much has failed from %s: waits %.1f s", peer, wait)
            self._loop.sleep(wait)
        flight = (key, self._lockout.network(peer), self._digest(password))
        try:
            outcome = self._flights.share(flight, lambda: self._ask(name, password, peer, trace))
        except Unreachable as trouble:
            late = self._cache.get(key, password, late=True)
            if late is None or self._lockout.locked(late, peer):
                raise
            log.warning("%r in %s gets in by a login that is remembered: %s", late.dn, late.directory, trouble)
            return late
        if isinstance(outcome, Refused):
            raise Refused(outcome.text, outcome.code, outcome.reason)
        return outcome

    def rehearse(self, login_name: str, password: bytes | None, peer: str, trace: Trace) -> Person:
        """The same for somebody who only wants to know: nothing is counted, remembered or held up. Without a password:
        as if it were right."""
        if password is not None:
            _require_password(password)
        found = self._find(_parse(login_name, trace), trace)
        if not found:
            raise denied(_NOBODY)
        if password is None and len(found) > 1:
            raise denied("the name is ambiguous without its password: " + _and(one.person.dn for one in found))
        verdicts, reasons = [], []
        for one in found:
            if self._lockout.locked(one.person, peer):
                reasons.append(_blame(one, LOCKED, trace))
            elif password is None:
                verdicts.append((one, Verdict.RIGHT))
            else:
                verdicts.append((one, _verdict(one, password, trace)))
        return _only(verdicts, reasons).person

    def _ask(self, name: LoginName, password: bytes, peer: str, trace: Trace) -> Person | Refused:
        """The person, or why there is none; as a value, because others may wait for the same."""
        try:
            found = self._find(name, trace)
        except Refused as refused:
            self._cost_of_nobody(name, password)
            return refused
        if not found:
            self._cost_of_nobody(name, password)
            self._lockout.failed(peer, key_of(name))
            return denied(_NOBODY)
        try:
            one = self._verified(name, found, password, peer, trace)
        except Refused as refused:
            return refused
        if one.person.barred(self._loop.time()) is None:
            self._cache.put(key_of(name), password, one.person)
        return one.person

    def _verified(self, name: LoginName, found: Sequence[Found], password: bytes, peer: str, trace: Trace) -> Found:
        """The one of them whose password it is; raises Refused, Unreachable."""
        tried: list[tuple[Try, Verdict | None]] = []
        verdicts, reasons = [], []
        try:
            for one in found:
                attempt = self._lockout.begin(one.person, password, peer)
                if not isinstance(attempt, Try):
                    reasons.append(_blame(one, attempt, trace))
                    continue
                tried.append((attempt, None))
                verdict = _verdict(one, password, trace)
                tried[-1] = (attempt, verdict)
                verdicts.append((one, verdict))
        except BaseException:
            tried = [(attempt, None) for attempt, _ in tried]
            raise
        finally:
            good = any(outcome not in (Verdict.WRONG, None) for _, outcome in tried)
            for attempt, outcome in tried:
                # Where it is one's password, it says nothing against the others of that name.
                wrong = outcome is Verdict.WRONG and not good
                self._lockout.end(attempt, True if outcome is Verdict.RIGHT else False if wrong else None)
        if verdicts and not any(verdict is Verdict.RIGHT for _, verdict in verdicts):
            self._cache.drop(key_of(name))  # what is remembered may be old
        return _only(verdicts, reasons)

    def _cost_of_nobody(self, name: LoginName, password: bytes) -> None:
        if directory := self._find.stand_in(name):
            directory.verify(None, password)

    def _digest(self, password: bytes) -> bytes:
        return hashlib.blake2b(password, key=self._flight_key, digest_size=16).digest()


_NOBODY = "no directory that may answer for the name knows it"


def _require_password(password: bytes) -> None:
    if not password or b"\0" in password or len(password) > LONGEST_PASSWORD:
        raise denied("the password is empty, too long or has a NUL")


def _parse(login_name: str, trace: Trace) -> LoginName:
    try:
        name = LoginName.parse(login_name)
    except ValueError as error:
        raise denied(str(error)) from None
    trace("the name %r is %s, looked up as %r", login_name, name.kind.value, name.dn_key or name.key)
    return name


def _verdict(one: Found, password: bytes, trace: Trace) -> Verdict:
    verdict = one.directory.verify(one.person, password, trace)
    trace("%s: the password of %r is %s", one.directory.name, one.person.dn, verdict.value)
    return verdict


def _blame(one: Found, reason: str, trace: Trace) -> str:
    trace("lockout: %r is %s", one.person.dn, reason)
    return f"{one.person.dn!r} in {one.directory.name}: {reason}"


def _only(verdicts: Sequence[tuple[Found, Verdict]], reasons: Sequence[str]) -> Found:
    """The only one whose password it is; reasons: why others were not asked about. Raises Refused."""
    good = [(one, verdict) for one, verdict in verdicts if verdict is not Verdict.WRONG]
    if len(good) > 1:
        raise denied("several people have that name and that password: " + _and(one.person.dn for one, _ in good))
    if not good:
        wrong = [f"wrong password for {one.person.dn!r} in {one.directory.name}" for one, _ in verdicts]
        raise denied("; ".join([*reasons, *wrong]))
    one, verdict = good[0]
    reason = f"the directory {one.directory.name} says of {one.person.dn!r}: {verdict.value}"
    if verdict in (Verdict.EXPIRED, Verdict.MUST_CHANGE):
        raise Refused("The password has expired.", code="EXPIRED", reason=reason)  # RFC 5530
    if verdict is not Verdict.RIGHT:
        raise denied(reason)
    return one


def _and(dns: Iterable[str]) -> str:
    return " and ".join(repr(dn) for dn in dns)
