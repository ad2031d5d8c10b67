"""Making good what is wrong with the mailbox of a Maildir, where listing its files anew is not enough.

Under the account's lock, in a disk thread. No message is removed, and none gets another UID.
"""

import contextlib
from collections.abc import Sequence

from imapd.mailstore import findings, maildir
from imapd.mailstore.bench import Bench
from imapd.mailstore.findings import Finding
from imapd.mailstore.rowchanges import mend_size
from imapd.mailstore.rows import MessageRow
from imapd.mailstore.settle import path_of, settle


def mend(bench: Bench, box_id: int, found: Sequence[Finding]) -> None:
    """Make good what was found of messages and of tmp/. Raises StoreError, OSError."""
    uids = {fault: [one.uid for one in found if one.fault == fault] for fault in (findings.SIZE, findings.FLAGS)}
    for row in bench.index.rows(box_id, uids[findings.SIZE]):
        _count(bench, box_id, row)
    _write_flags(bench, box_id, bench.index.rows(box_id, uids[findings.FLAGS]))
    if any(one.fault == findings.TWICE for one in found):
        _part(bench, box_id)
    for one in found:
        if one.fault == findings.ABANDONED:
            maildir.discard(one.path)


def _count(bench: Bench, box_id: int, row: MessageRow) -> None:
    """Have the index say how large a message is."""
    with contextlib.suppress(FileNotFoundError):
        octets, size = maildir.measure(path_of(bench, bench.box(box_id), row))
        mend_size(bench, box_id, row.uid, size, octets)


def _write_flags(bench: Bench, box_id: int, rows: Sequence[MessageRow]) -> None:
    """Have the names of files say what the index says: they were not changed since it did, or it would know."""
    if rows:
        with bench.index.transaction():
            bench.index.reflag([(row, row.mask, row.modseq) for row in rows])
        settle(bench)


def _part(bench: Bench, box_id: int) -> None:
    """Leave each file to one message: to the one with the lower UID, which was there first."""
    box = bench.box(box_id)
    seen: set[tuple[int, bytes]] = set()
    second: list[MessageRow] = []
    for row in bench.index.rows(box_id):
        if (row.place, row.file) in seen:
            second.append(row)
        seen.add((row.place, row.file))
    with bench.index.transaction():
        bench.index.bury([(row, box.modseq + 1, None) for row in second])
        bench.index.update_box(box_id, modseq=box.modseq + 1)
    bench.changed.add(bench.folder(box))
