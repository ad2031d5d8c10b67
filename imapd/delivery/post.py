"""Deliveries: whose an address is, and the message into his mailbox. What a pipe (verbs/deliver) and LMTP (lmtp) have
in common.

1. An address is looked up in the directories without a password; one that does not answer is asked again later, by the
   agent, and the next one never instead.
2. A message is durable in the mailbox before `deliver` returns. It is appended as a client's would be: with its UID,
   within the quota, and those who wait in IDLE are told.
3. A detail leads into the mailbox of that name, if it is there or is to be made; else into INBOX.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from imapd.delivery.address import meanings
from imapd.delivery.draft import Draft
from imapd.delivery.outcome import AMBIGUOUS, CLOSED, MOVED, NO_SUCH_MAILBOX, NO_SUCH_USER, Undelivered, undelivered
from imapd.directory.person import Status
from imapd.mailstore.errors import BadMailboxName, MailboxExists, NoSuchMailbox, StoreError
from imapd.mailstore.quota import NO_LIMITS, Limits
from imapd.mailstore.store import Account, Incoming, Owner, Placed, Store
from imapd.model import names
from imapd.model.errors import Refused, Unreachable
from imapd.model.loop import Loop

if TYPE_CHECKING:
    from imapd.directory.person import Person

log = logging.getLogger("imapd.delivery")


class People(Protocol):
    """Where people are looked up: directory/chain."""

    def lookup(self, name: str) -> Person | None: ...
    def is_at_home(self, person: Person) -> bool: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What the administrator wants. separator: in front of details, "" for none. create: whether a detail's mailbox
    is made. refuse_closed: whether people who may not log in get no mail. limit: octets of a message, 0 for any.
    limits: what accounts may hold where the directory does not say."""

    separator: str = "+"
    create: bool = False
    bounce_over_quota: bool = False
    refuse_closed: bool = False
    local_domains: frozenset[str] = frozenset()
    limit: int = 0
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who was found: the address as it was given, and its detail, "" for none."""

    address: str
    person: Person
    detail: str = ""


class Post:
    """Delivers. folder: where messages wait that have not come in whole yet."""

    def __init__(self, people: People, store: Store, loop: Loop, rules: Rules, folder: str) -> None:
        self._people = people
        self._store = store
        self._loop = loop
        self._rules = rules
        self._folder = folder

    @property
    def limit(self) -> int:
        """The octets that a message may have, 0 for any number."""
        return self._rules.limit

    def draft(self) -> Draft:
        """A new message on its way in."""
        return Draft(self._loop, self._folder, self._rules.limit)

    def recipient(self, address: str) -> Recipient:
        """Whose the address is. Raises Undelivered."""
        for meaning in meanings(address, self._rules.separator, self._rules.local_domains):
            try:
                person = self._people.lookup(meaning.name)
            except Unreachable as error:
                raise undelivered(error, False) from None
            except Refused as error:  # more than one has the name, or its directory may not speak for it
                raise Undelivered(AMBIGUOUS, error.reason) from None
            if person is not None:
                self._require(person)
                return Recipient(address, person, meaning.detail)
        raise Undelivered(NO_SUCH_USER, f"no directory that may answer for {address!r} knows it")

    def _require(self, person: Person) -> None:
        if not self._people.is_at_home(person):
            raise Undelivered(MOVED, f"the mail of {person.dn!r} is on {person.mail_server!r}")
        expired = person.expires is not None and self._loop.time() >= person.expires
        if self._rules.refuse_closed and (person.status is Status.DISABLED or expired):
            raise Undelivered(CLOSED, f"{person.dn!r}: {person.barred(self._loop.time())}")

    def deliver(
        self, recipient: Recipient, draft: Draft, heading: bytes, mailbox: str | None = None, create: bool | None = None
    ) -> str:
        """Put the message into the recipient's mailbox, durably; returns the mailbox's name. Raises Undelivered.

        mailbox: another one than the detail's; that one has to be there or be made. create: other than the rules say.
        """
        draft.require()
        with self._troubles(), self._opened(recipient.person) as account:
            target = self._target(account, recipient, mailbox, self._rules.create if create is None else create)
            try:
                self._append(account, target, draft, heading)
            except NoSuchMailbox:  # deleted since we looked
                if mailbox is not None or target == names.INBOX:
                    raise
                target = names.INBOX
                self._append(account, target, draft, heading)
            return target

    def describe(self, recipient: Recipient, mailbox: str) -> None:
        """Have the newest message of the mailbox described, for a process that ends before the store comes to it by
        itself. Raises Undelivered."""
        with self._troubles(), self._opened(recipient.person) as account:
            opened = account.open(mailbox, read_only=True)
            try:
                for _ in opened.descriptions(opened.snapshot().uids[-1:]):
                    pass
            finally:
                opened.close()

    def _append(self, account: Account, mailbox: str, draft: Draft, heading: bytes) -> Placed:
        spool = account.spool()
        try:
            spool.write(heading)
            for piece in draft.pieces():
                spool.write(piece)
                self._loop.breathe()
        except BaseException:
            spool.abandon()
            raise
        return account.append(mailbox, [Incoming(spool)])  # which uses the spool up, whatever becomes of it

    def _target(self, account: Account, recipient: Recipient, mailbox: str | None, create: bool) -> str:
        """The name of the mailbox, made if it is to be. Raises Undelivered, StoreError."""
        wanted = names.canonical(mailbox if mailbox is not None else recipient.detail or names.INBOX)
        if wanted == names.INBOX or _is_there(account, wanted):
            return wanted
        if create:
            try:
                account.create(wanted)
                account.subscribe(wanted)
                return wanted
            except MailboxExists:
                return wanted
            except BadMailboxName:
                if mailbox is not None:
                    raise
        if mailbox is not None:
            raise Undelivered(NO_SUCH_MAILBOX, f"{recipient.person.user_name} has no mailbox {mailbox!r}")
        return names.INBOX

    def _owner(self, person: Person) -> Owner:
        """Whose account it is. Where no mail file is named, the store's guard says so."""
        limits = Limits.said(person.quota_bytes, person.quota_messages, self._rules.limits)
        return Owner(person.identity, person.user_name, person.mail_file or "", limits)

    @contextlib.contextmanager
    def _opened(self, person: Person) -> Iterator[Account]:
        account = self._store.open_account(self._owner(person))
        try:
            yield account
        finally:
            try:
                account.close()
            except (StoreError, OSError) as error:  # the message is in: told otherwise, the agent would bring it again
                log.warning("an account could not be closed well: %s", error)

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
        except (Refused, Unreachable, StoreError) as error:
            raise undelivered(error, self._rules.bounce_over_quota) from error


def _is_there(account: Account, name: str) -> bool:
    """Whether messages can be put there: a name that only has others below it cannot take any."""
    return any(entry.name == name and entry.selectable for entry in account.mailboxes())
