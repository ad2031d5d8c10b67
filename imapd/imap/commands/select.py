"""SELECT, EXAMINE, CLOSE and UNSELECT (RFC 9051 sections 6.3.2, 6.3.3, 6.4.1 and 6.4.2; UNSELECT: RFC 3691).

A client of IMAP4rev1 is told RECENT and the first unseen message, one of IMAP4rev2 the LIST response and, where
another mailbox was selected before, [CLOSED] between the two. A SELECT that fails leaves nothing selected, one that
cannot be read changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from imapd.imap.command import LOGGED_IN, MAILBOX_OPEN, Command, Done, Running
from imapd.imap.commands.names import SentName, read_sent_name
from imapd.imap.extension import Extension, Modifier
from imapd.imap.session import NONE, Session
from imapd.mailstore.errors import Gone
from imapd.mailstore.store import Snapshot
from imapd.mailstore.view import View
from imapd.model.errors import BadSyntax
from imapd.model.flags import SYSTEM_FLAGS
from imapd.model.names import DELIMITER
from imapd.wire import writer
from imapd.wire.responses import Exists, FlagsResponse, ListResponse, Recent, Response, Status, Together
from imapd.wire.scanner import Scanner

SEEN = 1 << SYSTEM_FLAGS.index("\\Seen")


@dataclass(frozen=True, slots=True)
class Select(Command):
    """select = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"] (RFC 4466 section 2.1)."""

    name = "SELECT"
    states = LOGGED_IN
    tells_fullness = True
    tells_news = False
    read_only: ClassVar[bool] = False

    mailbox: SentName
    modifiers: tuple[Modifier, ...] = ()

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        mailbox = read_sent_name(scan, session)
        modifiers: list[Modifier] = []
        if scan.accept(b" ") and scan.peek() == b"(":
            modifiers = scan.parenthesized(lambda: _modifier(scan, session))
        scan.end()
        return cls(mailbox, tuple(modifiers))

    def run(self, session: Session) -> Running:
        if session.has_view:
            session.unselect()
            if session.rev2:
                yield Status("OK", "The mailbox before is closed.", code="CLOSED")
        mailbox = session.account.open(self.mailbox.stored, self.read_only)
        try:
            read_only = self.read_only or mailbox.read_only
            view = View(mailbox, read_only, not session.rev2, session.loop.breathe)
        except BaseException:
            mailbox.close()
            raise
        session.select(view)
        yield Together(tuple(_described(session, view, self.mailbox)))
        return Done(code="READ-ONLY" if view.read_only else "READ-WRITE")


class Examine(Select):
    """examine = "EXAMINE" SP mailbox [select-params]: a SELECT that changes nothing."""

    name = "EXAMINE"
    read_only = True


class Close(Command):
    """close = "CLOSE": expunge without a word about it, and unselect."""

    name = "CLOSE"
    states = MAILBOX_OPEN

    def run(self, session: Session) -> Running:
        yield from ()
        if not session.view.read_only:
            try:
                session.view.mailbox.expunge(None)
            except Gone:
                pass  # deleted meanwhile: then its messages are gone as well
        session.unselect()
        return None


class Unselect(Command):
    """unselect = "UNSELECT": CLOSE that expunges nothing (RFC 3691)."""

    name = "UNSELECT"
    states = MAILBOX_OPEN

    def run(self, session: Session) -> Running:
        yield from ()
        session.unselect()
        return None


def _modifier(scan: Scanner, session: Session) -> Modifier:
    name = scan.keyword()
    kind = session.offers.modifiers.get(("SELECT", name))
    if kind is None:
        raise BadSyntax(f"SELECT has no parameter {name}.")
    return kind.parse(scan, session)


def _described(session: Session, view: View, name: SentName) -> Iterator[Response]:
    """The mailbox as it is now. The order is that of the RFC's examples, which clients have come to expect."""
    snapshot = view.snapshot
    session.keywords_told = frozenset(snapshot.keywords) or NONE
    yield FlagsResponse((*SYSTEM_FLAGS, *snapshot.keywords))
    yield Status("OK", "Flags that last.", code=b"PERMANENTFLAGS " + _permanent(view, snapshot))
    yield Exists(len(view.uids))
    if not session.rev2:
        yield Recent(len(view.recent))
        unseen = snapshot.first_without(SEEN)
        if unseen is not None:
            yield Status("OK", "The first unseen message.", code=f"UNSEEN {unseen + 1}")
    yield Status("OK", "UIDs are valid.", code=f"UIDVALIDITY {snapshot.uidvalidity}")
    yield Status("OK", "The next UID.", code=f"UIDNEXT {snapshot.uidnext}")
    if session.rev2:
        yield ListResponse((), DELIMITER, name.stored, extended=name.spelling(session))


def _permanent(view: View, snapshot: Snapshot) -> bytes:
    """The flags that the client may change, with "\\*": it may make keywords of its own."""
    if view.read_only:
        return b"()"
    return writer.flag_list((*SYSTEM_FLAGS, *snapshot.keywords))[:-1] + b" \\*)"


extension = Extension(commands=(Select, Examine, Close))
