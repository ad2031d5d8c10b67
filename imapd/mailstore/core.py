"""What all sessions of a process share of one account: its lock, its index, its open mailboxes.

Rules:

1. `locked` is the only way to write: it takes the account's lock, gives the work a Bench in a disk thread, and rings
   the bells of changed mailboxes when the work is done. Work that finds a mail file locked by another program raises
   FileLocked before it has changed anything; it is waited for in the loop, without our lock, and done again.
2. Reading in the loop uses `reader`, which never waits and which nothing else writes through (mailstore/reader).
3. The index is looked at each time the lock is taken: if its file was removed or replaced, it is opened anew. If SQLite
   found damage and a check confirms it, the file is put aside (mailstore/indexfile) and a new index is made from the
   files. New rows mean a new UIDVALIDITY, so no client believes an old UID. The same is done for mailboxes of which an
   older copy of the index does not know all (mailstore/floors).
4. Handles are opened when they are needed and closed when the account was not used for long (mailstore/awake). What is
   closed was taken away from the account in the loop first, so that nobody finds a handle that is being closed.
5. After a failed commit nothing more is written by that connection, nor by those of other processes; whoever comes next
   opens the index anew (mailstore/indexfile, rule 3).
6. A full disk, or a quota of the file system, stops what needs room for good. What only needs it to go on, or makes
   room in the end (`vital`), is tried again after the reserve and the rendered texts were given up for it.
"""

import contextlib
import os
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from imapd.mailstore import floors, maildir, quotafile, rebuild, rendered, reserve, tree
from imapd.mailstore.afterwork import Afterwork
from imapd.mailstore.arrivals import Arrivals
from imapd.mailstore.awake import Handles
from imapd.mailstore.background import Background
from imapd.mailstore.bench import Bench, DiskSettings, disk_errors
from imapd.mailstore.diskname import INBOX_DIRECTORY
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
from imapd.mailstore.indexfile import INDEX_FILE, IndexFile, Look
from imapd.mailstore.lock import PATIENCE, AccountLock
from imapd.mailstore.quota import NO_LIMITS, Limits
from imapd.mailstore.reader import Reader
from imapd.mailstore.turn import Turn
from imapd.model.loop import Loop

if TYPE_CHECKING:
    from imapd.mailstore.shared import SharedMailbox

Result = TypeVar("Result")

