"""An mbox as a row of messages: where they begin and end. Reads only, and knows nothing of UIDs.

    From_ line      From ann@example.org Mon Nov 23 10:00:00 2026
    header          with the fields that are no part of the message (mailstore/mboxheader)
    blank line
    body
    blank line      the separator, which may be missing

Rules:

1. Any octets are read, and every octet lies in exactly one message. What stands before the first From_ line is a
   message without one.
2. A line is a From_ line when it begins with "From ", has a date in one of its many dialects (or is the "From -" of
   Mozilla), and stands behind a blank line or before a header field. One that has an address and no date (as in
   exports of web mail) needs both. So prose that begins a paragraph with "From " stays in its message, also where
   nobody quoted it.
3. Content-Length is believed where a From_ line or the end of the file stands where it points to.
4. `>From ` is text: nobody can tell who put the `>` there.
5. Time is linear in the octets of the file, and memory is bounded: the file is read in pieces of 1 MB, never mapped,
   since another program may cut it short at any moment. A header longer than 1 MB goes on as body.
"""

import os
import re
import time
from calendar import timegm
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Final

from imapd.mailstore import maildir
from imapd.mailstore.mboxheader import Head, parse
from imapd.mailstore.mboxusual import HEADER_LIMIT, Found, usual

PIECE: Final = 1 << 20
_LINE: Final = 1_000
"""No From_ line is longer: the longest address has 320 octets."""
FROM_LINE: Final = _LINE + 100
"""Octets in which a From_ line and the beginning of the line behind it stand."""
_FROM: Final = b"\nFrom "
_BOM: Final = b"\xef\xbb\xbf"

_MONTHS: Final = b"Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_CLOCK: Final = rb"(\d{1,2}):(\d\d)(?::(\d\d))?"
_ZONE: Final = rb"(?:[A-Z]{1,5}(?: DST)?|[+-]\d{4})"
# "Nov 23 10:00:00 2026", also with a zone before or behind the year or without seconds; "23 Nov 2026 10:00:00".
_ASCTIME: Final = re.compile(
    rb" (%s),? +(\d{1,2}),? +%s(?: +(%s))? +(\d{4})(?: +(%s))?(?![^\s])" % (_MONTHS, _CLOCK, _ZONE, _ZONE)
)
_RFC822: Final = re.compile(rb" (\d{1,2})[ -](%s)[ -](\d{4}) +%s(?: +(%s))?(?![^\s])" % (_MONTHS, _CLOCK, _ZONE))
# How nearly every From_ line ends.
_USUAL: Final = re.compile(rb"(?<= )((?:%s) [ \d]\d) (\d\d):(\d\d):(\d\d)( \d{4})\n" % _MONTHS)
_USUAL_LENGTH: Final = len(b"Nov 23 10:00:00 2026\n")
_MOZILLA: Final = re.compile(rb"From -\s*")
_DATELESS: Final = re.compile(rb"From [^\s@]+@[^\s@]+\s*")
_HEADER_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:|>From ")


def is_from_line(line: bytes) -> bool:
    """Whether a line that begins with "From " can be a From_ line (rule 2, without its neighbours)."""
    if _MOZILLA.fullmatch(line):
        return True
    return len(line) <= _LINE and (_ASCTIME.search(line) or _RFC822.search(line)) is not None


def date_of(line: bytes) -> int | None:
    """The time that a From_ line tells, in seconds since the epoch; without a zone it is this machine's time."""
    if usual := _USUAL.match(line, max(0, len(line) - _USUAL_LENGTH)):
        day, hour, minute, second, year = usual.groups()
        midnight = _midnight_of(day + year) if hour < b"24" and minute < b"60" and second < b"60" else None
        if midnight is not None:
            return midnight + int(hour) * 3600 + int(minute) * 60 + int(second)
    if match := _ASCTIME.search(line):
        month, day, hour, minute, second, before, year, behind = match.groups()
        zone = behind or before
    elif match := _RFC822.search(line):
        day, month, year, hour, minute, second, zone = match.groups()
    else:
        return None
    number = _MONTHS.index(month) // 4 + 1
    moment = (int(year), number, int(day), int(hour), int(minute), int(second or b"0"), 0, 0, -1)
    try:
        if zone and zone[:1] in b"+-":
            offset = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
            return _utc(moment) - (offset if zone[:1] == b"+" else -offset)
        return _utc(moment) if zone in (b"UTC", b"GMT", b"Z") else _local(moment)
    except (ValueError, OverflowError):
        return None


