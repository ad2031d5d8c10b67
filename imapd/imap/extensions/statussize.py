"""STATUS=SIZE, RFC 8438, and DELETED of IMAP4rev2: more counts of a mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imapd.imap.extension import Extension, StatusItem

if TYPE_CHECKING:
    from imapd.mailstore.store import MailboxStatus


class Size(StatusItem):
    """The octets of all messages together, as FETCH RFC822.SIZE counts them (RFC 8438 section 3.1)."""

    name = "SIZE"

    @staticmethod
    def value(status: MailboxStatus) -> int:
        return status.size


class Deleted(StatusItem):
    """How many messages have \\Deleted (RFC 9051 section 6.3.11)."""

    name = "DELETED"

    @staticmethod
    def value(status: MailboxStatus) -> int:
        return status.deleted


extension = Extension(words=("STATUS=SIZE",), status_items=(Size, Deleted))
