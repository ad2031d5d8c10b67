"""Trials of a damaged index: whatever becomes of its file, no UID has the text of another message.

    python -m tests.faults.index [--flips 10000] [--seed 1] [--format mbox]
    python -m tests.faults.index --again FOLDER     what failed once more, in the folder that was named then

A Maildir, or mboxes, with a known text under each UID is copied, its index damaged, while it is closed or while a session has it
open: bits flipped, pages zeroed or filled with nonsense, the file cut at every 512 octets, deleted, replaced by an older
copy; deleted with bits flipped in the records beside it. Then everything is read by a client that selects again when it
is told to. Each UID has its own text still, or UIDVALIDITY has risen; no message is missing; a message that comes then
gets a UID that none had before.
"""

import argparse
import contextlib
import logging
import os
import pickle
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imapd.mailstore.errors import StoreError
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import Worker, deliver

INDEX = "imapd-index.sqlite"
PAGE = 4096
BEFORE_IT_IS_WELL = 5  # times that a client has to select again; one damage may be found after another
ADD = FlagChange.ADD


@dataclass
class Truth:
    """What one mailbox was: UIDVALIDITY, the text of every UID that was ever given, and the UIDs still there."""

    uidvalidity: int
    given: dict[int, bytes] = field(default_factory=dict)
    present: set[int] = field(default_factory=set)

    @property
    def texts(self) -> list[bytes]:
        return sorted(self.given[uid] for uid in self.present)


