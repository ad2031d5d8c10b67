"""Reading the truth back: whether the mail files of an account, its index and what stands beside them agree.

Rules:

1. Nothing is written, and no lock is taken. The index is read from its file alone where it has no log, that is where
   nobody has it open; otherwise from file and log, without the shared memory beside them being written. A log without
   such memory (somebody brought back both from a backup) is read in a copy elsewhere, for SQLite would make it.
2. Others go on working meanwhile. What was found is looked at again, a moment later, and what is still so counts.
3. Hashing reads every message whole. Its octets on the wire must be those of the index, and its hash the one that was
   kept of it (mailstore/hashes), if one was.
4. The index is open only while it is read, never while a pace has us rest: who rests holds up nobody, and no log grows
   because of him.
"""

import contextlib
import os
import shutil
import tempfile
from array import array
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from imapd.mailstore import accountcheck, findings, floors, hashes
from imapd.mailstore.errors import Corrupt, Retry, StoreError
from imapd.mailstore.findings import ENTRY, Finding, Inventory, Pace, Sight, without_rest
from imapd.mailstore.formats import MailFormat, Slice
from imapd.mailstore.index import Index
from imapd.mailstore.indexfile import INDEX_FILE
from imapd.mailstore.rows import BoxRow, Columns, MessageRow
from imapd.mailstore.schema import VERSION

Result = TypeVar("Result")

_LOOKS: Final = 3
_PAUSE: Final = 0.2
"""Seconds between two looks: a commit and the renames that follow it take milliseconds."""
_PATIENCE: Final = 10.0
_PIECE: Final = 20_000
"""Rows that are in memory at a time: 7 MB."""
_AHEAD: Final = 64
"""Messages that the disk is asked for before they are read. Threads would wait for one another (for the interpreter's
lock) longer than for the disk: four of them read 70 MB/s of small messages where one reads 200."""

Pause = Callable[[float], None]
"""Waits so many seconds."""


@dataclass(slots=True)
class Report:
    """What there is in an account, and what is wrong with it.

    waiting: what has come and nobody has looked for; unhashed: the messages of which no hash is kept; hashes: those
    that were made, where they are to be told. is_used: whether the account has ever been opened here.
    """

    findings: list[Finding] = field(default_factory=list)
    mailboxes: int = 0
    messages: int = 0
    octets: int = 0
    waiting: int = 0
    unhashed: int = 0
    hashes: dict[bytes, set[bytes]] = field(default_factory=dict)
    is_used: bool = True


@dataclass(frozen=True, slots=True)
class Manner:
    """How to look.

    hashing: read the messages as well; remembering: tell their hashes; text_pace: how fast messages are read, pace:
    everything else.

    as_user: in a process that works on the account too. There rule 1 cannot be kept to the letter, for SQLite shares
    the memory beside an index among all its users in a process: what is open somewhere is opened as others open it.
    """

    hashing: bool = False
    remembering: bool = False
    pace: Pace = without_rest
    text_pace: Pace = without_rest
    as_user: bool = False


def verify(root: bytes, mail_format: MailFormat, now: float, pause: Pause, manner: Manner | None = None) -> Report:
    """Look at an account; blocks. Raises StoreError, OSError where nothing can be said."""
    look = _Looking(root, mail_format, now, pause, manner or Manner())
    report = look(None)
    for _ in range(_LOOKS - 1):  # rule 2
        if not report.findings:
            break
        pause(_PAUSE)
        again = look(report.findings)
        still = set(again.findings)
        report.findings = [finding for finding in report.findings if finding in still]
    return report


class _Looking:
    """Looks at one account, once or several times."""

    def __init__(self, root: bytes, mail_format: MailFormat, now: float, pause: Pause, manner: Manner) -> None:
        self._root = root
        self._format = mail_format
        self._now = now
        self._pause = pause
        self._manner = manner

    def __call__(self, before: Sequence[Finding] | None) -> Report:
        """before: what was found, which is to be looked for again; None: look at everything."""
        path = self._root + b"/" + INDEX_FILE
        if not os.path.lexists(path):
            return _without_index(self._root, path)
        report = Report()
        sight = Sight(self._root, self._format, self._now, self._manner.pace)
        with _Books(path, self._pause, self._manner.as_user) as books:
            try:
                if books.read(lambda index: _is_legible(sight, index, path)):
                    sight.pace(os.path.getsize(path))  # which was read from end to end
                    _Look(sight, books, report, self._manner, before).run()
            except Corrupt as error:
                sight.found(findings.DAMAGED, path, None, 0, error.reason)
        report.findings, report.waiting = sight.findings, sight.waiting
        return report


