"""The scanner: what each method reads, what it refuses, and that only BadSyntax ever comes out."""

import time
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.model.errors import BadSyntax
from imapd.model.sets import SequenceSet
from imapd.wire.framer import Framer, Line, Literal, LiteralOffered
from imapd.wire.scanner import ITEMS, LONGEST_FLAG, NESTING, Scanner
from imapd.wire.section import SectionSpec

from .readers import READERS

READ = [
    ("tag", b"a1", "a1"),
    ("tag", b"A.b]-7", "A.b]-7"),
    ("command_name", b"noop", "NOOP"),
    ("keyword", b"body.peek", "BODY.PEEK"),
    ("keyword", b"+flags.silent", "+FLAGS.SILENT"),
    ("atom", b"a-b.c[", b"a-b.c["),
    ("astring", b"fred", b"fred"),
    ("astring", b"a]b~", b"a]b~"),
    ("astring", b'""', b""),
    ("astring", b'"a b"', b"a b"),
    ("astring", b'"\\"\\\\"', b'"\\'),
    ("astring", '"käse"'.encode(), "käse".encode()),
    ("astring", b"NIL", b"NIL"),
    ("string", b'"\xff"', b"\xff"),
    ("nstring", b"nil", None),
    ("nstring", b'"NIL"', b"NIL"),
    ("number", b"0", 0),
    ("number", b"007", 7),
    ("number", b"4294967295", 2**32 - 1),
    ("number", b"0" * 5_000 + b"1", 1),
    ("nz_number", b"1", 1),
    ("number64", b"9223372036854775807", 2**63 - 1),
    ("nz_number64", b"4294967296", 2**32),
    ("mailbox", b"inbox", "INBOX"),
    ("mailbox", b'"Entw&APw-rfe"', "Entwürfe"),
    ("mailbox", '"Entwürfe"'.encode(), "Entwürfe"),
    ("list_mailbox", b"a/%*]", "a/%*]"),
    ("list_mailbox", b'"inbox *"', "inbox *"),
    ("list_mailbox", b'""', ""),
    ("flag", b"\\sEEn", "\\Seen"),
    ("flag", b"$Forwarded", "$Forwarded"),
    ("flag_list", b"()", ()),
    ("flag_list", b"(\\SEEN Work)", ("\\Seen", "Work")),
    ("flags_lenient", b"(\\SEEN Work)", ("\\Seen", "Work")),
    ("flags_lenient", b"\\SEEN Work", ("\\Seen", "Work")),
    ("sequence_set", b"1:*,5", SequenceSet(((1, None), (5, 5)))),
    ("sequence_set", b"$", SequenceSet(saved=True)),
    ("date", b"1-Feb-1994", date(1994, 2, 1)),
    ("date", b'"29-FEB-2024"', date(2024, 2, 29)),
    ("date_time", b'"01-Feb-1994 12:00:00 +0000"', 760104000),
    ("date_time", b'" 1-Feb-1994 13:00:00 +0100"', 760104000),
    ("date_time", b'"1-feb-1994 03:30:00 -0830"', 760104000),
    ("date_time", b'"01-Jan-1970 00:00:00 +0000"', 0),
    ("date_time", b'"31-Dec-1998 23:59:60 +0000"', 915148800),
    ("section", b"[]", SectionSpec()),
    ("section", b"[1.2]", SectionSpec((1, 2))),
    ("section", b"[header]", SectionSpec((), "HEADER")),
    ("section", b"[1.mime]", SectionSpec((1,), "MIME")),
    ("section", b"[2.1.TEXT]", SectionSpec((2, 1), "TEXT")),
    ("section", b'[HEADER.FIELDS (Date "To")]', SectionSpec((), "HEADER.FIELDS", (b"Date", b"To"))),
    ("section", b"[3.HEADER.FIELDS.NOT (x)]", SectionSpec((3,), "HEADER.FIELDS.NOT", (b"x",))),
    ("section_binary", b"[]", ()),
    ("section_binary", b"[1.2]", (1, 2)),
    ("partial", b"<0.1024>", (0, 1024)),
    ("partial", b"", None),
    ("rest", b"any ( thing", b"any ( thing"),
    ("rest", b"", b""),
]

