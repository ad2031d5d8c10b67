"""The text of DATA, however it is cut, and where it ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.delivery.dots import Dots


def read(data, size=None):
    """The text, and what is behind its end (None where it has not ended)."""
    dots, text = Dots(), b""
    size = size or max(1, len(data))
    for start in range(0, len(data), size):
        piece, behind = dots.feed(data[start : start + size])
        text += piece
        if behind is not None:
            return text, behind + data[start + size :]
    return text, None


KNOWN = [
    (b".\r\n", b"", b""),
    (b"a\r\n.\r\n", b"a\r\n", b""),
    (b"a\r\n.\r\nRSET\r\n", b"a\r\n", b"RSET\r\n"),
    (b"..\r\n.\r\n", b".\r\n", b""),
    (b"...\r\n..a\r\n.\r\n", b"..\r\n.a\r\n", b""),
    (b".a\r\n.\r\n", b"a\r\n", b""),
    (b"\r\n.\r\n", b"\r\n", b""),
    (b"\r\r\n.\r\n", b"\r\r\n", b""),
    (b"x" * 100_000 + b"\r\n.\r\n", b"x" * 100_000 + b"\r\n", b""),
]


@pytest.mark.parametrize(("data", "text", "behind"), KNOWN)
@pytest.mark.parametrize("size", [None, 1, 2, 3, 4, 5, 7])
def test_the_text_and_what_is_behind_it(data, text, behind, size):
    assert read(data, size) == (text, behind)


@pytest.mark.parametrize(
    "data", [b"a\n.\n", b"a\n.\r\n", b"a\r\n.\n", b"a\r.\r", b"a\r\n.\r", b"a\r\n.\rb\r\n", b"a\r\n."]
)
def test_nothing_else_ends_it(data):
    assert read(data)[1] is None
    assert read(data + b"x\r\n.\r\nrest")[1] == b"rest"


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n."]), max_size=30), st.integers(1, 9))
def test_what_was_stuffed_comes_back_however_it_is_cut(pieces, size):
    text = b"".join(pieces) + b"\r\n"
    stuffed = (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
    assert read(stuffed + b"QUIT\r\n", size) == (text, b"QUIT\r\n")


def test_memory_does_not_grow_with_a_line():
    dots = Dots()
    for _ in range(1000):
        assert dots.feed(b"x" * 1000) == (b"x" * 1000, None)
        assert len(dots._held) <= 4
