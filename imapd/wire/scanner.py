"""Reads the words of one command, from left to right (RFC 9051 section 9).

A Scanner is a cursor over a Line. Each method reads one production of the grammar, which stands in its docstring, and
moves the cursor behind it, or raises BadSyntax with a text that says what was expected and shows nothing of what was
sent (it might be a password). Nothing but BadSyntax is ever raised, whatever the octets. Every reading takes time in
proportion to what it reads, and long lines are read with breaths between; only what is nested costs stack, and that is
limited, as lists are.

More is accepted than the grammar has, where clients are known to send it: octets of 8 bits in quoted strings, days of
one digit in dates, blanks at the end of a line.
"""

import re
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from datetime import date
from typing import Final, NoReturn, TypeVar

from imapd.model.errors import BadSyntax
from imapd.model.flags import canonical
from imapd.model.names import BadName, decode_pattern, decode_wire
from imapd.model.sets import LARGEST, SequenceSet
from imapd.wire import dates
from imapd.wire.framer import LARGEST_LITERAL, Line, Literal
from imapd.wire.section import SectionSpec

Item = TypeVar("Item")

NESTING: Final = 32
"""Parentheses in parentheses: more than any client writes, and little enough for a reader that calls itself."""

ITEMS: Final = 1_000
"""Items of a list, where the reader of the list does not say otherwise."""

LARGEST_64: Final = LARGEST_LITERAL
_BLOCK: Final = 256  # words between two breaths: less than a millisecond

# ATOM-CHAR leaves out ( ) { SP CTL % * " \ ]; ASTRING-CHAR has ] again; a keyword stops at the [ of a section as well.
_ATOM = re.compile(rb'[^\x00-\x20(){%*"\\\]\x7f-\xff]+')
_KEYWORD = re.compile(rb'[^\x00-\x20(){%*"\\\]\[<>\x7f-\xff]+')
_ASTRING = re.compile(rb'[^\x00-\x20(){%*"\\\x7f-\xff]+')
_LIST_MAILBOX = re.compile(rb'[^\x00-\x20(){"\\\x7f-\xff]+')
LONGEST_TAG = 255  # clients use fewer than ten; a longer one is no client's
LONGEST_FLAG = 255
LONGEST_PATH = 256  # numbers of a part; no message is read to such a depth
_TAG = re.compile(rb'[^\x00-\x20(){%*"\\+\x7f-\xff]+')
_QUOTED = re.compile(rb'"((?:[^"\\\x00\r\n]++|\\["\\])*+)"')
_ESCAPED = re.compile(rb"\\(.)")
_FLAG = re.compile(rb'\\?[^\x00-\x20(){%*"\\\]\x7f-\xff]+')
_NIL = re.compile(rb'NIL(?![^\x00-\x20(){%*"\\\x7f-\xff])', re.IGNORECASE)
_DIGITS = re.compile(rb"[0-9]+")
_SET = re.compile(rb"[0-9:,*]+|\$")
_SPACES = re.compile(rb" *")
_REST = re.compile(rb"[^\x00]*")

_SECTION_TEXTS: Final = ("HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME")


