"""PITFALLS.md: every test that it names exists."""

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_pitfall_has_its_test():
    rows = re.findall(r"(?m)^\| (\d+) \|.*\| (`.*`) \|$", (HERE / "PITFALLS.md").read_text(encoding="utf-8"))
    assert [int(number) for number, _ in rows] == list(range(1, 38))
    there = set()
    for path in HERE.parent.rglob("test_*.py"):
        there |= set(re.findall(r"(?m)^ *def (test_\w+)", path.read_text(encoding="utf-8")))
    missing = {name for _, names in rows for name in re.findall(r"`(\w+)`", names)} - there
    assert not missing
