"""kill -9: python -m tests.faults.kills --cycles 5000

Eight clients in two accounts change their mail by a daemon with two workers, of which one is killed again and again, at
random moments; now and then the indexer is, which here renders all mailboxes that are not tiny, or everything is killed, the
master too, and started anew. A client whose connection ends comes back and looks what became of its last command; in the end
of each round everything is compared with what was acknowledged.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

from tests.faults.deeds import Client, Lost, Refused
from tests.faults.hands import ImapHand
from tests.faults.ledger import Ledger, Uids
from tests.support.daemon import Daemon

CLIENTS = 8
PEOPLE = {"anna": "secret", "ben": "secret"}
ROUND = 20
"""Kills between two looks at everything."""
ALL = 0.05
"""The share of kills that end the master too."""
INDEXER = 0.15
"""The share of the others that end the indexer."""
PATIENCE = 60.0
BETWEEN = 0.2
"""Seconds at most from one kill, when a worker serves again, to the next."""


class Session(threading.Thread):
    """A client's life: it comes, looks what became of its last command, and works until its connection ends."""

    def __init__(self, daemon: Daemon, is_up: threading.Event, person: str, client: Client) -> None:
        super().__init__(daemon=True)
        self.is_up = is_up
        self.daemon_process, self.person, self.client = daemon, person, client
        self.over = threading.Event()
        self.refused: list[str] = []
        self.waited: list[float] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self._connect_and_work()
        except Exception as failure:  # told by whoever joins us
            self.failure = failure

    def _connect_and_work(self) -> None:
        hand = self._connected()
        try:
            while not self.over.is_set():
                if self.client.ledger.is_in_doubt:
                    self.client.ledger.check(hand.look(self.client.prefix))
                try:
                    self.client.act(hand)
                except Refused as refused:
                    self.refused.append(str(refused))
        except Lost:
            pass
        finally:
            hand.close()

    def _connected(self) -> ImapHand:
        began = time.monotonic()
        while True:
            self.is_up.wait(PATIENCE)
            try:
                hand = ImapHand(self.daemon_process, self.person)
            except Lost:
                if time.monotonic() - began > PATIENCE:
                    raise
                time.sleep(0.002)
                continue
            self.waited.append(time.monotonic() - began)
            return hand

    def look(self) -> None:
        """Compare everything with what was acknowledged, by a new connection."""
        hand = self._connected()
        try:
            self.client.ledger.check(hand.look(self.client.prefix))
        finally:
            hand.close()

    def end(self) -> None:
        self.over.set()
        self.join(PATIENCE)
        if self.is_alive():
            raise AssertionError(f"a client of {self.person} hangs")
        if self.failure is not None:
            raise self.failure