REFUSED = [
    *[
        (reader, octets)
        for reader in ("tag", "atom", "astring", "keyword")
        for octets in (b"", b" ", b"(", b"\0", b"%")
    ],
    *[(reader, b"\xc3\xa4") for reader in ("tag", "atom", "astring", "keyword", "flag", "list_mailbox")],
    ("tag", b"+"),
    ("string", b"fred"),
    ("string", b'"open'),
    ("string", b'"a\\'),
    ("string", b'"a\\b"'),
    ("string", b'"a\0b"'),
    ("string", b'"a\rb"'),
    ("string", b"{5}"),
    ("string", b"{-1}"),
    ("nstring", b"nilly"),
    ("number", b"-1"),
    ("number", b"4294967296"),
    ("number", b"9" * 5_000),
    ("number", "٣".encode()),
    ("nz_number", b"0"),
    ("number64", b"9223372036854775808"),
    ("nz_number64", b"00"),
    ("mailbox", b"&Jjo!"),
    ("mailbox", b'"a\xff"'),
    ("list_mailbox", b"&AGE-*"),
    ("flag", b"\\"),
    ("flag", b"\\*"),
    ("flag_list", b"\\Seen"),
    ("flag_list", b"(\\Seen"),
    ("flag_list", b"(\\Seen  Work)"),
    ("flag_list", b"((\\Seen))"),
    ("flags_lenient", b""),
    ("sequence_set", b"0"),
    ("sequence_set", b"1:"),
    ("sequence_set", b"4294967296"),
    ("sequence_set", b"x"),
    ("date", b"31-Feb-1994"),
    ("date", b"1-Foo-1994"),
    ("date", b"1-Feb-94"),
    ("date", b"1-Feb-0000"),
    ("date", b'"1-Feb-1994'),
    ("date", b"0-Feb-1994"),
    ("date_time", b'"31-Feb-1994 12:00:00 +0000"'),
    ("date_time", b'"01-Feb-1994 24:00:00 +0000"'),
    ("date_time", b'"01-Feb-1994 12:00:61 +0000"'),
    ("date_time", b'"01-Feb-1994 12:00:00 +2400"'),
    ("date_time", b'"01-Feb-1994 12:00:00 +0060"'),
    ("date_time", b'"01-Feb-1994 12:00:00"'),
    ("date_time", b"01-Feb-1994"),
    ("section", b"[1.]"),
    ("section", b"[0]"),
    ("section", b"[MIME]"),
    ("section", b"[HEADER.FIELDS]"),
    ("section", b"[HEADER.FIELDS ()]"),
    ("section", b"[BODY]"),
    ("section", b"[1"),
    ("section", b"1"),
    ("section_binary", b"[1.]"),
    ("section_binary", b"[TEXT]"),
    ("partial", b"<1>"),
    ("partial", b"<0.0>"),
    ("partial", b"<-1.5>"),
    ("rest", b"a\0"),
    ("literal", b"x"),
    ("literal", b""),
]


def scan(text, **options):
    return Scanner(Line((text,)), **options)


@pytest.mark.parametrize(("reader", "text", "value"), READ)
def test_a_word_is_read_to_its_end(reader, text, value):
    scanner = scan(text)
    assert getattr(scanner, reader)() == value
    assert scanner.at_end() and scanner.peek() == b""
    scanner.end()


@pytest.mark.parametrize(("reader", "text"), REFUSED)
def test_what_is_no_such_word_is_refused(reader, text):
    with pytest.raises(BadSyntax):
        getattr(scan(text), reader)()


@pytest.mark.parametrize(
    ("reader", "text", "left"),
    [
        ("keyword", b"BODY[1]", b"[1]"),
        ("keyword", b"BINARY.SIZE[1]", b"[1]"),
        ("atom", b"a b", b" b"),
        ("astring", b"a)", b")"),
        ("sequence_set", b"1:2)", b")"),
        ("section", b"[1]<0.5>", b"<0.5>"),
        ("nstring", b"NIL)", b")"),
        ("flags_lenient", b"(a) b", b" b"),
    ],
)
def test_a_word_ends_where_the_grammar_says(reader, text, left):
    scanner = scan(text)
    getattr(scanner, reader)()
    assert scanner.rest() == left


def test_a_whole_command_is_read_from_left_to_right():
    literal = Literal(4, False, b"pass")
    scanner = Scanner(Line((b"a1 LOGIN fred ", literal, b"")))
    assert scanner.tag() == "a1"
    scanner.sp()
    assert scanner.command_name() == "LOGIN"
    scanner.sp()
    assert scanner.astring() == b"fred"
    scanner.sp()
    assert scanner.peek() == b"{" and not scanner.at_end()
    assert scanner.astring() == b"pass"
    scanner.end()


