"""What a mail store in memory holds, shared by all sessions: messages, mailboxes and the tree of an account."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from imapd.mailstore.errors import LimitExceeded, NoSuchMailbox
from imapd.mailstore.quota import NO_LIMITS, Limits, QuotaState
from imapd.mailstore.store import MOST_KEYWORDS, Snapshot, mask_of
from imapd.model import names
from imapd.model.flags import RECENT, Flags, is_system


@dataclass(frozen=True, slots=True)
class Row:
    """One message. The text has CRLF line ends; it is never changed, so copies share it."""

    uid: int
    text: bytes
    date: int
    flags: Flags
    modseq: int


class Box:
    """A mailbox that all sessions share. Rows ascend by UID; bells are rung after each change."""

    def __init__(self, name: str, uidvalidity: int, special_use: tuple[str, ...]) -> None:
        self.name = name
        self.uidvalidity = uidvalidity
        self.special_use = special_use
        self.uidnext = 1
        self.modseq = 1
        self.claimed = 0
        self.is_gone = False
        self.rows: dict[int, Row] = {}
        self.keywords: tuple[str, ...] = ()
        self.listeners: list[Listening] = []
        self._snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        if self._snapshot is None:
            rows = list(self.rows.values())
            self._snapshot = Snapshot(
                uidvalidity=self.uidvalidity,
                uidnext=self.uidnext,
                highestmodseq=self.modseq,
                uids=array("I", [row.uid for row in rows]),
                masks=array("Q", [mask_of(row.flags, self.keywords) for row in rows]),
                modseqs=array("Q", [row.modseq for row in rows]),
                sizes=array("Q", [len(row.text) for row in rows]),
                dates=array("q", [row.date for row in rows]),
                keywords=self.keywords,
            )
        return self._snapshot

    def changed(self) -> None:
        """Say that what was written is to be seen: the last step of every write."""
        self._snapshot = None
        for listener in list(self.listeners):
            listener.bell()

    def keywords_with(self, flags: Iterable[str]) -> tuple[str, ...]:
        """The keywords of the mailbox and those of the flags that are new to it. Raises LimitExceeded."""
        known = {keyword.lower() for keyword in self.keywords}
        new: list[str] = []
        for flag in sorted(flags):
            if not is_system(flag) and flag != RECENT and flag.lower() not in known:
                known.add(flag.lower())
                new.append(flag)
        if len(self.keywords) + len(new) > MOST_KEYWORDS:
            raise LimitExceeded(f"A mailbox has at most {MOST_KEYWORDS} keywords.")
        return self.keywords + tuple(new)

    def spelled(self, flags: Flags) -> Flags:
        """The flags without \\Recent, keywords in the mailbox's own spelling."""
        own = {keyword.lower(): keyword for keyword in self.keywords}
        return frozenset(own.get(flag.lower(), flag) for flag in flags if flag != RECENT)

    def add(self, messages: Sequence[tuple[bytes, int, Flags]]) -> tuple[int, ...]:
        """Add (text, date, flags), all or none; returns their UIDs."""
        if not messages:
            return ()
        self.keywords = self.keywords_with({flag for _, _, flags in messages for flag in flags})
        self.modseq += 1
        first = self.uidnext
        for text, date, flags in messages:
            self.rows[self.uidnext] = Row(self.uidnext, text, date, self.spelled(flags), self.modseq)
            self.uidnext += 1
        self.changed()
        return tuple(range(first, self.uidnext))

    def remove(self, uids: Iterable[int]) -> None:
        for uid in uids:
            del self.rows[uid]
        self.modseq += 1
        self.changed()


class Tree:
    """One account's mailboxes and subscriptions. A name above a mailbox is there by that mailbox alone."""

    def __init__(self, first_uidvalidity: int) -> None:
        self._uidvalidity = first_uidvalidity
        self.boxes: dict[str, Box] = {}
        self.subscribed: set[str] = set()
        self.limits = NO_LIMITS
        self.own_limits: Limits | None = None
        self.make(names.INBOX, ())

    def make(self, name: str, special_use: tuple[str, ...]) -> Box:
        # Every mailbox gets its own UIDVALIDITY, so a name that is used again has a higher one (RFC 9051 2.3.1.1).
        self.boxes[name] = Box(name, self._uidvalidity, special_use)
        self._uidvalidity += 1
        return self.boxes[name]

    def box(self, name: str) -> Box:
        try:
            return self.boxes[name]
        except KeyError:
            raise NoSuchMailbox(name) from None

    def below(self, name: str) -> list[str]:
        return [other for other in self.boxes if names.is_below(other, name)]

    def exists(self, name: str) -> bool:
        return name in self.boxes or bool(self.below(name))

    def quota(self) -> QuotaState:
        sizes = [len(row.text) for box in self.boxes.values() for row in box.rows.values()]
        return QuotaState(sum(sizes), len(sizes), self.limits if self.own_limits is None else self.own_limits)


class Listening:
    """A bell at a mailbox until it is closed."""

    def __init__(self, box: Box, bell: Callable[[], None]) -> None:
        self._box = box
        self.bell = bell
        box.listeners.append(self)

    def close(self) -> None:
        if self in self._box.listeners:
            self._box.listeners.remove(self)
