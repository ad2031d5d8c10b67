"""An index that is damaged or gone, of 10,000 messages: python -m tests.faults.rebuilding [--messages 10000]

Anna's index is overwritten while a session has it open, and removed while the daemon is down. How long does she wait
until she sees all her messages again, with the UIDs that they had? And how long does Ben wait meanwhile, who works in
the same daemon?
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.hands import ImapHand
from tests.faults.index import INDEX, PAGE
from tests.faults.kills import percentiles, started
from tests.faults.ledger import Broken, Mail
from tests.mailstore.together import token_of
from tests.support.daemon import Client, Daemon

PROMISED = 10.0  # seconds
_AT_ONCE = 100


class Neighbour(threading.Thread):
    """Somebody who appends and reads meanwhile."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self._daemon_process = daemon
        self._over = threading.Event()
        self.waited: list[float] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with self._daemon_process.login("ben") as client:
                while not self._over.is_set():
                    began = time.monotonic()
                    client.append("INBOX", b"Subject: from ben\r\n\r\nHello.\r\n")
                    client.ok("SELECT INBOX")
                    client.ok("FETCH * (FLAGS BODY[])")
                    self.waited.append(time.monotonic() - began)
        except Exception as failure:  # told by whoever joins us
            self.failure = failure

    def end(self) -> None:
        self._over.set()
        self.join(60)
        if self.failure is not None:
            raise self.failure


@contextmanager
def neighbour(daemon: Daemon) -> Iterator[Neighbour]:
    ben = Neighbour(daemon)
    ben.start()
    try:
        yield ben
    finally:
        ben.end()


def fill(daemon: Daemon, messages: int) -> None:
    hand = ImapHand(daemon, "anna")
    for first in range(0, messages, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, messages))
        flags = frozenset({"\\Seen"})
        hand.append("INBOX", [Mail(f"r.{number}", flags if number % 3 else frozenset()) for number in numbers])
    hand.close()


def seen(client: Client, messages: int) -> tuple[bytes, list[bytes]]:
    """UIDVALIDITY, and the UID and flags of each message. Raises Broken where they are not so many."""
    selected = client.ok("SELECT INBOX")
    (uidvalidity,) = [line for line in selected if b"UIDVALIDITY" in line]
    for sign in "+-":  # what only reads may have everything in memory
        client.ok(f"STORE 1:* {sign}FLAGS.SILENT (\\Answered)")
    lines = client.ok("FETCH 1:* (UID FLAGS)")
    found = sorted(line for line in lines if b" FETCH " in line)
    if len(found) != messages:
        raise Broken(f"{len(found)} messages are there of {messages}")
    return uidvalidity, found


def patiently(daemon: Daemon, messages: int) -> tuple[bytes, list[bytes]]:
    """The same for a client that comes again when it is sent away."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with daemon.login("anna") as client:
                return seen(client, messages)
        except (OSError, AssertionError):
            if time.monotonic() > deadline:
                raise


def overwrite(index: Path, chance: random.Random) -> None:
    """All but the first page, in place, as a bad disk does; and the log."""
    for path in (index, Path(f"{index}-wal")):
        if path.exists():
            with open(path, "r+b") as file:
                start = PAGE if path == index else 0
                octets = path.stat().st_size - start
                file.seek(start)
                file.write(chance.randbytes(max(0, octets)))


def trial(folder: Path, format: str, messages: int, seed: int, say: Callable[[str], None] = print) -> float:
    """The longest that Anna waited, in seconds. Raises Broken."""
    chance = random.Random(seed)
    daemon = Daemon(folder / format, mail=f"format = {format}")
    waits = []
    with started(daemon):
        fill(daemon, messages)
        patiently(daemon, messages)  # to whom they are recent
        before = patiently(daemon, messages)
        with daemon.login("anna") as client:
            seen(client, messages)
            with neighbour(daemon) as ben:
                overwrite(daemon.maildir() / INDEX, chance)
                waits.append(_look(daemon, before, f"{format}, overwritten while it was open", messages, say))
            say(f"  the neighbour meanwhile: {percentiles(ben.waited)}")
    for path in daemon.maildir().glob(INDEX + "*"):
        path.unlink()
    with started(daemon), neighbour(daemon) as ben:
        waits.append(_look(daemon, before, f"{format}, removed", messages, say))
        _texts(daemon, messages, chance)
    say(f"  the neighbour meanwhile: {percentiles(ben.waited)}")
    return max(waits)


def _look(daemon: Daemon, before: tuple[bytes, list[bytes]], what: str, messages: int, say) -> float:
    began = time.monotonic()
    after = patiently(daemon, messages)
    seconds = time.monotonic() - began
    if after != before:
        raise Broken(f"{what}: UIDVALIDITY, UIDs or flags are others: {before[0]!r} became {after[0]!r}")
    say(f"{what}: {messages} messages are there again after {seconds:.2f} s, with their UIDs and flags")
    return seconds


def _texts(daemon: Daemon, messages: int, chance: random.Random) -> None:
    """Some of the messages have the text that they had."""
    with daemon.login("anna") as client:
        client.ok("SELECT INBOX")
        for number in chance.sample(range(1, messages + 1), min(20, messages)):
            (line,) = [line for line in client.ok(f"FETCH {number} BODY.PEEK[]") if b" FETCH " in line]
            text = line.partition(b"}\r\n")[2].rpartition(b")")[0]
            if token_of(text) != f"r.{number - 1}":
                raise Broken(f"message {number} has the text of {token_of(text)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    failed = 0
    for format in ("maildir", "mbox"):
        with tempfile.TemporaryDirectory(prefix="imapd-rebuilding-") as folder:
            try:
                longest = trial(Path(folder), format, options.messages, options.seed)
            except AssertionError as broken:
                print(f"seed {options.seed}: {type(broken).__name__}: {broken}")
                failed += 1
                continue
            if longest > PROMISED:
                print(f"{format}: that is longer than the {PROMISED:.0f} s that are promised")
                failed += 1
    print(f"4 indexes of {options.messages} messages (seed {options.seed}): {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
