"""A mailbox as one process knows it, shared by all sessions that have it open.

It keeps the newest Snapshot. Asking for it costs, where nothing changed, a few stats and one question to
SQLite whether somebody committed. What changed is read by modseq; what other programs did to the files is taken in
under the lock (MailFormat.take_in).
"""

import contextlib
import sys
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, TypeVar
from weakref import ref

from imapd.mailstore import columns
from imapd.mailstore.bench import Bench, disk_errors, log
from imapd.mailstore.columnfile import LARGE, ColumnFile
from imapd.mailstore.core import AccountCore
from imapd.mailstore.errors import REFUSALS, FileLocked, Gone, StoreError
from imapd.mailstore.flagnames import DELETED, SEEN
from imapd.mailstore.index import Index
from imapd.mailstore.looks import Looks
from imapd.mailstore.places import KnownPlaces
from imapd.mailstore.rendered import Rendered
from imapd.mailstore.rowchanges import Reflagged
from imapd.mailstore.rows import BoxRow, Delta
from imapd.mailstore.store import MailboxStatus, Placed, Snapshot
from imapd.mailstore.texts import MailboxTexts

Result = TypeVar("Result")

_MANY: Final = 2_000
"""Changes that are read in the loop, in about 5 ms; more are read in a disk thread, and all rows with them."""
_WORTH_KEEPING: Final = 0.01
"""The part of a mailbox that has changed when its columns are written down again, as it is closed."""


