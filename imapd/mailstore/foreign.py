"""What another server left in the folder of a mailbox: its UIDs, so that clients need not download anything again.

Dovecot and Courier keep a list of UIDs in each folder (mailstore/uidlists). When a folder is seen for the first time,
UIDVALIDITY and UIDs are taken from there. Later the list is looked at again whenever it has changed, for then the other
server has served the mailbox in between. A mailbox remembers the stamp of the list it agrees with in `uidlist_stamp`.

Rules:

1. A UID never comes to mean another message. Where the list gives a message a UID that may have been another one's
   here, under the same UIDVALIDITY, the mailbox gets a new one.
2. Otherwise the list is right: messages get its UIDs, also those that had others here.
3. A list with a lower UIDVALIDITY than the mailbox has was left behind by us, and says nothing any more.
4. While a mailbox's `uidlist_stamp` begins with TAKING, files that it has no rows for get their UIDs from the list, in
   its order; those that are not on it get theirs after, from the list's next UID on.
5. Of two lists the one that knows more of the files counts; Dovecot's, if they know the same.
6. The list itself is only read. `imapd export-uidlist` writes one (mailstore/export).
"""

import os
import re
from typing import Final

from imapd.mailstore import maildir
from imapd.mailstore.bench import Bench, log
from imapd.mailstore.rows import ABSENT, TAKING, UNKNOWN, BoxRow, Given, MessageRow, message_id
from imapd.mailstore.tree import reserve_uidvalidity
from imapd.mailstore.uidlists import COURIER, DOVECOT, UidList, read_courier, read_dovecot

_LONGEST: Final = 256 * 1024 * 1024
_READERS: Final = {DOVECOT: read_dovecot, COURIER: read_courier}
_OUR_NAME: Final = re.compile(rb"\d+\.M\d{6}P\d+Q\d+R[0-9a-f]{8}\.")


def stamp(folder: bytes) -> str:
    """What changes when a list in the folder changes. Quick."""
    stamps = []
    for name in _READERS:
        try:
            seen = os.lstat(folder + b"/" + name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        stamps.append(f"{seen.st_ino}.{seen.st_size}.{seen.st_mtime_ns}")
    return " ".join(stamps) or ABSENT


def at_first_sight(folder: bytes) -> Given:
    """The UIDs that a folder without rows had elsewhere.

    A message that was stored by us, and is on no list, says that we have served the folder since.
    """
    seen = stamp(folder)
    files = _bases(folder) if seen != ABSENT else set()
    listed = _best(folder, files)
    if listed is None or any(_OUR_NAME.match(base) for base in files - listed.uids.keys()):
        return Given(0, 1, {}, seen)
    return Given(listed.uidvalidity, listed.uidnext, listed.uids, seen)


def to_take(bench: Bench, box: BoxRow) -> Given | None:
    """The UIDs that files of a mailbox get when they are taken in; None where there are none to be had (rule 4)."""
    if not box.uidlist_stamp.startswith(TAKING):
        return None
    folder = bench.folder(box)
    listed = _best(folder, _bases(folder))
    return Given(listed.uidvalidity, listed.uidnext, listed.uids, box.uidlist_stamp) if listed else None


def read_list(folder: bytes, name: bytes) -> UidList | None:
    """A list of a folder; None where it is not there or is no use."""
    try:
        fd = maildir.open_message(folder + b"/" + name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        log.warning("the UIDs in %r cannot be read: %s", folder + b"/" + name, error.strerror)
        return None
    with os.fdopen(fd, "rb") as file:
        listed = _READERS[name](file.read(_LONGEST))
    if listed is None or listed.left_out:
        lost = "all of it" if listed is None else f"{listed.left_out} lines"
        log.warning("%r is damaged: %s cannot be read, and those messages get new UIDs", folder + b"/" + name, lost)
    return listed


def _best(folder: bytes, files: set[bytes]) -> UidList | None:
    """The list that counts (rule 5)."""
    lists = [listed for name in _READERS if (listed := read_list(folder, name)) is not None]
    return max(lists, key=lambda listed: len(files & listed.uids.keys()), default=None)


def _bases(folder: bytes) -> set[bytes]:
    return {maildir.base_of(name) for place in maildir.PLACES for name in maildir.listing(folder + b"/" + place)}


def follow(bench: Bench, box: BoxRow) -> BoxRow:
    """The mailbox, made to agree with a list that has changed; with another id where it was numbered anew.

    Raises Retry where that cannot be done now.
    """
    folder = bench.folder(box)
    seen = stamp(folder)
    if box.uidlist_stamp in (seen, TAKING + seen):
        return box
    files = _bases(folder)
    listed = _best(folder, files) if box.uidlist_stamp != UNKNOWN else None
    if listed is None or (listed.uidvalidity < box.uidvalidity and box.uidnext > 1):  # rule 3
        return _stamped(bench, box, seen)
    rows = bench.index.rows(box.id)
    if listed.uidvalidity == box.uidvalidity:
        if _contradicts(box, rows, listed, files):  # rule 1
            log.error("the UIDs of %r were given to other messages elsewhere: its UIDVALIDITY is new", box.name)
            return _numbered(bench, box, rows, listed, reserve_uidvalidity(bench, 1), seen)
        if all(listed.uids.get(_base(row), row.uid) == row.uid for row in rows):
            return _stamped(bench, box, TAKING + seen)
    log.info("%r was served by another server, and takes over its UIDs", box.name)
    return _numbered(bench, box, rows, listed, listed.uidvalidity, seen)


def _base(row: MessageRow) -> bytes:
    return row.base or maildir.base_of(row.file)


def _contradicts(box: BoxRow, rows: list[MessageRow], listed: UidList, files: set[bytes]) -> bool:
    """Whether the list gives a file a UID that was given here, and not to this file."""
    ours = {_base(row): row.uid for row in rows}
    return any(
        uid < box.uidnext and ours.get(base) != uid
        for base, uid in listed.uids.items()
        if base in files or base in ours
    )


def _stamped(bench: Bench, box: BoxRow, seen: str) -> BoxRow:
    if box.uidlist_stamp == seen:
        return box
    with bench.index.settling():
        bench.index.update_box(box.id, uidlist_stamp=seen)
    return box._replace(uidlist_stamp=seen)


def _numbered(
    bench: Bench, box: BoxRow, rows: list[MessageRow], listed: UidList, uidvalidity: int, seen: str
) -> BoxRow:
    """The same mailbox with the UIDs of the list, under a new id, so that no session goes on believing old ones."""
    bench.format.settle(bench)
    bench.format.check_settled(bench, [box])
    known = sorted([(listed.uids[_base(row)], row) for row in rows if _base(row) in listed.uids])
    others = [row for row in rows if _base(row) not in listed.uids]
    uidnext = max(listed.uidnext, box.uidnext if uidvalidity == box.uidvalidity else 1)
    numbers = [*known, *enumerate(others, uidnext)]
    index = bench.index
    keywords = index.keywords(box.id)
    with index.transaction():
        index.drop_box(box.id)
        fresh = index.add_box(box.name, box.directory, uidvalidity, box.special_use, TAKING + seen)
        index.add_keywords(fresh, enumerate(keywords))
        index.insert([row._replace(id=message_id(fresh, uid), modseq=box.modseq + 1) for uid, row in numbers])
        index.update_box(fresh, uidnext=uidnext + len(others), modseq=box.modseq + 1, recent=uidnext - 1)
    bench.changed.add(bench.folder(box))
    return bench.box(fresh)
