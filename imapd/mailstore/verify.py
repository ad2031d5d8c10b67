"""Reading the truth back: whether the mail files of an account, its index and what stands beside them agree.

Rules:

1. Nothing is written, and no lock is taken. The index is read from its file alone where it has no log, that is where
   nobody has it open; otherwise from file and log, without the shared memory beside them being written. A log without
   such memory (somebody brought back both from a backup) is read in a copy elsewhere, for SQLite would make it.
2. Others go on working meanwhile. What was found is looked at again, a moment later, and what is still so counts.
3. Hashing reads every message whole. Its octets on the wire must be those of the index, and its hash the one that was
   kept of it (mailstore/hashes), if one was.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from imapd.mailstore import accountcheck, findings, floors, hashes
from imapd.mailstore.errors import Corrupt, Retry, StoreError
from imapd.mailstore.findings import Finding, Sight
from imapd.mailstore.formats import MailFormat
from imapd.mailstore.index import Index
from imapd.mailstore.rows import BoxRow, MessageRow
from imapd.mailstore.schema import VERSION

INDEX_FILE: Final = b"imapd-index.sqlite"
_LOOKS: Final = 3
_PAUSE: Final = 0.2
"""Seconds between two looks: a commit and the renames that follow it take milliseconds."""
_PATIENCE: Final = 10.0
_READERS: Final = 4
"""Threads that read messages: most of the time each waits for the disk."""
_AT_ONCE: Final = 64

Pause = Callable[[float], None]
"""Waits so many seconds."""


@dataclass(slots=True)
class Report:
    """What there is in an account, and what is wrong with it.

    waiting: what has come and nobody has looked for; unhashed: the messages of which no hash is kept; hashes: those
    that were made. is_used: whether the account has ever been opened here.
    """

    findings: list[Finding] = field(default_factory=list)
    mailboxes: int = 0
    messages: int = 0
    octets: int = 0
    waiting: int = 0
    unhashed: int = 0
    hashes: dict[bytes, set[bytes]] = field(default_factory=dict)
    is_used: bool = True


def verify(root: bytes, mail_format: MailFormat, now: float, pause: Pause, hashing: bool = False) -> Report:
    """Look at an account; blocks. Raises StoreError, OSError where nothing can be said."""
    report = _look_patiently(root, mail_format, now, pause, hashing)
    for _ in range(_LOOKS - 1):  # rule 2
        if not report.findings:
            break
        pause(_PAUSE)
        suspects = {(finding.mailbox, finding.uid) for finding in report.findings}
        again = _look(root, mail_format, now, hashing, suspects)
        still = set(again.findings)
        report.findings = [finding for finding in report.findings if finding in still]
    return report


def _look_patiently(root: bytes, mail_format: MailFormat, now: float, pause: Pause, hashing: bool) -> Report:
    """The first look, also where the index is just being opened or closed by somebody."""
    for _ in range(_LOOKS - 1):
        with contextlib.suppress(Retry):
            return _look(root, mail_format, now, hashing, None)
        pause(_PAUSE)
    return _look(root, mail_format, now, hashing, None)


def _look(
    root: bytes, mail_format: MailFormat, now: float, hashing: bool, suspects: Collection[tuple[str, int]] | None
) -> Report:
    path = root + b"/" + INDEX_FILE
    if not os.path.lexists(path):
        return _without_index(root, path)
    report = Report()
    with _opened(path) as index:
        sight = Sight(root, mail_format, index, now)
        try:
            if _is_legible(sight, path):
                _Look(sight, report, hashing, suspects).run()
        except Corrupt as error:
            sight.found(findings.DAMAGED, path, None, 0, error.reason)
    report.findings, report.waiting = sight.findings, sight.waiting
    return report


@contextlib.contextmanager
def _opened(path: bytes) -> Iterator[Index]:
    """The index, for looking (rule 1)."""
    with contextlib.ExitStack() as behind:
        if not os.path.lexists(path + b"-wal"):
            index = Index(path, unchanging=True)
        elif os.path.lexists(path + b"-shm"):
            index = Index(path, _PATIENCE, only_looking=True)
        else:
            copy = os.fsencode(behind.enter_context(tempfile.TemporaryDirectory())) + b"/index"
            for suffix in (b"", b"-wal"):
                shutil.copyfile(path + suffix, copy + suffix)
            index = Index(copy)
        try:
            yield index
        finally:
            with contextlib.suppress(StoreError):
                index.close()


def _without_index(root: bytes, path: bytes) -> Report:
    is_used = os.path.lexists(root + b"/" + floors.FILE)
    return Report([Finding(findings.LOST, path)] if is_used else [], is_used=is_used)


def _is_legible(sight: Sight, path: bytes) -> bool:
    """Whether the index is one that this program can read; it says so where it is not."""
    version = sight.index.version()
    if version != VERSION:
        sight.found(findings.NEWER if version > VERSION else findings.OLD, path)
        return False
    if damage := sight.index.damage():
        sight.found(findings.DAMAGED, path, None, 0, damage.partition("\n")[0])
        return False
    return True


class _Look:
    """One look at an account whose index can be read."""

    def __init__(
        self, sight: Sight, report: Report, hashing: bool, suspects: Collection[tuple[str, int]] | None
    ) -> None:
        self._sight = sight
        self._report = report
        self._suspects = suspects
        self._known: hashes.Hashes = {}
        self._is_hashing = hashing
        if hashing:
            path = sight.root + b"/" + hashes.FILE
            known = hashes.read(path)
            if known is None:
                sight.found(findings.HASHES, path)
            self._known = known or {}

    def run(self) -> None:
        boxes = self._sight.index.boxes()
        self._report.mailboxes = len(boxes)
        accountcheck.examine(self._sight, boxes)
        for box in boxes:
            if self._sight.format.is_mailbox(self._sight.root, box.directory):
                self._examine(box)
            else:
                self._sight.found(findings.NO_MAILBOX, self._sight.folder(box), box)

    def _examine(self, box: BoxRow) -> None:
        whole = self._sight.index.whole(box.id)
        if whole is None:
            return  # deleted just now
        box, rows = whole
        self._report.messages += len(rows)
        self._report.octets += sum(row.size for row in rows)
        try:
            self._sight.format.examine(self._sight, box, rows)
            accountcheck.examine_rows(self._sight, box, rows)
            if self._is_hashing:
                self._hash(box, rows)
        except FileNotFoundError:
            pass  # it is being renamed or deleted: the next look tells
        except OSError as error:
            self._sight.found(
                findings.UNREADABLE, error.filename or self._sight.folder(box), box, 0, str(error.strerror)
            )

    def _hash(self, box: BoxRow, rows: Sequence[MessageRow]) -> None:
        wanted = [row for row in rows if self._suspects is None or (box.name, row.uid) in self._suspects]
        pieces = [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]
        with ThreadPoolExecutor(_READERS) as pool:
            for piece in pool.map(partial(self._read, box), pieces):
                for row, read in piece:
                    if isinstance(read, OSError):
                        path = read.filename or self._sight.folder(box)
                        self._sight.found(findings.UNREADABLE, path, box, row.uid, str(read.strerror))
                    else:
                        self._compare(box, row, *read)

    def _read(self, box: BoxRow, rows: Sequence[MessageRow]) -> list[tuple[MessageRow, tuple[bytes, int] | OSError]]:
        """The hashes and octets on the wire of messages, or why there are none; in a thread."""
        found: list[tuple[MessageRow, tuple[bytes, int] | OSError]] = []
        for row in rows:
            try:
                with contextlib.closing(self._sight.format.open_message(self._sight.root, box, row)) as text:
                    found.append((row, hashes.of_text(text)))
            except FileNotFoundError:
                continue  # that was found already, or it went away just now
            except OSError as error:
                found.append((row, error))
        return found

    def _compare(self, box: BoxRow, row: MessageRow, digest: bytes, size: int) -> None:
        path = self._sight.folder(box)
        key = hashes.key(row)
        known = self._known.get(key)
        self._report.hashes.setdefault(key, set()).add(digest)
        if known is None:
            self._report.unhashed += 1
        elif digest not in known:
            self._sight.found(findings.CHANGED, path, box, row.uid, os.fsdecode(key))
        if size != row.size:
            self._sight.found(findings.SIZE, path, box, row.uid, f"{size} octets on the wire")
