"""The writer: known answers, and that the scanner reads back what was written."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.model.names import canonical, decode_wire
from imapd.wire import writer
from imapd.wire.framer import Framer, Line, LiteralOffered
from imapd.wire.scanner import Scanner


def read(written, utf8=False):
    """A scanner over what was written, as if a client had sent it."""
    framer = Framer(10_000_000)
    framer.feed(written + b"\r\n")
    while not isinstance(event := framer.next(), Line):
        assert isinstance(event, LiteralOffered)
        framer.accept()
    return Scanner(event, utf8)


STRINGS = [
    (b"", b'""'),
    (b"fred", b'"fred"'),
    (b'say "x"\\', b'"say \\"x\\"\\\\"'),
    (b"a\r\nb", b"{4}\r\na\r\nb"),
    (b"a\nb", b"{3}\r\na\nb"),
    (b"\xe4", b"{1}\r\n\xe4"),
    (b"\0", b"{1}\r\n\0"),
    (b"\t\x7f", b'"\t\x7f"'),
    (b"x" * 1_000, b'"' + b"x" * 1_000 + b'"'),
    (b"x" * 1_001, b"{1001}\r\n" + b"x" * 1_001),
]


@pytest.mark.parametrize(("data", "written"), STRINGS)
def test_a_string_is_quoted_where_it_can_be(data, written):
    assert writer.string(data) == written
    assert writer.nstring(data) == written


def test_nil_is_no_string():
    assert writer.nstring(None) == b"NIL"
    assert writer.nstring(b"NIL") == b'"NIL"'
    assert writer.astring(b"nil") == b'"nil"'


@pytest.mark.parametrize(
    ("data", "written"),
    [(b"fred", b"fred"), (b"", b'""'), (b"a b", b'"a b"'), (b"a(b", b'"a(b"'), (b"a\n", b"{2}\r\na\n"), (b"%", b'"%"')],
)
def test_an_astring_is_bare_where_nobody_can_mistake_it(data, written):
    assert writer.astring(data) == written


def test_a_quoted_string_holds_no_line_end():
    assert writer.quoted("ä") == '"ä"'.encode()
    for octets in (b"a\r", b"a\n", b"a\0"):
        with pytest.raises(ValueError, match="line end"):
            writer.quoted(octets)


@pytest.mark.parametrize(
    ("name", "plain", "utf8"),
    [
        ("INBOX", b"INBOX", b"INBOX"),
        ("a b", b'"a b"', b'"a b"'),
        ("R&D", b'"R&-D"', b'"R&D"'),
        ("Entwürfe", b'"Entw&APw-rfe"', '"Entwürfe"'.encode()),
        ('"ä\\', b'"\\"&AOQ-\\\\"', '"\\"ä\\\\"'.encode()),
        ("", b'""', b'""'),
        ("ä\n", b'"&AOQACg-"', "{3}\r\nä\n".encode()),
    ],
)
def test_a_mailbox_name_is_spelled_for_the_client(name, plain, utf8):
    assert writer.mailbox(name, utf8=False) == plain
    assert writer.mailbox(name, utf8=True) == utf8


def test_flags_are_sorted_the_system_first():
    assert (
        writer.flag_list(["b", "\\Draft", "a", "\\Recent", "\\Answered", "\\*"])
        == b"(\\Answered \\Draft \\Recent \\* a b)"
    )
    assert writer.flag_list(frozenset()) == b"()"


def test_a_keyword_that_is_no_atom_is_left_out():
    assert writer.flag_list(["a b", "ok", "ä", "x\r\n* BYE", "", "\\", "(", "a]"]) == b"(ok)"


@pytest.mark.parametrize(
    ("epoch", "written"),
    [
        (760104000, b'"01-Feb-1994 12:00:00 +0000"'),
        (0, b'"01-Jan-1970 00:00:00 +0000"'),
        (-1, b'"31-Dec-1969 23:59:59 +0000"'),
        (2**63, b'"31-Dec-9999 23:59:59 +0000"'),
        (-(2**63), b'"01-Jan-0001 00:00:00 +0000"'),
    ],
)
def test_a_moment_is_written_in_utc(epoch, written):
    assert writer.date_time(epoch) == written


def test_items_stand_in_parentheses():
    assert writer.paren() == b"()"
    assert writer.paren(b"a", b"(b)") == b"(a (b))"


clean = st.binary().filter(lambda data: 0 not in data)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
atoms = st.text(alphabet="abXY$.-_1", min_size=1)


@given(clean)
def test_strings_come_back(data):
    assert read(writer.string(data)).string() == data
    assert read(writer.nstring(data)).nstring() == data
    assert read(writer.astring(data)).astring() == data
    assert read(writer.literal(data)).string() == data


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n")))
def test_quoted_strings_come_back(text):
    assert read(writer.quoted(text)).string() == text.encode()


@given(names, st.booleans())
def test_mailbox_names_come_back(text, utf8):
    name = decode_wire(canonical(text).encode(), utf8=True)
    assert read(writer.mailbox(name, utf8), utf8).mailbox() == name


@given(st.frozensets(atoms | st.sampled_from(["\\Seen", "\\Draft", "\\Recent"])))
def test_flags_come_back(flags):
    assert frozenset(read(writer.flag_list(flags)).flag_list()) == flags


@given(st.integers(-62_135_596_800, writer.LAST_SECOND))
def test_moments_come_back(epoch):
    assert read(writer.date_time(epoch)).date_time() == epoch


@given(st.lists(clean, min_size=1))
def test_lists_come_back(items):
    scanner = read(writer.paren(*map(writer.astring, items)))
    assert scanner.parenthesized(scanner.astring) == items
    assert scanner.at_end()


def test_writing_is_quick():
    began = time.perf_counter()
    flags = frozenset(["\\Seen", "Work"])
    for number in range(100_000):
        writer.flag_list(flags)
        writer.date_time(number)
        writer.string(b"Re: the weather in the house")
    assert time.perf_counter() - began < 5
