"""What may be wrong with an account's files, in words: the faults there are, and where one was found.

A fault has a sentence that says what is so, and one that says what to do about it. `imapd repair` does what is right
for each of them, or leaves it and says so; which one that is stands in `is_left`.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from imapd.mailstore.formats import MailFormat
    from imapd.mailstore.rows import BoxRow, Columns, MessageRow

Pace = Callable[[int], None]
"""Called when about so many octets have been read, while nothing is locked and no database open; it may wait."""
ENTRY: Final = 512
"""What a look at a name, or at a row of the index, counts for, in octets: an inode, or a row and its checksum."""


def without_rest(octets: int) -> None:
    """The pace of who wants to be done."""


class Fault(NamedTuple):
    """A kind of damage. is_left: repair cannot mend it."""

    what: str
    advice: str
    is_left: bool = False


DAMAGED: Final = Fault(
    "the index is damaged", "repair puts it aside and makes a new one from the files and the record of UIDs"
)
OLD: Final = Fault("the index is of an older version of imapd", "repair, or the next login, brings it up to date")
NEWER: Final = Fault("the index is of a newer version of imapd", "use that version", True)
LOST: Final = Fault("the index is gone", "repair, or the next login, makes a new one")
BEHIND: Final = Fault(
    "the index knows less than was given out, as an older copy does", "repair, or the next login, brings it up to date"
)
UNREADABLE: Final = Fault("it cannot be read", "let the daemon's user read it, or look at the disk", True)
NO_MAILBOX: Final = Fault(
    "the mailbox is gone from the disk",
    "put it back from a backup first, if it is missed; repair, or the next look, drops it from the index",
)
UNFIT: Final = Fault("no client can see this mailbox, for its name is taken or is none", "rename it", True)
GONE: Final = Fault(
    "the message is gone from the disk",
    "put its file back from a backup first, if it is missed; repair, or the next look, takes it for expunged",
)
MOVED: Final = Fault("the message is not where the index says", "repair looks for it anew")
STRAY: Final = Fault("the index does not know this message", "repair gives it a UID")
TWICE: Final = Fault("two messages have the same file", "repair keeps the one with the lower UID")
FLAGS: Final = Fault("the flags of the message are others in the file than in the index", "repair brings them together")
OWED: Final = Fault("work on the file that was promised is not done", "repair does it")
SIZE: Final = Fault(
    "the message has another size than the index says",
    "compare it with a backup, for nobody should have changed it; repair takes the true size",
)
CHANGED: Final = Fault(
    "the text of the message is not the one whose hash was kept",
    "put it back from a backup; if it is right as it is, repair --hashes --accept says so",
    True,
)
UIDS: Final = Fault("a UID is not below the next one that the mailbox would give", "repair raises the next one")
MODSEQ: Final = Fault("a modification sequence is above the mailbox's own", "repair raises the mailbox's")
COUNT: Final = Fault("the mailbox comes to another size than is counted for the quota", "repair counts anew")
RECORD: Final = Fault("the record of UIDs is missing, damaged, or not complete", "repair writes it anew")
FLOORS: Final = Fault("how far the UIDs have got is not what is written down", "repair writes it down")
UIDVALIDITY: Final = Fault("the last UIDVALIDITY that was given is not written down", "repair writes it down")
QUOTA: Final = Fault("the limits beside the index are not those in force", "repair writes them down anew")
CACHE: Final = Fault("finished answers are damaged or of no use any more", "repair removes them; they are made anew")
ABANDONED: Final = Fault("nobody has written to this file in tmp for 36 hours", "repair removes it")
LEFTOVER: Final = Fault("a mailbox that was deleted, or was never finished, still lies there", "repair removes it")
HASHES: Final = Fault("the list of hashes is damaged", "repair --hashes writes it anew")


class Finding(NamedTuple):
    """One fault at one place. mailbox: its name, or "" where it is the account's; uid: 0 where it is no message's."""

    fault: Fault
    path: bytes
    mailbox: str = ""
    uid: int = 0
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.fact()}; {self.fault.advice}"

    def fact(self) -> str:
        """What is wrong and where, without what to do."""
        words = [repr(self.mailbox)] if self.mailbox else []
        words += [f"UID {self.uid}"] if self.uid else []
        detail = f" ({self.detail})" if self.detail else ""
        where = " ".join([*words, repr(os.fsdecode(self.path))])
        return f"{where}: {self.fault.what}{detail}"


class Inventory(NamedTuple):
    """What the index says of a mailbox.

    columns: all of it at one moment; graves: the key of each expunged message whose file is to be removed, and its
    path; rows: the messages ascending by UID, of a large mailbox read anew and a piece at a time whenever they are gone
    through, since a million of them would take half a GB.
    """

    columns: "Columns"
    graves: Sequence[tuple[int, bytes]]
    rows: "Iterable[MessageRow]"

    @property
    def box(self) -> "BoxRow":
        """The mailbox at that moment."""
        return self.columns.box

    @property
    def keywords(self) -> Sequence[str]:
        """The names of its keywords."""
        return self.columns.keywords


@dataclass(slots=True)
class Sight:
    """One look at an account: what is read, and what was found. Nothing is written through it.

    waiting: messages and mailboxes that nobody has looked for yet, such as mail that was just delivered.
    """

    root: bytes
    format: "MailFormat"
    now: float
    pace: Pace = without_rest
    findings: list[Finding] = field(default_factory=list)
    waiting: int = 0

    def folder(self, box: "BoxRow") -> bytes:
        """The path of a mailbox."""
        return self.format.folder(self.root, box.directory)

    def found(self, fault: Fault, path: bytes, box: "BoxRow | None" = None, uid: int = 0, detail: str = "") -> None:
        """Say that something is wrong."""
        self.findings.append(Finding(fault, path, box.name if box else "", uid, detail))
