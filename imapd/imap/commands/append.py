"""APPEND, with several messages in one command (RFC 9051 section 6.3.12, RFC 3502), and literal8 (RFC 3516 section
4.4).

A message never lies in memory: when its literal is announced, size and mailbox are checked, and the answer to a client
that waits is NO before it has sent a gigabyte for nothing. Then its octets go to a spool on the store's disk, which the
store makes a message of. The store appends all or none.
"""

from dataclasses import dataclass
from typing import Self

from imapd.imap.command import LITERAL_LIMIT, LOGGED_IN, Command, Done, Running
from imapd.imap.commands.names import read_name
from imapd.imap.extension import Extension
from imapd.imap.session import Session
from imapd.mailstore.errors import NoSuchMailbox
from imapd.mailstore.store import Incoming, Placed, Spool
from imapd.model.errors import BadSyntax, Refused
from imapd.model.flags import RECENT, Flags
from imapd.model.sets import RangeSet
from imapd.wire.framer import Literal, LiteralOffered
from imapd.wire.scanner import Scanner

MESSAGES = 100  # of one command: each holds a file open until the last has come


class Intake:
    """A spool that takes a literal to its end, whatever happens: the error of a full disk waits for the command to run.

    Otherwise the octets that are still on their way would have nowhere to go, and the client no answer.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._error: Exception | None = None

    def write(self, data: bytes) -> None:
        """Take the next octets."""
        if self._error is None:
            try:
                self._spool.write(data)
            except Exception as error:
                self._error = error
                self._spool.abandon()

    def abandon(self) -> None:
        """Throw away what came."""
        self._spool.abandon()

    def finished(self) -> Spool:
        """The spool with all of the message; raises what went wrong."""
        if self._error is not None:
            raise self._error
        return self._spool


@dataclass(frozen=True, slots=True)
class Appended:
    """One message of the command."""

    intake: Intake
    flags: Flags
    internal_date: int | None


@dataclass(frozen=True, slots=True)
class Append(Command):
    """append = "APPEND" SP mailbox 1*(SP [flag-list SP] [date-time SP] literal)."""

    name = "APPEND"
    states = LOGGED_IN
    try_create = True
    tells_fullness = True

    mailbox: str
    messages: tuple[Appended, ...]

    @classmethod
    def admit(cls, scan: Scanner, offer: LiteralOffered, session: Session) -> Spool | None:
        scan.sp()
        if scan.at_end():  # the name of the mailbox comes as a literal
            if offer.binary or offer.size > LITERAL_LIMIT:
                raise BadSyntax("That is no name of a mailbox.")
            return None
        name = read_name(scan)
        before = [piece for piece in offer.so_far.pieces if isinstance(piece, Literal) and piece.sink is not None]
        _check_size(session, offer.size)
        if before:
            _check_number(session, len(before))
        elif not session.account.exists(name):
            raise Refused(NoSuchMailbox.default_text, code="TRYCREATE")
        if session.account.is_limited():
            octets = sum(literal.size for literal in before) + offer.size
            session.account.quota().require_room(octets, len(before) + 1)
        return Intake(session.account.spool())

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        mailbox = read_name(scan)
        messages = [_message(scan)]
        while not scan.at_end():
            messages.append(_message(scan))
        scan.end()
        return cls(mailbox, tuple(messages))

    def run(self, session: Session) -> Running:
        yield from ()
        incoming = [Incoming(one.intake.finished(), one.flags, one.internal_date) for one in self.messages]
        placed = session.account.append(self.mailbox, incoming)
        return Done(code=_code(placed) if session.offers.has("UIDPLUS") else None)


def _message(scan: Scanner) -> Appended:
    scan.sp()
    flags: tuple[str, ...] = ()
    date = None
    if scan.peek() == b"(":
        flags = scan.flag_list()
        scan.sp()
    if scan.peek() == b'"':
        date = scan.date_time()
        scan.sp()
    literal = scan.literal()
    if not isinstance(literal.sink, Intake):
        raise BadSyntax("A message comes as a literal.")
    # \Recent is the server's to give; clients that copy from elsewhere send it back
    return Appended(literal.sink, frozenset(flags) - {RECENT}, date)


def _check_size(session: Session, size: int) -> None:
    limit = session.settings.append_limit
    if limit and size > limit:
        raise Refused(f"A message may have {limit} octets.", code="TOOBIG")
    if size == 0:
        raise Refused("An empty message cannot be appended.", code="CANNOT")  # RFC 3502 section 4


def _check_number(session: Session, before: int) -> None:
    """Whether another message may come behind so many."""
    if not session.offers.has("MULTIAPPEND"):
        raise BadSyntax("APPEND takes one message at a time.")
    if before >= MESSAGES:
        raise Refused(f"An APPEND may have {MESSAGES} messages.", code="LIMIT")


def _code(placed: Placed) -> str:
    """The APPENDUID code (RFC 4315 section 3)."""
    return f"APPENDUID {placed.uidvalidity} {RangeSet.of(placed.uids)}"


extension = Extension(commands=(Append,))
