"""Work on files that a commit has promised: renames, removals, moved directories.

A write commits its rows first, marked as pending, and then the files follow. Whoever takes the lock next looks for
marks that are still there, after a crash or a failure, and does the work then; every step may be done twice.

Rules:

1. A mark goes away when the work is done and the directory it was done in is durable. Otherwise a power cut could
   bring back an old file name under a row that knows only the new one, and it would look like somebody's change.
2. A file that is not where the row says was renamed by another program: the mark goes, the row stays as it was, and
   the next listing finds the file by its base name. One that is to move to another mailbox is looked for at once, or it
   would stay where it is and come as a new message; what the other program changed of its flags is taken along.
3. What a disk refuses is kept for the next time, and told to the caller, who knows whether it matters.
4. Who only needs the promise leaves changed flags for later, and much of what was moved, copied or expunged, once the
   commit is durable and every name that it gives a file is too. Who lists files or counts on their places does all the
   work first, or files that were expunged or moved would look like new ones. Files that have to be renamed for their
   flags alone are where the index says, and known by their base names: those need not be waited for.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable
from typing import Final, TypeVar

from imapd.mailstore import maildir
from imapd.mailstore.bench import Bench, explained, log
from imapd.mailstore.errors import Corrupt, StoreError
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.formats import Failures
from imapd.mailstore.index import Index
from imapd.mailstore.maildir import CUR, ELSEWHERE
from imapd.mailstore.rows import BoxRow, MessageRow

Wanted = TypeVar("Wanted")

MANY: Final = 200
"""So many files are not waited for by a client who only needs to know that it will be done."""
_PART: Final = 500
"""Files whose turn takes about 25 ms."""


def is_much(index: Index) -> bool:
    """Whether there is so much work that it may be left for the background."""
    return index.marks(MANY) >= MANY and not index.moving()


def settle_or_later(bench: Bench) -> Failures:
    """As settle; but work for flags alone, and much of any, is left for the background (rule 4)."""
    if is_settled_but_flags(bench):
        return Failures()
    if is_much(bench.index):
        bench.later = True
        return Failures()
    return settle(bench)


def settle_but_flags(bench: Bench) -> Failures:
    """As settle; but work for flags alone is left for the background (rule 4)."""
    return Failures() if is_settled_but_flags(bench) else settle(bench)


def is_settled_but_flags(bench: Bench) -> bool:
    """Whether no work on files is left, or only such for flags alone, which the background is going to do (rule 4)."""
    if bench.index.is_settled():
        return True
    is_so = bench.index.waits_for_flags_alone()
    bench.later |= is_so
    return is_so


def settle_some(bench: Bench) -> bool:
    """Do a part of the work that is marked; whether there is more, and it goes forward."""
    failures, are_marks_gone = _done(bench, _PART)
    goes_forward = are_marks_gone and not (failures.of_all or failures.of_message)
    return goes_forward and not bench.index.is_settled()


def settle(bench: Bench) -> Failures:
    """Do all the work that is marked."""
    return _done(bench)[0]


def _done(bench: Bench, most: int = -1) -> tuple[Failures, bool]:
    """Do all the work that is marked, or so many renames and removals; and whether what was done is not marked now."""
    try:
        if bench.index.is_settled():
            return Failures(), True
        _move_directories(bench)
        settling = _Settling(bench)
        settling.run(most)
    except Corrupt:
        raise  # no work on files, but on the index (mailstore/openindex)
    except (OSError, StoreError) as error:
        cause = explained(error) if isinstance(error, OSError) else error
        log.warning("work on files is put off: %s", cause.reason)
        return Failures(of_all=cause), False
    try:
        settling.write_down()
    except StoreError as error:
        # The rows are committed and say the truth about what was asked; only marks of work that was done stay.
        log.warning("work on files stays marked for now: %s", error.reason)
        return Failures(settling.failed), False
    return Failures(settling.failed), True


def _move_directories(bench: Bench) -> None:
    pairs = bench.index.moving()
    if pairs:
        bench.format.move_mailboxes(bench.root, pairs)
        with bench.index.settling():
            bench.index.clear_moving()


class _Settling:
    """One round of renames and removals of message files."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._boxes: dict[int, tuple[BoxRow, FlagNames]] = {}
        self._stamps: dict[int, str] = {}
        self._placed: list[tuple[MessageRow, int, bytes]] = []
        self._lost: list[int] = []
        self._left: dict[bytes, list[MessageRow]] = defaultdict(list)  # by the mailboxes that they are to leave
        self._hunted: set[int] = set()
        self._emptied: list[int] = []
        self.failed: dict[int, StoreError] = {}
        self._touched: dict[bytes, set[int]] = defaultdict(set)  # directory: keys of what was done there

    def run(self, most: int) -> None:
        for row in self._bench.index.pending(most):
            self._rename(row)
        for folder, rows in self._left.items():
            self._fetch(folder, rows)
        self._remove(self._bench.index.graves(most))
        for directory, keys in self._touched.items():
            self._make_durable(directory, keys)

    def _box(self, box: int) -> tuple[BoxRow, FlagNames]:
        if box not in self._boxes:
            row = self._bench.box(box)
            self._boxes[box] = row, self._bench.names(row)
            self._stamps[box] = stamp_of(self._bench, row)
        return self._boxes[box]

    def _rename(self, row: MessageRow) -> None:
        box, names = self._box(row.id >> 32)
        try:
            self._placed.append((row, CUR, self._into_cur(box, names, row)))
        except FileNotFoundError:
            folder = os.path.dirname(os.path.dirname(path_of(self._bench, box, row)))
            if row.place == ELSEWHERE and not _is_in_tmp(row):
                self._left[folder].append(row)
            else:
                self._lost.append(row.id)  # rule 2
        except OSError as error:
            self._fail(row.id, error)

    def _fetch(self, folder: bytes, rows: list[MessageRow]) -> None:
        """Move messages whose files another program renamed in the meantime (rule 2)."""
        try:
            missing = _hunt(folder, {maildir.base_of(row.file): row for row in rows}, self._bring)
        except OSError as error:
            for row in rows:
                self._fail(row.id, error)
            return
        self._lost += [row.id for row in missing.values()]

    def _bring(self, row: MessageRow, path: bytes) -> None:
        box, names = self._box(row.id >> 32)
        name = target_name(names, row)
        # It keeps the flags that it has now, under a row that knows it by another name: so the next look merges them.
        changed = set(maildir.letters_of(row.file)) ^ set(maildir.letters_of(path))
        flags = {letter for letter in changed if not _is_keyword(letter)}
        letters = maildir.letters_of(name)
        wanted = maildir.with_letters(maildir.base_of(name), bytes(set(letters) ^ flags))
        base = maildir.base_of(self._renamed(row, path, box, wanted))
        self._placed.append((row, CUR, maildir.with_letters(base, letters)))
        self._hunted.add(row.id >> 32)

    def _into_cur(self, box: BoxRow, names: FlagNames, row: MessageRow) -> bytes:
        return self._renamed(row, path_of(self._bench, box, row), box, target_name(names, row))

    def _renamed(self, row: MessageRow, source: bytes, box: BoxRow, name: bytes) -> bytes:
        """Bring a file to the cur/ of a mailbox, by that name or another one where it cannot have that; its name."""
        folder = self._bench.folder(box) + b"/cur"
        if maildir.is_too_long(name):
            name = self._other_name(row, name)
        if source == folder + b"/" + name:
            return name
        try:
            if not maildir.rename_aside(source, folder + b"/" + name):
                name = self._other_name(row, name)
                os.rename(source, folder + b"/" + name)
        except FileNotFoundError:
            if not os.path.lexists(folder + b"/" + name):
                raise
        self._touched[folder].add(row.id)
        if not _is_in_tmp(row):
            # A name that comes back in tmp/ is nobody's message, and goes with what deliveries leave there.
            self._touched[os.path.dirname(source)].add(row.id)
        return name

    def _other_name(self, row: MessageRow, name: bytes) -> bytes:
        """A name for a file whose own is too long, or taken by a second file of the same base."""
        base = maildir.new_base(self._bench.now, row.octets, row.size)
        base = base if row.octets else base.partition(b",")[0]
        return maildir.with_letters(base, maildir.letters_of(name))

    def _remove(self, graves: list[tuple[int, bytes]]) -> None:
        missing: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        for box in {key >> 32 for key, _ in graves}:
            self._box(box)  # its stamp before that
        for key, file in graves:
            path = self._bench.root + b"/" + file
            directory = os.path.dirname(path)
            try:
                os.unlink(path)
            except FileNotFoundError:
                missing[os.path.dirname(directory)].append((key, maildir.base_of(path)))
            except OSError as error:
                self._fail(key, error)
                continue
            self._touched[directory].add(key)
            self._emptied.append(key)
        self._hunted |= {key >> 32 for wanted in missing.values() for key, _ in wanted}
        for folder, wanted in missing.items():
            self._remove_renamed(folder, {base: key for key, base in wanted})

    def _remove_renamed(self, folder: bytes, wanted: dict[bytes, int]) -> None:
        """Remove expunged files that another program renamed in the meantime, or they would come as new ones."""

        def remove(key: int, path: bytes) -> None:
            os.unlink(path)
            self._touched[os.path.dirname(path)].add(key)

        try:
            _hunt(folder, wanted, remove)
        except OSError as error:
            for key in wanted.values():
                self._fail(key, error)

    def _make_durable(self, directory: bytes, keys: set[int]) -> None:
        try:
            maildir.sync_directory(directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            for key in keys:
                self._fail(key, error)

    def _fail(self, key: int, error: OSError) -> None:
        self.failed[key] = explained(error)
        log.warning("a change of a message file is put off: %s", self.failed[key].reason)

    def write_down(self) -> None:
        index = self._bench.index
        with index.settling():
            index.relocate([place for place in self._placed if place[0].id not in self.failed])
            index.give_up(self._lost)
            index.fill_graves([key for key in self._emptied if key not in self.failed])
            lost_in = {key >> 32 for key in self._lost} | self._hunted
            for box, (row, _) in self._boxes.items():
                index.update_box(box, **stamp_after(self._bench, row, "" if box in lost_in else self._stamps[box]))


def _hunt(folder: bytes, wanted: dict[bytes, Wanted], deed: Callable[[Wanted, bytes], None]) -> dict[bytes, Wanted]:
    """Do something with the files of these base names, by their paths; what was not found. Raises OSError."""
    left = dict(wanted)
    with contextlib.suppress(FileNotFoundError):  # the folder itself is gone, and the files with it
        for listed in maildir.looks(folder):
            for place, name in listed:
                base = maildir.base_of(name)
                if base in left:
                    with contextlib.suppress(FileNotFoundError):  # renamed once more: the next look finds it
                        deed(left[base], b"/".join([folder, maildir.PLACES[place], name]))
                        del left[base]
            if not left:
                break
    return left


def _is_in_tmp(row: MessageRow) -> bool:
    return row.place == ELSEWHERE and row.file.startswith(b"tmp/")


def _is_keyword(letter: int) -> bool:
    return 0x61 <= letter <= 0x7A


def stamp_after(bench: Bench, box: BoxRow, before: str) -> dict[str, object]:
    """What to write of a mailbox after we have renamed files into, in or from its cur/, which had that stamp before.

    Our own renames change the stamp of cur/: it is followed where it was known before, but with a doubt.
    """
    if not box.cur_stamp or before != box.cur_stamp:
        return {"cur_stamp": ""}
    return {"cur_stamp": stamp_of(bench, box), "doubt": box.doubt or bench.now}


def path_of(bench: Bench, box: BoxRow, row: MessageRow) -> bytes:
    """Where the file of a message lies, as far as the index knows."""
    return bench.root + b"/" + maildir.relative_path(box.directory, row.place, row.file)


def target_name(names: FlagNames, row: MessageRow) -> bytes:
    """The name in cur/ that the file of a message is to have."""
    before = maildir.letters_of(row.file)
    if row.place == maildir.ELSEWHERE:
        # Small letters are keywords of the folder it comes from. Kept, they would be others here; and once this folder
        # has such a letter the name comes out otherwise, so that a crash would leave a file that nobody expects.
        before = bytes([letter for letter in before if not _is_keyword(letter)])
    return maildir.with_letters(row.base or maildir.base_of(row.file), names.letters(row.mask, before))


def stamp_of(bench: Bench, box: BoxRow) -> str:
    """The stamp of the cur/ of a mailbox."""
    try:
        return maildir.stamp(bench.folder(box) + b"/cur")[0]
    except FileNotFoundError:
        return ""
