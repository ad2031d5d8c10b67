"""Which accounts of a process have their databases open: those that were used last, a bounded number.

A handle costs about 50 kB and some descriptors, an account has two or three of them, and most sessions are silent. So
an account that was not used for long dozes: its handles are closed, and opened again when somebody asks, which takes
half a millisecond. An account whose last session has gone stays as it is in the meantime, so that the next login finds
it open.
"""

from collections.abc import Callable
from typing import Any, Protocol


class Sleeper(Protocol):
    """An account, as far as it is of interest here."""

    @property
    def is_busy(self) -> bool: ...
    def doze(self) -> None: ...


class Awake:
    """The accounts with handles. most: how many there may be; those that are busy may be more."""

    def __init__(self, most: int, dozed: Callable[[Any], None] = lambda account: None) -> None:
        """dozed: told of each account that was sent to sleep."""
        self._most = most
        self._dozed = dozed
        self._accounts: dict[Sleeper, None] = {}  # the one that was used last stands last

    def used(self, account: Sleeper) -> None:
        """The account is about to use its handles."""
        self._accounts.pop(account, None)
        self._accounts[account] = None
        if len(self._accounts) > self._most:
            self._send_to_sleep(account)

    def _send_to_sleep(self, user: Sleeper) -> None:
        for account in list(self._accounts):
            if len(self._accounts) <= self._most:
                return
            if account is not user and not account.is_busy:
                del self._accounts[account]
                account.doze()
                self._dozed(account)

    def forget(self, account: Sleeper) -> None:
        """The account has no handles any more."""
        self._accounts.pop(account, None)