LOCK_FILE: Final = b"imapd.lock"
_FLOORS: Final = 64 * 1024
"""Octets of the floors (mailstore/floors) that are looked at before they are read: those of 2,000 mailboxes."""
_NONE: Final[frozenset[bytes]] = frozenset()
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
        "_afterwork", "_arrivals", "_begun", "_file", "_handles", "_identity", "_is_doubtful", "_is_open",
        "_is_work_left", "_opening", "_reader", "_released", "_seen", "_turn", "_working", "_writer", "background",
        "are_own_limits_known", "format", "limits", "loop", "mail_file", "mailboxes", "own_limits", "root", "settings",
        "unfit", "users",
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
        self.unfit = _NONE  # folders that cannot be mailboxes
        self._turn = Turn(loop)
        self._opening = Turn(loop)
        self._file = IndexFile(root + b"/" + INDEX_FILE, settings.file_mode)
        self._writer: Index | None = None
        self._reader = Reader(self._file, loop)
        self._identity: tuple[int, int, int] | None = None
        self._is_doubtful = False
        self.background = background
        self._arrivals: Arrivals | None = None
        self._afterwork: Afterwork | None = None
        self._is_work_left = False
        self._handles = handles
        self._is_open = False
        self._begun: tuple[int, int, int] | None = None
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
            if self.users == 1 and self._seen != self._file.look():
                self.close()  # somebody wrote to it, or put another one there: all that is checked at opening is due
            if not self._is_open or not os.path.lexists(self.root):
                with disk_errors():
                    # What takes half a millisecond in the loop takes three times that in a thread that has to ask for
                    # the interpreter at each of some fifty calls.
                    is_at_hand = self._file.is_at_hand() and maildir.is_at_hand(self.root + b"/" + floors.FILE, _FLOORS)
                    if not (self._open_as_left() if is_at_hand else self.loop.offload(self._open_as_left)):
                        self._open_anew()
                self._is_open = True

    def _open_as_left(self) -> bool:
        """Open an account that lies there as the store left it; whether it does. Cleaning up waits for a write."""
        if os.path.islink(self.root) or not self.format.is_there(self.root):
            return False
        identity = self._file.identity()
        index = self._reader.open_as_left()
        if index is None:
            return False
        try:
            is_behind = rebuild.is_behind(self.root, index)
        except Corrupt:
            is_behind = True
        if is_behind or not self._reader.lay_still():
            self._close_each(self._handles_taken())
            return False
        self._identity = identity
        return True

    def _open_anew(self) -> None:
        self.loop.offload(self._make_root)
        try:
            self.locked(lambda bench: None, vital=True)
        except StoreError:
            if not self.loop.offload(self._open_to_read):
                raise

    def release(self) -> None:
        """Somebody gives back his handle on the account."""
        self._released(self)

    def rest(self) -> None:
        """The last session has gone."""
        self._seen = self._file.look()

    def _make_root(self) -> None:
        if os.path.islink(self.root):
            raise NoSuchAccount(reason="the mail file is a symbolic link")
        if not self.format.is_there(self.root):
            if not self.settings.create:
                raise NoSuchAccount
            os.makedirs(self.root, self.settings.dir_mode, exist_ok=True)

    def _open_to_read(self) -> bool:
        """Open an account on a file system that is mounted read-only; whether it is so."""
        with contextlib.suppress(OSError, StoreError):
            if os.statvfs(self.root).f_flag & os.ST_RDONLY:
                self._reader.open_on_read_only_disk()
                self._identity = self._file.identity()
                return True
        return False

    def close(self) -> None:
        """Close the account; what it knew is not believed any more."""
        self._is_open = False
        self.mailboxes.clear()
        self._handles.awake.forget(self)
        self._handles.writing.forget(self)
        self._close(self._handles_taken())

    @property
    def is_open(self) -> bool:
        """Whether somebody has the account open, or it is awake still."""
        return self._is_open and (self.users > 0 or self._reader.is_open)

    @property
    def is_busy(self) -> bool:
        """Whether a write is under way, which needs the handles."""
        return self._working > 0

    @property
    def is_silent(self) -> bool:
        """Whether there are sessions, and the handle is one that is closed without work (mailstore/awake, rule 1)."""
        return self.users > 0 and self._writer is None and not self._reader.is_shared

    def doze(self) -> None:
        """Close the handles until they are needed again; not while the account is busy."""
        self._keep_mailboxes(0)
        for mailbox in self.mailboxes.values():
            mailbox.doze()
        self._arrivals = None  # nobody is in there, or it would be busy
        if self._afterwork is not None and not self._afterwork.is_due:
            self._afterwork = None
        handles = self._handles_taken()
        self.loop.spawn(lambda: self._close(handles))

    def write_no_more(self) -> None:
        """Close the handle for writing until it is needed again; not while the account is busy."""
        writer, self._writer = self._writer, None
        if writer is not None:
            if self._reader.is_shared:  # and closes later
                self._reader.index().is_ahead_of_disk |= writer.is_ahead_of_disk
                writer.is_ahead_of_disk = False
            self.loop.spawn(lambda: self._close([writer]))

    def put_by(self, mailbox: "SharedMailbox") -> None:
        """Nobody has the mailbox open any more: what is known of it is kept for who comes next."""
        self.mailboxes[mailbox.key] = self.mailboxes.pop(mailbox.key)
        self._keep_mailboxes(_PUT_BY)

    def _keep_mailboxes(self, most: int) -> None:
        closed = [key for key, mailbox in self.mailboxes.items() if not mailbox.users]
        for key in closed[: max(0, len(closed) - most)]:
            del self.mailboxes[key]

    def _handles_taken(self) -> list[Index]:
        handles = [handle for handle in (self._reader.taken(), self._writer) if handle is not None]
        self._writer = None
        return handles

    def _close(self, handles: Sequence[Index]) -> None:
        """Close them under the lock where it is to be had, for the last close tidies the database."""
        if handles:
            try:
                self._lock.run(lambda: self._close_each(handles))
            except (StoreError, OSError):
                self.loop.offload(lambda: self._close_each(handles))

    def _close_each(self, handles: Sequence[Index]) -> None:
        for handle in handles:
            with contextlib.suppress(StoreError):
                if handle.is_ahead_of_disk:
                    self._bring_home(handle)
                handle.close()

    def _bring_home(self, handle: Index) -> None:
        """What SQLite does with the last close, where it does not tell whether it failed."""
        try:
            handle.bring_home()
        except Retry:
            self._file.doubt()

    @property
    def reader(self) -> Index:
        """The index for reading (rule 2)."""
        self._handles.awake.used(self)
        if not self._reader.is_open and not self._is_open:
            raise Retry(reason="the account is closed")
        return self._reader.index()

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
                if self._reader.lay_still():
                    if not isinstance(error, Retry):
                        raise
                    self.loop.sleep(_BUSY_PAUSE)
            else:
                if self._reader.lay_still():
                    return found
        return read(self.reader)

    def reading_much(self, read: Callable[[Index], Result]) -> Result:
        """Read in a disk thread, on a connection of its own. Damage is mended first (rule 3)."""
        try:
            return self.loop.offload(lambda: self._on_own_index(read))
        except Corrupt:
            self.suspect()
            return self.loop.offload(lambda: self._on_own_index(read))

    def _on_own_index(self, read: Callable[[Index], Result]) -> Result:
        index = Index(self._file.path, patience=5.0, unchanging=self._reader.is_on_read_only_disk)
        try:
            return read(index)
        finally:
            index.close()

    # Writing

    def locked(
        self, work: Callable[[Bench], Result], vital: bool = False, before: Callable[[], None] | None = None
    ) -> Result:
        """Do the work under the account's lock (rule 1). Vital work may be done twice (rule 6).

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
            if not (vital or self._writer is None) or not self._make_room():
                raise
            return self._mended(work, now)

    def _make_room(self) -> bool:
        """Give up what we can do without; whether there was anything."""
        return reserve.give_back([self.root + b"/" + reserve.FILE, *rendered.files(self.root)])

    def _mended(self, work: Callable[[Bench], Result], now: float) -> Result:
        try:
            return self._attempt(work, now)
        except Corrupt:
            self._is_doubtful = True
            damaged = self._identity
            self._ready(now)
            if self._identity == damaged:
                raise  # the index is sound: it is something else
            return self._attempt(work, now)
        except UnknownOutcome:
            # After a failed write SQLite's own picture may be wrong: the next one looks afresh.
            self._is_doubtful = True
            raise

    def _attempt(self, work: Callable[[Bench], Result], now: float) -> Result:
        bench = self._ready(now)
        try:
            return work(bench)
        finally:
            self._is_work_left |= bench.later
            if bench.index.is_in_doubt:  # also where whoever wrote could do without
                self._is_doubtful = True
                self._file.doubt()
            rebuild.note(bench)
            for folder in bench.changed:
                with contextlib.suppress(OSError):
                    self.format.ring(folder)

    def _ready(self, now: float) -> Bench:
        """A bench with an index that may be trusted (rule 3)."""
        if self._writer is None or self._is_doubtful or self._identity != self._file.identity():
            return self._open_index(now)
        return Bench(self.root, self._writer, now, self.settings, self.format, self.limits)

    def is_current(self) -> bool:
        """Whether the index in use is the one that lies there. Quick."""
        return self._identity == self._file.identity()

    def suspect(self) -> None:
        """Say that the index gave nonsense: it is checked, and made anew if it is damaged."""
        self._is_doubtful = True
        self.locked(lambda bench: None)

    def _open_index(self, now: float) -> Bench:
        self._close_writer()
        writer = self._file.writer(now, self._is_doubtful)
        try:
            if not self._reader.is_shared or self._is_doubtful or self._identity != self._file.identity():
                self._reader.open_shared()
        except BaseException:
            writer.close()
            raise
        self._writer = writer
        self._identity = self._file.identity()
        self._is_doubtful = False
        bench = Bench(self.root, writer, now, self.settings, self.format, self.limits)
        try:
            self._begin(bench)
        except BaseException:
            self._close_writer()  # an index that was not looked over to the end is none to be used
            raise
        return bench

    def _begin(self, bench: Bench) -> None:
        """What an index needs before its first use; once, while it is the same one and knows what was given out."""
        if self._begun == self._identity and not rebuild.is_behind(bench.root, bench.index):
            return
        self._make_account()
        quotafile.bring_back(bench)
        rebuild.mend(bench)
        self.unfit = tree.discover(bench) or _NONE
        rebuild.complete(bench)
        tree.sweep(bench)
        reserve.keep(self.root + b"/" + reserve.FILE, self.settings.file_mode)
        self._begun = self._identity

    def _close_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with contextlib.suppress(StoreError):
                writer.close()

    def _make_account(self) -> None:
        """The first mailboxes of a new account; INBOX comes last, so that a crash before it begins them again."""
        if not self.format.is_there(self.root):
            for _, name in self.settings.special_use:
                self.format.make_mailbox(self.root, self.format.directory_of(self.root, name), self.settings)
            self.format.make_mailbox(self.root, INBOX_DIRECTORY, self.settings)
        maildir.make_directory(self.root + b"/tmp", self.settings.dir_mode)
