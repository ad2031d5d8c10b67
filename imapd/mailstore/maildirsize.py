"""The file `maildirsize`, by which delivery agents keep a Maildir++ within its quota, kept right.

Its first line says the quota, and is not ours; each further line says by how many octets and messages the Maildir grew
or shrank, and their sum is what it holds. Whoever enforces the quota makes the file anew when it is 5,120 octets long.
Where there is no such file, none is made: imapd counts in its index (mailstore/quota).
"""

import contextlib
import os
import re
from collections.abc import Iterable
from typing import Final

from imapd.mailstore import maildir
from imapd.mailstore.rows import MessageRow

FILE: Final = b"/maildirsize"
_TRASH: Final = b".Trash"  # which Maildir++ does not count
_SIZE: Final = re.compile(rb",S=(\d{1,18})(?=[,:]|$)")


def note(root: bytes, directory: bytes, rows: Iterable[MessageRow], sign: int) -> None:
    """Write down that a mailbox got (1) or lost (-1) messages. It only guards: a disk may refuse it."""
    if directory == _TRASH:
        return
    with contextlib.suppress(OSError):  # there is none, mostly
        fd = os.open(root + FILE, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            sizes = [_octets(row) for row in rows]
            os.write(fd, b"%d %d\n" % (sign * sum(sizes), sign * len(sizes)))
        finally:
            os.close(fd)


def forget(root: bytes) -> None:
    """Remove the file, so that it is made anew: so much changed that nobody counted."""
    with contextlib.suppress(OSError):
        maildir.discard(root + FILE)


def _octets(row: MessageRow) -> int:
    """The octets of a message's file, as its name or a look at it said."""
    said = _SIZE.search(row.base or maildir.base_of(row.file))
    return row.octets or (int(said[1]) if said else row.size)
