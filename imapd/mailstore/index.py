"""The index of an account: one SQLite database with what files cannot hold.

It stands beside the mail as `imapd-index.sqlite` and keeps, for each mailbox, its name and directory, UIDVALIDITY,
UIDNEXT, the highest modseq, the watermark of \\Recent and the special use (mailstore/mailboxtable); for each message
its UID, file, flags, modseq, size and date; what was expunged; the keywords' numbers; and the work that files still
need.

Rules:

1. WAL and synchronous=FULL: a commit is durable on return. `settling` transactions alone are not: they only say that
   work on files has been done, and that work may be done twice.
2. Messages are clustered by mailbox id << 32 | UID; mailbox ids are never used again.
3. Writes happen under the account's lock and in a disk thread, on a connection of their own. Reading is done on another
   one, in WAL mode beside the writer, so a reader never waits and never sees half a write.
4. A database of a newer version is refused before anything is written to it; one of an older version is brought up to
   date in one transaction. The version stands in the header and in the table `meta`: a flipped bit is no newer version.
5. The rows of mailboxes and messages have checksums, which are looked at whenever a row is read: no damaged row gives a
   wrong body under a UID. Writes are told the row that was read, so that damage never gets a new checksum. Errors come
   out as StoreErrors; Corrupt means damage that SQLite or a checksum has found.
6. Tables are STRICT (SQLite 3.37), so that a check of the file finds values of a wrong type too.
7. How many messages a mailbox has, and of how many octets, stands in its row and is kept by every write. Whoever reads
   all rows of a mailbox looks whether they are so many: on a damaged page SQLite may find fewer and say nothing.

Names of files and directories are BLOBs, being octets. Masks fill 64 bits and are stored as signed numbers.
"""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Final

from imapd.mailstore.database import meaning
from imapd.mailstore.errors import Corrupt, Denied, Retry, StoreError
from imapd.mailstore.messagetable import MESSAGE, NOT_IN_CUR, MessageTable, message_of
from imapd.mailstore.rows import (
    MessageRow,
    message_sum,
    span,
)
from imapd.mailstore.schema import SCHEMA, UPGRADE_FROM_1, VERSION

_APPLICATION: Final = 0x494D4144  # "IMAD", for file(1)
_WRITER_PATIENCE: Final = 10.0  # seconds, in a thread; only a crashed writer's recovery can make it wait
_NOTED: Final = "version"


