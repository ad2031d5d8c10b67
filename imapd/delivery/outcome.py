"""Why a message was not delivered, in the three languages of mail transfer agents: a reply code (RFC 5321 section 4.2),
an enhanced status code (RFC 3463), and an exit code (sysexits.h), which Postfix' pipe(8) and others understand.

What may pass by itself, or by an administrator's doing, is temporary: the message stays in the agent's queue, and is
lost in no case. Permanent is only what would be the same tomorrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from imapd.mailstore.errors import BadMailboxName, NoSpace, NoSuchAccount, NoSuchMailbox, OverQuota, StoreError
from imapd.model.errors import Refused, Unreachable


class Exit(IntEnum):
    """The codes of sysexits.h that a delivery ends with."""

    OK = 0
    USAGE = 64
    DATAERR = 65
    NOUSER = 67
    CANTCREAT = 73
    TEMPFAIL = 75
    NOPERM = 77


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an agent is told. code: of the reply; status: the enhanced one; text: a sentence that senders may read."""

    code: int
    status: str
    exit: Exit
    text: str

    @property
    def is_temporary(self) -> bool:
        """Whether the agent is to try again."""
        return self.code < 500


NO_SUCH_USER = Verdict(550, "5.1.1", Exit.NOUSER, "Nobody here has that address")
AMBIGUOUS = Verdict(450, "4.1.4", Exit.TEMPFAIL, "It is not clear at the moment whose address that is")
MOVED = Verdict(550, "5.1.6", Exit.NOUSER, "The mail of that person is on another server")
CLOSED = Verdict(550, "5.2.1", Exit.NOUSER, "The account is closed")
NO_MAIL_FILE = Verdict(550, "5.2.1", Exit.NOUSER, "That person has no mail file here")
NOT_YET = Verdict(450, "4.2.1", Exit.TEMPFAIL, "The mail file of that person cannot be opened at the moment")
DIRECTORY_DOWN = Verdict(451, "4.3.0", Exit.TEMPFAIL, "The directory of people does not answer")
TROUBLE = Verdict(451, "4.2.0", Exit.TEMPFAIL, "The mail file cannot be written at the moment")
FULL_DISK = Verdict(452, "4.3.1", Exit.TEMPFAIL, "There is no room on the disk at the moment")
FULL_FOR_NOW = Verdict(452, "4.2.2", Exit.TEMPFAIL, "The mail file is full")
FULL = Verdict(552, "5.2.2", Exit.CANTCREAT, "The mail file is full")
NO_SUCH_MAILBOX = Verdict(550, "5.2.0", Exit.CANTCREAT, "There is no such mailbox")
EMPTY = Verdict(554, "5.6.0", Exit.DATAERR, "The message is empty")
TOO_LARGE = Verdict(552, "5.3.4", Exit.DATAERR, "The message is too large")
MISTAKE = Verdict(451, "4.3.0", Exit.TEMPFAIL, "Something went wrong here")
CONFIGURATION = Verdict(451, "4.3.5", Exit.TEMPFAIL, "The configuration cannot be used")
# Postfix believes the enhanced code more than the exit code, so the message waits until the pipe is put right.
WRONG_USAGE = Verdict(451, "4.3.5", Exit.USAGE, "The command line cannot be used")
WRONG_USER = Verdict(451, "4.3.5", Exit.NOPERM, "The delivery runs as the wrong user")


class Undelivered(Exception):
    """A message was not delivered, or cannot be. reason: for the log; it may name files and entries."""

    def __init__(self, verdict: Verdict, reason: str | None = None) -> None:
        self.verdict = verdict
        self.reason = reason or verdict.text
        super().__init__(self.reason)


def undelivered(error: Refused | Unreachable | StoreError, bounce_over_quota: bool) -> Undelivered:
    """What an error of the floors below means to a delivery."""
    if isinstance(error, Unreachable):
        return Undelivered(DIRECTORY_DOWN, str(error))
    if isinstance(error, Refused):
        # CANNOT: the entry gives no mail file, or one that leads elsewhere. The rest is for an administrator to mend:
        # the mail file is that of somebody else.
        return Undelivered(NO_MAIL_FILE if error.code == "CANNOT" else NOT_YET, error.reason)
    if isinstance(error, OverQuota):
        return Undelivered(FULL if bounce_over_quota else FULL_FOR_NOW, error.reason)
    for kind, verdict in _OF_STORE.items():
        if isinstance(error, kind):
            return Undelivered(verdict, error.reason)
    return Undelivered(TROUBLE, error.reason)


_OF_STORE: dict[type[StoreError], Verdict] = {
    NoSpace: FULL_DISK,
    NoSuchAccount: NOT_YET,  # it may come with the next login, or with a disk that is not mounted yet
    NoSuchMailbox: NO_SUCH_MAILBOX,
    BadMailboxName: NO_SUCH_MAILBOX,
}
