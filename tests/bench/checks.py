"""What an answer must be. Everything here raises WrongAnswer, and runs when the clock has stopped."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.bench.client import Answer, WrongAnswer

_FETCH = re.compile(rb"^\* (\d+) FETCH \(", re.MULTILINE)
_UID = re.compile(rb"[( ]UID (\d+)")
_SIZE = re.compile(rb"[( ]RFC822\.SIZE (\d+)")
_EXPUNGE = re.compile(rb"^\* \d+ EXPUNGE\r$", re.MULTILINE)


def equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise WrongAnswer(f"{what}: {got!r} instead of {expected!r}")


def selected(answer: Answer, count: int) -> None:
    """SELECT: so many messages, UIDVALIDITY and UIDNEXT."""
    text = bytes(answer.data)
    if b"* %d EXISTS\r\n" % count not in text or b"[UIDVALIDITY " not in text or b"[UIDNEXT " not in text:
        raise WrongAnswer(f"SELECT of {count} messages: {text[:1000]!r}")


def fetched(answer: Answer, numbers: range) -> tuple[bytes, int, int]:
    """FETCH: each message once. (what is outside literals, literals, their octets)."""
    outside, literals, octets = answer.outside()
    got = sorted(int(number) for number in _FETCH.findall(outside))
    if got != list(numbers):
        raise WrongAnswer(f"FETCH of {numbers} has {len(got)} answers, from {got[:3]} to {got[-3:]}")
    return outside, literals, octets


def uids(outside: bytes, count: int) -> None:
    """UIDs, one of each message, ascending."""
    got = [int(uid) for uid in _UID.findall(outside)]
    equal("the number of UIDs", len(got), count)
    if any(a >= b for a, b in zip(got, got[1:], strict=False)):
        raise WrongAnswer("UIDs do not ascend")


def flags(outside: bytes, count: int, seen: int) -> None:
    equal("FLAGS", outside.count(b"FLAGS ("), count)
    equal("messages with \\Seen", outside.count(b"\\Seen"), seen)


def sizes(outside: bytes, octets: int) -> None:
    """The sum of RFC822.SIZE."""
    equal("the sum of RFC822.SIZE", sum(int(size) for size in _SIZE.findall(outside)), octets)


def described(outside: bytes, answer: Answer, count: int) -> None:
    """ENVELOPE and BODYSTRUCTURE of each message, with a Message-ID and a date in it."""
    equal("ENVELOPEs", outside.count(b"ENVELOPE ("), count)
    equal("BODYSTRUCTUREs", outside.count(b"BODYSTRUCTURE ("), count)
    equal("INTERNALDATEs", outside.count(b'INTERNALDATE "'), count)
    found = len(set(re.findall(rb"\.(\d+)@bench\.example\.org>\"\)", bytes(answer.data))))
    equal("the Message-IDs of ENVELOPEs", found, count)


def expunged(answer: Answer, count: int) -> None:
    equal("EXPUNGEs", len(_EXPUNGE.findall(bytes(answer.data))), count)


def total(what: str, values: Iterable[int], expected: int) -> None:
    equal(what, sum(values), expected)
