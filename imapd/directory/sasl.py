"""SASL mechanisms as generators of challenges; nothing in here knows IMAP, base64 or directories.

`exchange()` yields a challenge, is sent the client's response (decoded octets), and ends by returning Credentials;
BadSyntax is raised for a response that does not follow the mechanism. Where `initial_response_allowed`, a response
that came with the command answers the first challenge, which is then not sent. A cancelled exchange is a closed
generator.

PLAIN is RFC 4616. LOGIN has no RFC: two prompts, the name and the password, the prompts as other servers word them,
because some clients look at them.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Protocol

from imapd.model.errors import BadSyntax

Exchange = Generator[bytes, bytes, "Credentials"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who somebody says to be, what proves it, and as whom he wants to act (None: as himself)."""

    authcid: str
    password: bytes = field(repr=False)
    authzid: str | None = None


class Mechanism(Protocol):
    """One SASL mechanism; reveals_password: it needs a private connection."""

    name: str
    initial_response_allowed: bool
    reveals_password: bool

    def exchange(self) -> Exchange:
        """The server's side of one authentication."""


class Plain:
    """PLAIN (RFC 4616): everything in one message."""

    name = "PLAIN"
    initial_response_allowed = True
    reveals_password = True

    def exchange(self) -> Exchange:
        """message = [authzid] NUL authcid NUL passwd"""
        response = yield b""
        pieces = response.split(b"\0")
        if len(pieces) != 3:
            raise BadSyntax("PLAIN wants [authzid] NUL authcid NUL password")
        authzid, authcid, password = pieces
        return Credentials(_name(authcid), password, _name(authzid) if authzid else None)


class Login:
    """LOGIN: prompts for the name, then for the password."""

    name = "LOGIN"
    initial_response_allowed = True
    reveals_password = True

    def exchange(self) -> Exchange:
        """The name, then the password."""
        # Some clients end both with a NUL, as C strings.
        authcid = _name((yield b"Username:").removesuffix(b"\0"))
        password = (yield b"Password:").removesuffix(b"\0")
        return Credentials(authcid, password)


def _name(octets: bytes) -> str:
    try:
        name = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("names are in UTF-8") from None
    if not name or "\0" in name:
        raise BadSyntax("a name is missing")
    return name


MECHANISMS: dict[str, type[Mechanism]] = {Plain.name: Plain, Login.name: Login}
