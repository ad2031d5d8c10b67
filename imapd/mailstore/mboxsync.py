"""Taking in what other programs did to an mbox: deliveries, changed flags, removed messages, a whole other file.

The file is the truth about which messages there are and, where they changed since we looked, about flags; the index
is the truth about UIDs. Rules:

1. A message is known by its fingerprint (mailstore/mboxheader). Of several with the same one X-UID tells which is which
   where it is ours, and else their order.
2. Flags are merged three ways: the row remembers what the file said, so what another program added or took away is
   added to or taken from the flags in the index, whatever changed there meanwhile.
3. The grave of an expunged message stands for it as long as it is in the file, so it never comes back. Where fewer
   messages of one fingerprint are left than rows and graves, the living have them.
4. At the first sight of a mailbox the UIDs are those of X-UID, where X-IMAPbase says our UIDVALIDITY and they are
   unique and not above the last that it says. UIDs of later arrivals are not believed: anybody could write them.
5. When a file has only grown, and is large, only the tail is read; the whole is read again some time later, because
   another program may have done both, changed flags and added.
6. A look holds the mail file's lock. At first sight 10,000 messages are taken in at a time.
7. What we wrote ourselves under the lock is known without a look: the file gets times then that nobody's writing can
   leave (our_stamps).
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from imapd.mailstore.bench import Bench
from imapd.mailstore.errors import FileLocked, Gone
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.maildir import sync_directory
from imapd.mailstore.mboxcolumns import FirstColumns
from imapd.mailstore.mboxfile import Scan, read_head
from imapd.mailstore.mboxheader import Base, Head, parse
from imapd.mailstore.mboxlock import Locked, open_file
from imapd.mailstore.mboxrewrite import await_tick, is_half_written, locked, rewrite
from imapd.mailstore.mboxrows import (
    PART,
    Grave,
    Owed,
    Seen,
    Stranger,
    mask_in_file,
    new_rows,
    pack_mask,
    stranger_of,
)
from imapd.mailstore.mboxusual import HEADER_LIMIT
from imapd.mailstore.rows import BoxRow, MessageRow

AT_ONCE: Final = 10_000
LARGE: Final = 1 << 20
TICK: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Change:
    """A message that is in the file still, and what became of its row."""

    before: MessageRow
    after: MessageRow

    @property
    def is_told(self) -> bool:
        """Whether clients have to know of it."""
        return (self.before.mask, self.before.size) != (self.after.mask, self.after.size)


def agrees(path: bytes, box: BoxRow, now: float) -> bool:
    """Whether the rows agree with the file, as far as its times tell. Raises FileNotFoundError. Quick."""
    status = os.lstat(path)
    seen = Seen.read(box.new_stamp)
    if seen.last_uid or seen != Seen.of(status):
        return False
    if box.doubt and not 0 <= now - box.doubt < _patience(seen.end):
        return False
    return not (box.cur_stamp or is_half_written(path))


def _patience(octets: int) -> float:
    """How long a look at the tail alone is good for: a hundred times what the whole takes."""
    return max(10.0, octets / 2_000_000) if octets > LARGE else 0.0


def take_in(bench: Bench, box_id: int, words: Sequence[str], force: bool, columns: FirstColumns | None = None) -> bool:
    """Bring index and file together; False where there is more to take in (rule 6). Raises Gone, FileLocked.

    columns: what is kept of a first sight between its parts.
    """
    box = bench.box(box_id)
    path = bench.folder(box)
    try:
        if not force and agrees(path, box, bench.now):
            return True
        with locked(path, words, write=bool(box.cur_stamp)) as mail:
            return look(bench, box_id, mail, force, columns)
    except (FileNotFoundError, NotADirectoryError):
        if bench.format.is_mailbox(bench.root, box.directory):
            raise
        raise Gone from None


def look(bench: Bench, box_id: int, mail: Locked, force: bool = False, columns: FirstColumns | None = None) -> bool:
    """The same, for who holds the lock of the file; for writing, where the mailbox owes something."""
    box = bench.box(box_id)
    if box.cur_stamp:
        box = _pay(bench, box, mail)
    return _Look(bench, box, mail, columns).run(force)


def look_whole(bench: Bench, box_id: int, mail: Locked) -> BoxRow:
    """Take in everything; the mailbox as it is then."""
    box = bench.box(box_id)
    if agrees(mail.path, box, bench.now):
        return box
    while not look(bench, box_id, mail):
        pass
    return bench.box(box_id)


@contextmanager
def our_stamps(bench: Bench, box: BoxRow, mail: Locked) -> Iterator[dict[str, object]]:
    """What to say of a mail file that was looked at and then written by us, in the commit that is made in the context.

    Its times are such then that no program can write to it and leave the same ones, so that it need not be read once
    more to see whether one did.
    """
    status = _dated(mail.fd)
    seen = Seen.of(status)
    # Of a large file that had grown not all was read; that is still owed (rule 5).
    yield {"new_stamp": str(seen), "doubt": box.doubt if seen.end > LARGE else 0.0}
    if status.st_mtime_ns >= status.st_ctime_ns and not await_tick(status):
        with bench.index.settling():
            bench.index.update_box(box.id, doubt=bench.now)


def _dated(fd: int) -> os.stat_result:
    """A file, last modified before it was last changed: who writes to it makes both times the same again. For somebody
    else's file that cannot be done, and the clock has to move on instead."""
    status = os.fstat(fd)
    if status.st_mtime_ns < status.st_ctime_ns:
        return status  # its time was put back (mailstore/mboxrewrite rule 5)
    with suppress(PermissionError):
        os.utime(fd, ns=(status.st_atime_ns, status.st_ctime_ns - 1))
    return os.fstat(fd)


