"""IDLE (RFC 2177, RFC 9051 section 6.3.13): tell the news as they come, until the client says DONE.

The first line after IDLE is the continuation, news or not: there are clients that give up push where it is not. A word
of life is sent only after a long silence, since it wakes the radio of a phone for nothing. The command never ends by
itself while the mailbox is there: a client whose IDLE was cut may not come back to it.
"""

from dataclasses import dataclass

from imapd.imap.command import LOGGED_IN, Await, Command, Done, News, Running, State
from imapd.imap.extension import Extension
from imapd.imap.session import Session
from imapd.model.errors import BadSyntax
from imapd.wire.framer import Line
from imapd.wire.responses import ContinueResponse, Status


@dataclass(frozen=True, slots=True)
class Idle(Command):
    """idle = "IDLE" CRLF "DONE".

    said_at: when the client has heard something last (Loop.monotonic()); None while it has heard nothing yet. heard:
    the line that it has sent since, or None for a bell.
    """

    name = "IDLE"
    states = LOGGED_IN

    said_at: float | None = None
    heard: Line | None = None

    def run(self, session: Session) -> Running:
        line: Line | bool | None = self.heard
        said_at = self.said_at
        if said_at is None:
            yield ContinueResponse(b"idling")
            said_at = session.loop.monotonic()
            if session.has_view:  # the first Await is over at once: one look is enough, and that has to come after it
                line = yield Await(session.view, Idle(said_at))
        while line is None:
            said = yield News()
            if session.ended:
                return Done("IDLE ended.")
            keepalive = session.settings.keepalive
            if not said and keepalive and session.loop.monotonic() - said_at >= keepalive:
                yield Status("OK", "Still here.")
                said = True
            if said:
                said_at = session.loop.monotonic()
            line = yield Await(session.view if session.has_view else None, Idle(said_at))
        if isinstance(line, Line) and line.text.strip().upper() != b"DONE":
            raise BadSyntax("IDLE is ended by DONE.")
        return Done("IDLE ended.")

    def after(self, heard: Line | None) -> "Idle":
        return Idle(self.said_at, heard)


extension = Extension(words=("IDLE",), since=State.NOT_AUTHENTICATED, commands=(Idle,))
