"""Reading a message: finds its parts, and where in it each header and each body begins and ends (RFC 2045, RFC 2046).

`parse` reads a message once from its first octet to its last. It keeps a list of the parts that are open, outermost
first, and a table of the boundaries that are being watched for. What it promises, on any bytes:

1. It never raises, and never refuses: a message that exceeds a limit has a tree that is cut there.
2. Offsets nest. For every part header_start <= body_start <= end; a child lies within its parent's body; the embedded
   message is exactly the body of its message part; siblings follow each other.
3. The line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1), so a body ends before it.
4. No octet is searched more often than a fixed number of times, whatever the nesting: the cost is linear.
5. No recursion: the depth of the input is not the depth of Python's stack.

Where mail is broken:

- A delimiter ends a header where the empty line is missing. Without one, a header goes on to the first empty line,
  lines that are no fields included. Only where a part's body would be empty then, it begins at the first such line.
- A delimiter line is the whole boundary and nothing else but blanks, so one boundary may begin with another. The
  innermost open part with that boundary takes it. A multipart without close delimiter ends where its parent goes on.
- A multipart in which no part begins (no boundary, or it never occurs) has its whole body as its one part, plain text:
  the reader sees all there is, and IMAP's grammar wants at least one part.
- An embedded message is looked into only where its octets stand there as they are. One in base64 or quoted-printable,
  which RFC 2046 section 5.2.1 forbids, is a leaf without `embedded`, because offsets into it would mean nothing.
- A multipart or message deeper than MAX_DEPTH is a leaf; after MAX_PARTS parts the last one takes all that follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from imapd.mime.header import MAX_HEADER, Known, known_values, length_of_fields
from imapd.mime.parts import ENVELOPE_FIELDS, MIME_FIELDS, Part

MAX_PARTS: Final = 10_000
MAX_DEPTH: Final = 100
MAX_ALL_HEADERS: Final = 50 * 1024 * 1024
"""Headers of parts that come after so many octets of headers are taken for empty."""

_STRIDE: Final = 1 << 20  # searched in one go: about a millisecond, then others may run
_BREATH: Final = 1_024  # lines that begin like delimiters, between two breaths
_ABSENT: Final = -1

_OF_PARTS: Final = Known.of(MIME_FIELDS)
_OF_MESSAGES: Final = Known.of(MIME_FIELDS | ENVELOPE_FIELDS)

_IDENTITY: Final = frozenset((b"7bit", b"8bit", b"binary", b""))


def parse(message: bytes, breathe: Callable[[], None] | None = None) -> Part:
    """The tree of a message with CRLF line ends; `breathe` is called about every millisecond of work."""
    return _Reading(message, breathe).run()


class _Watched:
    """A boundary that is being watched for, and what to put back when it is no more."""

    __slots__ = ("boundary", "level", "level_before", "needle_before")

    def __init__(self, boundary: bytes, level: int, level_before: int | None, needle_before: bytes) -> None:
        self.boundary = boundary
        self.level = level
        self.level_before = level_before
        self.needle_before = needle_before


class _Reading:
    """The reading of one message.

    open: the open parts, outermost first; a part's place in it is its level.
    levels: the level of each watched boundary; watched: the same as a stack, innermost last.
    needle: what every delimiter that is watched for begins with, line end before it included.
    blanks: where the next empty line is, for both spellings of it, as far as it was looked for.
    """

    def __init__(self, message: bytes, breathe: Callable[[], None] | None) -> None:
        self.message = message
        self.breathe = breathe
        self.open: list[Part] = []
        self.levels: dict[bytes, int] = {}
        self.watched: list[_Watched] = []
        self.needle = b""
        self.blanks = {b"\n\r\n": _ABSENT, b"\n\n": _ABSENT}
        self.parts = 0
        self.header_octets = 0
        self.counted_to = 0
        self.line_ends = 0
        self.lines_before: list[int] = []  # by level: the line ends before the body, for embedded messages

    def run(self) -> Part:
        """Read from delimiter to delimiter."""
        root = self._begin_message(0, in_digest=False)
        at = self.open[-1].body_start
        while self.parts < MAX_PARTS:
            found = self._delimiter(max(at - 1, 0), len(self.message))
            if found is None:
                break
            line, after, level, is_close = found
            self._end_parts(level, line)
            multipart = self.open[level]
            if is_close:
                self._unwatch(level)
                at = after
            else:
                part = self._begin_message(after, multipart.subtype.lower() == b"digest")
                multipart.children.append(part)
                at = self.open[-1].body_start
        self._end_parts(-1, len(self.message))
        return root

    def _begin_message(self, at: int, in_digest: bool) -> Part:
        """Open the part whose header begins there, and the messages that its body turns out to be."""
        first = part = self._begin(at, in_digest)
        while part.is_message and self._may_look_inside():
            if part.encoding.lower() not in _IDENTITY:
                break
            self.lines_before[-1] = self._lines_to(part.body_start)
            part.embedded = self._begin(part.body_start, False, is_message=True)
            part = part.embedded
        if part.is_multipart and self._may_look_inside():
            boundary = (part.parameter(b"boundary") or b"").rstrip()
            if boundary:
                self._watch(boundary)
        return first

    def _may_look_inside(self) -> bool:
        return len(self.open) <= MAX_DEPTH and self.parts < MAX_PARTS

    def _begin(self, at: int, in_digest: bool, is_message: bool = False) -> Part:
        body_start = self._header_end(at)
        header = b""
        if self.header_octets < MAX_ALL_HEADERS:
            header = self.message[at : min(body_start, at + MAX_HEADER)]
        self.header_octets += len(header)
        known = _OF_MESSAGES if is_message or not self.open else _OF_PARTS
        part = Part(at, body_start, known_values(header, known, self.breathe), in_digest)
        self.parts += 1
        self.open.append(part)
        self.lines_before.append(0)
        if self.breathe is not None:
            self.breathe()
        return part

    # Where a header ends.

    def _header_end(self, at: int) -> int:
        """The place after the empty line, or of the delimiter that comes before it, or the end of the message."""
        message = self.message
        if message.startswith(b"\r\n", at):
            return at + 2
        if message.startswith(b"\n", at):
            return at + 1
        crlf = self._blank(b"\n\r\n", at, len(message))
        blank = self._blank(b"\n\n", at, crlf)
        found = self._delimiter(max(at - 1, 0), min(blank + 1, len(message))) if self.levels else None
        if found is not None:
            return found[0]
        if blank == len(message):
            return blank
        return blank + (3 if blank == crlf else 2)

    def _blank(self, ending: bytes, at: int, otherwise: int) -> int:
        """The next line end followed by an empty line of that spelling, if it stands before `otherwise`; else that.

        Kept until it is passed, so that many headers without an empty line do not each search the whole message.
        """
        if self.blanks[ending] < at:
            place = self._find(ending, at, min(otherwise + 1, len(self.message)))
            self.blanks[ending] = otherwise if place < 0 else place
        return self.blanks[ending]

    # Boundaries.

    def _watch(self, boundary: bytes) -> None:
        level = len(self.open) - 1
        self.watched.append(_Watched(boundary, level, self.levels.get(boundary), self.needle))
        self.levels[boundary] = level
        delimiter = b"\n--" + boundary
        self.needle = _common_start(self.needle, delimiter) if len(self.watched) > 1 else delimiter

    def _unwatch(self, level: int) -> None:
        """Stop watching for the boundaries of the parts from that level on inwards."""
        while self.watched and self.watched[-1].level >= level:
            last = self.watched.pop()
            self.needle = last.needle_before
            if last.level_before is None:
                del self.levels[last.boundary]
            else:
                self.levels[last.boundary] = last.level_before

    def _delimiter(self, at: int, stop: int) -> tuple[int, int, int, bool] | None:
        """The next delimiter after a line end from `at` on: its line's start, the next line's, level, is it a close."""
        message, levels, needle = self.message, self.levels, self.needle
        candidates = 0
        reach = min(stop, at + _STRIDE)
        while levels:
            hit = message.find(needle, at, reach)
            if hit < 0:
                if reach == stop:
                    return None
                at, reach = reach - len(needle) + 1, min(stop, reach + _STRIDE)
                if self.breathe is not None:
                    self.breathe()
                continue
            at = message.find(b"\n", hit + 1)
            if at < 0:
                at = len(message)
            line = message[hit + 3 : at].rstrip()
            if line in levels:
                return hit + 1, min(at + 1, len(message)), levels[line], False
            if line[-2:] == b"--" and line[:-2] in levels:
                return hit + 1, min(at + 1, len(message)), levels[line[:-2]], True
            candidates += 1
            if candidates % _BREATH == 0 and self.breathe is not None:
                self.breathe()
        return None

    def _find(self, needle: bytes, at: int, stop: int) -> int:
        """bytes.find, with a breath after every stride."""
        while stop - at > _STRIDE:
            hit = self.message.find(needle, at, at + _STRIDE + len(needle) - 1)
            if hit >= 0:
                return hit
            at += _STRIDE
            if self.breathe is not None:
                self.breathe()
        return self.message.find(needle, at, stop)

    # Ends.

    def _end_parts(self, level: int, delimiter: int) -> None:
        """End the parts within that level at the line end before a delimiter, or at the message's end."""
        end = delimiter
        if level >= 0:
            end -= 2 if self.message.startswith(b"\r\n", delimiter - 2) else 1
        self._unwatch(level + 1)
        while len(self.open) > level + 1:
            part = self.open.pop()
            lines_before = self.lines_before.pop()
            if part.body_start >= end and self.open and part.embedded is None and not part.is_multipart:
                self._find_lost_body(part)
            # An empty body begins where its delimiter does; then the line end is the header's, here and further out.
            end = part.end = max(end, part.body_start)
            if part.embedded is not None:
                part.lines = self._lines_to(part.end) - lines_before
            elif part.is_multipart:
                if not part.children and self.parts < MAX_PARTS and len(self.open) < MAX_DEPTH:
                    self._whole_body(part)
            elif part.type.lower() == b"text":
                part.lines = self._count(part.body_start, part.end)

    def _find_lost_body(self, part: Part) -> None:
        """Where a body is empty, and its header goes over into what is none, the empty line between them is missing."""
        header = self.message[part.header_start : part.body_start]
        part.body_start = part.header_start + length_of_fields(header)

    def _whole_body(self, multipart: Part) -> None:
        """Make the body of a multipart in which no part began its one part."""
        part = Part(multipart.body_start, multipart.body_start, {}, False)
        part.end = multipart.end
        part.lines = self._count(part.body_start, part.end)
        multipart.children.append(part)
        self.parts += 1

    def _lines_to(self, place: int) -> int:
        """The line ends before a place; places come in ascending order, so that nothing is counted twice."""
        if place > self.counted_to:
            self.line_ends += self._count(self.counted_to, place)
            self.counted_to = place
        return self.line_ends

    def _count(self, start: int, end: int) -> int:
        total = 0
        while end - start > _STRIDE:
            total += self.message.count(b"\n", start, start + _STRIDE)
            start += _STRIDE
            if self.breathe is not None:
                self.breathe()
        return total + self.message.count(b"\n", start, end)


def _common_start(one: bytes, other: bytes) -> bytes:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return one[:place]
    return min(one, other, key=len)
