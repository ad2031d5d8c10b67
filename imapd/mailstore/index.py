"""The index of an account: one SQLite database with what files cannot hold. The only room that talks to SQLite.

It stands beside the mail as `imapd-index.sqlite` and keeps, for each mailbox, its name and directory, UIDVALIDITY,
UIDNEXT, the highest modseq, the watermark of \\Recent and the special use; for each message its UID, file, flags,
modseq, size and date; what was expunged; the keywords' numbers; and the work that files still need.

Rules:

1. WAL and synchronous=FULL: a commit is durable on return. `settling` transactions alone are not: they only say that
   work on files has been done, and that work may be done twice.
2. Messages are clustered by mailbox id << 32 | UID; mailbox ids are never used again.
3. Writes happen under the account's lock and in a disk thread, on a connection of their own. Reading is done on another
   one, in WAL mode beside the writer, so a reader never waits and never sees half a write.
4. A database of a newer version is refused before anything is written to it.
5. Errors come out as StoreErrors. Corrupt means that SQLite itself found the file damaged.

6. Tables are STRICT (SQLite 3.37), so that a check of the file finds values of a wrong type too.

Names of files and directories are BLOBs, being octets. Masks fill 64 bits and are stored as signed numbers.
"""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import lt
from typing import Any, Final
from urllib.parse import quote

from imapd.mailstore.errors import Corrupt, Denied, NoSpace, Retry, StoreError, UnknownOutcome
from imapd.mailstore.quota import Limits
from imapd.mailstore.rows import BoxRow, Columns, Delta, MessageRow, Usage, runs, signed, span, unsigned
from imapd.mailstore.schema import SCHEMA, VERSION

_APPLICATION: Final = 0x494D4144  # "IMAD", for file(1)
_WRITER_PATIENCE: Final = 10.0  # seconds, in a thread; only a crashed writer's recovery can make it wait
_LARGEST: Final = (1 << 63) - 1


def translated(error: sqlite3.Error, committing: bool = False) -> StoreError:
    """The StoreError that says what SQLite means."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    reason = f"index: {error}"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR):
        return Corrupt(reason=reason)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Retry(reason=reason)
    if code == sqlite3.SQLITE_FULL or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return NoSpace(reason=reason)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return Denied("The mail file cannot be written at the moment.", code="UNAVAILABLE", reason=reason)
    if committing and code == sqlite3.SQLITE_IOERR:
        return UnknownOutcome(reason=reason)
    return Retry("The mail file cannot be read or written at the moment.", code="UNAVAILABLE", reason=reason)


@contextmanager
def _meaning() -> Iterator[None]:
    """Values that cannot be what they should be are damage that SQLite has not noticed."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        raise Corrupt(reason=f"index: {error}") from error


