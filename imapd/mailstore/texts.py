"""The texts of a mailbox that FETCH sends again and again: found where they are kept, and made where they are not.

What is made on demand and what is made ahead (mailstore/background) is made here; `rendered` keeps it.
"""

import os
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from imapd.mailstore.background import Wish
from imapd.mailstore.contents import InTurn
from imapd.mailstore.errors import Expunged
from imapd.mailstore.message import header_of
from imapd.mailstore.opening import MailboxMessages
from imapd.mailstore.render import cuts_of, describe, described
from imapd.mailstore.rendered import of_fields, subject
from imapd.mailstore.runs import LARGEST, MARKS, Cut, Identity, Messages, Run, taken
from imapd.mailstore.store import Description, Text

if TYPE_CHECKING:
    from imapd.mailstore.shared import SharedMailbox

_SMALL: Final = 8 * 1024
"""Octets of a message that is described in less than a millisecond."""


class MailboxTexts:
    """The texts of one mailbox; made for a moment, while what is known of them is the mailbox's."""

    __slots__ = ("_mailbox",)

    def __init__(self, mailbox: "SharedMailbox") -> None:
        self._mailbox = mailbox

    def items(self, uids: "array[int]", texts: Sequence[Text]) -> list[bytes]:
        """Finished items; see mailstore/store."""

        def made(message: Identity, octets: bytes) -> Run:
            run = described(message, self._described(octets))
            if len(run.octets) <= LARGEST:
                self._mailbox.rendered_to = 0  # nobody has come to it, and more may be missing
            return run

        return self._rendered(uids, b"", cuts_of(texts), InTurn.wholes, made)

    def header_fields(self, uids: "array[int]", fields: frozenset[bytes]) -> list[bytes]:
        """Chosen header fields; see mailstore/store."""
        what = subject(fields)
        if not self._mailbox.rendered.keeps(what, len(uids)):
            return [b""] * len(uids)

        def made(message: Identity, octets: bytes) -> Run:
            return of_fields(message, octets, fields)

        return self._rendered(uids, what, [(0, MARKS + 1)], InTurn.headers, made)

    def _described(self, octets: bytes) -> Description:
        # What is small is done before others could want their turn.
        return describe(octets, self._mailbox.account.loop.breathe if len(octets) > _SMALL else None)

    def _rendered(
        self,
        uids: "array[int]",
        what: bytes,
        cuts: Sequence[Cut],
        read: Callable[[InTurn], Iterator[bytes | None]],
        make: Callable[[Identity, bytes], Run],
    ) -> list[bytes]:
        snapshot = self._mailbox.loaded()  # whoever asks for many in turn has looked for news
        rows = snapshot.rows(uids)
        there = [row for uid in uids if (row := snapshot.row(uid)) is not None] if rows is None else rows
        messages = Messages(*(taken(each, there) for each in (snapshot.uids, snapshot.sizes, snapshot.dates)))

        def made(missing: Messages) -> Iterator[Run | None]:
            for place, octets in enumerate(read(self._in_turn(missing))):
                yield None if octets is None else make(missing.identity(place), octets)

        with self._mailbox.account.background.standing_still():
            texts = self._mailbox.rendered.texts(messages, what, cuts, made)
        if rows is not None:
            return texts
        found = dict(zip(messages.uids, texts, strict=True))
        return [found.get(uid, b"") for uid in uids]

    def _in_turn(self, messages: Messages) -> InTurn:
        opened = MailboxMessages(self._mailbox)
        return InTurn(messages, opened.reader(messages.uids), opened.opener(messages.uids))

    # The same before it is asked for (mailstore/background, Renderable)

    @property
    def identity(self) -> Hashable:
        """Which mailbox it is, of all accounts."""
        return self._mailbox.account.root, self._mailbox.key

    @property
    def wish(self) -> Wish:
        """See mailstore/background."""
        row = self._mailbox.row
        return Wish(os.fsdecode(self._mailbox.account.mail_file), row.name, row.uidvalidity, row.uidnext)

    @property
    def count(self) -> int:
        """See mailstore/background."""
        return self._mailbox.row.messages

    @property
    def is_seen_to(self) -> bool:
        """See mailstore/background."""
        return self._mailbox.rendered_to == self._mailbox.row.uidnext

    def see_to(self) -> None:
        """See mailstore/background. Should that process end before it has come to it, whoever misses a text will have
        the next one ask again."""
        self._mailbox.rendered_to = self._mailbox.row.uidnext

    def unrendered(self, afresh: bool) -> Sequence[int]:
        """See mailstore/background. What arrives later is said to be missing when it arrives."""
        if not self._mailbox.account.is_open or self.is_seen_to:
            return ()
        if afresh:
            self._mailbox.refresh()
        snapshot = self._mailbox.loaded() if afresh else self._mailbox.known()
        self._mailbox.rendered_to = snapshot.uidnext
        missing = self._mailbox.rendered.missing(snapshot.uids)
        self._mailbox.put_rendered_by()
        return missing

    def still_unrendered(self, uids: Sequence[int]) -> Sequence[int]:
        """See mailstore/background."""
        return self._mailbox.rendered.lacking(uids)

    def render(self, uids: Sequence[int]) -> bool:
        """See mailstore/background."""
        if not self._mailbox.account.is_open:
            return False
        self._mailbox.refresh()
        rows = self._mailbox.account.reading(lambda index: index.rows(self._mailbox.row.id, uids))
        kept = self._mailbox.rendered.subjects()
        runs: dict[bytes, list[Run]] = {what: [] for what in (b"", *kept)}
        columns = zip(*[(row.uid, row.size, row.date) for row in rows], strict=True) if rows else ((), (), ())
        messages = Messages(*map(array, "IQq", columns))
        for place, octets in enumerate(self._in_turn(messages).wholes()):
            if octets is not None:
                message, header = messages.identity(place), header_of(octets) or octets
                runs[b""].append(described(message, self._described(octets)))
                for what in kept:
                    runs[what].append(of_fields(message, header, frozenset(what.split())))
            self._mailbox.account.loop.breathe()
        return self._mailbox.account.loop.offload(self._mailbox.rendered.keep, runs)

    def descriptions(self, uids: Iterable[int]) -> Iterator[tuple[int, Description]]:
        """The texts one by one, made where they are not kept."""
        for uid in uids:
            only = array("I", [uid])
            found = [self.items(only, [text])[0] for text in (Text.ENVELOPE, Text.BODY, Text.BODYSTRUCTURE)]
            texts = [text.partition(b" ")[2] for text in found]
            if all(texts):
                yield uid, Description(*texts)
            elif (description := self._describe(uid)) is not None:
                yield uid, description

    def _describe(self, uid: int) -> Description | None:
        try:
            message = MailboxMessages(self._mailbox).message(uid)
        except Expunged:
            return None
        try:
            return describe(message.read(), self._mailbox.account.loop.breathe)
        finally:
            message.close()
