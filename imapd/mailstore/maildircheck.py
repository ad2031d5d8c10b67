"""Whether a folder of a Maildir and the rows of its mailbox say the same. Reads names, times and sizes, and writes
nothing.

Files that changed since the rows were made to agree with them are no fault: somebody delivered, or set a flag. A
message that is gone is always told, since nobody knows whether somebody meant it.
"""

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from imapd.mailstore import findings, maildir, uidrecord
from imapd.mailstore.findings import ENTRY, Inventory, Sight
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.maildir import CUR, ELSEWHERE, NEW, PLACES
from imapd.mailstore.rows import MessageRow, identity

_TO_READ: Final = 0  # nothing is made by who only reads
_AT_ONCE: Final = 256
"""Files that are looked at between two rests."""


def examine(sight: Sight, told: Inventory) -> None:
    """Compare. Raises OSError."""
    box = told.box
    _Folder(sight, told).run()
    _compare_record(sight, told)
    for key, path in told.graves:
        sight.found(findings.OWED, sight.root + b"/" + path, box, key & 0xFFFFFFFF, "it was expunged")
    with contextlib.suppress(FileNotFoundError):
        if box.directory:  # that of INBOX is the account's
            for path in maildir.stale_files(sight.folder(box) + b"/tmp", sight.now):
                sight.found(findings.ABANDONED, path, box)


class _Folder:
    """One mailbox."""

    def __init__(self, sight: Sight, told: Inventory) -> None:
        self._sight = sight
        self._box = told.box
        self._rows = told.rows
        self._folder = sight.folder(told.box)
        self._names = FlagNames(self._folder, told.keywords, sight.now, _TO_READ)

    def run(self) -> None:
        paths = [self._folder + b"/" + place for place in PLACES]
        stamps = [maildir.stamp(path)[0] for path in paths]
        left = [set(maildir.listing(path)) for path in paths]  # without those that have been found to have a row
        is_current = stamps == [self._box.cur_stamp, self._box.new_stamp]
        missing: list[MessageRow] = []
        for number, row in enumerate(self._rows, 1):
            if not number % _AT_ONCE:
                self._sight.pace(_AT_ONCE * ENTRY)
            if row.place != ELSEWHERE and row.file in left[row.place]:
                left[row.place].remove(row.file)
                self._examine(row)
            else:
                missing.append(row)
        strangers = [
            (place, name) for place in (CUR, NEW) for name in sorted(left[place]) if _is_file(self._path(place, name))
        ]
        bases = Counter(maildir.base_of(name) for _, name in strangers)
        for row in self._without_twins(missing):
            self._look_for(row, bases, is_current)
        if is_current:
            for place, name in strangers:
                if bases[maildir.base_of(name)] and _is_file(self._path(place, name)):
                    self._sight.found(findings.STRAY, self._path(place, name), self._box)
        else:
            self._sight.waiting += bases.total()

    def _without_twins(self, missing: Sequence[MessageRow]) -> Iterator[MessageRow]:
        """Those whose files have to be looked for; of several with the same file the first one has it."""
        wanted = {_located(row): 0 for row in missing}
        for row in self._rows if missing else ():
            if _located(row) in wanted:
                wanted[_located(row)] = wanted[_located(row)] or row.uid
        for row in missing:
            if wanted[_located(row)] in (0, row.uid):
                yield row
            else:
                self._found(findings.TWICE, row)

    def _path(self, place: int, name: bytes) -> bytes:
        return self._sight.root + b"/" + maildir.relative_path(self._box.directory, place, name)

    def _found(self, fault: findings.Fault, row: MessageRow, detail: str = "") -> None:
        self._sight.found(fault, self._path(row.place, row.file), self._box, row.uid, detail)

    def _look_for(self, row: MessageRow, bases: Counter[bytes], is_current: bool) -> None:
        if os.path.lexists(self._path(row.place, row.file)):
            self._examine(row)  # where it waits to be moved to
        elif bases[identity(row)]:
            bases[identity(row)] -= 1
            if is_current:
                self._found(findings.MOVED, row)
            else:
                self._sight.waiting += 1
        else:
            self._found(findings.GONE, row)

    def _examine(self, row: MessageRow) -> None:
        try:
            seen = os.lstat(self._path(row.place, row.file))
        except FileNotFoundError:
            return  # renamed just now: the next look tells
        if not stat.S_ISREG(seen.st_mode):
            self._found(findings.GONE, row, "it is no regular file")
            return
        octets = row.octets or maildir.octets_in_name(row.file)
        if (octets is not None and octets != seen.st_size) or not seen.st_size <= row.size <= 2 * seen.st_size:
            self._found(findings.SIZE, row, f"{seen.st_size} octets on disk")
        if row.pending:
            self._found(findings.OWED, row, "its flags are not in its name")
        elif row.place == CUR and not self._names.say(maildir.letters_of(row.file), row.mask):
            self._found(findings.FLAGS, row)


def _compare_record(sight: Sight, told: Inventory) -> None:
    path = sight.folder(told.box) + b"/" + uidrecord.FILE
    record = uidrecord.read(path)
    if record is None or record.uidvalidity != told.box.uidvalidity:
        if told.columns.uids:
            sight.found(findings.RECORD, path, told.box, 0, "no record of this mailbox")
        return
    wrong = [(identity(row), row.uid) for row in told.rows if record.uids.get(identity(row)) != row.uid]
    if wrong:
        known_by = {known_by for known_by, _ in wrong}
        twins = Counter(identity(row) for row in told.rows if identity(row) in known_by)
        wrong = [(known_by, uid) for known_by, uid in wrong if twins[known_by] == 1]
    if wrong:
        sight.found(findings.RECORD, path, told.box, 0, f"{len(wrong)} messages, the first is UID {wrong[0][1]}")


def _located(row: MessageRow) -> tuple[int, bytes]:
    return row.place, row.file


def _is_file(path: bytes) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
