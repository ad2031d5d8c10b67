"""What reading a mail promises on any octets; used by the tests, by hypothesis and by the fuzzer."""

import datetime
import itertools

from imapd.mailstore.render import describe, envelope_of
from imapd.mime.header import parse_date, select, split
from imapd.mime.parser import MAX_DEPTH, MAX_PARTS, parse
from imapd.mime.parts import find, walk
from imapd.mime.text import UnknownEncoding, body_texts, decode_transfer, header_texts
from tests.mailstore.fetchtexts import check_body, check_envelope, read


def check(message):
    """Read a message in every way there is; raises AssertionError where a promise is broken."""
    root = parse(message)
    check_tree(root, message)
    check_sections(root, message)
    check_texts(root, message)
    check_header(root.header(message))
    description = describe(message)
    check_envelope(read(description.envelope))
    check_body(read(description.body), extended=False)
    check_body(read(description.bodystructure), extended=True)
    assert description.envelope == envelope_of(root.header(message))
    return root


def check_tree(root, message):
    """Offsets nest, and the limits hold."""
    assert (root.header_start, root.end) == (0, len(message))
    depths = {id(root): 0}
    for part in walk(root):
        assert 0 <= part.header_start <= part.body_start <= part.end <= len(message)
        assert depths[id(part)] <= MAX_DEPTH
        at = part.body_start
        for child in part.children:
            assert at <= child.header_start and child.end <= part.end
            at = child.end
            depths[id(child)] = depths[id(part)] + 1
        if part.embedded is not None:
            assert (part.embedded.header_start, part.embedded.end) == (part.body_start, part.end)
            assert part.children == []
            depths[id(part.embedded)] = depths[id(part)] + 1
        if part.embedded is not None or (part.type.lower() == b"text" and not part.children):
            assert part.lines == part.body(message).count(b"\n")
        assert part.type and part.subtype and part.encoding
    assert len(depths) <= MAX_PARTS


def check_sections(root, message):
    """What find() finds lies in the message, for every part that has a number."""
    assert find(root, ()) == (0, len(message))
    start, length = find(root, (), "HEADER")
    assert find(root, (), "TEXT") == (start + length, len(message) - length)
    for path in itertools.chain(itertools.product((1, 2, 3), repeat=1), itertools.product((1, 2), repeat=3)):
        for text in (None, "HEADER", "TEXT", "MIME"):
            found = find(root, path, text)
            assert found is None or 0 <= found[0] <= found[0] + found[1] <= len(message)


def check_texts(root, message):
    for text in body_texts(root, message):
        text.encode("utf-8", "surrogatepass")
    for part in walk(root):
        try:
            assert isinstance(decode_transfer(part.body(message), part.encoding), bytes)
        except UnknownEncoding:
            pass


def check_header(header):
    fields = split(header)
    assert header.startswith(b"".join(field.raw for field in fields))
    names = [field.name for field in fields[::2]]
    kept = select(header, names).removesuffix(b"\r\n")
    others = select(header, names, others=True).removesuffix(b"\r\n")
    assert len(kept) + len(others) in range(len(header) - 2, len(header) + 5)
    for name, text in header_texts(header):
        assert name == name.lower() and isinstance(text, str)
    for field in fields:
        moment = parse_date(field.value)
        assert moment is None or isinstance(moment, datetime.datetime)
