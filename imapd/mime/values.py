"""What stands inside a header value: quoted strings, comments, parameters, dates (RFC 2822, RFC 2045).

Takes unfolded values, gives bytes back, raises nothing on any bytes:

1. A comment or quoted string that is never closed goes on to the end of the value.
2. Every loop moves forward through its value: the cost is linear in the octets.
3. A value with structure is looked at for MAX_VALUE octets; what lies beyond is missing in the answer.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Final

MAX_VALUE: Final = 32 * 1024
"""File names have 255 octets, three times as many when they are encoded. The worst value takes some 10 ms."""

MAX_PARAMETERS: Final = 1_000
"""More than fit into MAX_VALUE, where there is anything in them."""

Parameters = tuple[tuple[bytes, bytes], ...]


def unfold(value: bytes) -> bytes:
    """The value on one line, without blanks at its ends (RFC 2822 section 2.2.3)."""
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip(b" \t\r")


# Quoted strings and comments (RFC 2822 section 3.2). Possessive repetition never tries again: linear on any octets.

_QUOTED_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_COMMENT_STOP = re.compile(rb"[^()\\]*+(?:\\.[^()\\]*+)*+", re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


def quoted_string(value: bytes, at: int) -> tuple[bytes, int]:
    """The content of a quoted string whose opening quote is at `at`, and the place after its end."""
    match = _QUOTED_TEXT.match(value, at + 1)
    stop = match.end() if match else at + 1
    content = value[at + 1 : stop]
    if b"\\" in content:
        content = _ESCAPE.sub(rb"\1", content)
    return content, stop + 1


def comment(value: bytes, at: int) -> tuple[bytes, int]:
    """The content of a comment, inner ones included, whose parenthesis opens at `at`, and the place after its end."""
    depth, here = 1, at + 1
    while here < len(value):
        match = _COMMENT_STOP.match(value, here)
        here = match.end() if match else here
        depth += {b"(": 1, b")": -1}.get(value[here : here + 1], 0)
        here += 1
        if depth == 0:
            return _ESCAPE.sub(rb"\1", value[at + 1 : here - 1]).strip(), here
    return _ESCAPE.sub(rb"\1", value[at + 1 :]).strip(), len(value)


# Values with parameters (RFC 2045 section 5.1): Content-Type, Content-Disposition.

_MAIN = re.compile(rb"[^;\s(/]*+(?:\s*+/\s*+[^;\s(]*+)?")
_PARAMETER = re.compile(rb'[\s;]*+([^\s=;"()]++)[ \t]*+=[ \t]*+(?:"([^"\\]*+)"|([^\s;"()]++))[ \t]*+(?=;|\Z)')
_BETWEEN = re.compile(rb"[\s;]++")
_PARAMETER_NAME = re.compile(rb"[^\s=;(]++")
_PARAMETER_VALUE = re.compile(rb"[^;\s]++")
_NEXT_PARAMETER = re.compile(rb"[a-z][a-z*-]*+=", re.IGNORECASE)


def parameters(value: bytes) -> tuple[bytes, Parameters]:
    """The main value and the parameters in order, names and values as sent, quotes and comments taken off.

    Takes an unfolded value. A parameter without "=" is passed over; a missing semicolon and an unquoted value with
    blanks in it are accepted.
    """
    value = value[:MAX_VALUE]
    at = _skip(value, 0)
    main = _MAIN.match(value, at)
    at = main.end() if main else at
    found: list[tuple[bytes, bytes]] = []
    while at < len(value) and len(found) < MAX_PARAMETERS:
        match = _PARAMETER.match(value, at)
        if match:
            name, quoted, bare = match.groups()
            found.append((name, bare if quoted is None else quoted))
            at = match.end()
        else:
            at = _odd_parameter(value, at, found)
    return (b"".join(main.group().split()) if main else b""), tuple(found)


def _skip(value: bytes, at: int) -> int:
    """The next place that is no blank, semicolon or comment."""
    while at < len(value):
        match = _BETWEEN.match(value, at)
        if match:
            at = match.end()
        if value[at : at + 1] != b"(":
            break
        at = comment(value, at)[1]
    return at


def _odd_parameter(value: bytes, at: int, found: list[tuple[bytes, bytes]]) -> int:
    """Read one parameter that has comments, escapes or faults; returns the place to go on from, always further on."""
    at = _skip(value, at)
    match = _PARAMETER_NAME.match(value, at)
    if not match:
        return at + 1
    at = _skip_blanks(value, match.end())
    if value[at : at + 1] != b"=":
        return at
    at = _skip_blanks(value, at + 1)
    if value[at : at + 1] == b'"':
        content, at = quoted_string(value, at)
    else:
        content, at = _bare_value(value, at)
    found.append((match.group(), content))
    return at


def _skip_blanks(value: bytes, at: int) -> int:
    """The next place that is no blank or comment; a semicolon stops here."""
    while at < len(value) and value[at] in b" \t\r\n(":
        at = comment(value, at)[1] if value[at] == 0x28 else at + 1
    return at


def _bare_value(value: bytes, at: int) -> tuple[bytes, int]:
    """An unquoted value goes on to the semicolon, blanks included, or to what looks like the next parameter.

    A parenthesis after a blank opens a comment.
    """
    words: list[bytes] = []
    while True:
        match = _PARAMETER_VALUE.match(value, at)
        if not match or (words and _NEXT_PARAMETER.match(value, at)):
            return b" ".join(words), at
        words.append(match.group())
        at = _skip_blanks(value, match.end())


# Dates (RFC 2822 sections 3.3 and 4.3).

_MONTHS: Final = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
_MONTH: Final = rb"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*+\.?"
_DATE = re.compile(rb"(\d{1,2})[ \t-]+" + _MONTH + rb"[ \t-]+(\d{2,4})\b", re.IGNORECASE)
_UNIX_DATE = re.compile(_MONTH + rb"[ \t]+(\d{1,2})[ \t]+[\d:]++(?:[ \t]+[a-z]++)?[ \t]+(\d{4})\b", re.IGNORECASE)
_TIME = re.compile(rb"(?<!\d)(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?:\.\d++)?[ \t]*([+-]\d{4}|[a-z]++)?", re.IGNORECASE)
_ZONES: Final = {
    b"UT": 0, b"GMT": 0, b"UTC": 0, b"Z": 0, b"EDT": -4, b"EST": -5, b"CDT": -5, b"CST": -6, b"MDT": -6, b"MST": -7,
    b"PDT": -7, b"PST": -8, b"BST": 1, b"CET": 1, b"MET": 1, b"CEST": 2, b"MEST": 2, b"EET": 2, b"EEST": 3, b"JST": 9,
}  # fmt: skip


def parse_date(value: bytes) -> datetime | None:
    """The moment of a Date field, or None where there is none in it.

    It has no zone where the field names none that is known, or "-0000" (RFC 2822 section 3.3). Obsolete years of two
    and three digits, named zones and the order of ctime are read too.
    """
    text = unfold(value[:1_000])  # a date with long comments has perhaps 100
    while b"(" in text:
        start = text.index(b"(")
        text = text[:start] + b" " + text[comment(text, start)[1] :]
    match = _DATE.search(text)
    day, month, year = match.groups() if match else (b"", b"", b"")
    clock = _TIME.search(text, match.end() if match else 0)
    if not match:
        unix = _UNIX_DATE.search(text)
        if not unix:
            return None
        month, day, year = unix.groups()
    return _moment(day, month.lower(), year, clock.groups() if clock else (b"0", b"0", None, None))


def _moment(day: bytes, month: bytes, year: bytes, clock: tuple[bytes | None, ...]) -> datetime | None:
    number = int(year)
    if len(year) == 2:
        number += 2000 if number < 50 else 1900  # RFC 2822 section 4.3
    elif len(year) == 3:
        number += 1900
    hour, minute, second = (int(digits or b"0") for digits in clock[:3])
    try:
        # A leap second has no place in datetime: it becomes the second before.
        moment = datetime(number, _MONTHS.index(month) + 1, int(day), hour, minute, min(second, 59))
        return moment.replace(tzinfo=_zone(clock[3] or b""))
    except (ValueError, OverflowError):
        return None


def _zone(name: bytes) -> timezone | None:
    if name[:1] in (b"+", b"-"):
        if name == b"-0000" or int(name[1:3]) > 23 or int(name[3:]) > 59:
            return None
        offset = timedelta(hours=int(name[1:3]), minutes=int(name[3:]))
        return timezone(-offset if name[:1] == b"-" else offset)
    hours = _ZONES.get(name.upper())
    return None if hours is None else timezone(timedelta(hours=hours))