class SharedMailbox:
    """One mailbox of an account, as this process knows it."""

    # There are thousands that nobody asks anything: what reading of messages needs is made when they are read.
    __slots__ = (
        "__weakref__", "_has_work", "_index", "_looks", "_places", "_rendered", "_snapshot", "_unkept", "_version",
        "account", "rendered_to", "row", "users",
    )  # fmt: skip

    def __init__(self, account: AccountCore, row: BoxRow) -> None:
        self.account = account
        self.row = row
        self.users = 0
        self._index: ref[Index] | None = None  # no more than that: one that is done with is closed by who had it
        self._version = -1
        self._has_work = True
        self._looks: Looks | None = None
        self._snapshot: Snapshot | None = None
        self._rendered: Rendered | None = None
        self.rendered_to = 0  # up to which UIDNEXT what is missing was found out, or asked for
        self._unkept = 0  # changes that the file of columns lacks
        self._places: KnownPlaces | None = None

    @property
    def key(self) -> tuple[int, int]:
        """Which mailbox of the account it is: id and UIDVALIDITY."""
        return self.row.id, self.row.uidvalidity

    @property
    def rendered(self) -> Rendered:
        """What is kept of its messages in finished form."""
        if self._rendered is None:
            account = self.account
            self._rendered = Rendered(account.root, *self.key, account.loop, account.settings.file_mode)
        return self._rendered

    @property
    def places(self) -> KnownPlaces:
        """What is known of the octets of its messages in their files."""
        if self._places is None:
            self._places = KnownPlaces()
        return self._places

    def put_rendered_by(self) -> None:
        """Free its memory until somebody asks."""
        self._rendered = None

    @property
    def _columns(self) -> ColumnFile:
        return ColumnFile(self.account.root, *self.key, self.account.settings.file_mode)

    @property
    def folder(self) -> bytes:
        return self.account.format.folder(self.account.root, self.row.directory)

    # Knowing what is

    def refresh(self) -> None:
        """Read the mailbox's row, if somebody committed. Raises Gone."""
        with disk_errors():
            if not self.account.is_current():
                self.account.locked(lambda bench: None)  # opens the index anew
        self.account.reading(self._refresh)

    def doze(self) -> None:
        """The index is closed: what it last said is no measure for the next one. What can be found again is forgotten;
        of the row that is the stamps, for nothing is believed of the files before the row was read again."""
        self._index = self._rendered = self._places = None
        name = sys.intern(self.row.name)
        self.row = self.row._replace(name=name, new_stamp="", cur_stamp="", uidlist_stamp="", doubt=0.0)

    def _refresh(self, index: Index) -> None:
        version = index.data_version()
        if self._index is not None and index is self._index() and version == self._version:
            return
        row = index.box(self.row.id)
        if row is None or row.uidvalidity != self.row.uidvalidity or self.is_ahead_of(row):
            raise Gone
        self.account.are_own_limits_known = False
        self._has_work = self.account.format.has_work(index, row.id)
        self.row, self._index, self._version = row, ref(index), version

    def is_ahead_of(self, row: BoxRow) -> bool:
        """Whether the row is of an older mailbox than the one that is known here: the account was replaced."""
        return row.uidnext < self.row.uidnext or row.modseq < self.row.modseq

    def catch_up(self, read_write: bool) -> None:
        """Take in what other programs did to the files, if that can be done now. Raises Gone."""
        try:
            with disk_errors():
                self._take_in(read_write)
        except REFUSALS as refused:
            log.warning("new mail cannot be taken in: %s", refused.reason)
            if isinstance(refused, FileLocked):
                # Who waits for news looks once more, though nothing else may ever happen to the file.
                with contextlib.suppress(OSError):
                    self.account.format.ring(self.folder)
            self.refresh()

    def _take_in(self, read_write: bool) -> None:
        def look() -> bool:
            return self.locked(lambda bench, box: bench.format.take_in(bench, box, read_write), vital=True)

        while not self._agrees(read_write):
            self._looks = self._looks or Looks(self.account.loop)
            if self._looks.take(look, read_write):
                self.refresh()
                return

    def _agrees(self, read_write: bool) -> bool:
        self.refresh()
        try:
            return self._nothing_to_do(read_write)
        except (FileNotFoundError, NotADirectoryError):
            if not self.account.format.is_mailbox(self.account.root, self.row.directory):
                self.account.discover()  # renamed just now, or gone
                self.refresh()
            return False

    def is_as_known(self, name: str, read_write: bool) -> bool:
        """Whether it bears that name, and nothing has happened to it that is not known or has to be seen to."""
        try:
            self.refresh()
            return self.row.name == name and self._nothing_to_do(read_write)
        except (Gone, FileNotFoundError, NotADirectoryError):
            return False

    def _nothing_to_do(self, read_write: bool) -> bool:
        account = self.account
        agrees = account.format.agrees(self.folder, self.row, account.loop.time())
        return agrees and not (read_write and self._has_work)

    def snapshot(self, read_write: bool) -> Snapshot:
        """The newest snapshot."""
        self.catch_up(read_write)
        return self.loaded()

    def known(self) -> Snapshot:
        """The last snapshot that was taken, where there is one: that does not wake the account. Raises Gone."""
        if self._snapshot is None:
            self.refresh()
        return self._snapshot or self.loaded()

    def loaded(self) -> Snapshot:
        known = self._snapshot
        if known is not None and known.highestmodseq == self.row.modseq:
            return known
        fresh = self._advanced(known) if known is not None else None
        fresh = fresh or self._read(self._read_whole)
        # While a disk thread read, another session may have got further.
        if self._snapshot is None or self._snapshot.highestmodseq < fresh.highestmodseq:
            if known is not None and fresh.uidnext > known.uidnext:
                new = fresh.uids[bisect_left(fresh.uids, known.uidnext) :]
                self.account.background.arrived(MailboxTexts(self), new)
            self._snapshot = fresh
        return self._snapshot

    def _advanced(self, known: Snapshot) -> Snapshot | None:
        delta = self.account.reading(lambda index: index.delta(self.row.id, known.highestmodseq, _MANY))
        if delta is None or delta.box.uidvalidity != self.row.uidvalidity:
            raise Gone
        many = len(delta.rows) > _MANY or len(delta.vanished) > _MANY
        if many or known.highestmodseq < delta.forgotten:
            return None
        fresh = columns.advanced(known, delta)
        self._unkept += len(delta.rows) + len(delta.vanished)
        return fresh if len(fresh.uids) == delta.box.messages else None  # a damaged index, which reading it whole tells

    def _read_whole(self, index: Index) -> Snapshot:
        if kept := self._columns.snapshot(index):
            fresh, self._unkept = kept
            return fresh
        found = index.columns(self.row.id)
        if found is None or found.box.uidvalidity != self.row.uidvalidity:
            raise Gone
        fresh = columns.whole(found)
        if len(fresh.uids) >= LARGE:
            self._columns.write(fresh)
            self._unkept = 0
        return fresh

    def should_have(self, uid: int) -> bool:
        """Whether the message is in the newest snapshot, and nobody has committed since."""
        known = self._snapshot
        return known is not None and known.highestmodseq == self.row.modseq and known.row(uid) is not None

    def keep_columns(self) -> None:
        """Write the columns down for the next process, where enough has changed to be worth it."""
        known = self._snapshot
        if known is not None and len(known.uids) >= LARGE and self._unkept > len(known.uids) * _WORTH_KEEPING:
            self._unkept = 0
            self.account.loop.offload(self._columns.write, known)

    def _read(self, read: Callable[[Index], Result]) -> Result:
        """Read all rows of the mailbox: of a small one in the loop, which is done before a thread would begin."""
        small = self.row.uidnext <= _MANY
        return self.account.reading(read) if small else self.account.reading_much(read)

    def status(self) -> MailboxStatus:
        """The counts, without reading all rows into memory."""
        self.catch_up(read_write=False)
        row = self.row
        messages, recent, unseen, deleted, size, deleted_size = self._read(
            lambda index: index.counts(row.id, SEEN, DELETED)
        )
        return MailboxStatus(
            messages, recent, unseen, deleted, size, row.uidnext, row.uidvalidity, row.modseq, deleted_size
        )

    # Doing

    def locked(self, work: Callable[[Bench, int], Result], vital: bool = False) -> Result:
        """Do a write to this very mailbox. vital: see mailstore/core. Raises Gone where another has taken its place."""

        def on_bench(bench: Bench) -> Result:
            if bench.box(self.row.id).uidvalidity != self.row.uidvalidity:
                raise Gone
            return work(bench, self.row.id)

        return self.account.locked(on_bench, vital)

    def reflagged(self, done: Reflagged) -> tuple[int, ...]:
        """Go on to the snapshot after a change of flags of our own, where nothing else has happened; the UIDs of the
        messages that there were."""
        known = self._snapshot
        if known is not None and done.changed and known.highestmodseq == done.before:
            fresh = columns.reflagged(known, done)
            if fresh is not None:
                self._snapshot = fresh
                self._unkept += len(done.changed)
        return tuple(done.uids)

    def vanished(self, uids: Sequence[int]) -> None:
        """Go on to the snapshot after messages have gone by our own doing, where nothing else has happened. Never
        raises: it is done already."""
        known = self._snapshot
        with contextlib.suppress(StoreError):
            self.refresh()
            if known is None or not uids or self.row.modseq != known.highestmodseq + 1:
                return
            fresh = columns.advanced(known, Delta(self.row, known.keywords, [], list(uids), 0))
            if len(fresh.uids) == self.row.messages and self._snapshot is known:
                self._snapshot = fresh
                self._unkept += len(uids)

    def closed(self) -> None:
        """One of those who have it open has closed it."""
        self.users -= 1
        try:
            if not self.users and self.account.mailboxes.get(self.key) is self:
                self.account.put_by(self)
                self.write_back()
                self.keep_columns()
        finally:
            self.account.release()

    def write_back(self) -> None:
        """Bring what the mail file lacks into it, since nobody here has the mailbox open any more."""
        account = self.account
        try:
            if account.reading(lambda index: account.format.lags(index, self.row.id)):
                self.locked(lambda bench, box: bench.format.closed(bench, box), vital=True)
        except StoreError as error:
            log.warning("the mail file will be brought up to date later: %s", error.reason)


def placed_in(account: AccountCore, name: str, placed: Placed) -> Placed:
    """Say that messages have come into a mailbox of that name; what was placed. Never raises: it is done already."""
    if placed.uids:
        with contextlib.suppress(StoreError):
            goal = _goal_of(account, name, placed.uidvalidity)
            if goal is not None:
                account.background.arrived(MailboxTexts(goal), placed.uids)
    return placed


def _goal_of(account: AccountCore, name: str, uidvalidity: int) -> SharedMailbox | None:
    """The mailbox of that name and UIDVALIDITY; it is remembered, for who appends often does so to one mailbox."""
    for known in account.mailboxes.values():
        if (known.row.name, known.row.uidvalidity) == (name, uidvalidity):
            return known
    row = account.reading(lambda index: index.box_named(name))
    if row is None or row.uidvalidity != uidvalidity:
        return None
    goal = account.mailboxes.setdefault((row.id, row.uidvalidity), SharedMailbox(account, row))
    if not goal.users:
        account.put_by(goal)
    return goal