class _Books:
    """The index, for looking (rules 1 and 4)."""

    def __init__(self, path: bytes, pause: Pause, as_user: bool) -> None:
        self._path = path
        self._pause = pause
        self._as_user = as_user
        self._copy: bytes | None = None
        self._behind = contextlib.ExitStack()

    def __enter__(self) -> "_Books":
        return self

    def __exit__(self, *_: object) -> None:
        self._behind.close()

    def read(self, work: Callable[[Index], Result]) -> Result:
        """Open it, read, and close it; again where it is just being opened or closed by somebody. Raises StoreError."""
        for _ in range(_LOOKS - 1):
            with contextlib.suppress(Retry):
                return self._read(work)
            self._pause(_PAUSE)
        return self._read(work)

    def _read(self, work: Callable[[Index], Result]) -> Result:
        index = self._opened()
        try:
            return work(index)
        finally:
            with contextlib.suppress(StoreError):
                index.close()

    def _opened(self) -> Index:
        if self._copy is not None:
            return Index(self._copy)
        if not os.path.lexists(self._path + b"-wal"):
            return Index(self._path, unchanging=True)
        if os.path.lexists(self._path + b"-shm"):
            return Index(self._path, _PATIENCE, only_looking=not self._as_user)
        copy = os.fsencode(self._behind.enter_context(tempfile.TemporaryDirectory())) + b"/index"
        for suffix in (b"", b"-wal"):
            shutil.copyfile(self._path + suffix, copy + suffix)
        self._copy = copy
        return Index(copy)


def _without_index(root: bytes, path: bytes) -> Report:
    is_used = os.path.lexists(root + b"/" + floors.FILE)
    return Report([Finding(findings.LOST, path)] if is_used else [], is_used=is_used)


def _is_legible(sight: Sight, index: Index, path: bytes) -> bool:
    """Whether the index is one that this program can read; it says so where it is not."""
    version = index.version()
    if version != VERSION:
        sight.found(findings.NEWER if version > VERSION else findings.OLD, path)
        return False
    if damage := index.damage():
        sight.found(findings.DAMAGED, path, None, 0, damage.partition("\n")[0])
        return False
    return True


