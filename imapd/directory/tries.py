"""The file of failed logins and locks: shared by all workers, still there after a restart.

A row of `attempt` is one password that somebody tried for an entry from a network: being asked about, found wrong, or
refused without asking. A row of `lock` shuts an entry for a network, or for all of them where the network is "".

1. Every deed is one transaction, so that workers that are tried at the same moment count together.
2. An attempt is written down before the directory is asked. Nobody gains by asking many things at once or by cutting
   the line, and what a killed worker leaves behind counts as wrong.
3. Of a password there is only a short digest, keyed by a secret that is never on the disk.
4. The methods block, for milliseconds: they are called by way of the loop's thread pool, one at a time. Only who is
   brief (`be_brief`) waits for nothing in `begin`, `end` and `locked`.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

# What a method raises where the file or the disk is at fault.
TROUBLE = (sqlite3.Error, OSError)

Result = TypeVar("Result")

# How long, in seconds, a worker waits for the others, and how often it looks where SQLite does not wait by itself.
_PATIENCE = 5.0
_LOOK_AGAIN = 0.01

# Somebody asked and did not come back: longer than any login may take.
_LOST = 30.0

_PENDING, _WRONG, _UNASKED = 0, 1, 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attempt (
    subject TEXT NOT NULL, network TEXT NOT NULL, digest BLOB NOT NULL, label TEXT NOT NULL,
    state INTEGER NOT NULL, times INTEGER NOT NULL, seen REAL NOT NULL,
    PRIMARY KEY (subject, network, digest)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lock (
    subject TEXT NOT NULL, network TEXT NOT NULL, label TEXT NOT NULL,
    since REAL NOT NULL, until REAL, failures INTEGER NOT NULL,
    PRIMARY KEY (subject, network)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is done about failures. Times in seconds; max_tries and max_tries_everywhere: 0 never locks.

    free: so many wrong passwords of one network are asked about at once; later ones wait for a pause, which begins
    with first_pause and doubles up to longest_pause. The same for one wrong password that comes again and again,
    beginning with repeat_pause.
    """

    enforce: bool = False
    max_tries: int = 10
    max_tries_everywhere: int = 100
    expiration: float = 1800.0
    tries_interval: float = 900.0
    free: int = 4
    first_pause: float = 30.0
    repeat_pause: float = 5.0
    longest_pause: float = 300.0


