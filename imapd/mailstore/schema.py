"""The tables of the index (mailstore/index), as SQLite is told to make them."""

from typing import Final

VERSION: Final = 1
"""To be raised with every change of the tables; a database of a higher version is refused."""

SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE mailbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, directory BLOB NOT NULL UNIQUE,
    uidvalidity INTEGER NOT NULL UNIQUE, uidnext INTEGER NOT NULL DEFAULT 1, modseq INTEGER NOT NULL DEFAULT 1,
    recent INTEGER NOT NULL DEFAULT 0, special_use TEXT NOT NULL DEFAULT '', new_stamp TEXT NOT NULL DEFAULT '',
    cur_stamp TEXT NOT NULL DEFAULT '', doubt REAL NOT NULL DEFAULT 0) STRICT;
CREATE TABLE keyword (
    mailbox INTEGER, number INTEGER, name TEXT NOT NULL, PRIMARY KEY (mailbox, number)) WITHOUT ROWID, STRICT;
CREATE TABLE message (
    id INTEGER PRIMARY KEY, place INTEGER NOT NULL, file BLOB NOT NULL, base BLOB, mask INTEGER NOT NULL,
    modseq INTEGER NOT NULL, size INTEGER NOT NULL, octets INTEGER NOT NULL, date INTEGER NOT NULL,
    pending INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX message_by_modseq ON message (id >> 32, modseq);
CREATE INDEX message_pending ON message (id) WHERE pending;
CREATE INDEX message_not_in_cur ON message (id) WHERE place;
CREATE TABLE tombstone (id INTEGER PRIMARY KEY, modseq INTEGER NOT NULL, file BLOB) STRICT;
CREATE INDEX tombstone_by_modseq ON tombstone (id >> 32, modseq);
CREATE INDEX tombstone_pending ON tombstone (id) WHERE file IS NOT NULL;
CREATE TABLE moving (source BLOB PRIMARY KEY, target BLOB NOT NULL) STRICT;
"""