def read_known(bench: Bench, mail: Locked, row: MessageRow) -> tuple[bytes, Head]:
    """The From_ line and the header of a message that has a row. Raises FileLocked where another message stands there:
    somebody wrote to the file in the same moment as we did, and it is looked at anew then."""
    line, head = read_head(mail.fd, row.place, row.octets)
    if head.fingerprint(line, row.octets - len(head.octets)) != row.base:
        with bench.index.settling():
            bench.index.update_box(row.id >> 32, new_stamp="")
        raise FileLocked(reason="the mail file is not as it was, though its times are")
    return line, head


def _pay(bench: Bench, box: BoxRow, mail: Locked) -> BoxRow:
    """Cut out of the file an append that a crash tore."""
    owed = Owed.read(box.cur_stamp)
    if owed.adding and _is_torn(bench, box, mail, *owed.adding):
        offset, length = owed.adding
        size = os.fstat(mail.fd).st_size
        if size == offset + length:
            os.ftruncate(mail.fd, offset)
            os.fsync(mail.fd)
        else:
            rewrite(mail, [(0, offset), (offset + length, size)])
    with bench.index.settling():
        bench.index.update_box(box.id, new_stamp="", cur_stamp="")
    return bench.box(box.id)


def _is_torn(bench: Bench, box: BoxRow, mail: Locked, offset: int, length: int) -> bool:
    """Whether an append that was never committed is still where it began and ended: nobody moved what is before it, it
    has the first UID that was not given yet, or not even that, and behind it is nothing or a From_ line."""
    # A power cut may have left a zero for the last octet, where the file ends with it.
    if os.pread(mail.fd, 6, offset + length - 1) not in (b"\n", b"\nFrom ", b"\0"):
        return False
    last = bench.index.last_in_file(box.id)
    if last is not None:
        line, head = read_head(mail.fd, last.place, last.octets)
        end = last.place + len(line) + last.octets
        if head.fingerprint(line, last.octets - len(head.octets)) != last.base or not end <= offset <= end + 2:
            return False
    begin = os.pread(mail.fd, min(length, 4096), offset).lstrip(b"\n")
    fields = begin.partition(b"\n\n")[0]
    written = fields.partition(b"\0")[0]
    if not b"From ".startswith(written[:5]):
        return False
    return len(written) < len(fields) or parse(fields.partition(b"\n")[2] + b"\n").uid == box.uidnext


