"""LIST and LSUB: the names of the mailboxes (RFC 9051 section 6.3.9, RFC 5258, RFC 3501 sections 6.3.8 and 6.3.9).

    list = "LIST" [SP "(" [option *(SP option)] ")"] SP mailbox SP (list-mailbox / "(" 1*(list-mailbox) ")")
           [SP "RETURN" SP "(" [option *(SP option)] ")"]

1. The options are tables (`offers.list_selections`, `offers.list_returns`). Whatever is written in the extended form
   may meet names that do not exist; the basic form never does.
2. \\HasChildren, \\HasNoChildren and the special uses are told always; clients that do not ask want them too.
3. A name that only has children is \\Noselect; in the extended form, and to clients of IMAP4rev2, it is \\NonExistent
   too. Both words are sent, because some clients look for one of them alone.
4. XLIST is what Google had before RFC 6154. Some old clients try it without its being offered; it is LIST with the
   words of then, and never in CAPABILITY.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from imapd.imap.command import LOGGED_IN, Command, Done, Response, Running
from imapd.imap.commands.tree import Tree
from imapd.imap.extension import Extension, ListReturn, ListSelection, read_options
from imapd.mailstore.errors import NoSuchMailbox, StoreError
from imapd.mailstore.store import MailboxEntry
from imapd.model.errors import BadSyntax
from imapd.model.names import DELIMITER, INBOX, Pattern
from imapd.wire.responses import ListResponse
from imapd.wire.writer import paren, quoted

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.model.loop import Loop
    from imapd.wire.scanner import Scanner


PATTERNS = 100
"""Patterns of one LIST: each is tried at each name."""


@dataclass(slots=True)
class ListQuery:
    """The arguments of LIST."""

    reference: str
    patterns: list[str] = field(default_factory=list)
    selections: tuple[ListSelection, ...] = ()
    returns: tuple[ListReturn, ...] = ()
    extended: bool = False

    @property
    def recursive(self) -> bool:
        """Whether names are wanted for what is below them (RECURSIVEMATCH)."""
        return any(option.is_recursive for option in self.selections)

    @property
    def criteria(self) -> tuple[ListSelection, ...]:
        """The options that choose among the names."""
        return tuple(option for option in self.selections if option.is_base)

    def chooses(self, entry: MailboxEntry) -> bool:
        """Whether the options choose the name, whatever the patterns say."""
        return all(option.chooses(entry) for option in self.selections)


@dataclass(frozen=True, slots=True)
class List(Command):
    """LIST; see the top of this module."""

    name = "LIST"
    states = LOGGED_IN
    kind: ClassVar[bytes] = b"LIST"

    query: ListQuery

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        query = _read_query(scan, session)
        scan.end()
        return cls(query)

    def run(self, session: Session) -> Running:
        if not self.query.extended and self.query.patterns == [""]:
            # RFC 9051 section 6.3.9: what is the delimiter? Our names have no root to tell.
            yield ListResponse(("\\Noselect",), DELIMITER, "", kind=self.kind)
            return Done()
        tree = Tree(session.account)
        for entry, chosen, has_matches_below in self._found(tree, session.loop):
            yield from self._answer(session, tree, entry, chosen, has_matches_below)
            session.loop.breathe()
        return Done()

    def _found(self, tree: Tree, loop: Loop) -> Iterator[tuple[MailboxEntry, bool, bool]]:
        """The names to list: with whether the options choose them, and whether they choose something below them."""
        query = self.query
        patterns = [Pattern(query.reference, pattern) for pattern in query.patterns if pattern]
        may_be_missing = bool(query.criteria)
        above: set[str] = set()  # names with something chosen below them
        above_hidden: set[str] = set()  # the same, where what is below does not itself match a pattern
        matching: list[MailboxEntry] = []
        for entry in tree.entries():
            loop.breathe()
            matches = any(pattern.matches(entry.name) for pattern in patterns)
            if query.recursive and query.chooses(entry):
                above.update(tree.ancestors(entry.name))
                if not matches:
                    above_hidden.update(tree.ancestors(entry.name))
            if matches:
                matching.append(entry)
        for entry in matching:
            chosen = query.chooses(entry) and (may_be_missing or tree.exists(entry.name))
            # RFC 9051 section 6.3.9.3, rule 2: a name that is not chosen itself comes only for something that no
            # other response tells of.
            if chosen or entry.name in above_hidden:
                yield entry, chosen, entry.name in above

    def _answer(
        self, session: Session, tree: Tree, entry: MailboxEntry, chosen: bool, has_matches_below: bool
    ) -> Iterator[Response]:
        following: list[Response] = []
        selectable = entry.selectable
        for option in self.query.returns if chosen else ():
            try:
                following += option.after(session, entry)
            except NoSuchMailbox:
                selectable = False  # deleted a moment ago (RFC 9051 section 6.3.9.2, STATUS)
            except StoreError:
                continue  # RFC 5819 section 2: LIST itself has not failed
        attributes = self._attributes(session, tree, entry, selectable)
        extended = self._childinfo() if has_matches_below else b""
        yield ListResponse(attributes, DELIMITER, entry.name, kind=self.kind, extended=extended)
        yield from following

    def _attributes(self, session: Session, tree: Tree, entry: MailboxEntry, selectable: bool) -> list[str]:
        attributes: list[str] = []
        if not selectable:
            if self.query.extended or session.rev2:
                attributes.append("\\NonExistent")
            attributes.append("\\Noselect")
        attributes.append("\\HasChildren" if tree.has_children(entry.name) else "\\HasNoChildren")
        attributes += entry.special_use
        for option in self.query.returns:
            attributes += option.attributes(entry)
        return list(dict.fromkeys(attributes))

    def _childinfo(self) -> bytes:
        """CHILDINFO, RFC 5258 section 4: by which options something below the name was chosen."""
        return paren(quoted("CHILDINFO"), paren(*[quoted(option.name) for option in self.query.criteria]))


@dataclass(frozen=True, slots=True)
class XList(List):
    """XLIST: LIST with the words of before RFC 6154; see rule 4."""

    name = "XLIST"
    kind = b"XLIST"

    def _attributes(self, session: Session, tree: Tree, entry: MailboxEntry, selectable: bool) -> list[str]:
        words = {"\\All": "\\AllMail", "\\Flagged": "\\Starred", "\\Junk": "\\Spam"}
        attributes = [words.get(word, word) for word in List._attributes(self, session, tree, entry, selectable)]
        return [*attributes, "\\Inbox"] if entry.name == INBOX else attributes


@dataclass(frozen=True, slots=True)
class Lsub(Command):
    """lsub = "LSUB" SP mailbox SP list-mailbox (RFC 3501 section 6.3.9)."""

    name = "LSUB"
    states = LOGGED_IN

    reference: str
    pattern: str

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        reference = scan.list_mailbox()
        scan.sp()
        pattern = scan.list_mailbox()
        scan.end()
        return cls(reference, pattern)

    def run(self, session: Session) -> Running:
        if not self.pattern:
            yield ListResponse(("\\Noselect",), DELIMITER, "", kind=b"LSUB")
            return Done()
        tree = Tree(session.account)
        for entry in self._found(tree, session.loop):
            attributes = [] if entry.selectable else ["\\Noselect"]
            attributes.append("\\HasChildren" if tree.has_children(entry.name) else "\\HasNoChildren")
            yield ListResponse((*attributes, *entry.special_use), DELIMITER, entry.name, kind=b"LSUB")
            session.loop.breathe()
        return Done()

    def _found(self, tree: Tree, loop: Loop) -> Iterator[MailboxEntry]:
        pattern = Pattern(self.reference, self.pattern)
        # With "%" at its end a name that is not subscribed stands for those below it, and \\Noselect says so,
        # whatever it is itself.
        stands_for_children: set[str] = set()
        subscribed = [entry for entry in tree.entries() if entry.subscribed]
        if self.pattern.endswith("%"):
            for entry in subscribed:
                stands_for_children.update(pattern.matches_parent_of(entry.name))
                loop.breathe()
        for entry in tree.entries():
            loop.breathe()
            if entry.subscribed and pattern.matches(entry.name):
                yield entry
            elif entry.name in stands_for_children:
                yield MailboxEntry(entry.name, selectable=False, subscribed=False, special_use=entry.special_use)


def _read_query(scan: Scanner, session: Session) -> ListQuery:
    scan.sp()
    extended = scan.peek() == b"("
    selections: tuple[ListSelection, ...] = ()
    if extended:
        selections = read_options(scan, session, session.offers.list_selections, "LIST has no selection option")
        scan.sp()
    query = ListQuery(scan.list_mailbox(), selections=selections, extended=extended)
    scan.sp()
    if scan.peek() == b"(":
        query.extended = True
        query.patterns = scan.parenthesized(scan.list_mailbox, PATTERNS)
    else:
        query.patterns = [scan.list_mailbox()]
    if scan.accept(b" ") and not scan.at_end():
        query.extended = True
        query.returns = _read_returns(scan, session)
    _complete(query, session)
    return query


def _read_returns(scan: Scanner, session: Session) -> tuple[ListReturn, ...]:
    word = scan.keyword()
    if word != "RETURN":
        raise BadSyntax(f"RETURN was expected, not {word}")
    scan.sp()
    return read_options(scan, session, session.offers.list_returns, "LIST has no return option")


def _complete(query: ListQuery, session: Session) -> None:
    """Check the selection options against each other, and add the return options that they imply."""
    if query.recursive and not query.criteria:
        raise BadSyntax("RECURSIVEMATCH needs another selection option")  # RFC 5258 section 3.1
    there = {option.name for option in query.returns}
    for selection in query.selections:
        implied = session.offers.list_returns.get(selection.implies or "")
        if implied is not None and implied.name not in there:
            there.add(implied.name)
            query.returns += (implied(),)


extension = Extension(commands=(List, XList, Lsub))
