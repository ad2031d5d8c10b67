"""The workloads of reading and writing once more, over mboxes. Dovecot has its mboxes in one configuration."""

from __future__ import annotations

from tests.bench import reading, writing
from tests.bench.compare import Measure, Run, Target, Workload
from tests.bench.servers import DURABLE, DURABLE_MBOX, MBOX

# Where the target is another one than with Maildirs.
TARGETS = {"select_first": Target(ratio=10)}
NAMES = (
    "first", "select", "uidflags", "envelope-first", "envelope-indexed", "envelope", "headers", "bodies", "store", "copy", "append",
)  # fmt: skip


def over_mboxes(workload: Workload) -> Workload:
    measures = tuple(
        Measure(f"mbox_{one.key}", f"mbox: {one.title}", one.unit, TARGETS.get(one.key, one.target))
        for one in workload.measures
    )

    def run(run: Run) -> None:
        run.take_over(workload.run, run.place.over_mboxes(), "mbox_")

    return Workload(
        f"mbox-{workload.name}",
        measures,
        run,
        (MBOX, DURABLE_MBOX) if DURABLE in workload.dovecots else (MBOX,),
        workload.sized,
        1,
        100_000 if workload.name == "first" else 10_000,
    )


WORKLOADS = tuple(over_mboxes(one) for one in (*reading.WORKLOADS, *writing.WORKLOADS) if one.name in NAMES)
