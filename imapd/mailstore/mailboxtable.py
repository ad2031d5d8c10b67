"""The mailboxes in the index: their rows, keywords and the few numbers that belong to the account.

A row is checked against its checksum whenever it is read; `update_box` keeps it.
"""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from collections.abc import Iterable, Sequence
from typing import Any, Final

from imapd.mailstore.database import Database, meaning
from imapd.mailstore.errors import Corrupt
from imapd.mailstore.quota import Limits
from imapd.mailstore.rows import ABSENT, BoxRow, Usage, box_sum, span

_LARGEST: Final = (1 << 63) - 1
_COLUMNS: Final = ", ".join(BoxRow._fields)


class MailboxTable(Database):
    """The tables `mailbox`, `keyword` and `meta`.

    touched: the mailboxes whose UIDs or modseqs moved by this connection; whoever follows them empties it.
    """

    def __init__(
        self, path: bytes, patience: float = 0.0, unchanging: bool = False, only_looking: bool = False
    ) -> None:
        super().__init__(path, patience, unchanging, only_looking)
        self.touched: set[int] = set()

    def boxes(self) -> list[BoxRow]:
        return self._boxes("ORDER BY id")

    def _boxes(self, which: str, values: Sequence[Any] = ()) -> list[BoxRow]:
        with meaning():
            found = self._all(f"SELECT {_COLUMNS}, sum FROM mailbox {which}", values)
            rows = [BoxRow._make(row[:-1]) for row in found]
            if any(box_sum(row) != check for row, (*_, check) in zip(rows, found, strict=True)):
                raise Corrupt(reason="index: the row of a mailbox is not as it was written")
            return rows

    def box(self, box: int) -> BoxRow | None:
        rows = self._boxes("WHERE id = ?", (box,))
        return rows[0] if rows else None

    def box_named(self, name: str) -> BoxRow | None:
        rows = self._boxes("WHERE name = ?", (name,))
        if not rows and any(row.name == name for row in self.boxes()):
            raise Corrupt(reason="index: a mailbox is not found by its name")
        return rows[0] if rows else None

    def add_box(
        self, name: str, directory: bytes, uidvalidity: int, special_use: str, uidlist_stamp: str = ABSENT
    ) -> int:
        """A new mailbox; later UIDVALIDITYs are higher than its own. Its id. uidlist_stamp: see mailstore/foreign."""
        self._all("INSERT INTO mailbox (name, directory, uidvalidity, special_use, uidlist_stamp) "
                  "VALUES (?, ?, ?, ?, ?)", (name, directory, uidvalidity, special_use, uidlist_stamp))  # fmt: skip
        box = int(self._value("SELECT last_insert_rowid()"))
        self._seal("WHERE id = ?", (box,))
        self.set_last_uidvalidity(max(uidvalidity, self.last_uidvalidity()))
        self.touched.add(box)
        return box

    def set_last_uidvalidity(self, uidvalidity: int) -> None:
        self._set_meta("uidvalidity", max(uidvalidity, self.last_uidvalidity()))

    def _set_meta(self, name: str, value: int) -> None:
        self._all("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def last_uidvalidity(self) -> int:
        """The highest UIDVALIDITY ever given by this database."""
        return self._meta("uidvalidity")

    def _meta(self, name: str) -> int:
        with meaning():
            return int(self._value("SELECT value FROM meta WHERE name = ?", (name,)) or 0)

    def has_moved(self, inode: int) -> bool:
        """Whether the database was in another file when it was used last: it is a copy."""
        return self._meta("inode") != inode & _LARGEST

    def settle_down(self, inode: int) -> None:
        """Say in which file the database is."""
        with self.settling():
            self._set_meta("inode", inode & _LARGEST)

    def skip_ids(self, highest: int) -> None:
        """Never give an id up to this one, which another index has given."""
        last = self._value("SELECT seq FROM sqlite_sequence WHERE name = 'mailbox'")
        if highest > (last or 0):
            with self.transaction():
                if last is None:
                    self._all("INSERT INTO sqlite_sequence VALUES ('mailbox', ?)", (highest,))
                self._all("UPDATE sqlite_sequence SET seq = ? WHERE name = 'mailbox'", (highest,))

    def set_forgotten(self, box: int, modseq: int) -> None:
        """Say that it is not known what was expunged up to a modseq."""
        self._set_meta(f"forgotten {box}", modseq)

    def _seal(self, which: str = "", values: Sequence[Any] = ()) -> None:
        """Give rows their first checksum."""
        rows = [BoxRow._make(row) for row in self._all(f"SELECT {_COLUMNS} FROM mailbox {which}", values)]
        self._each("UPDATE mailbox SET sum = ? WHERE id = ?", [(box_sum(row), row.id) for row in rows])

    def update_box(self, box: int, **columns: Any) -> None:
        """Set columns of a mailbox, if it is there."""
        row = self.box(box)
        if row is not None:
            self.update_known(row, **columns)
        elif columns.keys() & {"uidvalidity", "modseq"}:
            self.touched.add(box)

    def update_known(self, row: BoxRow, **columns: Any) -> BoxRow:
        """Set columns of a mailbox whose row was read in this transaction, and is so still; its row as it is now."""
        if columns.keys() & {"uidvalidity", "modseq"}:
            self.touched.add(row.id)
        after = row._replace(**columns)
        assignments = ", ".join([f"{column} = ?" for column in (*columns, "sum")])
        self._all(f"UPDATE mailbox SET {assignments} WHERE id = ?", (*columns.values(), box_sum(after), row.id))
        return after

    def usage(self) -> Usage:
        """What the whole account holds."""
        return Usage(*self._all("SELECT ifnull(sum(messages), 0), ifnull(sum(octets), 0) FROM mailbox")[0])

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
        rows = [(box, number, name) for number, name in keywords]
        if rows:
            self._each("INSERT INTO keyword VALUES (?, ?, ?)", rows)

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
