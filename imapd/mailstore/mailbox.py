"""One session's handle on an open mailbox. What it knows is shared (mailstore/shared)."""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

from imapd.mailstore import quota, rowchanges, tree
from imapd.mailstore.bench import Bench
from imapd.mailstore.errors import REFUSALS, ReadOnly
from imapd.mailstore.message import LocalMessage
from imapd.mailstore.opening import MailboxMessages
from imapd.mailstore.shared import SharedMailbox, placed_in
from imapd.mailstore.store import Description, Placed, ReadMany, Snapshot, Text
from imapd.mailstore.texts import MailboxTexts
from imapd.model.flags import FlagChange, Flags
from imapd.model.loop import Watching


class LocalMailbox:
    """A mailbox that is open."""

    __slots__ = ("_is_open", "_is_seen", "_shared", "read_only")

    def __init__(self, shared: SharedMailbox, read_only: bool, is_seen: bool = False) -> None:
        """is_seen: whoever opens it has looked just now whether anything has happened, for the first snapshot."""
        self._is_seen = is_seen
        self._shared = shared
        self._is_open = True
        self.read_only = read_only

    @property
    def name(self) -> str:
        return self._shared.row.name

    def snapshot(self) -> Snapshot:
        if self._is_seen:
            self._is_seen = False
            return self._shared.loaded()
        return self._shared.snapshot(read_write=not self.read_only)

    def claim_recent(self, up_to: int) -> int:
        shared = self._shared
        if up_to <= shared.row.recent:  # which only grows
            return shared.row.recent
        try:
            return shared.locked(lambda bench, box: rowchanges.claim_recent(bench, box, up_to), vital=True)
        except REFUSALS:
            return shared.row.recent  # others will see them as recent once more, which harms nobody

    def unclaimed_recent(self) -> int:
        self._shared.refresh()
        return self._shared.row.recent

    def listen(self, bell: Callable[[], None]) -> Watching:
        account = self._shared.account
        return account.loop.watch([os.fsdecode(path) for path in account.format.watched(self._shared.folder)], bell)

    def message(self, uid: int) -> LocalMessage:
        return MailboxMessages(self._shared).message(uid)

    def opener(self, uids: Sequence[int]) -> Callable[[int], LocalMessage]:
        return MailboxMessages(self._shared).opener(uids)

    def descriptions(self, uids: Iterable[int]) -> Iterator[tuple[int, Description]]:
        return MailboxTexts(self._shared).descriptions(uids)

    def texts(self, uids: "array[int]", texts: Sequence[Text]) -> list[bytes]:
        return MailboxTexts(self._shared).items(uids, texts)

    def header_fields(self, uids: "array[int]", fields: frozenset[bytes]) -> list[bytes]:
        return MailboxTexts(self._shared).header_fields(uids, fields)

    def reader(self, uids: "array[int]") -> ReadMany:
        return MailboxMessages(self._shared).reader(uids)

    def change_flags(self, uids: Sequence[int], how: FlagChange, flags: Flags) -> tuple[int, ...]:
        def change(bench: Bench, box: int) -> rowchanges.Reflagged:
            return rowchanges.change_flags(bench, box, uids, how, flags)

        shared = self._writable()
        return shared.reflagged(shared.locked(change, vital=True))

    def expunge(self, uids: Sequence[int] | None) -> tuple[int, ...]:
        shared = self._writable()
        gone = shared.locked(lambda bench, box: bench.format.expunge(bench, box, uids), vital=True)
        shared.vanished(gone)
        return gone

    def copy(self, uids: Sequence[int], target: str) -> Placed:
        def copied(bench: Bench, box: int) -> Placed:
            tree.find(bench, target)  # that it is not there is said before that there is no room
            quota.require_for_copies(bench, box, uids)
            return bench.format.copy(bench, box, uids, target)

        return placed_in(self._shared.account, target, self._shared.locked(copied))

    def move(self, uids: Sequence[int], target: str) -> Placed:
        shared = self._writable()
        placed = shared.locked(lambda bench, box: bench.format.move(bench, box, uids, target), vital=True)
        shared.vanished(placed.sources)
        return placed_in(shared.account, target, placed)

    def _writable(self) -> SharedMailbox:
        if self.read_only:
            raise ReadOnly
        return self._shared

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._shared.closed()