def test_a_literal_may_stand_inside_parentheses_and_brackets():
    fields = Scanner(Line((b"[HEADER.FIELDS (A ", Literal(1, False, b"B"), b" C)]")))
    assert fields.section() == SectionSpec((), "HEADER.FIELDS", (b"A", b"B", b"C"))
    assert fields.at_end()


def test_literals_follow_one_another():
    scanner = Scanner(Line((b"", Literal(1, False, b"a"), b" ", Literal(1, False, b"b"), b"")))
    assert scanner.string() == b"a"
    scanner.sp()
    assert scanner.nstring() == b"b"
    assert scanner.at_end()


@pytest.mark.parametrize(
    "literal", [Literal(3, True, b"abc"), Literal(3, False, None, object()), Literal(3, False, b"a\0b")]
)
def test_only_append_takes_a_literal8_a_sink_or_nul(literal):
    with pytest.raises(BadSyntax):
        Scanner(Line((b"", literal, b""))).astring()
    assert Scanner(Line((b"", literal, b""))).literal() is literal


def test_the_text_before_a_literal_must_be_read_first():
    with pytest.raises(BadSyntax):
        Scanner(Line((b"x", Literal(1, False, b"a"), b""))).literal()
    with pytest.raises(BadSyntax):
        Scanner(Line((b"x", Literal(1, False, b"a"), b""))).rest()
    with pytest.raises(BadSyntax):
        Scanner(Line((b"", Literal(1, False, b"a"), b""))).end()


def test_in_utf8_an_ampersand_is_a_letter():
    assert scan(b"R&D", utf8=True).mailbox() == "R&D"
    assert scan(b"R&-D").mailbox() == "R&D"


def test_blanks_at_the_end_are_overlooked():
    scan(b"   ").end()
    with pytest.raises(BadSyntax):
        scan(b" x").end()
    with pytest.raises(BadSyntax):
        scan(b"\t").end()


def test_accept_says_whether_it_stepped():
    scanner = scan(b"()x")
    assert scanner.accept(b"(") and not scanner.accept(b"(")
    scanner.expect(b")")
    with pytest.raises(BadSyntax):
        scanner.sp()
    assert scanner.peek() == b"x"


def test_parentheses_hold_items():
    scanner = scan(b"(a b c) ()")
    assert scanner.parenthesized(scanner.atom) == [b"a", b"b", b"c"]
    scanner.sp()
    assert scanner.parenthesized(scanner.atom) == []


def nested(scanner):
    if scanner.peek() == b"(":
        return scanner.parenthesized(lambda: nested(scanner))
    return scanner.atom()


def test_nesting_has_a_limit():
    scan_in = scan(b"(" * NESTING + b"x" + b")" * NESTING)
    nested(scan_in)
    assert scan_in.at_end()
    for depth in (NESTING + 1, 10_000):
        with pytest.raises(BadSyntax, match="deep"):
            nested(scan(b"(" * depth + b"x" + b")" * depth))
    side_by_side = scan(b"(" + b" ".join([b"()"] * ITEMS) + b")")
    assert len(nested(side_by_side)) == ITEMS


def test_a_list_has_a_bound():
    flags = [b"f%d" % number for number in range(ITEMS)]
    assert len(scan(b"(" + b" ".join(flags) + b")").flag_list()) == ITEMS
    assert len(scan(b" ".join(flags)).flags_lenient()) == ITEMS
    for too_many in (b"(" + b" ".join([*flags, b"g"]) + b")", b" ".join([*flags, b"g"])):
        with pytest.raises(BadSyntax, match="1000"):
            scan(too_many).flags_lenient()


def test_a_flag_has_a_bound():
    assert scan(b"f" * LONGEST_FLAG).flag() == "f" * LONGEST_FLAG
    with pytest.raises(BadSyntax):
        scan(b"f" * (LONGEST_FLAG + 1)).flag()


def test_a_path_of_parts_has_a_bound():
    assert scan(b"[" + b"1." * 99 + b"1]").section().parts == (1,) * 100
    with pytest.raises(BadSyntax):
        scan(b"[" + b"1." * 1_000 + b"1]").section()


def test_a_long_line_is_read_with_breaths_between():
    breaths = []
    line = b"(" + b" ".join([b"f%d" % number for number in range(ITEMS)]) + b") " + b"1," * 50_000 + b"1"
    scanner = Scanner(Line((line,)), breathe=lambda: breaths.append(1))
    scanner.flag_list()
    flags = len(breaths)
    scanner.sp()
    scanner.sequence_set()
    assert flags >= 3 and len(breaths) - flags >= 20


