"""A connection to a SQLite database: statements, transactions, and what its errors mean.

Statements go through `_all`, `_value` and `_each`, of which the tables (mailstore/mailboxtable, mailstore/index) are
made. Errors come out as StoreErrors. Corrupt means that the file is damaged: SQLite found it so, or a value cannot be
what it should be.

Where a sync fails, the machine may forget what it was for, show it to whoever reads until the power is cut, and say of
the next sync that it went well. So a connection whose commit failed writes no more (`is_in_doubt`). Who opens the
database then has it written once more, from what can be read, into the other file (`empty_log`): what was committed
without a sync before (`settling`) stands in the log in front of what comes later, and would take that with it.
"""

import contextlib
import os
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Final
from urllib.parse import quote

from imapd.mailstore import baton, quota
from imapd.mailstore.errors import Corrupt, Denied, NoSpace, OverQuota, Retry, StoreError, UnknownOutcome

_CHUNK = 2_000
_ROWS: Final = 50  # in one INSERT: with more of them it is hardly faster
_LOG: Final = 1_000
"""Pages in the log that a commit brings into the database afterwards."""
_UNAVAILABLE: Final = "The mail file cannot be read or written at the moment."
_REFUSED_WRITES: Final = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_CANTOPEN}


def _row_of(columns: int) -> str:
    return f"({', '.join('?' * columns)})"


