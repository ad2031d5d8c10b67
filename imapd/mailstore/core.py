"""What all sessions of a process share of one account: its lock, its index, its open mailboxes.

Rules:

1. `locked` is the only way to write: it takes the account's lock, gives the work a Bench in a disk thread, and rings
   the bells of changed mailboxes when the work is done. Work that finds a mail file locked by another program raises
   FileLocked before it has changed anything; it is waited for in the loop, without our lock, and done again.
2. Reading in the loop uses `reader`, which never waits and which nothing else writes through (mailstore/reader).
3. The index is looked over before it is used, and made anew where it is damaged (mailstore/openindex).
4. Handles are opened when they are needed and closed when the account was not used for long (mailstore/awake).
5. A full disk, or a quota of the file system, stops what needs room for good. What only needs it to go on, or makes
   room in the end (`vital`), is tried again after the reserve and the rendered texts were given up for it.
"""

import contextlib
import os
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from imapd.mailstore import rebuild, rendered, reserve, tree
from imapd.mailstore.afterwork import Afterwork
from imapd.mailstore.arrivals import Arrivals
from imapd.mailstore.awake import Handles
from imapd.mailstore.background import Background
from imapd.mailstore.bench import Bench, DiskSettings, disk_errors
from imapd.mailstore.errors import (
    Corrupt,
    FileLocked,
    Gone,
    NoSpace,
    NoSuchAccount,
    OverQuota,
    Retry,
    StoreError,
    UnknownOutcome,
)
from imapd.mailstore.formats import MailFormat
from imapd.mailstore.index import Index
from imapd.mailstore.indexfile import Look
from imapd.mailstore.lock import PATIENCE, AccountLock
from imapd.mailstore.openindex import OpenIndex
from imapd.mailstore.quota import NO_LIMITS, Limits
from imapd.mailstore.turn import Turn
from imapd.model.loop import Loop

if TYPE_CHECKING:
    from imapd.mailstore.shared import SharedMailbox

Result = TypeVar("Result")

LOCK_FILE: Final = b"imapd.lock"
_PUT_BY: Final = 4
"""Closed mailboxes whose columns an account keeps while it is awake: 36 octets a message."""
_BUSY_TRIES: Final = 200
_BUSY_PAUSE: Final = 0.01  # SQLite is busy for readers only while it recovers from a crashed process

_FILE_PAUSE: Final = 0.002
_LONG_FILE: Final = 2.0
_LONG_FILE_PAUSE: Final = 0.02
"""Delivery agents hold an mbox for milliseconds, and leave it free for as long between one message and the next: who
pauses longer than that with every try comes to find it locked each time. mutt holds it for a second, or for as long as
nobody answers its question."""


