"""ID (RFC 2971): client and server tell each other who they are.

What the client says goes to the log and nowhere else, cut to a length that a log can bear. The RFC allows 30 fields;
there are phones that send more, so twice as many are read, and the rest are passed over.
"""

from dataclasses import dataclass, field
from typing import Any, Self

from imapd.imap.command import Command, Running, State
from imapd.imap.extension import Extension
from imapd.imap.session import Session
from imapd.wire.responses import IdResponse
from imapd.wire.scanner import Scanner

FIELDS = 60
NAME_LENGTH = 30  # RFC 2971 section 3.3
VALUE_LENGTH = 200  # of 1,024 that the RFC allows


@dataclass(frozen=True, slots=True)
class Id(Command):
    """id = "ID" SP ("(" [string SP nstring *(SP string SP nstring)] ")" / nil)."""

    name = "ID"
    literal_limit = 1024

    fields: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        pairs: list[tuple[str, str]] = []
        if scan.peek() == b"(":
            pairs = scan.parenthesized(lambda: _pair(scan))
        else:
            scan.nstring()
        scan.end()
        return cls(dict(pairs[:FIELDS]))

    def run(self, session: Session) -> Running:
        first = not session.client
        session.client = self.fields or session.client
        if self.fields and first:  # once: nobody shall fill the log with it
            fields: dict[str, Any] = {f"client_{_bare(name)}": value for name, value in self.fields.items()}
            session.log("client", **fields)
        settings = session.settings
        told = (("name", settings.product), ("version", settings.version), ("support-url", settings.support_url))
        yield IdResponse([(name, value) for name, value in told if value])
        return None


def _pair(scan: Scanner) -> tuple[str, str]:
    name = scan.string().decode("utf-8", "replace").lower()[:NAME_LENGTH]
    scan.sp()
    value = scan.nstring() or b""
    return name, value.decode("utf-8", "replace")[:VALUE_LENGTH]


def _bare(name: str) -> str:
    """The name as the key of a field of the log."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)


extension = Extension(words=("ID",), since=State.NOT_AUTHENTICATED, commands=(Id,))