class _Look:
    """One look at an account whose index can be read."""

    def __init__(
        self, sight: Sight, books: _Books, report: Report, manner: Manner, before: Sequence[Finding] | None
    ) -> None:
        self._sight = sight
        self._books = books
        self._report = report
        self._manner = manner
        self._suspects: Collection[tuple[str, int]] | None = None
        self._mailboxes: Collection[str] | None = None
        if before is not None:
            self._suspects = {(finding.mailbox, finding.uid) for finding in before}
            if not any(finding.fault == findings.DAMAGED for finding in before):  # by any row of any mailbox
                self._mailboxes = {finding.mailbox for finding in before}
        self._known: hashes.Hashes = {}
        if manner.hashing:
            path = sight.root + b"/" + hashes.FILE
            known = hashes.read(path)
            if known is None:
                sight.found(findings.HASHES, path)
            self._known = known or {}

    def run(self) -> None:
        boxes = self._books.read(self._look_at_account)
        self._report.mailboxes = len(boxes)
        for box in boxes:
            if self._mailboxes is not None and box.name not in self._mailboxes:
                continue
            if self._sight.format.is_mailbox(self._sight.root, box.directory):
                self._examine(box)
            else:
                self._sight.found(findings.NO_MAILBOX, self._sight.folder(box), box)

    def _look_at_account(self, index: Index) -> Sequence[BoxRow]:
        boxes = index.boxes()
        accountcheck.examine(self._sight, index, boxes)
        return boxes

    def _examine(self, box: BoxRow) -> None:
        told = self._books.read(lambda index: self._inventory(index, box))
        if told is None:
            return  # deleted just now
        box = told.box
        self._report.messages += len(told.columns.uids)
        self._report.octets += sum(told.columns.sizes)
        self._sight.pace(len(told.columns.uids) * ENTRY)
        try:
            self._sight.format.examine(self._sight, told)
            accountcheck.examine_rows(self._sight, told)
            if self._manner.hashing:
                self._hash(box, told.rows)
        except FileNotFoundError:
            pass  # it is being renamed or deleted: the next look tells
        except OSError as error:
            self._unreadable(box, 0, error)

    def _inventory(self, index: Index, box: BoxRow) -> Inventory | None:
        graves = [(key, path) for key, path in index.graves() if key >> 32 == box.id]
        if box.messages > _PIECE:
            columns = index.columns(box.id)
            return Inventory(columns, graves, _Rows(self._books, box.id, self._sight.pace)) if columns else None
        whole = index.whole(box.id)
        return Inventory(_columns(whole[0], index.keywords(box.id), whole[1]), graves, whole[1]) if whole else None

    def _unreadable(self, box: BoxRow, uid: int, error: OSError) -> None:
        path = error.filename or self._sight.folder(box)
        self._sight.found(findings.UNREADABLE, path, box, uid, str(error.strerror))

    def _hash(self, box: BoxRow, rows: Iterable[MessageRow]) -> None:
        wanted = (row for row in rows if self._suspects is None or (box.name, row.uid) in self._suspects)
        folder = self._sight.folder(box)
        with contextlib.closing(self._texts(box, wanted)) as texts:
            for row, text in texts:
                try:
                    self._compare(box, row, folder, *hashes.of_text(text))
                except OSError as error:
                    self._unreadable(box, row.uid, error)
                finally:
                    text.close()
                self._manner.text_pace(text.octets)

    def _texts(self, box: BoxRow, rows: Iterable[MessageRow]) -> Generator[tuple[MessageRow, Slice], None, None]:
        """The messages, open; those that come after have been asked of the disk. Who takes one closes it."""
        ahead: deque[tuple[MessageRow, Slice]] = deque()
        root, open_message = self._sight.root, self._sight.format.open_message
        try:
            for row in rows:
                try:
                    text = open_message(root, box, row)
                except FileNotFoundError:
                    continue  # that was found already, or it went away just now
                except OSError as error:
                    self._unreadable(box, row.uid, error)
                    continue
                ahead.append((row, text))
                os.posix_fadvise(text.fd, text.start, text.octets, os.POSIX_FADV_WILLNEED)
                if len(ahead) >= _AHEAD:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            for _, text in ahead:
                text.close()

    def _compare(self, box: BoxRow, row: MessageRow, folder: bytes, digest: bytes, size: int) -> None:
        key = hashes.key(row)
        known = self._known.get(key)
        if self._manner.remembering:
            self._report.hashes.setdefault(key, set()).add(digest)
        if known is None:
            self._report.unhashed += 1
        elif digest not in known:
            self._sight.found(findings.CHANGED, folder, box, row.uid, os.fsdecode(key))
        if size != row.size:
            self._sight.found(findings.SIZE, folder, box, row.uid, f"{size} octets on the wire")


class _Rows:
    """The messages of a large mailbox; each piece is read when it is come to."""

    def __init__(self, books: _Books, box: int, pace: Pace) -> None:
        self._books = books
        self._box = box
        self._pace = pace

    def __iter__(self) -> Iterator[MessageRow]:
        last = 0
        while piece := self._books.read(partial(self._after, last)):
            self._pace(len(piece) * ENTRY)
            yield from piece
            last = piece[-1].uid

    def _after(self, uid: int, index: Index) -> list[MessageRow]:
        return index.rows_after(self._box, uid, _PIECE)


def _columns(box: BoxRow, keywords: tuple[str, ...], rows: Sequence[MessageRow]) -> Columns:
    return Columns(
        box,
        keywords,
        array("I", [row.uid for row in rows]),
        array("Q", [row.mask for row in rows]),
        array("Q", [row.modseq for row in rows]),
        array("Q", [row.size for row in rows]),
        array("q", [row.date for row in rows]),
    )
