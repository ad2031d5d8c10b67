"""Bringing into an mbox what only the index knows: flags, UIDs, and that messages are gone.

Changes of flags are durable in the index at once, and are written into the file later: other programs see them when
the last session here has closed the mailbox, or when the file is rewritten for another reason. Rules:

1. Where the fields of every changed message have room, they are written over in place. A crash in the middle is
   harmless: what is in the file then is merged with the index, which wants the same.
2. Otherwise the file is rewritten as a whole (mailstore/mboxrewrite): without the expunged messages, and with fields
   that have room in every message, so that this is not needed again soon.
3. A large file is rewritten for flags only when many messages wait; for expunged messages when the mailbox is closed,
   and before that only when they make up much of the file. A small one is rewritten at once.
4. The commit of the new places follows the writing. After a crash between, the next look finds the messages again.
5. A full disk has no room for writing down beside the file what is to be written over. Then expunged messages at the
   end of the file are cut off, which makes room; others stay in it until there is some, and nobody here sees them.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from imapd.mailstore import rendered, reserve
from imapd.mailstore.bench import Bench
from imapd.mailstore.errors import NoSpace, OverQuota, StoreError
from imapd.mailstore.mboxfile import read_head
from imapd.mailstore.mboxheader import Base, beginning, fields, fingerprint, parse, patches
from imapd.mailstore.mboxlock import Locked
from imapd.mailstore.mboxrewrite import Part, is_half_written, pwrite_all, rewrite, separated
from imapd.mailstore.mboxrows import Grave, pack_mask, wanted
from imapd.mailstore.mboxsync import graves_of, our_stamps, read_known
from imapd.mailstore.rows import BoxRow, MessageRow

SMALL: Final = 4 << 20
"""A file of this size is rewritten in 50 ms: at once with every EXPUNGE."""
MEDIUM: Final = 64 << 20
MANY: Final = 1_000
"""So many changed messages without room are worth a rewriting of any file."""


def is_due(bench: Bench, box: BoxRow, mail: Locked) -> bool:
    """Whether expunged messages are to be taken out of the file now, although it is in use (rule 3)."""
    size = os.fstat(mail.fd).st_size
    if size <= SMALL:
        return True
    graves = len(graves_of(bench, box.id))
    return graves > MANY and 2 * graves > box.messages


def write_back(bench: Bench, box: BoxRow, mail: Locked) -> None:
    """Bring the file up to date. The mailbox was looked at as a whole, and the file is locked for writing since."""
    graves = sorted(graves_of(bench, box.id))
    pending = bench.index.pending_in(box.id)
    size = os.fstat(mail.fd).st_size
    if not graves:
        if not pending:
            return
        without_room = _patch(bench, box, mail, pending)
        if not without_room or (size > MEDIUM and without_room < MANY):
            return
    try:
        _Rewriting(bench, box, mail, graves).run()
    except (OSError, NoSpace, OverQuota) as error:
        is_full = isinstance(error, StoreError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not is_full or not _cut_tail(bench, box, mail, graves):
            raise
        write_back(bench, bench.box(box.id), mail)  # there is more room now, and less to do


def write_all(bench: Bench, box: BoxRow, mail: Locked) -> None:
    """Write everything into the file that it can hold, the UIDs of all messages too."""
    _Rewriting(bench, box, mail, sorted(graves_of(bench, box.id))).run()


def _base_of(bench: Bench, box: BoxRow) -> Base:
    return Base(box.uidvalidity, box.uidnext - 1, bench.index.keywords(box.id))


def _patch(bench: Bench, box: BoxRow, mail: Locked, pending: Sequence[MessageRow]) -> int:
    """Write flags in place; how many messages had no room for theirs (rule 1)."""
    keywords = list(bench.index.keywords(box.id))
    done: list[tuple[MessageRow, MessageRow]] = []
    without_room = 0
    for row in pending:
        line, head = read_known(bench, mail, row)
        base = _base_of(bench, box) if not row.place and head.base else None
        written = patches(head, wanted(box, row, keywords), base)
        if written is None:
            without_room += 1
            continue
        for offset, data in written:
            pwrite_all(mail.fd, data, row.place + len(line) + offset)
        done.append((row, row._replace(file=pack_mask(row.mask), pending=0)))
    if done:
        os.fsync(mail.fd)
        with our_stamps(bench, box, mail) as stamps, bench.index.settling():
            bench.index.renew([before for before, _ in done], [after for _, after in done])
            bench.index.update_box(box.id, **stamps)
    return without_room


def _cut_tail(bench: Bench, box: BoxRow, mail: Locked, graves: Sequence[Grave]) -> bool:
    """Cut off the expunged messages behind all others; whether there are any (rule 5).

    Nothing where the file has been written over in part: what stands there now was not looked at.
    """
    if is_half_written(mail.path):
        return False
    last = bench.index.last_in_file(box.id)
    tail = [grave for grave in graves if last is None or grave.place > last.place]
    if not tail:
        return False
    os.ftruncate(mail.fd, tail[0].place)
    os.fsync(mail.fd)
    with our_stamps(bench, box, mail) as stamps, bench.index.settling():
        bench.index.fill_graves([grave.key for grave in tail])
        bench.index.update_box(box.id, **stamps)
    bench.changed.add(mail.path)
    return True


@dataclass(frozen=True, slots=True)
class _Extent:
    """A piece of the old file, up to the next From_ line, and what is there."""

    start: int
    end: int
    of: MessageRow | Grave | None


class _Rewriting:
    """A rewriting of a mail file (rule 2)."""

    def __init__(self, bench: Bench, box: BoxRow, mail: Locked, graves: list[Grave]) -> None:
        self._bench = bench
        self._box = box
        self._mail = mail
        self._graves = graves
        self._keywords = list(bench.index.keywords(box.id))
        self._rows = bench.index.rows(box.id)
        self._after: list[MessageRow] = []
        self._length = 0

    def run(self) -> None:
        bench, mail = self._bench, self._mail
        spare = bench.root + b"/" + reserve.FILE
        reserve.keep(spare, bench.settings.file_mode)
        if not os.path.lexists(spare):
            raise OSError(errno.ENOSPC, "no room to write down afterwards what stands where", mail.path)
        rewrite(mail, self._parts())
        try:
            self._commit()
        except (NoSpace, OverQuota):
            if not reserve.give_back([bench.root + b"/" + reserve.FILE, *rendered.files(bench.root)]):
                raise
            self._commit()  # or nothing could be read until there is room: the places are others now
        bench.changed.add(mail.path)

    def _commit(self) -> None:
        bench, mail = self._bench, self._mail
        before = sorted(self._rows)
        after = sorted(self._after)
        with our_stamps(bench, self._box, mail) as stamps, bench.index.settling():  # rule 4
            bench.index.renew(before, after)
            bench.index.fill_graves([grave.key for grave in self._graves])
            bench.index.update_box(self._box.id, **stamps)

    def _extents(self) -> Iterator[_Extent]:
        known: list[MessageRow | Grave] = sorted([*self._rows, *self._graves], key=lambda one: one.place)
        size = os.fstat(self._mail.fd).st_size
        starts = [one.place for one in known]
        if not starts or starts[0]:
            yield _Extent(0, starts[0] if starts else size, None)  # a pseudo message
        for one, end in zip(known, [*starts[1:], size], strict=True):
            yield _Extent(one.place, end, one)

    def _parts(self) -> Iterator[Part]:
        is_first = True
        for extent in self._extents():
            if isinstance(extent.of, Grave):
                continue
            parts = self._pseudo(extent) if extent.of is None else self._message(extent, extent.of, is_first)
            is_first = False
            for part in parts:
                self._length += len(part) if isinstance(part, bytes) else part[1] - part[0]
                yield part

    def _pseudo(self, extent: _Extent) -> list[Part]:
        """UW-imapd's message, with what it is to say where there is room for it."""
        line, head = read_head(self._mail.fd, extent.start, extent.end - extent.start)
        if not head.is_pseudo:
            return [(extent.start, extent.end)]
        octets = bytearray(head.octets)
        value = patches(head, wanted(self._box, _NOBODY, []), _base_of(self._bench, self._box))
        for offset, data in value or ():
            octets[offset : offset + len(data)] = data
        return [line + bytes(octets), (extent.start + len(line) + len(octets), extent.end)]

    def _message(self, extent: _Extent, row: MessageRow, is_first: bool) -> list[Part]:
        place = self._length
        line, head = read_known(self._bench, self._mail, row)
        body = row.place + len(line) + len(head.octets)
        length = row.octets - len(head.octets)
        base = _base_of(self._bench, self._box) if is_first else None
        text = beginning(head.bare)
        known_by = row.base if text == head.bare else fingerprint(line, length, text)
        new = fields(wanted(self._box, row, self._keywords), length, head.cut, base) + text
        end = row.place + len(line) + row.octets
        separator: Part = (end, extent.end)
        if extent.end == os.fstat(self._mail.fd).st_size:
            separator = separated(self._mail.fd, extent.end)[-1:] if end == extent.end else separator
        self._after.append(
            row._replace(place=place, octets=len(new) + length, base=known_by, file=pack_mask(row.mask), pending=0)
        )
        if parse(new).text() != head.text():  # never, or the message would not be what it was
            raise AssertionError("a message would change with its fields")
        return [line + new, (body, end), separator]


_NOBODY: Final = MessageRow(0, 0, b"", None, 0, 0, 0, 0, 0, 0)
