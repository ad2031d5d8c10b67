"""Which accounts of a process have their databases open: those that were used just now, a bounded number.

A handle for reading costs about 170 kB, one for writing up to 500, and some descriptors each, and most sessions are
silent. So an account that is not used dozes: its handles are closed, and opened again when somebody asks, which takes
half a millisecond. Rules:

1. Of an account that lies there at rest and has a session, which is silent then, the handle is closed after a second or
   two: that costs nothing.
2. Others are closed after half a minute or so: one that is being written to, where the last close tidies the database,
   and one whose last session has gone. It stays as it is in the meantime, so that the next login finds it open.
3. Where there are too many, those that were used last are kept.
"""

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from imapd.model.loop import Loop

_PERIOD: Final = 1.0
"""Seconds between two looks."""
_PATIENCE: Final = 30
"""So many looks ago an account was used last that is closed by rule 2."""


class Account(Protocol):
    """An account, as far as it is of interest here."""

    @property
    def is_busy(self) -> bool: ...
    @property
    def is_silent(self) -> bool: ...
    def write_no_more(self) -> None: ...


Sleeper = TypeVar("Sleeper", bound=Account)


class Awake(Generic[Sleeper]):
    """The accounts with handles."""

    __slots__ = ("_accounts", "_doze", "_looks", "_loop", "_most", "_watches")

    def __init__(self, most: int, doze: Callable[[Sleeper], None], loop: Loop) -> None:
        """most: how many there may be; those that are busy may be more. doze: closes the handles of one."""
        self._most = most
        self._doze = doze
        self._loop = loop
        self._accounts: dict[Sleeper, int] = {}  # the one that was used last stands last; before which look that was
        self._looks = 0
        self._watches = False

    def used(self, account: Sleeper) -> None:
        """The account is about to use its handles."""
        self._accounts.pop(account, None)
        self._accounts[account] = self._looks
        if len(self._accounts) > self._most:
            self._send_to_sleep(account)
        if not self._watches:
            self._watches = True
            self._loop.spawn(self._watch)

    def _send_to_sleep(self, user: Sleeper) -> None:
        for account in list(self._accounts):
            if len(self._accounts) <= self._most:
                return
            if account is not user and not account.is_busy:
                del self._accounts[account]
                self._doze(account)

    def _watch(self) -> None:
        """Look again and again, as long as there are any (rules 1 and 2)."""
        try:
            while self._accounts:
                self._loop.sleep(_PERIOD)
                self._looks += 1
                for account, used in list(self._accounts.items()):
                    silence = self._looks - used
                    if silence > (1 if account.is_silent else _PATIENCE) and not account.is_busy:
                        del self._accounts[account]
                        self._doze(account)
        finally:
            self._watches = False

    def forget(self, account: Sleeper) -> None:
        """The account has no handles any more."""
        self._accounts.pop(account, None)


class Handles(Generic[Sleeper]):
    """Which accounts keep their handles, for anything (awake) and for writing."""

    def __init__(self, awake: int, writing: int, doze: Callable[[Sleeper], None], loop: Loop) -> None:
        self.awake = Awake[Sleeper](awake, doze, loop)
        self.writing = Awake[Sleeper](writing, lambda account: account.write_no_more(), loop)
