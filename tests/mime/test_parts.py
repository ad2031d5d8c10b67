"""The tree of parts: places, broken mail, limits, and the sections of BODY[...]."""

import pytest

from imapd.mime.parser import MAX_DEPTH, MAX_PARTS, parse
from imapd.mime.parts import find, walk
from tests.mime.mails import crlf
from tests.mime.promises import check_tree


def outline(message):
    """The tree as nested tuples: (type, body of a leaf or the inner parts)."""
    return shape(parse(message), message)


def shape(part, message):
    kind = part.content_type.decode()
    if part.embedded is not None:
        return kind, [shape(part.embedded, message)]
    if part.children:
        return kind, [shape(child, message) for child in part.children]
    return kind, part.body(message)


def multipart(boundary, *lines, subtype="mixed"):
    text = [f'Content-Type: multipart/{subtype}; boundary="{boundary}"', "", *lines]
    return "\r\n".join(text).encode("latin-1")


TEXT = "text/plain"
MIXED = "multipart/mixed"

# The example of RFC 3501 section 6.4.5.
COMPLEX = crlf(b"""\
Subject: complex
Content-Type: multipart/mixed; boundary=a

preamble
--a

one
--a
Content-Type: application/octet-stream

two
--a
Content-Type: message/rfc822

Subject: three
Content-Type: multipart/mixed; boundary=b

--b

three.one
--b
Content-Type: application/octet-stream

three.two
--b--
--a
Content-Type: multipart/mixed; boundary=c

--c
Content-Type: image/gif
Content-ID: <gif>

four.one
--c
Content-Type: message/rfc822

Subject: four.two
Content-Type: multipart/mixed; boundary=d

--d

four.two.one
--d
Content-Type: multipart/alternative; boundary=e

--e

four.two.two.one
--e
Content-Type: text/richtext

four.two.two.two
--e--
--d--
--c--
--a--
epilogue
""")


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ((), "HEADER", b"Subject: complex\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"),
        ((1,), None, b"one"),
        ((1,), "MIME", b"\r\n"),
        ((2,), None, b"two"),
        ((2,), "MIME", b"Content-Type: application/octet-stream\r\n\r\n"),
        ((3,), "MIME", b"Content-Type: message/rfc822\r\n\r\n"),
        ((3,), "HEADER", b"Subject: three\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"),
        ((3, 1), None, b"three.one"),
        ((3, 2), None, b"three.two"),
        ((4, 1), None, b"four.one"),
        ((4, 1), "MIME", b"Content-Type: image/gif\r\nContent-ID: <gif>\r\n\r\n"),
        ((4, 2), "HEADER", b"Subject: four.two\r\nContent-Type: multipart/mixed; boundary=d\r\n\r\n"),
        ((4, 2, 1), None, b"four.two.one"),
        ((4, 2, 2, 1), None, b"four.two.two.one"),
        ((4, 2, 2, 2), None, b"four.two.two.two"),
        ((4, 2, 2, 2), "MIME", b"Content-Type: text/richtext\r\n\r\n"),
        ((), "MIME", None),
        ((0,), None, None),
        ((5,), None, None),
        ((1, 1), None, None),
        ((1,), "HEADER", None),
        ((1,), "TEXT", None),
        ((4,), "HEADER", None),
        ((4, 2, 3), None, None),
        ((4, 2, 2, 2, 1), None, None),
        ((4, 0), None, None),
    ],
)
def test_sections_of_the_complex_message_of_the_rfc(path, text, expected):
    found = find(parse(COMPLEX), path, text)
    assert (found and COMPLEX[found[0] : found[0] + found[1]]) == expected


def test_whole_bodies_of_the_complex_message():
    root = parse(COMPLEX)

    def octets(path, text=None):
        start, length = find(root, path, text)
        return COMPLEX[start : start + length]

    assert octets(()) == COMPLEX
    assert octets((), "TEXT").startswith(b"preamble\r\n") and octets((), "TEXT").endswith(b"--a--\r\nepilogue\r\n")
    assert octets((3,)) == octets((3,), "HEADER") + octets((3,), "TEXT")
    assert octets((3,), "TEXT").endswith(b"--b--")
    assert octets((4,)).startswith(b"--c\r\n") and octets((4,)).endswith(b"--c--")


def test_a_message_without_parts_has_a_part_one():
    message = b"Subject: x\r\n\r\nbody\r\n"
    root = parse(message)
    assert find(root, (1,)) == find(root, (), "TEXT") == (14, 6)
    assert find(root, (1,), "MIME") == (0, 14)
    assert find(root, (1, 1)) is None
    assert find(root, (1,), "TEXT") is None


