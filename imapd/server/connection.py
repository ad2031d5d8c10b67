"""One client's connection: reads lines, lets the conversation answer them, and sends what it yields.

The way of the octets: Transport → Framer → Line → Conversation.answer, a generator → responses → Transport. The
generator's three words to us are Continue, Await and Upgrade (imap/command).

Rules:

1. One command at a time, in the order received.
2. Output is gathered to about 256 kB and then written; while the client does not take it, its generator stands still.
3. Before the login one deadline counts from the first octet to the last, whatever the client sends meanwhile. After
   it the client may be silent for the session timeout, counted from the last octet it sent or took. Both end with BYE.
   In IDLE silence is what a client is there for: it ends with the connection, which the words of life find out.
4. STARTTLS: what the client sent in the clear behind it is never executed. Where any of it is there when the answer
   is due, the connection is closed; what comes later falls into the handshake and fails there.
5. A stop waits for the command that runs, but not for the rest of what a long one has to say.
6. Who waits for his client needs no greenlet and no stack (episodes). Where a command asks for one more line its
   generator is kept; between commands and in IDLE nothing is.
7. Every end is one line in the log. An exception that is nobody's is logged with its traceback under an id, which the
   client is told, and nothing else.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from imapd.imap.command import Await, Command, Continue, Response, State, Upgrade
from imapd.imap.dispatch import Admitted
from imapd.log import event as write_event
from imapd.mailstore.errors import StoreError
from imapd.model.loop import Loop
from imapd.server.episodes import Episodes, Waiting
from imapd.server.partners import Begin, Conversation, Patience
from imapd.server.tls import Context, TlsFailure
from imapd.server.transport import Gone, Heard, TimedOut, Transport
from imapd.wire.framer import Framer, Line, LiteralOffered, TooLong
from imapd.wire.responses import BrokenStream, ContinueResponse, Status

if TYPE_CHECKING:
    from imapd.directory.person import Person
    from imapd.mailstore.view import View

logger = logging.getLogger("imapd.server.connection")

FLUSH_SIZE = 256 * 1024


class _End(Exception):
    """The connection ends; reason is for the log, text for the client's BYE (None: the client is told nothing)."""

    def __init__(self, reason: str, text: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text


class Connection(Episodes):
    """One connection. begin makes its conversation, told whether the connection is private, where events go
    and whom to ask about TLS."""

    __slots__ = (
        "_alarm", "_began", "_begin", "_buffer", "_buffered", "_commands", "_conversation", "_deadline", "_framer",
        "_identity", "_implicit_tls", "_listened", "_loop", "_patience", "_stop", "_tls", "_user",
    )  # fmt: skip

    def __init__(
        self,
        transport: Transport,
        begin: Begin,
        loop: Loop,
        patience: Patience,
        identity: Mapping[str, object],
        tls: Context | None = None,
        implicit_tls: bool = False,
    ) -> None:
        super().__init__(transport)
        self._begin: Begin | None = begin
        self._loop = loop
        self._patience = patience
        self._identity = identity  # id, listener, peer
        self._tls = tls
        self._implicit_tls = implicit_tls
        self._framer = Framer(0)
        self._buffer: list[bytes] | None = None
        self._buffered = 0
        self._began = time.monotonic()
        self._deadline = self._began + patience.login
        self._stop: str | None = None
        self._user: str | None = None
        self._commands = 0
        self._conversation: Conversation | None = None
        self._listened: View | None = None  # whose bell we listen to
        self._alarm: float | None = None  # when a resting command is to be woken

    @property
    def listener(self) -> str:
        """The name of the listener that the client came in by."""
        return str(self._identity.get("listener", ""))

    @property
    def person(self) -> Person | None:
        """Who has logged in."""
        return self._conversation.session.person if self._user is not None and self._conversation is not None else None

    def stop(self, text: str) -> None:
        """End the connection with BYE and that text, as soon as no command is running."""
        self._stop = text
        self._transport.ring()

    def _episode_of(self, heard: Heard | None) -> Waiting[float | None]:
        until: float | None = None
        reason = "logout"
        try:
            until = yield from self._converse(heard)
        except _End as end:
            reason = end.reason
            self._say_goodbye(end.text)
        except Gone as error:
            reason = str(error)
        except (BrokenStream, StoreError) as error:
            # In the middle of a literal no word of ours would be understood.
            reason = "error"
            logger.error("a message could not be sent to its end to connection %s: %s", self._identity["id"], error)
        except TimedOut:
            reason = "the client takes no output" if self._user else "login timeout"
        except TlsFailure as error:
            reason = "tls"
            self._log("tls_failed", reason=str(error))
        except Exception:
            reason = "error"
            self._report()
        except BaseException:  # the worker's end, which waits no longer
            reason = "cut off"
            raise
        finally:
            if until is None:
                self._close(reason)
        return until

    # -- the conversation --------------------------------------------------------------------------------------------

    def _converse(self, heard: Heard | None) -> Waiting[float | None]:
        """Do all that is to do by now; up to when the client is to be waited for then, None at the end."""
        conversation = self._conversation or self._met()
        if heard is Heard.INPUT:
            self._feed()
        elif heard is not None:
            self._check_time()
            if conversation.is_resting:
                yield from self._answer(conversation, None)
        while not _is_over(conversation):
            line = self._line(conversation)
            if line is not None:
                yield from self._answer(conversation, line)
                self._note_login(conversation)
            elif not _is_over(conversation):
                self._flush()
                self._check_time()
                return self._deadline if self._alarm is None else min(self._alarm, self._deadline)
        self._flush()
        return None

    def _met(self) -> Conversation:
        """The conversation, begun with a greeting."""
        if self._implicit_tls:
            self._handshake()
        self._log("connect", **self._transport.facts())
        begin, self._begin = self._begin, None
        assert begin is not None, "a connection is served once"
        conversation = self._conversation = begin(self._transport.private, self._log, self._transport)
        self._framer.max_line = conversation.max_line
        self._send_all(conversation.greeting())
        return conversation

    def _answer(self, conversation: Conversation, line: Line | None) -> Waiting[None]:
        """Drive the generator of one command, or of the rest of one; None: a bell has rung, or it is time."""
        self._commands += not conversation.is_resting
        self._alarm = None
        running = conversation.answer(line)
        said: Line | bool | None = None  # to the command, for its word
        try:
            while True:
                try:
                    word = running.send(said)
                except StopIteration:
                    break
                said = None
                if isinstance(word, Continue):
                    self._send(ContinueResponse(word.text))
                    said = yield from self._next(conversation)
                elif isinstance(word, Await):
                    if word.view is None or self._listened is word.view:
                        running.close()
                        self._await(conversation, word.command)
                        break
                    # What came before we listened is not rung for: the command looks once more at once.
                    self._listened = word.view
                    word.view.listen(self._transport.ring)
                elif isinstance(word, Upgrade):
                    self._upgrade()
                    said = True
                else:
                    self._send(word)
        finally:
            running.close()
            if self._listened is not None and not conversation.is_resting:
                self._listened.listen_no_more()
                self._listened = None

    def _await(self, conversation: Conversation, command: Command) -> None:
        """Let a command rest until the client says something, a bell rings, or it is time for a word of life."""
        conversation.rest(command)
        self._alarm = time.monotonic() + random.uniform(*self._patience.wake)  # noqa: S311 - no secret
        if self._user is not None:
            self._deadline = self._alarm + self._patience.session  # IDLE (rule 3)

    def _note_login(self, conversation: Conversation) -> None:
        session = conversation.session
        if self._user is None and session.state in (State.AUTHENTICATED, State.SELECTED):
            self._user = session.person.user_name
            self._framer.max_line = conversation.max_line
        self._renew()

    def _renew(self) -> None:
        """Let the session timeout begin anew; nothing moves the deadline of the login, nor that of IDLE."""
        if self._user is not None and self._alarm is None:
            self._deadline = time.monotonic() + self._patience.session

    # -- input -------------------------------------------------------------------------------------------------------

    def _next(self, conversation: Conversation) -> Waiting[Line | None]:
        """The next line, waited for in the midst of a command; None when the conversation is over. Raises _End at the
        deadline and when we are to stop."""
        while not _is_over(conversation):
            line = self._line(conversation)
            if line is not None:
                return line
            if not _is_over(conversation):
                yield from self._wait()
        return None

    def _line(self, conversation: Conversation) -> Line | None:
        """The next line of what the client has sent; what cannot become one is answered. None where more octets are
        needed, or the conversation is over."""
        while not _is_over(conversation):
            try:
                token = self._framer.next()
            except StoreError as error:  # of the sink of a literal; the framer has dropped the command
                self._send_all(conversation.literal_failed(error))
                continue
            if token is not None:
                self._check_time()
                self._loop.breathe()
            if isinstance(token, Line):
                return token
            if isinstance(token, LiteralOffered):
                self._admit(conversation, token)
            elif isinstance(token, TooLong):
                self._send_all(conversation.too_long(token))
            else:
                return None
        return None

    def _wait(self) -> Waiting[None]:
        """Wait for octets and feed them to the framer."""
        self._flush()
        heard: Heard | None = None
        while heard is not Heard.INPUT:
            self._check_time()
            heard = yield self._deadline
        self._feed()

    def _feed(self) -> None:
        data = self._transport.read_now()
        if data:
            self._framer.feed(data)
            self._renew()

    def _admit(self, conversation: Conversation, offer: LiteralOffered) -> None:
        verdict = conversation.admit(offer)
        if isinstance(verdict, Admitted):
            self._framer.accept(verdict.sink)
            self._send_all(verdict.reply)
            return
        self._framer.refuse()
        self._send_all(verdict.responses)
        if verdict.close:
            raise _End("literal refused")

    def _check_time(self) -> None:
        if self._stop is not None:
            raise _End("stopped", self._stop)
        if time.monotonic() < self._deadline:
            return
        if self._user is None:
            raise _End("login timeout", "Nobody has logged in for too long")
        raise _End("idle too long", "Nothing was heard for too long: logged out")

    # -- output ------------------------------------------------------------------------------------------------------

    def _send_all(self, responses: Iterable[Response]) -> None:
        for response in responses:
            self._send(response)

    def _send(self, response: Response) -> None:
        utf8 = self._conversation is not None and self._conversation.session.utf8
        is_long = False
        for chunk in response.chunks(utf8):
            if self._buffer is None:
                self._buffer = []
            self._buffer.append(chunk)
            self._buffered += len(chunk)
            if self._buffered >= FLUSH_SIZE:
                self._flush()
                self._loop.breathe()  # a client that takes everything at once must not have the loop for itself
                is_long = True
        if is_long and self._stop is not None:
            raise _End("stopped", self._stop)

    def _flush(self) -> None:
        if not self._buffer:
            return
        pieces, self._buffer = self._buffer, None
        self._buffered = 0
        self._transport.write_all(pieces, self._deadline if self._user is None else float("inf"))
        self._renew()

    def _say_goodbye(self, text: str | None) -> None:
        """Send what is left over and BYE; a client that is in our way now is not waited for longer than a moment."""
        try:
            if text is not None:
                goodbye = self._conversation.goodbye(text) if self._conversation else [Status("BYE", text)]
                self._send_all(goodbye)
            data = b"".join(self._buffer or ())
            self._transport.write(data, time.monotonic() + 5.0)
        except (Gone, TimedOut):
            pass

    # -- TLS ---------------------------------------------------------------------------------------------------------

    def _upgrade(self) -> None:
        """STARTTLS (RFC 9051 section 6.2.1), by rule 4. The look comes before the OK goes out: nothing may be there
        yet, while after it an honest client's handshake could be."""
        if self._framer.buffered or self._transport.has_input():
            self._buffer = None
            raise _End("octets in the clear behind STARTTLS")
        self._flush()
        self._handshake()
        self._framer.clear()
        self._log("starttls", level=logging.DEBUG, **self._transport.facts())

    def _handshake(self) -> None:
        assert self._tls is not None, "a listener without certificates does not offer STARTTLS"
        deadline = min(self._deadline, time.monotonic() + self._patience.handshake)
        try:
            self._transport.start_tls(self._tls, deadline)
        except TimedOut:
            raise TlsFailure("the client did not finish the handshake in time") from None

    # -- the end -----------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        """Log an exception that nobody foresaw, under an id."""
        number = secrets.token_hex(4)
        logger.exception("unforeseen error %s at connection %s", number, self._identity.get("id"))
        try:
            bye = Status("BYE", f"Something went wrong here; the log has it under {number}", "SERVERBUG")
            self._transport.write(b"".join(bye.chunks(False)), time.monotonic() + 5.0)
        except (Gone, TimedOut):
            pass

    def _close(self, reason: str) -> None:
        try:
            if self._conversation is not None:
                self._conversation.close()
        except Exception:
            logger.exception("closing connection %s failed", self._identity.get("id"))
        finally:
            self._transport.close()
            self._log(
                "logout" if self._user else "disconnect",
                reason=reason,
                duration=round(time.monotonic() - self._began, 3),
                octets_in=self._transport.octets_in,
                octets_out=self._transport.octets_out,
                commands=self._commands,
            )

    def _log(self, event: str, *, level: int = logging.INFO, **fields: object) -> None:
        """One event of this connection."""
        known = {"user": self._user} if self._user else {}
        write_event(logger, level, event, **{**self._identity, **known, **fields})


def _is_over(conversation: Conversation) -> bool:
    return conversation.session.state is State.LOGOUT
