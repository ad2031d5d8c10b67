"""The deeds of those who use one account together, each a process: `python -m tests.mailstore.together ROLE HOME LOG`.

A writer is a worker of imapd; the deliverer and the renamer are other programs. Each writes a line to its log for what
it is about to do and for what it was told, so that a killed one leaves nothing in doubt:

    uid BOX UIDVALIDITY UID TOKEN   the message was seen there, or is acknowledged to be there
    here TOKEN                      it is acknowledged, and must not get lost
    may-go TOKEN                    somebody is about to expunge it
    may-move TOKEN, may-double TOKEN

A message's token is its canary: the text says it, and a digest of the token fills the body.
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from imapd.mailstore.errors import Expunged, Retry
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import WaitingLoop, Worker

BOXES = ("INBOX", "A")


def text_of(token: str) -> bytes:
    """The message of a token, with CRLF."""
    digest = hashlib.sha256(token.encode()).hexdigest().encode()
    return b"token: " + token.encode() + b"\r\n\r\n" + (digest + b"\r\n") * (1 + digest[0] % 50)


def token_of(text: bytes) -> str:
    """The token of a text, which must be whole."""
    token = text[7 : text.index(b"\r\n")].decode()
    assert text == text_of(token), text[:80]
    return token


class Log:
    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, *words: object) -> None:
        os.write(self._fd, " ".join(map(str, words)).encode() + b"\n")


class Writer:
    """One worker; every deed is one of its methods."""

    def __init__(self, home: Path, log: Log) -> None:
        self.worker = Worker(home, WaitingLoop())
        self.log = log
        self.boxes = {name: self.worker.open(name) for name in BOXES}
        self.count = 0

    def append(self, name: str) -> None:
        tokens = [f"w{os.getpid()}.{self.count + number}" for number in range(random.choice((1, 1, 3)))]
        self.count += len(tokens)
        placed = self.worker.put(name, *map(text_of, tokens), flags=frozenset(random.sample(["\\Seen", "Work"], 1)))
        for uid, token in zip(placed.uids, tokens, strict=True):
            self.log("uid", name, placed.uidvalidity, uid, token)
            self.log("here", token)

    def read(self, name: str) -> tuple[int, str] | None:
        snapshot = self.boxes[name].snapshot()
        uids = snapshot.uids
        assert all(low < high < snapshot.uidnext for low, high in zip(uids, uids[1:], strict=False))
        if not uids:
            return None
        uid = random.choice(uids)
        try:
            message = self.boxes[name].message(uid)
        except Expunged:
            return None
        text = message.read()
        assert len(text) == message.size
        message.close()
        token = token_of(text)
        self.log("uid", name, snapshot.uidvalidity, uid, token)
        return uid, token

    def flags(self, name: str) -> None:
        if found := self.read(name):
            flag = random.choice(["\\Seen", "\\Flagged", "\\Answered", "Later"])
            how = random.choice([FlagChange.ADD, FlagChange.REMOVE])
            self.boxes[name].change_flags([found[0]], how, frozenset({flag}))

    def expunge(self, name: str) -> None:
        if found := self.read(name):
            self.log("may-go", found[1])
            self.boxes[name].change_flags([found[0]], FlagChange.ADD, frozenset({"\\Deleted"}))
            self.boxes[name].expunge([found[0]])

    def transfer(self, name: str) -> None:
        if found := self.read(name):
            word, deed = random.choice((("may-double", self.boxes[name].copy), ("may-move", self.boxes[name].move)))
            self.log(word, found[1])
            goal = random.choice(BOXES)
            placed = deed([found[0]], goal)
            for uid in placed.uids:
                self.log("uid", goal, placed.uidvalidity, uid, found[1])

    def run(self) -> None:
        deeds = [self.append, self.append, self.read, self.read, self.flags, self.flags, self.transfer, self.expunge]
        while True:
            try:
                random.choice(deeds)(random.choice(BOXES))
            except Retry as error:
                self.log("retry", error.reason)
            time.sleep(random.uniform(0, 0.01))


def until_told() -> Iterator[int]:
    """Count until SIGTERM, which ends the program between two deeds."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    return itertools.takewhile(lambda _: not told, itertools.count())


def deliver(home: Path, log: Log) -> None:
    """A delivery agent."""
    for number in until_told():
        token = f"d{os.getpid()}.{number}"
        folder = home / random.choice(("", ".A"))
        name = f"{time.time():.0f}.M{time.time_ns() // 1000 % 1_000_000:06d}P{os.getpid()}N{number}.mx"
        (folder / "tmp" / name).write_bytes(text_of(token).replace(b"\r\n", b"\n"))
        os.rename(folder / "tmp" / name, folder / "new" / name)
        log("here", token)
        time.sleep(random.uniform(0, 0.05))


def rename(home: Path, _log: Log) -> None:
    """A mail reader that changes flags, as mutt does."""
    for _ in until_told():
        cur = home / random.choice(("", ".A")) / "cur"
        names = os.listdir(cur)
        for name in random.sample(names, min(5, len(names))):
            base, _, letters = name.partition(":2,")
            changed = "".join(sorted(set(letters) ^ {random.choice("FRS")}))
            try:
                os.rename(cur / name, cur / f"{base}:2,{changed}")
            except FileNotFoundError:
                continue
        time.sleep(random.uniform(0, 0.01))


@contextlib.contextmanager
def locked_mbox(path: Path) -> Iterator[IO[bytes]]:
    """The locks of a delivery agent: it waits for the record lock with the file open, and then makes a dotlock."""
    with open(path, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        lock = Path(f"{path}.lock")
        while True:
            try:
                lock.open("x").close()
                break
            except FileExistsError:
                time.sleep(0.001)
        try:
            yield file
        finally:
            lock.unlink()


def deliver_to_mbox(home: Path, log: Log) -> None:
    """A delivery agent, also one that waited while the file was replaced."""
    for number in until_told():
        token = f"d{os.getpid()}.{number}"
        with locked_mbox(home / random.choice(("inbox", "A"))) as file:
            file.seek(0, os.SEEK_END)
            text = text_of(token).replace(b"\r\n", b"\n")
            file.write(b"From d Mon Nov 23 10:00:00 2026\n" + text + b"\n")
            file.flush()
            os.fsync(file.fileno())
            log("here", token)
        time.sleep(random.uniform(0, 0.05))


def change_mbox(home: Path, _log: Log) -> None:
    """A mail reader that changes flags, as mutt does: it writes the whole file anew, in place."""
    for _ in until_told():
        path = home / random.choice(("inbox", "A"))
        with locked_mbox(path) as file:
            data = file.read()
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                pieces = re.split(rb"(?<=\n\n)(?=From [a-zA-Z-]+ \w{3} Nov)", data)
                number = random.randrange(len(pieces))
                head, blank, body = pieces[number].partition(b"\n\n")
                head = re.sub(rb"\n(?:Status|X-Status|Content-Length):[^\n]*", b"", head)
                if head:
                    head += random.choice((b"\nStatus: RO", b"\nStatus: O\nX-Status: F", b""))
                    pieces[number] = head + blank + body
                    file.seek(0)
                    file.write(b"".join(pieces))
                    file.truncate()
                    file.flush()
        time.sleep(random.uniform(0, 0.1))


ROLES = {"deliver": deliver, "rename": rename, "deliver-mbox": deliver_to_mbox, "change-mbox": change_mbox}


def main() -> None:
    role, home, log = sys.argv[1], Path(sys.argv[2]), Log(sys.argv[3])
    if role == "write":
        Writer(home, log).run()
    ROLES[role](home, log)


if __name__ == "__main__":
    main()
