"""STATUS: the counts of a mailbox that need not be selected (RFC 9051 section 6.3.11, RFC 3501 section 6.3.10).

The items are a table, so that extensions add theirs, and LIST-STATUS reads them with `read_items`. They are answered
in the order in which they were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from imapd.imap.command import LOGGED_IN, Command, Done, Running
from imapd.imap.commands.names import read_name
from imapd.imap.extension import Extension, StatusItem
from imapd.model.errors import BadSyntax
from imapd.wire.responses import StatusResponse

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.mailstore.store import MailboxStatus
    from imapd.wire.scanner import Scanner

StatusItems = tuple[type[StatusItem], ...]


@dataclass(frozen=True, slots=True)
class Status(Command):
    """status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"."""

    name = "STATUS"
    states = LOGGED_IN

    mailbox: str
    items: StatusItems

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        mailbox = read_name(scan)
        scan.sp()
        items = read_items(scan, session)
        scan.end()
        return cls(mailbox, items)

    def run(self, session: Session) -> Running:
        yield answer(self.mailbox, self.items, session.account.status(self.mailbox))
        return Done()


def read_items(scan: Scanner, session: Session) -> StatusItems:
    """Read the items in their parentheses; one that is written twice counts once."""
    items = scan.parenthesized(lambda: _read_item(scan, session))
    if not items:
        raise BadSyntax("STATUS asks for at least one item")
    return tuple(dict.fromkeys(items))


def answer(mailbox: str, items: Sequence[type[StatusItem]], status: MailboxStatus) -> StatusResponse:
    """The STATUS response; what the store does not know is left out."""
    values = [(item.name, item.value(status)) for item in items]
    return StatusResponse(mailbox, [(name, value) for name, value in values if value is not None])


def _read_item(scan: Scanner, session: Session) -> type[StatusItem]:
    word = scan.keyword()
    item = session.offers.status_items.get(word)
    if item is None:
        raise BadSyntax(f"STATUS has no item {word}")
    return item


class Messages(StatusItem):
    """How many messages there are."""

    name = "MESSAGES"

    @staticmethod
    def value(status: MailboxStatus) -> int:
        return status.messages


class Recent(StatusItem):
    """How many messages no session has seen yet (RFC 3501; not in IMAP4rev2, where nobody asks)."""

    name = "RECENT"

    @staticmethod
    def value(status: MailboxStatus) -> int:
        return status.recent


class UidNext(StatusItem):
    """The UID that the next message will have at least."""

    name = "UIDNEXT"

    @staticmethod
    def value(status: MailboxStatus) -> int:
        return status.uidnext


class UidValidity(StatusItem):
    """What makes UIDs comparable."""

    name = "UIDVALIDITY"

    @staticmethod
    def value(status: MailboxStatus) -> int:
        return status.uidvalidity


class Unseen(StatusItem):
    """How many messages have no \\Seen."""

    name = "UNSEEN"

    @staticmethod
    def value(status: MailboxStatus) -> int:
        return status.unseen


extension = Extension(commands=(Status,), status_items=(Messages, Recent, UidNext, UidValidity, Unseen))
