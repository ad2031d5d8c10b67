"""Writes to messages that are the same whatever the mail files are: to their rows, under the account's lock.

The commit is what counts; what the files have to be told follows it (MailFormat.settle and after_flags).
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from imapd.mailstore.bench import Bench
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.rows import BoxRow, MessageRow, message_id
from imapd.model.flags import FlagChange, Flags

_ALL: Final = (1 << 64) - 1


def numbered(box: BoxRow, rows: Iterable[MessageRow]) -> list[MessageRow]:
    """Messages with the next UIDs of a mailbox and its next modseq. Raises LimitExceeded."""
    return [
        row._replace(id=message_id(box.id, uid), modseq=box.modseq + 1) for uid, row in enumerate(rows, box.uidnext)
    ]


def insert(bench: Bench, box: BoxRow, names: FlagNames, rows: Sequence[MessageRow], **columns: object) -> None:
    """Put numbered messages into a mailbox, within the caller's transaction; and more columns of the mailbox."""
    bench.index.add_keywords(box.id, names.added)
    uidnext, modseq = box.uidnext + len(rows), box.modseq + 1
    bench.index.insert_into(bench.box(box.id), rows, uidnext=uidnext, modseq=modseq, **columns)


def translated(mask: int, source: FlagNames, target: FlagNames) -> int:
    """A mask of one mailbox as a mask of another. Raises LimitExceeded."""
    words = [word for number, word in enumerate(source.keywords) if mask >> 8 + number & 1]
    return mask & 0x1F | target.mask(words)


class Reflagged(NamedTuple):
    """What became of a change of flags: the messages that there are, and those of them that have other flags by it.

    Those got their masks as `mask & kept | added`, and the modseq that follows `before`, the mailbox's until then.
    """

    uids: list[int]
    changed: list[int]
    kept: int
    added: int
    before: int
    keywords: tuple[str, ...]


def change_flags(bench: Bench, box_id: int, uids: Sequence[int], how: FlagChange, flags: Flags) -> Reflagged:
    """Change flags."""
    bench.format.settle(bench, at_once=False)
    box = bench.box(box_id)
    there = bench.index.uids_among(box_id, uids)
    names = bench.names(box)
    bits = names.mask(flags, create=how is not FlagChange.REMOVE) if there else 0
    kept = {FlagChange.ADD: _ALL, FlagChange.REMOVE: _ALL & ~bits, FlagChange.REPLACE: 0}[how]
    added = 0 if how is FlagChange.REMOVE else bits
    changed: list[int] = []
    if there:
        with bench.index.transaction():
            changed = bench.index.reflag_many(box_id, there, kept, added, box.modseq + 1)
            if changed:
                bench.index.add_keywords(box_id, names.added)
                bench.index.update_known(box, modseq=box.modseq + 1)
    if changed:
        bench.changed.add(bench.folder(box))
        bench.format.after_flags(bench, box_id)
    return Reflagged(there, changed, kept, added, box.modseq, tuple(names.keywords))


def claim_recent(bench: Bench, box_id: int, up_to: int) -> int:
    """Raise the watermark of \\Recent; where it was before."""
    box = bench.box(box_id)
    if up_to > box.recent:
        with bench.index.settling():  # a power cut may make messages recent once more, which harms nobody
            bench.index.update_box(box_id, recent=up_to)
    return box.recent


def mend_size(bench: Bench, box_id: int, uid: int, size: int, octets: int) -> None:
    """Write down the true size of a message whose file name lied."""
    box = bench.box(box_id)
    row = bench.index.message(box_id, uid)
    if row is not None and (row.size, row.octets) != (size, octets):
        with bench.index.transaction():
            bench.index.resize(row, size, octets, box.modseq + 1)
            bench.index.update_box(box_id, modseq=box.modseq + 1)
        bench.changed.add(bench.folder(box))
