"""Rendering what clients will ask for before they ask: in the background, newest first, one worker's mailboxes in turn.

A mailbox comes to work when somebody opens it and when messages arrive in it. The work gives way: it breathes as
every long work does, rests as long as it has worked, and stands still while a client waits for the same kind of work
or for a message to be taken in. What it does not come to is made when it is asked for; so it may be dropped at any
time, and is when anything fails.

Where much is to be rendered a process that serves nobody is asked to do it (`Wish`), if there is one: it has another
processor, and no client beside it. What it has rendered is there for everybody at once, since several processes may add
to a file of runs (mailstore/runs). It begins at the newest message also while a client here fetches from the oldest on;
then both of them work, until they meet.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

from imapd.mailstore.errors import StoreError
from imapd.model.loop import Loop

log = logging.getLogger("imapd.mailstore")

AT_ONCE: Final = 32
"""Messages between two rests: about 5 ms."""
MOST: Final = 1_000
"""Mailboxes that may wait; those that come too late are rendered when they are opened next."""
MUCH: Final = 500
"""Messages that another process is asked to render: what takes longer than to open the account there."""
_PAUSE: Final = 0.02
_PIECE: Final = 128
"""Messages between two turns of a process that serves nobody: runs in larger blocks are loaded faster."""


class Wish(NamedTuple):
    """That a mailbox be rendered, as one process says it to another. uidnext: as the one who wishes knows it."""

    mail_file: str
    mailbox: str
    uidvalidity: int
    uidnext: int


Ask = Callable[[Wish], bool]
"""Tells a wish to the process that fulfils them; False where it cannot be told now. Never waits."""


class Renderable(Protocol):
    """A mailbox, as far as it is of interest here."""

    @property
    def identity(self) -> Hashable:
        """Which mailbox it is, of all accounts."""

    @property
    def wish(self) -> Wish:
        """That it be rendered."""

    @property
    def count(self) -> int:
        """How many messages it has, as far as is known."""

    @property
    def is_seen_to(self) -> bool:
        """Whether what is missing was found out or asked for, and no message has come since."""

    def see_to(self) -> None:
        """Another process was asked to render what is missing."""

    def unrendered(self, afresh: bool) -> Sequence[int]:
        """The UIDs of messages whose texts are not kept, ascending; of those that were known last, or of all (afresh),
        for which the account may have to be woken."""

    def still_unrendered(self, uids: Sequence[int]) -> Sequence[int]:
        """Those whose texts nobody has kept meanwhile."""

    def render(self, uids: Sequence[int]) -> bool:
        """Make and keep the texts of some messages; False where there is no use in going on. Raises StoreError."""


class Background:
    """What is to be rendered in this process."""

    def __init__(self, loop: Loop, ask: Ask | None = None) -> None:
        """ask: where there is a process that renders for others."""
        self._loop = loop
        self._ask = ask
        # The mailboxes, and which messages of them; None: what is missing has to be found out.
        self._waiting: dict[Hashable, tuple[Renderable, Sequence[int] | None]] = {}
        # Those of which it has to be found out, and to which messages have come since.
        self._came: set[Hashable] = set()
        self._works = False
        self._clients = 0  # who wait at this moment for what goes before

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Somebody waits for work that goes before, as long as this lasts."""
        self._clients += 1
        try:
            yield
        finally:
            self._clients -= 1

    def opened(self, mailbox: Renderable) -> None:
        """Somebody has opened the mailbox."""
        if not mailbox.is_seen_to and not self._is_asked_for(mailbox, mailbox.count):
            self._wait(mailbox, None)

    def arrived(self, mailbox: Renderable, uids: Sequence[int]) -> None:
        """Messages have come into the mailbox."""
        _, known = self._waiting.get(mailbox.identity, (mailbox, ()))
        if known is None and uids:
            self._came.add(mailbox.identity)  # what is missing will be found out
        if known is None or not uids or self._is_asked_for(mailbox, len(uids)):
            return
        self._wait(mailbox, [*known, *uids] if not known or uids[0] > known[-1] else sorted({*known, *uids}))

    def _is_asked_for(self, mailbox: Renderable, count: int) -> bool:
        """Whether another process is going to render so many messages of the mailbox."""
        is_asked_for = count >= MUCH and self._ask is not None and self._ask(mailbox.wish)
        if is_asked_for:
            mailbox.see_to()
        return is_asked_for

    def _wait(self, mailbox: Renderable, uids: Sequence[int] | None) -> None:
        if mailbox.identity in self._waiting or len(self._waiting) < MOST:
            self._waiting[mailbox.identity] = mailbox, uids
            if not self._works:
                self._works = True
                self._loop.spawn(self._work)

    def _work(self) -> None:
        try:
            while self._waiting:
                self._loop.sleep(_PAUSE)  # messages often come one after the other, and are rendered together then
                while self._clients:
                    self._loop.sleep(_PAUSE)
                began = self._loop.monotonic()
                mailbox, uids = self._waiting.pop(next(iter(self._waiting)))
                try:
                    self._render(mailbox, uids)
                except StoreError as error:
                    log.info("a mailbox is not rendered ahead: %s", error.reason)
                self._loop.sleep(max(0.001, self._loop.monotonic() - began))
        finally:
            self._works = False

    def _render(self, mailbox: Renderable, uids: Sequence[int] | None) -> None:
        afresh = mailbox.identity in self._came
        self._came.discard(mailbox.identity)
        left = list(mailbox.unrendered(afresh) if uids is None else uids)
        if uids is None and self._is_asked_for(mailbox, len(left)):
            return
        newest = left[-AT_ONCE:]
        del left[-AT_ONCE:]
        if newest and mailbox.render(newest):
            self.arrived(mailbox, left)


def rendering(mailbox: Renderable) -> Iterator[int]:
    """Render all that is missing, newest first, for a process that serves nobody; gives after each piece how many
    messages were rendered. Raises StoreError."""
    left = list(mailbox.unrendered(afresh=True))
    while left:
        piece = mailbox.still_unrendered(left[-_PIECE:])
        del left[-_PIECE:]
        if piece and not mailbox.render(piece):
            return
        yield len(piece)
