"""Maildir as a kind of mail files (mailstore/formats): what sync, settle, changes and maildir do, under one name."""

import os
from collections.abc import Callable, Iterable, Sequence

from imapd.mailstore import (
    changes,
    diskname,
    export,
    floors,
    foreign,
    maildir,
    maildircheck,
    maildirmend,
    maildirread,
    maildirsize,
    rebuild,
    singles,
    sync,
    uidrecord,
)
from imapd.mailstore.bench import Bench, DiskSettings
from imapd.mailstore.errors import Retry, StoreError
from imapd.mailstore.findings import RECORD, Finding, Inventory, Sight
from imapd.mailstore.formats import Addressed, Failures, Read, Slice, Spooled
from imapd.mailstore.index import Index
from imapd.mailstore.maildir import folder_path
from imapd.mailstore.rows import BoxRow, Given, MessageRow, identity
from imapd.mailstore.settle import settle, settle_or_later, settle_some
from imapd.mailstore.store import Placed
from imapd.mailstore.strangers import Rest


class MaildirFormat:
    """A Maildir++: INBOX is the root itself, and every other mailbox a directory in it."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest: Rest | None = None  # of the last mailbox that could not be taken in at once

    # Quick

    def is_there(self, root: bytes) -> bool:
        return maildir.is_folder(root)

    def folder(self, root: bytes, directory: bytes) -> bytes:
        return folder_path(root, directory)

    def directories(self, root: bytes) -> set[bytes]:
        return {diskname.INBOX_DIRECTORY, *maildir.folders(root)}

    def is_mailbox(self, root: bytes, directory: bytes) -> bool:
        return maildir.is_folder(folder_path(root, directory))

    def is_taken(self, root: bytes, directory: bytes) -> bool:
        return os.path.lexists(folder_path(root, directory))

    def name_of(self, directory: bytes) -> str | None:
        return diskname.name_of(directory)

    def directory_of(self, root: bytes, name: str) -> bytes:
        return diskname.directory_of(name)

    def agrees(self, folder: bytes, box: BoxRow, now: float) -> bool:
        new = maildir.stamp(folder + b"/new")[0]
        cur = maildir.stamp(folder + b"/cur")[0]
        return all(sync.agrees(box, new, cur, now)) and self.knows_uids(folder, box)

    def has_work(self, index: Index, box: int) -> bool:
        return index.has_files_outside_cur(box)

    def lags(self, index: Index, box: int) -> bool:
        return False

    def watched(self, folder: bytes) -> list[bytes]:
        # new/ and cur/ for other programs; the folder itself, because every write touches its time.
        return [folder + b"/new", folder + b"/cur", folder]

    def open_message(self, root: bytes, box: BoxRow, row: MessageRow) -> Slice:
        fd, octets = maildir.open_sized(root + b"/" + maildir.relative_path(box.directory, row.place, row.file))
        return Slice(fd, 0, octets)

    def open_held(self, bench: Bench, box: int, uid: int, again: bool) -> tuple[MessageRow, Slice] | None:
        """None: nobody can be kept out of a Maildir."""
        if again:
            sync.take_in(bench, box, read_write=False, force=True)
        else:
            self.settle(bench)
        return None

    def read_together(
        self, root: bytes, box: BoxRow, rows: Sequence[MessageRow], most: int, read: Read
    ) -> list[bytearray]:
        return maildirread.read_together(folder_path(root, box.directory), rows, most, read)

    def knows_uids(self, folder: bytes, box: BoxRow) -> bool:
        return box.uidlist_stamp == foreign.stamp(folder)

    # The tree

    def given(self, bench: Bench, directory: bytes) -> Given:
        before = foreign.at_first_sight(folder_path(bench.root, directory))
        # A UIDVALIDITY that was in use here belonged to this folder before its row and record were lost: UIDs were
        # given that the list does not know.
        used = floors.known(bench.root + b"/" + floors.FILE).keys() - {box.uidvalidity for box in bench.index.boxes()}
        return before._replace(uidvalidity=0) if before.uidvalidity in used else before

    def follow(self, bench: Bench, box: BoxRow) -> BoxRow:
        return foreign.follow(bench, box)

    def hand_over(self, bench: Bench, box: int) -> int:
        while not self.take_in(bench, box, read_write=False):
            pass
        if failure := settle(bench).of_all:
            raise failure
        return export.write_uids(bench, bench.box(box))

    def make_mailbox(self, root: bytes, directory: bytes, settings: DiskSettings) -> None:
        maildir.make_folder(folder_path(root, directory), settings.dir_mode, inbox=not directory)
        maildir.sync_directory(root)

    def move_mailboxes(self, root: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        for source, target in pairs:
            old, new = folder_path(root, source), folder_path(root, target)
            if os.path.lexists(old) and not os.path.lexists(new):
                os.rename(old, new)
        maildir.sync_directory(root)

    def remove_mailbox(self, root: bytes, directory: bytes) -> None:
        path = folder_path(root, directory)
        maildirsize.forget(root)
        maildir.touch(path)
        maildir.remove_tree(path)

    def leftovers(self, root: bytes, prefixes: tuple[bytes, ...]) -> list[bytes]:
        return [entry for entry in os.listdir(root) if entry.startswith(prefixes)]

    def check_settled(self, bench: Bench, boxes: Sequence[BoxRow]) -> None:
        waiting = [row.file for row in bench.index.pending() if row.place == maildir.ELSEWHERE]
        waiting += [file for _, file in bench.index.graves()]
        if {file.rpartition(b"/")[0].rpartition(b"/")[0] for file in waiting} & {box.directory for box in boxes}:
            raise Retry(code="UNAVAILABLE", reason="files that were moved or expunged could not be taken away yet")

    def note_uids(self, bench: Bench, box: BoxRow, pairs: Sequence[tuple[int, bytes]]) -> None:
        path = bench.folder(box) + b"/" + uidrecord.FILE
        if not uidrecord.note(path, box.uidvalidity, pairs, box.messages):
            everything = dict(pairs)  # at a first sight they are all there are
            if not everything or not bench.index.is_all(box, everything):
                everything = {row.uid: identity(row) for row in bench.index.rows(box.id)}
            uidrecord.write_whole(path, box.uidvalidity, everything.items(), bench.scratch(), bench.settings.file_mode)

    def restore(self, bench: Bench, name: str, directory: bytes, before: BoxRow | None) -> bool:
        return rebuild.restore(bench, name, directory, before)

    def ring(self, folder: bytes) -> None:
        os.utime(folder)

    # Reading the truth back

    def examine(self, sight: Sight, told: Inventory) -> None:
        maildircheck.examine(sight, told)

    def mend(self, bench: Bench, box: int, findings: Sequence[Finding]) -> None:
        maildirmend.mend(bench, box, findings)
        if any(finding.fault == RECORD for finding in findings):
            maildir.discard(bench.folder(bench.box(box)) + b"/" + uidrecord.FILE)
            self.note_uids(bench, bench.box(box), ())

    # Messages

    def settle(self, bench: Bench, at_once: bool = True) -> Failures:
        return settle(bench) if at_once else settle_or_later(bench)

    def settle_some(self, bench: Bench) -> bool:
        return settle_some(bench)

    def take_in(self, bench: Bench, box: int, read_write: bool, force: bool = False) -> bool:
        self._rest = sync.take_in(bench, box, read_write, force, self._rest)
        return self._rest is None

    def make_durable(self, message: Spooled) -> None:
        changes.make_durable(message)

    appends_at_once = 32
    needs_files = True

    def append_each(
        self, bench: Bench, requests: Sequence[Addressed], admit: Callable[[Addressed], None]
    ) -> list[Placed | StoreError]:
        return singles.append_each(bench, requests, admit)

    def copy(self, bench: Bench, box: int, uids: Sequence[int], target: str) -> Placed:
        return changes.copy(bench, box, uids, target)

    def move(self, bench: Bench, box: int, uids: Sequence[int], target: str) -> Placed:
        return changes.move(bench, box, uids, target)

    def empty_inbox_into(self, bench: Bench, name: str) -> None:
        changes.empty_inbox_into(bench, name)

    def expunge(self, bench: Bench, box: int, uids: Sequence[int] | None) -> tuple[int, ...]:
        return changes.expunge(bench, box, uids)

    def after_flags(self, bench: Bench, box: int) -> None:
        bench.later = True

    def closed(self, bench: Bench, box: int) -> None:
        """Nothing: the files have it soon after `after_flags`."""
