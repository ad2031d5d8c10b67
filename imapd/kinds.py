"""Types of settings: how a value is written in the configuration file, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

MINUTE, HOUR, DAY = 60, 3600, 86400


class Kind:
    """A type of setting: how a value is written, and how it is read."""

    def __init__(self, words: str, read: Callable[[str], Any], many: bool = False, path: bool = False) -> None:
        self.words = words  # for the manual: "yes or no", "a duration"
        self.read = read  # raises ValueError with a sentence
        self.many = many  # a list, separated by commas
        self.path = path  # relative to the configuration file


def _yes_no(text: str) -> bool:
    known = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}
    if text.lower() not in known:
        raise ValueError(f"'{text}' is neither yes nor no")
    return known[text.lower()]


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"'{text}' is not a whole number from {low} to {high}")
        return int(text)

    return read


_TIME_UNITS = {
    "": 1,
    "s": 1,
    "second": 1,
    "m": MINUTE,
    "min": MINUTE,
    "minute": MINUTE,
    "h": HOUR,
    "hour": HOUR,
    "d": DAY,
    "day": DAY,
}


def _duration(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.lower())
        unit = match and _TIME_UNITS.get(match[2], _TIME_UNITS.get(match[2].removesuffix("s")))
        if not match or unit is None:
            raise ValueError(f"'{text}' is not a duration, such as 90s, 30m or 2h")
        seconds = float(match[1]) * unit
        if not low <= seconds <= high:
            raise ValueError(f"'{text}' is out of bounds: from {in_words(low)} to {in_words(high)}")
        return seconds

    return read


def in_words(seconds: float) -> str:
    """A duration as it is written in the file: 1800 is "30m"."""
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s"


_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15})\s*([kmgt]?)b?", text.lower())
    if not match:
        raise ValueError(f"'{text}' is not a size in octets, such as 500k, 50M or 5G")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"'{text}' is not one of: {', '.join(words)}")
        return text.lower()

    return read


def _workers(text: str) -> int:
    """0 stands for auto: one per processor."""
    return 0 if text.lower() == "auto" else _whole(1, 256)(text)


def _capital(text: str) -> str:
    return text.upper()


TEXT = Kind("text", str)
DN = Kind("a distinguished name; quote it, it has commas", str)
PATH = Kind("a path, relative to this file or absolute", str, path=True)
PLACE = Kind("a path as others, or an address that begins with https://", str, path=True)
YES_NO = Kind("yes or no", _yes_no)
PORT = Kind("a port number", _whole(1, 65535))
SIZE = Kind("a size, such as 500k, 50M or 5G", _size)
WORDS = Kind("words, separated by commas", str, many=True)
CAPITALS = Kind("words, separated by commas", _capital, many=True)
WORKERS = Kind("a number or auto", _workers)


def whole(low: int, high: int) -> Kind:
    """A whole number within bounds."""
    return Kind(f"a number from {low} to {high}", _whole(low, high))


def duration(low: float, high: float = 366 * DAY) -> Kind:
    """A duration within bounds, in seconds."""
    return Kind("a duration, such as 90s, 30m or 2h", _duration(low, high))


def choice(*words: str, many: bool = False) -> Kind:
    """One of the words, or several of them."""
    return Kind(("some of: " if many else "one of: ") + ", ".join(words), _choice(*words), many=many)
