"""Rendering what clients will ask for before they ask: in the background, newest first, one worker's mailboxes in turn.

A mailbox comes to work when somebody opens it and when messages arrive in it. The work gives way: it breathes as
every long work does, rests as long as it has worked, and stands still while a client waits for the same kind of work
or for a message to be taken in. What it does not come to is made when it is asked for; so it may be dropped at any
time, and is when anything fails.
"""

import logging
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from imapd.mailstore.errors import StoreError
from imapd.model.loop import Loop

log = logging.getLogger("imapd.mailstore")

AT_ONCE: Final = 32
"""Messages between two rests: about 5 ms."""
MOST: Final = 1_000
"""Mailboxes that may wait; those that come too late are rendered when they are opened next."""
_PAUSE: Final = 0.02


class Renderable(Protocol):
    """A mailbox, as far as it is of interest here."""

    @property
    def identity(self) -> Hashable:
        """Which mailbox it is, of all accounts."""

    def unrendered(self) -> Sequence[int]:
        """The UIDs of messages whose texts are not kept, ascending."""

    def render(self, uids: Sequence[int]) -> bool:
        """Make and keep the texts of some messages; False where there is no use in going on. Raises StoreError."""


class Background:
    """What is to be rendered in this process."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        # The mailboxes, and which messages of them; None: what is missing has to be found out.
        self._waiting: dict[Hashable, tuple[Renderable, Sequence[int] | None]] = {}
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
        self._wait(mailbox, None)

    def arrived(self, mailbox: Renderable, uids: Sequence[int]) -> None:
        """Messages have come into the mailbox."""
        _, known = self._waiting.get(mailbox.identity, (mailbox, ()))
        if known is None or not uids:
            return  # what is missing will be found out
        self._wait(mailbox, [*known, *uids] if not known or uids[0] > known[-1] else sorted({*known, *uids}))

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
        left = list(mailbox.unrendered() if uids is None else uids)
        newest = left[-AT_ONCE:]
        del left[-AT_ONCE:]
        if newest and mailbox.render(newest):
            self.arrived(mailbox, left)
