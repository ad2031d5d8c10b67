"""How much an account may hold, and how much it does hold (RFC 9208).

What counts is the messages of all its mailboxes: their number, and their octets as FETCH RFC822.SIZE tells them.

1. What makes an account grow, APPEND and COPY, is refused where it would pass a limit, the whole of it. Everything else
   goes on at any time: moving within the account, flags, EXPUNGE, DELETE, RENAME.
2. It is asked under the account's lock, behind which nobody else can make it grow, and before anything is written.
3. What other programs put into the mail files is counted and never refused, for it is there already. So an account may
   hold more than it may.
4. What an administrator has set in the account stands above what comes with its owner, the directory's word or the
   configuration's; it may also be that there is no limit.
"""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imapd.mailstore.errors import OverQuota

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imapd.mailstore.bench import Bench


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that an account may hold: octets and number of messages; None where there is no limit, 0 is nothing."""

    storage_octets: int | None = None
    messages: int | None = None

    @classmethod
    def said(cls, storage_octets: int | None, messages: int | None, default: Limits | None = None) -> Limits:
        """Limits as directories and configurations say them: None is the default's, 0 is no limit."""
        default = default or NO_LIMITS
        return cls(
            default.storage_octets if storage_octets is None else storage_octets or None,
            default.messages if messages is None else messages or None,
        )


NO_LIMITS: Final = Limits()

_SMALL: Final = 65_536


@dataclass(frozen=True, slots=True)
class QuotaState:
    """What an account holds, and what it may hold."""

    octets: int
    messages: int
    limits: Limits

    def require_room(self, octets: int, messages: int) -> None:
        """Raises OverQuota where so much more would pass a limit."""
        limits = self.limits
        for used, more, limit in (
            (self.octets, octets, limits.storage_octets),
            (self.messages, messages, limits.messages),
        ):
            if limit is not None and more > 0 and used + more > limit:
                raise OverQuota(reason=f"over quota: {used} and {more} more would pass {limit}")

    @property
    def percent(self) -> int:
        """How full it is, by the limit that is nearer, rounded down; more than 100 where there is more than may be."""
        pairs = ((self.octets, self.limits.storage_octets), (self.messages, self.limits.messages))
        return max([used * 100 // limit if limit else 100 for used, limit in pairs if limit is not None], default=0)


def require(bench: Bench, octets: int, messages: int) -> None:
    """Raises OverQuota where the account may not grow by so much (rules 1 and 2)."""
    limits = _limits(bench)
    if limits != NO_LIMITS:
        used = bench.index.usage()
        QuotaState(used.octets, used.messages, limits).require_room(octets, messages)


def require_for_copies(bench: Bench, box: int, uids: Sequence[int]) -> None:
    """The same for copies of these messages; those that are gone count nothing."""
    if _limits(bench) != NO_LIMITS:
        rows = bench.index.rows(box, uids)
        require(bench, sum(row.size for row in rows), len(rows))


def _limits(bench: Bench) -> Limits:
    own = bench.index.limits()
    return bench.limits if own is None else own


def is_used_up(directory: bytes) -> bool:
    """Whether the quota that the file system itself may have takes no more there, as far as a small file can tell."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            file.write(os.urandom(_SMALL))  # what cannot be made smaller
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno == errno.EDQUOT
    return False
