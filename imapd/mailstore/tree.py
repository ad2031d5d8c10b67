"""The tree of mailboxes: finding, making, deleting, renaming folders. Under the account's lock, in a disk thread.

A mailbox is a folder that has a row in the index. Folders that other programs made get a row when they are first seen,
rows whose folder is gone are dropped. Every mailbox gets a UIDVALIDITY that is higher than any that the account gave
before, also when the clock runs back or the index is lost: the last one is kept in `imapd-uidvalidity` beside it.

Crashes: CREATE makes the folder before its row, which the next look gives it. DELETE renames the folder to a name
outside the tree before its row goes; what lies there is removed then or when the account is next opened. RENAME
commits the new names together with the list of directories to rename (mailstore/settle).
"""

import contextlib
import os
from typing import Final

from imapd.mailstore import maildir
from imapd.mailstore.bench import Bench, folder_path, log
from imapd.mailstore.diskname import INBOX_DIRECTORY, directory_of, name_of
from imapd.mailstore.errors import (
    BadMailboxName,
    Denied,
    HasChildren,
    LimitExceeded,
    MailboxExists,
    NoSuchMailbox,
    Retry,
    StoreError,
    UnknownOutcome,
)
from imapd.mailstore.rows import BoxRow
from imapd.mailstore.settle import settle
from imapd.model import names

UIDVALIDITY_FILE: Final = b"imapd-uidvalidity"
DELETED: Final = b"imapd-deleted-"
FRESH: Final = b"imapd-new-"
TOMBSTONES: Final = 20_000
"""Expunged messages that each mailbox remembers; a session that slept longer reads the mailbox as a whole."""
_HIGHEST_UIDVALIDITY: Final = 0xFFFFFFFF


def find(bench: Bench, name: str) -> BoxRow:
    """The mailbox of that name, whose folder is there. Raises NoSuchMailbox."""
    box = bench.index.box_named(name)
    if box is None or not maildir.is_folder(bench.folder(box)):
        discover(bench)
        box = bench.index.box_named(name)
    if box is None:
        raise NoSuchMailbox(name)
    if not maildir.is_folder(bench.folder(box)):
        raise Retry(reason=f"the directory of {name!r} could not be renamed yet")
    return box


def discover(bench: Bench) -> frozenset[bytes]:
    """Make rows and folders agree; the folders that cannot get a row, because their name is taken or is none."""
    settle(bench)
    if not maildir.is_folder(bench.root):
        maildir.make_folder(bench.root, bench.settings.dir_mode, inbox=True)
    on_disk = _directories(bench)
    rows = bench.index.boxes()
    gone = [row for row in rows if row.directory not in on_disk]
    taken = {row.name for row in rows if row.directory in on_disk}
    new: dict[str, bytes] = {}
    unfit: set[bytes] = set()
    for directory in sorted(on_disk - {row.directory for row in rows}, key=_ours_first):
        name = name_of(directory)
        if name is None or name in taken or name in new:
            unfit.add(directory)
        else:
            new[name] = directory
    if gone or new:
        first = _reserve_uidvalidity(bench, len(new))
        uses = {name: use for use, name in bench.settings.special_use}
        with bench.index.transaction():
            for row in gone:
                bench.index.drop_box(row.id)
            for uidvalidity, (name, directory) in enumerate(new.items(), first):
                bench.index.add_box(name, directory, uidvalidity, uses.get(name, ""))
        bench.changed |= {bench.folder(row) for row in gone}
    return frozenset(unfit)


def _directories(bench: Bench) -> set[bytes]:
    """The directories of all mailboxes; those that could not be renamed yet are taken for where they belong."""
    found = {INBOX_DIRECTORY, *maildir.folders(bench.root)}
    for source, target in bench.index.moving():
        if os.path.lexists(bench.root + b"/" + source) and not os.path.lexists(bench.root + b"/" + target):
            found = found - {source} | {target}
    return found


def _ours_first(directory: bytes) -> tuple[bool, bytes]:
    """Of two directories that mean the same name, the one spelled as we would has it."""
    name = name_of(directory)
    try:
        return name is None or directory_of(name) != directory, directory
    except BadMailboxName:
        return True, directory


