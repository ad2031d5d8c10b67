"""The seam between the store and the kinds of mail files: everything that Maildir and mbox do differently.

The index, the account's lock, the tree of names, UIDVALIDITY, flags in the index, snapshots, descriptions and
subscriptions are the same for all kinds, and know a MailFormat only. One object serves one account, and may keep what
it knows of it. An account has a root, a directory of its own, in which the store's own files lie, and `tmp/`, where
messages on their way in are spooled; where the mail files lie is the format's business. A mailbox is known by its
`directory`: octets that its name is made into, relative to wherever the mailboxes lie, INBOX's being b"".

Rules:

1. What is called quick runs in the loop and never waits. Everything else runs in a disk thread under the account's
   lock, and gets the Bench of the write.
2. An operation that finds a mail file locked by another program raises FileLocked, before it has changed anything. It
   is done again from its beginning when the account's lock has been free for a moment (mailstore/core).
3. What is acknowledged is durable: `append`, `copy`, `move` and `expunge` return when it is.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from imapd.mailstore.errors import StoreError
from imapd.model.flags import Flags

if TYPE_CHECKING:
    from imapd.mailstore.bench import Bench, DiskSettings
    from imapd.mailstore.findings import Finding, Inventory, Sight
    from imapd.mailstore.index import Index
    from imapd.mailstore.rows import BoxRow, Given, MessageRow
    from imapd.mailstore.store import Placed


Read = Callable[[int, "list[bytearray]", int], int]
"""Fills buffers with what stands in a file from a place on, and says how much that was (os.preadv). Raises OSError, of
these BlockingIOError where it does not wait for the disk."""


class Slice(NamedTuple):
    """A message of so many octets in an open file. Who has it closes it.

    It begins with `head`, and goes on in the file at `start`. hidden: how many octets more it has in the file, which
    are no part of it. is_there: whether what was read from the file just now is of this message.
    """

    fd: int
    start: int
    octets: int
    head: bytes = b""
    hidden: int = 0
    is_there: Callable[[], bool] = lambda: True

    def close(self) -> None:
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Spooled:
    """A finished message in tmp/, its file open: octets on disk and on the wire, its flags and internal date.

    text: all of it, where it is short and the format can do without a file; then there is none.
    """

    path: bytes
    fd: int
    octets: int
    size: int
    flags: Flags
    date: int
    text: bytes | None = None


class Addressed(NamedTuple):
    """Finished messages for the mailbox of that name, all or none."""

    name: str
    messages: "Sequence[Spooled]"


@dataclass(frozen=True, slots=True)
class Failures:
    """What the disk refused: by the keys of messages, or everything."""

    of_message: dict[int, StoreError] = field(default_factory=dict)
    of_all: StoreError | None = None

    def among(self, keys: Iterable[int]) -> StoreError | None:
        """Why the file of one of these messages is not, durably, where it should be; None where all are."""
        return self.of_all or next((self.of_message[key] for key in keys if key in self.of_message), None)


class MailFormat(Protocol):
    """One kind of mail files, for one account. appends_at_once: how many `append_each` takes. needs_files: whether
    short messages have to come as files too."""

    appends_at_once: int
    needs_files: bool

    # Quick

    def is_there(self, root: bytes) -> bool:
        """Whether the account has mail files."""

    def folder(self, root: bytes, directory: bytes) -> bytes:
        """The path of a mailbox."""

    def directories(self, root: bytes) -> set[bytes]:
        """The directories of all mailboxes on disk, INBOX's among them."""

    def is_mailbox(self, root: bytes, directory: bytes) -> bool:
        """Whether there is a mailbox in that directory."""

    def is_taken(self, root: bytes, directory: bytes) -> bool:
        """Whether anything lies there, so that no mailbox can be made or moved there."""

    def name_of(self, directory: bytes) -> str | None:
        """The name of the mailbox in a directory; None where the directory cannot be one."""

    def directory_of(self, root: bytes, name: str) -> bytes:
        """The directory that the mailbox of a name lies in. Raises BadMailboxName."""

    def agrees(self, folder: bytes, box: "BoxRow", now: float) -> bool:
        """Whether the rows of the mailbox agree with its files, as far as their times tell.

        Raises FileNotFoundError or NotADirectoryError where it is not there.
        """

    def has_work(self, index: "Index", box: int) -> bool:
        """Whether `take_in` for somebody who may write has something to do even where the files agree."""

    def lags(self, index: "Index", box: int) -> bool:
        """Whether the mail file lacks something that `closed` would write into it."""

    def watched(self, folder: bytes) -> list[bytes]:
        """The directories or files whose changes mean that the mailbox may have changed."""

    def open_message(self, root: bytes, box: "BoxRow", row: "MessageRow") -> Slice:
        """Open the message of a row. Raises FileNotFoundError where it is not where the row says."""

    def open_held(self, bench: "Bench", box: int, uid: int, again: bool) -> "tuple[MessageRow, Slice] | None":
        """Open a message that was not where its row says, while other programs are kept out; and its row as it is now.

        None where it is gone, or they cannot be kept out: then what is known has been brought up to date. again: that
        did not help the last time. Raises Gone.
        """

    def read_together(
        self, root: bytes, box: "BoxRow", rows: Sequence["MessageRow"], most: int, read: Read
    ) -> list[bytearray]:
        """The first octets of messages as they lie on the disk, of each so many that `most` octets on the wire can be
        made of them, or all of it; of one that is not where its row says, nothing.

        Raises BlockingIOError where `read` does.
        """

    def knows_uids(self, folder: bytes, box: "BoxRow") -> bool:
        """Whether the mailbox agrees with what other servers say of its UIDs; if not, `follow` is to be called."""

    # The tree

    def given(self, bench: "Bench", directory: bytes) -> "Given":
        """The UIDs that a mailbox without a row had before, if anybody knows."""

    def follow(self, bench: "Bench", box: "BoxRow") -> "BoxRow":
        """The mailbox, made to agree with what other servers say of its UIDs; with another id where it was numbered
        anew."""

    def hand_over(self, bench: "Bench", box: int) -> int:
        """Write the UIDs of a mailbox, everything taken in, where another server looks for them, durably; how many
        messages it has."""

    def make_mailbox(self, root: bytes, directory: bytes, settings: "DiskSettings") -> None:
        """Make an empty mailbox, durably, or what is missing of it; b"" is INBOX."""

    def move_mailboxes(self, root: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Rename mailboxes from one directory to another, durably: those that are there and whose target is not."""

    def remove_mailbox(self, root: bytes, directory: bytes) -> None:
        """Remove a mailbox that was moved outside the tree; those who watch it are told. What cannot be removed stays
        for the next time."""

    def leftovers(self, root: bytes, prefixes: tuple[bytes, ...]) -> list[bytes]:
        """The directories outside the tree that begin so: of mailboxes that were deleted or never appeared."""

    def check_settled(self, bench: "Bench", boxes: Sequence["BoxRow"]) -> None:
        """Raise Retry where files in these mailboxes belong elsewhere, or nowhere, and could not be taken away yet."""

    def note_uids(self, bench: "Bench", box: "BoxRow", pairs: Sequence[tuple[int, bytes]]) -> None:
        """Write down beside the mail which UIDs were given to which messages: pairs of a UID and what the message is
        known by (rows.identity). Called after the commit; with no pairs, to look whether all is there. Raises OSError.
        """

    def restore(self, bench: "Bench", name: str, directory: bytes, before: "BoxRow | None") -> bool:
        """Make a mailbox that the index does not know any more, with its UIDVALIDITY and UIDs, from what is beside the
        mail; False where that does not tell. before: what an older index knew of it."""

    def ring(self, folder: bytes) -> None:
        """Have every process that watches the mailbox look at it. Raises OSError."""

    # Reading the truth back

    def examine(self, sight: "Sight", told: "Inventory") -> None:
        """Say into `sight` where the files of a mailbox are not what its rows say. Writes nothing, takes no lock, and
        rests where `sight.pace` does.

        Raises OSError.
        """

    def mend(self, bench: "Bench", box: int, findings: Sequence["Finding"]) -> None:
        """Make good what `examine` found, as far as taking in all files does not; never removes a message."""

    # Messages

    def settle(self, bench: "Bench", at_once: bool = True) -> Failures:
        """Do the work on files that commits have promised; every step may be done twice.

        at_once: also where it is much, which otherwise may be left for `settle_some` (Bench.later).
        """

    def settle_some(self, bench: "Bench") -> bool:
        """Do some of what `settle` has left; whether there is more, and sense in going on."""

    def take_in(self, bench: "Bench", box: int, read_write: bool, force: bool = False) -> bool:
        """Bring index and files together; False where there is more to take in. Raises Gone.

        force: also where the files agree by their times.
        """

    def make_durable(self, message: Spooled) -> None:
        """Do for a message what needs no lock, before `append`; in a disk thread, without the lock and a bench."""

    def append_each(
        self, bench: "Bench", requests: Sequence[Addressed], admit: Callable[[Addressed], None]
    ) -> "list[Placed | StoreError]":
        """Take spooled messages of several clients into their mailboxes; what became of each. Raises what stops all.

        admit: raises what speaks against a request, for it alone; asked when the mailbox is known to be there.
        """

    def copy(self, bench: "Bench", box: int, uids: Sequence[int], target: str) -> "Placed":
        """Copy messages, all that are there. Raises NoSuchMailbox."""

    def move(self, bench: "Bench", box: int, uids: Sequence[int], target: str) -> "Placed":
        """Move messages, all that are there. Raises NoSuchMailbox."""

    def empty_inbox_into(self, bench: "Bench", name: str) -> None:
        """RENAME of INBOX: a new mailbox with all messages of INBOX, which stays (RFC 9051 section 6.3.6)."""

    def expunge(self, bench: "Bench", box: int, uids: Sequence[int] | None) -> tuple[int, ...]:
        """Remove messages with \\Deleted; the UIDs of those that were removed."""

    def after_flags(self, bench: "Bench", box: int) -> None:
        """Flags of the mailbox were changed in the index, where they are durable: bring them to the files, now or
        later."""

    def closed(self, bench: "Bench", box: int) -> None:
        """The last session of this process has closed the mailbox, which `lags`. Raises Gone."""