class AccountCore:
    """One account in one process. root: the directory that has the store's own files."""

    # There are thousands, most of them silent: what only writing needs is made when somebody writes.
    __slots__ = (
        "_afterwork", "_arrivals", "_handles", "_index", "_is_open", "_is_work_left", "_opening", "_released", "_seen",
        "_turn", "_working", "are_own_limits_known", "background", "format", "limits", "loop", "mail_file", "mailboxes",
        "own_limits", "root", "settings", "users",
    )  # fmt: skip

    def __init__(
        self,
        root: bytes,
        mail_file: bytes,
        mail_format: MailFormat,
        loop: Loop,
        settings: DiskSettings,
        handles: "Handles[AccountCore]",
        background: Background,
        released: "Callable[[AccountCore], None]",
    ) -> None:
        """handles: which accounts keep theirs. background: of the whole process. released: told of each handle on the
        account that is given back."""
        self.root = root
        self.mail_file = mail_file  # by which another process opens it
        self.format = mail_format
        self.loop = loop
        self.settings = settings
        self.limits = NO_LIMITS  # of its owner, as the last who opened it knew them
        self.own_limits: Limits | None = None  # of the account itself, until somebody is seen to have committed
        self.are_own_limits_known = False
        self.users = 0
        self.mailboxes: dict[tuple[int, int], SharedMailbox] = {}
        self._turn = Turn(loop)
        self._opening = Turn(loop)
        self._index = OpenIndex(root, mail_format, loop, settings)
        self.background = background
        self._arrivals: Arrivals | None = None
        self._afterwork: Afterwork | None = None
        self._is_work_left = False
        self._handles = handles
        self._is_open = False
        self._working = 0  # writes under way or waiting for the lock
        self._seen: Look | None = None  # how the index lay there when the last session went
        self._released = released

    @property
    def _lock(self) -> AccountLock:
        return AccountLock(self.root + b"/" + LOCK_FILE, self.loop, self.settings.file_mode, self._turn)

    @property
    def arrivals(self) -> Arrivals:
        """What clients bring at this moment."""
        if self._arrivals is None:
            self._arrivals = Arrivals(self)
        return self._arrivals

    def open(self) -> None:
        """Open the account, if this process has not yet. Raises NoSuchAccount, Retry."""
        with self._opening:
            if self.users == 1 and self._seen != self._index.look():
                self.close()  # somebody wrote to it, or put another one there: all that is checked at opening is due
            if not self._is_open or not os.path.lexists(self.root):
                with disk_errors():
                    # What takes half a millisecond in the loop takes three times that in a thread that has to ask for
                    # the interpreter at each of some fifty calls.
                    open_as_left = self._index.open_as_left
                    if not (open_as_left() if self._index.is_at_hand() else self.loop.offload(open_as_left)):
                        self._open_anew()
                self._is_open = True

    def _open_anew(self) -> None:
        self.loop.offload(self._make_root)
        try:
            self.locked(lambda bench: None, vital=True)
        except StoreError:
            if not self.loop.offload(self._index.open_to_read):
                raise

    def release(self) -> None:
        """Somebody gives back his handle on the account."""
        self._released(self)

    def rest(self) -> None:
        """The last session has gone."""
        self._seen = self._index.look()

    def _make_root(self) -> None:
        if os.path.islink(self.root):
            raise NoSuchAccount(reason="the mail file is a symbolic link")
        if not self.format.is_there(self.root):
            if not self.settings.create:
                raise NoSuchAccount
            os.makedirs(self.root, self.settings.dir_mode, exist_ok=True)

    def close(self) -> None:
        """Close the account; what it knew is not believed any more."""
        self._is_open = False
        self.mailboxes.clear()
        self._handles.awake.forget(self)
        self._handles.writing.forget(self)
        self._close(self._index.taken())

    @property
    def is_open(self) -> bool:
        """Whether somebody has the account open, or it is awake still."""
        return self._is_open and (self.users > 0 or self._index.reader.is_open)

    @property
    def is_busy(self) -> bool:
        """Whether a write is under way, which needs the handles."""
        return self._working > 0

    @property
    def is_silent(self) -> bool:
        """Whether there are sessions, and the handle is one that is closed without work (mailstore/awake, rule 1)."""
        return self.users > 0 and self._index.is_silent

    def doze(self) -> None:
        """Close the handles until they are needed again; not while the account is busy."""
        self._keep_mailboxes(0)
        for mailbox in self.mailboxes.values():
            mailbox.doze()
        self._arrivals = None  # nobody is in there, or it would be busy
        if self._afterwork is not None and not self._afterwork.is_due:
            self._afterwork = None
        handles = self._index.taken()
        self.loop.spawn(lambda: self._close(handles))

    def write_no_more(self) -> None:
        """Close the handle for writing until it is needed again; not while the account is busy."""
        handles = self._index.writer_taken()
        if handles:
            self.loop.spawn(lambda: self._close(handles))

    def put_by(self, mailbox: "SharedMailbox") -> None:
        """Nobody has the mailbox open any more: what is known of it is kept for who comes next."""
        self.mailboxes[mailbox.key] = self.mailboxes.pop(mailbox.key)
        self._keep_mailboxes(_PUT_BY)

    def _keep_mailboxes(self, most: int) -> None:
        closed = [key for key, mailbox in self.mailboxes.items() if not mailbox.users]
        for key in closed[: max(0, len(closed) - most)]:
            del self.mailboxes[key]

    def _close(self, handles: Sequence[Index]) -> None:
        """Close them under the lock where it is to be had, for the last close tidies the database."""
        if handles:
            try:
                self._lock.run(lambda: self._index.close_each(handles))
            except (StoreError, OSError):
                self.loop.offload(lambda: self._index.close_each(handles))

    @property
    def reader(self) -> Index:
        """The index for reading (rule 2)."""
        self._handles.awake.used(self)
        if not self._index.reader.is_open and not self._is_open:
            raise Retry(reason="the account is closed")
        return self._index.reader.index()

    def reading(self, read: Callable[[Index], Result]) -> Result:
        """Read from the index in the loop; waits as a sleeper where SQLite is busy. Damage is mended first (rule 3)."""
        try:
            return self._reading(read)
        except Corrupt:
            self.suspect()
            return self._reading(read)

    def _reading(self, read: Callable[[Index], Result]) -> Result:
        for _ in range(_BUSY_TRIES):
            try:
                found = read(self.reader)
            except StoreError as error:
                if self._index.reader.lay_still():
                    if not isinstance(error, Retry):
                        raise
                    self.loop.sleep(_BUSY_PAUSE)
            else:
                if self._index.reader.lay_still():
                    return found
        return read(self.reader)

    def reading_much(self, read: Callable[[Index], Result]) -> Result:
        """Read in a disk thread, on a connection of its own. Damage is mended first (rule 3)."""
        try:
            return self.loop.offload(lambda: self._index.on_another(read))
        except Corrupt:
            self.suspect()
            return self.loop.offload(lambda: self._index.on_another(read))

    # Writing

    def locked(
        self, work: Callable[[Bench], Result], vital: bool = False, before: Callable[[], None] | None = None
    ) -> Result:
        """Do the work under the account's lock (rule 1). Vital work may be done twice (rule 5).

        before: what can be done without the lock, on the same way to a disk thread; more than once. Raises Gone where
        the whole account is no more.
        """
        self._handles.awake.used(self)
        self._handles.writing.used(self)
        self._working += 1
        try:
            return self._until_free(work, vital, before)
        finally:
            self._working -= 1
            if self._is_work_left:
                self._is_work_left = False
                if self._afterwork is None:
                    self._afterwork = Afterwork(self.loop, self._settle_some)
                self._afterwork.due()

    def _settle_some(self) -> bool:
        return self._is_open and self.locked(lambda bench: bench.format.settle_some(bench))

    def _until_free(self, work: Callable[[Bench], Result], vital: bool, before: Callable[[], None] | None) -> Result:
        deadline = self.loop.monotonic() + PATIENCE
        while True:
            try:
                return self._locked(work, vital, before, deadline)
            except FileLocked as busy:
                self._await_file(busy, deadline)

    def _await_file(self, busy: FileLocked, deadline: float) -> None:
        """Wait until another program has freed the mail file, without our lock. Raises what was raised."""
        long = self.loop.monotonic() + _LONG_FILE
        is_free = False
        while not is_free:
            now = self.loop.monotonic()
            pause = _FILE_PAUSE if now < long else _LONG_FILE_PAUSE
            if now + pause > deadline:
                raise busy
            self.loop.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that two do not keep step
            is_free = busy.is_free()

    def _locked(
        self, work: Callable[[Bench], Result], vital: bool, before: Callable[[], None] | None, deadline: float
    ) -> Result:
        with disk_errors():
            try:
                # The time is taken when the lock is there: what is young is not believed (mailstore/sync, rule 5), and
                # a time from before a long wait would make it look old.
                return self._lock.run(lambda: self._on_bench(work, self.loop.time(), vital), deadline, before)
            except FileNotFoundError as error:
                if os.path.lexists(self.root):
                    raise
                raise Gone("Your mail file was removed; please log in again.") from error

    def _on_bench(self, work: Callable[[Bench], Result], now: float, vital: bool) -> Result:
        try:
            return self._mended(work, now)
        except (NoSpace, OverQuota):  # of the file system; what is refused by limits of ours is not vital
            # Without a writer the work has not begun: SQLite found no room to open the index.
            if (self._index.has_writer and not vital) or not self._make_room():
                raise
            return self._mended(work, now)

    def _make_room(self) -> bool:
        """Give up what we can do without; whether there was anything."""
        return reserve.give_back([self.root + b"/" + reserve.FILE, *rendered.files(self.root)])

    def _mended(self, work: Callable[[Bench], Result], now: float) -> Result:
        try:
            return self._attempt(work, self._index.ready(now, self.limits))
        except Corrupt:
            bench = self._index.mended(now, self.limits)
            if bench is None:
                raise  # the index is sound: it is something else
            return self._attempt(work, bench)
        except UnknownOutcome:
            # After a failed write SQLite's own picture may be wrong: the next one looks afresh.
            self._index.suspect()
            raise

    def _attempt(self, work: Callable[[Bench], Result], bench: Bench) -> Result:
        try:
            return work(bench)
        finally:
            self._is_work_left |= bench.later
            if bench.index.is_in_doubt:  # also where whoever wrote could do without
                self._index.failed()
            rebuild.note(bench)
            for folder in bench.changed:
                with contextlib.suppress(OSError):
                    self.format.ring(folder)

    def is_current(self) -> bool:
        """Whether the index in use is the one that lies there. Quick."""
        return self._index.is_current()

    def suspect(self) -> None:
        """Say that the index gave nonsense: it is checked, and made anew if it is damaged."""
        self._index.suspect()
        self.locked(lambda bench: None)

    def discover(self) -> None:
        """Look which folders are mailboxes."""
        self._index.unfit = self.locked(tree.discover)

    @property
    def unfit(self) -> frozenset[bytes]:
        """Folders that cannot be mailboxes, as far as is known."""
        return self._index.unfit
