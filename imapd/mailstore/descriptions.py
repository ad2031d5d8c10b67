"""The kept texts of ENVELOPE, BODY and BODYSTRUCTURE: a cache that may be thrown away at any time.

It stands beside the index as `imapd-cache.sqlite`, written without waiting for the disk. A text belongs to a message by
mailbox id, UIDVALIDITY and UID, which never mean another message in the same account. Each row has a checksum: what a
power cut has torn is made anew, and so is everything when the cache is damaged, busy or of another version. It never
raises.
"""

# ruff: noqa: S608 - the statement is put together from question marks

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Sequence
from typing import Final
from zlib import crc32

from imapd.mailstore.store import Description

log = logging.getLogger("imapd.mailstore")

VERSION: Final = 2
"""To be raised with every change of the texts that mailstore/render makes."""
AT_ONCE: Final = 256
Mailbox = tuple[int, int]  # its id and UIDVALIDITY
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS description (id INTEGER PRIMARY KEY, envelope BLOB, body BLOB, bodystructure BLOB, sum)"
)


class DescriptionCache:
    """The cache of one account."""

    def __init__(self, path: bytes, mode: int) -> None:
        self._path = path
        self._mode = mode
        self._db = self._open()

    def _open(self) -> sqlite3.Connection | None:
        try:
            self._make_file()
            db = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                db.execute("DROP TABLE IF EXISTS description")
            db.execute(_TABLE)
            db.execute(f"PRAGMA user_version = {VERSION}")
        except (OSError, sqlite3.Error) as error:
            self._failed(error)
            return None
        return db

    def _make_file(self) -> None:
        """Make the file, for its mode. One that is there is not opened: closing it would free SQLite's locks on it, if
        another connection of this process had them (fcntl). What is no file is removed, so that no link is followed.
        """
        for suffix in (b"", b"-wal", b"-shm"):
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(self._path + suffix).st_mode):
                    os.unlink(self._path + suffix)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode))

    def _failed(self, error: Exception) -> None:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            log.warning("the cache of descriptions is damaged and begins anew: %s", error)
            for suffix in (b"", b"-wal", b"-shm"):
                with contextlib.suppress(OSError):
                    os.unlink(self._path + suffix)
            self._db = None  # opened anew with the next account's opening

    def get(self, mailbox: Mailbox, uids: Sequence[int]) -> dict[int, Description]:
        """The texts that are kept, of at most AT_ONCE messages."""
        if self._db is None or not uids:
            return {}
        keys = [_key(mailbox, uid) for uid in uids]
        marks = ",".join("?" * len(keys))
        try:
            rows = self._db.execute(f"SELECT * FROM description WHERE id IN ({marks})", keys).fetchall()
        except sqlite3.Error as error:
            self._failed(error)
            return {}
        return {
            key & 0xFFFFFFFF: Description(*texts) for key, *texts, check in rows if _sum(mailbox, key, texts) == check
        }

    def put(self, mailbox: Mailbox, texts: dict[int, Description]) -> None:
        """Keep texts, if that can be done at once."""
        if self._db is None or not texts:
            return
        rows = []
        for uid, text in texts.items():
            key, parts = _key(mailbox, uid), (text.envelope, text.body, text.bodystructure)
            rows.append((key, *parts, _sum(mailbox, key, parts)))
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR REPLACE INTO description VALUES (?, ?, ?, ?, ?)", rows)
            finally:
                self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._failed(error)

    def forget(self, mailbox: Mailbox, uid: int) -> None:
        """Drop the texts of a message whose file turned out to be another."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("DELETE FROM description WHERE id = ?", (_key(mailbox, uid),))

    def close(self) -> None:
        if self._db is not None:
            db, self._db = self._db, None
            with contextlib.suppress(sqlite3.Error):
                db.close()


def _key(mailbox: Mailbox, uid: int) -> int:
    return mailbox[0] << 32 | uid


def _sum(mailbox: Mailbox, key: int, texts: Sequence[object]) -> int:
    check = crc32(b"%d %d" % (mailbox[1], key))
    for text in texts:
        if not isinstance(text, bytes):
            return -1
        check = crc32(text, check)
    return check
