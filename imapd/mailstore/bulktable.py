"""Changes of many messages by one statement: SQLite goes through the rows, and each is given to Python once.

A row's checksum is looked at before it is changed, and made anew with it, as everywhere (mailstore/index rule 5). What
is damaged makes the statement fail, and the caller's transaction with it.
"""

# ruff: noqa: S608 - statements are put together from statements

from collections.abc import Sequence

from imapd.mailstore.mailboxtable import MailboxTable
from imapd.mailstore.maildir import base_of
from imapd.mailstore.rows import packed_sum, runs, signed


class BulkTable(MailboxTable):
    """The table `message`, many rows at a time."""

    def _allow_bulk(self) -> None:
        """Make the functions that the statements need; once for each connection that writes."""
        self._add_function("resealed", 11, _resealed)

    def uids_among(self, box: int, uids: Sequence[int]) -> list[int]:
        """Those of the UIDs that the mailbox has, ascending."""
        found: list[int] = []
        for low, high in runs(uids):
            keys = self._all("SELECT id & 4294967295 FROM message WHERE id BETWEEN ? AND ? ORDER BY id",
                             (box << 32 | low, box << 32 | high))  # fmt: skip
            found += [uid for (uid,) in keys]
        return found

    def reflag_many(self, box: int, uids: Sequence[int], kept: int, added: int, modseq: int) -> list[int]:
        """Give messages those bits of their masks that are kept, and those that are added; the UIDs of those that have
        another mask by that, ascending. Their files have to be renamed now. Raises Corrupt."""
        kept, added = signed(kept), signed(added)
        changed: list[int] = []
        for low, high in runs(uids):
            found = self._all(
                "UPDATE message SET mask = mask & ?1 | ?2, modseq = ?3, pending = 1, "
                "sum = resealed(sum, id, mask, modseq, size, octets, date, base, file, mask & ?1 | ?2, ?3) "
                "WHERE id BETWEEN ?4 AND ?5 AND mask <> (mask & ?1 | ?2) RETURNING id & 4294967295",
                (kept, added, modseq, box << 32 | low, box << 32 | high))  # fmt: skip
            changed += sorted([uid for (uid,) in found])
        return changed

    def _entomb(self, box: int, uids: Sequence[int], modseq: int, paths: tuple[bytes, bytes] | None) -> None:
        """Messages become tombstones. paths: what stands before the names of files in cur/ and in new/, where the files
        have to be removed. Whoever calls counts them."""
        keys = [(box << 32 | low, box << 32 | high) for low, high in runs(uids)]
        cur, new = paths or (b"", b"")
        file = "iif(place = 2, file, CAST(iif(place, ?, ?) || file AS BLOB))" if paths else "nullif(?, ?)"
        self._each(f"INSERT OR REPLACE INTO tombstone SELECT id, ?, {file} FROM message WHERE id BETWEEN ? AND ?",
                   [(modseq, new, cur, low, high) for low, high in keys])  # fmt: skip
        self._each("DELETE FROM message WHERE id BETWEEN ? AND ?", keys)


def _resealed(
    check: int, key: int, mask: int, modseq: int, size: int, octets: int, date: int, base: bytes | None, file: bytes,
    new_mask: int, new_modseq: int,
) -> int:  # fmt: skip
    """The checksum of a message that gets another mask and modseq."""
    known_by = base or base_of(file)
    if packed_sum(key, mask, modseq, size, octets, date, known_by) != check:
        raise ValueError  # SQLite makes an error of it that means damage, whatever is raised
    return packed_sum(key, new_mask, new_modseq, size, octets, date, known_by)
