"""A client and the connection it talks over, in memory: tests of the conversation read like dialogues.

    talk = Talk().login()
    assert talk.say("a1 NOOP") == ["a1 OK NOOP completed."]

`say` sends a line and gives the lines that the server sends until it waits for the client again; `send` sends octets as
they are. Talk does what server/connection does: it drives the framer and the conversation, asks whether a literal may
come, and hands lines and bells to the command that waits for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from imapd.imap import catalogue
from imapd.imap.command import Await, Continue, Upgrade
from imapd.imap.dispatch import Admitted, Conversation
from imapd.imap.extension import Offers
from imapd.imap.session import Session, SessionSettings
from imapd.mailstore.memory import MemoryStore
from imapd.wire.framer import Framer, Line, LiteralOffered, TooLong
from imapd.wire.responses import ContinueResponse
from tests.support.loop import PlainLoop
from tests.support.people import People

DEFAULT = SessionSettings(server_name="mail.example", plaintext_login=True, version="1", append_limit=100_000)


class Talk:
    """One client's connection; several of them may share a store."""

    def __init__(
        self,
        store: Any = None,
        people: People | None = None,
        settings: SessionSettings = DEFAULT,
        private: bool = True,
        offers: Offers | None = None,
        loop: PlainLoop | None = None,
    ) -> None:
        self.loop = loop or PlainLoop()
        self.store = store or MemoryStore(self.loop)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.session = Session(
            offers=offers or catalogue.offers(),
            loop=self.loop,
            directory=people or People(),
            store=self.store,
            peer="192.0.2.1",
            private=private,
            settings=settings,
            log=self._log,
        )
        self.conversation = Conversation(self.session)
        self.framer = Framer(self.conversation.max_line)
        self.closed = False
        self.upgraded = False
        self._answer: Any = None  # the generator of the command that waits for the client
        self._listened: Any = None  # the view that it listens to
        self._out: list[bytes] = []
        self._rung = False
        self._write(self.conversation.greeting())
        self.greeting = self._collect()[0]

    # --- what a client does ------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> list[str]:
        """Send octets; the lines that come back."""
        assert not self.closed, "the server has closed the connection"
        self.framer.feed(data)
        self._pump()
        return self._collect()

    def say(self, line: str) -> list[str]:
        """Send a line (CRLF is added); the lines that come back."""
        return self.send(line.encode() + b"\r\n")

    def login(self, name: str = "alice", password: str = "secret") -> Talk:
        """Log in, and go on."""
        assert self.say(f"login LOGIN {name} {password}")[-1].startswith("login OK")
        return self

    def select(self, mailbox: str = "INBOX") -> Talk:
        """Select a mailbox, and go on."""
        assert self.say(f"select SELECT {mailbox}")[-1].startswith("select OK")
        return self

    def enable(self, word: str = "IMAP4rev2") -> Talk:
        """Switch an extension on, and go on."""
        assert self.say(f"enable ENABLE {word}")[-1].startswith("enable OK")
        return self

    def append(
        self, message: bytes | str = b"Subject: x\r\n\r\nx\r\n", mailbox: str = "INBOX", flags: str = ""
    ) -> Talk:
        """Append a message, and go on. The flags are with their parentheses."""
        data = message.encode() if isinstance(message, str) else message
        head = f"append APPEND {mailbox} {flags + ' ' if flags else ''}{{{len(data)}+}}\r\n"
        answer = self.send(head.encode() + data + b"\r\n")
        assert answer[-1].startswith("append OK"), answer
        return self

    def hear(self) -> list[str]:
        """What the server says of its own accord in IDLE: nothing, unless the bell was rung."""
        if self._rung:
            self._rung = False
            self._advance(None)
        return self._collect()

    def wake(self) -> list[str]:
        """As hear, after the connection has waited for as long as it waits."""
        self._rung = True
        return self.hear()

    def hang_up(self) -> None:
        """The client goes away."""
        self._close()

    def logged(self, event: str) -> list[dict[str, object]]:
        """The fields of all events of that name."""
        return [fields for name, fields in self.events if name == event]

    # --- what a connection does --------------------------------------------------------------------------------------

    def _pump(self) -> None:
        while not self.closed:
            event = self.framer.next()
            if event is None:
                return
            if isinstance(event, LiteralOffered):
                self._literal(event)
            elif isinstance(event, TooLong):
                self._write(self.conversation.too_long(event))
                self._look()
            elif self._answer is None:
                self._answer = self.conversation.answer(event)
                self._advance(None)
            else:
                self._advance(event)

    def _literal(self, offer: LiteralOffered) -> None:
        decision = self.conversation.admit(offer)
        if isinstance(decision, Admitted):
            self._write(decision.reply)
            self.framer.accept(decision.sink)
            return
        self._write(decision.responses)
        self.framer.refuse()
        if decision.close:
            self._close()

    def _advance(self, sent: Line | bool | None) -> None:
        while True:
            try:
                word = self._answer.send(sent)
            except StopIteration:
                self._answer = self._listened = None
                self._look()
                return
            sent = None
            if isinstance(word, Continue):
                self._write([ContinueResponse(word.text)])
                return
            if isinstance(word, Await):
                if word.view is None or word.view is self._listened:
                    return
                self._listened = word.view  # and what came before is looked for at once
                word.view.listen(self._ring)
                continue
            if isinstance(word, Upgrade):
                assert self.framer.buffered == 0, "the client has sent something behind STARTTLS"
                self.upgraded = sent = True
            else:
                self._write([word])

    def _look(self) -> None:
        self.framer.max_line = self.conversation.max_line
        if self.session.ended:
            self._close()

    def _close(self) -> None:
        self.closed = True
        if self._answer is not None:
            self._answer.close()
            self._answer = None
        self.conversation.close()

    def _ring(self) -> None:
        self._rung = True

    def _write(self, responses: Iterable[Any]) -> None:
        for response in responses:
            self._out += response.chunks(self.session.utf8)

    def _collect(self) -> list[str]:
        said, self._out = b"".join(self._out), []
        lines = said.decode("utf-8").split("\r\n")
        assert lines.pop() == "", "the server has sent half a line"
        return lines

    def _log(self, event: str, *, level: int = 20, **fields: object) -> None:
        self.events.append((event, fields))


def octets(responses: Iterable[Any], utf8: bool = False) -> bytes:
    """Responses as they go over the wire."""
    return b"".join(chunk for response in responses for chunk in response.chunks(utf8))
