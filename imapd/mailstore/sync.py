"""Taking in what other programs did to the files of a mailbox: deliveries, renames, removals.

The files are the truth about which messages there are and, where they changed since we looked, about flags; the index
is the truth about UIDs. Rules:

1. A file is known by its base name. One that is new gets the next UID; new ones in the order of their delivery.
2. Flags are merged three ways: the row remembers the name the file had, so what another program added or took away is
   added to or taken from the flags in the index, whatever changed there meanwhile.
3. A listing can miss a file that is being renamed, or have it twice. A message is gone when several listings do not
   have it (maildir.looks); a file with the base name of a known one is a second file if the first is there still.
4. Files in new/ get their UID at first sight, and are moved to cur/ when somebody looks who may write, as mutt and
   Dovecot do. A look that is read-only (EXAMINE, STATUS) leaves them, so that "new mail" notices go on to work.
5. A directory is listed when its stamp (inode, mtime, ctime) is not the one that the rows agree with. A stamp younger
   than 50 ms at the time of listing is not believed: another change may fall on the same tick of the clock.
6. Our own renames change the stamp of cur/ too. In a small mailbox it is listed again; in a large one the stamp is
   followed, with the time of the first doubt, and cur/ is listed when the doubt is older than the mailbox's `patience`.
   What could be missed until then is a foreign rename within the milliseconds of our own one.
7. A first sight of many files is taken in by parts, so that the lock is free in between. What is left of the files is
   kept for the next part (strangers.Rest), which else would list the mailbox and read its rows again.
8. Messages that another server has given UIDs keep them, and its keywords (mailstore/foreign, mailstore/courier).
9. Files cannot be listed before our own work on them is done (mailstore/settle rule 4). Where it is much, and the
   stamps are as it left them, they are not listed until it is done, which takes some seconds at most.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from imapd.mailstore import columnfile, courier, foreign, maildir, settle
from imapd.mailstore.bench import Bench
from imapd.mailstore.errors import Gone
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.maildir import CUR, ELSEWHERE, NEW
from imapd.mailstore.rows import BoxRow, MessageRow, NewRows
from imapd.mailstore.settle import path_of, settle_but_flags, settle_or_later
from imapd.mailstore.store import Snapshot
from imapd.mailstore.strangers import COUNTED, Located, Rest, Strangers, in_order, look_at, needs_rename

TICK: Final = 0.05
AT_ONCE: Final = 10_000
"""Messages taken in at a time (rule 7) where each file has to be read for its size: about a second. Where the names
tell the sizes there are COUNTED times as many."""
SMALL: Final = 1_000
_UNDER_WAY: Final = 5.0
"""Seconds of a doubt about cur/ while our own work on it is under way, however many messages are left there."""


def patience(box: BoxRow) -> float:
    """How long a doubt about cur/ may stand: 0.3 ms for each message, which is a hundred times what listing costs."""
    return 0.0 if box.messages < SMALL else box.messages * 0.0003


def agrees(box: BoxRow, new_stamp: str, cur_stamp: str, now: float) -> tuple[bool, bool]:
    """Whether the rows of the mailbox agree with new/ and with cur/, so that those need not be listed."""
    believed = not box.doubt or 0 <= now - box.doubt < patience(box)
    return box.new_stamp == new_stamp, box.cur_stamp == cur_stamp and believed


def take_in(bench: Bench, box_id: int, read_write: bool, force: bool = False, rest: Rest | None = None) -> Rest | None:
    """Bring index and files together; what is left where there is more to take in (rule 7). Raises Gone.

    force: list the files whatever the stamps say. rest: what was left the last time.
    """
    if not (force or rest) and settle.is_much(bench.index) and _only_ours_moved(bench, bench.box(box_id)):
        bench.later = True
        return None
    settle_but_flags(bench)
    box = bench.box(box_id)
    folder = bench.folder(box)
    if not maildir.is_folder(folder):
        raise Gone
    seen = foreign.stamp(folder)
    box = foreign.follow(bench, box)
    if box.id != box_id:
        raise Gone  # numbered anew
    if not os.path.lexists(folder + b"/new"):
        maildir.make_folder(folder, bench.settings.dir_mode, inbox=not box.directory)
    rest = rest if rest and not force and rest.goes_on(box, seen) else None
    return _Look(bench, box, read_write, seen, rest).run(force)


def _only_ours_moved(bench: Bench, box: BoxRow) -> bool:
    """Whether nobody has been at the files of a mailbox, as far as times tell, but we, whose work on them is under way
    (rule 9)."""
    try:
        folder = bench.folder(box)
        new, cur = maildir.stamp(folder + b"/new")[0], maildir.stamp(folder + b"/cur")[0]
    except FileNotFoundError:
        return False
    is_recent = not box.doubt or 0 <= bench.now - box.doubt < max(_UNDER_WAY, patience(box))
    ours = (box.new_stamp, box.cur_stamp, box.uidlist_stamp) == (new, cur, foreign.stamp(folder))
    return ours and is_recent and maildir.is_folder(folder)


def is_as_known(bench: Bench, box: BoxRow) -> bool:
    """Whether the files of a mailbox are where its rows say, as far as times tell."""
    try:
        folder = bench.folder(box)
        new, cur = maildir.stamp(folder + b"/new")[0], maildir.stamp(folder + b"/cur")[0]
    except FileNotFoundError:
        return False
    return all(agrees(box, new, cur, bench.now))


class _Look:
    """One look at a mailbox's files."""

    def __init__(self, bench: Bench, box: BoxRow, read_write: bool, uidlist_stamp: str, rest: Rest | None) -> None:
        self._bench = bench
        self._index = bench.index
        self._box = box
        self._folder = bench.folder(box)
        self._read_write = read_write
        self._uidlist_stamp = uidlist_stamp
        self._rest = rest
        self._given = rest.given if rest else foreign.to_take(bench, box)  # rule 8
        self._names: FlagNames = bench.names(box)
        self._moved: list[tuple[MessageRow, Located, int]] = []  # row, where it is now, its mask now
        self._vanished: list[MessageRow] = []
        self._arrived = Strangers()
        self._left_over: list[Located] = []
        self._kept: Snapshot | None = None
        self._unsure = False
        self._renamed_in_new = False

    def run(self, force: bool) -> Rest | None:
        stamps = self._go_on(self._rest) if self._rest else self._look(force)
        stamps["uidlist_stamp"] = self._uidlist_stamp
        self._write({} if self._left_over else stamps)
        if not self._left_over:
            return None
        cur_stamp = maildir.stamp(self._folder + b"/cur")[0]
        box = self._bench.box(self._box.id)
        return Rest(box, self._left_over, self._given, self._uidlist_stamp, stamps, cur_stamp, self._kept)

    def _look(self, force: bool) -> dict[str, object]:
        """Find out what there is; the stamps that the rows will agree with."""
        new_stamp, new_time = maildir.stamp(self._folder + b"/new")
        cur_stamp, cur_time = maildir.stamp(self._folder + b"/cur")
        new_agrees, cur_agrees = agrees(self._box, new_stamp, cur_stamp, self._bench.now)
        full = force or bool(self._given) or not cur_agrees or not (new_agrees or self._look_at_new(cur_stamp))
        if full:
            self._look_at_all()
        if self._read_write:
            self._empty_new()
        return {
            "new_stamp": "" if self._unsure or self._renamed_in_new or self._is_young(new_time) else new_stamp,
            **self._cur_stamp(full, cur_stamp, cur_time),
        }

    def _go_on(self, rest: Rest) -> dict[str, object]:
        """The same with the next part of what an earlier look has found."""
        cur_stamp = maildir.stamp(self._folder + b"/cur")[0]
        self._meet_in_order(rest.strangers)
        if self._read_write:
            self._empty_new()
        stamps = dict(rest.stamps)
        if self._renamed_in_new:
            stamps["new_stamp"] = ""
            if stamps["cur_stamp"]:
                after = maildir.stamp(self._folder + b"/cur")[0]
                stamps |= {"cur_stamp": after, "doubt": stamps["doubt"] or self._bench.now}  # rule 6
        if self._unsure or cur_stamp != rest.cur_stamp:
            stamps |= {"new_stamp": "", "cur_stamp": "", "doubt": 0.0}
        return stamps

    def _is_young(self, changed: float) -> bool:
        return abs(self._bench.now - changed) < TICK  # rule 5; a time far off, also in the future, does not come again

    def _cur_stamp(self, full: bool, seen: str, changed: float) -> dict[str, object]:
        box, now = self._box, self._bench.now
        after = maildir.stamp(self._folder + b"/cur")[0] if self._renamed_in_new else seen
        doubt = box.doubt if not full else now if self._is_young(changed) else 0.0
        if after != seen:
            doubt = doubt or now  # rule 6
        if self._unsure or (doubt and not patience(box)):
            return {"cur_stamp": "", "doubt": 0.0}
        return {"cur_stamp": after, "doubt": doubt}

    # Finding out

    def _look_at_new(self, cur_stamp: str) -> bool:
        """Only new/ changed: the usual delivery. False where files went away from there, so that all must be seen."""
        listed = {(NEW, name) for name in maildir.listing(self._folder + b"/new")}
        known = {(row.place, row.file) for row in self._index.rows_not_in_cur(self._box.id)}
        if known - listed or maildir.stamp(self._folder + b"/cur")[0] != cur_stamp:
            return False  # what was moved from cur/ just now is no stranger
        self._meet(listed - known)
        return True

    def _look_at_all(self) -> None:
        known = self._index.files(self._box.id)
        if not known:
            self._meet(next(maildir.looks(self._folder)))
            return
        missing: dict[int, MessageRow] | None = None
        for listed in maildir.looks(self._folder):  # rule 3
            moved, absent, extra = self._match(known, listed)
            self._unsure = missing is not None and bool(absent.keys() - missing.keys())
            missing = absent if missing is None else {key: missing[key] for key in missing.keys() & absent.keys()}
            if not missing:
                break
        self._vanished = sorted((missing or {}).values())
        for row, located in moved:
            self._moved.append((row, located, self._merged(row, located)))
        self._meet(extra)

    def _match(
        self, known: dict[Located, int], listed: set[Located]
    ) -> tuple[list[tuple[MessageRow, Located]], dict[int, MessageRow], set[Located]]:
        """Rows whose file has another name now, rows whose file is missing, and files that no row has."""
        extra = listed - known.keys()
        absent = [known[located] for located in known.keys() - listed] + self._left(known, listed, extra)
        by_base: dict[bytes, list[Located]] = defaultdict(list)
        if absent:
            for located in sorted(extra):
                by_base[maildir.base_of(located[1])].append(located)
        moved: list[tuple[MessageRow, Located]] = []
        missing: dict[int, MessageRow] = {}
        for row in self._index.rows(self._box.id, [key & 0xFFFFFFFF for key in absent]):
            candidates = by_base.get(row.base or maildir.base_of(row.file))
            if candidates:
                moved.append((row, candidates.pop(0)))  # in cur/ before in new/, which it may have left just now
            elif not (row.pending and os.path.lexists(path_of(self._bench, self._box, row))):
                missing[row.id] = row
        return moved, missing, extra - {located for _, located in moved}

    def _left(self, known: dict[Located, int], listed: set[Located], extra: set[Located]) -> list[int]:
        """The messages that a listing has under their old name, which they have left, and under a new one (rule 3)."""
        bases = {maildir.base_of(name) for _, name in extra}
        return [
            key
            for located, key in (known.items() if bases else ())
            if maildir.base_of(located[1]) in bases and located in listed and not os.path.lexists(self._path(located))
        ]

    def _path(self, located: Located) -> bytes:
        return self._folder + b"/" + maildir.PLACES[located[0]] + b"/" + located[1]

    def _merged(self, row: MessageRow, located: Located) -> int:
        """The flags of a message whose file was renamed by another program (rule 2)."""
        before = b"" if row.place == ELSEWHERE else maildir.letters_of(row.file)
        after = maildir.letters_of(located[1])
        added = self._names.mask_of_letters(bytes(set(after) - set(before)))
        removed = self._names.mask_of_letters(bytes(set(before) - set(after)))
        return (row.mask | added) & ~removed

    def _meet(self, strangers: Iterable[Located]) -> None:
        """Look at files that have no row yet (rule 1)."""
        self._meet_in_order(in_order(strangers, self._given))

    def _meet_in_order(self, ordered: list[Located]) -> None:
        self._arrived, self._left_over = look_at(self._folder, ordered, AT_ONCE * COUNTED)

    # Doing

    def _empty_new(self) -> None:
        """Move what lies in new/ to cur/ (rule 4). Before the commit: it says the same, whichever place it is in."""
        known = {row.id for row, _, _ in self._moved} | {row.id for row in self._vanished}
        for row in self._index.rows_not_in_cur(self._box.id):
            if row.place == NEW and row.id not in known:
                self._moved.append((row, (NEW, row.file), row.mask))
        self._moved = [(row, self._to_cur(located), mask) for row, located, mask in self._moved]
        self._arrived.move(self._to_cur)

    def _to_cur(self, located: Located) -> Located:
        place, name = located
        if place != NEW:
            return located
        target = maildir.with_letters(maildir.base_of(name), maildir.letters_of(name))
        source = self._folder + b"/new/" + name
        try:
            if maildir.is_too_long(target) or not maildir.rename_aside(source, self._folder + b"/cur/" + target):
                target = maildir.new_unique(self._bench.now) + b":2,"
                os.rename(source, self._folder + b"/cur/" + target)
        except OSError:
            self._unsure = True  # it went away, or the disk refuses: the next look tells
            return located
        self._renamed_in_new = True
        return CUR, target

    def _write(self, stamps: dict[str, object]) -> None:
        index, box = self._index, self._box
        reflagged = {row.id for row, located, mask in self._moved
                     if mask != row.mask or needs_rename(self._names, located, mask)}  # fmt: skip
        uids, numbers = self._arrived.uids(box, self._given, not self._left_over)
        keywords = courier.keywords(self._folder) if self._given and self._arrived else {}
        rows = self._arrived.rows(uids, box.modseq + 1, self._names, keywords)
        stamps = numbers | stamps
        if not (self._moved or self._vanished or self._arrived):
            if any(getattr(box, column) != value for column, value in stamps.items()):
                with index.settling():
                    index.update_box(box.id, **stamps)
            return
        visible = bool(self._arrived or self._vanished) or any(mask != row.mask for row, _, mask in self._moved)
        with index.transaction():
            moved = index.relocate([(row, *located) for row, located, _ in self._moved])
            masks = {row.id: mask for row, _, mask in self._moved}
            index.reflag([(row, masks[row.id], box.modseq + visible) for row in moved if row.id in reflagged])
            index.bury([(row, box.modseq + 1, None) for row in self._vanished])
            index.insert_columns(box.id, rows)
            index.add_keywords(box.id, self._names.added)
            index.update_box(box.id, modseq=box.modseq + visible, **stamps)
        self._keep_columns(rows)
        if visible:
            self._bench.changed.add(self._folder)
        if reflagged or any(rows.pending):
            settle_or_later(self._bench)

    def _keep_columns(self, rows: NewRows) -> None:
        """Follow the file of columns, which is written when all parts are there."""
        if self._moved or self._vanished or (len(rows.uids) < columnfile.LARGE and not self._rest):
            return
        box = self._box
        file = columnfile.ColumnFile(self._bench.root, box.id, box.uidvalidity, self._bench.settings.file_mode)
        before = self._rest.kept if self._rest else file.kept(box)
        self._kept = before and columnfile.extended(before, self._bench.box(box.id), rows)
        if self._kept and not self._left_over and len(self._kept.uids) >= columnfile.LARGE:
            file.write(self._kept)
