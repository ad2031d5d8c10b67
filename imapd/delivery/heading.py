"""The lines that a delivery writes above a message: Return-Path: (RFC 5321 section 4.4), Delivered-To: and, where the
message came by LMTP, Received:. And what a pipe brings above it, which is no part of it: a "From " line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate

# A "From " line and a Return-Path: are taken off only where they are the very first lines: so much is looked at.
LOOKED_AT = 4096
_POSTMARK = re.compile(rb">?From ([^\r\n]*)\r?\n")
_RETURN_PATH = re.compile(rb"return-path:[ \t]*<?([^<>\r\n]*)>?[ \t]*\r?\n(?![ \t])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a message came by LMTP, for its Received: line. client: its name and address; server: ours; number: the id
    that the log has; time: seconds since the epoch."""

    client: str
    server: str
    protocol: str
    number: str
    time: float


def heading(sender: str | None, recipient: str, arrival: Arrival | None = None) -> bytes:
    """The lines above a recipient's copy. sender: the envelope's, "" for the null one, None where nobody told."""
    lines = [] if sender is None else [f"Return-Path: <{sender}>"]
    lines.append(f"Delivered-To: {recipient}")
    if arrival is not None:
        lines.append(f"Received: from {arrival.client}")
        lines.append(f"\tby {arrival.server} with {arrival.protocol} id {arrival.number}")
        lines.append(f"\tfor <{recipient}>; {formatdate(arrival.time, localtime=True)}")
    return "".join(line + "\r\n" for line in lines).encode("utf-8")


def unwrapped(beginning: bytes) -> tuple[bytes, str | None]:
    """The beginning of a message without its "From " line and a Return-Path: at its head, and the sender that they
    name, "" for the null one, None where they name none."""
    sender = None
    if match := _POSTMARK.match(beginning):
        beginning = beginning[match.end() :]
        word = match[1].split(b" ")[0]
        sender = "" if word == b"MAILER-DAEMON" else _text(word)
    if match := _RETURN_PATH.match(beginning):
        beginning = beginning[match.end() :]
        sender = _text(match[1].strip())
    return beginning, sender


def _text(word: bytes) -> str | None:
    try:
        text = word.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