class Canaries:
    """An account whose worker has gone, and what is true of it."""

    def __init__(self, home: Path, messages: int = 40, is_mbox: bool = False) -> None:
        self.home = home
        self.is_mbox = is_mbox
        if is_mbox:
            home.mkdir()
            (home / "inbox").touch()
        worker = Worker(home)
        worker.ann.create("A")
        self.truth = {name: Truth(worker.ann.status(name).uidvalidity) for name in ("INBOX", "A")}
        for number in range(messages // 2):
            self._put(worker, "INBOX", b"first: %d\r\n\r\n" % number)
            self._put(worker, "A", b"other: %d\r\n\r\n" % number)
        worker.store.close()
        self.older = (home / INDEX).read_bytes()
        worker = Worker(home)
        for number in range(messages // 2):
            self._put(worker, "INBOX", b"second: %d\r\n\r\n" % number)
        inbox = worker.open()
        inbox.change_flags([2, 5, 6], ADD, frozenset({"\\Seen", "Work"}))
        inbox.change_flags([3, messages], ADD, frozenset({"\\Deleted"}))
        self.truth["INBOX"].present -= set(inbox.expunge(None))
        moved = inbox.move([4], "A")
        self.truth["INBOX"].present -= {4}
        self._note("A", moved.uids[0], self.truth["INBOX"].given[4])
        inbox.close()
        worker.store.close()

    def _put(self, worker: Worker, name: str, text: bytes) -> None:
        self._note(name, worker.put(name, text).uids[0], text)

    def _note(self, name: str, uid: int, text: bytes) -> None:
        self.truth[name].given[uid] = text
        self.truth[name].present.add(uid)

    def check(self, home: Path, worker: Worker | None = None) -> str:
        """Read everything; "kept" or "raised", as it is with UIDVALIDITY. AssertionError where a promise is broken."""
        worker = worker or _opened(home)
        kept = [self._check_mailbox(worker, name, truth) for name, truth in self.truth.items()]
        self._check_newcomer(worker, home)
        worker.store.close()
        return "kept" if all(kept) else "raised"

    def _check_mailbox(self, worker: Worker, name: str, truth: Truth) -> bool:
        uidvalidity, texts = self._patiently(worker, name)
        assert sorted(texts.values()) == truth.texts, f"{name}: messages are missing, or there twice"
        if uidvalidity != truth.uidvalidity:
            assert uidvalidity > truth.uidvalidity, f"{name}: UIDVALIDITY fell"
            return False
        for uid, text in texts.items():
            wrong = uid not in truth.present and uid <= max(truth.given)
            assert not wrong and truth.given.get(uid, text) == text, f"{name}: a wrong text under UID {uid}"
        return True

    def _patiently(self, worker: Worker, name: str) -> tuple[int, dict[int, bytes]]:
        """UIDVALIDITY and texts, as a client gets them that selects again when it is told to."""
        for left in reversed(range(BEFORE_IT_IS_WELL)):
            try:
                return worker.ann.status(name).uidvalidity, worker.texts(name)
            except StoreError:
                if not left:
                    raise
        raise AssertionError

    def _check_newcomer(self, worker: Worker, home: Path) -> None:
        if self.is_mbox:
            with open(home / "inbox", "ab") as inbox:
                inbox.write(b"From ann@example.org Mon Nov 23 10:00:00 2026\nnew: 1\n\n\n")
        else:
            deliver(home, b"new: 1\n\n")
        truth = self.truth["INBOX"]
        uidvalidity, texts = self._patiently(worker, "INBOX")
        (uid,) = [uid for uid, text in texts.items() if text == b"new: 1\r\n\r\n"]
        assert uidvalidity != truth.uidvalidity or uid > max(truth.given), "a UID was given again"


def _opened(home: Path) -> Worker:
    for left in reversed(range(BEFORE_IT_IS_WELL)):
        try:
            return Worker(home)
        except StoreError:
            if not left:
                raise
    raise AssertionError


@dataclass(frozen=True)
class Trial:
    """One damage. number: the seed of what is random, or where the file is cut."""

    kind: str
    when: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number} {self.when}".replace(" ", "-")

    def run(self, canaries: Canaries, home: Path) -> str:
        """Damage a copy in `home` and read it: "kept" or "raised". Raises AssertionError where a promise is broken."""
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(canaries.home, home)
        if self.when == "closed":
            self.damage(canaries, home)
            return canaries.check(home)
        worker = Worker(home)
        mailbox = worker.open()
        uids = list(mailbox.snapshot().uids)
        self.damage(canaries, home)
        for uid in uids:  # who selected before has the old UIDs, and may be told that they are gone
            with contextlib.suppress(StoreError), contextlib.closing(mailbox.message(uid)) as message:
                assert message.read() == canaries.truth["INBOX"].given[uid], f"a wrong text under {uid}"
        return canaries.check(home, worker)

    def damage(self, canaries: Canaries, home: Path) -> None:
        path, chance = home / INDEX, random.Random(self.number)
        if self.kind == "flip":
            _flip(path, chance, chance.choice((1, 1, 8)))
        elif self.kind == "zeroed":
            _overwrite(path, chance, bytes(PAGE))
        elif self.kind == "nonsense":
            _overwrite(path, chance, chance.randbytes(PAGE))
        elif self.kind == "cut":
            os.truncate(path, self.number)
        elif self.kind == "older":
            _remove(home)
            path.write_bytes(canaries.older)
        else:
            _remove(home)
            if self.kind == "beside":
                for name in chance.choice((("imapd-uids",), ("imapd-floors",), ("imapd-uids", "imapd-floors"))):
                    _flip(home / name, chance, 2)


def _remove(home: Path) -> None:
    for path in home.glob(INDEX + "*"):
        path.unlink()


def _flip(path: Path, chance: random.Random, bits: int) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(bits):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    _write_in_place(path, bytes(data), 0)


def _overwrite(path: Path, chance: random.Random, page: bytes) -> None:
    _write_in_place(path, page, PAGE * chance.randrange(path.stat().st_size // PAGE))


def _write_in_place(path: Path, data: bytes, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def trials(flips: int, truncations: int | None = None, seed: int = 1, size: int = 0) -> Iterator[Trial]:
    """All kinds of trials, closed and open. truncations: at so many places, or at every 512 octets of `size`."""
    chance = random.Random(seed)
    cuts = (
        range(0, size, 512) if truncations is None else sorted(512 * chance.randrange(64) for _ in range(truncations))
    )
    for when in ("closed", "open"):
        yield from [Trial(kind, when, 0) for kind in ("deleted", "older")]
        yield from [Trial("cut", when, number) for number in cuts]
        for number in range(seed, seed + max(1, flips // 10)):
            yield from [Trial(kind, when, number) for kind in ("zeroed", "nonsense", "beside")]
    for number in range(seed, seed + flips):
        yield Trial("flip", "closed" if number % 2 else "open", number)


def kept(canaries: Canaries, trial: Trial) -> Path:
    """A folder with what is needed to do the trial again: names of files differ from one run to the next."""
    folder = Path(tempfile.mkdtemp(prefix="imapd-index-"))
    shutil.copytree(canaries.home, folder / "home")
    (folder / "trial").write_bytes(pickle.dumps((canaries, trial)))
    return folder


def again(folder: Path) -> int:
    """Do a trial that failed once more, with everything that the store has to say."""
    canaries, trial = pickle.loads((folder / "trial").read_bytes())
    canaries.home = folder / "home"
    logging.disable(logging.NOTSET)
    logging.basicConfig()
    print(trial.run(canaries, folder / "ann"))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Damage an index in many ways, and look for a wrong text.")
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", choices=("maildir", "mbox"), default="maildir")
    parser.add_argument("--again", type=Path)
    options = parser.parse_args()
    if options.again:
        return again(options.again)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - nothing here need be durable
    seen: Counter[tuple[str, str]] = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory) as place:
        canaries = Canaries(Path(place) / "canaries", is_mbox=options.format == "mbox")
        for trial in trials(options.flips, seed=options.seed, size=(canaries.home / INDEX).stat().st_size):
            try:
                outcome = trial.run(canaries, Path(place) / "ann")
            except (AssertionError, Exception) as error:
                outcome = "FAILED"
                print(f"{trial}: {type(error).__name__}: {error} (kept in {kept(canaries, trial)})", flush=True)
            seen[trial.kind, outcome] += 1
            if seen.total() % 1000 == 0:
                print(f"{seen.total()} so far, {time.monotonic() - began:.0f} s", flush=True)
    for (kind, outcome), count in sorted(seen.items()):
        print(f"{kind:10} {outcome:8} {count}")
    failed = sum(count for (_, outcome), count in seen.items() if outcome == "FAILED")
    print(
        f"{sum(seen.values())} damaged indexes of {options.format} (seed {options.seed}): {failed} failed, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    logging.disable()  # each damage is told of, as it should be
    sys.exit(main())
