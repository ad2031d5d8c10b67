"""Workloads of waiting: how soon an idle client hears of news, and how long others wait while four work hard."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from tests.bench import servers
from tests.bench.arriving import MAIL_EACH
from tests.bench.client import Connection
from tests.bench.compare import Measure, Run, Target, Workload
from tests.bench.reading import opened, select
from tests.bench.writing import literal, messages, somebody

TIMES = 7  # of each kind of news; Dovecot takes half a second for one
HEAVY = 4.0  # seconds that four work hard
SMALL = b"FETCH 1:10 (UID FLAGS ENVELOPE)"


def news(run: Run) -> None:
    """From a file's rename into new/, and from the command of another session, to the line that the idle client gets."""
    name, watcher = _idle(run)
    texts = list(messages(run, TIMES))
    with run.costs("news_delivery"):
        _each(run, "news_delivery", watcher, b" EXISTS\r\n", lambda turn: _deliver(run, name, turn, texts[turn]))
    _of_sessions(run, name, watcher)
    watcher.close()


def news_of_sessions(run: Run) -> None:
    """The same without deliveries, for a server into whose store no other program can put a file."""
    name, watcher = _idle(run)
    with run.costs("news_append"):
        _of_sessions(run, name, watcher)
    watcher.close()


def _idle(run: Run) -> tuple[str, Connection]:
    """A new person, and he in IDLE in his INBOX."""
    name = somebody(run, MAIL_EACH)
    with opened(run, name) as other:  # the first look is not the matter here
        select(run, other, MAIL_EACH)
    run.server.wait_until_quiet(5)
    watcher = opened(run, name)
    select(run, watcher, MAIL_EACH)
    watcher.begin(b"IDLE")
    watcher.wait_for(b"+ ")
    return name, watcher


def _of_sessions(run: Run, name: str, watcher: Connection) -> None:
    texts = list(messages(run, 2 * TIMES))
    for key, words, command in (
        ("news_append", b" EXISTS\r\n", lambda turn: b"APPEND INBOX " + literal(texts[TIMES + turn])),
        ("news_flag", b"\\Flagged", lambda turn: b"STORE %d +FLAGS (\\Flagged)" % (MAIL_EACH + turn)),
    ):
        _each(run, key, watcher, words, lambda turn, command=command: _by_another(run, name, command(turn)))


def _each(run: Run, key: str, watcher: Connection, words: bytes, happen: Callable[[int], float]) -> None:
    """The median of so many times in ms. happen makes news and says when they began to be."""
    times = []
    for turn in range(TIMES):
        begun = happen(turn)
        times.append((watcher.wait_for(words) - begun) * 1000)
        time.sleep(0.03 if times[-1] < 100 else 0)  # the next is not to be told with this one
    run.values[key] = statistics.median(times)


def _deliver(run: Run, name: str, turn: int, text: bytes) -> float:
    home = run.server.home(name)
    path = home / "tmp" / f"{time.time():.6f}.P{os.getpid()}Q{turn}.bench"
    path.write_bytes(text.replace(b"\r\n", b"\n"))
    if owner := servers.owner():
        os.chown(path, *owner)
    begun = time.perf_counter()
    path.rename(home / "new" / path.name)
    return begun


def _by_another(run: Run, name: str, command: bytes) -> float:
    """A session of its own, so that now the same and now another worker has it."""
    with opened(run, name) as other:
        other.ask(b"SELECT INBOX")
        begun = time.perf_counter()
        other.ask(command)
    return begun


# -- fairness ----------------------------------------------------------------------------------------------------------


def fairness(run: Run) -> None:
    """NOOP and a small FETCH of somebody else, while two list the large mailbox and two search its text, on and on."""
    name = somebody(run, MAIL_EACH)
    with opened(run, name) as connection, opened(run, run.place.big) as big:
        select(run, connection, MAIL_EACH)
        select(run, big, run.count)
        connection.ask(SMALL)
        heavy = [_start(run, kind) for kind in ("list", "search", "list", "search")]
        try:
            for one in heavy:
                assert one.stdout is not None
                one.stdout.readline()  # it has selected
            with run.costs("fair_noop_p99"):
                times = _ask_on_and_on(connection)
        finally:
            for one in heavy:
                one.kill()
                one.wait()
                assert one.stdout is not None
                one.stdout.close()
    for key, command in (("noop", b"NOOP"), ("fetch", SMALL)):
        cuts = statistics.quantiles(times[command], n=100)
        run.values[f"fair_{key}_p50"], run.values[f"fair_{key}_p99"] = cuts[49], cuts[98]


def _ask_on_and_on(connection: Connection) -> dict[bytes, list[float]]:
    times: dict[bytes, list[float]] = {b"NOOP": [], SMALL: []}
    latest = time.monotonic() + HEAVY
    while time.monotonic() < latest:
        for command, kept in times.items():
            kept.append(connection.ask(command).seconds * 1000)
            time.sleep(0.003)
    return times


def _start(run: Run, kind: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "tests.bench.heavy", str(run.server.port), run.place.big, kind]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)


WORKLOADS = (
    Workload(
        "news",
        (
            Measure("news_delivery", "delivery by another program to EXISTS in IDLE, p50", "ms", Target(most=10)),
            Measure("news_append", "APPEND of another session to EXISTS in IDLE, p50", "ms", Target(most=10)),
            Measure("news_flag", "STORE of another session to FETCH in IDLE, p50", "ms"),
        ),
        news, sized=False, rounds=2,
    ),
    Workload(
        "fairness",
        (
            Measure("fair_noop_p50", "NOOP while four work hard, p50", "ms"),
            Measure("fair_noop_p99", "NOOP while four work hard, p99", "ms", Target(most=10)),
            Measure("fair_fetch_p50", "FETCH of 10 envelopes meanwhile, p50", "ms"),
            Measure("fair_fetch_p99", "FETCH of 10 envelopes meanwhile, p99", "ms"),
        ),
        fairness, rounds=2, largest=10_000,
    ),
)  # fmt: skip
