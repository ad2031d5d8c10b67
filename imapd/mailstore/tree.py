"""The tree of mailboxes: finding, making, deleting, renaming them. Under the account's lock, in a disk thread.

What lies on disk is the format's (mailstore/formats); a folder here is what that makes of a mailbox. A mailbox is a
folder that has a row in the index. Folders that other programs made get a row when they are first seen,
rows whose folder is gone are dropped. Every mailbox gets a UIDVALIDITY that is higher than any that the account gave
before, also when the clock runs back or the index is lost: the last one is kept in `imapd-uidvalidity` beside it.
One that another server has given is taken over, with its UIDs (mailstore/foreign).

Crashes: CREATE makes the folder before its row, which the next look gives it. DELETE renames the folder to a name
outside the tree before its row goes; what lies there is removed then or when the account is next opened. RENAME
commits the new names together with the list of directories to rename (mailstore/settle).
"""

import contextlib
import os
from functools import partial
from typing import Final

from imapd.mailstore import maildir, rendered
from imapd.mailstore.bench import Bench, log
from imapd.mailstore.diskname import INBOX_DIRECTORY
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
from imapd.mailstore.rows import TAKING, BoxRow, Given
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
    if box is None or not bench.format.is_mailbox(bench.root, box.directory):
        discover(bench)
        box = bench.index.box_named(name)
    if box is None:
        raise NoSuchMailbox(name)
    if not bench.format.is_mailbox(bench.root, box.directory):
        raise Retry(reason=f"the directory of {name!r} could not be renamed yet")
    return bench.format.follow(bench, box)


def discover(bench: Bench) -> frozenset[bytes]:
    """Make rows and folders agree; the folders that cannot get a row, because their name is taken or is none."""
    bench.format.settle(bench)
    if not bench.format.is_there(bench.root):
        bench.format.make_mailbox(bench.root, INBOX_DIRECTORY, bench.settings)
    on_disk = _directories(bench)
    rows = bench.index.boxes()
    gone = [row for row in rows if row.directory not in on_disk]
    taken = {row.name for row in rows if row.directory in on_disk}
    new: dict[str, bytes] = {}
    unfit: set[bytes] = set()
    for directory in sorted(on_disk - {row.directory for row in rows}, key=partial(_ours_first, bench)):
        name = bench.format.name_of(directory)
        if name is None or name in taken or name in new:
            unfit.add(directory)
        else:
            new[name] = directory
    if gone or new:
        given = {name: bench.format.given(bench, directory) for name, directory in new.items()}
        uidvalidities = _uidvalidities(bench, given)
        uses = {name: use for use, name in bench.settings.special_use}
        with bench.index.transaction():
            for row in gone:
                bench.index.drop_box(row.id)
            for name, directory in new.items():
                before = given[name]
                stamp = TAKING + before.stamp if before.uidvalidity else before.stamp
                box = bench.index.add_box(name, directory, uidvalidities[name], uses.get(name, ""), stamp)
                if before.modseq > 1:
                    bench.index.update_box(box, modseq=before.modseq)
                    bench.index.set_forgotten(box, before.modseq)
        bench.changed |= {bench.folder(row) for row in gone}
    return frozenset(unfit)


def _uidvalidities(bench: Bench, given: dict[str, Given]) -> dict[str, int]:
    """The UIDVALIDITY of each new mailbox: what it had before, or a new one."""
    known = {name: before.uidvalidity for name, before in given.items() if before.uidvalidity}
    fresh = [name for name in given if name not in known]
    first = reserve_uidvalidity(bench, len(fresh), max(known.values(), default=0))
    return known | {name: uidvalidity for uidvalidity, name in enumerate(fresh, first)}


def _directories(bench: Bench) -> set[bytes]:
    """The directories of all mailboxes; those that could not be renamed yet are taken for where they belong."""
    found = bench.format.directories(bench.root)
    for source, target in bench.index.moving():
        if bench.format.is_taken(bench.root, source) and not bench.format.is_taken(bench.root, target):
            found = found - {source} | {target}
    return found


def _ours_first(bench: Bench, directory: bytes) -> tuple[bool, bytes]:
    """Of two directories that mean the same name, the one spelled as we would has it."""
    name = bench.format.name_of(directory)
    try:
        return name is None or bench.format.directory_of(bench.root, name) != directory, directory
    except BadMailboxName:
        return True, directory


def reserve_uidvalidity(bench: Bench, count: int, known: int = 0) -> int:
    """The first of `count` UIDVALIDITY values that were never given in this account; `known` was given elsewhere."""
    path = bench.root + b"/" + UIDVALIDITY_FILE
    first = max(1, int(bench.now), bench.index.last_uidvalidity() + 1, last_given(bench.root) + 1, known + 1)
    if first + count > _HIGHEST_UIDVALIDITY:
        raise LimitExceeded("The account has no UIDVALIDITY left.")
    if count or known:
        data = b"%d\n" % (first + count - 1)
        maildir.write_whole(path, data, bench.scratch(), bench.settings.file_mode)
    return first


