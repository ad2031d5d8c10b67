"""A short run of the fuzz target, the same on every machine."""

from imapd.wire.framer import Line
from tests.fuzz.fuzz_wire import FUZZER, SEEDS, Framer, LiteralOffered


def test_only_bad_syntax_comes_out_of_changed_commands():
    assert FUZZER.run(seed=2024, iterations=3_000) == 3_000


def test_the_seeds_are_commands():
    lines = []
    for seed in SEEDS:
        framer = Framer(10_000)
        framer.feed(seed)
        while (event := framer.next()) is not None:
            if isinstance(event, LiteralOffered):
                framer.accept()
            elif isinstance(event, Line):
                lines.append(event)
        assert framer.buffered == 0
    assert len(lines) >= len(SEEDS)