class Index:
    """A connection to an account's database."""

    def __init__(self, path: bytes, patience: float = 0.0, unchanging: bool = False) -> None:
        """Open the database. patience: how long SQLite may wait, which is 0 outside the disk threads.

        unchanging: nobody can write to it, and SQLite needs no lock. touched: the mailboxes whose UIDs or modseqs moved
        by this connection; whoever follows them empties it.
        """
        self._path = path
        self.touched: set[int] = set()
        try:
            uri = "file:" + quote(path) + ("?immutable=1" if unchanging else "")
            self._db = sqlite3.connect(uri, timeout=patience, isolation_level=None, check_same_thread=False, uri=True)
        except sqlite3.Error as error:
            raise translated(error) from error

    @classmethod
    def writer(cls, path: bytes) -> "Index":
        """The connection for writing (rule 3); it makes the tables where there are none."""
        index = cls(path, _WRITER_PATIENCE)
        try:
            index._prepare()
        except BaseException:
            index.close()
            raise
        return index

    def close(self) -> None:
        try:
            self._db.close()
        except sqlite3.Error as error:
            raise translated(error) from error

    def _prepare(self) -> None:
        version = self._value("PRAGMA user_version")
        if version > VERSION:  # rule 4
            raise Denied(
                "Your mail file is in use by a newer version of this server; please tell your administrator.",
                code="UNAVAILABLE",
                reason=f"the index has version {version}, this program knows {VERSION}",
            )
        self._all("PRAGMA journal_mode = WAL")
        self._all("PRAGMA synchronous = FULL")
        if not version:
            with self.transaction():
                for statement in SCHEMA.split(";\n"):
                    self._all(statement)
                self._all(f"PRAGMA application_id = {_APPLICATION}")
                self._all(f"PRAGMA user_version = {VERSION}")
        self.boxes()

    def is_sound(self) -> bool:
        """Whether SQLite finds no damage. Reads all of the database."""
        try:
            return self._all("PRAGMA quick_check(1)") == [("ok",)]
        except StoreError:
            return False

    # The ways to SQLite: every statement goes through one of these.

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise translated(error) from error
        except UnicodeDecodeError as error:  # damaged text, also in SQLite's own error message
            raise Corrupt(reason=f"index: {error}") from error

    def _value(self, statement: str, values: Sequence[Any] = ()) -> Any:
        rows = self._all(statement, values)
        return rows[0][0] if rows else None

    def _each(self, statement: str, values: Iterable[Sequence[Any]]) -> None:
        try:
            self._db.executemany(statement, values)
        except sqlite3.Error as error:
            raise translated(error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write, all or nothing; durable at the end."""
        self._all("BEGIN IMMEDIATE")
        try:
            yield
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise translated(error, committing=True) from error
        except BaseException:
            if self._db.in_transaction:
                self._all("ROLLBACK")
            raise

    @contextmanager
    def settling(self) -> Iterator[None]:
        """Write what may be lost in a power cut, without waiting for the disk (rule 1)."""
        self._all("PRAGMA synchronous = NORMAL")
        try:
            with self.transaction():
                yield
        finally:
            self._all("PRAGMA synchronous = FULL")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Several statements that see the same moment."""
        self._all("BEGIN")
        try:
            yield
        finally:
            self._all("ROLLBACK")

    def data_version(self) -> int:
        """A number that changes with every commit of another connection."""
        return int(self._value("PRAGMA data_version"))

    # Mailboxes

    def boxes(self) -> list[BoxRow]:
        return self._boxes("ORDER BY id")

    def _boxes(self, which: str, values: Sequence[Any] = ()) -> list[BoxRow]:
        with _meaning():
            rows = [BoxRow._make(row) for row in self._all(f"SELECT {_BOX} FROM mailbox {which}", values)]
            if any(type(row.name) is not str or type(row.directory) is not bytes for row in rows):
                raise TypeError("the name of a mailbox is no text")
            return rows

    def box(self, box: int) -> BoxRow | None:
        rows = self._boxes("WHERE id = ?", (box,))
        return rows[0] if rows else None

    def box_named(self, name: str) -> BoxRow | None:
        rows = self._boxes("WHERE name = ?", (name,))
        return rows[0] if rows else None

    def add_box(self, name: str, directory: bytes, uidvalidity: int, special_use: str) -> int:
        """A new mailbox; its UIDVALIDITY becomes the last one given. Its id."""
        self._all("INSERT INTO mailbox (name, directory, uidvalidity, special_use) VALUES (?, ?, ?, ?)",
                  (name, directory, uidvalidity, special_use))  # fmt: skip
        box = int(self._value("SELECT last_insert_rowid()"))
        self.set_last_uidvalidity(uidvalidity)
        self.touched.add(box)
        return box

    def set_last_uidvalidity(self, uidvalidity: int) -> None:
        self._set_meta("uidvalidity", uidvalidity)

    def _set_meta(self, name: str, value: int) -> None:
        self._all("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def last_uidvalidity(self) -> int:
        """The highest UIDVALIDITY ever given by this database."""
        return self._meta("uidvalidity")

    def _meta(self, name: str) -> int:
        return int(self._value("SELECT value FROM meta WHERE name = ?", (name,)) or 0)

    def has_moved(self, inode: int) -> bool:
        """Whether the database was in another file when it was used last: it is a copy."""
        return self._meta("inode") != inode & _LARGEST

    def settle_down(self, inode: int) -> None:
        """Say in which file the database is."""
        with self.settling():
            self._set_meta("inode", inode & _LARGEST)

    def update_box(self, box: int, **columns: object) -> None:
        if columns.keys() & {"uidvalidity", "modseq"}:
            self.touched.add(box)
        assignments = ", ".join([f"{column} = ?" for column in columns])
        self._all(f"UPDATE mailbox SET {assignments} WHERE id = ?", (*columns.values(), box))

    def drop_box(self, box: int) -> None:
        """Forget a mailbox and its messages."""
        self._all("DELETE FROM message WHERE id BETWEEN ? AND ?", span(box))
        self._all("DELETE FROM tombstone WHERE id BETWEEN ? AND ?", span(box))
        self._all("DELETE FROM keyword WHERE mailbox = ?", (box,))
        self._all("DELETE FROM meta WHERE name = ?", (f"forgotten {box}",))
        self._all("DELETE FROM mailbox WHERE id = ?", (box,))
        self.touched.add(box)

    def keywords(self, box: int) -> tuple[str, ...]:
        rows = self._all("SELECT name FROM keyword WHERE mailbox = ? ORDER BY number", (box,))
        return tuple([name for (name,) in rows])

    def add_keywords(self, box: int, keywords: Iterable[tuple[int, str]]) -> None:
        self._each("INSERT INTO keyword VALUES (?, ?, ?)", [(box, number, name) for number, name in keywords])

    # Messages, for reading

    def _messages(self, which: str, values: Sequence[Any] = ()) -> list[MessageRow]:
        with _meaning():
            rows = [MessageRow._make(row) for row in self._all(f"SELECT {_MESSAGE} FROM message {which}", values)]
            if any(type(row.file) is not bytes for row in rows):
                raise TypeError("the name of a file is no octets")
            return [row if row.mask >= 0 else row._replace(mask=unsigned(row.mask)) for row in rows]

    def message(self, box: int, uid: int) -> MessageRow | None:
        rows = self._messages("WHERE id = ?", (box << 32 | uid,))
        return rows[0] if rows else None

    def columns(self, box: int) -> Columns | None:
        """Everything; reads all rows of the mailbox."""
        with self._reading():
            row = self.box(box)
            if row is None:
                return None
            rows = self._all("SELECT id & 4294967295, mask, modseq, size, date FROM message "
                             "WHERE id BETWEEN ? AND ? ORDER BY id", span(box))  # fmt: skip
            keywords = self.keywords(box)
        uids, masks, modseqs, sizes, dates = zip(*rows, strict=True) if rows else ((),) * 5
        if not all(map(lt, uids, uids[1:])):
            raise Corrupt(reason="index: UIDs do not ascend")
        with _meaning():
            unsigned_masks = array("Q", array("q", masks).tobytes())
            return Columns(row, keywords, array("I", uids), unsigned_masks, array("Q", modseqs), array("Q", sizes),
                           array("q", dates))  # fmt: skip

    def delta(self, box: int, modseq: int, limit: int) -> Delta | None:
        """What changed after a modseq; None where the mailbox is gone. Where there are more than `limit` changes, at
        least limit + 1 of them."""
        with self._reading():
            row = self.box(box)
            if row is None:
                return None
            rows = self._all("SELECT id & 4294967295, mask, modseq, size, date FROM message "
                             "WHERE id >> 32 = ? AND modseq > ? LIMIT ?", (box, modseq, limit + 1))  # fmt: skip
            vanished = self._all("SELECT id & 4294967295 FROM tombstone WHERE id >> 32 = ? AND modseq > ? LIMIT ?",
                                 (box, modseq, limit + 1))  # fmt: skip
            keywords = self.keywords(box)
            forgotten = self._meta(f"forgotten {box}")
        with _meaning():
            changed = sorted([(uid, unsigned(mask), changed, size, date) for uid, mask, changed, size, date in rows])
            return Delta(row, keywords, changed, sorted([uid for (uid,) in vanished]), forgotten)

    def counts(self, box: int, seen: int, deleted: int) -> tuple[int, int, int, int, int, int]:
        """Messages, recent, unseen, deleted ones, the sum of their sizes and of those of the deleted ones."""
        row = self._all(
            "SELECT count(*), ifnull(sum((id & 4294967295) > (SELECT recent FROM mailbox WHERE id = ?)), 0), "
            "ifnull(sum(NOT mask & ?), 0), ifnull(sum((mask & ?) <> 0), 0), ifnull(sum(size), 0), "
            "ifnull(sum(iif(mask & ?, size, 0)), 0) FROM message WHERE id BETWEEN ? AND ?",
            (box, seen, deleted, deleted, *span(box)))[0]  # fmt: skip
        return row[0], row[1], row[2], row[3], row[4], row[5]

    def usage(self) -> Usage:
        """What all messages of the account come to."""
        return Usage._make(self._all("SELECT count(*), ifnull(sum(size), 0) FROM message")[0])

    def limits(self) -> Limits | None:
        """What has been set by `set_limits`; None where nothing has."""
        kept = dict(self._all("SELECT name, value FROM meta WHERE name GLOB 'limit*'"))
        return Limits(kept.get("limit storage"), kept.get("limit messages")) if "limits" in kept else None

    def set_limits(self, limits: Limits | None) -> None:
        self._all("DELETE FROM meta WHERE name GLOB 'limit*'")
        if limits is not None:
            values = {"limits": 1, "limit storage": limits.storage_octets, "limit messages": limits.messages}
            for name, value in values.items():
                if value is not None:
                    self._set_meta(name, value)

    # Messages, for writing; what is read here is read under the lock, and true to the end of it

    def rows(self, box: int, uids: Sequence[int] | None = None) -> list[MessageRow]:
        """The messages with those UIDs, ascending; of all where uids is None."""
        if uids is None:
            return self._messages("WHERE id BETWEEN ? AND ? ORDER BY id", span(box))
        rows: list[MessageRow] = []
        for low, high in runs(uids):
            rows += self._messages("WHERE id BETWEEN ? AND ? ORDER BY id", (box << 32 | low, box << 32 | high))
        return rows

    def files(self, box: int) -> dict[tuple[int, bytes], int]:
        """The key of the message of each place and file name."""
        rows = self._all("SELECT place, file, id FROM message WHERE id BETWEEN ? AND ?", span(box))
        return {(place, file): key for place, file, key in rows}

    def rows_not_in_cur(self, box: int) -> list[MessageRow]:
        return self._messages("INDEXED BY message_not_in_cur WHERE place AND id BETWEEN ? AND ? ORDER BY id", span(box))

    def has_files_outside_cur(self, box: int) -> bool:
        rows = "SELECT 1 FROM message INDEXED BY message_not_in_cur WHERE place AND id BETWEEN ? AND ?"
        return bool(self._value(f"SELECT EXISTS ({rows})", span(box)))

    def insert(self, rows: Iterable[MessageRow]) -> None:
        self._each("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   [row._replace(mask=signed(row.mask)) for row in rows])  # fmt: skip

    def reflag(self, changes: Iterable[tuple[int, int, int]]) -> None:
        """Set mask and modseq of messages, whose files have to be renamed now: (key, mask, modseq)."""
        self._each("UPDATE message SET mask = ?, modseq = ?, pending = 1 WHERE id = ?",
                   [(signed(mask), modseq, key) for key, mask, modseq in changes])  # fmt: skip

    def relocate(self, places: Iterable[tuple[int, int, bytes]]) -> None:
        """Say where files lie now, and that they need nothing more: (key, place, file)."""
        self._each("UPDATE message SET place = ?, file = ?, base = NULL, pending = 0 WHERE id = ?",
                   [(place, file, key) for key, place, file in places])  # fmt: skip

    def give_up(self, keys: Iterable[int]) -> None:
        """Wait no longer for files that were not found; the next listing tells where they are."""
        self._each("UPDATE message SET pending = 0 WHERE id = ?", [(key,) for key in keys])

    def resize(self, key: int, size: int, octets: int, modseq: int) -> None:
        self._all("UPDATE message SET size = ?, octets = ?, modseq = ? WHERE id = ?", (size, octets, modseq, key))

    def bury(self, graves: Sequence[tuple[int, int, bytes | None]]) -> None:
        """Messages become tombstones: (key, modseq, path of the file that has to be removed or None)."""
        self._each("DELETE FROM message WHERE id = ?", [(key,) for key, _, _ in graves])
        self._each("INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?)", graves)

    # Work that files still need

    def is_settled(self) -> bool:
        """Whether no file has to be renamed or removed."""
        return not self._value("SELECT EXISTS (SELECT 1 FROM message WHERE pending) OR EXISTS (SELECT 1 FROM tombstone "
                               "WHERE file IS NOT NULL) OR EXISTS (SELECT 1 FROM moving)")  # fmt: skip

    def pending(self) -> list[MessageRow]:
        return self._messages("WHERE pending ORDER BY id")

    def graves(self) -> list[tuple[int, bytes]]:
        """The key and the path of files of expunged messages."""
        return self._all("SELECT id, file FROM tombstone WHERE file IS NOT NULL")

    def forget(self, box: int, keep: int) -> None:
        """Drop tombstones but for about the newest ones, and say up to which modseq."""
        modseq = self._value("SELECT modseq FROM tombstone WHERE id >> 32 = ? ORDER BY modseq DESC LIMIT 1 OFFSET ?",
                             (box, keep))  # fmt: skip
        if modseq is not None:
            with self.transaction():
                self._all("DELETE FROM tombstone WHERE id >> 32 = ? AND modseq <= ? AND file IS NULL", (box, modseq))
                self._set_meta(f"forgotten {box}", modseq)

    def fill_graves(self, keys: Iterable[int]) -> None:
        self._each("UPDATE tombstone SET file = NULL WHERE id = ?", [(key,) for key in keys])

    def moving(self) -> list[tuple[bytes, bytes]]:
        """Directories that have to be renamed."""
        return self._all("SELECT source, target FROM moving ORDER BY source")

    def add_moving(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._each("INSERT INTO moving VALUES (?, ?)", pairs)

    def clear_moving(self) -> None:
        self._all("DELETE FROM moving")


_BOX: Final = ", ".join(BoxRow._fields)
_MESSAGE: Final = ", ".join(MessageRow._fields)
