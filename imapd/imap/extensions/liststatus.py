"""LIST-STATUS, RFC 5819: LIST ... RETURN (STATUS (...)) answers STATUS for each mailbox that it lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from imapd.imap.commands.status import StatusItems, answer, read_items
from imapd.imap.extension import Extension, ListReturn

if TYPE_CHECKING:
    from imapd.imap.command import Response
    from imapd.imap.session import Session
    from imapd.mailstore.store import MailboxEntry
    from imapd.wire.scanner import Scanner


@dataclass(frozen=True, slots=True)
class StatusOption(ListReturn):
    """status-option = "STATUS" SP "(" status-att *(SP status-att) ")"."""

    name = "STATUS"

    items: StatusItems

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        return cls(read_items(scan, session))

    def after(self, session: Session, entry: MailboxEntry) -> Iterable[Response]:
        # RFC 5819 section 2: not for names that cannot be selected.
        if entry.selectable:
            yield answer(entry.name, self.items, session.account.status(entry.name))


extension = Extension(words=("LIST-STATUS",), list_options=(StatusOption,))
