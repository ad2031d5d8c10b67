"""Messages that clients of one process bring to an account at the same time: appended in one turn of the lock.

Each turn costs a commit and a sync of a directory, whatever comes in it. So who finds another one's turn under way
waits, and the next turn is for all who have come meanwhile. Each is answered when that turn is over, with what became
of his own messages.

Texts are made durable without the account's lock: beside each other where several are there, for a file system syncs
what comes together almost for the price of one. Who is alone with one small message goes to a disk thread once, for all
of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from imapd.mailstore import quota
from imapd.mailstore.baton import carried
from imapd.mailstore.bench import Bench, disk_errors
from imapd.mailstore.errors import StoreError
from imapd.mailstore.formats import Addressed, MailFormat, Spooled
from imapd.mailstore.message import LocalSpool
from imapd.mailstore.store import Incoming, Placed

if TYPE_CHECKING:
    from imapd.mailstore.core import AccountCore

_AT_ONCE: Final = 8  # threads that sync the messages of one command


@dataclass(eq=False, slots=True)
class Arrival:
    """What one client brings, all or none of it; and what became of it. what: when the texts are durable."""

    name: str
    spools: Sequence[LocalSpool]
    messages: Sequence[Incoming]
    what: Addressed | None = None
    outcome: Placed | Exception | None = None

    @property
    def pairs(self) -> "list[tuple[LocalSpool, Incoming]]":
        """Each text with its message."""
        return list(zip(self.spools, self.messages, strict=True))

    @property
    def is_small(self) -> bool:
        """Whether one thread is soon done with it."""
        return len(self.spools) == 1 and self.spools[0].is_small


class Arrivals:
    """What waits to be appended to one account."""

    __slots__ = ("_account", "_here", "_turn", "_waiting")

    def __init__(self, account: "AccountCore") -> None:
        self._account = account
        self._turn = account.loop.lock()
        self._here = 0
        self._waiting: list[Arrival] = []

    def append(self, arrival: Arrival) -> Placed:
        """Append the messages, with those of others who wait. Raises StoreError."""
        if self._here or not arrival.is_small:
            self._make_durable(arrival)
        self._here += 1
        self._waiting.append(arrival)
        try:
            with self._turn:
                while arrival.outcome is None:
                    self._append_waiting()
        finally:
            self._here -= 1
            if arrival in self._waiting:  # its connection was killed
                self._waiting.remove(arrival)
        if isinstance(arrival.outcome, Exception):
            raise arrival.outcome
        return arrival.outcome

    def _make_durable(self, arrival: Arrival) -> None:
        account, now = self._account, int(self._account.loop.time())
        pairs = arrival.pairs
        parts = [pairs[start::_AT_ONCE] for start in range(min(_AT_ONCE, len(pairs)))]
        with disk_errors():
            done = account.loop.offload_each([partial(_made_durable, account.format, part, now) for part in parts])
        arrival.what = Addressed(arrival.name, [done[number % len(parts)][number // len(parts)]
                                                for number in range(len(pairs))])  # fmt: skip

    def _append_waiting(self) -> None:
        most = self._account.format.appends_at_once
        # There may be none, where who had the turn was killed: the lock is free when the thread that works is done.
        batch, self._waiting = self._waiting[:most], self._waiting[most:]
        claim = [batch]  # taken by who gets on with it: the thread, or all who wait where who had the turn was killed
        begun = False
        now = int(self._account.loop.time())

        def before() -> None:
            for arrival in batch:
                if arrival.what is None:  # of who was alone
                    arrival.what = Addressed(arrival.name, _made_durable(self._account.format, arrival.pairs, now))

        def work(bench: Bench) -> None:
            nonlocal begun
            begun = begun or _taken(claim)
            if begun:
                _append_all(bench, batch)

        try:
            self._account.locked(work, before=before)
        except StoreError as error:
            for arrival in batch:
                arrival.outcome = error
        except BaseException:
            if _taken(claim):
                self._waiting[:0] = batch
            raise


def _taken(claim: list[list[Arrival]]) -> bool:
    try:
        claim.pop()
    except IndexError:
        return False
    return True


def _made_durable(mail_format: MailFormat, pairs: Sequence[tuple[LocalSpool, Incoming]], now: int) -> list[Spooled]:
    """Write down the texts, durable, in a disk thread; a small one only where the format wants it as a file."""
    made = []
    with carried():
        for spool, message in pairs:
            text = spool.whole() if spool.is_small and not mail_format.needs_files else None
            fd = spool.finish() if text is None else -1
            date = now if message.internal_date is None else message.internal_date
            made.append(Spooled(spool.path, fd, spool.octets, spool.size, message.flags, date, text))
            if text is None:
                mail_format.make_durable(made[-1])
    return made


def _append_all(bench: Bench, batch: Sequence[Arrival]) -> None:
    """Append, in the disk thread; files that belong to the mailbox now are closed here, where a connection that is
    killed meanwhile cannot close them too early."""
    try:
        requests = [arrival.what for arrival in batch if arrival.what is not None]
        outcomes = bench.format.append_each(bench, requests, _admission(bench))
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