def test_a_message_that_is_a_message_has_its_parts_below_one():
    message = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody\r\n"
    root = parse(message)
    assert find(root, (1,)) == (32, len(message) - 32)
    assert find(root, (1,), "HEADER") == (32, 15)
    assert find(root, (1,), "TEXT") == find(root, (1, 1)) == (47, 6)
    assert find(root, (1, 1), "MIME") == (32, 15)
    assert find(root, (1, 2)) is None


BROKEN = {
    "no octets": (b"", (TEXT, b"")),
    "an empty line": (b"\r\n", (TEXT, b"")),
    "no header": (b"\r\nbody", (TEXT, b"body")),
    "no empty line": (b"Subject: x", (TEXT, b"")),
    "line ends of Unix": (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n",
        (MIXED, [(TEXT, b"one")]),
    ),
    "no Content-Type": (b"A: b\r\n\r\nx", (TEXT, b"x")),
    "an empty Content-Type": (b"Content-Type:\r\n\r\nx", (TEXT, b"x")),
    "a Content-Type without sense": (b"Content-Type: /\r\n\r\nx", (TEXT, b"x")),
    "a Content-Type of two slashes": (b"Content-Type: a/b/c\r\n\r\nx", (TEXT, b"x")),
    "a type without subtype": (b"Content-Type: application\r\n\r\nx", ("application/octet-stream", b"x")),
    "two Content-Types": (b"Content-Type: a/b\r\nContent-Type: c/d\r\n\r\nx", ("a/b", b"x")),
    "a header line without colon": (b"nothing\r\nContent-Type: a/b\r\n\r\nx", ("a/b", b"x")),
    "a bare CR in the header": (b"A: b\rContent-Type: a/b\r\n\r\nx", (TEXT, b"x")),
    "NUL and eight bits": (b"A\x00: \xff\r\n\r\n\x00\xff", (TEXT, b"\x00\xff")),
    "no boundary": (b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx", (MIXED, [(TEXT, b"--b\r\n\r\nx")])),
    "an empty boundary": (multipart("", "--", "", "x"), (MIXED, [(TEXT, b"--\r\n\r\nx")])),
    "a boundary that never comes": (multipart("b", "--c", "", "x"), (MIXED, [(TEXT, b"--c\r\n\r\nx")])),
    "a close delimiter alone": (multipart("b", "--b--", ""), (MIXED, [(TEXT, b"--b--\r\n")])),
    "no close delimiter": (multipart("b", "--b", "", "x", "--b", "", "y\r\n"), (MIXED, [(TEXT, b"x"), (TEXT, b"y\r\n")])),
    "the end in a delimiter": (multipart("b", "--b", "", "x", "--b"), (MIXED, [(TEXT, b"x"), (TEXT, b"")])),
    "the end in half a delimiter": (multipart("bc", "--bc", "", "x", "--b"), (MIXED, [(TEXT, b"x\r\n--b")])),
    "no line before the delimiter": (multipart("b", "--b", "--b", "", "--b--"), (MIXED, [(TEXT, b""), (TEXT, b"")])),
    "no empty line in a part": (
        multipart("b", "--b", "Content-Type: a/b", "--b", "", "x", "--b--"),
        (MIXED, [("a/b", b""), (TEXT, b"x")]),
    ),
    "no empty line before a body": (
        multipart("b", "--b", "Content-Type: a/b", "Qk9EWQ==", "", "--b", "Hello World!", "--b--"),
        (MIXED, [("a/b", b"Qk9EWQ==\r\n"), (TEXT, b"Hello World!")]),
    ),
    "blanks after the delimiter": (multipart("b", "--b \t", "", "x", "--b-- ", "e"), (MIXED, [(TEXT, b"x")])),
    "text after the delimiter": (multipart("b", "--b", "", "--b x", "--bb", " --b", "--b--"), (MIXED, [(TEXT, b"--b x\r\n--bb\r\n --b")])),
    "delimiters in the epilogue": (multipart("b", "--b", "", "x", "--b--", "--b", "", "y"), (MIXED, [(TEXT, b"x")])),
    "one boundary begins with the other": (
        multipart("b", "--b", 'Content-Type: multipart/mixed; boundary="b-"', "", "--b-", "", "x", "--b---", "--b", "", "y", "--b--"),
        (MIXED, [(MIXED, [(TEXT, b"x")]), (TEXT, b"y")]),
    ),
    "an inner multipart not closed": (
        multipart("b", "--b", "Content-Type: multipart/mixed; boundary=c", "", "--c", "", "x", "--b", "", "y", "--b--"),
        (MIXED, [(MIXED, [(TEXT, b"x")]), (TEXT, b"y")]),
    ),
    "one boundary for two multiparts": (
        multipart("b", "--b", "Content-Type: multipart/mixed; boundary=b", "", "--b", "", "x", "--b--", "--b", "", "y", "--b--"),
        (MIXED, [(MIXED, [(TEXT, b"x")]), (TEXT, b"y")]),
    ),
    "an inner multipart without parts": (
        multipart("b", "--b", "Content-Type: multipart/mixed; boundary=c", "", "--b--"),
        (MIXED, [(MIXED, [(TEXT, b"")])]),
    ),
    "a boundary that is not quoted": (
        b"Content-Type: multipart/mixed; boundary=----=_Part:1?\r\n\r\n------=_Part:1?\r\n\r\nx",
        (MIXED, [(TEXT, b"x")]),
    ),
    "a digest": (
        multipart("b", "--b", "", "Subject: x", "", "y", "--b", "Content-Type: text/plain", "", "z", "--b--", subtype="digest"),
        ("multipart/digest", [("message/rfc822", [(TEXT, b"y")]), (TEXT, b"z")]),
    ),
    "a message in base64": (
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQTogYg0KDQp4",
        ("message/rfc822", b"QTogYg0KDQp4"),
    ),
    "an international message": (
        b"Content-Type: message/global\r\n\r\nSubject: \xc3\xa4\r\n\r\nx",
        ("message/global", [(TEXT, b"x")]),
    ),
    "an empty message in a message": (b"Content-Type: message/rfc822\r\n\r\n", ("message/rfc822", [(TEXT, b"")])),
    "a message cut off by a delimiter": (
        multipart("b", "--b", "Content-Type: message/rfc822", "", "Subject: x", "--b--"),
        (MIXED, [("message/rfc822", [(TEXT, b"")])]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_mail_is_read_as_far_as_it_makes_sense(name):
    message, expected = BROKEN[name]
    assert outline(message) == expected
    check_tree(parse(message), message)


def test_a_part_tells_what_its_header_says():
    message = crlf(b"""\
Content-Type: Image/PNG; Name="a b.png"; X=y
content-transfer-encoding: BASE64 (what else)
Content-ID: <id@x>
Content-Description: the
 gate
Content-Disposition: attachment; filename=x.png
Content-Language: de, en (English)
Content-Location: http://x/y
Content-MD5: abc==

QUJD
""")
    part = parse(message)
    assert (part.type, part.subtype, part.content_type) == (b"Image", b"PNG", b"image/png")
    assert part.params == ((b"Name", b"a b.png"), (b"X", b"y"))
    assert part.parameter(b"name") == b"a b.png" and part.parameter(b"y") is None
    assert (part.encoding, part.id, part.description) == (b"BASE64", b"<id@x>", b"the gate")
    assert part.disposition == (b"attachment", ((b"filename", b"x.png"),))
    assert (part.language, part.location, part.md5) == ((b"de", b"en"), b"http://x/y", b"abc==")
    assert (part.body(message), part.size, part.lines) == (b"QUJD\r\n", 6, 0)


def test_what_a_header_does_not_say_has_defaults():
    part = parse(b"\r\none\r\ntwo")
    assert (part.type, part.subtype, part.params) == (b"text", b"plain", ((b"charset", b"us-ascii"),))
    assert (part.encoding, part.lines, part.size) == (b"7bit", 1, 8)
    assert part.id is part.description is part.disposition is part.language is part.location is part.md5 is None
    assert parse(b"Content-Type: nonsense; name=x\r\n\r\n").params == ((b"name", b"x"),)
    assert parse(b"Content-Disposition: ;\r\nContent-Language: ,\r\n\r\n").disposition is None


def test_lines_of_embedded_messages_are_counted():
    root = parse(COMPLEX)
    message = root.children[2]
    assert message.lines == message.body(COMPLEX).count(b"\n") == 10
    assert root.children[3].children[1].lines == 17


def test_a_tree_has_at_most_ten_thousand_parts():
    message = multipart("b", *("--b", "", "x") * (MAX_PARTS + 500), "--b--")
    root = parse(message)
    assert sum(1 for _ in walk(root)) == MAX_PARTS
    assert root.children[0].size == 1 and root.children[-1].end == len(message)


@pytest.mark.parametrize("kind", ["multipart", "message"])
def test_a_tree_is_at_most_a_hundred_levels_deep(kind):
    one = b"Content-Type: message/rfc822\r\n\r\n"
    if kind == "multipart":
        message = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(10_000)
        )
    else:
        message = one * 10_000
    root = parse(message)
    assert sum(1 for _ in walk(root)) == MAX_DEPTH + 1
    check_tree(root, message)


def test_others_may_run_while_a_large_message_is_read():
    breaths = []
    parse(multipart("b", "--b", "", "x" * 5_000_000, "--b--"), lambda: breaths.append(1))
    assert len(breaths) >= 5
