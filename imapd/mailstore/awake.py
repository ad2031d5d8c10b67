"""Which accounts of a process have their databases open: those that were used last, a bounded number.

A handle for reading costs about 35 kB, one for writing up to 500, and some descriptors each, and most sessions are
silent. So an account that was not used for long dozes: its handles are closed, and opened again when somebody asks,
which takes half a millisecond. An account whose last session has gone stays as it is in the meantime, so that the next
login finds it open.
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Account(Protocol):
    """An account, as far as it is of interest here."""

    @property
    def is_busy(self) -> bool: ...
    def write_no_more(self) -> None: ...


Sleeper = TypeVar("Sleeper", bound=Account)


class Awake(Generic[Sleeper]):
    """The accounts with handles."""

    def __init__(self, most: int, doze: Callable[[Sleeper], None]) -> None:
        """most: how many there may be; those that are busy may be more. doze: closes the handles of one."""
        self._most = most
        self._doze = doze
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
                self._doze(account)

    def forget(self, account: Sleeper) -> None:
        """The account has no handles any more."""
        self._accounts.pop(account, None)


class Handles(Generic[Sleeper]):
    """Which accounts keep their handles, for anything (awake) and for writing."""

    def __init__(self, awake: int, writing: int, doze: Callable[[Sleeper], None]) -> None:
        self.awake = Awake[Sleeper](awake, doze)
        self.writing = Awake[Sleeper](writing, lambda account: account.write_no_more())
