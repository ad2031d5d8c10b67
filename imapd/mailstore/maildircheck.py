"""Whether a folder of a Maildir and the rows of its mailbox say the same. Reads names, times and sizes, and writes
nothing.

Files that changed since the rows were made to agree with them are no fault: somebody delivered, or set a flag. A
message that is gone is always told, since nobody knows whether somebody meant it.
"""

import contextlib
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from imapd.mailstore import findings, maildir, uidrecord
from imapd.mailstore.findings import ENTRY, Inventory, Sight
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.maildir import CUR, ELSEWHERE, NEW, PLACES
from imapd.mailstore.rows import BoxRow, MessageRow, identity

_TO_READ: Final = 0  # nothing is made by who only reads
_AT_ONCE: Final = 256
"""Files that are looked at between two rests."""


def examine(sight: Sight, told: Inventory) -> None:
    """Compare. Raises OSError."""
    box = told.box
    _Folder(sight, told).run()
    _compare_record(sight, box, told.rows)
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
        stamps = [maildir.stamp(self._folder + b"/" + place)[0] for place in PLACES]
        listed = {
            (place, name) for place in (NEW, CUR) for name in maildir.listing(self._folder + b"/" + PLACES[place])
        }
        is_current = stamps == [self._box.cur_stamp, self._box.new_stamp]
        known = {(row.place, row.file): row for row in self._rows if row.place != ELSEWHERE}
        bases: dict[bytes, int] = defaultdict(int)
        for place, name in listed - known.keys():
            if _is_file(self._path(place, name)):
                bases[maildir.base_of(name)] += 1
        seen: set[tuple[int, bytes]] = set()
        for number, row in enumerate(self._rows, 1):
            if not number % _AT_ONCE:
                self._sight.pace(_AT_ONCE * ENTRY)
            located = row.place, row.file
            if located in seen:
                self._found(findings.TWICE, row)
            elif located in listed:
                self._examine(row)
            else:
                self._look_for(row, bases, is_current)
            seen.add(located)
        strangers = sum(bases.values())
        if is_current and strangers:
            for place, name in sorted(listed - known.keys()):
                if bases.get(maildir.base_of(name)) and _is_file(self._path(place, name)):
                    self._sight.found(findings.STRAY, self._path(place, name), self._box)
        else:
            self._sight.waiting += strangers

    def _path(self, place: int, name: bytes) -> bytes:
        return self._sight.root + b"/" + maildir.relative_path(self._box.directory, place, name)

    def _found(self, fault: findings.Fault, row: MessageRow, detail: str = "") -> None:
        self._sight.found(fault, self._path(row.place, row.file), self._box, row.uid, detail)

    def _look_for(self, row: MessageRow, bases: dict[bytes, int], is_current: bool) -> None:
        if os.path.lexists(self._path(row.place, row.file)):
            self._examine(row)  # where it waits to be moved to
        elif bases.get(identity(row)):
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


def _compare_record(sight: Sight, box: BoxRow, rows: Sequence[MessageRow]) -> None:
    path = sight.folder(box) + b"/" + uidrecord.FILE
    record = uidrecord.read(path)
    if record is None or record.uidvalidity != box.uidvalidity:
        if rows:
            sight.found(findings.RECORD, path, box, 0, "no record of this mailbox")
        return
    twins = Counter(identity(row) for row in rows)
    wrong = [row for row in rows if record.uids.get(identity(row)) != row.uid and twins[identity(row)] == 1]
    if wrong:
        sight.found(findings.RECORD, path, box, 0, f"{len(wrong)} messages, the first is UID {wrong[0].uid}")


def _is_file(path: bytes) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
