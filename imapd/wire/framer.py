"""Octets in, whole commands out: finds lines and literals, and keeps their limits (RFC 9051 sections 2.2.1 and 4.3).

What a command means is not known here, so a bad one never puts the octets behind it out of step. `feed` takes octets
in pieces of any size; `next` gives, in order:

    Line            a whole command, with the literals that were accepted
    LiteralOffered  the command goes on with a literal. The driver decides by `accept` or `refuse`, and until it has
                    decided there is nothing more to be had
    TooLong         the text of a command is longer than allowed. What is left of the command is thrown away
    None            more octets are needed

Rules:

1. How the octets were cut into pieces never changes what comes out.
2. Each octet is looked at a fixed number of times: the cost is linear, also when fed octet by octet.
3. No more is held than the text of one command, the literals accepted without a sink, and what was fed last.
4. A command that is dropped (refused, too long, its sink failed) is dropped whole: the octets of its non-synchronizing
   literals are text to nobody, so that no command can be hidden in them. At a synchronizing literal it ends, because
   the client waits there and is told BAD or NO instead (RFC 7888 section 3).
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

LARGEST_LITERAL: Final = 2**63 - 1  # RFC 9051 section 9, number64

# literal = "{" number64 ["+"] "}" CRLF;  literal8 = "~{" number64 ["+"] "}" CRLF (RFC 4466, RFC 7888)
_ANNOUNCED = re.compile(rb"(~?)\{([0-9]{1,19})(\+?)\}\Z")
_TAIL: Final = len(b"~{9223372036854775807+}\r")  # the end of a line in which a literal is announced


class Sink(Protocol):
    """Where the octets of a large literal go while they arrive."""

    def write(self, data: bytes) -> object:
        """Take the next octets."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal that has arrived: its octets, or the sink that has them. `binary` for a literal8."""

    size: int
    binary: bool
    data: bytes | None = field(repr=False)  # it may be a password
    sink: object | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A command without its line end: text, literal, text, ...; it begins and ends with a text, which may be empty.

    The announcement of a literal ("{5}") is not in the text before it.
    """

    pieces: tuple[bytes | Literal, ...] = field(repr=False)

    @property
    def text(self) -> bytes:
        """The text up to the first literal."""
        first = self.pieces[0]
        return first if isinstance(first, bytes) else b""


@dataclass(frozen=True, slots=True)
class LiteralOffered:
    """The client wants to send a literal; where it is synchronizing, it waits to be asked for it."""

    size: int
    synchronizing: bool
    binary: bool
    so_far: Line


@dataclass(frozen=True, slots=True)
class TooLong:
    """A command with more text than allowed; `so_far` is its beginning, for the tag."""

    so_far: bytes = field(repr=False)


class _Reads(Enum):
    """What the next octets are."""

    TEXT = auto()
    DECISION = auto()  # nothing, until accept or refuse
    LITERAL = auto()
    DROPPED_TEXT = auto()
    DROPPED_LITERAL = auto()


class Framer:
    """Takes octets by `feed` and gives commands by `next`. `max_line` may be changed at any time."""

    __slots__ = (
        "_binary", "_buffer", "_collected", "_left", "_octets", "_pieces", "_reads", "_searched", "_sink", "_size",
        "_synchronizing", "max_line",
    )  # fmt: skip

    _pieces: list[bytes | Literal]
    _sink: Sink | None

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line
        self.clear()

    def clear(self) -> None:
        """Forget everything that was fed, as if the connection had just begun."""
        self._buffer = bytearray()
        self._begin()

    @property
    def buffered(self) -> int:
        """How many octets have been fed and not been used yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take the next octets of the connection."""
        self._buffer += data

    def next(self) -> Line | LiteralOffered | TooLong | None:
        """The next thing that happened, or None where more octets are needed, or a decision.

        What a sink raises comes through here; the command is dropped then, and `next` may be called again.
        """
        while True:
            if self._reads is _Reads.TEXT:
                return self._next_text()
            if self._reads is _Reads.DECISION:
                return None
            if not self._go_on():
                return None

    def accept(self, sink: Sink | None = None) -> None:
        """Take the literal that was offered, into memory or into the sink, which gets it in pieces."""
        self._must_be_offered()
        self._sink = sink
        self._collected = bytearray()
        self._reads = _Reads.LITERAL

    def refuse(self) -> None:
        """Drop the command whose literal was offered; the driver answers its tag by NO or BAD."""
        self._must_be_offered()
        if self._synchronizing:
            self._begin()  # the client sends neither the literal nor the rest
        else:
            self._drop_literal(self._left)

    def _must_be_offered(self) -> None:
        if self._reads is not _Reads.DECISION:
            raise RuntimeError("no literal is offered")

    def _begin(self) -> None:
        """The next octet is the first of a command."""
        self._reads = _Reads.TEXT
        self._pieces = []
        self._octets = 0  # of text in this command, before the line that is being read
        self._searched = 0  # so many octets of the buffer hold no line end
        self._synchronizing = self._binary = False
        self._size = self._left = 0  # of the literal, and what is still to come of it
        self._collected = bytearray()
        self._sink = None

    def _go_on(self) -> bool:
        """Use octets for a literal or for what is dropped; False where more are needed."""
        if self._reads is _Reads.LITERAL:
            return self._read_literal()
        if self._reads is _Reads.DROPPED_LITERAL:
            self._left -= len(self._take(self._left))
            if self._left == 0:
                self._reads = _Reads.DROPPED_TEXT
            return self._left == 0
        return self._drop_text()

    def _next_text(self) -> Line | LiteralOffered | TooLong | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            # A CR at the end may belong to the line end.
            length = self._searched - self._buffer.endswith(b"\r")
        else:
            length = end - self._buffer.endswith(b"\r", 0, end)
        if self._octets + length > self.max_line:
            return self._too_long()
        if end < 0:
            return None
        text = bytes(self._buffer[:length])
        self._take_line(end)
        self._octets += length
        announced = _announced(text)
        if announced is None:
            line = Line((*self._pieces, text))
            self._begin()
            return line
        return self._offer(text, announced)

    def _offer(self, text: bytes, announced: re.Match[bytes]) -> LiteralOffered:
        self._pieces.append(text[: announced.start()])
        self._binary = bool(announced[1])
        self._size = self._left = int(announced[2])
        self._synchronizing = not announced[3]
        self._reads = _Reads.DECISION
        return LiteralOffered(self._size, self._synchronizing, self._binary, Line(tuple(self._pieces)))

    def _too_long(self) -> TooLong:
        first = self._pieces[0] if self._pieces else bytes(self._buffer[: self.max_line])
        self._begin()
        self._reads = _Reads.DROPPED_TEXT
        return TooLong(first if isinstance(first, bytes) else b"")

    def _read_literal(self) -> bool:
        octets = self._take(self._left)
        self._left -= len(octets)
        if self._sink is None:
            self._collected += octets
        elif octets:
            self._write(self._sink, octets)
        if self._left:
            return False
        data = bytes(self._collected) if self._sink is None else None
        self._pieces.append(Literal(self._size, self._binary, data, self._sink))
        self._sink, self._collected = None, bytearray()
        self._reads = _Reads.TEXT
        return True

    def _write(self, sink: Sink, octets: bytes) -> None:
        try:
            sink.write(octets)
        except BaseException:
            self._drop_literal(self._left)
            raise

    def _drop_literal(self, size: int) -> None:
        self._begin()
        self._left = size
        self._reads = _Reads.DROPPED_LITERAL

    def _drop_text(self) -> bool:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            del self._buffer[:-_TAIL]
            self._searched = len(self._buffer)
            return False
        tail = bytes(self._buffer[max(0, end - _TAIL) : end])
        self._take_line(end)
        announced = _announced(tail.removesuffix(b"\r"))
        if announced is not None and announced[3]:
            self._drop_literal(int(announced[2]))
        else:
            self._begin()
        return True

    def _take(self, most: int) -> bytes:
        octets = bytes(self._buffer[:most])
        del self._buffer[:most]
        return octets

    def _take_line(self, end: int) -> None:
        del self._buffer[: end + 1]
        self._searched = 0


def _announced(text: bytes) -> re.Match[bytes] | None:
    """The announcement of a literal at the end of a text. What only looks like one is text: the scanner refuses it."""
    if not text.endswith(b"}"):
        return None
    match = _ANNOUNCED.search(text, max(0, len(text) - _TAIL))
    return match if match is not None and int(match[2]) <= LARGEST_LITERAL else None
