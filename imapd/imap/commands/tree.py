"""The names of an account for one LIST or LSUB: read once, with the names between that nobody made.

What is in the tree and what is only on the list of subscriptions stand together in Account.mailboxes(); here they are
told apart. Names above a name are there always, as names that cannot be selected, even where the store does not tell
them: "a" of "a/b" (RFC 9051 section 6.3.9.6).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from imapd.mailstore.store import MailboxEntry
from imapd.model.names import ancestors

if TYPE_CHECKING:
    from imapd.mailstore.store import Account


class Tree:
    """The names, in the order of the store, each one behind the names above it."""

    def __init__(self, account: Account) -> None:
        self._entries: dict[str, MailboxEntry] = {}
        self._existing: set[str] = set()
        self._parents: set[str] = set()
        told = {entry.name: entry for entry in account.mailboxes()}
        for entry in told.values():
            for above in ancestors(entry.name):
                self._entries.setdefault(above, told.get(above) or MailboxEntry(above, False, False))
            self._entries.setdefault(entry.name, entry)
            # Whatever can be selected exists; of the rest only a subscribed name may be missing from the tree.
            if entry.selectable or not entry.subscribed or account.exists(entry.name):
                self._existing.add(entry.name)
                self._existing.update(ancestors(entry.name))
                self._parents.update(ancestors(entry.name))

    def entries(self) -> Iterable[MailboxEntry]:
        """All names, those that are only subscribed to and those above any of them included."""
        return self._entries.values()

    def exists(self, name: str) -> bool:
        """Whether the name is in the tree, selectable or not."""
        return name in self._existing

    def has_children(self, name: str) -> bool:
        """Whether a name below it is in the tree."""
        return name in self._parents

    def ancestors(self, name: str) -> tuple[str, ...]:
        """The names above, from the top down."""
        return ancestors(name)
