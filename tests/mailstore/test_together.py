"""Several workers and other programs in one account, and workers that are killed: nothing is lost, no UID lies.

IMAPD_TEST_TOGETHER is the time in seconds that they go on, 8 if it is not set.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from imapd.mailstore.choice import Kinds
from tests.mailstore.maildirhouse import WaitingLoop, Worker
from tests.mailstore.together import BOXES, token_of

SECONDS = float(os.environ.get("IMAPD_TEST_TOGETHER", "8"))
ROLES = {
    "maildir": ("write", "write", "write", "deliver", "rename"),
    "mbox": ("write", "write", "write", "deliver-mbox", "change-mbox"),
}


class House:
    """The processes and their logs."""

    def __init__(self, home: Path, logs: Path) -> None:
        self.home, self.logs = home, logs
        self.started = 0
        self.running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, role: str) -> None:
        self.started += 1
        command = [sys.executable, "-m", "tests.mailstore.together", role, self.home, self.logs / str(self.started)]
        self.running.append((role, subprocess.Popen(command, cwd=Path(__file__).parents[2])))

    def kill_a_writer(self) -> None:
        role, process = random.choice([pair for pair in self.running if pair[0] == "write"])
        self.running.remove((role, process))
        assert process.poll() is None, "a writer ended by itself"
        process.kill()
        process.wait()
        self.start("write")

    def stop(self) -> list[int]:
        """End all; what they ended with. Only the writers are ours, and have to bear being killed at any moment."""
        ends = []
        for role, process in sorted(self.running, key=lambda pair: pair[0] == "write"):
            process.send_signal(signal.SIGKILL if role == "write" else signal.SIGTERM)
            ends.append(process.wait())
        return ends

    def lines(self) -> list[list[str]]:
        return [line.split() for path in self.logs.iterdir() for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", ROLES)
def test_workers_and_other_programs_share_mail_files_and_nothing_is_lost(tmp_path, kind):
    home, logs = tmp_path / "ann", tmp_path / "logs"
    logs.mkdir()
    worker = Worker(home, WaitingLoop(), kinds=Kinds(kind))
    worker.ann.create("A")
    uidvalidities = {name: str(worker.ann.status(name).uidvalidity) for name in BOXES}
    house = House(home, logs)
    end = time.monotonic() + SECONDS
    try:
        for role in ROLES[kind]:
            house.start(role)
        while time.monotonic() < end:
            time.sleep(random.uniform(0.5, 1.5))
            house.kill_a_writer()
        assert all(process.poll() is None for _, process in house.running), "somebody ended by himself"
    finally:
        ends = house.stop()
    assert set(ends) == {-signal.SIGKILL, 0}
    check(worker, uidvalidities, house.lines())


def check(worker: Worker, uidvalidities: dict[str, str], lines: list[list[str]]) -> None:
    said: dict[str, set[str]] = defaultdict(set)
    tokens: dict[tuple[str, str], set[str]] = defaultdict(set)
    places: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for word, *rest in lines:
        if word == "uid":
            name, uidvalidity, uid, token = rest
            assert uidvalidity == uidvalidities[name]
            tokens[name, uid].add(token)
            places[token].add((name, uid))
        else:
            said[word].add(rest[0])
    found: dict[str, int] = defaultdict(int)
    for name in BOXES:
        assert str(worker.ann.status(name).uidvalidity) == uidvalidities[name]
        worker.look(name)
        for uid, text in worker.texts(name).items():
            token = token_of(text)
            tokens[name, str(uid)].add(token)
            places[token].add((name, str(uid)))
            found[token] += 1
    assert [seen for seen in tokens.items() if len(seen[1]) > 1] == []  # no UID means two messages
    assert said["here"] - said["may-go"] - found.keys() == set()  # nothing is lost
    single = found.keys() - said["may-double"]
    assert {token for token in single if found[token] > 1} == set()  # nothing is doubled
    at_rest = single - said["may-move"]
    assert {token: places[token] for token in at_rest if len(places[token]) > 1} == {}  # a message keeps its UID
    assert len(said["here"]) > 5 * SECONDS, "hardly anything happened"
    assert len(said["retry"]) == 0
    print(len(said["here"]), "messages,", len(lines), "lines")
