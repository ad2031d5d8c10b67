"""A mail store in memory: the whole interface without a disk, and the shortest way to say what it means.

It is the model that every other store is held against (tests/mailstore/test_conformance*.py), and the worked example
for whoever writes the next one. It promises what store.py promises, but for one thing: "durable" lasts as long as the
process. It never waits, so every method is one step to the connections of a process; it knows one process only.

Every person has an account as soon as it is opened. What is shared by all sessions is in `memorydata`;
the classes of the interface are one session's handles on it.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from imapd.mailstore.errors import (
    BadMailboxName,
    Denied,
    Expunged,
    Gone,
    HasChildren,
    MailboxExists,
    NoSuchMailbox,
    ReadOnly,
)
from imapd.mailstore.memorydata import Box, Listening, Row, Tree
from imapd.mailstore.quota import NO_LIMITS, Limits, QuotaState
from imapd.mailstore.render import cut, cuts_of, describe, described
from imapd.mailstore.runs import LARGEST, MARKS, Cut, Identity, Run
from imapd.mailstore.store import (
    Description,
    Incoming,
    MailboxEntry,
    MailboxStatus,
    Owner,
    Placed,
    ReadMany,
    Snapshot,
    Text,
)
from imapd.mime.header import select
from imapd.model import names
from imapd.model.flags import FlagChange, Flags
from imapd.model.loop import Loop
from imapd.wire import writer

CHUNK = 128 * 1024


class MemoryStore:
    """The store; accounts are made when they are first opened."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._trees: dict[str, Tree] = {}

    def open_account(self, owner: Owner) -> "MemoryAccount":
        tree = self._trees.get(owner.identity)
        if tree is None:
            tree = self._trees[owner.identity] = Tree(int(self._loop.time()))
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

    def __init__(self, tree: Tree, loop: Loop) -> None:
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

    def is_limited(self) -> bool:
        return self.limits() != NO_LIMITS

    def quota(self) -> QuotaState:
        return self._tree.quota()

    def set_quota(self, limits: Limits | None) -> None:
        self._tree.own_limits = limits

    def catch_up(self) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryMailbox:
    """One session's handle on a mailbox."""

    def __init__(self, tree: Tree, box: Box, read_only: bool, loop: Loop) -> None:
        self._tree = tree
        self._box = box
        self._loop = loop
        self.read_only = read_only

    @property
    def name(self) -> str:
        return self._box.name

    def _living(self) -> Box:
        if self._box.is_gone:
            raise Gone
        return self._box

    def _writable(self) -> Box:
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

    def listen(self, bell: Callable[[], None]) -> Listening:
        return Listening(self._living(), bell)

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
        def run(row: Row) -> Run:
            return described(Identity(row.uid, len(row.text), row.date), describe(row.text, self._loop.breathe))

        return self._cut(uids, run, cuts_of(texts))

    def header_fields(self, uids: "array[int]", fields: frozenset[bytes]) -> list[bytes]:
        def run(row: Row) -> Run:
            header = MemoryMessage(row.text).header()
            return Run(Identity(row.uid, len(row.text), row.date), writer.literal(select(header, fields)))

        return self._cut(uids, run, [(0, MARKS + 1)])

    def reader(self, uids: "array[int]") -> ReadMany:
        def read(some: "array[int]", most: int) -> list[bytearray]:
            rows = [self._living().rows.get(uid) for uid in some]
            return [bytearray(b"" if row is None else row.text[:most]) for row in rows]

        return read

    def _cut(self, uids: "array[int]", make: Callable[[Row], Run], cuts: Sequence[Cut]) -> list[bytes]:
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

    def _copy(self, box: Box, uids: Sequence[int], target: str) -> Placed:
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
