"""The interface of a mail store: what the conversation may ask of it, whoever keeps the mail.

Rules, for every store:

1. No caller sees a file name. Mailboxes are called by their names, messages by their UIDs.
2. A write is a batch, and it returns only when what it promises is durable.
3. Answers are immutable: a Snapshot never changes, the next one is another object.
4. Long reads are iterators that fetch in pieces; they may let other connections run.
5. Errors are StoreError and its children (mailstore/errors); anything else is a bug.
6. A method that writes takes and frees the store's lock by itself; no lock is held between calls.

Mailbox names are str in their canonical form (model/names): "/" between levels, INBOX in capitals. Times are seconds
since the epoch. Sizes are octets as FETCH would send them, line ends being CRLF.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from imapd.mailstore.quota import NO_LIMITS, Limits, QuotaState
from imapd.mailstore.runs import taken
from imapd.model.flags import SYSTEM_FLAGS, FlagChange, Flags, same
from imapd.model.loop import Watching

# The bits of a mask: system flags from 0 on, keywords from 8 on, so that 56 keywords fit into 64 bits.
KEYWORD_BIT = 8
MOST_KEYWORDS = 64 - KEYWORD_BIT

_FEW = 32  # different masks that are looked for one by one


def mask_of(flags: Iterable[str], keywords: Sequence[str]) -> int:
    """The flags as bits of a mask; a flag that is neither a system flag nor one of the keywords is left out."""
    mask = 0
    for flag in flags:
        if flag in SYSTEM_FLAGS:
            mask |= 1 << SYSTEM_FLAGS.index(flag)
            continue
        for place, keyword in enumerate(keywords):
            if same(flag, keyword):
                mask |= 1 << KEYWORD_BIT + place
    return mask


def flags_of_mask(mask: int, keywords: Sequence[str]) -> Flags:
    """The flags whose bits are set."""
    found = [flag for bit, flag in enumerate(SYSTEM_FLAGS) if mask >> bit & 1]
    found += [keyword for place, keyword in enumerate(keywords) if mask >> KEYWORD_BIT + place & 1]
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose account: a stable key, the user name for messages, where the mail is kept, and how much of it.

    home is the store's own address of the account (for the local store: the path of the mail file).
    """

    identity: str
    user_name: str
    home: str
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class MailboxEntry:
    """One name of the tree. A name that only has children is not selectable (RFC 3501 \\Noselect)."""

    name: str
    selectable: bool
    subscribed: bool
    special_use: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """The counts of STATUS (RFC 9051 section 6.3.11). size is in octets; recent counts what nobody has claimed.
    deleted_size: the octets of what is deleted (RFC 9208 section 4.1.4)."""

    messages: int
    recent: int
    unseen: int
    deleted: int
    size: int
    uidnext: int
    uidvalidity: int
    highestmodseq: int
    deleted_size: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A mailbox at one moment, as columns; row i of each column is one message, ascending by UID.

    masks: the flags of each message as bits, see `flags_of`; keywords: the keyword of bit 8 + i.
    Bits 0 to 4 are \\Answered, \\Flagged, \\Deleted, \\Seen, \\Draft (model/flags.SYSTEM_FLAGS, in that order).
    highestmodseq rises with every change of the mailbox; modseqs is the one of each row's last change.
    """

    uidvalidity: int
    uidnext: int
    highestmodseq: int
    uids: array[int]  # 'I'
    masks: array[int]  # 'Q'
    modseqs: array[int]  # 'Q'
    sizes: array[int]  # 'Q'
    dates: array[int]  # 'q', seconds since the epoch
    keywords: tuple[str, ...]
    # The flags of each mask met so far: 100,000 messages rarely have more than a hundred different masks.
    _flag_sets: dict[int, Flags] = field(default_factory=dict, init=False, repr=False, compare=False)
    # The first row without each bit asked for so far: every SELECT asks, and the answer may stand at the end.
    _firsts: dict[int, int | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def row(self, uid: int) -> int | None:
        """The row of a UID, or None where there is no such message; by bisection."""
        row = bisect_left(self.uids, uid)
        return row if row < len(self.uids) and self.uids[row] == uid else None

    def rows(self, uids: array[int]) -> Sequence[int] | None:
        """The rows of UIDs, which ascend, as a range where they stand side by side; None where one is missing."""
        first = bisect_left(self.uids, uids[0]) if uids else 0
        if self.uids[first : first + len(uids)] == uids:
            return range(first, first + len(uids))
        found = [self.row(uid) for uid in uids]
        return None if None in found else [row for row in found if row is not None]

    def flags_of(self, row: int) -> Flags:
        """The flags of a row, without \\Recent."""
        return self._flags_of_mask(self.masks[row])

    def _flags_of_mask(self, mask: int) -> Flags:
        found = self._flag_sets.get(mask)
        if found is None:
            found = self._flag_sets[mask] = flags_of_mask(mask, self.keywords)
        return found

    def flags_of_rows(self, rows: Sequence[int]) -> list[Flags]:
        """As `flags_of`, of many rows."""
        masks = taken(self.masks, rows)
        sets = {mask: self._flags_of_mask(mask) for mask in set(masks)}
        return list(map(sets.__getitem__, masks))

    def first_without(self, bit: int) -> int | None:
        """The first row whose mask lacks a bit, or None where all of them have it."""
        if bit not in self._firsts:
            self._firsts[bit] = _first_without(self.masks, bit)
        return self._firsts[bit]

    def bit_of(self, flag: str) -> int:
        """The bit of a system flag or keyword as a mask, or 0 where no message can have it."""
        return mask_of((flag,), self.keywords)


def _first_without(masks: array[int], bit: int) -> int | None:
    lacking = [mask for mask in set(masks) if not mask & bit]
    if len(lacking) <= _FEW:  # nearly always; the search is C's then, a fifth of the time
        return min(map(masks.index, lacking), default=None)
    return next((row for row, mask in enumerate(masks) if not mask & bit), None)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message to be appended: a finished Spool, flags (without \\Recent) and the internal date, None for now."""

    spool: Spool
    flags: Flags = frozenset()
    internal_date: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """Where messages came to lie: for APPEND, COPY and MOVE. sources is empty for APPEND (RFC 4315 section 3).

    sources[i] became uids[i]; both ascend in uids.
    """

    uidvalidity: int
    uids: tuple[int, ...]
    sources: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """A message's finished texts for FETCH: ENVELOPE, BODY and BODYSTRUCTURE, as they go over the wire."""

    envelope: bytes
    body: bytes
    bodystructure: bytes


