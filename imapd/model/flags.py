"""Flags of messages: system flags, keywords, and the three ways to change them (RFC 9051 section 2.3.2).

A flag is a str as the wire has it: "\\\\Seen", "$Forwarded". System flags are compared and kept in the RFC's spelling.
Keywords are compared without regard to case, and the spelling that was seen first is kept. A Flags value holds no two
flags that are the same; make one with `flags_of_words` from words that come from outside.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final

Flags = frozenset[str]

NO_FLAGS: Final[Flags] = frozenset()

SYSTEM_FLAGS: Final = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")

RECENT: Final = "\\Recent"
"""Set by the server alone, and only in IMAP4rev1 (RFC 3501 section 2.3.2)."""

_SPELLING: Final = {flag.lower(): flag for flag in (*SYSTEM_FLAGS, RECENT)}
_SYSTEM: Final[Flags] = frozenset(SYSTEM_FLAGS)


def canonical(flag: str) -> str:
    """The flag with system flags in the RFC's spelling; keywords stay as they are."""
    return _SPELLING.get(flag.lower(), flag) if flag.startswith("\\") else flag


def same(one: str, other: str) -> bool:
    """Whether the two words are the same flag."""
    return one == other or one.lower() == other.lower()


def is_system(flag: str) -> bool:
    """Whether the flag is one of the five system flags, in the RFC's spelling."""
    return flag in _SYSTEM


def flags_of_words(words: Iterable[str]) -> Flags:
    """The flags the words name; of words that are the same flag the first is kept."""
    kept: dict[str, str] = {}
    for word in words:
        kept.setdefault(word.lower(), canonical(word))
    return frozenset(kept.values())


class FlagChange(Enum):
    """The three ways of STORE (RFC 9051 section 6.4.6): FLAGS, +FLAGS and -FLAGS."""

    REPLACE = "FLAGS"
    ADD = "+FLAGS"
    REMOVE = "-FLAGS"

    def apply(self, old: Flags, flags: Flags) -> Flags:
        """The flags of a message that had `old`, after the change."""
        if flags <= _SYSTEM and (self is not FlagChange.REPLACE or old <= _SYSTEM):
            # Nearly every change: no keyword is meant, so there is no spelling to look after.
            return flags if self is FlagChange.REPLACE else old | flags if self is FlagChange.ADD else old - flags
        return self._apply_to_keywords(old, flags)

    def _apply_to_keywords(self, old: Flags, flags: Flags) -> Flags:
        had = {flag.lower(): flag for flag in old}
        # Sorted, so that of two spellings in one command the same one is kept on every run.
        meant = {flag.lower(): flag for flag in sorted(flags, reverse=True)}
        if self is FlagChange.REMOVE:
            return frozenset([flag for key, flag in had.items() if key not in meant])
        changed = {key: had.get(key, flag) for key, flag in meant.items()}
        return frozenset((had | changed if self is FlagChange.ADD else changed).values())
