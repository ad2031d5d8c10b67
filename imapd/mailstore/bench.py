"""What a write has before it: the files and the index of one account, under the account's lock.

A Bench is made anew for each write and used in a disk thread. `changed` collects the folders whose bells have to ring
when the write is over; `later` says that work on files was left, which is then done in the background.
"""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from imapd.mailstore import maildir
from imapd.mailstore.errors import Denied, Gone, NoSpace, OverQuota, Retry, StoreError
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.index import Index
from imapd.mailstore.quota import NO_LIMITS, Limits
from imapd.mailstore.rows import BoxRow

if TYPE_CHECKING:
    from imapd.mailstore.formats import MailFormat

log = logging.getLogger("imapd.mailstore")


@dataclass(frozen=True, slots=True)
class DiskSettings:
    """How mail files are made. special_use: the (use, name) of the mailboxes that a new account gets."""

    create: bool = True
    special_use: tuple[tuple[str, str], ...] = ()
    file_mode: int = 0o600
    dir_mode: int = 0o700


@dataclass(slots=True)
class Bench:
    """One write's tools. `now` is the time at its beginning; limits: those that came with the account's owner."""

    root: bytes
    index: Index
    now: float
    settings: DiskSettings
    format: "MailFormat"
    limits: Limits = NO_LIMITS
    changed: set[bytes] = field(default_factory=set)
    later: bool = False

    def box(self, box: int) -> BoxRow:
        """The mailbox, as it is now. Raises Gone."""
        row = self.index.box(box)
        if row is None:
            raise Gone
        return row

    def folder(self, box: BoxRow) -> bytes:
        """The path of a mailbox."""
        return self.format.folder(self.root, box.directory)

    def names(self, box: BoxRow) -> FlagNames:
        """The flags of a mailbox in all their spellings."""
        return FlagNames(self.folder(box), self.index.keywords(box.id), self.now, self.settings.file_mode)

    def scratch(self) -> bytes:
        """The path of a new file in tmp/."""
        return self.root + b"/tmp/" + maildir.new_unique(self.now)


_NO_SPACE: Final = {errno.ENOSPC}
_DENIED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}


def explained(error: OSError) -> StoreError:
    """The StoreError that says what the disk means."""
    reason = f"{error.strerror} ({os.fsdecode(error.filename) if error.filename else 'no file'})"
    if error.errno in _NO_SPACE:
        return NoSpace(reason=reason)
    if error.errno == errno.EDQUOT:
        return OverQuota(reason=reason)
    if error.errno in _DENIED:
        return Denied("The server may not write to your mail file; please tell your administrator.", reason=reason)
    return Retry("The mail file cannot be read or written at the moment.", code="UNAVAILABLE", reason=reason)


@contextmanager
def disk_errors() -> Iterator[None]:
    """What the disk refuses comes out as a StoreError."""
    try:
        yield
    except OSError as error:
        raise explained(error) from error
