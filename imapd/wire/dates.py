"""Dates as clients write them (RFC 9051 section 9): date-text of SEARCH, date-time of APPEND.

What the patterns have matched is made a value here; ValueError where the calendar has no such day or the clock no such
time.
"""

import re
from calendar import timegm
from datetime import date, datetime
from typing import Final

DATE: Final = re.compile(rb"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
DATE_TIME: Final = re.compile(
    rb'" ?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)
_MONTHS: Final = {
    month: number
    for number, month in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), start=1
    )
}


def date_of(match: re.Match[bytes]) -> date:
    """The day of a match of DATE."""
    return date(int(match[3]), _month(match[2]), int(match[1]))


def moment_of(match: re.Match[bytes]) -> int:
    """The seconds since 1970 of a match of DATE_TIME."""
    day, year, hour, minute, second = (int(match[group]) for group in (1, 3, 4, 5, 6))
    hours, minutes = int(match[8]), int(match[9])
    month = _month(match[2])
    datetime(year, month, day, hour, minute, min(second, 59))  # a leap second is a time as well
    if second > 60 or hours > 23 or minutes > 59:
        raise ValueError("no time of day")
    east = (hours * 60 + minutes) * 60
    return timegm((year, month, day, hour, minute, second)) - (east if match[7] == b"+" else -east)


def _month(name: bytes) -> int:
    number = _MONTHS.get(name.lower())
    if number is None:
        raise ValueError("no month")
    return number
