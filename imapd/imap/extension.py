"""How everything that the server can do is declared, and the tables made from the declarations.

Every module of commands/ and extensions/ ends with one `extension = Extension(...)`, and catalogue.py lists them. A
module of the base protocol has no words of its own; its commands cannot be subtracted. An extension's words stand in
CAPABILITY, and only here: nothing else writes a capability word.

The entries of the tables are classes. An instance is one use of it in one command, with its arguments; `parse` reads
what follows the entry's name. So a FETCH item, a SEARCH key, a LIST option is one class in one module, and the
command only looks its name up (names are in upper case):

    offers.commands[name]                    dispatch                    Command
    offers.fetch_items[name]                 FETCH                       FetchItem
    offers.search_keys[name]                 SEARCH                      SearchKey
    offers.search_returns[name]              SEARCH RETURN (...)         SearchReturn
    offers.status_items[name]                STATUS, LIST-STATUS         StatusItem
    offers.list_selections[name]             LIST (...) "" x             ListSelection
    offers.list_returns[name]                LIST ... RETURN (...)       ListReturn
    offers.modifiers[command, name]          SELECT FETCH STORE CREATE   Modifier
    offers.mechanisms[name]                  AUTHENTICATE                directory/sasl
    offers.enables[word]                     ENABLE                      the word as it is spelled

A name offered twice is a mistake of ours and refused when the tables are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

from imapd.imap.command import Command, Response, State
from imapd.imap.session import Session
from imapd.mime.parser import parse as parse_message
from imapd.model.errors import BadSyntax

if TYPE_CHECKING:
    from array import array

    from imapd.mailstore.store import Description, MailboxEntry, MailboxStatus, Message, ReadMany, Snapshot, Text
    from imapd.mime.parts import Part
    from imapd.model.criteria import Criterion
    from imapd.wire.responses import Streamed
    from imapd.wire.scanner import Scanner


# --- the entries of the tables ---------------------------------------------------------------------------------------


class Entry:
    """What all entries have: a name, and a way to read what follows it."""

    name: ClassVar[str]

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        """Read what belongs to the entry after its name; most have nothing."""
        return cls()


class Need(Flag):
    """What FETCH must have at hand for an item beyond the columns of the snapshot."""

    NOTHING = 0
    DESCRIPTION = auto()  # ENVELOPE, BODY, BODYSTRUCTURE
    MESSAGE = auto()  # the message, open


@dataclass(slots=True)
class Record:
    """One message while FETCH answers for it. description and message are there if an item said it needs them."""

    session: Session
    sequence: int
    uid: int
    row: int
    snapshot: Snapshot
    description: Description | None = None
    message: Message | None = None
    parsed: tuple[bytes, Part] | None = None

    def parts(self) -> tuple[bytes, Part]:
        """The whole message and its tree of parts; read and parsed once, however many items ask."""
        if self.parsed is None:
            assert self.message is not None, "an item that reads the message says Need.MESSAGE"
            content = self.message.read()
            self.parsed = content, parse_message(content, self.session.loop.breathe)
        return self.parsed


@dataclass(frozen=True, slots=True)
class Piece:
    """Some messages that FETCH answers for at once: their sequence numbers, their UIDs, their rows in the snapshot.

    read: gives their octets, as many as may be in memory at a time.
    """

    session: Session
    numbers: Sequence[int]
    uids: array[int]
    rows: Sequence[int]
    snapshot: Snapshot
    read: ReadMany


Column = tuple[bytes, *tuple[Sequence[object], ...]]
"""An item of many messages: a pattern with a "%d" or "%b" for each of the columns that follow it."""


class FetchItem(Entry):
    """An item of FETCH. Its name is the word before any "[" ("BODY", "BODY.PEEK", "BINARY.SIZE").

    text: which finished text of the store the item is, if it is one.
    """

    needs: ClassVar[Need] = Need.NOTHING
    text: ClassVar[Text | None] = None
    sets_seen: bool = False

    def reads(self) -> int:
        """How many octets of a message, from its beginning on, `column` reads at most."""
        return 0

    def column(self, piece: Piece) -> Column | None:
        """The item of all messages of a piece; None where they have to be rendered one by one."""
        return None

    def render(self, record: Record) -> bytes | Streamed | None:
        """The item's name and value as FETCH sends them; None where there is nothing to say."""
        raise NotImplementedError