class Index(MessageTable):
    """A connection to an account's database: its making and its soundness, and the work that files still need."""

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

    def is_as_left(self, inode: int) -> bool:
        """Whether a program of this version made the database, used it last in that file, and left no work behind."""
        ours = self._value("PRAGMA user_version") == VERSION and not self.has_moved(inode)
        return bool(ours and self.boxes()) and self.is_settled()

    def version(self) -> int:
        """The version of its tables. Raises Corrupt where it says that it is newer, and that it is of this one."""
        version = super().version()
        if version > VERSION:
            noted = 0
            with suppress(StoreError):  # a newer one may have other tables
                noted = self._meta(_NOTED)
            if noted == VERSION:
                raise Corrupt(reason=f"the index says that it has version {version}, and that it has {noted}")
        return version

    def _prepare(self) -> None:
        version = self.version()
        if version > VERSION:  # rule 4
            raise Denied(
                "Your mail file is in use by a newer version of this server; please tell your administrator.",
                code="UNAVAILABLE",
                reason=f"the index has version {version}, this program knows {VERSION}",
            )
        self._begin_log()
        self._all("PRAGMA synchronous = FULL")
        if not version:
            self._make_tables()
        elif version < VERSION:
            self._upgrade()
        self._allow_bulk()
        if self._meta(_NOTED) != VERSION:
            with self.settling():
                self._set_meta(_NOTED, VERSION)
        self.boxes()

    def _make_tables(self) -> None:
        with self.transaction():
            self._run(SCHEMA)
            self._all(f"PRAGMA application_id = {_APPLICATION}")
            self._all(f"PRAGMA user_version = {VERSION}")
            self._set_meta(_NOTED, VERSION)

    def _begin_log(self) -> None:
        """Have a new database keep a log (WAL)."""
        if self._value("PRAGMA journal_mode") == "wal":
            return
        self._all("PRAGMA busy_timeout = 0")
        try:
            self._all("PRAGMA journal_mode = WAL")
        except Retry as error:
            # Somebody has it open, as a database with a log: what says that it has none is damage, or it was emptied.
            raise Corrupt(reason="the index is open elsewhere with a log, and says that it has none") from error
        self._all(f"PRAGMA busy_timeout = {_WRITER_PATIENCE * 1000:.0f}")

    def _run(self, statements: str) -> None:
        for statement in statements.split(";\n"):
            self._all(statement)

    def _upgrade(self) -> None:
        """From version 1, which had no checksums and no counts."""
        if damage := super().damage():  # its tables are others still
            raise Corrupt(reason=f"index: {damage}")  # a checksum must not bless it
        with self.transaction():
            self._run(UPGRADE_FROM_1)
            self._seal()
            with meaning():
                for rows in self._chunks(f"SELECT {MESSAGE} FROM message ORDER BY id"):
                    messages = [message_of((*row, 0)) for row in rows]
                    self._each("UPDATE message SET sum = ? WHERE id = ?",
                               [(message_sum(message), message.id) for message in messages])  # fmt: skip
            self._all(f"PRAGMA user_version = {VERSION}")

    def is_sound(self) -> bool:
        """Whether nothing in it is damaged. Reads all of the database."""
        try:
            return not self.damage() and all(self.columns(box.id) is not None for box in self.boxes())
        except StoreError:
            return False

    def damage(self) -> str:
        return super().damage() or ("" if self.shape() == _right_shape() else "it has other tables than it should have")

    # Work that files still need

    def is_settled(self) -> bool:
        """Whether no file has to be renamed or removed."""
        return not self._value("SELECT EXISTS (SELECT 1 FROM message WHERE pending) OR EXISTS (SELECT 1 FROM tombstone "
                               "WHERE file IS NOT NULL) OR EXISTS (SELECT 1 FROM moving)")  # fmt: skip

    def marks(self, most: int) -> int:
        """How many files have to be renamed or removed, counted up to `most` of each."""
        renames, removals = self._all(
            "SELECT count(*) FROM (SELECT 1 FROM message WHERE pending LIMIT ?) UNION ALL "
            "SELECT count(*) FROM (SELECT 1 FROM tombstone WHERE file IS NOT NULL LIMIT ?)", (most, most))  # fmt: skip
        return int(renames[0] + removals[0])

    def waits_for_flags_alone(self) -> bool:
        """Whether the work on files is to rename them, where they are, for the flags of their messages."""
        return not self._value(
            f"SELECT EXISTS (SELECT 1 FROM message {NOT_IN_CUR} AND place = 2) OR EXISTS "
            "(SELECT 1 FROM tombstone WHERE file IS NOT NULL) OR EXISTS (SELECT 1 FROM moving)"
        )

    def pending(self, most: int = -1) -> list[MessageRow]:
        """The messages whose files have to be renamed: so many, or all."""
        return self._messages("WHERE pending ORDER BY id LIMIT ?", (most,))

    def pending_in(self, box: int) -> list[MessageRow]:
        """The messages of a mailbox whose flags the files do not have yet."""
        return self._messages("INDEXED BY message_pending WHERE pending AND id BETWEEN ? AND ? ORDER BY id", span(box))

    def is_settled_in(self, box: int) -> bool:
        """Whether the files of a mailbox have all flags, and no message that was expunged."""
        return not self._value(
            "SELECT EXISTS (SELECT 1 FROM message WHERE pending AND id BETWEEN ? AND ?) OR EXISTS "
            "(SELECT 1 FROM tombstone WHERE file IS NOT NULL AND id BETWEEN ? AND ?)", span(box) * 2)  # fmt: skip

    def graves(self, most: int = -1) -> list[tuple[int, bytes]]:
        """The key and the path of files of expunged messages: so many, or all."""
        return self._all("SELECT id, file FROM tombstone WHERE file IS NOT NULL LIMIT ?", (most,))

    def forget(self, box: int, keep: int) -> None:
        """Drop tombstones but for about the newest ones, and say up to which modseq."""
        modseq = self._value("SELECT modseq FROM tombstone WHERE id >> 32 = ? ORDER BY modseq DESC LIMIT 1 OFFSET ?",
                             (box, keep))  # fmt: skip
        if modseq is not None:
            with self.transaction():
                self._all("DELETE FROM tombstone WHERE id >> 32 = ? AND modseq <= ? AND file IS NULL", (box, modseq))
                self.set_forgotten(box, modseq)

    def shift_graves(self, graves: Iterable[tuple[int, bytes]]) -> None:
        """Say what else has to be removed of expunged messages: (key, path)."""
        self._each("UPDATE tombstone SET file = ? WHERE id = ?", [(path, key) for key, path in graves])

    def fill_graves(self, keys: Iterable[int]) -> None:
        self._each("UPDATE tombstone SET file = NULL WHERE id = ?", [(key,) for key in keys])

    def moving(self) -> list[tuple[bytes, bytes]]:
        """Directories that have to be renamed."""
        return self._all("SELECT source, target FROM moving ORDER BY source")

    def add_moving(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._each("INSERT INTO moving VALUES (?, ?)", pairs)

    def clear_moving(self) -> None:
        self._all("DELETE FROM moving")


@cache
def blank() -> bytes:
    """A new database as a file, with its tables, that keeps a log: made once by SQLite, and not for each account."""
    example = Index(b":memory:")
    example._make_tables()
    data = example.as_file()
    example.close()
    return data


@cache
def _right_shape() -> list[tuple[str, str]]:
    """What `shape` gives of a new database. SQLite refuses statements for a damaged name, and finds no fault."""
    example = Index(b":memory:")
    example._run(SCHEMA)
    shape = example.shape()
    example.close()
    return shape
