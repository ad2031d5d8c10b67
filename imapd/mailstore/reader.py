"""An account's handle for reading its index: opened when it is needed, and the simplest one that will do.

Rules:

1. Whoever writes to the index begins a log beside it first, and what is in the log comes into the file before the log
   goes. So a file without a log, whose times are not of this moment, is at rest, and is read without SQLite's own log
   and locks, which take longer to make and to remove again than all that is read by a client who comes in and waits.
2. Whether it was at rest all the while is looked at after each reading (`lay_still`). If it was not, what was read
   counts for nothing, and is read again with log and locks.
3. The same on a disk that is mounted read-only, where nobody can begin a log.
"""

import os

from imapd.mailstore.index import Index
from imapd.mailstore.indexfile import IndexFile, Look
from imapd.model.loop import Loop


class Reader:
    """The handle of one account in one process."""

    __slots__ = ("_file", "_index", "_loop", "_rest", "is_on_read_only_disk")

    def __init__(self, file: IndexFile, loop: Loop) -> None:
        self._file = file
        self._loop = loop
        self._index: Index | None = None
        self._rest: Look | None = None  # how the file lies there, whose handle has no locks (rule 1)
        self.is_on_read_only_disk = False

    @property
    def is_open(self) -> bool:
        return self._index is not None

    @property
    def is_shared(self) -> bool:
        """Whether it is open with log and locks, beside whoever writes."""
        return self._index is not None and self._rest is None and not self.is_on_read_only_disk

    def index(self) -> Index:
        """The open index."""
        if self._index is None:
            self._rest = None if self.is_on_read_only_disk else self._file.at_rest(self._loop.time())
            self._index = Index(self._file.path, unchanging=self.is_on_read_only_disk or self._rest is not None)
        return self._index

    def open_as_left(self) -> Index | None:
        """The index, if it lies there as it was left by a program of this version."""
        rest = self._file.at_rest(self._loop.time())
        index = self._file.as_left(unchanging=rest is not None)
        if index is not None:
            self._index, self._rest, self.is_on_read_only_disk = index, rest, False
        return index

    def open_shared(self) -> None:
        """Open it beside a writer of our own. The handle before it may be in use in the loop at this moment: it closes
        with its last use."""
        self._index, self._rest, self.is_on_read_only_disk = Index(self._file.path), None, False

    def open_on_read_only_disk(self) -> None:
        """Open it where nobody can write (rule 3). Raises StoreError."""
        # Without a log nothing is missing in the file.
        self.is_on_read_only_disk = not os.path.lexists(self._file.path + b"-wal")
        index = Index(self._file.path, unchanging=self.is_on_read_only_disk)
        index.boxes()
        self._index, self._rest = index, None

    def lay_still(self) -> bool:
        """Whether the file was at rest while it was read without locks (rule 2); where not, the handle is given up."""
        if self._rest is None or self._file.lies_as(self._rest):
            return True
        self._index = self._rest = None
        return False

    def taken(self) -> Index | None:
        """Take the handle away; what has to be closed under the account's lock, for the last close tidies the database.
        A handle without locks is closed here."""
        index, self._index = self._index, None
        rest, self._rest = self._rest, None
        if index is not None and rest is not None:
            index.close()
            return None
        return index
