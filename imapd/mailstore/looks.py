"""Looks at the files of a mailbox, each for all of this process who have asked before it began.

Many may wait for news of one mailbox, and all are woken by the same delivery. Each look takes the account's lock, and
in an mbox that of the file, for which delivery agents stand in line too. So who finds a look under way, which may have
passed what he was woken for, waits for its end, and the next look is for all who have come meanwhile. What it comes to,
a refusal too, is told to all of them: nobody waits for a locked file longer than twice.
"""

from collections.abc import Callable

from imapd.mailstore.errors import StoreError
from imapd.mailstore.turn import Turn
from imapd.model.loop import Loop


class Looks:
    """The looks at one mailbox."""

    __slots__ = ("_asking", "_begun", "_ended", "_is_read_write", "_outcome", "_turn")

    def __init__(self, loop: Loop) -> None:
        self._turn = Turn(loop)
        self._asking = 0
        self._begun = self._ended = 0  # so many have begun; the last one that came to an end, and what it came to
        self._is_read_write = False
        self._outcome: bool | StoreError = True

    def take(self, look: Callable[[], bool], read_write: bool) -> bool:
        """Take a look, or share one that has begun since we asked; what it returned. Raises StoreError.

        read_write: the look also moves on what is new (mailstore/sync rule 4), and one that does not is none for us.
        """
        due = self._begun
        self._asking += 1
        try:
            with self._turn:
                if self._ended <= due or (read_write and not self._is_read_write):
                    self._look(look, read_write)
                if isinstance(self._outcome, StoreError):
                    raise self._outcome
                return self._outcome
        finally:
            self._asking -= 1
            if not self._asking:
                self._outcome = True  # a refusal would keep alive what its traceback knows

    def _look(self, look: Callable[[], bool], read_write: bool) -> None:
        self._begun += 1
        try:
            self._outcome = look()
        except StoreError as error:
            self._outcome = error
        self._ended, self._is_read_write = self._begun, read_write  # who is killed within ends none
