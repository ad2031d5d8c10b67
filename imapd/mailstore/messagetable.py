"""The table `message` of an index: what is read of messages, and one after the other what is written (mailstore/index).

Rows are checked when they are read (rule 5), and their number where all of a mailbox are (rule 7).
"""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import lt
from typing import Any, Final

from imapd.mailstore.bulktable import BulkTable
from imapd.mailstore.database import meaning
from imapd.mailstore.errors import Corrupt
from imapd.mailstore.maildir import base_of
from imapd.mailstore.rows import (
    LAST_UID,
    BoxRow,
    Columns,
    Delta,
    MessageRow,
    NewRows,
    identity,
    message_id,
    message_sum,
    packed_sum,
    runs,
    signed,
    span,
    unsigned,
)

_NOT_AS_WRITTEN: Final = "index: the row of a message is not as it was written"
MESSAGE: Final = ", ".join(MessageRow._fields)
_CHECKED: Final = "id, mask, modseq, size, date, octets, file, base, sum"
_FEW: Final = 10  # rows for which it is no use to put a longer statement together
NOT_IN_CUR: Final = "INDEXED BY message_not_in_cur WHERE place IN (1, 2)"


class MessageTable(BulkTable):
    """The tables `message` and `tombstone`.

    given: the UIDs that committed writes of this connection gave, by mailbox, as (UID, identity of the message);
    whoever writes them down elsewhere empties it.
    """

    def __init__(
        self, path: bytes, patience: float = 0.0, unchanging: bool = False, only_looking: bool = False
    ) -> None:
        super().__init__(path, patience, unchanging, only_looking)
        self.given: dict[int, list[tuple[int, bytes]]] = {}
        self._given: dict[int, list[tuple[int, bytes]]] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._given = {}
        with super().transaction():
            yield
        for box, pairs in self._given.items():
            self.given.setdefault(box, []).extend(pairs)

    # Messages, for reading

    def _messages(self, which: str, values: Sequence[Any] = ()) -> list[MessageRow]:
        with meaning():
            found = self._all(f"SELECT {MESSAGE}, sum FROM message {which}", values)
            for key, place, file, base, mask, modseq, size, octets, date, _, check in found:
                wrong = packed_sum(key, mask, modseq, size, octets, date, base or base_of(file)) != check
                if wrong or place.__class__ is not int:
                    raise Corrupt(reason=_NOT_AS_WRITTEN)
            return _message_rows(found)

    def message(self, box: int, uid: int) -> MessageRow | None:
        rows = self._messages("WHERE id = ?", (box << 32 | uid,))
        return rows[0] if rows else None

    def columns(self, box: int) -> Columns | None:
        """Everything; reads all rows of the mailbox."""
        with self._reading(), meaning():
            row = self.box(box)
            if row is None:
                return None
            keywords = self.keywords(box)
            columns = Columns(row, keywords, array("I"), array("Q"), array("Q"), array("Q"), array("q"))
            last = 0
            for rows in self._chunks(f"SELECT {_CHECKED} FROM message WHERE id BETWEEN ? AND ? ORDER BY id", span(box)):
                uids, masks, modseqs, sizes, dates = _checked(rows)
                if uids[0] <= last or not all(map(lt, uids, uids[1:])):
                    raise Corrupt(reason="index: UIDs do not ascend")
                last = uids[-1]
                columns.uids.extend(uids)
                columns.masks.frombytes(array("q", masks).tobytes())
                columns.modseqs.extend(modseqs)
                columns.sizes.extend(sizes)
                columns.dates.extend(dates)
            _check_count(row, len(columns.uids))
            return columns

    def delta(self, box: int, modseq: int, limit: int) -> Delta | None:
        """What changed after a modseq; None where the mailbox is gone. Where there are more than `limit` changes, at
        least limit + 1 of them."""
        with self._reading():
            box_row = self.box(box)
            if box_row is None:
                return None
            rows = self._messages("WHERE id >> 32 = ? AND modseq > ? LIMIT ?", (box, modseq, limit + 1))
            vanished = self._all("SELECT id & 4294967295 FROM tombstone WHERE id >> 32 = ? AND modseq > ? LIMIT ?",
                                 (box, modseq, limit + 1))  # fmt: skip
            keywords = self.keywords(box)
            forgotten = self._meta(f"forgotten {box}")
        with meaning():
            changed = sorted([(row.uid, row.mask, row.modseq, row.size, row.date) for row in rows])
            return Delta(box_row, keywords, changed, sorted([uid for (uid,) in vanished]), forgotten)

    def counts(self, box: int, seen: int, deleted: int) -> tuple[int, int, int, int, int, int]:
        """Messages, recent, unseen, deleted ones, the sum of their sizes and of those of the deleted ones."""
        with self._reading():
            box_row = self.box(box)
            row = self._counts(box, seen, deleted)
        if box_row is not None:
            _check_count(box_row, row[0])
        return row

    def _counts(self, box: int, seen: int, deleted: int) -> tuple[int, int, int, int, int, int]:
        row = self._all(
            "SELECT count(*), ifnull(sum((id & 4294967295) > (SELECT recent FROM mailbox WHERE id = ?)), 0), "
            "ifnull(sum(NOT mask & ?), 0), ifnull(sum((mask & ?) <> 0), 0), ifnull(sum(size), 0), "
            "ifnull(sum(iif(mask & ?, size, 0)), 0) FROM message WHERE id BETWEEN ? AND ?",
            (box, seen, deleted, deleted, *span(box)))[0]  # fmt: skip
        return row[0], row[1], row[2], row[3], row[4], row[5]

    # Messages, for writing; what is read here is read under the lock, and true to the end of it

    def rows(self, box: int, uids: Sequence[int] | None = None) -> list[MessageRow]:
        """The messages with those UIDs, ascending; of all where uids is None."""
        if uids is None:
            everything = self._messages("WHERE id BETWEEN ? AND ? ORDER BY id", span(box))
            self._require_all(box, len(everything))
            return everything
        rows: list[MessageRow] = []
        for low, high in runs(uids):
            rows += self._messages("WHERE id BETWEEN ? AND ? ORDER BY id", (box << 32 | low, box << 32 | high))
        return rows

    def rows_with(self, box: int, bits: int, uids: Sequence[int] | None = None) -> list[MessageRow]:
        """As `rows`, of those alone whose masks have one of the bits."""
        rows: list[MessageRow] = []
        for low, high in [(0, LAST_UID)] if uids is None else runs(uids):
            keys = box << 32 | low, box << 32 | high
            rows += self._messages("WHERE id BETWEEN ? AND ? AND mask & ? ORDER BY id", (*keys, bits))
        return rows

    def rows_after(self, box: int, uid: int, most: int) -> list[MessageRow]:
        """So many of the messages with higher UIDs, ascending."""
        return self._messages("WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", (box << 32 | uid, span(box)[1], most))

    def whole(self, box: int) -> tuple[BoxRow, list[MessageRow]] | None:
        """A mailbox and all its messages at one moment; None where it is gone."""
        with self._reading():
            row = self.box(box)
            return None if row is None else (row, self.rows(box))

    def files(self, box: int) -> dict[tuple[int, bytes], int]:
        """The key of the message of each place and file name."""
        # Checked, all of them: a file that seems to have no row would get a second UID.
        return {(row.place, row.file): row.id for row in self.rows(box)}

    def _require_all(self, box: int, found: int) -> None:
        row = self.box(box)
        if row is not None:
            _check_count(row, found)

    def uids(self, box: int) -> set[int]:
        """The UIDs of all messages of a mailbox."""
        return {uid for (uid,) in self._all("SELECT id & 4294967295 FROM message WHERE id BETWEEN ? AND ?", span(box))}

    def is_all(self, box: BoxRow, uids: Collection[int]) -> bool:
        """Whether a mailbox has no other messages than those with these UIDs, of which there are some."""
        low, high = min(uids), max(uids)
        if len(uids) == box.messages == high - low + 1:
            found = self._value("SELECT count(*) FROM message WHERE id BETWEEN ? AND ?",
                                (box.id << 32 | low, box.id << 32 | high))  # fmt: skip
            return bool(found == box.messages)
        return self.uids(box.id) <= set(uids)

    def last_in_file(self, box: int) -> MessageRow | None:
        """The message of an mbox that stands last in it."""
        rows = self._messages("WHERE id BETWEEN ? AND ? ORDER BY place DESC LIMIT 1", span(box))
        return rows[0] if rows else None

    def rows_not_in_cur(self, box: int) -> list[MessageRow]:
        return self._messages(f"{NOT_IN_CUR} AND id BETWEEN ? AND ? ORDER BY id", span(box))

    def has_files_outside_cur(self, box: int) -> bool:
        rows = f"SELECT 1 FROM message {NOT_IN_CUR} AND id BETWEEN ? AND ?"
        return bool(self._value(f"SELECT EXISTS ({rows})", span(box)))

    def insert(self, rows: Sequence[MessageRow]) -> None:
        """New messages."""
        self._insert(rows)
        self._count([(row.id >> 32, 1, row.size) for row in rows])

    def insert_into(self, box: BoxRow, rows: Sequence[MessageRow], **columns: Any) -> BoxRow:
        """New messages of one mailbox, whose row was read under the lock and is so still; and more columns of the
        mailbox. Its row as it is now."""
        self._insert(rows)
        octets = box.octets + sum([row.size for row in rows])
        return self.update_known(box, messages=box.messages + len(rows), octets=octets, **columns)

    def _insert(self, rows: Sequence[MessageRow]) -> None:
        values: list[tuple[Any, ...]] = []
        for row in rows:
            key, place, file, base, mask, modseq, size, octets, date, pending = row
            mask = signed(mask)
            known_by = base or base_of(file)
            check = packed_sum(key, mask, modseq, size, octets, date, known_by)
            values.append((key, place, file, base, mask, modseq, size, octets, date, pending, check))
            self._given.setdefault(key >> 32, []).append((key & 0xFFFFFFFF, known_by))
        if len(values) < _FEW:
            self._each("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        else:
            self._each_of_many("INSERT INTO message VALUES", list(zip(*values, strict=True)))

    def insert_columns(self, box: int, rows: NewRows) -> None:
        """New messages of one mailbox, at a first sight a hundred thousand: 2 us for each. Raises LimitExceeded."""
        first = message_id(box, max(rows.uids, default=1)) >> 32 << 32
        keys = [first | uid for uid in rows.uids]
        masks = list(map(signed, rows.masks)) if max(rows.masks, default=0) >> 63 else rows.masks
        modseq = rows.modseq
        checks = [
            packed_sum(key, mask, modseq, size, octets, date, base)
            for key, mask, size, octets, date, base in zip(
                keys, masks, rows.sizes, rows.octets, rows.dates, rows.known_by, strict=True)
        ]  # fmt: skip
        self._each_of_many(
            "INSERT INTO message (id, place, file, base, mask, modseq, size, octets, date, pending, sum) VALUES",
            (keys, rows.places, rows.files, repeat(None) if rows.is_by_file else rows.known_by, masks, repeat(modseq),
             rows.sizes, rows.octets, rows.dates, rows.pending, checks))  # fmt: skip
        self._given.setdefault(box, []).extend(zip(rows.uids, rows.known_by, strict=True))
        self._count([(box, len(keys), sum(rows.sizes))])

    def _count(self, changes: Iterable[tuple[int, int, int]]) -> None:
        """Follow the counts of mailboxes: (mailbox, messages more, octets more)."""
        sums: dict[int, tuple[int, int]] = {}
        for box, messages, octets in changes:
            before = sums.get(box, (0, 0))
            sums[box] = before[0] + messages, before[1] + octets
        for box, (messages, octets) in sums.items():
            if (row := self.box(box)) is not None:
                self.update_known(row, messages=row.messages + messages, octets=row.octets + octets)

    def reflag(self, changes: Iterable[tuple[MessageRow, int, int]]) -> list[MessageRow]:
        """Set mask and modseq of messages, whose files have to be renamed now; their rows as they are now."""
        rows = [row._replace(mask=mask, modseq=modseq, pending=1) for row, mask, modseq in changes]
        self._each("UPDATE message SET mask = ?, modseq = ?, pending = 1, sum = ? WHERE id = ?",
                   [(signed(row.mask), row.modseq, message_sum(row), row.id) for row in rows])  # fmt: skip
        return rows

    def relocate(self, places: Iterable[tuple[MessageRow, int, bytes]]) -> list[MessageRow]:
        """Say in which place and file messages lie now, and that they need nothing more; their rows as they are now."""
        rows: list[MessageRow] = []
        renamed: list[MessageRow] = []
        for before, place, file in places:
            row = before._replace(place=place, file=file, base=None, pending=0)
            rows.append(row)
            if identity(row) != identity(before):
                renamed.append(row)
        self._each("UPDATE message SET place = ?, file = ?, base = NULL, pending = 0 WHERE id = ?",
                   [(row.place, row.file, row.id) for row in rows])  # fmt: skip
        # The others are known by what they were known by, and their checksums hold.
        self._each("UPDATE message SET sum = ? WHERE id = ?", [(message_sum(row), row.id) for row in renamed])
        for row in renamed:
            self._given.setdefault(row.id >> 32, []).append((row.uid, identity(row)))
        return rows

    def give_up(self, keys: Iterable[int]) -> None:
        """Wait no longer for files that were not found; the next listing tells where they are."""
        self._each("UPDATE message SET pending = 0 WHERE id = ?", [(key,) for key in keys])

    def renew(self, before: Sequence[MessageRow], after: Sequence[MessageRow]) -> None:
        """Put the same messages in other words: `after` are the rows to be, in the order of `before`."""
        self._each("UPDATE message SET place = ?, file = ?, base = ?, mask = ?, modseq = ?, size = ?, octets = ?, "
                   "pending = ?, sum = ? WHERE id = ?",
                   [(row.place, row.file, row.base, signed(row.mask), row.modseq, row.size, row.octets, row.pending,
                     message_sum(row), row.id) for row in after])  # fmt: skip
        pairs = list(zip(before, after, strict=True))
        self._count([(new.id >> 32, 0, new.size - old.size) for old, new in pairs if new.size != old.size])
        for new in [new for old, new in pairs if new.base != old.base]:
            self._given.setdefault(new.id >> 32, []).append((new.uid, identity(new)))

    def resize(self, row: MessageRow, size: int, octets: int, modseq: int) -> None:
        """Say how large a message truly is."""
        new = row._replace(size=size, octets=octets, modseq=modseq)
        self._all("UPDATE message SET size = ?, octets = ?, modseq = ?, sum = ? WHERE id = ?",
                  (size, octets, modseq, message_sum(new), row.id))  # fmt: skip
        self._count([(row.id >> 32, 0, size - row.size)])

    def bury(self, graves: Sequence[tuple[MessageRow, int, bytes | None]]) -> None:
        """Messages become tombstones: (row, modseq, path of the file that has to be removed or None)."""
        self._each("DELETE FROM message WHERE id = ?", [(row.id,) for row, _, _ in graves])
        self._each("INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?)",
                   [(row.id, modseq, path) for row, modseq, path in graves])  # fmt: skip
        self._count([(row.id >> 32, -1, -row.size) for row, _, _ in graves])

    def bury_many(
        self, box: int, rows: Sequence[MessageRow], modseq: int, paths: tuple[bytes, bytes] | None = None
    ) -> None:
        """The same for messages of one mailbox. paths: what stands before the names of files in cur/ and in new/, if
        they have to be removed."""
        self._entomb(box, [row.uid for row in rows], modseq, paths)
        self._count([(box, -len(rows), -sum([row.size for row in rows]))])


def _check_count(box: BoxRow, found: int) -> None:
    if box.messages != found:
        raise Corrupt(reason=f"index: {box.name!r} has {found} messages, and should have {box.messages}")


def message_of(row: tuple[Any, ...]) -> MessageRow:
    """A row without its checksum."""
    return _message_rows([row])[0]


def _message_rows(rows: Sequence[tuple[Any, ...]]) -> list[MessageRow]:
    new, kind = tuple.__new__, MessageRow  # there are many
    messages = [new(kind, row[:-1]) for row in rows]
    return [row if row.mask >= 0 else row._replace(mask=unsigned(row.mask)) for row in messages]


def _checked(rows: Sequence[tuple[Any, ...]]) -> list[tuple[int, ...]]:
    """Columns of UIDs, masks, modseqs, sizes and dates; the rows of _CHECKED are as they were written."""
    for key, mask, modseq, size, date, octets, file, base, check in rows:
        if packed_sum(key, mask, modseq, size, octets, date, base or base_of(file)) != check:
            raise Corrupt(reason=_NOT_AS_WRITTEN)
    keys, *columns = zip(*rows, strict=True)
    return [tuple([key & 0xFFFFFFFF for key in keys]), *columns[:4]]
