"""The keys of SEARCH in the base protocol, as a table (RFC 9051 section 6.4.4, RFC 3501 section 6.4.4).

Each key reads its arguments and becomes a criterion (model/criteria). Keys that only spell others (UNSEEN, NEW) become
Not and And of them. Text is not compared here: the store does it, decoded and without regard to case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

from imapd.imap.extension import KeyReader, SearchKey
from imapd.model import criteria
from imapd.model.criteria import And, Criterion, HasFlag, HeaderContains, Not, Or
from imapd.model.errors import BadSyntax

SEEN = HasFlag("\\Seen")


def constant(word: str, criterion: Criterion) -> type[SearchKey]:
    """A key without arguments."""

    class Constant(SearchKey):
        name = word

        @classmethod
        def read(cls, reader: KeyReader) -> Criterion:
            return criterion

    return Constant


def of_text(word: str, make: Callable[[str], Criterion]) -> type[SearchKey]:
    """A key with one string."""

    class OfText(SearchKey):
        name = word

        @classmethod
        def read(cls, reader: KeyReader) -> Criterion:
            reader.scan.sp()
            return make(reader.text())

    return OfText


def of_date(word: str, make: Callable[[date], Criterion]) -> type[SearchKey]:
    """A key with one date."""

    class OfDate(SearchKey):
        name = word

        @classmethod
        def read(cls, reader: KeyReader) -> Criterion:
            reader.scan.sp()
            return make(reader.scan.date())

    return OfDate


def of_number(word: str, make: Callable[[int], Criterion]) -> type[SearchKey]:
    """A key with one number of octets."""

    class OfNumber(SearchKey):
        name = word

        @classmethod
        def read(cls, reader: KeyReader) -> Criterion:
            reader.scan.sp()
            return make(reader.scan.number64())

    return OfNumber


def of_keyword(word: str, make: Callable[[str], Criterion]) -> type[SearchKey]:
    """A key with one keyword; a system flag is taken as well, as some clients send it."""

    class OfKeyword(SearchKey):
        name = word

        @classmethod
        def read(cls, reader: KeyReader) -> Criterion:
            reader.scan.sp()
            return make(reader.scan.flag())

    return OfKeyword


class Header(SearchKey):
    """HEADER field-name string: an empty string asks only whether the field is there."""

    name = "HEADER"

    @classmethod
    def read(cls, reader: KeyReader) -> Criterion:
        reader.scan.sp()
        try:
            field = reader.scan.astring().decode("ascii")
        except UnicodeDecodeError:
            raise BadSyntax("The name of a header field is ASCII") from None
        reader.scan.sp()
        return HeaderContains(field.removesuffix(":"), reader.text())


class Uid(SearchKey):
    """UID sequence-set; UIDs that name nothing are passed over."""

    name = "UID"

    @classmethod
    def read(cls, reader: KeyReader) -> Criterion:
        reader.scan.sp()
        return criteria.UidSequence(reader.scan.sequence_set())


class NotKey(SearchKey):
    """NOT search-key."""

    name = "NOT"

    @classmethod
    def read(cls, reader: KeyReader) -> Criterion:
        reader.scan.sp()
        with reader.scan.deeper():  # NOT NOT NOT ... is as deep as parentheses are
            return Not(reader.key())


class OrKey(SearchKey):
    """OR search-key search-key. Clients chain them for long lists of senders, so a chain is not nested deeply here."""

    name = "OR"

    @classmethod
    def read(cls, reader: KeyReader) -> Criterion:
        with reader.scan.deeper():
            return any_of(reader.keys_of_or())


def any_of(keys: Sequence[Criterion]) -> Criterion:
    """The keys, of which there is at least one, under as few levels of Or as will do."""
    if len(keys) == 1:
        return keys[0]
    middle = len(keys) // 2
    return Or(any_of(keys[:middle]), any_of(keys[middle:]))


def _header(field: str) -> Callable[[str], Criterion]:
    return lambda text: HeaderContains(field, text)


def _on(relation: str) -> Callable[[date], Criterion]:
    return lambda day: criteria.InternalDate(relation, day)


def _sent(relation: str) -> Callable[[date], Criterion]:
    return lambda day: criteria.SentDate(relation, day)


BASE_KEYS: tuple[type[SearchKey], ...] = (
    constant("ALL", criteria.All()),
    constant("ANSWERED", HasFlag("\\Answered")),
    constant("DELETED", HasFlag("\\Deleted")),
    constant("DRAFT", HasFlag("\\Draft")),
    constant("FLAGGED", HasFlag("\\Flagged")),
    constant("SEEN", SEEN),
    constant("UNANSWERED", Not(HasFlag("\\Answered"))),
    constant("UNDELETED", Not(HasFlag("\\Deleted"))),
    constant("UNDRAFT", Not(HasFlag("\\Draft"))),
    constant("UNFLAGGED", Not(HasFlag("\\Flagged"))),
    constant("UNSEEN", Not(SEEN)),
    # RFC 3501; IMAP4rev2 has dropped \Recent and with it these three.
    constant("RECENT", criteria.Recent()),
    constant("NEW", And((criteria.Recent(), Not(SEEN)))),
    constant("OLD", Not(criteria.Recent())),
    of_text("BCC", _header("bcc")),
    of_text("CC", _header("cc")),
    of_text("FROM", _header("from")),
    of_text("SUBJECT", _header("subject")),
    of_text("TO", _header("to")),
    of_text("BODY", criteria.BodyContains),
    of_text("TEXT", criteria.TextContains),
    of_date("BEFORE", _on("before")),
    of_date("ON", _on("on")),
    of_date("SINCE", _on("since")),
    of_date("SENTBEFORE", _sent("before")),
    of_date("SENTON", _sent("on")),
    of_date("SENTSINCE", _sent("since")),
    of_number("LARGER", criteria.Larger),
    of_number("SMALLER", criteria.Smaller),
    of_keyword("KEYWORD", HasFlag),
    of_keyword("UNKEYWORD", lambda flag: Not(HasFlag(flag))),
    Header,
    Uid,
    NotKey,
    OrKey,
)