class Text(IntEnum):
    """What a store keeps of a message as FETCH sends it, name and value: items, in the order of the macro FULL."""

    DATE_AND_SIZE = 0  # INTERNALDATE and RFC822.SIZE
    ENVELOPE = 1
    BODYSTRUCTURE = 2
    BODY = 3


ReadMany = Callable[["array[int]", int], list[bytearray]]
"""Gives the first so many octets of some messages by their UIDs, ascending, or all of those that have no more.

Empty for one that is gone, and for one that `Mailbox.message` has to be asked for.
"""


class Spool(Protocol):
    """A message on its way in, written in pieces to the store's own disk (a literal of APPEND)."""

    def write(self, data: bytes) -> None:
        """Take the next octets. Raises NoSpace."""

    def abandon(self) -> None:
        """Throw away what was written; does nothing after the message has been appended."""


class Message(Protocol):
    """An open message; reading it goes on to work when the message is expunged meanwhile. Close it."""

    size: int

    def read(self) -> bytes:
        """The whole message with CRLF line ends, in memory; yields to others while it reads a large one."""

    def header(self) -> bytes:
        """The header with the empty line that ends it, CRLF line ends; reads no more of the file than it must."""

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The message from an octet on, in pieces of at most about 128 kB; their lengths add up to `size` exactly."""

    def close(self) -> None:
        """Free the message."""


class Mailbox(Protocol):
    """One open mailbox, shared by all sessions of a process that use it."""

    read_only: bool

    @property
    def name(self) -> str:
        """What the mailbox is called now; a rename by another session may have changed it."""

    def snapshot(self) -> Snapshot:
        """The mailbox as it is now: first takes in what other programs and processes did. Cheap where nothing changed.

        Raises Gone where the mailbox was deleted or its UIDVALIDITY changed since it was opened.
        """

    def claim_recent(self, up_to: int) -> int:
        """Make the messages up to that UID no longer recent to others; returns the highest UID claimed before.

        Messages above the returned UID are recent to the caller (RFC 3501 section 2.3.2).
        """

    def unclaimed_recent(self) -> int:
        """The highest UID claimed so far, for a session that only looks (EXAMINE)."""

    def listen(self, bell: Callable[[], None]) -> Watching:
        """Ring the bell soon after the mailbox changed, whoever changed it, other programs included.

        What came before the call is not rung for: call snapshot() once after listening.
        """

    def message(self, uid: int) -> Message:
        """Open a message. Raises Expunged where it is gone."""

    def opener(self, uids: Sequence[int]) -> Callable[[int], Message]:
        """What opens these messages, given in ascending order, one after another: `message` for who reads many."""

    def descriptions(self, uids: Iterable[int]) -> Iterator[tuple[int, Description]]:
        """The finished texts of messages, in the order of uids; kept for the next time. Expunged ones are left out."""

    def texts(self, uids: array[int], texts: Sequence[Text]) -> list[bytes]:
        """The finished items of some hundred messages, those of each one with blanks between; kept for the next time.

        The UIDs ascend. b"" for a message that is gone, and for one that has too much to say to be kept: ask
        `descriptions` for that.
        """

    def header_fields(self, uids: array[int], fields: frozenset[bytes]) -> list[bytes]:
        """The fields of those names as they stand in the headers, and the empty line, each as a literal; as `texts`."""

    def reader(self, uids: array[int]) -> ReadMany:
        """What reads these messages, whose UIDs ascend, many at a time."""

    def change_flags(self, uids: Sequence[int], how: FlagChange, flags: Flags) -> tuple[int, ...]:
        """Change the flags; returns the UIDs that exist still. Raises ReadOnly, LimitExceeded (too many keywords)."""

    def expunge(self, uids: Sequence[int] | None) -> tuple[int, ...]:
        """Remove the messages with \\Deleted, or of those only the given UIDs; returns the UIDs removed."""

    def copy(self, uids: Sequence[int], target: str) -> Placed:
        """Copy messages to a mailbox of the same account, all or none, with flags and internal date.

        UIDs that are gone are passed over. Raises NoSuchMailbox (client: TRYCREATE), NoSpace, OverQuota.
        """

    def move(self, uids: Sequence[int], target: str) -> Placed:
        """Move messages to a mailbox of the same account, all or none (RFC 6851)."""

    def close(self) -> None:
        """Say that this user of the mailbox needs it no longer."""


class Account(Protocol):
    """One person's mailboxes."""

    def mailboxes(self) -> list[MailboxEntry]:
        """Every name of the tree and every subscribed name, sorted, INBOX first. A subscribed name that does not exist
        is there with selectable False; `exists` asks whether a name is in the tree."""

    def exists(self, name: str) -> bool:
        """Whether the name is in the tree, selectable or not."""

    def create(self, name: str, special_use: tuple[str, ...] = ()) -> None:
        """Create a mailbox, and its parents as names. Raises MailboxExists, BadMailboxName."""

    def delete(self, name: str) -> None:
        """Delete a mailbox with its messages; with children the name stays, not selectable.

        Raises NoSuchMailbox; HasChildren where there is nothing but children left to delete; Denied for INBOX.
        """

    def rename(self, old: str, new: str) -> None:
        """Rename a mailbox and everything below it as one step; INBOX keeps itself and its children, its messages move.

        Raises NoSuchMailbox, MailboxExists, BadMailboxName.
        """

    def subscribe(self, name: str) -> None:
        """Put the name on the list of subscriptions, whether it exists or not."""

    def unsubscribe(self, name: str) -> None:
        """Take the name off the list; does nothing where it is not on it."""

    def status(self, name: str) -> MailboxStatus:
        """The counts of a mailbox. Raises NoSuchMailbox."""

    def open(self, name: str, read_only: bool = False) -> Mailbox:
        """Open a mailbox. Raises NoSuchMailbox, Corrupt, Retry."""

    def spool(self) -> Spool:
        """A new place for a message on its way in. Raises NoSpace."""

    def append(self, name: str, messages: Sequence[Incoming]) -> Placed:
        """Append the messages, all or none (RFC 3502), with ascending UIDs; durable on return.

        Raises NoSuchMailbox, NoSpace, OverQuota; the spools are used up in any case.
        """

    def limits(self) -> Limits:
        """What the account may hold, by an administrator's word, or else by what came with its Owner the last time."""

    def is_limited(self) -> bool:
        """Whether there was such a limit when somebody last looked at one of the mailboxes. Quick."""

    def quota(self) -> QuotaState:
        """What it holds and may hold, without a look at what other programs have done; `catch_up` is that look."""

    def set_quota(self, limits: Limits | None) -> None:
        """Set limits that stand above those that come with the Owner, for all sessions; None: those count again."""

    def catch_up(self) -> None:
        """Take in what other programs did to any mailbox, as far as that can be done now."""

    def close(self) -> None:
        """Say that this session needs the account no longer."""


class Store(Protocol):
    """Where accounts are opened."""

    def open_account(self, owner: Owner) -> Account:
        """Open a person's account, made first where the configuration says so. Raises NoSuchAccount, Denied, Retry."""

    def close(self) -> None:
        """Close everything."""
