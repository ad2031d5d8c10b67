"""A mailbox as one process knows it, shared by all sessions that have it open.

It keeps the newest Snapshot. Asking for it costs, where nothing changed, a few stats and one question to
SQLite whether somebody committed. What changed is read by modseq; what other programs did to the files is taken in
under the lock (MailFormat.take_in).
"""

import contextlib
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar
from weakref import ref

from imapd.mailstore import columns
from imapd.mailstore.bench import Bench, disk_errors, log
from imapd.mailstore.columnfile import LARGE, ColumnFile
from imapd.mailstore.contents import contents
from imapd.mailstore.core import AccountCore
from imapd.mailstore.errors import (
    Denied,
    Expunged,
    FileLocked,
    Gone,
    LimitExceeded,
    NoSpace,
    OverQuota,
    Retry,
    StoreError,
    UnknownOutcome,
)
from imapd.mailstore.flagnames import DELETED, SEEN
from imapd.mailstore.formats import Slice
from imapd.mailstore.index import Index
from imapd.mailstore.looks import Looks
from imapd.mailstore.maildir import PIECE
from imapd.mailstore.message import IN_MEMORY, LocalMessage, count_wire, read_whole
from imapd.mailstore.places import KnownPlaces, Places
from imapd.mailstore.rendered import Rendered
from imapd.mailstore.rowchanges import Reflagged, mend_size
from imapd.mailstore.rows import BoxRow, Delta, MessageRow
from imapd.mailstore.store import MailboxStatus, Placed, ReadMany, Snapshot
from imapd.mailstore.texts import MailboxTexts
from imapd.mailstore.tree import discover

Result = TypeVar("Result")

_MANY: Final = 2_000
"""Changes that are read in the loop, in about 5 ms; more are read in a disk thread, and all rows with them."""
_WORTH_KEEPING: Final = 0.01
"""The part of a mailbox that has changed when its columns are written down again, as it is closed."""
REFUSALS: Final = (NoSpace, OverQuota, LimitExceeded, Denied, Retry, UnknownOutcome)
"""A disk that is full or read-only, a lock that others hold: that keeps nobody from reading."""


_LOOKS: Final = 8
"""For the file of a message that others rename: mutt, a second worker and a delivery agent may all be at it."""


class SharedMailbox:
    """One mailbox of an account, as this process knows it."""

    # There are thousands that nobody asks anything: what reading of messages needs is made when they are read.
    __slots__ = (
        "__weakref__", "_counted", "_has_work", "_index", "_looks", "_places", "_rendered", "_snapshot", "_unkept",
        "_version", "account", "rendered_to", "row", "users",
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
        self._counted: dict[int, int] | None = None  # octets of large messages whose name told their true size

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
        self._index = self._rendered = self._places = self._counted = None
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
                self.account.locked(discover)  # renamed just now, or gone
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

    def message(self, uid: int) -> LocalMessage:
        """Open a message; looks again where its file was renamed meanwhile. Raises Expunged, and Retry where the file
        is never where the last look found it."""
        tried: list[tuple[int, bytes]] = []
        for number in range(_LOOKS):
            self.refresh()
            row = self.account.reading(lambda index: index.message(self.row.id, uid))
            if row is None:
                self._check_missing(uid)
                raise Expunged
            with disk_errors():
                try:
                    opened = self.account.format.open_message(self.account.root, self.row, row)
                except (FileNotFoundError, NotADirectoryError):
                    # Our own rename may be under way at first: the lock waits for its end. Then others have been here.
                    known, held = self.locked(partial(_held, uid, number > 0))
                    if held is not None:
                        self.refresh()
                        return self._opened(*held)
                    tried.append((row.place, row.file))
                    if tried[-3:] == tried[-1:] * 3:
                        if known == row:
                            raise Expunged from None  # it lies there, but is no message file (maildir, rule 1)
                        # The connections do not see the same: one remembers a page that is damaged in the file.
                        self.account.suspect()
                        tried.clear()
                    continue
                return self._opened(row, opened)
        raise Retry("Another program moves that message all the time; please try again in a moment.")

    def opener(self, uids: Sequence[int]) -> Callable[[int], LocalMessage]:
        """Opens these messages as `message` does; their rows are read together when the first is opened."""
        rows: dict[int, MessageRow] | None = None

        def open_one(uid: int) -> LocalMessage:
            nonlocal rows
            if rows is None:
                self.refresh()
                rows = {row.uid: row for row in self.account.reading(lambda index: index.rows(self.row.id, uids))}
            row = rows.get(uid)
            if row is not None:
                # A format opens what the row means or nothing, also where much happened since the row was read.
                with contextlib.suppress(OSError):  # `message` knows what to do about it
                    return self._opened(row, self.account.format.open_message(self.account.root, self.row, row))
            return self.message(uid)

        return open_one

    def reader(self, uids: "array[int]") -> ReadMany:
        """Reads many of these messages at a time; their rows are read together when the first are read."""
        box = self.row
        rows: dict[int, MessageRow] | None = None

        def read(some: "array[int]", most: int) -> list[bytearray]:
            nonlocal box, rows
            if rows is None:
                self.refresh()
                box = self.row
                rows = {row.uid: row for row in self.account.reading(lambda index: index.rows(box.id, uids))}
            found = [row for uid in some if (row := rows.get(uid)) is not None]
            if len(found) != len(some):
                return [bytearray()] * len(some)
            return contents(self.account.format, self.account.root, box, found, most, self.account.loop)

        return read

    def _check_missing(self, uid: int) -> None:
        """A message has no row: where it should have one, the index is damaged. Raises Gone if the mailbox is new."""
        self.refresh()
        known = self._snapshot
        if known is not None and known.highestmodseq == self.row.modseq and known.row(uid) is not None:
            self.account.suspect()
            self.refresh()

    def _opened(self, row: MessageRow, opened: Slice) -> LocalMessage:
        loop = self.account.loop
        octets = opened.octets + opened.hidden
        places = self._places_of(row.uid, octets)
        try:
            if octets == row.octets or (self._counted and octets == self._counted.get(row.uid)):
                return LocalMessage(opened, row.size, loop, places=places, reopen=partial(self._slice, row.uid))
            content = read_whole(opened, loop, places) if octets <= IN_MEMORY else None
            size = count_wire(opened, loop) if content is None else len(content)
            if size != row.size:
                log.info("a message is %d octets long and not %d, as its file's name says", size, row.size)
                self.account.loop.offload(self.rendered.forget, row.uid)
                with contextlib.suppress(*REFUSALS):
                    self.locked(lambda bench, box: mend_size(bench, box, row.uid, size, octets))
            elif places is not None:
                if self._counted is None:
                    self._counted = {}
                self._counted[row.uid] = octets
            return LocalMessage(opened, size, loop, content, places)
        except BaseException:
            opened.close()
            raise

    def _slice(self, uid: int) -> Slice:
        """Where a message is by now that has moved within its file."""
        return self.message(uid).taken()

    def _places_of(self, uid: int, octets: int) -> Places | None:
        """What is known of a message; of those that are read in one piece there is nothing to know."""
        if octets <= PIECE:
            return None
        if self._places is None:
            self._places = KnownPlaces()
        return self._places.of(uid, octets)


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


def _held(uid: int, again: bool, bench: Bench, box: int) -> tuple[MessageRow | None, tuple[MessageRow, Slice] | None]:
    """The row of a message when what is known has been brought up to date, and the message where it can be opened."""
    held = bench.format.open_held(bench, box, uid, again)
    return bench.index.message(box, uid), held
