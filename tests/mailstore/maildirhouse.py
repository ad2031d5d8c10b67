"""What the tests of the Maildir store share: a house with one person, and the deeds of other programs."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

from imapd.mailstore.local import LocalStore
from imapd.mailstore.store import Incoming, Owner
from tests.support.loop import PlainLoop

MAIL = b"From: ann@example.org\nSubject: one\n\nHello.\nBye.\n"
WIRE = MAIL.replace(b"\n", b"\r\n")
_numbers = count(1)


class WaitingLoop(PlainLoop):
    """A loop with the machine's clock, that waits in earnest: for several processes."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Worker:
    """One process's store with one session of Ann."""

    def __init__(self, home: Path, loop: PlainLoop | None = None, **settings: object) -> None:
        self.loop = loop or PlainLoop(time.time())
        self.home = home
        self.store = LocalStore(self.loop, **settings)  # type: ignore[arg-type]
        self.ann = self.store.open_account(Owner("id-ann", "ann", str(home)))

    def put(self, name: str = "INBOX", *texts: bytes, flags: frozenset[str] = frozenset(), date: int | None = None):
        messages = []
        for text in texts or (WIRE,):
            spool = self.ann.spool()
            spool.write(text)
            messages.append(Incoming(spool, flags, date))
        return self.ann.append(name, messages)

    def open(self, name: str = "INBOX", read_only: bool = False):
        return self.ann.open(name, read_only)

    def look(self, name: str = "INBOX", read_only: bool = False) -> dict[int, frozenset[str]]:
        """The UIDs and flags of a mailbox."""
        mailbox = self.ann.open(name, read_only)
        snapshot = mailbox.snapshot()
        mailbox.close()
        return {uid: snapshot.flags_of(row) for row, uid in enumerate(snapshot.uids)}

    def texts(self, name: str = "INBOX") -> dict[int, bytes]:
        """The UIDs and texts of a mailbox; each said its true size."""
        mailbox = self.ann.open(name)
        read = {}
        for uid in mailbox.snapshot().uids:
            message = mailbox.message(uid)
            read[uid] = message.read()
            assert len(read[uid]) == message.size
            message.close()
        mailbox.close()
        return read

    def crash(self) -> None:
        """Forget everything, as a process does that is killed: nothing is closed in order."""
        for core in self.store._cores.values():
            core._close(core._index.taken())
        self.store._cores.clear()


def open_files(folder: Path) -> Counter[str]:
    """The files below a folder that this process has open, by their paths, and how often."""
    paths = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            paths.append(os.readlink(f"/proc/self/fd/{fd}"))
    return Counter(path for path in paths if path.startswith(f"{folder}/"))


def deliver(home: Path, text: bytes = MAIL, name: str | None = None, folder: str = "", place: str = "new") -> Path:
    """What a delivery agent does."""
    name = name or f"{1_600_000_000 + next(_numbers)}.M1P1.mx"
    path = home / folder / place / name
    part = home / folder / "tmp" / "part"
    part.write_bytes(text)
    part.rename(path)
    return path


def files(home: Path, folder: str = "") -> dict[str, list[str]]:
    return {place: sorted(os.listdir(home / folder / place)) for place in ("new", "cur", "tmp")}


class Crash(BaseException):
    """The process ends here."""


class Faults:
    """Makes the n-th call of an os function that changes the disk fail, and every one after it."""

    CALLS = ("rename", "unlink", "link", "fsync", "mkdir", "utime", "write", "rmdir")

    def __init__(
        self, monkeypatch, error: Callable[[], BaseException], sticky: bool = True, more: tuple[str, ...] = ()
    ) -> None:
        self.calls = 0
        self.at: int | None = None
        self._error = error
        self._sticky = sticky
        for name in (*self.CALLS, *more):
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, call):
        def counted(*arguments, **named):
            if self.at is None:
                return call(*arguments, **named)
            self.calls += 1
            if self.calls == self.at or (self._sticky and self.calls > self.at):
                raise self._error()
            return call(*arguments, **named)

        return counted

    def arm(self, at: int) -> None:
        self.calls, self.at = 0, at

    def disarm(self) -> None:
        self.at = None
