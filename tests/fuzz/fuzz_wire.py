"""Fuzzes the framer and the scanner: from any octets, cut in any way, only BadSyntax ever comes out.

    python tests/fuzz/fuzz_wire.py --seconds 60 --seed 1

Real command lines are changed at random, fed to a Framer in random pieces, and every line that comes out is read by
random methods of a Scanner. With atheris installed it steers the changes by coverage; without it they are plain random.
An input that breaks the promise is printed, with what it needs to be run again.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from imapd.model.errors import BadSyntax  # noqa: E402
from imapd.model.names import BadName, Pattern, check_new  # noqa: E402
from imapd.wire.framer import Framer, Line, LiteralOffered  # noqa: E402
from imapd.wire.scanner import Scanner  # noqa: E402
from tests.fuzz.fuzzing import Fuzzer  # noqa: E402
from tests.wire.readers import READERS  # noqa: E402

MAX_LINE = 2_000
LARGEST_ACCEPTED = 10_000

SEEDS = [
    b"a1 CAPABILITY\r\n",
    b"a1 LOGIN fred {6}\r\nsecret\r\n",
    b'a1 LOGIN "fr\\"ed" "se cret"\r\n',
    b"a1 AUTHENTICATE PLAIN AGZyZWQAc2VjcmV0\r\n",
    b"a1 SELECT &U,BTFw-/&ZeVnLIqe-\r\na2 EXAMINE inbox\r\n",
    b'a1 LIST (SUBSCRIBED RECURSIVEMATCH) "" ("INBOX/%" *) RETURN (STATUS (MESSAGES UNSEEN))\r\n',
    b'a1 STATUS "Entw\xc3\xbcrfe" (MESSAGES UIDNEXT UIDVALIDITY)\r\n',
    b'a1 APPEND Drafts (\\Seen $Junk) "01-Feb-1994 12:00:00 +0100" {12+}\r\nSubject: x\r\n\r\n',
    b'a1 APPEND "a b" " 1-Feb-1994 12:00:00 -0000" ~{4}\r\na\0b\n\r\n',
    b"a1 FETCH 1:*,5 (UID FLAGS BODY.PEEK[1.2.HEADER.FIELDS.NOT (DATE {4+}\r\nFROM)]<0.1024> BINARY.SIZE[3])\r\n",
    b"a1 UID FETCH $ (BODY[HEADER] BODY[2.MIME] BODY[TEXT]<5.18446744073709551616>)\r\n",
    b'a1 SEARCH CHARSET UTF-8 (OR SINCE 1-Feb-1994 NOT (FROM "Sm\xe4th")) UID 1:4294967296 TEXT {3}\r\nabc\r\n',
    b"a1 UID STORE 4:2,* -FLAGS.SILENT (\\Deleted work)\r\na2 STORE 1 FLAGS \\Seen\r\n",
    b'a1 ID ("name" NIL)\r\na2 IDLE\r\nDONE\r\n',
    b"a1 LOGIN x {-1}\r\na2 LOGIN x {99999999999999999999+}\r\n",
    b"a1 X " + b"(" * 100 + b")" * 100 + b"\r\n",
    b"t" * (MAX_LINE + 10) + b" {5+}\r\nhello\r\na2 NOOP\r\n",
]

TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"(",
    b")",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"{0}",
    b"{1+}\r\n",
    b"~{2}\r\n",
    b"*",
    b"%",
]
TOKENS += [
    b"&",
    b"&AOQ-",
    b"&-",
    b",",
    b":",
    b"$",
    b"[",
    b"]",
    b"<",
    b">",
    b"NIL",
    b"4294967296",
    b"0",
    b"\xff",
    b"\xc3\xa4",
]
TOKENS += [b"HEADER.FIELDS (", b"-Feb-", b"+", b".", b"{9223372036854775807+}\r\n", b"{18446744073709551616}"]

# What stands where a number stood: the ends of all ranges, and beyond.
NUMBERS = [
    b"",
    b"0",
    b"0000",
    b"00",
    b"1",
    b"12",
    b"24",
    b"60",
    b"61",
    b"99",
    b"9999",
    b"4294967295",
    b"4294967296",
    b"9" * 5_000,
]
NUMBERS += [b"9223372036854775807", b"9223372036854775808", b"-1", b"1.5", b"*"]

NAMES = sorted(READERS)


class Sink:
    """A sink that counts, and now and then is full."""

    def __init__(self, holds):
        self.holds = holds

    def write(self, data):
        self.holds -= len(data)
        if self.holds < 0:
            raise OSError("full")


def mutate(choose, data):
    """The data with a few random changes."""
    for _ in range(choose.randrange(6)):
        at, length = choose.randrange(len(data) + 1), choose.randrange(8)
        what = choose.randrange(7)
        if what == 0:
            data = data[:at] + choose.choice(TOKENS) + data[at:]
        elif what == 1:
            data = data[:at] + data[at + length :]
        elif what == 2:
            data = data[:at] + choose.randbytes(length) + data[at + length :]
        elif what == 3:
            data = data[:at] + data[at : at + length] * choose.randrange(1, 50) + data[at:]
        elif what == 4:
            data = data[:at] + choose.choice(SEEDS)
        elif what == 5:
            data = data + choose.choice(SEEDS)[at:]
        elif numbers := list(re.finditer(rb"[0-9]+", data)):
            number = choose.choice(numbers)
            data = data[: number.start()] + choose.choice(NUMBERS) + data[number.end() :]
    return data


def try_octets(choose, data):
    """Feed the octets in random pieces and read what comes; returns the lines that came."""
    framer, lines = Framer(MAX_LINE), []
    while data:
        cut = choose.choice((1, 2, 7, 100, len(data)))
        framer.feed(data[:cut])
        data = data[cut:]
        lines += hear(choose, framer)
    assert framer.buffered <= MAX_LINE + LARGEST_ACCEPTED
    for line in lines:
        read(choose, line)
    return lines


def hear(choose, framer):
    lines = []
    while True:
        try:
            event = framer.next()
        except OSError:  # of a full sink
            continue
        if event is None:
            return lines
        if isinstance(event, Line):
            assert isinstance(event.pieces[0], bytes) and isinstance(event.pieces[-1], bytes)
            assert sum(len(piece) for piece in event.pieces if isinstance(piece, bytes)) <= MAX_LINE
            lines.append(event)
        elif isinstance(event, LiteralOffered):
            if event.size > LARGEST_ACCEPTED or choose.random() < 0.2:
                framer.refuse()
            else:
                framer.accept(Sink(choose.randrange(2_000)) if choose.random() < 0.2 else None)


def read(choose, line):
    """Read a line as commands do, and then one of its words by every reader."""
    for utf8 in (False, True):
        scanner = Scanner(line, utf8)
        try:
            scanner.tag()
            scanner.sp()
            scanner.command_name()
            read_arguments(choose, scanner, 0)
        except BadSyntax:
            pass
    starts = [match.start() for match in re.finditer(rb"(?<=[ (])[^ (]|(?<=BODY)\[", line.text)] or [0]
    start = choose.choice(starts)
    for reader in NAMES:
        scanner = Scanner(Line((line.text[start:], *line.pieces[1:])))
        try:
            look_at(getattr(scanner, reader)())
        except BadSyntax as error:
            assert str(error)


def read_arguments(choose, scanner, depth):
    while not scanner.at_end():
        scanner.skip_spaces()
        if scanner.peek() == b"(":
            scanner.parenthesized(lambda: read_arguments(choose, scanner, depth + 1))
        else:
            look_at(getattr(scanner, choose.choice(NAMES))())
        assert depth < 40
        if depth and choose.random() < 0.5:
            return


def look_at(value):
    """What a command would do with the value."""
    if isinstance(value, str):
        Pattern("", value).matches("INBOX/Archive/2024")
        try:
            check_new(value)
        except BadName:
            pass
    elif hasattr(value, "resolve") and not value.saved:
        bytes(value.resolve(10))
    elif hasattr(value, "fields"):
        bytes(value)


FUZZER = Fuzzer(SEEDS, mutate, try_octets)

if __name__ == "__main__":
    FUZZER.main(__doc__)
