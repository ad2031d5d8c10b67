"""What a command is: a value that reads itself from a line and then runs by yielding responses.

For whoever writes a command (RFC 3501 section 6, RFC 9051 section 6):

1. The class says its `name` (upper case; the UID forms are commands of their own, "UID FETCH"), the `states` in which
   it may come, and whether EXPUNGE responses may be sent after it (`may_expunge`, RFC 9051 section 7.5.1).
2. `parse` reads everything after the name, the separating space included, up to the end of the line (`scan.end()`),
   raises BadSyntax, changes nothing, and gives an instance whose fields are the arguments.
3. `run` is a generator. It yields responses (wire/responses, or anything with `chunks(utf8)`) and the words
   below, and ends with `return`, or `return Done(text, code)` where the tagged OK should say something of its own.
   It never writes a tagged line: what goes wrong is raised (model/errors) and dispatch finds the words.
4. It touches no socket, lock or clock; `session.loop` is there for those who work long (`session.loop.breathe()`).
5. Unasked EXISTS, EXPUNGE, FETCH and FLAGS lines are not its business: dispatch sends them after it, from the view.
6. If the client goes away, the generator is closed: what must be tidied belongs into `finally`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from imapd.model.errors import BadSyntax, Refused

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.mailstore.store import Spool
    from imapd.mailstore.view import View
    from imapd.wire.framer import Line, LiteralOffered
    from imapd.wire.scanner import Scanner


class State(IntEnum):
    """The states of a connection, in the order in which it goes through them (RFC 9051 section 3)."""

    NOT_AUTHENTICATED = 0
    AUTHENTICATED = 1
    SELECTED = 2
    LOGOUT = 3


BEFORE_LOGIN = frozenset({State.NOT_AUTHENTICATED})
LOGGED_IN = frozenset({State.AUTHENTICATED, State.SELECTED})
MAILBOX_OPEN = frozenset({State.SELECTED})
ANY_STATE = BEFORE_LOGIN | LOGGED_IN


class Response(Protocol):
    """Something that is sent to the client; wire/responses has them all."""

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        """The octets, CRLF at the end; utf8 tells whether names may be UTF-8 (RFC 9051 section 5.1)."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Send "+ text", let everything out, and send the client's next Line into the generator."""

    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Await:
    """Let everything out, then send in the client's next Line, or None when the view's bell rang (IDLE).

    Whoever drives listens at the view first and rings once himself, because what came before is not rung for. None
    also comes once in a while without a bell, so that the command may show that the connection lives. Without a view
    there is nothing to listen for.

    Silence may last for hours, and there are thousands of silent clients. So whoever drives may close the generator
    instead of keeping it: `command.after` tells with which command to go on then.
    """

    view: View | None
    command: Command


@dataclass(frozen=True, slots=True)
class News:
    """Tell the client what is new in its mailbox, expunges too; whether anything was said is sent in (IDLE).

    Dispatch sees to it, and the driver never meets it.
    """


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Let everything out, begin TLS on the connection and send True in, with nothing of the clear text left over."""


@dataclass(frozen=True, slots=True)
class Done:
    """What the tagged OK says: a text ("FETCH completed" where it is empty) and a response code without brackets."""

    text: str = ""
    code: str | bytes | None = None


Yielded = Response | Continue | Await | Upgrade
Running = Generator[Yielded | News, "Line | bool | None", Done | None]


LITERAL_LIMIT = 64 * 1024
"""Octets of a literal that is kept in memory: names, passwords and words to search for are shorter by far."""


class Command:
    """A command of the client, read from its line; see the rules above.

    may_expunge: after it, and only then, sequence numbers may change. try_create: its NoSuchMailbox is about the
    target, so that the client is told TRYCREATE (RFC 9051 section 7.1). tells_fullness: behind it the client is told
    where the account is nearly full. tells_news: behind it the client is told what is new in its mailbox; not where it
    has been told just now how all of it is. literal_limit: octets of one of its literals.
    """

    name: ClassVar[str]
    states: ClassVar[frozenset[State]] = ANY_STATE
    may_expunge: ClassVar[bool] = True
    try_create: ClassVar[bool] = False
    tells_fullness: ClassVar[bool] = False
    tells_news: ClassVar[bool] = True
    literal_limit: ClassVar[int] = LITERAL_LIMIT

    @classmethod
    def admit(cls, scan: Scanner, offer: LiteralOffered, session: Session) -> Spool | None:
        """Whether a literal may come, asked before its octets are sent; the scanner stands behind the command's name.

        The answer is where they are to be written, or None: into memory. A refusal is raised, and ends the command.
        """
        if offer.binary:
            raise BadSyntax(f"{cls.name} takes no literal8.")
        if offer.size > cls.literal_limit:
            raise Refused(f"A literal of {cls.name} may have {cls.literal_limit} octets.", code="LIMIT")
        return None

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        """Read the arguments; this one reads a command without any."""
        scan.end()
        return cls()

    def run(self, session: Session) -> Running:
        """Do it, yielding responses."""
        raise NotImplementedError

    def after(self, heard: Line | None) -> Command:
        """The rest of it, after what was awaited has come; of a command that an Await names."""
        raise NotImplementedError