class Scanner:
    """A cursor over one line. `utf8` is whether the client sends mailbox names in UTF-8 (RFC 6855, RFC 9051); `breathe`
    is called now and then while a long line is read."""

    def __init__(self, line: Line, utf8: bool = False, breathe: Callable[[], None] | None = None) -> None:
        self._pieces = line.pieces
        self._utf8 = utf8
        self._place = -1  # of the text in the pieces
        self._text, self._position = b"", 0
        self._depth = 0
        self._breathe = breathe
        self._words = 0
        self._next_text()

    # What stands at the cursor.

    def at_end(self) -> bool:
        """Whether everything has been read."""
        return self._position == len(self._text) and self._place + 1 >= len(self._pieces)

    def peek(self) -> bytes:
        """The next octet, b"{" where a literal comes, b"" at the end; the cursor stays."""
        if self._position < len(self._text):
            return self._text[self._position : self._position + 1]
        return b"" if self.at_end() else b"{"

    def accept(self, octets: bytes) -> bool:
        """Step over the octets where they come next, and say whether they did."""
        if not self._text.startswith(octets, self._position):
            return False
        self._position += len(octets)
        return True

    def expect(self, octets: bytes) -> None:
        """Step over the octets, which must come next."""
        if not self.accept(octets):
            _fail(f'"{octets.decode("ascii", "replace")}"')

    def sp(self) -> None:
        """SP"""
        if not self.accept(b" "):
            _fail("a space")

    def skip_spaces(self) -> None:
        """Step over blanks, where a client is known to send too many."""
        self._match(_SPACES, "")

    def end(self) -> None:
        """The end of the command; blanks before it are overlooked."""
        self.skip_spaces()
        if not self.at_end():
            _fail("the end of the command")

    def rest(self) -> bytes:
        """Everything up to the end of the command, as it was sent; there must be no literal in it."""
        octets = self._match(_REST, "text")[0]
        if not self.at_end():
            _fail("text without NUL and without literals")
        return octets

    # Words.

    def tag(self) -> str:
        """tag = 1*<any ASTRING-CHAR except "+">, of at most LONGEST_TAG octets: it comes back in the answer."""
        found = self._match(_TAG, "a tag")[0]
        if len(found) > LONGEST_TAG:
            raise BadSyntax(f"A tag may have {LONGEST_TAG} octets")
        return found.decode("ascii")

    def command_name(self) -> str:
        """The name of a command, in capitals."""
        return self._match(_KEYWORD, "a command")[0].decode("ascii").upper()

    def keyword(self) -> str:
        """A word of the protocol, in capitals: an atom that stops before "[" and "<"."""
        return self._match(_KEYWORD, "a word")[0].decode("ascii").upper()

    def atom(self) -> bytes:
        """atom = 1*ATOM-CHAR"""
        return self._match(_ATOM, "an atom")[0]

    def astring(self) -> bytes:
        """astring = 1*ASTRING-CHAR / string"""
        if self.peek() in (b'"', b"{"):
            return self.string()
        return self._match(_ASTRING, "a string or an atom")[0]

    def string(self) -> bytes:
        """string = quoted / literal"""
        if self._position == len(self._text):
            return self._literal_text()
        octets = self._match(_QUOTED, "a string")[1]
        return _ESCAPED.sub(rb"\1", octets) if b"\\" in octets else octets

    def nstring(self) -> bytes | None:
        """nstring = string / nil"""
        match = _NIL.match(self._text, self._position)
        if match is None:
            return self.string()
        self._position = match.end()
        return None

    def literal(self) -> Literal:
        """literal / literal8, as APPEND has it: it may be large, in a sink, and hold NUL where it is a literal8."""
        if self._position < len(self._text) or self._place + 1 >= len(self._pieces):
            _fail("a literal")
        literal = self._pieces[self._place + 1]
        if not isinstance(literal, Literal):
            _fail("a literal")
        self._place += 1
        self._next_text()
        return literal

    # Numbers and dates.

    def number(self) -> int:
        """number = 1*DIGIT, of 32 bits"""
        return self._number(0, LARGEST)

    def nz_number(self) -> int:
        """nz-number, of 32 bits"""
        return self._number(1, LARGEST)

    def number64(self) -> int:
        """number64 = 1*DIGIT, of 63 bits"""
        return self._number(0, LARGEST_64)

    def nz_number64(self) -> int:
        """nz-number64, of 63 bits"""
        return self._number(1, LARGEST_64)

    def sequence_set(self) -> SequenceSet:
        """sequence-set, "$" included (RFC 5182)"""
        octets = self._match(_SET, "a set of message numbers")[0]
        try:
            return SequenceSet.parse(octets, self._breathe)
        except ValueError:
            _fail("a set of message numbers")

    def date(self) -> date:
        """date = date-text / DQUOTE date-text DQUOTE"""
        in_quotes = self.accept(b'"')
        match = self._match(dates.DATE, "a date")
        if in_quotes:
            self.expect(b'"')
        try:
            return dates.date_of(match)
        except ValueError:
            _fail("a date")

    def date_time(self) -> int:
        """date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE, as seconds of 1970"""
        try:
            return dates.moment_of(self._match(dates.DATE_TIME, "a date and time"))
        except ValueError:
            _fail("a date and time")

    # Mailboxes and flags.

    def mailbox(self) -> str:
        """mailbox = "INBOX" / astring, as a canonical name"""
        return self._name(self.astring(), decode_wire)

    def list_mailbox(self) -> str:
        """list-mailbox = 1*list-char / string, decoded as names are; the wildcards stay"""
        if self.peek() in (b'"', b"{"):
            octets = self.string()
        else:
            octets = self._match(_LIST_MAILBOX, "a mailbox name or pattern")[0]
        return self._name(octets, decode_pattern)

    def flag(self) -> str:
        r"""flag = "\Answered" / ... / flag-keyword / flag-extension, in its canonical spelling"""
        octets = self._match(_FLAG, "a flag")[0]
        if len(octets) > LONGEST_FLAG:
            raise BadSyntax(f"A flag may have {LONGEST_FLAG} octets")
        return canonical(octets.decode("ascii"))

    def flag_list(self) -> tuple[str, ...]:
        """flag-list = "(" [flag *(SP flag)] ")" """
        return tuple(self.parenthesized(self.flag))

    def flags_lenient(self) -> tuple[str, ...]:
        """flag-list / (flag *(SP flag)), as STORE has it"""
        if self.peek() == b"(":
            return self.flag_list()
        flags = [self.flag()]
        while self.accept(b" "):
            _check_number(flags, ITEMS)
            flags.append(self.flag())
        return tuple(flags)

    # Sections of a message.

    def section(self) -> SectionSpec:
        """section = "[" [section-spec] "]" """
        self.expect(b"[")
        if self.accept(b"]"):
            return SectionSpec()
        parts, dotted = self._parts()
        text: str | None = None
        fields: tuple[bytes, ...] = ()
        if dotted or not parts:
            text = self._section_text(bool(parts))
            if text.startswith("HEADER.FIELDS"):
                self.sp()
                fields = self._header_list()
        self.expect(b"]")
        return SectionSpec(parts, text, fields)

    def section_binary(self) -> tuple[int, ...]:
        """section-binary = "[" [section-part] "]" """
        self.expect(b"[")
        parts, dotted = self._parts()
        if dotted:
            _fail("a part number")
        self.expect(b"]")
        return parts

    def partial(self) -> tuple[int, int] | None:
        """partial = "<" number64 "." nz-number64 ">", as (first octet, how many), or None where there is none"""
        if not self.accept(b"<"):
            return None
        start = self.number64()
        self.expect(b".")
        length = self.nz_number64()
        self.expect(b">")
        return start, length

    # Lists.

    def parenthesized(self, reader: Callable[[], Item], most: int = ITEMS) -> list[Item]:
        """ "(" [item *(SP item)] ")", each item read by the reader; whether it may be empty is known by the caller"""
        items: list[Item] = []
        with self.deeper():
            self.expect(b"(")
            while not self.accept(b")"):
                if items:
                    self.sp()
                _check_number(items, most)
                items.append(reader())
        return items

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """Count one level of nesting for what is read inside; too many are refused."""
        if self._depth >= NESTING:
            raise BadSyntax("Nested too deeply")
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    # The machinery.

    def _next_text(self) -> None:
        self._place += 1
        text = self._pieces[self._place]
        self._text = text if isinstance(text, bytes) else b""
        self._position = 0

    def _match(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        match = pattern.match(self._text, self._position)
        if match is None:
            _fail(what)
        self._position = match.end()
        self._words += 1
        if self._breathe is not None and not self._words % _BLOCK:
            self._breathe()
        return match

    def _literal_text(self) -> bytes:
        literal = self.literal()
        if literal.data is None or literal.binary:
            _fail("a string")
        if b"\0" in literal.data:  # RFC 9051 section 4.3: CHAR8 has no NUL
            _fail("a string without NUL")
        return literal.data

    def _number(self, least: int, most: int) -> int:
        digits = self._match(_DIGITS, "a number")[0].lstrip(b"0")
        number = int(digits or b"0") if len(digits) <= 19 else most + 1
        if not least <= number <= most:
            _fail("a number in its range")
        return number

    def _name(self, octets: bytes, decode: Callable[[bytes, bool], str]) -> str:
        try:
            return decode(octets, self._utf8)
        except BadName as error:
            raise BadSyntax(str(error)) from None

    def _parts(self) -> tuple[tuple[int, ...], bool]:
        """section-part, and whether a "." came behind it."""
        parts: list[int] = []
        dotted = False
        while self.peek().isdigit():
            parts.append(self.nz_number())
            _check_number(parts, LONGEST_PATH)
            dotted = self.accept(b".")
            if not dotted:
                break
        return tuple(parts), dotted

    def _section_text(self, in_part: bool) -> str:
        """section-msgtext / "MIME"; a header of a part that is no message is MIME's."""
        text = self.keyword()
        if text not in _SECTION_TEXTS or (text == "MIME" and not in_part):
            _fail("a section")
        return text

    def _header_list(self) -> tuple[bytes, ...]:
        fields = self.parenthesized(self.astring)
        if not fields:
            _fail("the name of a header field")
        return tuple(fields)


def _fail(what: str) -> NoReturn:
    raise BadSyntax(f"Expected {what}")


def _check_number(items: Sized, most: int) -> None:
    """Refuse a list that has that many items already, before one more is read."""
    if len(items) >= most:
        raise BadSyntax(f"A list may have {most} items")
