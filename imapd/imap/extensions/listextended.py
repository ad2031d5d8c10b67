"""LIST-EXTENDED, RFC 5258: which names LIST chooses and what it tells of them.

LIST itself (commands/list) reads the extended form and answers CHILDINFO; here are the options.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from imapd.imap.extension import Extension, ListReturn, ListSelection

if TYPE_CHECKING:
    from imapd.mailstore.store import MailboxEntry


class SubscribedSelection(ListSelection):
    """LIST (SUBSCRIBED): the names that are subscribed, whether they exist or not."""

    name = "SUBSCRIBED"
    implies = "SUBSCRIBED"

    def chooses(self, entry: MailboxEntry) -> bool:
        return entry.subscribed


class Remote(ListSelection):
    """LIST (REMOTE): mailboxes on other servers too, of which there are none (RFC 5258 section 3.1)."""

    name = "REMOTE"
    is_base = False


class RecursiveMatch(ListSelection):
    """LIST (... RECURSIVEMATCH): also the names that have something chosen below them (RFC 5258 section 3.1)."""

    name = "RECURSIVEMATCH"
    is_base = False
    is_recursive = True


class SubscribedReturn(ListReturn):
    """LIST ... RETURN (SUBSCRIBED): tell which are subscribed."""

    name = "SUBSCRIBED"

    def attributes(self, entry: MailboxEntry) -> Iterable[str]:
        return ("\\Subscribed",) if entry.subscribed else ()


class Children(ListReturn):
    """LIST ... RETURN (CHILDREN): \\HasChildren or \\HasNoChildren, which LIST tells in any case."""

    name = "CHILDREN"


extension = Extension(
    words=("LIST-EXTENDED",),
    list_options=(SubscribedSelection, Remote, RecursiveMatch, SubscribedReturn, Children),
)
