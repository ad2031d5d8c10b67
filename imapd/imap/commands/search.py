"""SEARCH and UID SEARCH (RFC 9051 section 6.4.4, RFC 3501 section 6.4.4, RFC 4731).

    search = "SEARCH" [SP "RETURN" SP "(" [option *(SP option)] ")"] [SP "CHARSET" SP charset] 1*(SP search-key)

1. The keys and the RETURN options are tables. The tree of keys goes to mailstore/search, which does all the finding.
2. Without RETURN a client of IMAP4rev1 gets SEARCH, one of IMAP4rev2 ESEARCH with ALL.
3. Text is UTF-8 unless CHARSET says otherwise; any charset that mail is read in will do. One that is not known is
   refused when the command runs, not when it is read: RFC 5182 section 2.1 has "$" emptied by such a refusal.
4. A message that somebody expunged and the client has not been told of is not found (RFC 2180 section 4.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from imapd.imap.command import MAILBOX_OPEN, Command, Done, Running
from imapd.imap.commands.searchkeys import BASE_KEYS
from imapd.imap.extension import Extension, SearchReturn, read_options
from imapd.mailstore.search import search
from imapd.mime.text import codec_of
from imapd.model.criteria import And, Criterion, Sequence
from imapd.model.errors import BadSyntax, Refused
from imapd.model.sets import RangeSet
from imapd.wire.responses import ESearch, SearchResponse

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.wire.scanner import Scanner

# Of the charsets that Python knows, a few that clients use; any other is taken as well.
CHARSETS = ("US-ASCII", "UTF-8", "ISO-8859-1", "ISO-8859-15", "WINDOWS-1252", "KOI8-R", "ISO-2022-JP", "GB18030")

KEYS = 10_000
"""Keys of one search: each is asked of each message."""

_SET_BEGINS = tuple(b"%c" % octet for octet in b"0123456789*$")


@dataclass(slots=True)
class Reader:
    """Reads search keys (extension.KeyReader)."""

    scan: Scanner
    session: Session
    charset: str | None = None
    keys: int = 0

    def key(self) -> Criterion:
        """search-key = key-name [arguments] / sequence-set / "(" search-key *(SP search-key) ")"."""
        word = _word(self.scan)
        if word:
            return self.named(word)
        if self.scan.peek() == b"(":
            keys = self.scan.parenthesized(self.key, KEYS)
            if not keys:
                raise BadSyntax("Parentheses hold at least one search key")
            return And(tuple(keys))
        if self.scan.peek() in _SET_BEGINS:
            self._count()
            return Sequence(self.scan.sequence_set())
        raise BadSyntax("Expected a search key")

    def keys_of_or(self) -> list[Criterion]:
        """SP search-key SP search-key, and for each that is an OR again its own two."""
        keys: list[Criterion] = []
        missing = 2
        while missing:
            self.scan.sp()
            word = _word(self.scan)
            if word == "OR":
                missing += 1
                continue
            keys.append(self.named(word) if word else self.key())
            missing -= 1
            self.session.loop.breathe()
        return keys

    def named(self, word: str) -> Criterion:
        """The key of that name."""
        self._count()
        key = self.session.offers.search_keys.get(word)
        if key is None:
            raise BadSyntax(f"SEARCH has no key {word}")
        return key.read(self)

    def _count(self) -> None:
        self.keys += 1
        if self.keys > KEYS:
            raise Refused(f"A search may have {KEYS} keys.", code="LIMIT")

    def text(self) -> str:
        """astring, in the charset of the command."""
        octets = self.scan.astring()
        if self.charset is None or is_lenient(self.charset):
            return _lenient(octets)
        codec = codec_of(self.charset.encode())
        if codec is None:
            return ""  # the command will be refused
        try:
            return octets.decode(codec)
        except UnicodeError:
            raise BadSyntax(f"The text is not {self.charset}") from None


@dataclass(frozen=True, slots=True)
class Search(Command):
    """SEARCH; see the top of this module."""

    name = "SEARCH"
    states = MAILBOX_OPEN
    may_expunge = False
    by_uid: ClassVar[bool] = False

    wanted: Criterion
    returns: tuple[SearchReturn, ...] = ()
    charset: str | None = None

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        reader = Reader(scan, session)
        word = _word(scan)
        extended = word == "RETURN"
        returns: tuple[SearchReturn, ...] = ()
        if extended:
            scan.sp()
            returns = read_options(scan, session, session.offers.search_returns, "SEARCH has no result option")
            scan.sp()
            word = _word(scan)
        if word == "CHARSET":
            scan.sp()
            reader.charset = scan.astring().decode("ascii", "replace")
            scan.sp()
            word = _word(scan)
        wanted = _read_keys(reader, word)
        scan.end()
        if not returns and (extended or session.rev2):
            returns = _default_returns(session)
        return cls(wanted, returns, reader.charset)

    def run(self, session: Session) -> Running:
        found = self._found(session)
        numbers = [uid if self.by_uid else sequence for sequence, uid in found]
        if not self.returns:
            yield SearchResponse(numbers)
            return Done()
        self._save(session, [uid for _, uid in found])
        items: list[tuple[str, bytes | None]] = []
        for option in self.returns:
            session.loop.breathe()
            items.append((option.name, option.render(numbers)))
        # RFC 5182 section 2.1: SAVE alone has no answer.
        if any(not option.saves for option in self.returns):
            told = [(name, value) for name, value in items if value is not None]
            yield ESearch(session.tag, self.by_uid, told)
        return Done()

    def _found(self, session: Session) -> list[tuple[int, int]]:
        """What fits; where it cannot be told, "$" is emptied, if it was to be set (RFC 5182 section 2.1)."""
        try:
            if self.charset is not None and not is_lenient(self.charset) and codec_of(self.charset.encode()) is None:
                raise Refused("That charset is not known here.", code=f"BADCHARSET ({' '.join(CHARSETS)})")
            return search(self.wanted, session.view, session.loop)
        except BadSyntax:
            raise  # what is BAD changes nothing
        except Exception:
            if any(option.saves for option in self.returns):
                session.view.saved = RangeSet()
            raise

    def _save(self, session: Session, uids: list[int]) -> None:
        """Keep the result for "$" if that was asked for (RFC 5182 section 2.4)."""
        if not any(option.saves for option in self.returns):
            return
        others = [option for option in self.returns if not option.saves]
        kept = [option.kept(uids) for option in others] or [uids]
        session.view.saved = RangeSet.of({uid for some in kept for uid in some})


class UidSearch(Search):
    """uid = "UID" SP search: the answer is in UIDs (RFC 9051 section 6.4.9)."""

    name = "UID SEARCH"
    may_expunge = True  # RFC 3501 section 7.4.1: UID SEARCH is not SEARCH
    by_uid = True


def is_lenient(charset: str) -> bool:
    """Whether it is one of the charsets whose text is read as the UTF-8 that clients send whatever they announce."""
    return charset.upper() in ("US-ASCII", "ASCII", "UTF-8", "UTF8")


def _lenient(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _word(scan: Scanner) -> str:
    """The name of a key, or nothing where none is next but a sequence set or a parenthesis."""
    return scan.keyword() if scan.peek().isalpha() else ""


def _read_keys(reader: Reader, word: str) -> Criterion:
    """All keys to the end of the line; the name of the first has been read already, if it has one."""
    keys = [reader.named(word) if word else reader.key()]
    while reader.scan.accept(b" ") and not reader.scan.at_end():
        keys.append(reader.key())
    return keys[0] if len(keys) == 1 else And(tuple(keys))


def _default_returns(session: Session) -> tuple[SearchReturn, ...]:
    """RETURN () and a plain search of IMAP4rev2 mean RETURN (ALL)."""
    everything: Iterable[type[SearchReturn]] = filter(None, (session.offers.search_returns.get("ALL"),))
    return tuple(option() for option in everything)


extension = Extension(commands=(Search, UidSearch), search_keys=BASE_KEYS)
