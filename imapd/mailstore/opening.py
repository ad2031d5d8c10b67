"""Opening the messages of a mailbox: one by one, some whose rows are read together, or many at a time.

The file of a message may be renamed by other programs at any moment, and by us. So what is not where its row says is
looked for once more, under the lock in the end; what is there and has another size than was said is counted.
"""

import contextlib
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from imapd.mailstore.bench import Bench, disk_errors, log
from imapd.mailstore.contents import contents
from imapd.mailstore.errors import REFUSALS, Expunged, Retry
from imapd.mailstore.formats import Slice
from imapd.mailstore.maildir import PIECE
from imapd.mailstore.message import IN_MEMORY, LocalMessage, count_wire, read_whole
from imapd.mailstore.places import Places
from imapd.mailstore.rowchanges import mend_size
from imapd.mailstore.rows import MessageRow
from imapd.mailstore.store import ReadMany

if TYPE_CHECKING:
    from imapd.mailstore.shared import SharedMailbox

_LOOKS: Final = 8
"""For the file of a message that others rename: mutt, a second worker and a delivery agent may all be at it."""


class MailboxMessages:
    """The messages of a mailbox that this process knows."""

    __slots__ = ("_account", "_mailbox")

    def __init__(self, mailbox: "SharedMailbox") -> None:
        self._mailbox = mailbox
        self._account = mailbox.account

    def message(self, uid: int) -> LocalMessage:
        """Open a message; looks again where its file was renamed meanwhile. Raises Expunged, and Retry where the file
        is never where the last look found it."""
        tried: list[tuple[int, bytes]] = []
        for number in range(_LOOKS):
            self._mailbox.refresh()
            row = self._account.reading(lambda index: index.message(self._mailbox.row.id, uid))
            if row is None:
                self._check_missing(uid)
                raise Expunged
            with disk_errors():
                try:
                    opened = self._account.format.open_message(self._account.root, self._mailbox.row, row)
                except (FileNotFoundError, NotADirectoryError):
                    # Our own rename may be under way at first: the lock waits for its end. Then others have been here.
                    known, held = self._mailbox.locked(partial(_held, uid, number > 0))
                    if held is not None:
                        self._mailbox.refresh()
                        return self._opened(*held)
                    tried.append((row.place, row.file))
                    if tried[-3:] == tried[-1:] * 3:
                        if known == row:
                            raise Expunged from None  # it lies there, but is no message file (maildir, rule 1)
                        # The connections do not see the same: one remembers a page that is damaged in the file.
                        self._account.suspect()
                        tried.clear()
                    continue
                return self._opened(row, opened)
        raise Retry("Another program moves that message all the time; please try again in a moment.")

    def opener(self, uids: Sequence[int]) -> Callable[[int], LocalMessage]:
        """Opens these messages as `message` does; their rows are read together when the first is opened."""
        rows: dict[int, MessageRow] | None = None

        def open_one(uid: int) -> LocalMessage:
            nonlocal rows
            if rows is None:
                self._mailbox.refresh()
                rows = self._rows(uids)
            row = rows.get(uid)
            if row is not None:
                # A format opens what the row means or nothing, also where much happened since the row was read.
                with contextlib.suppress(OSError):  # `message` knows what to do about it
                    opened = self._account.format.open_message(self._account.root, self._mailbox.row, row)
                    return self._opened(row, opened)
            return self.message(uid)

        return open_one

    def reader(self, uids: "array[int]") -> ReadMany:
        """Reads many of these messages at a time; their rows are read together when the first are read."""
        box = self._mailbox.row
        rows: dict[int, MessageRow] | None = None

        def read(some: "array[int]", most: int) -> list[bytearray]:
            nonlocal box, rows
            if rows is None:
                self._mailbox.refresh()
                box = self._mailbox.row
                rows = self._rows(uids)
            found = [row for uid in some if (row := rows.get(uid)) is not None]
            if len(found) != len(some):
                return [bytearray()] * len(some)
            return contents(self._account.format, self._account.root, box, found, most, self._account.loop)

        return read

    def _rows(self, uids: Sequence[int]) -> dict[int, MessageRow]:
        """The rows of messages, by UID."""
        key = self._mailbox.row.id
        return {row.uid: row for row in self._account.reading(lambda index: index.rows(key, uids))}

    def _check_missing(self, uid: int) -> None:
        """A message has no row: where it should have one, the index is damaged. Raises Gone if the mailbox is new."""
        self._mailbox.refresh()
        if self._mailbox.should_have(uid):
            self._account.suspect()
            self._mailbox.refresh()

    def _opened(self, row: MessageRow, opened: Slice) -> LocalMessage:
        loop = self._account.loop
        octets = opened.octets + opened.hidden
        places = self._places_of(row.uid, octets)
        try:
            if octets == row.octets or octets == self._mailbox.places.counted.get(row.uid):
                return LocalMessage(opened, row.size, loop, places=places, reopen=partial(self._slice, row.uid))
            content = read_whole(opened, loop, places) if octets <= IN_MEMORY else None
            size = count_wire(opened, loop) if content is None else len(content)
            if size != row.size:
                log.info("a message is %d octets long and not %d, as its file's name says", size, row.size)
                self._account.loop.offload(self._mailbox.rendered.forget, row.uid)
                with contextlib.suppress(*REFUSALS):
                    self._mailbox.locked(lambda bench, box: mend_size(bench, box, row.uid, size, octets))
            elif places is not None:
                self._mailbox.places.counted[row.uid] = octets
            return LocalMessage(opened, size, loop, content, places)
        except BaseException:
            opened.close()
            raise

    def _slice(self, uid: int) -> Slice:
        """Where a message is by now that has moved within its file."""
        return self.message(uid).taken()

    def _places_of(self, uid: int, octets: int) -> Places | None:
        """What is known of a message; of those that are read in one piece there is nothing to know."""
        return self._mailbox.places.of(uid, octets) if octets > PIECE else None


def _held(uid: int, again: bool, bench: Bench, box: int) -> tuple[MessageRow | None, tuple[MessageRow, Slice] | None]:
    """The row of a message when what is known has been brought up to date, and the message where it can be opened."""
    held = bench.format.open_held(bench, box, uid, again)
    return bench.index.message(box, uid), held