def test_every_reader_is_tried():
    public = {name for name in vars(Scanner) if not name.startswith("_")}
    assert public - READERS == {"accept", "at_end", "deeper", "expect", "parenthesized", "peek"}


def test_errors_show_nothing_of_what_was_sent():
    for reader in READERS:
        with pytest.raises(BadSyntax) as error:
            scanner = scan(b"secret\0secret")
            getattr(scanner, reader)()
            scanner.end()
        assert "secret" not in str(error.value)


def test_a_tag_has_a_bound():
    assert scan(b"t" * 255 + b" NOOP").tag() == "t" * 255
    with pytest.raises(BadSyntax):
        scan(b"t" * 256 + b" NOOP").tag()


def test_a_line_of_a_megabyte_takes_no_time():
    began = time.perf_counter()
    megabyte = 1_000_000
    assert len(scan(b'"' + b"x" * megabyte + b'"').string()) == megabyte
    assert len(scan(b'"' + b'\\"' * megabyte + b'"').string()) == megabyte
    for octets in (
        b"(" + b"a " * megabyte + b"a)",
        b'"' + b"x" * megabyte,
        b'"' + b"\\\\" * megabyte,
        b"1," * megabyte,
        b"9" * megabyte,
    ):
        for reader in READERS - {"rest", "tag", "atom", "astring", "keyword", "command_name", "mailbox", "flag"}:
            scanner = scan(octets)
            try:
                getattr(scanner, reader)()
            except BadSyntax:
                continue
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize(
    "spec", ["", "1.2", "HEADER", "1.MIME", "2.TEXT", "HEADER.FIELDS (Date To)", '1.HEADER.FIELDS.NOT ("a b")']
)
def test_a_section_is_spelled_as_it_was_read(spec):
    assert bytes(scan(b"[" + spec.encode() + b"]").section()) == spec.encode()


def test_a_section_is_answered_in_capitals_and_its_fields_as_sent():
    assert bytes(scan(b"[1.header.fields (dAte)]").section()) == b"1.HEADER.FIELDS (dAte)"


WORDS = [
    b"a1",
    b" ",
    b"(",
    b")",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"<",
    b">",
    b"NIL",
    b"1",
    b"0",
    b":",
    b"*",
    b",",
    b"$",
]
WORDS += [
    b"HEADER.FIELDS",
    b"-Feb-",
    b"2024",
    b" 12:00:00 +0000",
    b"&",
    b"&AOQ-",
    b"\0",
    b"\xc3\xa4",
    b"\xff",
    b"\r",
    b".",
]
WORDS += [b"4294967296", b"99999999999999999999", b"\\Seen", b"MIME", b"%"]
pieces = st.lists(st.sampled_from(WORDS) | st.binary(max_size=3), max_size=12).map(b"".join)
literals = st.builds(
    lambda data, binary, in_sink: Literal(len(data), binary, None if in_sink else data, object() if in_sink else None),
    pieces,
    st.booleans(),
    st.booleans(),
)
lines = st.builds(
    lambda first, more: Line((first, *[piece for pair in more for piece in pair])),
    pieces,
    st.lists(st.tuples(literals, pieces), max_size=3),
)


@given(lines, st.lists(st.sampled_from(sorted(READERS)), max_size=12), st.booleans())
def test_only_bad_syntax_comes_out_of_any_line(line, readers, utf8):
    scanner = Scanner(line, utf8)
    for reader in readers:
        try:
            getattr(scanner, reader)()
        except BadSyntax as error:
            assert str(error)
        assert len(scanner.peek()) == (not scanner.at_end())


@given(
    st.binary(max_size=60),
    st.lists(st.integers(1, 9), max_size=20),
    st.lists(st.sampled_from(sorted(READERS)), max_size=6),
)
def test_only_bad_syntax_comes_out_of_any_octets_in_any_pieces(data, cuts, readers):
    framer = Framer(50)
    for cut in [*cuts, len(data)]:
        framer.feed(data[:cut])
        data = data[cut:]
        while (event := framer.next()) is not None:
            if isinstance(event, LiteralOffered):
                framer.accept()
            elif isinstance(event, Line):
                scanner = Scanner(event)
                for reader in readers:
                    try:
                        getattr(scanner, reader)()
                    except BadSyntax:
                        break
