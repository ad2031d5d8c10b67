"""From a line to its tagged answer: the only room that writes tagged lines and turns errors into words.

`Conversation` is what a connection drives. A line is read (tag, name, arguments), the state is checked, the command
runs, the client gets the news of its mailbox, and then the tagged line. One command at a time, in the order received;
who pipelines is served line by line. The rules:

1. BadSyntax is BAD; Refused and StoreError are NO with their code; Unreachable is NO [UNAVAILABLE]; anything else is a
   bug of ours, NO [SERVERBUG] with an id under which the log has the traceback. No text of a bug reaches the client.
2. Before login a line without a tag or a method of HTTP ends the connection at once: it is TLS on the wrong port, a
   browser, or somebody who makes a browser speak to us. Five BAD in all end it too.
3. After login ten BAD in a row end the connection: the client is lost, and would go on.
4. Three failed logins end the connection (RFC 9051 section 11.5 asks for a limit).
5. When the generator of `answer` has ended and `session.ended` is true, the connection is to be closed. The same
   holds for `close` of a Turned.
6. A literal is asked for before its octets are taken. Before login it is small; after login it is kept in memory up to
   the limit of its command and 256 kB in all, or goes to the mail store's disk (APPEND). Spools that no message became
   are thrown away at the end of the command, whatever way it ended. Who sends a large one before login without having
   waited for our word is told BYE: the octets are on their way, and nobody has to take them.
7. Without LITERAL+ a literal that does not wait for our "+" may have 4,096 octets (LITERAL-, RFC 7888 section 5).
"""

import logging
import secrets
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from imapd.imap import updates
from imapd.imap.command import BEFORE_LOGIN, MAILBOX_OPEN, Command, Done, News, Response, State, Upgrade, Yielded
from imapd.imap.session import Session
from imapd.mailstore.errors import NoSuchMailbox, StoreError
from imapd.mailstore.store import Spool
from imapd.model.errors import BadSyntax, Refused, Unreachable
from imapd.wire.framer import Line, Literal, LiteralOffered, TooLong
from imapd.wire.responses import ContinueResponse, Status, StatusKind
from imapd.wire.scanner import Scanner

LINE_BEFORE_LOGIN = 8 * 1024  # the longest that a login needs, with a long SASL response; what Dovecot takes
LINE_AFTER_LOGIN = 1024 * 1024  # there are clients that name 100,000 UIDs in one command
LITERAL_BEFORE_LOGIN = 1024  # a name or a password
LITERALS_BEFORE_LOGIN = 8 * 1024  # all literals of a command
LITERALS_AFTER_LOGIN = 256 * 1024
MOST_LITERALS = 1_000  # of a command, empty ones too: at each of them the command is looked at from its beginning
LITERAL_MINUS = 4096
BAD_BEFORE_LOGIN = 5  # clients do try what there is; the deadline of the login bounds them as well
BAD_AFTER_LOGIN = 10
FAILED_LOGINS = 3
LONGEST_TEXT = 400  # of a tagged line: it may repeat a word of the client's, and that may be long
HTTP = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI"})

_log = logging.getLogger("imapd.imap")


@dataclass(frozen=True, slots=True)
class Admitted:
    """The literal may come: into the sink (None: into memory), after the reply has been sent."""

    sink: Spool | None
    reply: list[Response]


@dataclass(frozen=True, slots=True)
class Turned:
    """The literal is refused, and its command with it; these responses are all of the answer."""

    responses: list[Response]
    close: bool


