"""What a client does to its mail, at random: deeds that a hand carries out and a ledger writes down.

A hand does one thing at a time: over IMAP (ImapHand) or by a store in this process (StoreHand). It raises Refused where
nothing happened, and Lost where nobody can tell.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.faults.ledger import Box, Flags, Ledger, Mail, Placed, State

INBOX = "INBOX"
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Draft", "Work", "Later")
DELETED = "\\Deleted"
MANY = 12
"""Messages in a mailbox from which on more is expunged than appended."""


class Refused(Exception):
    """The server said NO: nothing happened."""


class Lost(Exception):
    """There was no answer: either may be."""


class Hand(Protocol):
    """What a client can do."""

    def append(self, name: str, mails: Sequence[Mail]) -> Placed: ...
    def store(self, name: str, uids: Sequence[int], add: bool, flags: Flags) -> None: ...
    def copy(self, name: str, uids: Sequence[int], target: str) -> Placed: ...
    def move(self, name: str, uids: Sequence[int], target: str) -> Placed: ...
    def expunge(self, name: str, uids: Sequence[int]) -> None: ...
    def create(self, name: str) -> None: ...
    def delete(self, name: str) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def look(self, prefix: str) -> State: ...


@dataclass(frozen=True, slots=True)
class Deed:
    """What to do, and what the state is afterwards; where the answer was lost, it does not know the new UIDs."""

    what: str
    do: Callable[[Hand], Placed | None]
    after: Callable[[Placed | None], State]


class Client:
    """Somebody who has INBOX, of which other clients have a part too, and mailboxes and tokens of a prefix of its own."""

    def __init__(self, prefix: str, ledger: Ledger, chance: random.Random) -> None:
        self.prefix = prefix
        self.ledger = ledger
        self.done: dict[str, int] = {}
        self.last = ""
        self._chance = chance
        self._tokens = 0
        self._names = 0

    def act(self, hand: Hand) -> None:
        """One deed. Raises Lost."""
        deed = self._choose()
        self.last = deed.what
        self.ledger.begin(deed.what, deed.after(None))
        try:
            placed = deed.do(hand)
        except Refused:
            self.ledger.refuse()
            raise
        self.ledger.acknowledge(deed.after(placed))
        word = deed.what.partition(" ")[0]
        self.done[word] = self.done.get(word, 0) + 1

    def _choose(self) -> Deed:
        state = self.ledger.state
        name = self._chance.choice(sorted(state))
        mails = state[name].mails
        deeds = [self._append, self._create]
        if len(state) > 4:
            deeds = [self._append, self._delete]
        if mails:
            deeds += [self._store, self._copy, self._move, self._store, self._mark]
        if any(DELETED in mail.flags for mail in mails.values()):
            deeds += [self._expunge] * 3
        if len(state) > 1:
            deeds += [self._rename]
        if len(mails) > MANY:
            deeds = [self._expunge if any(DELETED in mail.flags for mail in mails.values()) else self._mark]
        return self._chance.choice(deeds)(state, name)

    def _some(self, state: State, name: str) -> list[int]:
        uids = sorted(state[name].mails)
        return sorted(self._chance.sample(uids, self._chance.randint(1, min(len(uids), 4))))

    def _flags(self) -> Flags:
        return frozenset(self._chance.sample(FLAGS, self._chance.randint(0, 2)))

    def _append(self, state: State, name: str) -> Deed:
        mails = []
        for _ in range(self._chance.choice((1, 1, 3))):
            self._tokens += 1
            mails.append(Mail(f"{self.prefix}.{self._tokens}", self._flags()))
        return Deed(
            f"{'MULTIAPPEND' if len(mails) > 1 else 'APPEND'} {name}",
            lambda hand: hand.append(name, mails),
            lambda placed: state | {name: state[name].plus(mails, placed)},
        )

    def _store(self, state: State, name: str) -> Deed:
        uids, flags, add = self._some(state, name), self._flags() or frozenset({"\\Seen"}), self._chance.random() < 0.6
        return Deed(
            f"STORE {name} {uids} {'+' if add else '-'}{sorted(flags)}",
            lambda hand: hand.store(name, uids, add, flags),
            lambda _: state | {name: state[name].flagged(uids, lambda now: now | flags if add else now - flags)},
        )

    def _mark(self, state: State, name: str) -> Deed:
        uids, flags = self._some(state, name), frozenset({DELETED})
        return Deed(
            f"STORE {name} {uids} +{DELETED}",
            lambda hand: hand.store(name, uids, True, flags),
            lambda _: state | {name: state[name].flagged(uids, lambda now: now | flags)},
        )

    def _expunge(self, state: State, name: str) -> Deed:
        uids = [uid for uid, mail in state[name].mails.items() if DELETED in mail.flags]
        return Deed(
            f"EXPUNGE {name} {uids}",
            lambda hand: hand.expunge(name, uids),
            lambda _: state | {name: state[name].minus(uids)},
        )

    def _copy(self, state: State, name: str) -> Deed:
        uids, target = self._some(state, name), self._chance.choice(sorted(state))
        mails = [state[name].mails[uid] for uid in uids]
        return Deed(
            f"COPY {name} {uids} {target}",
            lambda hand: hand.copy(name, uids, target),
            lambda placed: state | {target: state[target].plus(mails, placed)},
        )

    def _move(self, state: State, name: str) -> Deed:
        uids, target = self._some(state, name), self._chance.choice(sorted(state))
        mails = [state[name].mails[uid] for uid in uids]

        def after(placed: Placed | None) -> State:
            left = state | {name: state[name].minus(uids)}
            return left | {target: left[target].plus(mails, placed)}

        return Deed(f"MOVE {name} {uids} {target}", lambda hand: hand.move(name, uids, target), after)

    def _fresh_name(self) -> str:
        self._names += 1
        return f"{self.prefix}-{self._names}"

    def _create(self, state: State, _: str) -> Deed:
        name = self._fresh_name()
        return Deed(f"CREATE {name}", lambda hand: hand.create(name), lambda _: state | {name: Box()})

    def _own(self, state: State) -> str:
        return self._chance.choice([name for name in sorted(state) if name != INBOX])

    def _delete(self, state: State, _: str) -> Deed:
        name = self._own(state)
        rest = {other: box for other, box in state.items() if other != name}
        return Deed(f"DELETE {name}", lambda hand: hand.delete(name), lambda _: rest)

    def _rename(self, state: State, _: str) -> Deed:
        old, new = self._own(state), self._fresh_name()
        after = {new if name == old else name: box for name, box in state.items()}
        return Deed(f"RENAME {old} {new}", lambda hand: hand.rename(old, new), lambda _: after)
