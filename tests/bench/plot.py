"""The ratios of the last full run as a picture: python -m tests.bench.plot reads results.json and writes results.svg.

A bar to the right of the line in the middle is imapd ahead of the best Dovecot, to the left behind; each mark on the scale
is a factor. A small line across the bar is the target.
"""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path
from typing import Any

from tests.bench import report

PICTURE = Path(__file__).parent / "results.svg"
LEFT, BAR, RIGHT, ROW, HEAD, FOOT = 440, 560, 60, 19, 52, 26  # pixels
SMALLEST, LARGEST = 0.05, 200.0
MARKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
AHEAD, BEHIND, INK, PALE, TARGET = "#2f7d5b", "#b5533c", "#24292f", "#d8dee4", "#24292f"


def where(ratio: float) -> float:
    """The place of a factor on the scale, which is logarithmic."""
    within = min(max(ratio, SMALLEST), LARGEST)
    return LEFT + BAR * math.log(within / SMALLEST) / math.log(LARGEST / SMALLEST)


def chosen(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those with a ratio, each with the largest mailbox that it was measured with."""
    largest: dict[str, dict[str, Any]] = {}
    for figure in figures:
        if figure["ratio"] and (figure["messages"] or 0) >= (largest.get(figure["key"], {}).get("messages") or 0):
            largest[figure["key"]] = figure
    return list(largest.values())


def picture(data: dict[str, Any]) -> str:
    """The whole SVG."""
    figures = chosen(data["figures"])
    height = HEAD + ROW * len(figures) + FOOT
    width = LEFT + BAR + RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(8, 18, "imapd beside the best of four configurations of Dovecot: how many times better", size=14),
        _text(8, 36, f"{data['where']['date']}; {data['where']['machine']}", fill="#57606a"),
    ]
    for mark in MARKS:
        x = where(mark)
        colour = INK if mark == 1 else PALE
        parts.append(f'<line x1="{x:.1f}" y1="{HEAD}" x2="{x:.1f}" y2="{height - FOOT}" stroke="{colour}"/>')
        parts.append(_text(x, height - 9, f"{mark:g}×", anchor="middle", fill="#57606a"))
    for number, figure in enumerate(figures):
        parts += _row(HEAD + ROW * number, figure)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(y: int, figure: dict[str, Any]) -> list[str]:
    ratio = figure["ratio"]
    begin, end = sorted((where(1), where(ratio)))
    title = figure["title"] + (f", {figure['messages']:,}" if figure["messages"] else "")
    row = [
        _text(LEFT - 8, y + 14, title, anchor="end"),
        f'<rect x="{begin:.1f}" y="{y + 3}" width="{max(1.0, end - begin):.1f}" height="{ROW - 6}" '
        f'fill="{AHEAD if ratio >= 1 else BEHIND}"/>',
        _text(end + 5 if ratio >= 1 else where(1) + 5, y + 14, f"{report.number(ratio)}×"),
    ]
    aim = figure["target"] and figure["target"]["ratio"]
    if aim and aim != 1:
        row.append(
            f'<line x1="{where(aim):.1f}" y1="{y + 1}" x2="{where(aim):.1f}" y2="{y + ROW - 1}" stroke="{TARGET}" stroke-width="2"/>'
        )
    return row


def _text(x: float, y: float, words: str, anchor: str = "start", fill: str = INK, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{fill}" font-size="{size}">{escape(words)}</text>'


def main() -> None:
    PICTURE.write_text(picture(json.loads(report.JSON.read_text())))
    print(PICTURE)


if __name__ == "__main__":
    main()