def renumber(bench: Bench, boxes: list[BoxRow]) -> None:
    """Give mailboxes a new UIDVALIDITY: what their UIDs meant is not known any more."""
    first = reserve_uidvalidity(bench, len(boxes))
    with bench.index.transaction():
        for uidvalidity, box in enumerate(boxes, first):
            bench.index.update_box(box.id, uidvalidity=uidvalidity, new_stamp="", cur_stamp="")
            bench.index.set_last_uidvalidity(uidvalidity)
    for box in boxes:
        log.error("the index knows less of %r than was given out: its UIDVALIDITY is new", box.name)
        bench.changed.add(bench.folder(box))


def last_given(root: bytes) -> int:
    """The last UIDVALIDITY that was given, as it is written down beside the index; 0 where it is not."""
    try:
        fd = maildir.open_message(root + b"/" + UIDVALIDITY_FILE)
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
    directory = bench.format.directory_of(bench.root, name)
    discover(bench)
    if bench.index.box_named(name) is not None:
        raise MailboxExists(name)
    uidvalidity = reserve_uidvalidity(bench, 1)
    was_there = bench.format.is_taken(bench.root, directory)
    try:
        bench.format.make_mailbox(bench.root, directory, bench.settings)
        with bench.index.transaction():
            bench.index.add_box(name, directory, uidvalidity, " ".join(special_use))
    except (OSError, StoreError):
        if not was_there:
            _put_away(bench, directory, DELETED + b"%d" % uidvalidity)
        raise


def _put_away(bench: Bench, directory: bytes, outside: bytes) -> None:
    with contextlib.suppress(OSError):
        bench.format.move_mailboxes(bench.root, [(directory, outside)])
        bench.format.remove_mailbox(bench.root, outside)


def delete(bench: Bench, name: str) -> None:
    """Delete a mailbox. Raises NoSuchMailbox, HasChildren, Denied."""
    if name == names.INBOX:
        raise Denied("INBOX cannot be deleted.")
    discover(bench)
    box = bench.index.box_named(name)
    if box is None:
        raise HasChildren(name) if _below(bench, name) else NoSuchMailbox(name)
    bench.format.check_settled(bench, [box])
    outside = DELETED + b"%d" % box.uidvalidity
    try:
        bench.format.move_mailboxes(bench.root, [(box.directory, outside)])
        with bench.index.transaction():
            bench.index.drop_box(box.id)
    except (OSError, StoreError):
        with contextlib.suppress(OSError):
            bench.format.move_mailboxes(bench.root, [(outside, box.directory)])
        raise
    bench.format.remove_mailbox(bench.root, outside)


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
    bench.format.check_settled(bench, rows)
    targets = [new + row.name[len(old) :] for row in rows]
    for target in targets:
        check_new(target)
    directories = [bench.format.directory_of(bench.root, target) for target in targets]
    if any(bench.format.is_taken(bench.root, directory) for directory in directories):
        raise MailboxExists(new)  # something that is no folder lies there
    moving = [(row.directory, directory) for row, directory in zip(rows, directories, strict=True)]
    with bench.index.transaction():
        for row, target, directory in zip(rows, targets, directories, strict=True):
            bench.index.update_box(row.id, name=target, directory=directory)
        bench.index.add_moving(moving)
    refused = bench.format.settle(bench).of_all
    if refused is not None and bench.index.moving():
        _take_back(bench, rows, moving)
        raise refused
    bench.changed |= {bench.format.folder(bench.root, directory) for directory in directories}


def _take_back(bench: Bench, rows: list[BoxRow], moving: list[tuple[bytes, bytes]]) -> None:
    """Undo a rename. Raises UnknownOutcome where that cannot be done."""
    try:
        bench.format.move_mailboxes(bench.root, [(target, source) for source, target in moving])
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
    directory = bench.format.directory_of(bench.root, name)
    if bench.format.is_taken(bench.root, directory):
        raise MailboxExists(name)
    uidvalidity = reserve_uidvalidity(bench, 1)
    fresh = FRESH + b"%d" % uidvalidity
    bench.format.make_mailbox(bench.root, fresh, bench.settings)
    return fresh, directory, uidvalidity


def sweep(bench: Bench) -> None:
    """Remove what crashes left behind: deleted folders, folders that never appeared, old files in tmp/. And what nobody
    asks for any more: the tombstones of long ago."""
    bench.format.settle(bench)
    boxes = bench.index.boxes()
    for box in boxes:
        bench.index.forget(box.id, TOMBSTONES)
    rendered.sweep(bench.root, [(box.id, box.uidvalidity) for box in boxes])
    promised = {source for source, _ in bench.index.moving()}
    for directory in bench.format.leftovers(bench.root, (DELETED, FRESH)):
        if directory not in promised:
            bench.format.remove_mailbox(bench.root, directory)
    waiting = {row.file for row in bench.index.pending()}
    for path in maildir.stale_files(bench.root + b"/tmp", bench.now):
        if b"tmp/" + os.path.basename(path) not in waiting:
            log.info("removing an abandoned file from tmp: %r", os.path.basename(path))
            with contextlib.suppress(OSError):
                maildir.discard(path)
