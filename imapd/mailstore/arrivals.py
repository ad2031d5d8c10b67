"""Messages that clients of one process bring to an account at the same time: appended in one turn of the lock.

Each turn costs a commit and a sync of a directory, whatever comes in it. So who finds another one's turn under way
waits, and the next turn is for all who have come meanwhile. Each is answered when that turn is over, with what became
of his own messages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imapd.mailstore import quota
from imapd.mailstore.bench import Bench
from imapd.mailstore.errors import StoreError
from imapd.mailstore.formats import Addressed
from imapd.mailstore.message import LocalSpool
from imapd.mailstore.store import Placed

if TYPE_CHECKING:
    from imapd.mailstore.core import AccountCore


@dataclass(eq=False, slots=True)
class Arrival:
    """What one client brings, all or none of it; and what became of it."""

    what: Addressed
    spools: Sequence[LocalSpool]
    outcome: Placed | Exception | None = None


class Arrivals:
    """What waits to be appended to one account."""

    __slots__ = ("_account", "_turn", "_waiting")

    def __init__(self, account: "AccountCore") -> None:
        self._account = account
        self._turn = account.loop.lock()
        self._waiting: list[Arrival] = []

    def append(self, arrival: Arrival) -> Placed:
        """Append the messages, with those of others who wait. Raises StoreError."""
        self._waiting.append(arrival)
        try:
            with self._turn:
                while arrival.outcome is None:
                    self._append_waiting()
        finally:
            if arrival in self._waiting:  # its connection was killed
                self._waiting.remove(arrival)
        if isinstance(arrival.outcome, Exception):
            raise arrival.outcome
        return arrival.outcome

    def _append_waiting(self) -> None:
        most = self._account.format.appends_at_once
        # There may be none, where who had the turn was killed: the lock is free when the thread that works is done.
        batch, self._waiting = self._waiting[:most], self._waiting[most:]
        begun = False

        def work(bench: Bench) -> None:
            nonlocal begun
            begun = True
            _append_all(bench, batch)

        try:
            self._account.locked(work)
        except StoreError as error:
            for arrival in batch:
                arrival.outcome = error
        except BaseException:
            if not begun:
                self._waiting[:0] = batch
            raise


def _append_all(bench: Bench, batch: Sequence[Arrival]) -> None:
    """Append, in the disk thread; files that belong to the mailbox now are closed here, where a connection that is
    killed meanwhile cannot close them too early."""
    try:
        outcomes = bench.format.append_each(bench, [arrival.what for arrival in batch], _admission(bench))
    except Exception as error:
        for arrival in batch:  # nobody else would tell them, if who has the turn is killed
            arrival.outcome = error
        raise
    for arrival, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, Placed):
            for spool in arrival.spools:
                spool.release()
        arrival.outcome = outcome


def _admission(bench: Bench) -> Callable[[Addressed], None]:
    def admit(what: Addressed) -> None:
        quota.require(bench, sum(message.size for message in what.messages), len(what.messages))

    return admit
