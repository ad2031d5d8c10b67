"""The columns of an mbox that is taken in for the first time, kept while its rows are written.

Whoever opens a large mailbox wants them next (mailstore/columnfile), and would read all rows again.
"""

from imapd.mailstore import columnfile
from imapd.mailstore.bench import Bench
from imapd.mailstore.columnfile import LARGE, ColumnFile
from imapd.mailstore.rows import BoxRow, NewRows
from imapd.mailstore.store import Snapshot


class FirstColumns:
    """Those of the mailbox that an account takes in at the moment, by parts."""

    def __init__(self) -> None:
        self._box: BoxRow | None = None  # as the last part left it
        self._columns: Snapshot | None = None

    def follow(self, bench: Bench, box: BoxRow, rows: NewRows, is_all: bool) -> None:
        """Messages have come into a mailbox, which was `box` before; where they are all that there are, and many, the
        file is written. Each commit of a first sight is told."""
        file = ColumnFile(bench.root, box.id, box.uidvalidity, bench.settings.file_mode)
        before = self._columns if box == self._box else None if box.messages else file.kept(box)
        self._box = bench.box(box.id)
        self._columns = before and columnfile.extended(before, self._box, rows)
        if is_all:
            if self._columns and len(self._columns.uids) >= LARGE:
                file.write(self._columns)
            self._box = self._columns = None
