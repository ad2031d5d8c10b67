"""The audit: looks at all accounts that have been opened here, one after the other, round after round, just as
`imapd verify` does (mailstore/verify).

Rules:

1. It reads so many octets a second and no more, and rests with nothing locked and no database open (`Pacer`).
2. It is told of each account what is wrong there, once a round.
3. It mends nothing but finished answers, which are removed and made anew when they are missed. Whatever else the daemon
   can do by itself it does when it opens the account, under its lock; the rest is for `imapd repair`.
4. How far a round has got stands in a small file, so that a restart goes on behind the account that was done last. The
   file is written without waiting for the disk, and one that cannot be read means that a round begins.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final, Protocol

from imapd.mailstore import findings
from imapd.mailstore.accounts import opened_below
from imapd.mailstore.choice import Kinds
from imapd.mailstore.errors import StoreError
from imapd.mailstore.findings import Finding
from imapd.mailstore.verify import Manner, Report, verify
from imapd.model.loop import Loop

log = logging.getLogger("imapd.mailstore")

_SHORTEST: Final = 0.02
"""Seconds of rest that are put off until they are more."""

Wait = Callable[[float], None]
"""Waits so many seconds, in a thread."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How the audit is done. root: the folder with the mail files; every: seconds from the beginning of a round to that
    of the next; budget, text_budget: octets a second, of texts and of all else, where 0 is not at all; state: the file
    that says how far it has got, or None."""

    root: str
    kinds: Kinds
    every: float
    budget: int
    text_budget: int = 0
    state: str | None = None


@dataclass(slots=True)
class Round:
    """How far a round has got. began: seconds since the epoch; last: the mail file that was done last; ended: whether
    all are done."""

    began: float = 0.0
    last: str = ""
    ended: bool = True
    accounts: int = 0
    messages: int = 0
    found: int = 0
    mended: int = 0


class Teller(Protocol):
    """Who is told."""

    def found(self, mail_file: str, place: str, found: list[Finding]) -> None:
        """What is wrong with an account. place: the directory of the files about it."""

    def mended(self, mail_file: str, finding: Finding) -> None:
        """What was wrong and is so no more."""

    def not_looked_at(self, mail_file: str, reason: str) -> None:
        """An account that cannot be looked at now."""

    def ended(self, done: Round) -> None:
        """A round is over."""


class Pacer:
    """Lets so many octets a second be read, by making who has read some wait for as long as they are worth."""

    def __init__(self, budget: int, clock: Callable[[], float], wait: Wait) -> None:
        self._budget = budget
        self._clock = clock
        self._wait = wait
        self._paid = clock()  # until when what was read is paid for

    def __call__(self, octets: int) -> None:
        now = self._clock()
        self._paid = max(self._paid, now) + octets / self._budget
        if self._paid - now >= _SHORTEST:
            self._wait(self._paid - now)


class Audit:
    """The audit of one process. Nobody else may do it at the same time."""

    def __init__(self, terms: Terms, loop: Loop, wait: Wait, teller: Teller) -> None:
        """wait: for its thread, where the loop cannot be asked to sleep."""
        self._terms = terms
        self._loop = loop
        self._wait = wait
        self._teller = teller
        self._pace = Pacer(terms.budget, loop.monotonic, wait)
        hashing = terms.text_budget > 0
        text_pace = Pacer(terms.text_budget, loop.monotonic, wait) if hashing else self._pace
        self._manner = Manner(hashing, pace=self._pace, text_pace=text_pace, as_user=True)
        self._round = _read(terms.state)

    def run(self) -> None:
        """Go on for ever; the work of a greenlet. Long work is done in a disk thread."""
        while True:
            if self._round.ended:
                due = self._round.began + self._terms.every - self._loop.time()
                if 0 < due <= self._terms.every:  # else the clock was put back
                    self._loop.sleep(due)
                self._round = Round(self._loop.time(), ended=False)
            self.finish_round()

    def finish_round(self) -> None:
        """Look at all accounts that the round has not come to yet."""
        homes = self._loop.offload(opened_below, self._terms.root, self._terms.kinds, self._pace)
        for home in homes:
            if home > self._round.last:
                try:
                    self._loop.offload(self._look_at, home)
                except Exception as error:  # of ours: it must not keep us from all accounts behind this one
                    log.error("the audit of %s failed", home, exc_info=error)
                self._round.last = home
                self._loop.offload(_write, self._terms.state, self._round)
        self._round.ended = True
        self._loop.offload(_write, self._terms.state, self._round)
        self._teller.ended(self._round)

    def _look_at(self, home: str) -> None:
        try:
            root, mail_format = self._terms.kinds.find(os.fsencode(home))
            report = verify(root, mail_format, self._loop.time(), self._wait, self._manner)
        except FileNotFoundError:
            return  # removed meanwhile
        except StoreError as error:
            self._teller.not_looked_at(home, error.reason)
            return
        except OSError as error:
            self._teller.not_looked_at(home, str(error.strerror))
            return
        self._note(home, os.fsdecode(root), report)

    def _note(self, home: str, place: str, report: Report) -> None:
        self._round.accounts += 1
        self._round.messages += report.messages
        left: list[Finding] = []
        for finding in report.findings:
            if finding.fault == findings.OLD:
                continue  # as all of them are after an upgrade, until somebody comes
            if finding.fault == findings.CACHE and _removed(finding.path):
                self._round.mended += 1
                self._teller.mended(home, finding)
            else:
                left.append(finding)
        if left:
            self._round.found += len(left)
            self._teller.found(home, place, left)


def _removed(path: bytes) -> bool:
    """Whether the finished answers in a file are gone (rule 3)."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except OSError:
        return False
    return True


def _read(path: str | None) -> Round:
    """How far the last round got (rule 4)."""
    if path is not None:
        with contextlib.suppress(OSError, ValueError, TypeError), open(path, encoding="utf-8") as file:
            kept = Round(**json.load(file))
            if isinstance(kept.began, float) and isinstance(kept.last, str):
                return kept
    return Round()


def _write(path: str | None, done: Round) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                json.dump(asdict(done), file)
            os.rename(f"{path}.new", path)
