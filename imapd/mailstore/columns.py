"""Snapshots out of the index: read whole once, and after that only what changed.

Arrays of a Snapshot are never changed: sessions hold on to them. A change of flags copies two columns, an arrival or a
removal all of them, which is a copy of memory (about 1 ms for 100,000 messages); the other columns are shared.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from typing import Final

from imapd.mailstore.rowchanges import Reflagged
from imapd.mailstore.rows import Columns, Delta
from imapd.mailstore.store import Snapshot

_FEW: Final = 100  # rows that are taken out of columns by cutting them there

Row = tuple[int, int, int, int, int]  # uid, mask, modseq, size, date


def whole(columns: Columns) -> Snapshot:
    """The snapshot of all rows."""
    box = columns.box
    return Snapshot(
        uidvalidity=box.uidvalidity,
        uidnext=box.uidnext,
        highestmodseq=box.modseq,
        uids=columns.uids,
        masks=columns.masks,
        modseqs=columns.modseqs,
        sizes=columns.sizes,
        dates=columns.dates,
        keywords=columns.keywords,
    )


def advanced(before: Snapshot, delta: Delta) -> Snapshot:
    """The snapshot after the changes."""
    columns = [before.uids, before.masks, before.modseqs, before.sizes, before.dates]
    gone = _rows_of(before.uids, delta.vanished)
    if gone:
        columns = [_without(column, gone) for column in columns]
    highest = columns[0][-1] if columns[0] else 0
    changed = [row for row in delta.rows if row[0] <= highest]
    if changed:
        columns = _overwritten(columns, changed)
    arrived = [row for row in delta.rows if row[0] > highest]
    if arrived:
        columns = [
            column + array(column.typecode, values)
            for column, values in zip(columns, zip(*arrived, strict=True), strict=True)
        ]
    uids, masks, modseqs, sizes, dates = columns
    box = delta.box
    keywords = before.keywords if before.keywords == delta.keywords else delta.keywords
    return Snapshot(box.uidvalidity, box.uidnext, box.modseq, uids, masks, modseqs, sizes, dates, keywords)


def reflagged(before: Snapshot, done: Reflagged) -> Snapshot | None:
    """The snapshot after a change of flags that followed it; None where it lacks something for that."""
    rows = before.rows(array("I", done.changed))
    if rows is None or before.keywords != done.keywords:
        return None
    masks, modseqs = before.masks[:], before.modseqs[:]
    for row in rows:
        masks[row] = masks[row] & done.kept | done.added
        modseqs[row] = done.before + 1
    return replace(before, highestmodseq=done.before + 1, masks=masks, modseqs=modseqs)


def _rows_of(uids: "array[int]", wanted: Sequence[int]) -> list[int]:
    """The rows of those of the UIDs that there are, ascending."""
    rows = [(bisect_left(uids, uid), uid) for uid in wanted]
    return [row for row, uid in rows if row < len(uids) and uids[row] == uid]


def _without(column: "array[int]", rows: Sequence[int]) -> "array[int]":
    if len(rows) > _FEW:
        kept_rows = bytearray(b"\1") * len(column)
        for row in rows:
            kept_rows[row] = 0
        return array(column.typecode, compress(column, kept_rows))
    kept = array(column.typecode)
    start = 0
    for row in rows:
        kept += column[start:row]
        start = row + 1
    return kept + column[start:]


def _overwritten(columns: "list[array[int]]", changed: Sequence[Row]) -> "list[array[int]]":
    uids = columns[0]
    # Sizes change only where a file's name lied; so they and the dates are copied for a reason only.
    copied: list[array[int]] = [uids, columns[1][:], columns[2][:], columns[3], columns[4]]
    for uid, mask, modseq, size, _ in changed:
        row = bisect_left(uids, uid)
        if row == len(uids) or uids[row] != uid:
            continue
        copied[1][row] = mask
        copied[2][row] = modseq
        if copied[3][row] != size:
            copied[3] = copied[3][:] if copied[3] is columns[3] else copied[3]
            copied[3][row] = size
    return copied
