"""Whether an mbox and the rows of its mailbox say the same. Reads the file whole, takes no lock, and writes nothing.

A file that changed since the rows were made to agree with it is no fault. One that changes while it is read is left to
the next look.
"""

import os
from collections import Counter
from typing import NamedTuple

from imapd.mailstore import findings
from imapd.mailstore.findings import Inventory, Pace, Sight
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.mboxfile import Scan
from imapd.mailstore.mboxlock import open_file
from imapd.mailstore.mboxrows import Grave, Owed, Seen, mask_in_file, mask_of

_TRIES = 3
_PIECE = 1 << 18
_AT_ONCE = 64 << 20
"""Octets between two rests, about: a file up to _AT_ONCE is paid for beforehand, and read without a rest, because all
was in vain if it changes meanwhile; a larger one is read in pieces."""


class _There(NamedTuple):
    """A message as it lies in the file."""

    octets: int
    size: int
    fingerprint: bytes
    mask: int


def examine(sight: Sight, told: Inventory) -> None:
    """Compare. Raises OSError."""
    box = told.box
    for _ in range(_TRIES):
        names = FlagNames(sight.folder(box), told.keywords, sight.now, 0)
        there, seen = _read(sight.folder(box), names, sight.pace)
        if there is not None:
            break
    else:
        sight.waiting += 1
        return
    if seen == Seen.read(box.new_stamp) and not Owed.read(box.cur_stamp).adding:
        _compare(sight, told, there)
    else:
        _compare_loosely(sight, told, there)


def _read(path: bytes, names: FlagNames, pace: Pace) -> tuple[dict[int, _There] | None, Seen]:
    """The messages of a file by their offsets; None where it changed meanwhile."""
    fd = open_file(path)
    try:
        before = Seen.of(os.fstat(fd))
        there: dict[int, _There] = {}
        paid = 0
        if before.end <= _AT_ONCE:
            pace(before.end)
            paid = before.end
        for found in Scan(fd, 0, before.end):
            if found.offset - paid > _PIECE:
                pace(found.offset - paid)
                paid = found.offset
            if found.offset or not (found.head.fields and found.head.is_pseudo):
                mask = mask_of(found.head, names) if found.head.fields else 0
                there[found.offset] = _There(found.octets, found.size, found.fingerprint(), mask)
        pace(max(0, before.end - paid))
        return (there if Seen.of(os.fstat(fd)) == before else None), before
    finally:
        os.close(fd)


def _compare(sight: Sight, told: Inventory, there: dict[int, _There]) -> None:
    box, rows = told.box, told.rows
    path = sight.folder(box)
    known: set[int] = set()
    by_fingerprint = Counter(one.fingerprint for one in there.values())
    for row in rows:
        one = there.get(row.place)
        if one is None or one.fingerprint != row.base:
            fault = findings.MOVED if by_fingerprint[row.base or b""] else findings.GONE
            sight.found(fault, path, box, row.uid, f"at octet {row.place}")
        elif row.place in known:
            sight.found(findings.TWICE, path, box, row.uid, f"at octet {row.place}")
        elif (one.octets, one.size) != (row.octets, row.size):
            sight.found(findings.SIZE, path, box, row.uid, f"at octet {row.place}")
        elif one.mask != mask_in_file(row):
            sight.found(findings.FLAGS, path, box, row.uid, f"at octet {row.place}")
        known.add(row.place)
    graves = {grave.place for grave in _graves(told)}
    lost = any(there.get(row.place) is None or there[row.place].fingerprint != row.base for row in rows)
    for offset in sorted(there.keys() - known - graves):
        if not lost:  # else it is likely to be the one that is not where it was
            sight.found(findings.STRAY, path, box, 0, f"at octet {offset}")


def _compare_loosely(sight: Sight, told: Inventory, there: dict[int, _There]) -> None:
    left = Counter(one.fingerprint for one in there.values())
    for row in told.rows:
        if left[row.base or b""]:
            left[row.base or b""] -= 1
        else:
            sight.found(findings.GONE, sight.folder(told.box), told.box, row.uid)
    left -= Counter(grave.fingerprint for grave in _graves(told))
    sight.waiting += left.total()


def _graves(told: Inventory) -> list[Grave]:
    """The expunged messages that are still in the file."""
    return [Grave.unpack(key, data) for key, data in told.graves]
