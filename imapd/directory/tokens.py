"""Tokens that somebody else issues (OAuth 2), as a login sees them: who is it that this one is for?"""

from dataclasses import dataclass
from typing import Protocol


class Issuer(Protocol):
    """Whose tokens are believed."""

    def holder(self, token: str) -> str:
        """The login name of the person whom a token is for; ValueError, without the token, where it is not right.

        Raises Unreachable where the keys have never been seen.
        """


@dataclass(frozen=True, slots=True)
class Terms:
    """What a token has to say. scope: a word of its scope claim, if one is wanted; claim: the one with the name."""

    issuer: str
    audience: str
    claim: str = "email"
    scope: str | None = None
