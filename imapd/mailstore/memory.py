"""A mail store in memory: the whole interface without a disk, and the shortest way to say what it means.

It is the model that every other store is held against (tests/mailstore/test_conformance*.py), and the worked example
for whoever writes the next one. It promises what store.py promises, but for one thing: "durable" lasts as long as the
process. It never waits, so every method is one step to the connections of a process; it knows one process only.

Every person has an account as soon as it is opened. What is shared by all sessions is in _Tree (an account) and _Box
(a mailbox); the classes of the interface are one session's handles on them.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from imapd.mailstore.errors import (
    BadMailboxName,
    Denied,
    Expunged,
    Gone,
    HasChildren,
    LimitExceeded,
    MailboxExists,
    NoSuchMailbox,
    ReadOnly,
)
from imapd.mailstore.quota import NO_LIMITS, Limits, QuotaState
from imapd.mailstore.render import cut, cuts_of, describe, described
from imapd.mailstore.runs import LARGEST, MARKS, Cut, Identity, Run
from imapd.mailstore.store import (
    MOST_KEYWORDS,
    Description,
    Incoming,
    MailboxEntry,
    MailboxStatus,
    Owner,
    Placed,
    Snapshot,
    Text,
    mask_of,
)
from imapd.mime.header import select
from imapd.model import names
from imapd.model.flags import RECENT, FlagChange, Flags, is_system
from imapd.model.loop import Loop
from imapd.wire import writer

CHUNK = 128 * 1024


@dataclass(frozen=True, slots=True)
class _Row:
    """One message. The text has CRLF line ends; it is never changed, so copies share it."""

    uid: int
    text: bytes
    date: int
    flags: Flags
    modseq: int


class _Box:
    """A mailbox that all sessions share. Rows ascend by UID; bells are rung after each change."""

    def __init__(self, name: str, uidvalidity: int, special_use: tuple[str, ...]) -> None:
        self.name = name
        self.uidvalidity = uidvalidity
        self.special_use = special_use
        self.uidnext = 1
        self.modseq = 1
        self.claimed = 0
        self.is_gone = False
        self.rows: dict[int, _Row] = {}
        self.keywords: tuple[str, ...] = ()
        self.listeners: list[_Listening] = []
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
            self.rows[self.uidnext] = _Row(self.uidnext, text, date, self.spelled(flags), self.modseq)
            self.uidnext += 1
        self.changed()
        return tuple(range(first, self.uidnext))

    def remove(self, uids: Iterable[int]) -> None:
        for uid in uids:
            del self.rows[uid]
        self.modseq += 1
        self.changed()


class _Tree:
    """One account's mailboxes and subscriptions. A name above a mailbox is there by that mailbox alone."""

    def __init__(self, first_uidvalidity: int) -> None:
        self._uidvalidity = first_uidvalidity
        self.boxes: dict[str, _Box] = {}
        self.subscribed: set[str] = set()
        self.limits = NO_LIMITS
        self.own_limits: Limits | None = None
        self.make(names.INBOX, ())

    def make(self, name: str, special_use: tuple[str, ...]) -> _Box:
        # Every mailbox gets its own UIDVALIDITY, so a name that is used again has a higher one (RFC 9051 2.3.1.1).
        self.boxes[name] = _Box(name, self._uidvalidity, special_use)
        self._uidvalidity += 1
        return self.boxes[name]

    def box(self, name: str) -> _Box:
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


