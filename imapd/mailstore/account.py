"""One session's handle on an account whose mail lies in files. What it knows is shared (mailstore/core)."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from imapd.mailstore import maildir, quotafile, subscriptions, tree
from imapd.mailstore.arrivals import Arrival
from imapd.mailstore.background import Wish, rendering
from imapd.mailstore.bench import Bench, disk_errors
from imapd.mailstore.core import AccountCore
from imapd.mailstore.errors import BadMailboxName, Gone, StoreError, UnknownOutcome
from imapd.mailstore.index import Index
from imapd.mailstore.mailbox import LocalMailbox
from imapd.mailstore.message import LocalSpool
from imapd.mailstore.quota import NO_LIMITS, Limits, QuotaState
from imapd.mailstore.repair import Repaired, repair
from imapd.mailstore.rows import BoxRow
from imapd.mailstore.shared import SharedMailbox, placed_in
from imapd.mailstore.store import Incoming, MailboxEntry, MailboxStatus, Placed
from imapd.mailstore.texts import MailboxTexts
from imapd.mailstore.verify import Report
from imapd.model import names

Result = TypeVar("Result")


class LocalAccount:
    """An account that is open."""

    __slots__ = ("_core", "_is_open")

    def __init__(self, core: AccountCore) -> None:
        self._core = core
        self._is_open = True

    # The tree

    def mailboxes(self) -> list[MailboxEntry]:
        rows = {row.name: row for row in self._rows()}
        with disk_errors():
            subscribed = subscriptions.read(self._core.root)
        above = {name for row in rows for name in names.ancestors(row)}
        entries = [_entry(name, rows.get(name), name in subscribed) for name in {*rows, *above, *subscribed}]
        return sorted(entries, key=lambda entry: (entry.name != names.INBOX, entry.name))

    def _rows(self) -> list[BoxRow]:
        """The mailboxes there are, those of other programs taken in."""
        core = self._core
        with disk_errors():
            rows = core.reading(lambda index: index.boxes()) if core.is_current() else []
            on_disk = core.format.directories(core.root)
        if on_disk - core.unfit != {row.directory for row in rows}:
            core.discover()
            rows = core.reading(lambda index: index.boxes())
        return rows

    def exists(self, name: str) -> bool:
        core = self._core
        with disk_errors(), contextlib.suppress(BadMailboxName):
            # Where it lies by its name, as nearly always, it is there or will be taken in.
            if core.format.is_mailbox(core.root, core.format.directory_of(core.root, name)):
                return True
        return any(row.name == name or names.is_below(row.name, name) for row in self._rows())

    def create(self, name: str, special_use: tuple[str, ...] = ()) -> None:
        tree.check_new(name)
        self._core.locked(lambda bench: tree.create(bench, name, special_use))

    def delete(self, name: str) -> None:
        self._core.locked(lambda bench: tree.delete(bench, name), vital=True)

    def rename(self, old: str, new: str) -> None:
        if old == names.INBOX:
            self._core.locked(lambda bench: bench.format.empty_inbox_into(bench, new))
        else:
            self._core.locked(lambda bench: tree.rename(bench, old, new))

    def subscribe(self, name: str) -> None:
        self._core.locked(lambda bench: subscriptions.change(bench, name, True))

    def unsubscribe(self, name: str) -> None:
        self._core.locked(lambda bench: subscriptions.change(bench, name, False))

    def hand_over(self) -> list[tuple[str, int]]:
        """Write the UIDs and subscriptions where another server looks for them; the mailboxes' names and numbers of
        messages. True for one moment of each mailbox."""
        self._core.locked(subscriptions.hand_over)
        return [(row.name, self._core.locked(partial(_hand_over, row.name))) for row in self._rows()]

    def repair(self, before: Report, hashing: bool = False, accept: bool = False) -> Repaired:
        """Make good what is wrong; for a process that serves nobody (mailstore/repair). Raises OSError too."""
        return repair(self._core, before, hashing, accept)

    # Mailboxes

    def status(self, name: str) -> MailboxStatus:
        return self._shared(name).status()

    def open(self, name: str, read_only: bool = False) -> LocalMailbox:
        known = self._as_known(name, not read_only)
        shared = known or self._shared(name)
        self._core.mailboxes[shared.key] = shared
        shared.users += 1
        self._core.users += 1
        self._core.background.opened(MailboxTexts(shared))
        return LocalMailbox(shared, read_only, is_seen=known is not None)

    def _as_known(self, name: str, read_write: bool) -> SharedMailbox | None:
        """The mailbox, where the process knows it and nothing has happened to it since: nearly always."""
        for known in self._core.mailboxes.values():
            if known.row.name == name:
                with disk_errors():
                    return known if known.is_as_known(name, read_write) else None
        return None

    def _shared(self, name: str) -> SharedMailbox:
        """The mailbox as the process knows it, or a new one. Raises NoSuchMailbox."""
        core = self._core
        with disk_errors():
            row = core.reading(lambda index: index.box_named(name)) if core.is_current() else None
            is_there = row is not None and _is_as_known(core, row)
        if row is None or not is_there:
            row = core.locked(lambda bench: tree.find(bench, name))
        return self._known(row) or SharedMailbox(core, row)

    def _known(self, row: BoxRow) -> SharedMailbox | None:
        known = self._core.mailboxes.get((row.id, row.uidvalidity))
        return None if known is None or known.is_ahead_of(row) else known

    def _reading(self, read: Callable[[Index], Result]) -> Result:
        """Read from the index that is there now."""
        with disk_errors():
            if not self._core.is_current():
                self._core.locked(lambda bench: None)
        return self._core.reading(read)

    def rendering(self, wish: Wish) -> Iterator[int]:
        """Render a mailbox for another process; see mailstore/local."""
        shared = self._shared(wish.mailbox)
        if shared.row.uidvalidity == wish.uidvalidity:
            yield from rendering(MailboxTexts(shared))

    # Messages on their way in

    def spool(self) -> LocalSpool:
        core = self._core
        path = core.root + b"/tmp/" + maildir.new_unique(core.loop.time())
        return LocalSpool(path, core.settings.file_mode, core.settings.dir_mode)

    def append(self, name: str, messages: Sequence[Incoming]) -> Placed:
        arrival = Arrival(name, [_own(message) for message in messages], messages)
        try:
            with self._core.background.standing_still():
                placed = self._core.arrivals.append(arrival)
        except UnknownOutcome:
            # The index may know the files: they stay where they are, also when the command's end abandons the spools.
            for spool in arrival.spools:
                spool.release()
            raise
        except StoreError:
            for spool in arrival.spools:
                spool.abandon()
            raise
        placed_in(self._core, name, placed)
        return placed

    # How much it may hold

    def limits(self) -> Limits:
        return self._in_force(self._reading(lambda index: index.limits()))

    def _in_force(self, own: Limits | None) -> Limits:
        return self._core.limits if own is None else own

    def is_limited(self) -> bool:
        core = self._core
        if not core.are_own_limits_known:
            core.own_limits = self._reading(lambda index: index.limits())
            core.are_own_limits_known = True
        return self._in_force(core.own_limits) != NO_LIMITS

    def quota(self) -> QuotaState:
        used = self._reading(lambda index: index.usage())
        return QuotaState(used.octets, used.messages, self.limits())

    def set_quota(self, limits: Limits | None) -> None:
        self._core.locked(lambda bench: quotafile.set_limits(bench, limits))
        self._core.are_own_limits_known = False

    def catch_up(self) -> None:
        for row in self._rows():
            with contextlib.suppress(Gone):  # deleted meanwhile
                (self._known(row) or SharedMailbox(self._core, row)).catch_up(read_write=False)
            self._core.loop.breathe()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._core.release()


def _entry(name: str, row: BoxRow | None, subscribed: bool) -> MailboxEntry:
    return MailboxEntry(name, row is not None, subscribed, tuple(row.special_use.split()) if row else ())


def _is_as_known(core: AccountCore, row: BoxRow) -> bool:
    """Whether the mailbox is where its row says, and no other server has numbered it meanwhile."""
    folder = core.format.folder(core.root, row.directory)
    return core.format.is_mailbox(core.root, row.directory) and core.format.knows_uids(folder, row)


def _hand_over(name: str, bench: Bench) -> int:
    return bench.format.hand_over(bench, tree.find(bench, name).id)


def _own(message: Incoming) -> LocalSpool:
    assert isinstance(message.spool, LocalSpool), "a store appends its own spools only"
    return message.spool
