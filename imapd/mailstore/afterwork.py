"""Work on files that nobody waits for: a commit has promised it, and it is done in parts, soon after the answer.

The index says truly what is, and who needs the files as they should be does what is left (mailstore/settle). If the
process ends before, the next one that takes the account's lock does.
"""

import logging
from collections.abc import Callable
from typing import Final

from imapd.mailstore.errors import StoreError
from imapd.model.loop import Loop

log = logging.getLogger("imapd.mailstore")

_DELAY: Final = 0.1
"""Seconds since the last write that left work; the answer goes out first, and what clients ask next."""
_LONGEST_DELAY: Final = 2.0
"""For who writes all the time: what is put off grows."""
_PAUSE: Final = 0.02
"""Between the parts, in which others have the lock."""


class Afterwork:
    """The work that one account has left. part: does some of it, and tells whether there is more."""

    __slots__ = ("_loop", "_part", "_said", "is_due")

    def __init__(self, loop: Loop, part: Callable[[], bool]) -> None:
        self._loop = loop
        self._part = part
        self.is_due = False
        self._said = 0.0

    def due(self) -> None:
        """Say that there is work."""
        self._said = self._loop.monotonic()
        if not self.is_due:
            self.is_due = True
            self._loop.spawn(self._work)

    def _work(self) -> None:
        try:
            latest = self._said + _LONGEST_DELAY
            while (pause := min(self._said + _DELAY, latest) - self._loop.monotonic()) > 0:
                self._loop.sleep(pause)
            while self._part():
                self._loop.sleep(_PAUSE)
        except StoreError as error:
            log.warning("work on files is put off: %s", error.reason)
        finally:
            self.is_due = False