class KeyReader(Protocol):
    """What a search key may use to read its arguments."""

    scan: Scanner
    session: Session

    def key(self) -> Criterion:
        """Read a whole key (NOT)."""

    def keys_of_or(self) -> list[Criterion]:
        """Read the keys of an OR; where one of them is an OR again, that one's keys instead."""

    def text(self) -> str:
        """Read a string in the charset of the command."""


class SearchKey:
    """A key of SEARCH: it reads its arguments and becomes a criterion."""

    name: ClassVar[str]

    @classmethod
    def read(cls, reader: KeyReader) -> Criterion:
        """The criterion; every argument is preceded by its space (`reader.scan.sp()`)."""
        raise NotImplementedError


class SearchReturn(Entry):
    """An option of SEARCH RETURN (RFC 4731)."""

    saves: ClassVar[bool] = False  # the result is to be remembered for "$" (RFC 5182)

    def render(self, numbers: Sequence[int]) -> bytes | None:
        """The value in the ESEARCH response for the numbers found, ascending; None where it is left out."""
        raise NotImplementedError

    def kept(self, numbers: Sequence[int]) -> Sequence[int]:
        """Of the numbers found those that "$" will mean on this option's account (RFC 5182 section 2.4)."""
        return numbers


class StatusItem(Entry):
    """An item of STATUS; all are plain numbers."""

    @staticmethod
    def value(status: MailboxStatus) -> int | None:
        """The number; None where the store does not know it."""
        raise NotImplementedError


class ListSelection(Entry):
    """A selection option of LIST (RFC 5258 section 3.1).

    is_base: it chooses among the names and may stand beside RECURSIVEMATCH. is_recursive: it is RECURSIVEMATCH.
    implies: the return option that comes with it.
    """

    is_base: ClassVar[bool] = True
    is_recursive: ClassVar[bool] = False
    implies: ClassVar[str | None] = None

    def chooses(self, entry: MailboxEntry) -> bool:
        """Whether the name is wanted."""
        return True


class ListReturn(Entry):
    """A return option of LIST (RFC 5258 section 3.2)."""

    def attributes(self, entry: MailboxEntry) -> Iterable[str]:
        """Attributes to add to the LIST response."""
        return ()

    def after(self, session: Session, entry: MailboxEntry) -> Iterable[Response]:
        """Responses to send right after the LIST response (LIST-STATUS)."""
        return ()


class Modifier(Entry):
    """A parameter of a command in parentheses (RFC 4466): SELECT x (NAME ...), CREATE x (USE (...))."""

    command: ClassVar[str]


class Mechanism(Protocol):
    """A SASL mechanism as directory/sasl makes them; only the name matters here."""

    name: str


# --- the declarations ------------------------------------------------------------------------------------------------


def _always(session: Session) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Extension:
    """One thing that the server can do.

    words: what CAPABILITY says, from the state `since` on, when `offered` agrees; `offered` may also give the words
    themselves (AUTH=..., STARTTLS). `enables`: words that ENABLE takes. `long_literals`: literals that do not wait for
    us may be long. The rest are entries of the tables.
    """

    words: tuple[str, ...] = ()
    since: State = State.AUTHENTICATED
    offered: Callable[[Session], bool | Sequence[str]] = _always
    commands: tuple[type[Command], ...] = ()
    fetch_items: tuple[type[FetchItem], ...] = ()
    search_keys: tuple[type[SearchKey], ...] = ()
    search_returns: tuple[type[SearchReturn], ...] = ()
    status_items: tuple[type[StatusItem], ...] = ()
    list_options: tuple[type[ListSelection] | type[ListReturn], ...] = ()
    modifiers: tuple[type[Modifier], ...] = ()
    mechanisms: tuple[Any, ...] = ()
    enables: tuple[str, ...] = ()
    long_literals: bool = False

    def said(self, session: Session) -> Sequence[str]:
        """The words that CAPABILITY says now."""
        if session.state < self.since:
            return ()
        offered = self.offered(session)
        if offered is True:
            return self.words
        return offered or ()


