"""Whom a connection works with: the conversation that answers its client, the log, and how long it waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from imapd.imap.command import Command, Response, Yielded
from imapd.imap.dispatch import Admitted, Turned
from imapd.mailstore.errors import StoreError
from imapd.server.transport import Transport
from imapd.wire.framer import Line, LiteralOffered, TooLong

if TYPE_CHECKING:
    from imapd.imap.session import Session

# An honest handshake takes a second over a satellite; stalled ones are held against us.
HANDSHAKE = 15.0
# In IDLE the command is woken now and then, so that it can show that the connection lives. Spread, or ten thousand
# clients that came after a restart would be told at the same moment.
WAKE = (120.0, 240.0)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection waits for its client, in seconds."""

    login: float = 60.0
    session: float = 1800.0
    handshake: float = HANDSHAKE
    wake: tuple[float, float] = WAKE


class Conversation(Protocol):
    """What answers the lines: imap/dispatch.Conversation."""

    session: Session

    @property
    def max_line(self) -> int: ...
    def greeting(self) -> Iterable[Response]: ...
    def admit(self, offer: LiteralOffered) -> Admitted | Turned: ...
    def literal_failed(self, error: StoreError) -> Iterable[Response]: ...
    @property
    def is_resting(self) -> bool: ...
    def rest(self, command: Command) -> None: ...
    def answer(self, line: Line | None) -> Generator[Yielded, Line | bool | None, None]: ...
    def too_long(self, what: TooLong) -> Iterable[Response]: ...
    def goodbye(self, reason: str) -> Iterable[Response]: ...
    def close(self) -> None: ...


class SessionLog(Protocol):
    """Writes an event with the connection's fields."""

    def __call__(self, event: str, *, level: int = logging.INFO, **fields: object) -> None: ...


Begin = Callable[[bool, SessionLog, Transport], Conversation]
