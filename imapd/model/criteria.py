"""A search as a tree of values (RFC 3501 section 6.4.4, RFC 9051 section 6.4.4).

The parser (imap/commands/search) makes the tree, the store (mailstore/search) walks it. Every key is a frozen value;
the keys of the RFC that are only spellings of others (UNSEEN, NEW, UNDRAFT, ...) do not appear: they become Not,
And and HasFlag. Sequence numbers are resolved to UIDs by whoever knows the view, so a tree holds no sequence numbers
when the store walks it.
"""

from dataclasses import dataclass
from datetime import date

from imapd.model.sets import RangeSet, SequenceSet


class Criterion:
    """The base of all search keys."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class All(Criterion):
    """Every message."""


@dataclass(frozen=True, slots=True)
class And(Criterion):
    """All of the keys hold; an empty tuple holds for every message."""

    keys: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class Or(Criterion):
    """At least one of the two keys holds."""

    left: Criterion
    right: Criterion


@dataclass(frozen=True, slots=True)
class Not(Criterion):
    """The key does not hold."""

    key: Criterion


@dataclass(frozen=True, slots=True)
class Sequence(Criterion):
    """The message's sequence number is in the set, as the client wrote it; resolved before the store sees it."""

    numbers: SequenceSet


@dataclass(frozen=True, slots=True)
class UidSequence(Criterion):
    """The message's UID is in the set, as the client wrote it (`*` is the highest UID of the view)."""

    numbers: SequenceSet


@dataclass(frozen=True, slots=True)
class Uids(Criterion):
    """The message's UID is in the set, resolved."""

    uids: RangeSet


@dataclass(frozen=True, slots=True)
class HasFlag(Criterion):
    """The message has the flag: a system flag ("\\\\Seen") or a keyword (compared without regard to case)."""

    flag: str


@dataclass(frozen=True, slots=True)
class Recent(Criterion):
    """The message is recent to this session (RFC 3501 section 2.3.2)."""


@dataclass(frozen=True, slots=True)
class Larger(Criterion):
    """RFC822.SIZE is greater than the number of octets."""

    octets: int


@dataclass(frozen=True, slots=True)
class Smaller(Criterion):
    """RFC822.SIZE is less than the number of octets."""

    octets: int


@dataclass(frozen=True, slots=True)
class InternalDate(Criterion):
    """The internal date, without time and zone, compares with the date. relation: "before", "on" or "since"."""

    relation: str
    day: date


@dataclass(frozen=True, slots=True)
class SentDate(Criterion):
    """The Date header field, without time and zone, compares with the date. relation: "before", "on" or "since"."""

    relation: str
    day: date


@dataclass(frozen=True, slots=True)
class HeaderContains(Criterion):
    """A header field of that name contains the text; an empty text asks only for the field's presence."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class BodyContains(Criterion):
    """The decoded text of the body contains the text (SEARCH BODY)."""

    text: str


@dataclass(frozen=True, slots=True)
class TextContains(Criterion):
    """The header or the decoded text of the body contains the text (SEARCH TEXT)."""

    text: str