def _reserve_uidvalidity(bench: Bench, count: int) -> int:
    """The first of `count` UIDVALIDITY values that were never given in this account."""
    path = bench.root + b"/" + UIDVALIDITY_FILE
    first = max(1, int(bench.now), bench.index.last_uidvalidity() + 1, _read_number(path) + 1)
    if first + count > _HIGHEST_UIDVALIDITY:
        raise LimitExceeded("The account has no UIDVALIDITY left.")
    if count:
        data = b"%d\n" % (first + count - 1)
        maildir.write_whole(path, data, bench.scratch(), bench.settings.file_mode)
    return first


def renumber(bench: Bench, boxes: list[BoxRow]) -> None:
    """Give mailboxes a new UIDVALIDITY: what their UIDs meant is not known any more."""
    first = _reserve_uidvalidity(bench, len(boxes))
    with bench.index.transaction():
        for uidvalidity, box in enumerate(boxes, first):
            bench.index.update_box(box.id, uidvalidity=uidvalidity, new_stamp="", cur_stamp="")
            bench.index.set_last_uidvalidity(uidvalidity)
    for box in boxes:
        log.error("the index knows less of %r than was given out: its UIDVALIDITY is new", box.name)
        bench.changed.add(bench.folder(box))


def _read_number(path: bytes) -> int:
    try:
        fd = maildir.open_message(path)
    except FileNotFoundError:
        return 0
    try:
        text = os.read(fd, 32).strip()
    finally:
        os.close(fd)
    number = int(text) if text.isdigit() else 0
    return number if number < _HIGHEST_UIDVALIDITY else 0


def create(bench: Bench, name: str, special_use: tuple[str, ...]) -> None:
    """Make a mailbox. Raises MailboxExists, BadMailboxName."""
    directory = directory_of(name)
    discover(bench)
    if bench.index.box_named(name) is not None:
        raise MailboxExists(name)
    path = folder_path(bench.root, directory)
    uidvalidity = _reserve_uidvalidity(bench, 1)
    was_there = os.path.lexists(path)
    try:
        maildir.make_folder(path, bench.settings.dir_mode)
        maildir.sync_directory(bench.root)
        with bench.index.transaction():
            bench.index.add_box(name, directory, uidvalidity, " ".join(special_use))
    except (OSError, StoreError):
        if not was_there:
            _put_away(bench, path, DELETED + b"%d" % uidvalidity)
        raise


def _put_away(bench: Bench, path: bytes, outside: bytes) -> None:
    with contextlib.suppress(OSError):
        os.rename(path, bench.root + b"/" + outside)
        maildir.remove_tree(bench.root + b"/" + outside)


def delete(bench: Bench, name: str) -> None:
    """Delete a mailbox. Raises NoSuchMailbox, HasChildren, Denied."""
    if name == names.INBOX:
        raise Denied("INBOX cannot be deleted.")
    discover(bench)
    box = bench.index.box_named(name)
    if box is None:
        raise HasChildren(name) if _below(bench, name) else NoSuchMailbox(name)
    _check_settled(bench, [box])
    folder = bench.folder(box)
    outside = bench.root + b"/" + DELETED + b"%d" % box.uidvalidity
    os.rename(folder, outside)
    try:
        maildir.sync_directory(bench.root)
        with bench.index.transaction():
            bench.index.drop_box(box.id)
    except (OSError, StoreError):
        with contextlib.suppress(OSError):
            os.rename(outside, folder)
        raise
    with contextlib.suppress(OSError):
        os.utime(outside)  # rings the bells of those who watch it, before it goes
    maildir.remove_tree(outside)


def _below(bench: Bench, name: str) -> list[BoxRow]:
    return [row for row in bench.index.boxes() if names.is_below(row.name, name)]


def _exists(bench: Bench, name: str) -> bool:
    return bench.index.box_named(name) is not None or bool(_below(bench, name))