class _Look:
    """One look at a mail file."""

    def __init__(self, bench: Bench, box: BoxRow, mail: Locked, columns: FirstColumns | None) -> None:
        self._bench = bench
        self._columns = columns
        self._index = bench.index
        self._box = box
        self._mail = mail
        self._names = bench.names(box)
        self._seen = Seen.read(box.new_stamp)
        self._found: list[Stranger] = []
        self._arrived: list[tuple[int, Stranger]] = []  # with their UIDs
        self._changed: list[_Change] = []
        self._vanished: list[MessageRow] = []
        self._removed: list[int] = []  # the keys of graves that are not in the file any more
        self._shifted: list[tuple[int, bytes]] = []  # and those of others, with what they are now
        self._base: Base | None = None
        self._uidnext = box.uidnext

    def run(self, force: bool) -> bool:
        status = os.fstat(self._mail.fd)
        start = self._tail(status, force)
        is_first = not start and self._box.uidnext == 1 and not self._box.messages
        end = self._scan(start or 0, status.st_size, AT_ONCE if start or is_first else None)
        if is_first and self._base and self._base.uidvalidity == self._box.uidvalidity:
            self._seen = Seen(last_uid=self._base.last_uid)
            self._uidnext = max(self._uidnext, self._base.last_uid + 1)
        if start is None and not is_first:
            self._match()
        else:
            self._meet(self._found)
        self._write(status, end, bool(start) and end == status.st_size)
        return end == status.st_size

    def _tail(self, status: os.stat_result, force: bool) -> int | None:
        """Where the part of the file begins that alone has to be read (rule 5); None where all of it has."""
        seen = self._seen
        is_going_on = bool(seen.last_uid) or seen.times == PART
        if seen.inode != status.st_ino or not 0 < seen.end < status.st_size or (force and not is_going_on):
            return None
        if not is_going_on and seen.end <= LARGE:
            return None
        last = self._index.last_in_file(self._box.id)
        if last is None or os.pread(self._mail.fd, 5, seen.end) != b"From ":
            return None
        line, head = read_head(self._mail.fd, last.place, last.octets)
        return seen.end if head.fingerprint(line, last.octets - len(head.octets)) == last.base else None

    def _scan(self, start: int, end: int, limit: int | None) -> int:
        """Read messages; how far."""
        for found in Scan(self._mail.fd, start, end):
            if not found.offset and found.head.fields:
                self._base = found.head.base
                if found.head.is_pseudo:
                    continue
            self._found.append(stranger_of(found, self._names, self._bench.now))
            if limit is not None and len(self._found) >= limit:
                return found.after
        return end

    # Matching rows and messages

    def _match(self) -> None:
        rows: dict[bytes, list[MessageRow]] = defaultdict(list)
        for row in sorted(self._index.rows(self._box.id), key=lambda row: row.place):
            rows[row.base or b""].append(row)
        graves: dict[bytes, list[Grave]] = defaultdict(list)
        for grave in sorted(graves_of(self._bench, self._box.id)):
            graves[grave.fingerprint].append(grave)
        files: dict[bytes, list[Stranger]] = defaultdict(list)
        for stranger in self._found:
            files[stranger.fingerprint].append(stranger)
        unknown: list[Stranger] = []
        for fingerprint in {*rows, *graves, *files}:
            unknown += self._match_twins(rows[fingerprint], graves[fingerprint], files[fingerprint])
        self._meet(sorted(unknown))

    def _match_twins(self, rows: list[MessageRow], graves: list[Grave], files: list[Stranger]) -> list[Stranger]:
        """Pair the rows and graves of one fingerprint with the messages that have it; messages that are left."""
        rows, files = self._match_by_uid(rows, files)
        known: list[MessageRow | Grave] = [*rows]
        if len(files) > len(rows):  # rule 3
            spare = len(files) - len(rows)
            known += graves[:spare]
            self._removed += [grave.key for grave in graves[spare:]]
            known.sort(key=lambda one: one.place)
        else:
            self._removed += [grave.key for grave in graves]
        for one, stranger in zip(known, files, strict=False):
            if isinstance(one, MessageRow):
                self._meet_again(one, stranger)
            elif one.place != stranger.place:
                self._shifted.append((one.key, replace(one, place=stranger.place).packed()))
        self._vanished += [one for one in known[len(files) :] if isinstance(one, MessageRow)]
        return files[len(known) :]

    def _match_by_uid(self, rows: list[MessageRow], files: list[Stranger]) -> tuple[list[MessageRow], list[Stranger]]:
        if (
            len(rows) < 2
            or len(rows) == len(files)
            or not self._base
            or self._base.uidvalidity != self._box.uidvalidity
        ):
            return rows, files
        by_uid = {row.uid: row for row in rows}
        left = []
        for stranger in files:
            row = by_uid.pop(stranger.uid, None) if stranger.uid is not None else None
            if row is None:
                left.append(stranger)
            else:
                self._meet_again(row, stranger)
        return [row for row in rows if row.uid in by_uid], left

    def _meet_again(self, row: MessageRow, stranger: Stranger) -> None:
        before = mask_in_file(row)
        mask = (row.mask | (stranger.mask & ~before)) & ~(before & ~stranger.mask)  # rule 2
        after = row._replace(
            place=stranger.place,
            octets=stranger.octets,
            size=stranger.size,
            mask=mask,
            file=pack_mask(stranger.mask),
            pending=int(mask != stranger.mask),
        )
        if after != row:
            self._changed.append(_Change(row, after))

    def _meet(self, strangers: Sequence[Stranger]) -> None:
        """Give UIDs to messages that have no rows."""
        if not self._seen.last_uid:
            self._arrived = list(enumerate(strangers, self._uidnext))
            self._uidnext += len(strangers)
            return
        taken = self._index.uids(self._box.id)
        for stranger in strangers:
            uid = stranger.uid
            if uid is None or not 0 < uid <= self._seen.last_uid or uid in taken:
                uid = self._uidnext
                self._uidnext += 1
            taken.add(uid)
            self._arrived.append((uid, stranger))
        self._arrived.sort()

    # Writing down

    def _stamps(self, status: os.stat_result, end: int, is_tail: bool) -> dict[str, object]:
        box, now = self._box, self._bench.now
        if end < status.st_size:
            return {"new_stamp": str(Seen(status.st_ino, end, PART, self._seen.last_uid)), "doubt": 0.0}
        doubt = (box.doubt or now) if is_tail else now if abs(now - status.st_mtime) < TICK else 0.0
        return {"new_stamp": str(Seen.of(status)), "doubt": doubt}

    def _write(self, status: os.stat_result, end: int, is_tail: bool) -> None:
        index, box = self._index, self._box
        stamps = self._stamps(status, end, is_tail)
        modseq = box.modseq + 1
        is_visible = bool(self._arrived or self._vanished or any(change.is_told for change in self._changed))
        if not (is_visible or self._changed or self._removed or self._shifted or self._uidnext != box.uidnext):
            if any(getattr(box, column) != value for column, value in stamps.items()):
                with index.settling():
                    index.update_box(box.id, **stamps)
            return
        changed = [change.after._replace(modseq=modseq) if change.is_told else change.after for change in self._changed]
        is_first = box.uidnext == 1 or self._seen.last_uid
        seen = [uid for uid, stranger in self._arrived if stranger.is_old] if is_first else []
        recent = max([box.recent, *seen])
        arrived = new_rows(self._arrived, modseq) if self._arrived else None
        if self._removed:
            # Or a power cut would bring them back, as new messages: whoever took them out may not have synced anything.
            os.fsync(self._mail.fd)
            sync_directory(os.path.dirname(self._mail.path))
        with index.transaction():
            index.add_keywords(box.id, self._names.added)
            index.renew([change.before for change in self._changed], changed)
            index.bury([(row, modseq, None) for row in self._vanished])
            if arrived:
                index.insert_columns(box.id, arrived)
            index.fill_graves(self._removed)
            index.shift_graves(self._shifted)
            index.update_box(box.id, modseq=box.modseq + is_visible, uidnext=self._uidnext, recent=recent, **stamps)
        if arrived and self._columns and not (self._changed or self._vanished):
            self._columns.follow(self._bench, box, arrived, end == status.st_size)
        if is_visible:
            self._bench.changed.add(self._mail.path)


def strangers(mail: Locked, names: FlagNames, now: float) -> tuple[Base | None, list[Stranger]]:
    """All messages of a mail file, and what it says of UIDs."""
    base, found = None, []
    for one in Scan(mail.fd, 0, os.fstat(mail.fd).st_size):
        if not one.offset:
            base = one.head.base
        if one.offset or not one.head.is_pseudo:
            found.append(stranger_of(one, names, now))
    return base, found


def base_of(path: bytes) -> Base | None:
    """What the first message of a mail file says of UIDs; None where it says nothing that can be true."""
    try:
        fd = open_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        base = read_head(fd, 0, HEADER_LIMIT)[1].base
    finally:
        os.close(fd)
    # A stranger could have sent it: then at least UIDs enough are left.
    return base if base and 0 < base.uidvalidity < 1 << 32 and base.last_uid < 1 << 31 else None


def graves_of(bench: Bench, box_id: int) -> list[Grave]:
    """The expunged messages that are still in the file."""
    return [Grave.unpack(key, data) for key, data in bench.index.graves() if key >> 32 == box_id]