def _utc(moment: tuple[int, ...]) -> int:
    return timegm(moment)


def _local(moment: tuple[int, int, int, int, int, int, int, int, int]) -> int:
    year, month, day, hour, minute, second, *_ = moment
    midnight = _midnight(year, month, day) if 0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60 else None
    return int(time.mktime(moment)) if midnight is None else midnight + hour * 3600 + minute * 60 + second


@lru_cache(4096)
def _midnight(year: int, month: int, day: int) -> int | None:
    """When a day of this machine's time began; None where its clocks are put forward or back. mktime is slow."""
    begin, end = [int(time.mktime((year, month, day + later, 0, 0, 0, 0, 0, -1))) for later in (0, 1)]
    return begin if end - begin == 86400 else None


@lru_cache(4096)
def _midnight_of(day: bytes) -> int | None:
    """The same by the words of a From_ line, month and day and year."""
    month, number, year = day.split()
    try:
        return _midnight(int(year), _MONTHS.index(month) // 4 + 1, int(number))
    except (ValueError, OverflowError):
        return None


def begins_like_mbox(start: bytes) -> bool:
    """Whether a file that begins so may be an mbox; an empty one is, and one that a power cut left with zeros for what
    was being appended."""
    return not start.strip(b"\0 \t\r\n") or start.removeprefix(_BOM).lstrip(b"\r\n").startswith(b"From ")


class Scan:
    """The messages of a file from an offset on, where a From_ line stands (or the file begins).

    `steps` counts the octets that were looked at; it is a few times the length of the file (rule 5).
    """

    def __init__(self, fd: int, start: int, end: int) -> None:
        self._fd = fd
        self._end = end
        self._at = start
        self._base = start
        self._data = b""
        self._limit = start  # where the window ends
        self._has_cr = False
        self._searched = (0, 0, -1)  # from where, in which window, what was found
        self._judged: tuple[int, bool] = (-1, False)
        self.steps = 0

    def __iter__(self) -> Iterator[Found]:
        while self._at < self._end:
            if self._at >= self._base:
                at = yield from usual(self._data, self._at - self._base, self._base, self._has_cr)
                self.steps += at + self._base - self._at
                self._at = at + self._base
            if self._at < self._end:
                yield self._message()

    # The window: self._data is the file from self._base on

    def _extend(self, keep: int) -> bool:
        """Read one more piece, dropping what stands before `keep`; False at the end of the file."""
        limit = self._limit
        if keep >= limit:
            self._base, self._data, self._limit, limit = keep, b"", keep, keep
        else:
            self._data = self._data[keep - self._base :]
            self._base = keep
        piece = os.pread(self._fd, min(PIECE, self._end - limit), limit) if limit < self._end else b""
        self.steps += len(piece) + len(self._data)
        if not piece:
            self._end = min(self._end, limit)  # it was cut short meanwhile
            return False
        self._data += piece
        self._limit = limit + len(piece)
        self._has_cr = b"\r" in self._data
        return True

    def _require(self, start: int, until: int, keep: int) -> None:
        """Have the octets in the window, as far as there are any."""
        if self._base <= start and until <= self._limit:
            return
        if start < self._base or start > self._limit:
            self._base, self._limit, self._data = start, start, b""
            keep = start
        while self._limit < min(until, self._end) and self._extend(keep):
            pass

    def _octets(self, start: int, end: int) -> bytes:
        return self._data[max(0, start - self._base) : max(0, end - self._base)]

    # One message

    def _message(self) -> Found:
        offset = self._at
        self._require(offset, offset + FROM_LINE, offset)
        line = self._first_line(offset)
        text = offset + len(line)
        head = parse(self._header(offset, text))
        body = text + len(head.octets)
        end, after = self._by_length(body, head.length, head.uid is not None) or self._by_search(offset, body)
        end = max(end, body) if after > body else after
        visible = head.text()
        size = len(visible) + maildir.bare_line_feeds(visible, -1) + end - body
        last = visible[-1] if visible else -1
        size += self._bare_line_feeds(body, end, last)
        self._at = max(after, offset + 1)
        return Found(offset, text, end, self._at, size, line, head)

    def _first_line(self, offset: int) -> bytes:
        return _from_line(self._octets(offset, offset + FROM_LINE), offset, offset + FROM_LINE >= self._end)

    def _candidate(self, start: int) -> int:
        """Where the next "\\nFrom " stands in the window, at `start` or later; -1 where there is none."""
        since, limit, found = self._searched
        if limit == self._limit and since <= start and (found < 0 or found >= start):
            return found
        found = self._data.find(_FROM, max(0, start - self._base))
        self.steps += (found if found >= 0 else len(self._data)) - max(0, start - self._base)
        found = found + self._base if found >= 0 else -1
        self._searched = start, self._limit, found
        return found

    def _is_boundary(self, found: int, keep: int) -> bool:
        """Whether a From_ line stands behind the line end at `found` (rule 2)."""
        if self._judged[0] == found:
            return self._judged[1]
        self._require(found, found + 1 + FROM_LINE, min(keep, found))
        line, line_end, behind = self._octets(found + 1, found + 1 + FROM_LINE).partition(b"\n")
        before = self._octets(found - 2, found)
        is_behind_blank = before[-1:] == b"\n" or before == b"\n\r"
        is_before_field = bool(line_end) and _HEADER_FIELD.match(behind) is not None
        is_one = (is_behind_blank or is_before_field) and is_from_line(line)
        is_one = is_one or (is_behind_blank and is_before_field and _DATELESS.fullmatch(line) is not None)
        self._judged = found, is_one
        return is_one

    def _header(self, offset: int, text: int) -> bytes:
        """The header, with the blank line where there is one."""
        start = max(text - 1, offset)  # the line end of the From_ line, behind which a blank line may stand
        limit = text + HEADER_LIMIT
        while True:
            found = self._candidate(start)
            stop = min(limit, self._limit) if found < 0 else min(limit, found + 1)
            self.steps += max(0, stop - start)
            blank = _behind_blank_line(self._data, start - self._base, stop - self._base, self._has_cr)
            if blank >= 0:
                return self._octets(text, blank + self._base)
            if stop == limit:
                return self._octets(text, limit)
            if found >= 0:
                if self._is_boundary(found, offset):
                    return self._octets(text, found + 1)
                start = found + 1
            else:
                start = max(start, stop - len(_FROM))
                if not self._extend(offset):
                    return self._octets(text, self._limit)

    def _by_length(self, body: int, length: int | None, is_numbered: bool) -> tuple[int, int] | None:
        """Where text and message end if Content-Length is to be believed (rule 3)."""
        if length is None or body + length > self._end:
            return None
        end = body + length
        before, here = self._peek(end)
        if not here:
            return end, end
        # A text whose last line has no end is followed by that end, and by a blank line where somebody wrote behind it.
        # The latter is believed of a message that has a UID: delivery agents have been seen to count one too few.
        for line_end in (b"\n", b"\r\n", *((b"\n\n",) if is_numbered else ())):
            if here == line_end and end + len(line_end) == self._end:
                return end, self._end
            if here.startswith(line_end + b"From ") and is_from_line(here[len(line_end) :].partition(b"\n")[0]):
                return end, end + len(line_end)
        if before == b"\n" and length and here.startswith(b"From ") and is_from_line(here.partition(b"\n")[0]):
            return end, end
        return None

    def _peek(self, at: int) -> tuple[bytes, bytes]:
        """The octet before an offset and those behind it, enough of them to know a From_ line."""
        self.steps += FROM_LINE
        stop = min(at + FROM_LINE, self._end)
        if self._base < at and stop <= self._limit:
            return self._octets(at - 1, at), self._octets(at, stop)
        data = os.pread(self._fd, stop - at + 1, at - 1)
        return data[:1], data[1:]

    def _by_search(self, offset: int, body: int) -> tuple[int, int]:
        """Where text and message end, by the next From_ line."""
        start = max(body - 1, offset + 1)
        while True:
            found = self._candidate(start)
            # A long message is not kept in memory while its end is looked for.
            keep = offset if self._limit - offset < PIECE else max(offset, start - 4)
            if found < 0:
                start = max(start, self._limit - len(_FROM))
                if not self._extend(max(offset, min(keep, start - 4))):
                    return self._without_separator(body, self._end), self._end
            elif self._is_boundary(found, keep):
                return self._without_separator(body, found + 1), found + 1
            else:
                start = found + 1

    def _without_separator(self, body: int, after: int) -> int:
        tail = self._octets(after - 3, after)
        if tail.endswith(b"\n\r\n") and after - 2 >= body:
            return after - 2
        return after - 1 if tail.endswith(b"\n\n") and after - 1 >= body else after

    def _bare_line_feeds(self, start: int, end: int, last: int) -> int:
        """How much the body grows on the wire; read again where it is not in the window any more."""
        self.steps += end - start
        if start >= self._base and end <= self._limit:
            low, high = start - self._base, end - self._base
            if not self._has_cr:
                return self._data.count(b"\n", low, high)
            return maildir.bare_line_feeds(self._data[low:high], last)
        grows = 0
        while start < end and (piece := os.pread(self._fd, min(PIECE, end - start), start)):
            grows += maildir.bare_line_feeds(piece, last)
            last = piece[-1]
            start += len(piece)
        return grows


def _from_line(start: bytes, offset: int, is_all: bool) -> bytes:
    """The From_ line that octets of a file begin with, with its line end; b"" where another line stands there.

    At the beginning of the file a byte order mark and blank lines may stand before it. is_all: the file ends with them.
    """
    skipped = 0 if offset else len(start) - len(start.removeprefix(_BOM).lstrip(b"\r\n"))
    if not start.startswith(b"From ", skipped):
        return b""
    line_end = start.find(b"\n", skipped, FROM_LINE)
    if line_end < 0:
        return start if is_all and len(start) <= FROM_LINE else b""
    return start[: line_end + 1]


def _behind_blank_line(data: bytes, low: int, high: int, has_cr: bool) -> int:
    """Where the line behind the first blank line begins; -1 where there is none. The line before it ends at `low` at
    the earliest."""
    found = data.find(b"\n\n", low, high)
    if has_cr:
        with_cr = data.find(b"\n\r\n", low, high if found < 0 else found)
        if with_cr >= 0:
            return with_cr + 3
    return found + 2 if found >= 0 else -1


def split_header(start: bytes) -> tuple[bytes, int]:
    """The header that a text begins with, and how many line ends have to be put behind it to make it one."""
    blank = _behind_blank_line(b"\n" + start, 0, len(start) + 1, b"\r" in start)
    if blank >= 0:
        return start[: blank - 1], 0
    return start, 1 if not start or start.endswith(b"\n") else 2


def read_head(fd: int, offset: int, octets: int) -> tuple[bytes, Head]:
    """The From_ line and the header of a message, as `Scan` gave them: at the offset, with a text of so many octets.

    What stands there now may be something else, or less.
    """
    return head_by(partial(os.pread, fd), offset, octets)


def head_by(read: Callable[[int, int], bytes], offset: int, octets: int) -> tuple[bytes, Head]:
    """The same; read gives so many octets of the file from an offset on, or fewer at its end."""
    wanted = 16 * 1024
    while True:
        data = read(wanted, offset)
        line = _from_line(data[:FROM_LINE], offset, len(data) < min(wanted, FROM_LINE))
        text = len(line)
        high = text + min(octets, HEADER_LIMIT)
        blank = _behind_blank_line(data, max(0, text - 1), high, b"\r" in data)
        if blank >= 0 or len(data) >= high or len(data) < wanted:
            return line, parse(data[text : blank if blank >= 0 else high])
        wanted = min(wanted * 8, FROM_LINE + HEADER_LIMIT)
