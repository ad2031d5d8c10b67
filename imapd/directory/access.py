"""Lists of people: who may use the service, who may not, and who may act as others.

An entry of a list is one of

    *                           everybody
    */Sales/Acme, */ou=x,o=y    everybody below that branch; a branch without types is o, and ou before it
    cn=Jo Doe,o=Acme            this person, or the members of this group, groups in groups included
    Jo Doe/Acme                 the same name, abbreviated
    jo@acme.example             the person with this address as his first one

Promises:

1. What cannot be read as an entry is a ValueError when the list is made, never an entry that fits nobody.
2. Who is denied is denied, whatever else he is allowed by.
3. A group that cannot be looked up now is Unreachable: a list is never taken for shorter than it is.
4. Only directories that are trusted for groups say who is in one; where none is, the first directory does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imapd.directory import dn
from imapd.directory.authcache import Expiring
from imapd.directory.interface import Directory
from imapd.directory.names import Kind, LoginName
from imapd.directory.person import Person
from imapd.directory.trace import SILENT, Trace
from imapd.model.errors import Unreachable
from imapd.model.loop import Loop

# How long it is remembered whether somebody is in a group.
MEMBERSHIP = 60.0


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of a list, understood. Of the three keys, the one that the entry is meant by is set; of *, none."""

    text: str
    branch: str | None = None
    name: str | None = None
    address: str | None = None

    @classmethod
    def read(cls, text: str) -> "Pattern":
        """Understand an entry; ValueError says what is wrong with it."""
        if text.strip() == "*":
            return cls(text)
        if text.strip().startswith("*"):
            return cls(text, branch=_branch(text))
        name = LoginName.parse(text)
        if name.kind is Kind.HIERARCHICAL and name.dn_key is not None:
            return cls(text, name=name.dn_key)
        if name.kind is Kind.ADDRESS and name.attribute is None:
            return cls(text, address=name.key)
        raise ValueError(
            f"{text!r} is not *, a branch such as */Acme, an address, or a distinguished name (which is quoted whole)"
        )

    def matches(self, person: Person) -> bool:
        """Whether the entry means the person by name, not by a group."""
        if self.branch is not None:
            return ("," + dn.key(person.dn)).endswith("," + self.branch)
        if self.name is not None:
            return dn.key(person.dn) == self.name
        if self.address is not None:
            return person.internet_address is not None and dn.text_key(person.internet_address) == self.address
        return True


def _branch(text: str) -> str:
    separator, _, rest = text.strip()[1:].partition("/")
    if separator.strip() or not rest.strip():
        raise ValueError(f"{text!r} is not a branch such as */Sales/Acme or */ou=Sales,o=Acme")
    if "=" in rest:
        return dn.key(rest if "," in rest else ",".join(rest.split("/")))
    levels = [level.strip() for level in rest.split("/")]
    if not all(levels):
        raise ValueError(f"{text!r} has an empty level")
    return ",".join(f"{'o' if level is levels[-1] else 'ou'}={dn.escape(dn.text_key(level))}" for level in levels)


def read_list(texts: Sequence[str]) -> tuple[Pattern, ...]:
    """A whole list; ValueError."""
    return tuple(Pattern.read(text) for text in texts)


class Groups:
    """Who is in which group, as the directories that are trusted for groups say.

    stale: how long the last answer still counts where a directory gives none; as long as a login is remembered, or
    remembering it would be of no use.
    """

    def __init__(
        self, directories: Sequence[Directory], loop: Loop, lifetime: float = MEMBERSHIP, stale: float = 0.0
    ) -> None:
        trusted = [directory for directory in directories if "groups" in directory.scope.trusted_for]
        self._directories = trusted or list(directories[:1])
        self._known: Expiring[tuple[str, str], bool] = Expiring(loop, lifetime)
        self._last: Expiring[tuple[str, str], bool] = Expiring(loop, stale)

    def member(self, person: Person, group: str, fresh: bool = False, trace: Trace = SILENT) -> bool:
        """Whether the person is in the group with this DN. fresh: as it is now. Raises Unreachable."""
        key = (person.identity, group)
        known = None if fresh else self._known.get(key)
        if known is not None:
            return known
        try:
            now = any(directory.member(person, group, trace) for directory in self._directories)
        except Unreachable:
            last = None if fresh else self._last.get(key)
            if last is None:
                raise
            return last
        self._known.put(key, now)
        self._last.put(key, now)
        return now

    def flush(self) -> None:
        """Ask anew."""
        self._known.flush()
        self._last.flush()


@dataclass(frozen=True, slots=True)
class AccessList:
    """Who may come in and who may not; nobody named in `allow` means that everybody may."""

    allow: tuple[Pattern, ...] = ()
    deny: tuple[Pattern, ...] = ()

    @classmethod
    def read(cls, allow: Sequence[str], deny: Sequence[str]) -> "AccessList":
        """The lists as they are configured; ValueError."""
        return cls(read_list(allow), read_list(deny))

    def refusal(self, person: Person, groups: Groups, fresh: bool = False, trace: Trace = SILENT) -> str | None:
        """Why the person may not come in, for the log, or None. Raises Unreachable."""
        denied = listed(person, self.deny, groups, fresh, trace)
        if denied is not None:
            return f"denied access by {denied.text!r}"
        if self.allow and listed(person, self.allow, groups, fresh, trace) is None:
            return "not on the list of those who are allowed access"
        return None


class Access:
    """The lists that are in force, by listener: who comes in by it has to pass each of its lists."""

    def __init__(self, lists: Mapping[str, Sequence[AccessList]] | None = None) -> None:
        self._lists = dict(lists or {})

    def refusal(
        self, person: Person, listener: str, groups: Groups, fresh: bool = False, trace: Trace = SILENT
    ) -> str | None:
        """Why the person may not come in by that listener, or None. Raises Unreachable."""
        if listener not in self._lists:
            trace("access lists: none is in force here")
        for one in self._lists.get(listener, ()):
            if (reason := one.refusal(person, groups, fresh, trace)) is not None:
                return reason
        return None


def listed(
    person: Person, patterns: Sequence[Pattern], groups: Groups, fresh: bool = False, trace: Trace = SILENT
) -> Pattern | None:
    """The entry of a list that means the person, or None. Names are looked at before any directory is asked."""
    for pattern in patterns:
        if pattern.matches(person):
            trace("%r is meant by %r", person.dn, pattern.text)
            return pattern
    for pattern in patterns:
        if pattern.name is not None and groups.member(person, pattern.name, fresh, trace):
            trace("%r is a member of %r", person.dn, pattern.text)
            return pattern
    return None
