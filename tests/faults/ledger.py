"""What a client was told about its mail, and whether what is found afterwards agrees with it.

A client writes down what it is about to do, and what was acknowledged. When the answer does not come, either may be: the
state before or the state after. Nothing else, and never a part of it. Once it was looked, what was found has to stay.

A message is known by its token, which its text carries (tests/mailstore/together): a text that is not whole is found out.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Flags = frozenset[str]


class Broken(AssertionError):
    """A promise was broken: something acknowledged is gone, or something is there that must not be."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A message: whose text, and its flags without \\Recent."""

    token: str
    flags: Flags


@dataclass(frozen=True, slots=True)
class Box:
    """A mailbox. fresh: messages that came by a command whose answer was lost, so that their UIDs are not known."""

    uidvalidity: int | None = None
    mails: dict[int, Mail] = field(default_factory=dict)
    fresh: tuple[Mail, ...] = ()

    def plus(self, mails: Sequence[Mail], placed: Placed | None) -> Box:
        if placed is None:
            return Box(self.uidvalidity, self.mails, (*self.fresh, *mails))
        if len(placed.uids) != len(mails):
            raise Broken(f"{len(mails)} messages got the UIDs {placed.uids}")
        return Box(placed.uidvalidity, self.mails | dict(zip(placed.uids, mails, strict=True)), self.fresh)

    def minus(self, uids: Sequence[int]) -> Box:
        return Box(self.uidvalidity, {uid: mail for uid, mail in self.mails.items() if uid not in uids}, self.fresh)

    def flagged(self, uids: Sequence[int], change: Callable[[Flags], Flags]) -> Box:
        changed = {uid: Mail(self.mails[uid].token, change(self.mails[uid].flags)) for uid in uids}
        return Box(self.uidvalidity, self.mails | changed, self.fresh)

    def differs(self, found: Box) -> str:
        """In which way the found mailbox is not this one; "" where it is."""
        if self.uidvalidity not in (None, found.uidvalidity):
            return f"UIDVALIDITY was {self.uidvalidity} and is {found.uidvalidity}"
        for uid, mail in self.mails.items():
            if uid not in found.mails:
                return f"UID {uid} is gone: {mail}"
            if found.mails[uid] != mail:
                return f"UID {uid} was {mail} and is {found.mails[uid]}"
        more = {uid: mail for uid, mail in found.mails.items() if uid not in self.mails}
        if Counter(more.values()) != Counter(self.fresh):
            return f"{more} came, expected was {self.fresh}"
        return ""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where messages came to lie, as APPENDUID and COPYUID say."""

    uidvalidity: int
    uids: tuple[int, ...]


State = dict[str, Box]


def difference(expected: State, found: State) -> str:
    """In which way the found state is not the expected one; "" where it is."""
    if expected.keys() != found.keys():
        return f"mailboxes were {sorted(expected)} and are {sorted(found)}"
    for name, box in expected.items():
        if what := box.differs(found[name]):
            return f"{name}: {what}"
    return ""


class Uids:
    """What each UID ever meant in an account, by UIDVALIDITY: it must not come to mean another message."""

    def __init__(self) -> None:
        self._meaning: dict[tuple[int, int], str] = {}
        self._lock = threading.Lock()

    def note(self, uidvalidity: int, uid: int, token: str) -> None:
        with self._lock:
            before = self._meaning.setdefault((uidvalidity, uid), token)
        if before != token:
            raise Broken(f"UID {uid} of UIDVALIDITY {uidvalidity} was {before} and is {token}")

    def note_all(self, found: State) -> None:
        for box in found.values():
            for uid, mail in box.mails.items():
                assert box.uidvalidity is not None
                self.note(box.uidvalidity, uid, mail.token)

    def __len__(self) -> int:
        return len(self._meaning)


class Ledger:
    """One client's: the state it may rely on, and what it asked for last without an answer."""

    def __init__(self, uids: Uids, state: State) -> None:
        self.uids = uids
        self.state = state
        self.acknowledged = 0
        self._possible: list[tuple[str, State]] = []

    @property
    def is_in_doubt(self) -> bool:
        return bool(self._possible)

    def begin(self, what: str, after: State) -> None:
        """A command goes out; afterwards either state may be found."""
        self._possible = [("before " + what, self.state), ("after " + what, after)]

    def acknowledge(self, after: State) -> None:
        """The command was done; `after` has the UIDs that were told."""
        self.uids.note_all(after)
        self.state, self._possible = after, []
        self.acknowledged += 1

    def refuse(self) -> None:
        """The command was refused: nothing happened."""
        self._possible = []

    def check(self, found: State) -> None:
        """Compare with what is there now, and rely on that from here on. Raises Broken."""
        self.uids.note_all(found)
        differences = []
        for what, state in self._possible or [("now", self.state)]:
            if not (wrong := difference(state, found)):
                self.state, self._possible = found, []
                return
            differences.append(f"{what}: {wrong}")
        raise Broken("; ".join(differences))
