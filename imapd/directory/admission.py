"""What is asked of somebody who has proven to be who he is, and before he is let in.

In this order: his account is open; the access lists have him; if he wants to act as somebody else, he is one of those
who may, and the other one could come in as well; the mail of the one whom he acts as is here. The order is the same for
passwords, certificates, SCRAM and tokens, and for a session that is looked at again later.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from imapd.directory.access import Access, Groups, Pattern, listed
from imapd.directory.finder import Finder, denied
from imapd.directory.mailserver import Home
from imapd.directory.names import LoginName
from imapd.directory.person import Person, Status
from imapd.directory.trace import SILENT, Trace
from imapd.model.errors import Refused

log = logging.getLogger("imapd.directory")


class Admission:
    """The rules that come behind the proof."""

    def __init__(
        self,
        finder: Finder,
        groups: Groups,
        now: Callable[[], float],
        access: Access | None = None,
        administrators: Sequence[Pattern] = (),
        home: Home | None = None,
    ) -> None:
        self._finder = finder
        self._groups = groups
        self._now = now
        self._access = access or Access()
        self._administrators = administrators
        self._home = home or Home()

    def renew(self, access: Access) -> None:
        """Other lists are in force from now on."""
        self._access = access

    def admit(
        self, person: Person, authzid: str | None, listener: str, peer: str, trace: Trace = SILENT, tell: bool = True
    ) -> Person:
        """As whom the person comes in; raises Refused, Unreachable. tell: the log of who acts as somebody else."""
        self.require_open(person)
        self._require_access(person, listener, trace)
        acting = person
        if authzid is not None and (other := self._other(person, authzid, trace)) is not None:
            acting = replace(other, acted_by=person.identity)
            self.require_open(acting)
            self._require_access(acting, listener, trace)
            if tell:
                text = "%r in %s, from %s, acts as %r in %s"
                log.warning(text, person.dn, person.directory, peer, acting.dn, acting.directory)
        self._home.require(acting)
        trace("let in as %s, mail file %r", acting.identity, acting.mail_file)
        return acting

    def objection(self, person: Person, listener: str) -> str | None:
        """Why somebody who is logged in may not stay, or None. Asks the directories anew; raises Unreachable."""
        directory = self._finder.of(person)
        if directory is None:
            return f"the directory {person.directory} is not there any more"
        now = directory.again(person)
        if now is None:
            return f"the entry {person.dn!r} is gone from {directory.name}"
        if not directory.scope.trusts(now.dn):
            return f"{directory.name} is not trusted for {now.dn!r} any more: no naming rule fits"
        if (barred := now.barred(self._now())) is not None:
            return f"{now.dn!r} in {directory.name}: {barred}"
        reason = self._access.refusal(now, listener, self._groups, fresh=True)
        return None if reason is None else f"{now.dn!r} in {directory.name}: {reason}"

    def require_open(self, person: Person) -> None:
        """Raises Refused where the account is closed; that it has expired is told to its owner, behind his proof."""
        reason = person.barred(self._now())
        if reason is None:
            return
        reason = f"{person.dn!r} in {person.directory}: {reason}"
        if person.status is Status.ACTIVE:
            raise Refused("The account has expired.", code="EXPIRED", reason=reason)  # RFC 5530
        raise denied(reason)

    def _require_access(self, person: Person, listener: str, trace: Trace) -> None:
        reason = self._access.refusal(person, listener, self._groups, trace=trace)
        if reason is not None:
            raise denied(f"{person.dn!r} in {person.directory}: {reason}")

    def _other(self, person: Person, authzid: str, trace: Trace) -> Person | None:
        """The one whom the person wants to act as and may; None where it is himself. Raises Refused, Unreachable."""
        try:
            found = self._finder.one(LoginName.parse(authzid), trace)
            fault = "nobody has that name"
        except (ValueError, Refused) as error:
            found, fault = None, error.reason if isinstance(error, Refused) else str(error)
        if found is not None and found.person.identity == person.identity:
            return None
        if not self._administrators or listed(person, self._administrators, self._groups, trace=trace) is None:
            fault = "not one of those who may"
        elif found is not None:
            return found.person
        raise Refused(
            "You may not act as somebody else.",
            code="AUTHORIZATIONFAILED",
            reason=f"{person.dn!r} in {person.directory} asked to act as {authzid[:80]!r}: {fault}",
        )
