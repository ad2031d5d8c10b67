"""SPECIAL-USE and CREATE-SPECIAL-USE, RFC 6154: which mailbox is for drafts, for junk, for what was sent.

LIST and LSUB tell the uses without being asked (section 2 allows it, and older clients need it). The store keeps the
uses; here they are asked for and given. A use belongs to one mailbox of an account: clients that find two "Sent" take
either. \\All and \\Flagged stand for views of all mailboxes, which a plain mailbox is not, so nobody can create them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from imapd.imap.commands.mailboxes import CreateParameter
from imapd.imap.extension import Extension, ListReturn, ListSelection
from imapd.model.errors import BadSyntax, Refused
from imapd.model.names import SPECIAL_USES

if TYPE_CHECKING:
    from imapd.imap.session import Session
    from imapd.mailstore.store import MailboxEntry
    from imapd.wire.scanner import Scanner

CREATABLE = {use.upper(): use for use in SPECIAL_USES if use not in ("\\All", "\\Flagged")}


class SpecialUseSelection(ListSelection):
    """LIST (SPECIAL-USE): only the mailboxes that have a use."""

    name = "SPECIAL-USE"
    implies = "SPECIAL-USE"

    def chooses(self, entry: MailboxEntry) -> bool:
        return bool(entry.special_use)


class SpecialUseReturn(ListReturn):
    """LIST ... RETURN (SPECIAL-USE): tell the uses."""

    name = "SPECIAL-USE"

    def attributes(self, entry: MailboxEntry) -> Iterable[str]:
        return entry.special_use


@dataclass(frozen=True, slots=True)
class Use(CreateParameter):
    """create-param =/ "USE" SP "(" [use-attr *(SP use-attr)] ")"."""

    name = "USE"

    uses: tuple[str, ...]

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        words = scan.parenthesized(lambda: _read_use(scan))
        return cls(tuple(dict.fromkeys(words)))

    def special_uses(self, session: Session) -> tuple[str, ...]:
        taken = {use: entry.name for entry in session.account.mailboxes() for use in entry.special_use}
        uses: list[str] = []
        for word in self.uses:
            use = CREATABLE.get(word.upper())
            if use is None:
                raise Refused(f"There is no special use {word} here.", code="USEATTR")
            if use in taken:
                raise Refused(f"There is a mailbox for {use} already.", code="USEATTR")
            uses.append(use)
        return tuple(uses)


def _read_use(scan: Scanner) -> str:
    if not scan.accept(b"\\"):
        raise BadSyntax("a special use begins with a backslash")
    return "\\" + scan.atom().decode("ascii")


extension = Extension(
    words=("SPECIAL-USE", "CREATE-SPECIAL-USE"),
    list_options=(SpecialUseSelection, SpecialUseReturn),
    modifiers=(Use,),
)
