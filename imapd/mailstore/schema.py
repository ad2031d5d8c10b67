"""The tables of the index (mailstore/index), as SQLite is told to make them."""

# ruff: noqa: S608 - statements are put together from statements

from typing import Final

VERSION: Final = 2
"""To be raised with every change of the tables; a database of a higher version is refused."""

_MAILBOX: Final = """
CREATE TABLE mailbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, directory BLOB NOT NULL UNIQUE,
    uidvalidity INTEGER NOT NULL, uidnext INTEGER NOT NULL DEFAULT 1, modseq INTEGER NOT NULL DEFAULT 1,
    recent INTEGER NOT NULL DEFAULT 0, special_use TEXT NOT NULL DEFAULT '', new_stamp TEXT NOT NULL DEFAULT '',
    cur_stamp TEXT NOT NULL DEFAULT '', doubt REAL NOT NULL DEFAULT 0, messages INTEGER NOT NULL DEFAULT 0,
    octets INTEGER NOT NULL DEFAULT 0, uidlist_stamp TEXT NOT NULL DEFAULT '', sum INTEGER NOT NULL DEFAULT 0) STRICT;
"""

_NOT_IN_CUR: Final = """
CREATE INDEX message_not_in_cur ON message (id) WHERE place IN (1, 2);
"""

SCHEMA: Final = f"""{_MAILBOX}
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE keyword (
    mailbox INTEGER, number INTEGER, name TEXT NOT NULL, PRIMARY KEY (mailbox, number)) WITHOUT ROWID, STRICT;
CREATE TABLE message (
    id INTEGER PRIMARY KEY, place INTEGER NOT NULL, file BLOB NOT NULL, base BLOB, mask INTEGER NOT NULL,
    modseq INTEGER NOT NULL, size INTEGER NOT NULL, octets INTEGER NOT NULL, date INTEGER NOT NULL,
    pending INTEGER NOT NULL DEFAULT 0, sum INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX message_by_modseq ON message (id >> 32, modseq);
CREATE INDEX message_pending ON message (id) WHERE pending;
{_NOT_IN_CUR}
CREATE TABLE tombstone (id INTEGER PRIMARY KEY, modseq INTEGER NOT NULL, file BLOB) STRICT;
CREATE INDEX tombstone_by_modseq ON tombstone (id >> 32, modseq);
CREATE INDEX tombstone_pending ON tombstone (id) WHERE file IS NOT NULL;
CREATE TABLE moving (source BLOB PRIMARY KEY, target BLOB NOT NULL) STRICT;
"""

UPGRADE_FROM_1: Final = f"""
ALTER TABLE mailbox RENAME TO mailbox_1;
{_MAILBOX}
INSERT INTO mailbox SELECT *, (SELECT count(*) FROM message WHERE message.id >> 32 = mailbox_1.id),
    (SELECT ifnull(sum(size), 0) FROM message WHERE message.id >> 32 = mailbox_1.id), '', 0 FROM mailbox_1;
DELETE FROM sqlite_sequence WHERE name = 'mailbox';
UPDATE sqlite_sequence SET name = 'mailbox' WHERE name = 'mailbox_1';
DROP TABLE mailbox_1;
ALTER TABLE message ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
DROP INDEX message_not_in_cur;
{_NOT_IN_CUR}
"""
"""A mailbox of version 1 had no counts, its UIDVALIDITY was UNIQUE, and no row had a checksum: those come later."""
