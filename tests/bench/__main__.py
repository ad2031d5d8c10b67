"""imapd beside Dovecot: python -m tests.bench [--only NAME ...] [--messages N ...].

Without more it is the short form of a few minutes; --full is the whole table. Results go to stdout, and with --write to
results.json and RESULTS.md beside this file. `--list` names the workloads.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import signal
import sys
import time
from pathlib import Path

from tests.bench import arriving, cyrus, mboxes, reading, report, servers, waiting, writing
from tests.bench.client import PATIENCE, Connection
from tests.bench.compare import Figure, Place, Workload, measure
from tests.bench.corpus import corpus
from tests.bench.machine import room_to_watch

WORKLOADS: tuple[Workload, ...] = (
    *arriving.WORKLOADS,
    *reading.WORKLOADS,
    *writing.WORKLOADS,
    *waiting.WORKLOADS,
    *mboxes.WORKLOADS,
    *cyrus.WORKLOADS,
)

# What has its place here and is not measured yet.
LATER = (
    "SEARCH, with and without an index of the text", "SORT and THREAD", "resynchronisation (CONDSTORE, QRESYNC)",
    "an office: 200 people who read, move, search and write",
)  # fmt: skip


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these alone; cyrus-* is all that begin so")
    parser.add_argument("--messages", nargs="+", type=int, metavar="N", help="sizes of the large mailbox")
    parser.add_argument("--sessions", type=int, metavar="N", help="how many are idle at a time")
    parser.add_argument("--crowd", type=int, default=50, metavar="N", help="how many have 10,000 messages (crowded)")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each workload, instead of its own number")
    parser.add_argument("--full", action="store_true", help="1,000, 10,000 and 100,000 messages, 5,000 idle sessions")
    parser.add_argument("--seconds", type=float, help="no workload begins after so long (short: 360, full: 840)")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds that one answer may take")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/imapd-bench"), help="where mail and servers lie")
    parser.add_argument("--write", action="store_true", help="write results.json and RESULTS.md")
    parser.add_argument("--add", action="store_true", help="add to the last full run in them, as measured apart")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--list", action="store_true", help="name the workloads")
    chosen = parser.parse_args(words)
    unknown = {name for name in chosen.only or () if not fnmatch.filter([one.name for one in WORKLOADS], name)}
    if unknown:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}; --list names them")
    # What matters most comes first: the time may be over before the rest.
    chosen.messages = chosen.messages or ([10_000, 100_000, 1000] if chosen.full else [1000])
    chosen.sessions = chosen.sessions or (5000 if chosen.full else 500)
    chosen.seconds = chosen.seconds or (840 if chosen.full else 360)
    return chosen


def main(words: list[str]) -> int:
    chosen = arguments(words)
    if chosen.list:
        print("\n".join(f"{one.name:20} {'; '.join(figure.title for figure in one.measures)}" for one in WORKLOADS))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the servers are to end with us
    Connection.patience = chosen.patience
    where = report.machine(chosen.folder.parent, f"Dovecot {servers.dovecot_version()}", shown(words))
    if any(cyrus.CYRUS in one.dovecots for count in chosen.messages for one in workloads(chosen, count)):
        where[cyrus.CYRUS] = cyrus.version()
    with room_to_watch():
        figures, left_out = everything(chosen)
    data = {"where": where, "figures": [figure.as_data() for figure in figures], "left_out": left_out}
    print("\n" + report.document(data))
    if chosen.json:
        report.save(data, chosen.json)
    if chosen.add:
        data = report.added(data, report.JSON)
    if chosen.write or chosen.add:
        report.save(data, report.JSON)
        report.TABLE.write_text(report.document(data))
    return 0


def shown(words: list[str]) -> str:
    return " ".join(["python -m tests.bench", *words])


def everything(chosen: argparse.Namespace) -> tuple[list[Figure], list[str]]:
    """All figures, and what was left out for want of time."""
    begun = time.monotonic()
    print(f"making the corpus: {max(chosen.messages):,} messages", flush=True)
    mail = corpus(chosen.folder, max(chosen.messages), servers.owner())
    run = chosen.folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    pair = servers.Pair(run, mail, [*arriving.names(), *arriving.idle_names(chosen.sessions)])
    pair.join(cyrus.CyrusServer(run / cyrus.CYRUS))
    figures: list[Figure] = []
    left_out: list[str] = []
    try:
        for count in chosen.messages:
            place = Place(pair, mail, pair.new_person(), count, chosen.sessions, chosen.crowd)
            pair.give_mail(place.big, count)
            for workload in workloads(chosen, count):
                words = workload.name + (f", {count:,} messages" if workload.sized else "")
                if (passed := time.monotonic() - begun) > chosen.seconds:
                    left_out.append(f"{words}: the time was over")
                    continue
                print(f"[{passed:4.0f} s] {words}", flush=True)
                figures += measure(workload, place, rounds(chosen, workload), begun + chosen.seconds, tell)
    finally:
        pair.stop()
        shutil.rmtree(run, ignore_errors=True)
    order = {one.key: place for place, one in enumerate(one for workload in WORKLOADS for one in workload.measures)}
    figures.sort(key=lambda figure: (order[figure.measure.key], figure.count or 0))
    return figures, left_out + list(LATER if not chosen.only else ())


def workloads(chosen: argparse.Namespace, count: int) -> list[Workload]:
    """What is run with a large mailbox of so many messages; what has nothing to do with it, with the first one."""
    wanted = [one for one in WORKLOADS if _wanted(chosen, one, count)]
    return [one for one in wanted if one.sized or count == chosen.messages[0]]


def _wanted(chosen: argparse.Namespace, workload: Workload, count: int) -> bool:
    fits = not workload.sized or count <= workload.largest
    if chosen.only:  # what is named by its whole name is run with any size
        alike = any(fnmatch.fnmatch(workload.name, name) for name in chosen.only)
        return workload.name in chosen.only or (fits and alike)
    return fits and not workload.apart


def rounds(chosen: argparse.Namespace, workload: Workload) -> int | None:
    """How many turns; None: as many as the workload says."""
    return chosen.rounds or (None if chosen.full or chosen.only else min(2, workload.rounds))


def tell(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
