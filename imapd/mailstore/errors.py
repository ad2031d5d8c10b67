"""What a mail store may say when it cannot do what it was asked: a closed set of errors.

Every store raises these and nothing else; whatever else comes out of a store is a bug. Each error carries one short,
kind sentence for the client (`text`, without paths, names of files or Python) and the response code that fits it best
(`code`, RFC 5530 and RFC 9051 section 7.1, without brackets; None where there is none). imap/dispatch turns them into
NO [code] text. What an administrator has to know goes into `reason`, which is for the log alone.

A command may say something nearer the truth: APPEND and COPY answer NoSuchMailbox of their target with TRYCREATE.
"""

from collections.abc import Callable
from typing import Final


class StoreError(Exception):
    """The store cannot do it. Raise a child, not this."""

    default_text = "The mail store cannot do that."
    default_code: str | None = None

    def __init__(self, text: str | None = None, code: str | None = None, reason: str | None = None) -> None:
        self.text = text or self.default_text
        self.code = code or self.default_code
        self.reason = reason or self.text
        super().__init__(self.reason)


class MailboxError(StoreError):
    """An error about one name of the tree. The name is kept for the log; the client knows what it asked for."""

    def __init__(self, name: str = "", text: str | None = None, code: str | None = None) -> None:
        self.name = name
        super().__init__(text, code, reason=f"{text or self.default_text} ({name!r})" if name else None)


class NoSuchMailbox(MailboxError):
    """There is no mailbox of that name, or the name is not selectable."""

    default_text = "There is no mailbox of that name."
    default_code = "NONEXISTENT"


class MailboxExists(MailboxError):
    """A mailbox of that name is there already."""

    default_text = "A mailbox of that name exists already."
    default_code = "ALREADYEXISTS"


class BadMailboxName(MailboxError):
    """A mailbox cannot have that name; `text` says why not."""

    default_text = "A mailbox cannot have that name."
    default_code = "CANNOT"


class HasChildren(MailboxError):
    """The name has mailboxes below it, and there is nothing else of it that could be deleted."""

    default_text = "The name has mailboxes below it; delete those first."
    default_code = "HASCHILDREN"


class NoSuchAccount(StoreError):
    """The person has no mail file, and none is made for him."""

    default_text = "You have no mail file here; please ask your administrator."
    default_code = "CONTACTADMIN"


class Denied(StoreError):
    """It is forbidden, by rights or because a thing is what it is (INBOX cannot be deleted)."""

    default_text = "You may not do that."
    default_code = "NOPERM"


class ReadOnly(StoreError):
    """The mailbox was opened for looking only, or the disk takes no writes."""

    default_text = "The mailbox is open for reading only."
    default_code = "READ-ONLY"


class Gone(StoreError):
    """The open mailbox was deleted, or began anew with another UIDVALIDITY; the session must select again."""

    default_text = "The mailbox was deleted or replaced; please select it again."


class Expunged(StoreError):
    """A message is gone that this client may still believe in."""

    default_text = "Some of the messages do not exist any more."
    default_code = "EXPUNGEISSUED"


class NoSpace(StoreError):
    """The disk is full; nothing was stored. Not OVERQUOTA: the person can do nothing about it."""

    default_text = "The server has no disk space left; please try again later."
    default_code = "UNAVAILABLE"


class OverQuota(StoreError):
    """The account may not grow any more."""

    default_text = "There is no room left in your mail file; please delete some messages."
    default_code = "OVERQUOTA"


class LimitExceeded(StoreError):
    """A limit of the store would be passed, such as the number of keywords of a mailbox."""

    default_text = "That is more than the server can keep."
    default_code = "LIMIT"


class Corrupt(StoreError):
    """What is on disk contradicts itself; an administrator has to look at it."""

    default_text = "The mailbox is damaged; please tell your administrator."
    default_code = "CORRUPTION"


class Retry(StoreError):
    """Somebody else holds it for longer than we can wait; nothing was changed, trying again helps."""

    default_text = "The mailbox is in use by another program; please try again."
    default_code = "INUSE"


class FileLocked(Retry):
    """Another program has locked the mail file, and has kept it so for as long as we can wait.

    is_free: asks whether it seems to be free by now; quick, takes no lock and raises nothing.
    """

    default_text = "Another program is using your mail file; please close it there, or try again in a moment."

    def __init__(self, reason: str | None = None, is_free: Callable[[], bool] = lambda: True) -> None:
        super().__init__(reason=reason)
        self.is_free = is_free


class UnknownOutcome(StoreError):
    """The write may or may not have happened: the storage failed between asking and answering."""

    default_text = "The server cannot tell whether that was done; please look, and try again."
    default_code = "UNAVAILABLE"


class Moved(StoreError):
    """The account is served by another machine now."""

    default_text = "Your mail file has moved to another server; please log in again."
    default_code = "UNAVAILABLE"


class Conflict(StoreError):
    """Somebody else changed the same thing first, and the two changes cannot both be kept."""

    default_text = "Somebody else changed that at the same time; please try again."
    default_code = "INUSE"


REFUSALS: Final = (NoSpace, OverQuota, LimitExceeded, Denied, Retry, UnknownOutcome)
"""A disk that is full or read-only, a lock that others hold: that keeps nobody from reading."""
