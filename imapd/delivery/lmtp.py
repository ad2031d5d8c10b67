"""The conversation of LMTP (RFC 2033): octets in, replies out. No socket and no clock: server/lmtp.py has those.

`feed` takes octets, `replies` yields what there is to say to them: Reply, and the word Upgrade, where TLS is to begin.
The driver sends what was yielded before it goes on where a Reply is `now`: then its recipient's copy is durable.

What MAIL, RCPT and a text come to is a transaction's business; here is when what may be said, and how it is answered.

1. No more is held than one command line, or what was fed last; a text goes to the Draft as it comes.
2. Recipients are looked up at RCPT, so that the client needs no list of ours.
3. The client may send commands ahead (RFC 2920): they are answered in their order, each when the one before is done.
4. What is refused in the middle of a text is read to its end all the same, or its lines would be commands.
5. A client that does not speak LMTP, or talks nonsense for long, is sent away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto

from imapd.delivery.dots import Dots
from imapd.delivery.heading import Arrival
from imapd.delivery.outcome import TOO_LARGE
from imapd.delivery.replies import Log, Office, Reply, Terms, Upgrade, answer
from imapd.delivery.transaction import Transaction
from imapd.delivery.words import BadWord, Path, Verb, number, path, verb

# RFC 5321 section 4.5.3.1.4 has 512 octets, and extensions make it longer; no honest line is near this.
LONGEST_LINE = 4096
# Wrong commands, after which the client is sent away.
PATIENCE = 20


class _Mode(Enum):
    COMMAND = auto()
    TEXT = auto()  # of DATA
    CHUNK = auto()  # of BDAT
    OVER = auto()


class Conversation:
    """One connection's conversation. now: seconds since the epoch; number: the connection's id in the log."""

    def __init__(self, office: Office, terms: Terms, tell: Log, now: Callable[[], float], number: str) -> None:
        self._office = office
        self._terms = terms
        self._tell = tell
        self._now = now
        self._number = number
        self._mode = _Mode.COMMAND
        self._input = b""
        self._skipping = False  # the rest of a line that was too long
        self._dots = Dots()
        self._left = 0  # octets of the chunk
        self._last = False
        self._greeted: str | None = None
        self._private = False
        self._transaction: Transaction | None = None
        self._faults = 0
        self._count = 0

    @property
    def over(self) -> bool:
        """Whether the connection is to be closed."""
        return self._mode is _Mode.OVER

    def greeting(self) -> Reply:
        """The first line."""
        return Reply(220, "", f"{self._terms.server} LMTP imapd is ready")

    def goodbye(self, text: str) -> Reply:
        """What is said when the connection ends from our side."""
        self._mode = _Mode.OVER
        return Reply(421, "4.3.2", text)

    def close(self) -> None:
        """Give everything back; a message that has not come in whole is thrown away."""
        self._reset()
        self._mode = _Mode.OVER

    def upgraded(self) -> None:
        """TLS has begun: nothing is known any more (RFC 3207 section 4.2)."""
        self._reset()
        self._input, self._greeted, self._private = b"", None, True

    def feed(self, data: bytes) -> None:
        """Take the next octets; `replies` is to be exhausted before more are fed."""
        self._input += data

    def replies(self) -> Iterator[Reply | Upgrade]:
        """Answer what was fed, as far as it goes."""
        while self._input and self._mode is not _Mode.OVER:
            if self._mode is _Mode.TEXT:
                yield from self._text()
            elif self._mode is _Mode.CHUNK:
                yield from self._chunk()
            elif (line := self._line()) is None:
                return
            elif isinstance(line, Reply):
                yield self._wrong(line)
            else:
                yield from self._answer(line)

    # -- lines -------------------------------------------------------------------------------------------------------

    def _line(self) -> bytes | Reply | None:
        """The next line without its end; None where it has not come whole, a Reply where it is too long."""
        end = self._input.find(b"\n")
        if end < 0:
            if len(self._input) > LONGEST_LINE:
                self._input, self._skipping = b"", True
            return None
        line, self._input = self._input[:end], self._input[end + 1 :]
        if self._skipping or len(line) > LONGEST_LINE:
            self._skipping = False
            return Reply(500, "5.5.2", f"A line has at most {LONGEST_LINE} octets")
        return line.removesuffix(b"\r")

    def _answer(self, line: bytes) -> Iterator[Reply | Upgrade]:
        try:
            command = verb(line)
            if command.name not in _COMMANDS:
                yield self._unknown(command)
                return
            for word in _COMMANDS[command.name](self, command):
                yield self._wrong(word) if isinstance(word, Reply) and 500 <= word.code <= 504 else word
        except BadWord as fault:
            yield self._wrong(Reply(501, "5.5.4", str(fault)))

    def _wrong(self, reply: Reply) -> Reply:
        """Count a command that is none (rule 5)."""
        self._faults += 1
        if self._faults < PATIENCE:
            return reply
        return self.goodbye("Too many commands that are none")

    def _unknown(self, command: Verb) -> Reply:
        if command.name in ("HELO", "EHLO"):
            return self._wrong(Reply(500, "5.5.1", "This is LMTP: say LHLO"))  # RFC 2033 section 4.1
        if self._greeted is None:  # a web browser, or TLS
            return self.goodbye("This is LMTP")
        return self._wrong(Reply(500, "5.5.1", "There is no such command"))

    # -- commands ----------------------------------------------------------------------------------------------------

    def _lhlo(self, command: Verb) -> Iterator[Reply | Upgrade]:
        if not command.rest:
            raise BadWord("LHLO is followed by the client's name")
        self._reset()
        self._greeted = command.rest.split()[0]
        words = [
            self._terms.server,
            "PIPELINING",
            "ENHANCEDSTATUSCODES",
            f"SIZE {self._office.limit}" if self._office.limit else "SIZE",
            "8BITMIME",
            "SMTPUTF8",
            "CHUNKING",
        ]
        if self._terms.starttls and not self._private:
            words.append("STARTTLS")
        yield Reply(250, "", tuple(words))

    def _starttls(self, command: Verb) -> Iterator[Reply | Upgrade]:
        if not self._terms.starttls:
            yield Reply(502, "5.5.1", "There is no TLS here")
        elif self._private:
            yield Reply(503, "5.5.1", "TLS has begun already")
        elif command.rest:
            raise BadWord("STARTTLS stands alone")
        elif self._input:
            # Somebody between us may have put it there, to be taken for said in private.
            yield self.goodbye("Nothing may be sent behind STARTTLS")
        else:
            yield Reply(220, "2.0.0", "Begin TLS")
            yield Upgrade()

    def _mail(self, command: Verb) -> Iterator[Reply | Upgrade]:
        if self._greeted is None:
            yield Reply(503, "5.5.1", "Say LHLO first")
            return
        if self._transaction is not None:
            yield Reply(503, "5.5.1", "There is a sender already")
            return
        sender = path(command.rest, "FROM")
        if (refusal := self._refused(sender)) is not None:
            yield refusal
            return
        self._transaction = Transaction(sender.address, self._office, self._tell)
        yield Reply(250, "2.1.0", "The sender is taken")

    def _refused(self, sender: Path) -> Reply | None:
        for key, value in sender.parameters.items():
            if key == "SIZE":
                if self._office.limit and number(value) > self._office.limit:
                    return answer(TOO_LARGE)
            elif key == "BODY":
                if value.upper() not in ("7BIT", "8BITMIME"):
                    return Reply(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
            elif key not in ("SMTPUTF8", "AUTH"):
                return Reply(555, "5.5.4", f"The parameter {key} is not known")
        return None

    def _rcpt(self, command: Verb) -> Iterator[Reply | Upgrade]:
        transaction = self._transaction
        if transaction is None:
            yield Reply(503, "5.5.1", "Say MAIL first")
            return
        if transaction.draft is not None:
            yield Reply(503, "5.5.1", "The message has begun already")
            return
        whom = path(command.rest, "TO")
        if whom.parameters:
            yield Reply(555, "5.5.4", f"The parameter {next(iter(whom.parameters))} is not known")
        elif not whom.address:
            yield Reply(550, "5.1.3", "That is nobody's address")
        else:
            yield transaction.add(whom.address)

    def _data(self, command: Verb) -> Iterator[Reply | Upgrade]:
        if command.rest:
            raise BadWord("DATA stands alone")
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            yield Reply(503, "5.5.1", "There are no recipients")  # RFC 2033 section 4.2
        elif transaction.draft is not None or transaction.spoiled:
            yield Reply(503, "5.5.1", "The message comes in chunks")
        else:
            transaction.begin_text()
            self._dots = Dots()
            self._mode = _Mode.TEXT
            yield Reply(354, "", "Go on; end with a line of a single dot")

    def _bdat(self, command: Verb) -> Iterator[Reply | Upgrade]:
        """RFC 3030 section 2."""
        words = command.rest.split()
        last = len(words) == 2 and words[1].upper() == "LAST"
        if not words or not (len(words) == 1 or last):
            # How much is coming is not known, so nothing that comes could be understood.
            yield self.goodbye("BDAT is followed by a number of octets, and maybe LAST")
            return
        try:
            self._left, self._last = number(words[0]), last
        except BadWord as fault:
            yield self.goodbye(str(fault))
            return
        transaction = self._transaction
        if transaction is not None and transaction.recipients and not transaction.spoiled and transaction.draft is None:
            transaction.begin_text()
        self._mode = _Mode.CHUNK
        if not self._left:
            yield from self._chunk()

    def _rset(self, command: Verb) -> Iterator[Reply | Upgrade]:
        self._reset()
        yield Reply(250, "2.0.0", "Forgotten")

    def _noop(self, command: Verb) -> Iterator[Reply | Upgrade]:
        yield Reply(250, "2.0.0", "Nothing done")

    def _vrfy(self, command: Verb) -> Iterator[Reply | Upgrade]:
        # RFC 5321 section 7.3: 252, where it is not to be told who is here.
        yield Reply(252, "2.5.0", "Nobody is told who is here; try to deliver")

    def _quit(self, command: Verb) -> Iterator[Reply | Upgrade]:
        self._mode = _Mode.OVER
        yield Reply(221, "2.0.0", "Goodbye")

    # -- texts -------------------------------------------------------------------------------------------------------

    def _text(self) -> Iterator[Reply]:
        transaction = self._transaction
        assert transaction is not None and transaction.draft is not None
        data, self._input = self._input, b""
        text, behind = self._dots.feed(data)
        transaction.draft.write(text)
        if behind is not None:
            self._input = behind
            self._mode = _Mode.COMMAND
            yield from self._deliver(transaction)

    def _chunk(self) -> Iterator[Reply]:
        transaction = self._transaction
        data, self._input = self._input[: self._left], self._input[self._left :]
        self._left -= len(data)
        draft = transaction.draft if transaction is not None else None
        if draft is not None:
            draft.write(data)
        if self._left:
            return
        self._mode = _Mode.COMMAND
        if transaction is None or draft is None:
            if transaction is not None:
                transaction.spoiled = True
            yield Reply(503, "5.5.1", "There are no recipients")
        elif self._last:
            yield from self._deliver(transaction)
        else:
            yield transaction.take_chunk()

    def _deliver(self, transaction: Transaction) -> Iterator[Reply]:
        self._count += 1
        arrival = Arrival(
            client=f"{self._greeted} ({self._terms.client})" if self._terms.client else f"{self._greeted}",
            server=self._terms.server,
            protocol="LMTPS" if self._private else "LMTP",  # RFC 3848
            number=f"{self._number}.{self._count}",
            time=self._now(),
        )
        try:
            yield from transaction.deliver(arrival)
        finally:
            self._reset()

    def _reset(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.close()


_COMMANDS: dict[str, Callable[[Conversation, Verb], Iterator[Reply | Upgrade]]] = {
    "LHLO": Conversation._lhlo,
    "STARTTLS": Conversation._starttls,
    "MAIL": Conversation._mail,
    "RCPT": Conversation._rcpt,
    "DATA": Conversation._data,
    "BDAT": Conversation._bdat,
    "RSET": Conversation._rset,
    "NOOP": Conversation._noop,
    "VRFY": Conversation._vrfy,
    "QUIT": Conversation._quit,
}
