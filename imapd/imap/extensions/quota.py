"""QUOTA, RFC 9208 and RFC 2087: how much an account may hold, and how much it does hold.

    getquota      = "GETQUOTA" SP quota-root-name
    getquotaroot  = "GETQUOTAROOT" SP mailbox
    setquota      = "SETQUOTA" SP quota-root-name SP setquota-list
    setquota-list = "(" [resource-name SP number64 *(SP resource-name SP number64)] ")"

All mailboxes of an account have one quota root, which is called "" as in the examples of the RFCs. Its resources are
STORAGE, in units of 1,024 octets, and MESSAGE; the limits themselves are the store's business (mailstore/quota).

SETQUOTA is for administrators: for the session of somebody who acts as the person whose account it is (the
authorization identity of SASL). Only such a session is told QUOTASET. In a session of his own an administrator is a
person like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from imapd.imap.command import LOGGED_IN, Command, Running
from imapd.imap.commands.names import read_name
from imapd.imap.extension import Extension, StatusItem
from imapd.mailstore.quota import Limits
from imapd.model.errors import BadSyntax, Refused
from imapd.wire.responses import QuotaResponse, QuotaRootResponse

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.mailstore.store import MailboxStatus
    from imapd.wire.scanner import Scanner

ROOT: Final = ""
UNIT: Final = 1024
"""Octets in a unit of STORAGE (RFC 9208 section 5.1)."""
MOST: Final = (1 << 63) - 1
RESOURCES: Final = ("STORAGE", "MESSAGE")


@dataclass(frozen=True, slots=True)
class GetQuota(Command):
    """GETQUOTA (RFC 9208 section 4.1.1)."""

    name = "GETQUOTA"
    states = LOGGED_IN

    root: str

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        root = _read_root(scan)
        scan.end()
        return cls(root)

    def run(self, session: Session) -> Running:
        _require_root(self.root)
        yield _quota(session)
        return None


@dataclass(frozen=True, slots=True)
class GetQuotaRoot(Command):
    """GETQUOTAROOT (RFC 9208 section 4.1.2); the mailbox need not be there."""

    name = "GETQUOTAROOT"
    states = LOGGED_IN

    mailbox: str

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        mailbox = read_name(scan)
        scan.end()
        return cls(mailbox)

    def run(self, session: Session) -> Running:
        yield QuotaRootResponse(self.mailbox, (ROOT,))
        yield _quota(session)
        return None


@dataclass(frozen=True, slots=True)
class SetQuota(Command):
    """SETQUOTA (RFC 9208 section 4.1.3): resources that are not named have no limit from then on."""

    name = "SETQUOTA"
    states = LOGGED_IN

    root: str
    resources: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        root = _read_root(scan)
        scan.sp()
        resources = scan.parenthesized(lambda: _read_resource(scan))
        scan.end()
        if len(dict(resources)) < len(resources):
            raise BadSyntax("SETQUOTA takes a resource once")
        return cls(root, tuple(resources))

    def run(self, session: Session) -> Running:
        if not session.by_administrator:
            raise Refused("Limits are set by administrators.", code="NOPERM")
        _require_root(self.root)
        limits = self._limits()
        session.account.set_quota(limits)
        person = session.person
        session.log("quota_set", by=person.acted_by, octets=limits.storage_octets, messages=limits.messages)
        yield _quota(session)
        return None

    def _limits(self) -> Limits:
        wanted = dict(self.resources)
        for name in wanted:
            if name not in RESOURCES:
                raise Refused(f"There is no limit for {name} here.", code="CANNOT")
        storage = wanted.get("STORAGE")
        return Limits(None if storage is None else min(storage, MOST // UNIT) * UNIT, wanted.get("MESSAGE"))


def _read_root(scan: Scanner) -> str:
    return scan.astring().decode("utf-8", "replace")


def _read_resource(scan: Scanner) -> tuple[str, int]:
    name = scan.keyword()
    scan.sp()
    return name, scan.number64()


def _require_root(root: str) -> None:
    if root != ROOT:
        raise Refused("There is no such quota root.", code="NONEXISTENT")


def _quota(session: Session) -> QuotaResponse:
    """The QUOTA response; a resource without a limit is left out, as section 4.2.1 says."""
    session.account.catch_up()  # MESSAGE is to be exact (section 5.2)
    state = session.account.quota()
    resources: list[tuple[str, int, int]] = []
    if state.limits.storage_octets is not None:
        resources.append(("STORAGE", _units(state.octets), _units(state.limits.storage_octets)))
    if state.limits.messages is not None:
        resources.append(("MESSAGE", state.messages, state.limits.messages))
    return QuotaResponse(ROOT, resources)


def _units(octets: int) -> int:
    """Rounded up, use and limit alike: so use is above the limit only where it is in octets too."""
    return -(-octets // UNIT)


class DeletedStorage(StatusItem):
    """The octets that EXPUNGE would set free (RFC 9208 section 4.1.4)."""

    name = "DELETED-STORAGE"

    @staticmethod
    def value(status: MailboxStatus) -> int:
        return status.deleted_size


def _words(session: Session) -> Sequence[str]:
    return ("QUOTA", *(f"QUOTA=RES-{name}" for name in RESOURCES))


def _may_set(session: Session) -> bool:
    return session.by_administrator


# Its other words are told along with the one by which it can be subtracted.
extension = Extension(
    words=("QUOTA",), offered=_words, commands=(GetQuota, GetQuotaRoot), status_items=(DeletedStorage,)
)
setting = Extension(words=("QUOTASET",), offered=_may_set, commands=(SetQuota,))