def rename(bench: Bench, old: str, new: str) -> None:
    """Rename a mailbox and what is below it. Raises NoSuchMailbox, MailboxExists, BadMailboxName."""
    discover(bench)
    if not _exists(bench, old):
        raise NoSuchMailbox(old)
    check_free(bench, new)
    if names.is_below(new, old):
        raise BadMailboxName(new, "A mailbox cannot be moved below itself.")
    rows = [row for row in bench.index.boxes() if row.name == old or names.is_below(row.name, old)]
    _check_settled(bench, rows)
    targets = [new + row.name[len(old) :] for row in rows]
    for target in targets:
        check_new(target)
    directories = [directory_of(target) for target in targets]
    for directory in directories:
        if os.path.lexists(folder_path(bench.root, directory)):
            raise MailboxExists(new)  # something that is no folder lies there
    moving = [(row.directory, directory) for row, directory in zip(rows, directories, strict=True)]
    with bench.index.transaction():
        for row, target, directory in zip(rows, targets, directories, strict=True):
            bench.index.update_box(row.id, name=target, directory=directory)
        bench.index.add_moving(moving)
    refused = settle(bench).of_all
    if refused is not None and bench.index.moving():
        _take_back(bench, rows, moving)
        raise refused
    bench.changed |= {folder_path(bench.root, directory) for directory in directories}


def _check_settled(bench: Bench, boxes: list[BoxRow]) -> None:
    """Raise Retry where the disk refuses to take a file out of these directories that belongs elsewhere or nowhere."""
    waiting = [row.file for row in bench.index.pending() if row.place == maildir.ELSEWHERE]
    waiting += [file for _, file in bench.index.graves()]
    if {file.rpartition(b"/")[0].rpartition(b"/")[0] for file in waiting} & {box.directory for box in boxes}:
        raise Retry(code="UNAVAILABLE", reason="files that were moved or expunged could not be taken away yet")


def _take_back(bench: Bench, rows: list[BoxRow], moving: list[tuple[bytes, bytes]]) -> None:
    """Undo a rename. Raises UnknownOutcome where that cannot be done."""
    try:
        for source, target in moving:
            old, new = bench.root + b"/" + source, bench.root + b"/" + target
            if not os.path.lexists(old):
                os.rename(new, old)
        with bench.index.transaction():
            for row in rows:
                bench.index.update_box(row.id, name=row.name, directory=row.directory)
            bench.index.clear_moving()
    except (OSError, StoreError) as error:
        raise UnknownOutcome(reason=str(error)) from error


def check_free(bench: Bench, name: str) -> None:
    """Raise MailboxExists or BadMailboxName where a mailbox cannot come to have that name."""
    discover(bench)
    check_new(name)
    if _exists(bench, name):
        raise MailboxExists(name)


def check_new(name: str) -> None:
    """Raise BadMailboxName where no mailbox may be given that name."""
    try:
        names.check_new(name)
    except names.BadName as wrong:
        raise BadMailboxName(name, str(wrong)) from None


def begin_mailbox(bench: Bench, name: str) -> tuple[bytes, bytes, int]:
    """A complete folder outside the tree, for a mailbox that is to appear by a commit: its path now, then, and its
    UIDVALIDITY."""
    directory = directory_of(name)
    if os.path.lexists(folder_path(bench.root, directory)):
        raise MailboxExists(name)
    uidvalidity = _reserve_uidvalidity(bench, 1)
    fresh = FRESH + b"%d" % uidvalidity
    maildir.make_folder(bench.root + b"/" + fresh, bench.settings.dir_mode)
    return fresh, directory, uidvalidity


def sweep(bench: Bench) -> None:
    """Remove what crashes left behind: deleted folders, folders that never appeared, old files in tmp/. And what nobody
    asks for any more: the tombstones of long ago."""
    settle(bench)
    for box in bench.index.boxes():
        bench.index.forget(box.id, TOMBSTONES)
    promised = {source for source, _ in bench.index.moving()}
    for entry in os.listdir(bench.root):
        if entry.startswith((DELETED, FRESH)) and entry not in promised:
            maildir.remove_tree(bench.root + b"/" + entry)
    waiting = {row.file for row in bench.index.pending()}
    for path in maildir.stale_files(bench.root + b"/tmp", bench.now):
        if b"tmp/" + os.path.basename(path) not in waiting:
            log.info("removing an abandoned file from tmp: %r", os.path.basename(path))
            with contextlib.suppress(OSError):
                maildir.discard(path)