Named = TypeVar("Named")
Option = TypeVar("Option", bound=Entry)


def read_options(
    scan: Scanner, session: Session, table: Mapping[str, type[Option]], unknown: str
) -> tuple[Option, ...]:
    """Read the options of a table in their parentheses; one that is written twice counts once (RFC 5258 section 3).

    unknown: the beginning of what is said of a word that the table does not have. Raises BadSyntax.
    """

    def read() -> Option:
        word = scan.keyword()
        option = table.get(word)
        if option is None:
            raise BadSyntax(f"{unknown} {word}")
        return option.parse(scan, session)

    options: dict[str, Option] = {}
    for option in scan.parenthesized(read):
        options.setdefault(option.name, option)
    return tuple(options.values())


class Offers:
    """The tables made from a list of extensions, less what the configuration subtracts.

    without: capability words. An extension all of whose words are subtracted is left out with its commands and
    entries; of others only the word is no longer said. The base protocol is not to be subtracted.
    """

    def __init__(self, extensions: Iterable[Extension], without: Iterable[str] = ()) -> None:
        self.without = frozenset(word.upper() for word in without)
        if "IMAP4REV1" in self.without:
            raise ValueError("IMAP4rev1 is the protocol itself and cannot be left out")
        self.extensions = tuple(one for one in extensions if not self._left_out(one))
        # What is said by every session of a state is made ready: it is asked for twice in each login.
        self._words = [(one, self._left(one.words) if one.offered is _always else None) for one in self.extensions]
        self.commands = self._table("command", lambda one: one.commands)
        self.fetch_items = self._table("FETCH item", lambda one: one.fetch_items)
        self.search_keys = self._table("SEARCH key", lambda one: one.search_keys)
        self.search_returns = self._table("SEARCH return option", lambda one: one.search_returns)
        self.status_items = self._table("STATUS item", lambda one: one.status_items)
        self.list_selections = self._table(
            "LIST selection option", lambda one: [o for o in one.list_options if issubclass(o, ListSelection)]
        )
        self.list_returns = self._table(
            "LIST return option", lambda one: [o for o in one.list_options if issubclass(o, ListReturn)]
        )
        self.modifiers = self._modifiers()
        mechanisms: dict[str, Any] = self._table("mechanism", lambda one: one.mechanisms)
        self.mechanisms = {name: one for name, one in mechanisms.items() if f"AUTH={name}" not in self.without}
        self.long_literals = any(one.long_literals for one in self.extensions)
        self.enables = {word.upper(): word for one in self.extensions for word in one.enables}

    def capabilities(self, session: Session) -> list[str]:
        """The words of CAPABILITY for the session as it stands, in the order of the catalogue."""
        said: list[str] = []
        for one, words in self._words:
            if words is None:
                said += self._left(one.said(session))
            elif session.state >= one.since:
                said += words
        return list(dict.fromkeys(said))

    def _left(self, words: Iterable[str]) -> list[str]:
        return [word for word in words if word.upper() not in self.without]

    def has(self, word: str) -> bool:
        """Whether an extension of that capability word is there at all."""
        wanted = word.upper()
        return wanted not in self.without and any(wanted in map(str.upper, one.words) for one in self.extensions)

    def _left_out(self, extension: Extension) -> bool:
        return bool(extension.words) and all(word.upper() in self.without for word in extension.words)

    def _table(self, kind: str, column: Callable[[Extension], Iterable[Named]]) -> dict[str, Named]:
        table: dict[str, Named] = {}
        for extension in self.extensions:
            for entry in column(extension):
                name: str = entry.name.upper()  # type: ignore[attr-defined]
                if name in table:
                    raise ValueError(f"the {kind} {name} is offered twice")
                table[name] = entry
        return table

    def _modifiers(self) -> dict[tuple[str, str], type[Modifier]]:
        table: dict[tuple[str, str], type[Modifier]] = {}
        for extension in self.extensions:
            for entry in extension.modifiers:
                key = (entry.command.upper(), entry.name.upper())
                if key in table:
                    raise ValueError(f"the parameter {key[1]} of {key[0]} is offered twice")
                table[key] = entry
        return table
