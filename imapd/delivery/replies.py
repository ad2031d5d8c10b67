"""What a conversation in LMTP says, and what it needs from outside."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import Protocol

from imapd.delivery.draft import Draft
from imapd.delivery.outcome import MISTAKE, Verdict
from imapd.delivery.post import Recipient

log = logging.getLogger("imapd.delivery")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client is told: a code, an enhanced code where there is one, and lines of text.

    now: to be sent before anything else is done.
    """

    code: int
    status: str
    text: str | tuple[str, ...]
    now: bool = False

    def octets(self) -> bytes:
        """The reply as it goes over the wire (RFC 5321 section 4.2, RFC 2034)."""
        lines = (self.text,) if isinstance(self.text, str) else self.text
        status = f"{self.status} " if self.status else ""
        spelled = [f"{self.code}-{status}{line}\r\n" for line in lines[:-1]]
        return "".join([*spelled, f"{self.code} {status}{lines[-1]}\r\n"]).encode("utf-8")


class Upgrade:
    """TLS is to begin; `upgraded` says that it has."""


class Office(Protocol):
    """Who knows recipients and delivers: delivery/post."""

    @property
    def limit(self) -> int: ...
    def draft(self) -> Draft: ...
    def recipient(self, address: str) -> Recipient: ...
    def deliver(self, recipient: Recipient, draft: Draft, heading: bytes) -> str: ...


class Log(Protocol):
    """Writes an event with the connection's fields."""

    def __call__(self, event: str, **fields: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What the settings say. server: our name; starttls: TLS is offered; client: the peer's address, for Received:."""

    server: str = "localhost"
    client: str = ""
    starttls: bool = False


def answer(verdict: Verdict, text: str | None = None, now: bool = False) -> Reply:
    """What became of a delivery, as a reply."""
    return Reply(verdict.code, verdict.status, text or verdict.text, now=now)


def reported(error: Exception) -> str:
    """Log an exception that nobody foresaw, under an id that the client is told."""
    number = secrets.token_hex(4)
    log.error("unforeseen error %s in a delivery", number, exc_info=error)
    return f"{MISTAKE.text}; the log has it under {number}"
