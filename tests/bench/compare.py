"""How the servers are compared: in turn, A B A B, and pair by pair.

A workload is run against imapd, then against Dovecot in each of its configurations, and again from the beginning. A ratio
is made of two values of the same turn, so that a busy minute on the machine meets both; the median of the ratios is what
counts. The configuration that is best at a measure is the one to beat. Processor time is that of all processes of the
server while the clock ran.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.client import Connection
from tests.bench.servers import IMAPD, LOGIN, MBOX, Pair, Server, wait_until_quiet

if TYPE_CHECKING:
    from tests.bench.corpus import Corpus


@dataclass(frozen=True, slots=True)
class Target:
    """What is aimed at: `ratio` of Dovecot's time and ours (of our rate and Dovecot's) at least, or `most` of ours."""

    ratio: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure. key: its name in results; unit: ms, s, /s, MB/s, kB; of MB/s and /s more is better, of others less.

    against: the configurations of Dovecot to compare with, where not all that were tried promise the same.
    """

    key: str
    title: str
    unit: str
    target: Target | None = None
    against: tuple[str, ...] = ()

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")

    def ratio(self, ours: float, theirs: float) -> float:
        """How many times better ours is."""
        better, worse = (ours, theirs) if self.more_is_better else (theirs, ours)
        return better / worse if worse else float("inf")


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that servers are made to do. run(run) fills in the values of the measures for one server, once.

    dovecots: the configurations to try; sized: whether it depends on the number of messages in the mailbox;
    rounds: how many turns, where nothing else is said; largest: the largest mailbox that it is run with; alone: whether
    no other server may run beside; apart: whether it is run only if it is named.
    """

    name: str
    measures: tuple[Measure, ...]
    run: Callable[[Run], None]
    dovecots: tuple[str, ...] = (LOGIN,)
    sized: bool = True
    rounds: int = 3
    largest: int = 100_000
    alone: bool = False
    apart: bool = False


@dataclass(slots=True)
class Place:
    """Where workloads run: the servers, the corpus, who has the large mailbox and how many messages it has, and how many
    are idle."""

    pair: Pair
    corpus: Corpus
    big: str
    count: int
    sessions: int = 1000
    crowd: int = 50
    mbox: bool = False
    acquainted: set[Path] = field(default_factory=set)  # mail roots whose idle people have been there before
    _mboxes: Place | None = None

    def over_mboxes(self) -> Place:
        """The same over mboxes. The large one is made when it is first asked for."""
        if self._mboxes is None:
            self._mboxes = replace(self, big=self.pair.new_person(), mbox=True)
            for name in (IMAPD, MBOX):
                self.pair.give_mbox(self._mboxes.big, self.count, self.pair.server(name))
        return self._mboxes

    def never_seen(self, server: Server) -> str:
        """Somebody new whose INBOX this server has never seen."""
        if not self.mbox:
            return self.pair.never_seen(server, self.count)
        name = self.pair.new_person()
        self.pair.give_mbox(name, self.count, server)
        return name

    def with_files(self, server: Server, count: int) -> str:
        """Somebody new whose INBOX may be changed: what was changed before must not matter."""
        name = self.pair.new_person()
        if self.mbox:
            self.pair.give_mbox(name, count, server)
        else:
            self.pair.give_mail(name, count, own_files=True, only=server)
        return name


@dataclass(slots=True)
class Run:
    """One server doing one workload once. values, cpu, pss, client: by the key of the measure; client is the processor
    time of the client, which must not be the limit; others: what is good to know besides, for JSON alone."""

    place: Place
    server: Server
    turn: int
    values: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    pss: dict[str, int] = field(default_factory=dict)
    client: dict[str, float] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict)
    _open: list[Connection] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.place.count

    @contextlib.contextmanager
    def costs(self, key: str) -> Iterator[None]:
        """Count what the server and the client spend on this block."""
        before, client = self.server.cpu(), time.process_time()
        yield
        self.client[key] = time.process_time() - client
        self.cpu[key] = self.server.cpu() - before
        self.pss[key] = self.server.pss()

    def opened(self, connection: Connection) -> Connection:
        """A connection that ends with the run, whatever becomes of that."""
        self._open.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._open:
            connection.close()

    def take_over(self, work: Callable[[Run], None], place: Place, prefix: str) -> None:
        """Have this server do other work, and keep what that came to under keys that begin with `prefix`."""
        inner = Run(place, self.server, self.turn)
        try:
            work(inner)
        finally:
            inner.close()
        for mine, its in ((self.values, inner.values), (self.cpu, inner.cpu), (self.client, inner.client)):
            mine.update({prefix + key: value for key, value in its.items()})
        self.pss.update({prefix + key: value for key, value in inner.pss.items()})

    def share(self, key: str, times: int) -> None:
        """What `costs` counted was for so many times; keep what one of them cost."""
        self.client[key] /= times
        self.cpu[key] /= times


@dataclass(slots=True)
class Figure:
    """A measure in one table line: what came out, in all turns."""

    workload: str
    measure: Measure
    count: int | None
    samples: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    pss: dict[str, list[int]] = field(default_factory=dict)
    client: dict[str, list[float]] = field(default_factory=dict)
    others: dict[str, dict[str, float]] = field(default_factory=dict)
    note: str = ""

    def median(self, server: str) -> float | None:
        values = self.samples.get(server)
        return statistics.median(values) if values else None

    def best(self) -> str | None:
        """The configuration of Dovecot to beat."""
        there = [name for name in self.measure.against or self.samples if name != IMAPD and self.samples.get(name)]
        if not there:
            return None
        return sorted(there, key=lambda name: self.median(name) or 0.0, reverse=self.measure.more_is_better)[0]

    def ratios(self, other: str) -> list[float]:
        """Turn by turn, how many times better imapd was."""
        return [
            self.measure.ratio(a, b) for a, b in zip(self.samples.get(IMAPD, []), self.samples[other], strict=False)
        ]

    def ratio(self) -> float | None:
        other = self.best()
        found = self.ratios(other) if other else []
        return statistics.median(found) if found else None

    def reached(self) -> bool | None:
        """Whether the target is reached; None where there is none, or nothing to say."""
        target, ours, ratio = self.measure.target, self.median(IMAPD), self.ratio()
        if target is None or ours is None:
            return None
        if target.most is not None:
            return ours <= target.most
        return None if ratio is None else ratio >= (target.ratio or 0.0)

    def as_data(self) -> dict[str, object]:
        """For JSON."""
        return {
            "workload": self.workload,
            "key": self.measure.key,
            "title": self.measure.title,
            "unit": self.measure.unit,
            "messages": self.count,
            "best": self.best(),
            "ratio": self.ratio(),
            "target": self.measure.target and {"ratio": self.measure.target.ratio, "most": self.measure.target.most},
            "reached": self.reached(),
            "note": self.note,
            "medians": {name: self.median(name) for name in self.samples},
            "samples": self.samples,
            "cpu": self.cpu,
            "pss": self.pss,
            "client": self.client,
            "others": self.others,
        }


def measure(
    workload: Workload,
    place: Place,
    rounds: int | None = None,
    latest: float = float("inf"),
    tell: Callable[[str], None] = print,
) -> list[Figure]:
    """Run a workload in turn on all servers; a figure for each of its measures. No turn begins after `latest`
    (time.monotonic()), but the first. Raises WrongAnswer."""
    count = place.count if workload.sized else None
    figures = {one.key: Figure(workload.name, one, count) for one in workload.measures}
    names: Sequence[str] = (IMAPD, *workload.dovecots)
    # The largest take longest, and are noisy least.
    usual = max(1, workload.rounds - 1) if workload.sized and place.count >= 100_000 else workload.rounds
    turns = rounds or usual
    for turn in range(turns):
        if turn and time.monotonic() > latest:
            break
        for name in names:
            run = Run(place, _server(workload, place, name), turn)
            begun = time.monotonic()
            try:
                workload.run(run)
            except TimeoutError:
                for figure in figures.values():
                    figure.note = f"{name} gave no answer within {Connection.patience:.0f} s"
                continue
            finally:
                run.close()
            _keep(figures, name, run)
            tell(f"    {name:18} {_said(figures, run)}   [{time.monotonic() - begun:.1f} s]")
    return list(figures.values())


def _server(workload: Workload, place: Place, name: str) -> Server:
    if workload.alone:
        return place.pair.one(name)
    server = place.pair.server(name)
    wait_until_quiet(place.pair.running(), 40)
    return server


def _keep(figures: dict[str, Figure], name: str, run: Run) -> None:
    for key, figure in figures.items():
        if key in run.values:
            figure.others.setdefault(name, {}).update(run.others)
            figure.samples.setdefault(name, []).append(run.values[key])
            for kept, new in ((figure.cpu, run.cpu), (figure.pss, run.pss), (figure.client, run.client)):
                if key in new:
                    kept.setdefault(name, []).append(new[key])


def _said(figures: dict[str, Figure], run: Run) -> str:
    return "  ".join(f"{key} {value:.4g} {figures[key].measure.unit}" for key, value in run.values.items())