class Trial:
    """Everybody, and who kills."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.daemon = daemon
        self.chance = random.Random(seed)
        self.greetings: list[float] = []
        self.is_up = threading.Event()
        self.is_up.set()
        self.kills = {"worker": 0, "indexer": 0, "all": 0}
        self.refused: list[str] = []
        self.waited: list[float] = []
        people = sorted(PEOPLE)
        self.uids = {person: Uids() for person in people}
        self.clients: list[tuple[str, Client]] = []
        for number in range(CLIENTS):
            person = people[number % len(people)]
            hand = ImapHand(daemon, person)
            ledger = Ledger(self.uids[person], hand.look(f"c{number}"))
            hand.close()
            self.clients.append((person, Client(f"c{number}", ledger, random.Random(self.chance.random()))))

    def round(self, kills: int) -> None:
        """Kill some times while everybody works, then look at everything. Raises Broken."""
        sessions = [Session(self.daemon, self.is_up, person, client) for person, client in self.clients]
        for session in sessions:
            session.start()
        for _ in range(kills):
            time.sleep(self.chance.uniform(0.0, BETWEEN))
            self._kill()
        for session in sessions:
            session.end()
            self.refused += session.refused
            self.waited += session.waited
        for session in sessions:
            session.look()

    def _kill(self) -> None:
        began = time.monotonic()
        if self.chance.random() < ALL:
            self.kills["all"] += 1
            # Nobody knocks meanwhile: a connection to a port where nobody listens may find itself there, and keep the port.
            self.is_up.clear()
            kill_everything(self.daemon)
            began = time.monotonic()
            self.daemon.start()
            self.greetings.append(time.monotonic() - began)
            wait_until_ready(self.daemon)
            self.is_up.set()
            return
        indexers = self.daemon.indexers() if self.chance.random() < INDEXER else []
        self.kills["indexer" if indexers else "worker"] += 1
        try:
            os.kill(self.chance.choice(indexers or self.daemon.workers()), signal.SIGKILL)
        except ProcessLookupError:
            return  # it ended in this moment, killed before
        greeted(self.daemon)
        self.greetings.append(time.monotonic() - began)

    def done(self) -> dict[str, int]:
        sums: dict[str, int] = {}
        for _, client in self.clients:
            for deed, number in client.done.items():
                sums[deed] = sums.get(deed, 0) + number
        return sums


def trial(folder: Path, cycles: int, seed: int, mail: str = "", say=print) -> Trial:
    """Kill so often. Raises Broken."""
    daemon = Daemon(folder / "imapd", people=PEOPLE, mail=mail)
    daemon.program = [*daemon.program[:2], "tests.faults.restless"]
    began = time.monotonic()
    with started(daemon):
        trial = Trial(daemon, seed)
        for left in range(cycles, 0, -ROUND):
            trial.round(min(left, ROUND))
            say(
                f"{cycles - left + min(left, ROUND)} kills, {sum(trial.done().values())} acknowledged, {time.monotonic() - began:.0f} s"
            )
        assert not daemon.tracebacks(), daemon.log()[-4000:]
    say(f"{trial.kills} killed (seed {seed}), acknowledged: {trial.done()}, {sum(map(len, trial.uids.values()))} UIDs")
    say(f"first greeting: {percentiles(trial.greetings)}; clients until logged in again: {percentiles(trial.waited)}")
    if trial.refused:
        say(f"{len(trial.refused)} refusals, as {trial.refused[0]}")
    return trial


def greeted(daemon: Daemon) -> None:
    """Connect, and wait for the greeting; again where one that is dying had accepted."""
    began = time.monotonic()
    while True:
        try:
            client = daemon.connect(timeout=PATIENCE)
        except OSError:
            if time.monotonic() - began > PATIENCE:
                raise
            time.sleep(0.002)
            continue
        client.close()
        if client.greeting.startswith(b"* OK"):
            return


def wait_until_ready(daemon: Daemon) -> None:
    """A daemon whose first workers die before all of them serve gives up."""
    assert daemon.process is not None
    began = time.monotonic()
    while " ready workers=" not in daemon.log().rpartition(" listening ")[2]:
        if daemon.process.poll() is not None or time.monotonic() - began > PATIENCE:
            raise AssertionError(daemon.log()[-4000:])
        time.sleep(0.005)


def kill_everything(daemon: Daemon) -> None:
    """The master and its workers; returns when their ports are free."""
    assert daemon.process is not None
    os.killpg(daemon.process.pid, signal.SIGKILL)
    daemon.process.wait()
    began = time.monotonic()
    for port in (daemon.port, daemon.tls_port, daemon.strict_port):
        while True:
            try:
                socket.create_server(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() - began > PATIENCE:
                    raise
                time.sleep(0.002)


class started:
    """A daemon that runs, and is ended whatever happens."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def __enter__(self) -> Daemon:
        self.daemon.start()
        wait_until_ready(self.daemon)
        return self.daemon

    def __exit__(self, kind, *nothing: object) -> None:
        assert self.daemon.process is not None
        if kind is None:
            self.daemon.stop()
        elif self.daemon.process.poll() is None:
            os.killpg(self.daemon.process.pid, signal.SIGKILL)
            self.daemon.process.wait()


def patient(folder: Path) -> dict[str, float]:
    """Seconds to the first greeting with the true master: when a worker, all workers, everything was killed."""
    found = {}
    for what in ("a worker", "all workers", "everything"):
        with started(Daemon(folder / what.replace(" ", "-"), people=PEOPLE)) as daemon:
            workers = daemon.workers()
            began = time.monotonic()
            if what == "everything":
                kill_everything(daemon)
                began = time.monotonic()
                daemon.start()
            else:
                for pid in workers if what == "all workers" else workers[:1]:
                    os.kill(pid, signal.SIGKILL)
            for _ in range(4):  # whichever worker's queue they come into
                greeted(daemon)
            found[what] = time.monotonic() - began
    return found


def percentiles(seconds: list[float]) -> str:
    """The usual figures of some waits."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99))
    return f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, longest {ordered[-1] * 1000:.0f} ms of {len(ordered)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument(
        "--format", default="", help="of the mail files: maildir or mbox; the server's default otherwise"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imapd-kills-") as folder:
        for what, seconds in patient(Path(folder)).items():
            print(f"first greeting after {what} died, with the true master: {seconds:.2f} s")
        mail = f"format = {options.format}" if options.format else ""
        try:
            trial(Path(folder), options.cycles, options.seed, mail)
        except AssertionError as broken:
            print(f"seed {options.seed}: {type(broken).__name__}: {broken}")
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
