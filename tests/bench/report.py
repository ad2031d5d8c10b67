"""What a run came to: JSON for programs, a table for people, which says where imapd is behind as plainly as where it is ahead."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.bench.servers import CYRUS

HERE = Path(__file__).parent
JSON = HERE / "results.json"
TABLE = HERE / "RESULTS.md"
NAMES = {
    "dovecot-default": "default",
    "dovecot-login": "login reused",
    "dovecot-imap": "imap reused",
    "dovecot-hibernate": "hibernation",
    "dovecot-durable": "fsync always",
    "dovecot-mbox": "mbox",
    "dovecot-mbox-durable": "mbox, fsync always",
    CYRUS: "own store, prefork 2",
}


def machine(folder: Path, dovecot: str, command: str) -> dict[str, str]:
    """Where and of what this was run."""
    cpus = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = int(re.findall(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)[0])
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout
    file_system = subprocess.run(["findmnt", "-no", "FSTYPE", "-T", folder], capture_output=True, text=True).stdout
    return {
        "date": f"{datetime.datetime.now(datetime.UTC):%d %b %Y, %H:%M} UTC",
        "command": command,
        "machine": f"{len(cpus)} × {cpus[0] if cpus else platform.processor()}, {memory / 2**20:.0f} GiB, "
        f"{file_system.strip()}, Linux {platform.release()}",
        "load": "load of the machine when it began: " + " ".join(f"{one:.1f}" for one in os.getloadavg()),
        "imapd": f"commit {commit.strip() or 'unknown'}, Python {platform.python_version()} "
        f"({platform.python_compiler()}), gevent {metadata.version('gevent')}",
        "dovecot": dovecot,
    }


def save(data: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def added(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """The full run that lies at `path`, with what was measured apart from it."""
    full: dict[str, Any] = json.loads(path.read_text())
    new = {(figure["key"], figure["messages"]) for figure in data["figures"]}
    apart = [figure for figure in full.get("apart", []) if (figure["key"], figure["messages"]) not in new]
    command = ", ".join(data["where"][key] for key in ("command", "date", "imapd", CYRUS) if key in data["where"])
    full["apart"] = apart + [{**figure, "run": command} for figure in data["figures"]]
    return full


def number(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def target(figure: dict[str, Any]) -> str:
    aim = figure["target"]
    if not aim:
        return ""
    return f"{aim['ratio']:g} ×" if aim["ratio"] else f"≤ {aim['most']:g} {figure['unit']}"


def line(figure: dict[str, Any]) -> str:
    """One line of the table."""
    medians, best, unit = figure["medians"], figure["best"], figure["unit"]
    ratio = figure["ratio"]
    verdict = {True: "reached", False: "**not reached**", None: ""}[figure["reached"]]
    cells = [
        figure["title"],
        f"{figure['messages']:,}" if figure["messages"] else "",
        f"{number(medians['imapd'])} {unit}" if "imapd" in medians else "no answer",
        f"{number(medians[best])} {unit}" if best else "",
        NAMES.get(best, "") if best else "",
        number(ratio),
        target(figure),
        verdict,
        spent(figure["cpu"], best),
        weight(figure["pss"], best),
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| what | messages | imapd | {peer} | its configuration | ratio | target | | server CPU, ms | PSS, MB |\n"
    "| --- | --: | --: | --: | --- | --: | --: | --- | --: | --: |"
)


def spent(cpu: dict[str, list[float]], best: str | None) -> str:
    return " / ".join(number(middle(cpu[name]) * 1000) for name in ("imapd", best) if name and cpu.get(name))


def weight(pss: dict[str, list[int]], best: str | None) -> str:
    return " / ".join(f"{middle(pss[name]) / 1000:,.0f}" for name in ("imapd", best) if name and pss.get(name))


def middle(values: list[float] | list[int]) -> float:
    return sorted(values)[len(values) // 2]


def table(figures: list[dict[str, Any]]) -> str:
    """The table of what was run beside Dovecot, and below it one of what was run beside Cyrus."""
    peers: dict[str, list[str]] = {"Dovecot": [], "Cyrus": []}
    for figure in figures:
        peers["Cyrus" if figure["best"] == CYRUS else "Dovecot"].append(line(figure))
    return "\n\n".join("\n".join([HEAD.format(peer=peer), *lines]) for peer, lines in peers.items() if lines)


def growth(figures: list[dict[str, Any]]) -> str:
    """How the cost of the same workload grows with the mailbox: what a message takes, at each size."""
    sized: dict[str, dict[int, dict[str, Any]]] = {}
    for figure in figures:
        if figure["messages"] and figure["unit"] in ("ms", "s") and "imapd" in figure["medians"]:
            sized.setdefault(figure["title"], {})[figure["messages"]] = figure
    counts = sorted({count for one in sized.values() for count in one})
    if len(counts) < 2:
        return ""
    lines = [
        "| what, µs a message | " + " | ".join(f"{count:,}" for count in counts) + " |",
        "| --- |" + " --: |" * len(counts),
    ]
    for title, by_count in sized.items():
        if len(by_count) > 1:
            lines.append(f"| {title} | " + " | ".join(_grown(by_count, counts)) + " |")
    return "\n".join(lines)


def _grown(by_count: dict[int, dict[str, Any]], counts: list[int]) -> list[str]:
    cells, before = [], float("inf")
    for count in counts:
        if count not in by_count:
            cells.append("")
            continue
        figure = by_count[count]
        factor = (1000 if figure["unit"] == "ms" else 1_000_000) / count
        ours, best = figure["medians"]["imapd"] * factor, figure["best"]
        cell = number(ours) + (f" / {number(figure['medians'][best] * factor)}" if best else "")
        cells.append(cell + (" ▲" if ours > 1.5 * before else ""))
        before = ours
    return cells


def all_configurations(figures: list[dict[str, Any]]) -> str:
    """What each configuration of Dovecot did, where more than one was tried."""
    figures = [figure for figure in figures if len(figure["medians"]) > 2]
    names = [name for name in NAMES if any(name in figure["medians"] for figure in figures)]
    if not names:
        return ""
    lines = [
        "| what | messages | imapd | " + " | ".join(NAMES[name] for name in names) + " |",
        "| --- | --: | --: |" + " --: |" * len(names),
    ]
    for figure in figures:
        values = " | ".join(number(figure["medians"].get(name)) for name in names)
        count = f"{figure['messages']:,}" if figure["messages"] else ""
        ours = f"{number(figure['medians'].get('imapd'))} {figure['unit']}"
        lines.append(f"| {figure['title']} | {count} | {ours} | {values} |")
    return "\n".join(lines)


PREFACE = """\
# imapd beside Dovecot

