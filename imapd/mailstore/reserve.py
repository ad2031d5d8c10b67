"""Room for the index on a full disk: a file of no use but that it can be removed.

Deleting mail needs room first: SQLite writes what is deleted to its log, and before that 32 kB for the log's table.
So an account keeps 128 kB in `imapd-reserve`, given back when a write that frees room finds none, and taken again when
the account is opened and the disk has it.
"""

import contextlib
import os
from typing import Final

from imapd.mailstore import maildir

FILE: Final = b"imapd-reserve"
OCTETS: Final = 128 * 1024


def keep(path: bytes, mode: int) -> None:
    """Take the room, if it is not held and the disk has it."""
    if os.path.lexists(path):
        return
    with contextlib.suppress(OSError):
        fd = maildir.create_file(path, mode)
        try:
            os.posix_fallocate(fd, 0, OCTETS)
        except OSError:
            maildir.discard(path)
        finally:
            os.close(fd)


def give_back(paths: list[bytes]) -> bool:
    """Remove files that hold room; whether there were any."""
    freed = False
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
            freed = True
    return freed
