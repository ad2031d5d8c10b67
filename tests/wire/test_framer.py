"""The framer: lines, literals, limits, and that the way the octets were cut does not matter."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.wire.framer import Framer, Line, Literal, LiteralOffered, TooLong

# What a client may send that the framer looks at, and what only looks so.
MORSELS = [
    b"a1 NOOP",
    b"\r\n",
    b"\n",
    b"\r",
    b"{3}",
    b"{3+}",
    b"~{2+}",
    b"{0+}",
    b"{-1}",
    b"{99999999999999999999+}",
    b"x",
]
MORSELS += [b"{", b"}", b"+}", b"\0", b"abc", b"{5+}\r\n", b"{5}\r\n", b"~{1}\r\n", b"{20+}\r\n", b"long" * 12, b" "]

streams = st.lists(st.sampled_from(MORSELS) | st.binary(max_size=4), max_size=25).map(b"".join)
decisions = st.lists(st.sampled_from(["accept", "refuse", "sink"]), max_size=8)


class Basket:
    def __init__(self):
        self.octets = b""

    def write(self, data):
        assert data
        self.octets += data


def drain(framer, decisions):
    """Everything the framer has to say, as plain values, deciding literals in turn."""
    heard = []
    while (event := framer.next()) is not None:
        heard.append(plain(event))
        if isinstance(event, LiteralOffered):
            decision = decisions.pop(0) if decisions else "accept"
            if decision == "refuse":
                framer.refuse()
            else:
                framer.accept(Basket() if decision == "sink" else None)
    return heard


def plain(event):
    if isinstance(event, Line):
        return ("line", *[plain(piece) for piece in event.pieces])
    if isinstance(event, Literal):
        return ("literal", event.size, event.binary, event.data if event.sink is None else event.sink.octets)
    if isinstance(event, LiteralOffered):
        return ("offered", event.size, event.synchronizing, event.binary, plain(event.so_far))
    if isinstance(event, TooLong):
        return ("too long", event.so_far)
    return event


def framed(data, *decided, max_line=1_000):
    framer = Framer(max_line)
    framer.feed(data)
    return drain(framer, list(decided))


LINES = [
    (b"a1 NOOP\r\n", [("line", b"a1 NOOP")]),
    (b"a1 NOOP\n", [("line", b"a1 NOOP")]),
    (b"\r\n\n", [("line", b""), ("line", b"")]),
    (b"a\r\r\n", [("line", b"a\r")]),
    (b"a\rb\r\n", [("line", b"a\rb")]),
    (b"a1 NOOP\r\na2 NOOP\r\nrest", [("line", b"a1 NOOP"), ("line", b"a2 NOOP")]),
    (b"a\0b\r\n", [("line", b"a\0b")]),
    (b"", []),
    (b"a1 NOOP", []),
    (b"a1 NOOP\r", []),
]

# A line that ends as if a literal came, and none does: a Line, which the scanner refuses.
NO_LITERALS = [b"{-1}", b"{}", b"{+}", b"{99999999999999999999}", b"{9223372036854775808}", b"{1 }", b"{1++}", b"{a}"]
NO_LITERALS += [b"{1}x", b"{-100}", b"{0x5}", b"{5", b"5}", b"{\xb2}", b"{1}\r", b"{" + b"1" * 500 + b"}"]


@pytest.mark.parametrize(("data", "events"), LINES)
def test_lines_come_whole_and_without_their_ends(data, events):
    assert framed(data) == events


@pytest.mark.parametrize("end", NO_LITERALS)
def test_what_only_looks_like_a_literal_is_text(end):
    assert framed(b"a LOGIN x " + end + b"\r\nb NOOP\r\n") == [("line", b"a LOGIN x " + end), ("line", b"b NOOP")]


@pytest.mark.parametrize(
    ("announced", "size", "synchronizing", "binary"),
    [
        (b"{5}", 5, True, False),
        (b"{5+}", 5, False, False),
        (b"~{5}", 5, True, True),
        (b"~{5+}", 5, False, True),
        (b"{0}", 0, True, False),
        (b"{4294967296}", 2**32, True, False),
        (b"{9223372036854775807+}", 2**63 - 1, False, False),
    ],
)
def test_a_literal_is_offered(announced, size, synchronizing, binary):
    framer = Framer(1_000)
    framer.feed(b"a APPEND x " + announced + b"\r\n")
    assert plain(framer.next()) == ("offered", size, synchronizing, binary, ("line", b"a APPEND x "))
    assert framer.next() is None


def test_accepted_literals_become_pieces_of_the_line():
    events = framed(b"a LOGIN {4}\r\nfred {3+}\r\na\0b\r\n")
    line = ("line", b"a LOGIN ", ("literal", 4, False, b"fred"), b" ", ("literal", 3, False, b"a\0b"), b"")
    assert [event[0] for event in events] == ["offered", "offered", "line"]
    assert events[-1] == line


def test_an_empty_literal_may_be_accepted():
    assert framed(b"a X {0+}\r\n\r\n")[-1] == ("line", b"a X ", ("literal", 0, False, b""), b"")


def test_a_sink_gets_the_octets_and_memory_does_not():
    framer, basket = Framer(100), Basket()
    framer.feed(b"a APPEND x {6}\r\n")
    framer.next()
    framer.accept(basket)
    for piece in (b"ab", b"cd", b"ef\r\n"):
        framer.feed(piece)
        line = framer.next()
    assert basket.octets == b"abcdef"
    assert line.pieces[1].data is None and line.pieces[1].sink is basket


def test_nothing_comes_until_a_literal_is_decided():
    framer = Framer(100)
    framer.feed(b"a X {3+}\r\nabc\r\nb NOOP\r\n")
    assert isinstance(framer.next(), LiteralOffered)
    assert framer.next() is None and framer.next() is None
    framer.accept()
    assert framer.next().pieces[1].data == b"abc"
    assert framer.next() == Line((b"b NOOP",))


def test_only_an_offered_literal_can_be_decided():
    framer = Framer(100)
    for decide in (framer.accept, framer.refuse):
        with pytest.raises(RuntimeError):
            decide()


def test_a_refused_synchronizing_literal_ends_the_command():
    assert framed(b"a X {3}\r\nb NOOP\r\n", "refuse") == [
        ("offered", 3, True, False, ("line", b"a X ")),
        ("line", b"b NOOP"),
    ]


def test_a_refused_non_synchronizing_literal_is_swallowed_with_its_command():
    events = framed(b"a X {8+}\r\nz NOOP\r\n more {8+}\r\ny NOOP\r\n end\r\nb NOOP\r\n", "refuse")
    assert events[1:] == [("line", b"b NOOP")]


def test_a_dropped_command_ends_at_a_synchronizing_literal():
    events = framed(b"a X {3+}\r\nabc {5}\r\nb NOOP\r\n", "refuse")
    assert events[1:] == [("line", b"b NOOP")]


def test_a_line_that_is_too_long_is_told_once_and_swallowed():
    events = framed(b"a1 " + b"x" * 100_000 + b"\r\nb NOOP\r\n", max_line=50)
    assert events == [("too long", b"a1 " + b"x" * 47), ("line", b"b NOOP")]


def test_a_line_may_be_as_long_as_the_limit():
    for end in (b"\n", b"\r\n"):
        assert framed(b"x" * 50 + end, max_line=50) == [("line", b"x" * 50)]
        assert framed(b"x" * 51 + end, max_line=50) == [("too long", b"x" * 50)]


def test_a_line_is_known_to_be_too_long_before_it_ends():
    framer = Framer(50)
    framer.feed(b"x" * 50 + b"\r")
    assert framer.next() is None
    framer.feed(b"x")
    assert framer.next() == TooLong(b"x" * 50)


def test_the_text_around_literals_counts_together():
    events = framed(b"a X {1+}\r\n1" + b"y" * 40 + b"{1+}\r\n2" + b"z" * 20 + b"\r\nb NOOP\r\n", max_line=60)
    assert events[-2:] == [("too long", b"a X "), ("line", b"b NOOP")]


def test_no_command_can_be_hidden_in_a_literal_behind_a_long_line():
    data = b"a1 " + b"x" * 100 + b" {8+}\r\nz NOOP\r\n tail\r\nb NOOP\r\n"
    assert framed(data, max_line=50)[1:] == [("line", b"b NOOP")]


def test_the_limit_may_be_raised():
    framer = Framer(10)
    framer.max_line = 100
    framer.feed(b"x" * 60 + b"\r\n")
    assert framer.next() == Line((b"x" * 60,))


def test_a_sink_that_fails_drops_the_command_only():
    class Full:
        def write(self, data):
            raise OSError("disk full")

    framer = Framer(100)
    framer.feed(b"a APPEND x {10}\r\n")
    framer.next()
    framer.accept(Full())
    framer.feed(b"12345")
    with pytest.raises(OSError, match="disk full"):
        framer.next()
    framer.feed(b"67890 more {8+}\r\nz NOOP\r\n\r\nb NOOP\r\n")
    assert drain(framer, []) == [("line", b"b NOOP")]


def test_buffered_is_what_came_behind_the_command():
    framer = Framer(100)
    framer.feed(b"a STARTTLS\r\n")
    framer.next()
    assert framer.buffered == 0
    framer.feed(b"b LOGIN")
    assert framer.buffered == 7
    framer.clear()
    framer.feed(b"c NOOP\r\n")
    assert framer.next() == Line((b"c NOOP",)) and framer.buffered == 0


def test_a_password_is_not_shown():
    framer = Framer(100)
    framer.feed(b"a LOGIN fred {6+}\r\nsecret\r\nb LOGIN fred secret\r\nc LOGIN fred secret {4}\r\n")
    shown = []
    while (event := framer.next()) is not None:
        shown.append(repr(event))
        if isinstance(event, LiteralOffered) and event.size == 6:
            framer.accept()
        elif isinstance(event, Line):
            shown += [repr(piece) for piece in event.pieces if isinstance(piece, Literal)]
    assert len(shown) == 5 and "secret" not in "".join(shown)


@given(streams, decisions, st.lists(st.integers(0, 30), max_size=40))
def test_the_way_octets_are_cut_does_not_matter(data, decided, cuts):
    whole = framed(data, *decided, max_line=40)
    framer, left, heard = Framer(40), list(decided), []
    for cut in cuts:
        framer.feed(data[:cut])
        data = data[cut:]
        heard += drain(framer, left)
    framer.feed(data)
    assert heard + drain(framer, left) == whole


@given(streams, decisions)
def test_octet_by_octet_is_the_same(data, decided):
    framer, left, heard = Framer(40), list(decided), []
    for octet in data:
        framer.feed(bytes([octet]))
        heard += drain(framer, left)
    assert heard == framed(data, *decided, max_line=40)


def test_the_cost_is_linear_also_octet_by_octet():
    began = time.perf_counter()
    framer = Framer(2_000_000)
    for octet in [b"x"] * 1_000_000:
        framer.feed(octet)
        framer.next()
    framer.feed(b"\r\n")
    assert len(framer.next().text) == 1_000_000
    framer = Framer(100)
    framer.feed(b"a NOOP\r\n" * 100_000)
    assert len(drain(framer, [])) == 100_000
    assert time.perf_counter() - began < 10
