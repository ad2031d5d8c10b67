"""Commands that are made to be heavy: none keeps the loop for long, none takes much memory, and each has its answer.

Measured is the time on the processor between two breaths, so that a busy machine does not spoil the result; octets come
in pieces, as a connection reads them.
"""

import time
import tracemalloc

import pytest

from imapd.mailstore.memory import MemoryStore
from tests.support.loop import PlainLoop
from tests.support.talk import Talk

MESSAGES = 20_000
LONGEST = 0.5  # seconds; a thirtieth of it where nothing is wrong, and up to 4 s in these once


class Stopwatch:
    """The longest time between two breaths."""

    def __init__(self, loop: PlainLoop) -> None:
        self.longest = 0.0
        self.last = time.thread_time()
        loop.on_breathe = self.look

    def look(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self.last)
        self.last = time.thread_time()


@pytest.fixture(scope="module")
def store() -> tuple[MemoryStore, PlainLoop]:
    talk = Talk().login()
    tree = next(iter(talk.store._trees.values()))
    tree.boxes["INBOX"].add([(b"Subject: y\r\nFrom: b\r\n\r\nx\r\n", 1, frozenset())] * MESSAGES)
    return talk.store, talk.loop


EVERY_OTHER = b",".join(b"%d" % number for number in range(1, 140_000, 2))
BOMBS = {
    "a set of a million items": b"FETCH " + b"1," * 1_000_000 + b"1 FLAGS",
    "a set of 400,000 items": b"FETCH " + b"1," * 400_000 + b"1 FLAGS",
    "a set of 100,000 items": b"FETCH " + b"1," * 99_999 + b"1 FLAGS",
    "a set of many ranges": b"UID FETCH " + EVERY_OTHER + b" UID",
    "a search in a set of many ranges": b"UID SEARCH NOT UID " + EVERY_OTHER,
    "a saved set of many ranges": b"UID SEARCH RETURN (SAVE ALL MIN COUNT) UID " + EVERY_OTHER,
    "100,000 keys": b"SEARCH " + b"ALL " * 100_000 + b"ALL",
    "10,000 keys": b"SEARCH " + b"SEEN " * 9_999 + b"ALL",
    "100,000 ORs": b"SEARCH " + b"OR ALL " * 100_000 + b"ALL",
    "5,000 ORs": b"SEARCH 1:3 " + b"OR FROM z " * 4_900 + b"FROM y",
    "5,000 bodies": b"SEARCH 1:3 " + b"OR BODY z " * 4_900 + b"BODY y",
    "100,000 parentheses": b"SEARCH " + b"(ALL) " * 100_000 + b"ALL",
    "nested parentheses": b"SEARCH " + b"(" * 100_000,
    "many NOTs": b"SEARCH " + b"NOT " * 30 + b"(OR SEEN UNSEEN)",
    "100,000 items": b"FETCH 1 (" + b"UID " * 100_000 + b"UID)",
    "1,000 items": b"FETCH 1:20 (" + b" ".join([b"BODY.PEEK[HEADER.FIELDS (X%d)]" % n for n in range(1_000)]) + b")",
    "100,000 header fields": b"FETCH 1 BODY.PEEK[HEADER.FIELDS (" + b"a " * 100_000 + b"b)]",
    "a part of 100,000 levels": b"FETCH 1 BODY[" + b"1." * 100_000 + b"1]",
    "100,000 keywords": b"STORE 1 +FLAGS (" + b" ".join([b"k%d" % number for number in range(100_000)]) + b")",
    "100,000 keywords without parentheses": b"STORE 1 +FLAGS " + b" ".join([b"k"] * 100_000),
    "a keyword of 500 kB": b"STORE 1 +FLAGS (" + b"k" * 500_000 + b")",
    "100,000 patterns": b'LIST "" (' + b"%*x " * 100_000 + b"b)",
    "a pattern of wildcards": b'LIST "" "' + b"*%" * 3_900 + b'x"',
    "many LIST options": b'LIST "" * RETURN (' + b"CHILDREN " * 100_000 + b"CHILDREN)",
    "many STATUS items": b"STATUS INBOX (" + b"MESSAGES " * 100_000 + b"UNSEEN)",
    "many words to ENABLE": b"ENABLE" + b" X" * 200_000,
    "many fields of ID": b"ID (" + b'"a" "b" ' * 100_000 + b'"c" "d")',
    "100,000 empty literals": b"SEARCH " + b"SUBJECT {0+}\r\n " * 60_000 + b"ALL",
    "a word of 500 kB": b"X" * 500_000,
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_heavy_command_lets_others_in_and_is_answered(name: str, store: tuple[MemoryStore, PlainLoop]) -> None:
    talk = Talk(store=store[0], loop=store[1]).login().select()
    watch = Stopwatch(talk.loop)
    data = b"a " + BOMBS[name] + b"\r\n"
    said: list[str] = []
    began = time.thread_time()
    for start in range(0, len(data), 16_384):
        watch.look()
        said += talk.send(data[start : start + 16_384])
    watch.look()
    talk.loop.on_breathe = None
    assert [line for line in said if line.startswith(("a OK", "a NO", "a BAD"))], said[-1][:200]
    assert watch.longest < LONGEST
    assert time.thread_time() - began < 10
    assert talk.say("b NOOP")[-1] == "b OK NOOP completed."


@pytest.mark.parametrize("name", ["a set of 400,000 items", "100,000 items", "100,000 keywords", "100,000 ORs"])
def test_a_heavy_command_takes_little_memory(name: str, store: tuple[MemoryStore, PlainLoop]) -> None:
    talk = Talk(store=store[0], loop=store[1]).login().select()
    data = b"a " + BOMBS[name] + b"\r\n"
    tracemalloc.start()
    try:
        for start in range(0, len(data), 16_384):
            talk.send(data[start : start + 16_384])
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert highest < 8 * 1024 * 1024