What `{command}` printed last. A ratio is how many times imapd is better than the best configuration of Dovecot at this
workload: Dovecot's time divided by ours, or our rate divided by its, turn by turn in one run, and of these the median.
Below 1 imapd is behind. CPU and memory (PSS of all processes) are imapd's / Dovecot's. How it is measured: the
docstrings of `compare`, `servers` and `corpus` in this folder. `indexed` is after imapd's index in the background, beside
Dovecot when it was asked the same before. Where Dovecot's default acknowledges before the disk has
it (STORE, EXPUNGE), the ratio is that to Dovecot with `mail_fsync = always`, because imapd waits; the default is in the
last table. What is beside Cyrus has it in Dovecot's place (`cyrus`); where it takes 40 ms more than its processor time, it
waits for an acknowledgement that the client's system delays. Where imapd is behind, FLOORS.md says why.
"""


def busy_client(figures: list[dict[str, Any]]) -> list[str]:
    """Where the client took as much processor time as a server, so that ratios are nearer to 1 than they would be with
    clients on another machine."""
    found = []
    for figure in figures:
        names = [name for name in ("imapd", figure["best"]) if figure["cpu"].get(name) and figure["client"].get(name)]
        if any(middle(figure["client"][name]) > middle(figure["cpu"][name]) for name in names):
            found.append(figure["title"] + (f", {figure['messages']:,}" if figure["messages"] else ""))
    return found


GROWTH = "imapd / Dovecot, or Cyrus where the line says so. ▲: a message takes imapd half as much again as in the next smaller mailbox."


def document(data: dict[str, Any]) -> str:
    """RESULTS.md of a run."""
    where, figures = data["where"], data["figures"]
    parts = [PREFACE.format(command=where["command"])]
    parts.append("\n".join(f"- {key}: {value}" for key, value in where.items() if key != "command") + "\n")
    parts.append(table(figures) + "\n")
    if busy := busy_client(figures):
        parts.append(f"The client took as much processor time as one of the servers in: {'; '.join(busy)}.\n")
    notes = sorted({f"- {figure['title']}: {figure['note']}" for figure in figures if figure["note"]})
    if notes or data["left_out"]:
        parts.append("## Not measured\n\n" + "\n".join([*notes, *(f"- {one}" for one in data["left_out"])]) + "\n")
    if apart := data.get("apart"):
        runs = "\n".join(f"- `{run}`" for run in dict.fromkeys(figure["run"] for figure in apart))
        parts.append(f"## Measured apart\n\n{runs}\n\n{table(apart)}\n")
    if grown := growth([*figures, *data.get("apart", [])]):
        parts.append(f"## How cost grows\n\n{GROWTH}\n\n{grown}\n")
    if others := all_configurations(figures):
        parts.append(f"## All configurations of Dovecot\n\n{others}\n")
    return "\n".join(parts)