class _Hopeless(BadSyntax):
    """Not IMAP at all."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """How a command ended: what the tagged line says, and whether it ends the connection."""

    kind: StatusKind
    text: str
    code: str | bytes | None = None
    hopeless: bool = False


class Conversation:
    """The talk with one client, without its connection."""

    __slots__ = ("_bad", "_resting", "_running", "_spools", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self._bad = 0
        self._running = False
        self._resting: Command | None = None
        self._spools: Sequence[Spool] = ()

    @property
    def max_line(self) -> int:
        """The longest line to take now, in octets."""
        return LINE_BEFORE_LOGIN if self.session.state is State.NOT_AUTHENTICATED else LINE_AFTER_LOGIN

    def greeting(self) -> list[Response]:
        """The first line (RFC 9051 section 7.1.5), with the capabilities, which saves clients a round trip."""
        words = " ".join(self.session.offers.capabilities(self.session))
        settings = self.session.settings
        return [Status("OK", f"{settings.server_name} {settings.product} is ready.", code=f"CAPABILITY {words}")]

    def goodbye(self, reason: str) -> list[Response]:
        """What to send before the connection is closed from our side."""
        self.session.leave()
        return [Status("BYE", reason)]

    def close(self) -> None:
        """Give back everything; the connection is gone."""
        self._free_spools()
        self.session.close()

    # --- lines -------------------------------------------------------------------------------------------------------

    @property
    def is_resting(self) -> bool:
        """Whether a command waits whose generator was closed."""
        return self._resting is not None

    def rest(self, command: Command) -> None:
        """Keep what is to be done when an Await has ended whose generator was closed: `answer` goes on with it."""
        self._resting = command

    def answer(self, line: Line | None) -> Generator[Yielded, Line | bool | None, None]:
        """Answer one command, or go on with the one that rests: None is a bell, or the time."""
        resting, self._resting = self._resting, None
        if resting is None and (line is None or (len(line.pieces) == 1 and not line.text.strip())):
            return  # old clients send empty lines between commands
        self._running = True
        try:
            if resting is not None:
                yield from self._finish(resting.after(line))
            elif line is not None:
                yield from self._answer(line)
        finally:
            self._running = False
            self._free_spools()

    def _answer(self, line: Line) -> Generator[Yielded, Line | bool | None, None]:
        try:
            command = self._read(line)
        except Exception as error:
            yield from self._tagged(self._judge(error, None))
            return
        yield from self._finish(command)

    def _finish(self, command: Command) -> Generator[Yielded, Line | bool | None, None]:
        verdict = yield from self._carry_out(command)
        if verdict is not None:
            yield from self._tagged(verdict)

    def too_long(self, long: TooLong) -> list[Response]:
        """Answer a line that was longer than `max_line`, and is gone."""
        if self._running or self._resting is not None:
            return self.goodbye("That line is too long.")
        self._free_spools()
        self.session.tag = ""
        hopeless = False
        try:
            self.session.tag = Scanner(Line((long.so_far[:LINE_BEFORE_LOGIN],))).tag()
        except BadSyntax:
            hopeless = True  # TLS on the wrong port looks like this
        return list(self._tagged(_Verdict("BAD", f"A line may have {self.max_line} octets.", "TOOBIG", hopeless)))

    def _read(self, line: Line) -> Command:
        scan = Scanner(line, self.session.utf8, self.session.loop.breathe)
        return self._find(scan).parse(scan, self.session)

    def _find(self, scan: Scanner) -> type[Command]:
        """The command whose tag and name are next, if it may come now."""
        session = self.session
        session.tag = ""
        try:
            scan.skip_spaces()  # there are clients that begin with one
            session.tag = scan.tag()
        except BadSyntax as error:
            raise _Hopeless(str(error)) from None
        scan.sp()
        name = scan.command_name()
        if name == "UID":
            scan.sp()
            name = f"UID {scan.command_name()}"
        command = session.offers.commands.get(name)
        if command is None:
            raise (_Hopeless if session.tag in HTTP else BadSyntax)("There is no such command.")
        if session.state not in command.states:
            raise BadSyntax(_wrong_state(command))
        return command

    def _carry_out(self, command: Command) -> Generator[Yielded, Line | bool | None, _Verdict | None]:
        """Run it and tell the news; None when the tagged line is out already."""
        try:
            verdict = yield from self._run(command)
        except Exception as error:
            verdict = self._judge(error, command)
        if verdict is not None and verdict.kind == "OK" and command.tells_fullness:
            yield from self._fullness()
        is_news_due = command.tells_news and self.session.state is State.SELECTED
        if verdict is None or verdict.kind == "BAD" or not is_news_due:
            return verdict
        try:
            yield from updates.news(self.session, command.may_expunge)
        except StoreError as error:
            _log.warning("no news of a mailbox for now: %s", error.reason)
        except Exception as error:
            # What the client has been told is in doubt now, so it must not go on with it.
            self.session.leave()
            yield Status("BYE", self._judge(error, command).text)
        return verdict

    def _run(self, command: Command) -> Generator[Yielded, Line | bool | None, _Verdict | None]:
        running = command.run(self.session)
        answered = False
        try:
            sent: Line | bool | None = None
            while True:
                word = running.send(sent)
                if isinstance(word, News):
                    sent = yield from self._news()
                    continue
                if isinstance(word, Upgrade):
                    # RFC 9051 section 6.2.1: the tagged OK is the last that goes in the clear
                    yield Status("OK", "Begin TLS now.", tag=self.session.tag)
                    answered = True
                sent = yield word
        except StopIteration as end:
            done = end.value or Done()
        finally:
            running.close()
        return None if answered else _Verdict("OK", done.text or f"{command.name} completed.", done.code)

    def _news(self) -> Generator[Yielded, Line | bool | None, bool]:
        """The news in the midst of a command; returns whether anything was said. What the store cannot tell now it
        tells at the next bell: IDLE does not end by it."""
        said = False
        try:
            for response in updates.news(self.session, may_expunge=True):
                said = True
                yield response
        except StoreError as error:
            _log.warning("no news of a mailbox for now: %s", error.reason)
        return said

    def _fullness(self) -> Iterator[Response]:
        try:
            yield from updates.fullness(self.session)
        except StoreError as error:  # the command itself has succeeded
            _log.warning("how full an account is cannot be told for now: %s", error.reason)

    # --- literals ----------------------------------------------------------------------------------------------------

    def admit(self, offer: LiteralOffered) -> Admitted | Turned:
        """Whether a literal may come."""
        if self._running or self._resting is not None:  # within AUTHENTICATE or IDLE, where no literal has a meaning
            return Turned(self.goodbye("There is no place for a literal here."), close=True)
        try:
            sink = self._sink(offer)
        except Exception as error:
            self._free_spools()
            responses = list(self._tagged(self._judge(error, None)))
            before_login = self.session.state is State.NOT_AUTHENTICATED
            if before_login and not offer.synchronizing and offer.size > LITERALS_BEFORE_LOGIN:
                responses += self.goodbye("That literal is not taken before login.")
            return Turned(responses, close=self.session.ended)
        if sink is not None:
            self._spools = [*self._spools, sink]
        return Admitted(sink, [ContinueResponse(b"Go ahead.")] if offer.synchronizing else [])

    def literal_failed(self, error: StoreError) -> list[Response]:
        """Answer a command whose literal the mail store could not take, and which the framer has dropped."""
        self._free_spools()
        return list(self._tagged(self._judge(error, None)))

    def _sink(self, offer: LiteralOffered) -> Spool | None:
        scan = Scanner(offer.so_far, self.session.utf8, self.session.loop.breathe)
        command = self._find(scan)
        if len(offer.so_far.pieces) > 2 * MOST_LITERALS:  # texts stand between them
            raise Refused(f"A command may have {MOST_LITERALS} literals.", code="LIMIT")
        if not offer.synchronizing and offer.size > LITERAL_MINUS and not self.session.offers.long_literals:
            raise BadSyntax(f"A literal without waiting may have {LITERAL_MINUS} octets.")
        sink = command.admit(scan, offer, self.session)
        if sink is None:
            self._check_memory(offer)
        return sink

    def _check_memory(self, offer: LiteralOffered) -> None:
        before_login = self.session.state is State.NOT_AUTHENTICATED
        limit = LITERALS_BEFORE_LOGIN if before_login else LITERALS_AFTER_LOGIN
        held = sum(piece.size for piece in offer.so_far.pieces if isinstance(piece, Literal) and piece.sink is None)
        if before_login and offer.size > LITERAL_BEFORE_LOGIN:
            raise Refused(f"Before login a literal may have {LITERAL_BEFORE_LOGIN} octets.", code="LIMIT")
        if held + offer.size > limit:
            raise Refused(f"The literals of a command may have {limit} octets.", code="LIMIT")

    def _free_spools(self) -> None:
        spools, self._spools = self._spools, ()
        for spool in spools:
            spool.abandon()

    # --- verdicts ----------------------------------------------------------------------------------------------------

    def _judge(self, error: Exception, command: Command | None) -> _Verdict:
        """Rule 1."""
        if isinstance(error, BadSyntax):
            return _Verdict("BAD", str(error)[:LONGEST_TEXT], hopeless=isinstance(error, _Hopeless))
        if isinstance(error, Refused):
            return _Verdict("NO", error.text[:LONGEST_TEXT], error.code)
        if isinstance(error, StoreError):
            lacks_target = isinstance(error, NoSuchMailbox) and command is not None and command.try_create
            return _Verdict("NO", error.text, "TRYCREATE" if lacks_target else error.code)
        if isinstance(error, Unreachable):
            _log.warning("something does not answer: %s", error)
            return _Verdict("NO", "The server cannot do that now; please try again later.", "UNAVAILABLE")
        number = secrets.token_hex(4)
        _log.error("bug %s in %s", number, command.name if command else "reading", exc_info=error)
        return _Verdict(
            "NO", f"Something is wrong with the server; please tell your administrator: {number}", "SERVERBUG"
        )

    def _tagged(self, verdict: _Verdict) -> Iterator[Response]:
        """The tagged line, and BYE where it is the end (rules 2 to 4)."""
        session = self.session
        yield Status(verdict.kind, verdict.text, code=verdict.code, tag=session.tag or None)
        if session.ended:
            return
        reason = self._enough(verdict)
        if reason:
            session.log("closed", reason=reason)
            yield from self.goodbye(reason)

    def _enough(self, verdict: _Verdict) -> str:
        """Why the connection has to end, or nothing."""
        before_login = self.session.state is State.NOT_AUTHENTICATED
        if verdict.kind == "BAD":
            self._bad += 1
        elif not before_login:
            self._bad = 0
        if before_login and verdict.hopeless:
            return "This is an IMAP server."
        if self._bad >= (BAD_BEFORE_LOGIN if before_login else BAD_AFTER_LOGIN):
            return "Too many bad commands."
        if before_login and self.session.failed_logins >= FAILED_LOGINS:
            return "Too many failed logins."
        return ""


def _wrong_state(command: type[Command]) -> str:
    """What to do so that the command may come."""
    if command.states == BEFORE_LOGIN:
        return f"{command.name} comes before login, and you have logged in."
    if command.states == MAILBOX_OPEN:
        return f"Select a mailbox before {command.name}."
    return f"Log in before {command.name}."