def translated(error: sqlite3.Error, committing: bool = False) -> StoreError:
    """The StoreError that says what SQLite means."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    reason = f"index: {error}"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR):
        return Corrupt(reason=reason)
    if isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode"):
        return Corrupt(reason=reason)  # none of SQLite's: what should be text is none
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Retry(reason=reason)
    if code == sqlite3.SQLITE_FULL or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return NoSpace(reason=reason)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return Denied("The mail file cannot be written at the moment.", code="UNAVAILABLE", reason=reason)
    if committing and code == sqlite3.SQLITE_IOERR:
        return UnknownOutcome(reason=reason)
    return Retry(_UNAVAILABLE, code="UNAVAILABLE", reason=reason)


@contextmanager
def meaning() -> Iterator[None]:
    """Values that cannot be what they should be are damage that SQLite has not noticed."""
    try:
        yield
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise Corrupt(reason=f"index: {error}") from error


class Database:
    """A connection to a database."""

    def __init__(
        self, path: bytes, patience: float = 0.0, unchanging: bool = False, only_looking: bool = False
    ) -> None:
        """Open the database. patience: how long SQLite may wait, which is 0 outside the disk threads.

        unchanging: nobody can write to it, and SQLite needs no lock. only_looking: nothing may be written, also not to
        the files beside it; then nothing in this process may have it open for writing.
        """
        self._path = path
        self.is_in_doubt = False
        self.is_ahead_of_disk = False  # something was committed that no sync was asked for yet
        how = "?immutable=1" if unchanging else "?mode=ro&readonly_shm=1" if only_looking else ""
        try:
            uri = "file:" + quote(path) + how
            self._db = sqlite3.connect(uri, timeout=patience, isolation_level=None, check_same_thread=False, uri=True)
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def close(self) -> None:
        try:
            self._db.close()
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def __del__(self) -> None:
        # A connection and its cache of statements hold each other: without this, that of a handle which is given up
        # would stay open until the collector comes by.
        with contextlib.suppress(AttributeError, sqlite3.Error):
            self._db.close()

    def as_file(self) -> bytes:
        """The whole database as the octets of a file that keeps a log (WAL)."""
        data = bytearray(self._db.serialize())
        data[18:20] = b"\2\2"  # the versions of the file format for writing and reading (its description, 1.3.3)
        return bytes(data)

    def is_sound(self) -> bool:
        """Whether SQLite finds no damage. Reads all of the database, and compares the entries of its indexes."""
        try:
            return not self.damage()
        except StoreError:
            return False

    def damage(self) -> str:
        """The first damage that SQLite finds, in its words; "" where it finds none."""
        found = str(self._value("PRAGMA integrity_check(1)"))
        return "" if found == "ok" else found

    def version(self) -> int:
        """The version of its tables, as its header says it."""
        return int(self._value("PRAGMA user_version"))

    def _translated(self, error: sqlite3.Error, committing: bool = False) -> StoreError:
        """The StoreError that says what SQLite means, which has no word for a quota of the file system.

        Where a write was refused, and not the fsync after it, nothing was committed: it is the same for a full disk.
        """
        code = getattr(error, "sqlite_errorcode", 0)
        if code in _REFUSED_WRITES and quota.is_used_up(os.path.dirname(self._path)):
            return OverQuota(reason=f"index: {error}: the quota of the file system is used up")
        return translated(error, committing)

    # The ways to SQLite: every statement goes through one of these.

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._translated(error) from error
        except UnicodeDecodeError as error:  # damaged text, also in SQLite's own error message
            raise Corrupt(reason=f"index: {error}") from error

    def _value(self, statement: str, values: Sequence[Any] = ()) -> Any:
        rows = self._all(statement, values)
        return rows[0][0] if rows else None

    def _chunks(self, statement: str, values: Sequence[Any] = ()) -> Iterator[list[Any]]:
        """The rows in lists of some thousand; none is empty."""
        try:
            found = self._db.execute(statement, values)
            while rows := found.fetchmany(_CHUNK):
                yield rows
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _each(self, statement: str, values: Iterable[Sequence[Any]]) -> None:
        try:
            self._db.executemany(statement, values)
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _add_function(self, name: str, arguments: int, function: Callable[..., Any]) -> None:
        """Let statements call a function. What it raises comes out of them as Corrupt."""
        try:
            self._db.create_function(name, arguments, function, deterministic=True)
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _each_of_many(self, statement: str, columns: Sequence[Iterable[Any]]) -> None:
        """An INSERT ... VALUES, which stands there without the values, of rows that come as columns. Some of them at a
        time: that takes half as long as one by one."""
        some = statement + ",".join([_row_of(len(columns))] * _ROWS)
        values = chain.from_iterable(zip(*columns, strict=False))  # constants do not end
        one_by_one: list[Any] = []

        def pieces() -> Iterator[list[Any]]:
            while len(piece := list(islice(values, _ROWS * len(columns)))) == _ROWS * len(columns):
                yield piece
            one_by_one.extend(piece)

        self._each(some, pieces())
        rows = range(0, len(one_by_one), len(columns))
        self._each(statement + _row_of(len(columns)), [one_by_one[row : row + len(columns)] for row in rows])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write, all or nothing; durable at the end. Raises UnknownOutcome where nobody knows whether it is."""
        if self.is_in_doubt:
            raise Retry(_UNAVAILABLE, code="UNAVAILABLE", reason="index: a commit has failed on this connection")
        self._all("BEGIN IMMEDIATE")
        try:
            yield
            try:
                with baton.laid_down():
                    self._db.execute("COMMIT")
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", 0)
                self.is_in_doubt |= code & 0xFF == sqlite3.SQLITE_IOERR and code not in _REFUSED_WRITES
                raise self._translated(error, committing=True) from error
            self.is_ahead_of_disk = False
        except BaseException:
            if self._db.in_transaction:
                self._all("ROLLBACK")
            raise

    @contextmanager
    def settling(self) -> Iterator[None]:
        """Write what may be lost in a power cut, without waiting for the disk (rule 1)."""
        # Bringing the log into the database would sync it, and SQLite does not tell where that fails after a commit.
        self._all("PRAGMA wal_autocheckpoint = 0")
        self._all("PRAGMA synchronous = NORMAL")
        try:
            with self.transaction():
                yield
            self.is_ahead_of_disk = True
        finally:
            self._all("PRAGMA synchronous = FULL")
            self._all(f"PRAGMA wal_autocheckpoint = {_LOG}")

    def bring_home(self) -> None:
        """Bring what is in the log into the database, durable, as far as others who read let us. Raises StoreErrors."""
        self._all("PRAGMA wal_checkpoint(PASSIVE)")
        self.is_ahead_of_disk = False

    def empty_log(self) -> None:
        """Bring all that is in the log into the database, durable, and begin the log anew. Raises Retry."""
        if self._value("PRAGMA wal_checkpoint(TRUNCATE)"):
            raise Retry(reason="index: others read for too long")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Several statements that see the same moment."""
        self._all("BEGIN")
        try:
            yield
        finally:
            self._all("ROLLBACK")

    def shape(self) -> list[tuple[str, str]]:
        """The tables with their columns, and the indexes, by their names."""
        names = "SELECT tbl_name, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
        columns = "SELECT tables.name, info.name FROM sqlite_master tables, pragma_table_info(tables.name) info"
        with meaning():
            return sorted(self._all(f"{names} UNION {columns}"))

    def data_version(self) -> int:
        """A number that changes with every commit of another connection."""
        return int(self._value("PRAGMA data_version"))