class Answer(Enum):
    """Whether a password may be asked about. LATER: others are being asked about just now."""

    ASK = "ask"
    LATER = "later"
    PAUSED = "paused"
    REPEATED = "repeated"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer; fresh: this password has not been counted before; locks: it was the one too many."""

    answer: Answer
    fresh: bool = False
    locks: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """What there is about an entry and a network, for the administrator. until: None for no end."""

    subject: str
    network: str
    label: str
    failures: int
    locked: bool
    since: float
    until: float | None


class Busy(sqlite3.OperationalError):
    """Another worker is writing; nothing was done."""


class TriesFile:
    """The file, open. path None: in this process's memory alone."""

    def __init__(self, path: str | None, rules: Rules) -> None:
        self._rules = rules
        limited = rules.enforce and rules.max_tries
        self._free = min(rules.free, rules.max_tries) if limited else rules.free
        # Passwords remembered for one entry and network; who tries more than that has been paused or locked long since.
        self._most = max(100, rules.max_tries)
        if path is not None:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._db = sqlite3.connect(path or ":memory:", timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        self._is_patient = True
        if path is not None:
            # The last failures may be lost in a power cut, the file may not: no fsync for each wrong password.
            self._begin_log()
            self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def _begin_log(self) -> None:
        """Have a new file keep a log (WAL). Workers that start together all try, and SQLite lets none of them wait."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > until:
                    raise
            time.sleep(_LOOK_AGAIN)

    def be_brief(self) -> None:
        """Wait for nothing from now on: neither for others, where Busy is raised, nor for the disk. `tidy` is to be
        called now and then, by way of the thread pool."""
        self._is_patient = False
        self._db.execute("PRAGMA busy_timeout=0")
        self._db.execute("PRAGMA wal_autocheckpoint=0")

    def tidy(self) -> None:
        """Bring what is in the log into the file, as far as others who read let us."""
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def patiently(self, deed: "Callable[[TriesFile], Result]") -> Result:
        """Do something and wait for others."""
        self._db.execute(f"PRAGMA busy_timeout={_PATIENCE * 1000:.0f}")
        try:
            return deed(self)
        finally:
            if not self._is_patient:
                self._db.execute("PRAGMA busy_timeout=0")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin(self, subject: str, label: str, network: str, digest: bytes, now: float) -> Ruling:
        """Somebody wants to try a password. On ASK the attempt is written down, and end() is to follow."""
        with self._transaction():
            self._forget_old(subject, network, now)
            if self._locked(subject, network, now):
                return Ruling(Answer.LOCKED)
            row = self._db.execute(
                "SELECT state, times, seen FROM attempt WHERE subject=? AND network=? AND digest=?",
                (subject, network, digest),
            ).fetchone()
            if row is not None and row[0] == _PENDING:
                return Ruling(Answer.ASK)  # another worker asks the same; one answer is right for both
            if row is not None and row[0] == _WRONG:
                return self._again(subject, network, digest, row[1], row[2], now)
            return self._new((subject, network, digest, label), row is None, now)

    def end(self, subject: str, label: str, network: str, digest: bytes, right: bool | None, now: float) -> bool:
        """What the directory said; None: nothing of use. Tells whether the entry is locked by it."""
        with self._transaction():
            if right:
                self._db.execute("DELETE FROM attempt WHERE subject=? AND network=?", (subject, network))
                return False
            key = (subject, network, digest)
            if right is None:
                self._db.execute(
                    "DELETE FROM attempt WHERE subject=? AND network=? AND digest=? AND state=0 AND times=0", key
                )
                return False
            self._db.execute(
                "UPDATE attempt SET state=?, times=times+1, seen=? WHERE subject=? AND network=? AND digest=?",
                (_WRONG, now, *key),
            )
            return self._lock_if_due(subject, label, network, now)

    def locked(self, subject: str, network: str, now: float) -> bool:
        """Whether the entry is locked for the network; writes nothing."""
        return self._lock_until(subject, network, now) is not None

    def entries(self, now: float) -> list[Entry]:
        """Locks that last, and failures that count, by subject and network."""
        locks = [
            Entry(subject, network, label, failures, True, since, until)
            for subject, network, label, since, until, failures in self._db.execute(
                "SELECT subject, network, label, since, until, failures FROM lock ORDER BY subject, network"
            )
            if until is None or until > now
        ]
        shut = {(entry.subject, entry.network) for entry in locks}
        failures = [
            Entry(subject, network, label, count, False, since, last + self._rules.tries_interval)
            for subject, network, label, count, since, last in self._db.execute(
                "SELECT subject, network, MAX(label), COUNT(*), MIN(seen), MAX(seen) FROM attempt"
                " GROUP BY subject, network ORDER BY subject, network"
            )
            if last + self._rules.tries_interval > now and (subject, network) not in shut
        ]
        return locks + failures

    def unlock(self, name: str, network: str | None = None) -> int:
        """Forget the locks and failures of a subject, or of a label such as it is listed with; tells how many rows."""
        with self._transaction():
            values = {"name": name, "network": network}
            return sum(
                self._db.execute(statement, values).rowcount
                for statement in (
                    "DELETE FROM attempt WHERE (subject=:name OR label=:name COLLATE NOCASE)"
                    " AND (:network IS NULL OR network=:network)",
                    "DELETE FROM lock WHERE (subject=:name OR label=:name COLLATE NOCASE)"
                    " AND (:network IS NULL OR network=:network)",
                )
            )

    def purge(self, now: float) -> int:
        """Forget what does not count any more; tells how many rows."""
        with self._transaction():
            old = now - self._rules.tries_interval
            gone = self._db.execute("DELETE FROM attempt WHERE seen <= ?", (old,)).rowcount
            return gone + self._db.execute("DELETE FROM lock WHERE until <= ?", (now,)).rowcount

    # What follows runs within a transaction.

    def _forget_old(self, subject: str, network: str, now: float) -> None:
        """Failures count together only where none is longer away from the next than tries_interval. What has no
        answer for long counts as wrong."""
        pair = (subject, network)
        last = self._db.execute("SELECT MAX(seen) FROM attempt WHERE subject=? AND network=?", pair).fetchone()[0]
        if last is not None and not now - self._rules.tries_interval < last <= now + 1:  # the clock may be put back
            self._db.execute("DELETE FROM attempt WHERE subject=? AND network=?", pair)
        self._db.execute(
            "UPDATE attempt SET state=?, times=1 WHERE subject=? AND network=? AND state=? AND seen<?",
            (_WRONG, *pair, _PENDING, now - _LOST),
        )

    def _locked(self, subject: str, network: str, now: float) -> bool:
        if not self._rules.enforce:
            return False
        if self._lock_until(subject, network, now) is not None:
            return True
        over = self._db.execute(
            "DELETE FROM lock WHERE subject=? AND network IN (?, '') AND until <= ? RETURNING network",
            (subject, network, now),
        ).fetchall()
        for (place,) in over:  # what led to a lock does not lead to the next one
            self._db.execute("DELETE FROM attempt WHERE subject=? AND ? IN (network, '')", (subject, place))
        return False

    def _lock_until(self, subject: str, network: str, now: float) -> float | None:
        if not self._rules.enforce:
            return None
        rows = self._db.execute(
            "SELECT until FROM lock WHERE subject=? AND network IN (?, '') AND (until IS NULL OR until > ?)",
            (subject, network, now),
        ).fetchall()
        return max((float("inf") if until is None else until for (until,) in rows), default=None)

    def _again(self, subject: str, network: str, digest: bytes, times: int, seen: float, now: float) -> Ruling:
        if now < seen + self._pause(self._rules.repeat_pause, times - 1):
            return Ruling(Answer.REPEATED)
        # Still wrong until the directory says something else: a second one that comes meanwhile is not asked.
        self._db.execute(
            "UPDATE attempt SET seen=? WHERE subject=? AND network=? AND digest=?", (now, subject, network, digest)
        )
        return Ruling(Answer.ASK)

    def _new(self, key: tuple[str, str, bytes, str], fresh: bool, now: float) -> Ruling:
        subject, network, _, label = key
        asked, pending, last = self._db.execute(
            "SELECT COUNT(*), TOTAL(state=0), MAX(seen) FROM attempt WHERE subject=? AND network=? AND state<>?",
            (subject, network, _UNASKED),
        ).fetchone()
        wrong = asked - int(pending)
        if wrong < self._free <= asked:
            return Ruling(Answer.LATER)
        if wrong >= self._free and now < last + self._pause(self._rules.first_pause, wrong - self._free):
            self._put(key, _UNASKED, now)
            return Ruling(Answer.PAUSED, fresh, fresh and self._lock_if_due(subject, label, network, now))
        self._put(key, _PENDING, now)
        return Ruling(Answer.ASK, fresh)

    def _put(self, key: tuple[str, str, bytes, str], state: int, now: float) -> None:
        count = self._db.execute("SELECT COUNT(*) FROM attempt WHERE subject=? AND network=?", key[:2]).fetchone()[0]
        if count >= self._most:
            self._db.execute(
                "DELETE FROM attempt WHERE subject=?1 AND network=?2 AND digest="
                "(SELECT digest FROM attempt WHERE subject=?1 AND network=?2 ORDER BY state=2 DESC, seen LIMIT 1)",
                key[:2],
            )
        self._db.execute("REPLACE INTO attempt VALUES (?, ?, ?, ?, ?, 0, ?)", (*key, state, now))

    def _lock_if_due(self, subject: str, label: str, network: str, now: float) -> bool:
        if not self._rules.enforce:
            return False
        if self._lock_until(subject, network, now) is not None:
            return False  # by somebody else who was asked about at the same time
        locks = False
        here, everywhere = self._db.execute(
            "SELECT TOTAL(network=?), COUNT(*) FROM attempt WHERE subject=? AND state<>? AND (network=? OR seen>?)",
            (network, subject, _PENDING, network, now - self._rules.tries_interval),
        ).fetchone()
        until = now + self._rules.expiration if self._rules.expiration else None
        for place, count, most in (
            (network, int(here), self._rules.max_tries),
            ("", everywhere, self._rules.max_tries_everywhere),
        ):
            if most and count >= most:
                values = (subject, place, label, now, until, count)
                self._db.execute("REPLACE INTO lock VALUES (?, ?, ?, ?, ?, ?)", values)
                locks = True
        return locks

    def _pause(self, first: float, doublings: int) -> float:
        return min(first * 2.0 ** min(max(doublings, 0), 30), self._rules.longest_pause)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise Busy(str(error)) from error
            raise
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _is_busy(error: sqlite3.Error) -> bool:
    """Whether that is because another connection is at work."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
