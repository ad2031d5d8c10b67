"""Whether what stands beside the mail of an account agrees with its index: counts, UIDs that were given, limits,
finished answers, what crashes left. Reads only.
"""

import contextlib
import os
from collections.abc import Sequence
from typing import Final

from imapd.mailstore import findings, floors, maildir, quotafile, rendered, tree
from imapd.mailstore.columnfile import ColumnFile
from imapd.mailstore.findings import ENTRY, Inventory, Sight
from imapd.mailstore.index import Index
from imapd.mailstore.rows import BoxRow
from imapd.mailstore.runs import MARKS, Messages, RunFile, RunStamp

_AT_ONCE: Final = 2_000


def examine(sight: Sight, index: Index, boxes: Sequence[BoxRow]) -> None:
    """Look at what belongs to the account as a whole, which is little. Raises StoreError, OSError."""
    _examine_tree(sight, boxes)
    _examine_given(sight, index, boxes)
    if index.limits() != quotafile.read(sight.root):
        sight.found(findings.QUOTA, sight.root + b"/" + quotafile.FILE)
    for source, _ in index.moving():
        sight.found(findings.OWED, sight.root + b"/" + source, None, 0, "it is to be renamed")
    _examine_remains(sight, index, boxes)


def _examine_tree(sight: Sight, boxes: Sequence[BoxRow]) -> None:
    known = {box.directory for box in boxes}
    taken = {box.name for box in boxes}
    for directory in sorted(sight.format.directories(sight.root) - known):
        name = sight.format.name_of(directory)
        if name is None or name in taken:
            sight.found(findings.UNFIT, sight.format.folder(sight.root, directory))
        else:
            sight.waiting += 1


def _examine_given(sight: Sight, index: Index, boxes: Sequence[BoxRow]) -> None:
    """What was given must be known once more beside the index."""
    path = sight.root + b"/" + floors.FILE
    behind = {box.id for box in floors.below(path, boxes)}
    known = floors.by_id(path)
    for box in boxes:
        floor = known.get(box.id)
        # What is written down is told, for in a mailbox where much happens it is another at each look.
        told = "nothing is" if floor is None else "UIDVALIDITY {}, UIDNEXT {} and modseq {} are".format(*floor)
        if box.id in behind:
            sight.found(findings.BEHIND, path, box, 0, f"{told} written down")
        elif floor != (box.uidvalidity, box.uidnext, box.modseq):
            sight.found(findings.FLOORS, path, box, 0, f"{told} written down")
    last = max([box.uidvalidity for box in boxes], default=0)
    if tree.last_given(sight.root) < last or index.last_uidvalidity() < last:
        sight.found(findings.UIDVALIDITY, sight.root + b"/" + tree.UIDVALIDITY_FILE)


def _examine_remains(sight: Sight, index: Index, boxes: Sequence[BoxRow]) -> None:
    promised = {source for source, _ in index.moving()}
    for directory in sight.format.leftovers(sight.root, (tree.DELETED, tree.FRESH)):
        if directory not in promised:
            sight.found(findings.LEFTOVER, sight.root + b"/" + directory)
    waiting = {os.path.basename(row.file) for row in index.pending() if row.file.startswith(b"tmp/")}
    with contextlib.suppress(FileNotFoundError):
        for path in maildir.stale_files(sight.root + b"/tmp", sight.now):
            if os.path.basename(path) not in waiting:
                sight.found(findings.ABANDONED, path)
    beginnings = {b"%d-%d" % (box.id, box.uidvalidity) for box in boxes}
    for path in sorted(rendered.files(sight.root)):
        if rendered.mailbox_of(path) not in beginnings:
            sight.found(findings.CACHE, path)


def examine_rows(sight: Sight, told: Inventory) -> None:
    """What the rows of a mailbox say of themselves, and what was finished of them."""
    box, columns = told.box, told.columns
    path = sight.folder(box)
    if columns.uids and columns.uids[-1] >= box.uidnext:
        sight.found(findings.UIDS, path, box, columns.uids[-1])
    if max(columns.modseqs, default=0) > box.modseq:
        sight.found(findings.MODSEQ, path, box)
    octets = sum(columns.sizes)
    if box.octets != octets:
        sight.found(findings.COUNT, path, box, 0, f"{octets} octets, counted are {box.octets}")
    _examine_runs(sight, box, Messages(columns.uids, columns.sizes, columns.dates))


def _examine_runs(sight: Sight, box: BoxRow, messages: Messages) -> None:
    beginning = b"%d-%d" % (box.id, box.uidvalidity)
    good = {
        rendered.path_of(sight.root, box.id, box.uidvalidity, subject): subject
        for subject in rendered.subjects(sight.root, box.id, box.uidvalidity)
    }
    columns = ColumnFile(sight.root, box.id, box.uidvalidity, 0).path
    for path in sorted(rendered.files(sight.root)):
        if path.startswith(columns):
            continue  # whoever reads it compares it with the rows
        if rendered.mailbox_of(path) == beginning and (
            path not in good or not _are_good(sight, path, RunStamp(box.id, box.uidvalidity, good[path]), messages)
        ):
            sight.found(findings.CACHE, path, box)


def _are_good(sight: Sight, path: bytes, stamp: RunStamp, messages: Messages) -> bool:
    file = RunFile(path, stamp)
    while file.refresh():
        pass
    sight.pace(len(file) * ENTRY // 8)  # its columns
    uids = messages.uids
    missing = len(file.missing(uids))
    with contextlib.suppress(OSError):
        for start in range(0, len(uids), _AT_ONCE):
            some = messages.of(range(start, min(start + _AT_ONCE, len(uids))))
            sight.pace(sum(map(len, file.read(some, [(0, MARKS + 1)], os.pread))))
    return not file.is_broken and len(file.missing(uids)) == missing
