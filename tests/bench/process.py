"""What the processes of a server cost, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def family(root: int) -> list[int]:
    """A process and all below it."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                waiting += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        except OSError:  # it has ended meanwhile
            pass
    return found


def cpu(root: int) -> float:
    """Processor seconds of a process and all below it, those that have ended and were waited for included."""
    return sum(_cpu(pid) for pid in family(root))


def _cpu(pid: int) -> float:
    """The clock of a living thread counts nanoseconds; that of children that have ended, ticks of 10 ms."""
    nanoseconds, ended = 0, 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            nanoseconds += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ended = int(fields[13]) + int(fields[14])
    except OSError:  # it has ended meanwhile
        pass
    return nanoseconds / 1e9 + ended / TICK


def pss(root: int) -> int:
    """The memory of a process and all below it in kB; what several share is divided among them (PSS)."""
    return sum(pss_of(pid) for pid in family(root))


def pss_of(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
