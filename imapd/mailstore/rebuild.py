"""What is written beside the index, and what an index that was lost or is too old is made good from.

A lost index costs clients nothing where its mailboxes can be made anew with their UIDVALIDITY and UIDs: these are in
the record beside the messages (mailstore/uidrecord), how far they have got is in the floors (mailstore/floors), and
flags, dates and sizes are in the files. Done when an index is opened, before anybody else sees it.

Rules:

1. A mailbox keeps its UIDVALIDITY only where a floor is known for it: without one nobody knows how far its modseqs have
   got. Otherwise it gets a new one, as a mailbox that nobody has seen before.
2. After a power cut record and floors may be behind what clients were told. What comes after a restoring is numbered
   GAP above them, which is more than could have been given in the half minute until the kernel writes.
3. All its messages have changed, as far as clients can tell: their modseq is the new one, and nothing older is known of
   what was expunged.
4. Files that are in no record get their UIDs afterwards, as if they had just been delivered (mailstore/sync).
"""

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from imapd.mailstore import floors, maildir, tree, uidrecord
from imapd.mailstore.bench import Bench, log
from imapd.mailstore.errors import StoreError
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.index import Index
from imapd.mailstore.maildir import CUR
from imapd.mailstore.rows import LAST_UID, UNKNOWN, BoxRow, MessageRow, message_id

GAP: Final = 1 << 20


def note(bench: Bench) -> None:
    """Write beside the index what commits have moved: floors and UIDs. It only guards: a disk may refuse it."""
    boxes = _note_floors(bench)
    given, bench.index.given = bench.index.given, {}
    for key, pairs in given.items():
        with contextlib.suppress(OSError, StoreError):
            if (box := boxes.get(key) or bench.index.box(key)) is not None:
                bench.format.note_uids(bench, box, pairs)


def _note_floors(bench: Bench) -> dict[int, BoxRow]:
    """The mailboxes that were noted, by their ids."""
    touched, bench.index.touched = bench.index.touched, set()
    with contextlib.suppress(StoreError):
        boxes = {key: box for key in touched if (box := bench.index.box(key)) is not None}
        if touched:
            floors.note(_floors(bench), boxes.values(), touched - boxes.keys(), bench.settings.file_mode)
        return boxes
    return {}


def _floors(bench: Bench) -> bytes:
    return bench.root + b"/" + floors.FILE


def complete(bench: Bench) -> None:
    """Have a record beside every mailbox, and no floors of mailboxes that are no more."""
    _note_floors(bench)
    boxes = bench.index.boxes()
    with contextlib.suppress(OSError):
        floors.prune(_floors(bench), boxes)
    for box in boxes:
        with contextlib.suppress(OSError):
            if box.messages:
                bench.format.note_uids(bench, box, ())


def is_behind(root: bytes, index: Index) -> bool:
    """Whether the index knows less than was given out: it is an older copy."""
    return bool(floors.below(root + b"/" + floors.FILE, index.boxes()))


def mend(bench: Bench) -> None:
    """Bring an index that was just opened up to what is known beside it."""
    path = _floors(bench)
    bench.index.skip_ids(floors.highest_id(path))
    ignorant = floors.below(path, bench.index.boxes())
    strangers = [box for box in ignorant if not bench.format.restore(bench, box.name, box.directory, box)]
    if strangers:
        tree.renumber(bench, strangers)
    _restore_missing(bench)


def _restore_missing(bench: Bench) -> None:
    rows = bench.index.boxes()
    taken = {row.name for row in rows}
    for directory in sorted(bench.format.directories(bench.root) - {row.directory for row in rows}):
        name = bench.format.name_of(directory)
        if name is not None and name not in taken and bench.format.restore(bench, name, directory, None):
            taken.add(name)


def restore(bench: Bench, name: str, directory: bytes, before: BoxRow | None) -> bool:
    """Make a mailbox of a Maildir anew from its record, in place of the row before; False where that cannot be."""
    folder = bench.format.folder(bench.root, directory)
    record = uidrecord.read(folder + b"/" + uidrecord.FILE)
    begin = beginning(bench, record, before)
    if record is None or begin is None:
        return False
    names = FlagNames(folder, (), bench.now, bench.settings.file_mode)
    put(bench, name, directory, before, record.uidvalidity, begin, names, _rows(folder, record, names, begin.modseq))
    bench.changed.add(folder)
    return True


class Beginning(NamedTuple):
    """UIDNEXT and modseq that a mailbox begins with which is made anew (rule 2)."""

    uidnext: int
    modseq: int


def beginning(bench: Bench, record: uidrecord.UidRecord | None, before: BoxRow | None) -> Beginning | None:
    """How a mailbox with that record begins anew; None where it cannot be made of it."""
    floor = floors.known(_floors(bench)).get(record.uidvalidity) if record else None
    others = {box.uidvalidity for box in bench.index.boxes() if before is None or box.id != before.id}
    if record is None or floor is None or record.uidvalidity in others:  # rule 1; a folder may be a copy of another
        return None
    begin = Beginning(max(floor[0], record.uidnext) + GAP, floor[1] + GAP)
    return begin if begin.uidnext <= LAST_UID else None


def put(
    bench: Bench,
    name: str,
    directory: bytes,
    before: BoxRow | None,
    uidvalidity: int,
    begin: Beginning,
    names: FlagNames,
    rows: Sequence[MessageRow],
) -> None:
    """Put a mailbox into the index in place of the row before. The rows have the UID alone as their id."""
    uses = {name: use for use, name in bench.settings.special_use}
    with bench.index.transaction():
        if before is not None:
            bench.index.drop_box(before.id)
        special_use = uses.get(name, "") if before is None else before.special_use
        stamp = UNKNOWN if before is None else before.uidlist_stamp
        box = bench.index.add_box(name, directory, uidvalidity, special_use, stamp)
        bench.index.add_keywords(box, names.added)
        bench.index.insert([row._replace(id=message_id(box, row.id)) for row in rows])
        bench.index.update_box(box, uidnext=begin.uidnext, modseq=begin.modseq, recent=begin.uidnext - 1)
        bench.index.set_forgotten(box, begin.modseq)  # rule 3
    log.warning("the mailbox %r was made anew from the record of its UIDs: %d messages", name, len(rows))


def _rows(folder: bytes, record: uidrecord.UidRecord, names: FlagNames, modseq: int) -> list[MessageRow]:
    """Rows for the files that are in the record, by UID; their id is the UID alone."""
    files: dict[bytes, set[tuple[int, bytes]]] = defaultdict(set)
    for listed in maildir.looks(folder):
        for place, name in listed:
            files[maildir.base_of(name)].add((place, name))
    rows: list[MessageRow] = []
    for base, uid in record.uids.items():
        for place, name in sorted(files.get(base, ())):  # in cur/ before in new/, which it may have left just now
            found = maildir.examine(folder + b"/" + maildir.PLACES[place] + b"/" + name)
            if found is not None:
                mask = names.mask_of_letters(maildir.letters_of(name)) if place == CUR else 0
                octets = found.octets if found.counted else 0
                rows.append(MessageRow(uid, place, name, None, mask, modseq, found.size, octets, found.date, 0))
                break
    return sorted(rows)
