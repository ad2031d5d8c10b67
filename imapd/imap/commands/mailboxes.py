"""CREATE, DELETE, RENAME, SUBSCRIBE and UNSUBSCRIBE: the tree of mailboxes (RFC 9051 sections 6.3.4 to 6.3.8).

Parents that are missing are made as names that cannot be selected. A name may be subscribed
whether it exists or not: clients keep such lists for years.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from imapd.imap.command import LOGGED_IN, Command, Done, Running
from imapd.imap.commands.names import SentName, read_name, read_sent_name
from imapd.imap.extension import Extension, Modifier
from imapd.model.errors import BadSyntax, Refused
from imapd.model.names import INBOX, BadName, check_new, is_below
from imapd.wire.responses import Status

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.wire.scanner import Scanner


class CreateParameter(Modifier):
    """A parameter of CREATE, in the parentheses after the name."""

    command = "CREATE"

    def special_uses(self, session: Session) -> tuple[str, ...]:
        """The special uses that the new mailbox is to have. Raises Refused where it cannot."""
        return ()


@dataclass(frozen=True, slots=True)
class Create(Command):
    """create = "CREATE" SP mailbox [SP "(" create-param *(SP create-param) ")"] (RFC 4466 section 2.2)."""

    name = "CREATE"
    states = LOGGED_IN

    mailbox: SentName
    parameters: tuple[CreateParameter, ...] = ()

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        mailbox = read_sent_name(scan, session)
        more = scan.accept(b" ") and not scan.at_end()
        parameters = tuple(scan.parenthesized(lambda: _read_parameter(scan, session))) if more else ()
        scan.end()
        return cls(mailbox, parameters)

    def run(self, session: Session) -> Running:
        check_name(self.mailbox.stored)
        uses = tuple(use for parameter in self.parameters for use in parameter.special_uses(session))
        session.account.create(self.mailbox.stored, uses)
        yield from self.mailbox.told(session)
        return Done()


@dataclass(frozen=True, slots=True)
class Delete(Command):
    """delete = "DELETE" SP mailbox."""

    name = "DELETE"
    states = LOGGED_IN

    mailbox: SentName

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        mailbox = read_sent_name(scan, session)
        scan.end()
        return cls(mailbox)

    def run(self, session: Session) -> Running:
        name = self.mailbox.stored
        if name == INBOX:
            raise Refused("INBOX cannot be deleted.", code="CANNOT")
        session.account.delete(name)
        yield from self.mailbox.told(session, "\\NonExistent")
        # RFC 2180 section 3 lets a server choose what becomes of those who have the mailbox open. Whoever deletes
        # it himself is told that it is closed, rather than that everything he asks of it afterwards fails.
        if session.has_view and session.view.mailbox.name == name:
            session.unselect()
            yield Status("OK", "The selected mailbox was deleted.", code="CLOSED")
        return Done()


@dataclass(frozen=True, slots=True)
class Rename(Command):
    """rename = "RENAME" SP mailbox SP mailbox."""

    name = "RENAME"
    states = LOGGED_IN

    old: SentName
    new: SentName

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        old = read_sent_name(scan, session)
        scan.sp()
        new = read_sent_name(scan, session)
        scan.end()
        return cls(old, new)

    def run(self, session: Session) -> Running:
        old, new = self.old.stored, self.new.stored
        check_name(new)
        # Of INBOX only the messages move, so they may go below it.
        if is_below(new, old) and old != INBOX:
            raise Refused("A mailbox cannot be moved below itself.", code="CANNOT")
        session.account.rename(old, new)
        if self.old.spelling(session) or self.new.spelling(session):
            # One response for both names: how the old one was written, and how the new one is stored.
            yield from SentName(new, self.old.sent).told(session)
        return Done()


@dataclass(frozen=True, slots=True)
class Subscribe(Command):
    """subscribe = "SUBSCRIBE" SP mailbox."""

    name = "SUBSCRIBE"
    states = LOGGED_IN

    mailbox: str

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        mailbox = read_name(scan)
        scan.end()
        return cls(mailbox)

    def run(self, session: Session) -> Running:
        if not session.account.exists(self.mailbox):
            check_name(self.mailbox)  # what can never exist needs no place on the list
        session.account.subscribe(self.mailbox)
        yield from ()
        return Done()


class Unsubscribe(Subscribe):
    """unsubscribe = "UNSUBSCRIBE" SP mailbox; read as SUBSCRIBE is."""

    __slots__ = ()
    name = "UNSUBSCRIBE"

    def run(self, session: Session) -> Running:
        session.account.unsubscribe(self.mailbox)
        yield from ()
        return Done()


def check_name(name: str) -> None:
    """Refuse a name that no mailbox may have."""
    try:
        check_new(name)
    except BadName as bad:
        raise Refused(f"{bad}.", code="CANNOT") from None


def _read_parameter(scan: Scanner, session: Session) -> CreateParameter:
    word = scan.keyword()
    parameter = session.offers.modifiers.get(("CREATE", word))
    if parameter is None or not issubclass(parameter, CreateParameter):
        raise BadSyntax(f"CREATE has no parameter {word}")
    return parameter.parse(scan, session)


extension = Extension(commands=(Create, Delete, Rename, Subscribe, Unsubscribe))