class MemoryStore:
    """The store; accounts are made when they are first opened."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._trees: dict[str, _Tree] = {}

    def open_account(self, owner: Owner) -> "MemoryAccount":
        tree = self._trees.get(owner.identity)
        if tree is None:
            tree = self._trees[owner.identity] = _Tree(int(self._loop.time()))
        tree.limits = owner.limits
        return MemoryAccount(tree, self._loop)

    def close(self) -> None:
        pass


class MemorySpool:
    """A message on its way in."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._pieces.append(bytes(data))

    def abandon(self) -> None:
        self._pieces.clear()

    def take(self) -> bytes:
        """The whole message with CRLF line ends; the spool is used up."""
        text = b"".join(self._pieces)
        self._pieces.clear()
        return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class MemoryAccount:
    """One session's handle on an account."""

    def __init__(self, tree: _Tree, loop: Loop) -> None:
        self._tree = tree
        self._loop = loop

    def mailboxes(self) -> list[MailboxEntry]:
        tree = self._tree
        above = {name for mailbox in tree.boxes for name in names.ancestors(mailbox)}
        found = [self._entry(name) for name in {*tree.boxes, *above, *tree.subscribed}]
        return sorted(found, key=lambda entry: (entry.name != names.INBOX, entry.name))

    def _entry(self, name: str) -> MailboxEntry:
        box = self._tree.boxes.get(name)
        return MailboxEntry(name, box is not None, name in self._tree.subscribed, box.special_use if box else ())

    def exists(self, name: str) -> bool:
        return self._tree.exists(name)

    def create(self, name: str, special_use: tuple[str, ...] = ()) -> None:
        _check_new(name)
        if name in self._tree.boxes:
            raise MailboxExists(name)
        self._tree.make(name, special_use)

    def delete(self, name: str) -> None:
        if name == names.INBOX:
            raise Denied("INBOX cannot be deleted.")
        box = self._tree.boxes.pop(name, None)
        if box is None:
            raise HasChildren(name) if self._tree.below(name) else NoSuchMailbox(name)
        box.is_gone = True
        box.changed()

    def rename(self, old: str, new: str) -> None:
        tree = self._tree
        if not tree.exists(old):
            raise NoSuchMailbox(old)
        _check_new(new)
        if tree.exists(new):
            raise MailboxExists(new)
        if old == names.INBOX:
            self._empty_inbox_into(new)
            return
        if names.is_below(new, old):
            raise BadMailboxName(new, "A mailbox cannot be moved below itself.")
        moving = [name for name in (old, *tree.below(old)) if name in tree.boxes]
        for name in moving:
            box = tree.boxes.pop(name)
            box.name = new + name[len(old) :]
            tree.boxes[box.name] = box

    def _empty_inbox_into(self, new: str) -> None:
        """RFC 9051 section 6.3.6: renaming INBOX moves its messages and leaves it empty, with its children."""
        inbox = self._tree.boxes[names.INBOX]
        self._tree.make(new, ()).add([(row.text, row.date, row.flags) for row in inbox.rows.values()])
        inbox.remove(list(inbox.rows))

    def subscribe(self, name: str) -> None:
        self._tree.subscribed.add(name)

    def unsubscribe(self, name: str) -> None:
        self._tree.subscribed.discard(name)

    def status(self, name: str) -> MailboxStatus:
        box = self._tree.box(name)
        rows = box.rows.values()
        return MailboxStatus(
            messages=len(rows),
            recent=sum(row.uid > box.claimed for row in rows),
            unseen=sum("\\Seen" not in row.flags for row in rows),
            deleted=sum("\\Deleted" in row.flags for row in rows),
            size=sum(len(row.text) for row in rows),
            uidnext=box.uidnext,
            uidvalidity=box.uidvalidity,
            highestmodseq=box.modseq,
            deleted_size=sum(len(row.text) for row in rows if "\\Deleted" in row.flags),
        )

    def open(self, name: str, read_only: bool = False) -> "MemoryMailbox":
        return MemoryMailbox(self._tree, self._tree.box(name), read_only, self._loop)

    def spool(self) -> MemorySpool:
        return MemorySpool()

    def append(self, name: str, messages: Sequence[Incoming]) -> Placed:
        now = int(self._loop.time())
        # Taken before anything can fail: the spools are used up in any case.
        texts = [_taken(message) for message in messages]
        box = self._tree.box(name)
        self._tree.quota().require_room(sum(map(len, texts)), len(texts))
        dates = [now if message.internal_date is None else message.internal_date for message in messages]
        uids = box.add(list(zip(texts, dates, [message.flags for message in messages], strict=True)))
        return Placed(box.uidvalidity, uids)

    def limits(self) -> Limits:
        return self._tree.quota().limits

    def quota(self) -> QuotaState:
        return self._tree.quota()

    def set_quota(self, limits: Limits | None) -> None:
        self._tree.own_limits = limits

    def catch_up(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Listening:
    """A bell at a mailbox until it is closed."""

    def __init__(self, box: _Box, bell: Callable[[], None]) -> None:
        self._box = box
        self.bell = bell
        box.listeners.append(self)

    def close(self) -> None:
        if self in self._box.listeners:
            self._box.listeners.remove(self)


class MemoryMailbox:
    """One session's handle on a mailbox."""

    def __init__(self, tree: _Tree, box: _Box, read_only: bool, loop: Loop) -> None:
        self._tree = tree
        self._box = box
        self._loop = loop
        self.read_only = read_only

    @property
    def name(self) -> str:
        return self._box.name

    def _living(self) -> _Box:
        if self._box.is_gone:
            raise Gone
        return self._box

    def _writable(self) -> _Box:
        if self.read_only:
            raise ReadOnly
        return self._living()

    def snapshot(self) -> Snapshot:
        return self._living().snapshot()

    def claim_recent(self, up_to: int) -> int:
        box = self._living()
        before, box.claimed = box.claimed, max(box.claimed, up_to)
        return before

    def unclaimed_recent(self) -> int:
        return self._living().claimed

    def listen(self, bell: Callable[[], None]) -> _Listening:
        return _Listening(self._living(), bell)

    def message(self, uid: int) -> "MemoryMessage":
        row = self._living().rows.get(uid)
        if row is None:
            raise Expunged
        return MemoryMessage(row.text)

    def opener(self, uids: Sequence[int]) -> "Callable[[int], MemoryMessage]":
        return self.message

    def descriptions(self, uids: Iterable[int]) -> Iterator[tuple[int, Description]]:
        box = self._living()
        for uid in uids:
            row = box.rows.get(uid)
            if row is not None:
                yield uid, describe(row.text, self._loop.breathe)

    def texts(self, uids: "array[int]", texts: Sequence[Text]) -> list[bytes]:
        def run(row: _Row) -> Run:
            return described(Identity(row.uid, len(row.text), row.date), describe(row.text, self._loop.breathe))

        return self._cut(uids, run, cuts_of(texts))

    def header_fields(self, uids: "array[int]", fields: frozenset[bytes]) -> list[bytes]:
        def run(row: _Row) -> Run:
            header = MemoryMessage(row.text).header()
            return Run(Identity(row.uid, len(row.text), row.date), writer.literal(select(header, fields)))

        return self._cut(uids, run, [(0, MARKS + 1)])

    def _cut(self, uids: "array[int]", make: Callable[[_Row], Run], cuts: Sequence[Cut]) -> list[bytes]:
        rows = [self._living().rows.get(uid) for uid in uids]
        runs = [None if row is None else make(row) for row in rows]
        return [b"" if run is None or len(run.octets) > LARGEST else cut(run, cuts) for run in runs]

    def change_flags(self, uids: Sequence[int], how: FlagChange, flags: Flags) -> tuple[int, ...]:
        box = self._writable()
        there = [box.rows[uid] for uid in sorted(set(uids)) if uid in box.rows]
        if there and how is not FlagChange.REMOVE:
            box.keywords = box.keywords_with(flags)
        meant = box.spelled(flags)
        after = [(row, how.apply(row.flags, meant)) for row in there]
        changed = [(row, new) for row, new in after if new != row.flags]
        if changed:
            box.modseq += 1
            for row, new in changed:
                box.rows[row.uid] = replace(row, flags=new, modseq=box.modseq)
            box.changed()
        return tuple([row.uid for row in there])

    def expunge(self, uids: Sequence[int] | None) -> tuple[int, ...]:
        box = self._writable()
        named = box.rows.keys() if uids is None else sorted(set(uids) & box.rows.keys())
        removed = tuple([uid for uid in named if "\\Deleted" in box.rows[uid].flags])
        if removed:
            box.remove(removed)
        return removed

    def copy(self, uids: Sequence[int], target: str) -> Placed:
        box = self._living()
        sizes = [len(box.rows[uid].text) for uid in set(uids) if uid in box.rows]
        self._tree.box(target)
        self._tree.quota().require_room(sum(sizes), len(sizes))
        return self._copy(box, uids, target)

    def move(self, uids: Sequence[int], target: str) -> Placed:
        box = self._writable()
        placed = self._copy(box, uids, target)
        if placed.sources:
            box.remove(placed.sources)
        return placed

    def _copy(self, box: _Box, uids: Sequence[int], target: str) -> Placed:
        goal = self._tree.box(target)
        there = [box.rows[uid] for uid in sorted(set(uids)) if uid in box.rows]
        placed = goal.add([(row.text, row.date, row.flags) for row in there])
        return Placed(goal.uidvalidity, placed, tuple([row.uid for row in there]))

    def close(self) -> None:
        pass


class MemoryMessage:
    """An open message."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.size = len(text)

    def read(self) -> bytes:
        return self._text

    def header(self) -> bytes:
        if self._text.startswith(b"\r\n"):
            return b"\r\n"
        end = self._text.find(b"\r\n\r\n")
        return self._text if end < 0 else self._text[: end + 4]

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        for begin in range(start, len(self._text), CHUNK):
            yield self._text[begin : begin + CHUNK]

    def close(self) -> None:
        pass


def _check_new(name: str) -> None:
    try:
        names.check_new(name)
    except names.BadName as wrong:
        raise BadMailboxName(name, str(wrong)) from None


def _taken(message: Incoming) -> bytes:
    spool = message.spool
    assert isinstance(spool, MemorySpool), "a store appends its own spools only"
    return spool.take()
