"""What holds on any octets: nothing raises, offsets nest, the cost is linear in the octets."""

import importlib
import pkgutil
import re
import sys
from re import _constants as ops
from re import _parser as parser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import imapd.mime
from imapd.mailstore.render import describe
from imapd.mime.parser import parse
from imapd.mime.text import body_texts, header_texts
from tests.fuzz import fuzz_mime
from tests.mime.mails import mails
from tests.mime.promises import check

MAILS = dict(mails())

PIECES = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\xff\xfe", b"--a", b"--a--", b"--ab", b"--b", b"\r\n--a\r\n",
    b"\r\n--b\r\n", b"\r\n--a--\r\n", b"Content-Type: ", b"multipart/mixed; boundary=a\r\n", b"multipart/digest; boundary=b\r\n",
    b"message/rfc822\r\n", b"message/global", b'; boundary="a"', b"; name*0*=utf-8''%ff; name*1=", b"text/html; charset=idna",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Disposition: attachment; filename=(", b"Content-Language: a,b\r\n",
    b"From: ", b"To: ", b"Subject: ", b"Date: 1 Feb 2024 10:00 +9999\r\n", b"a@b", b"<", b">", b",", b";", b":", b"(", b")", b'"',
    b"\\", b"@", b"[", b"=?utf-8?B?", b"=?x?Q?=C3?=", b"?=", b"&#9", b"=", b"body text\r\n",
]  # fmt: skip

octets = st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(octets)
def test_any_octets_are_read(message):
    check(message)


@pytest.mark.parametrize("name", MAILS)
def test_the_promises_hold_for_real_mail(name):
    check(MAILS[name])


# The cost, counted: lines of our code that run, and octets of the message that are searched, counted or copied.


class Counted(bytes):
    """A message that counts how many of its octets are looked at."""

    looked_at = 0

    def find(self, needle, start=0, stop=None):
        stop = len(self) if stop is None else min(stop, len(self))
        hit = super().find(needle, start, stop)
        Counted.looked_at += max((stop if hit < 0 else hit + len(needle)) - start, 0)
        return hit

    def count(self, needle, start=0, stop=None):
        stop = len(self) if stop is None else min(stop, len(self))
        Counted.looked_at += max(stop - start, 0)
        return super().count(needle, start, stop)

    def __getitem__(self, key):
        found = super().__getitem__(key)
        Counted.looked_at += len(found) if isinstance(found, bytes) else 1
        return found


def cost(message):
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if "imapd" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines += 1
        return trace

    message = Counted(message)
    Counted.looked_at = 0
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        root = parse(message)
        describe(message)
        for _ in body_texts(root, message):
            pass
        for _ in header_texts(root.header(message)):
            pass
    finally:
        sys.settrace(before)
    return lines, Counted.looked_at


def mixed(body):
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body


HOSTILE = {
    "parts": lambda n: mixed(b"--b\r\n\r\nx\r\n" * n),
    "parts without empty lines": lambda n: mixed(b"--b\r\nA: b\r\n" * n) + b"\r\n\r\n",
    "delimiters and nothing else": lambda n: mixed(b"--b\r\n" * n),
    "lines that look like delimiters": lambda n: mixed(b"--c\r\n--bb\r\n" * n),
    "delimiters begun and not ended": lambda n: mixed(b"\n--b x" * n),
    "close delimiters": lambda n: mixed(b"--b\r\n\r\nx\r\n--b--\r\n" * n),
    "multiparts in multiparts": lambda n: b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (k, k) for k in range(n)),
    "multiparts side by side": lambda n: mixed(b"--b\r\nContent-Type: multipart/mixed; boundary=bc\r\n\r\n--bc\r\n\r\nx\r\n" * n),
    "multiparts of one boundary": lambda n: mixed(b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * n),
    "messages in messages": lambda n: b"Content-Type: message/rfc822\r\n\r\n" * n,
    "messages side by side": lambda n: mixed(b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ny\r\n" * n),
    "deep, and then long": lambda n: b"Content-Type: message/rfc822\r\n\r\n" * 90 + b"\r\n" + b"line\r\n" * n,
    "header lines": lambda n: b"A: b\r\n" * n,
    "folded lines": lambda n: b"Subject: a\r\n" + b" b\r\n" * n,
    "lines that are no fields": lambda n: mixed(b"--b\r\n" + b"none\r\n" * n + b"--b--"),
    "address fields": lambda n: b"To: a@b\r\n" * n,
    "addresses": lambda n: b"To: " + b"a@b, " * n,
    "addresses with comments": lambda n: b"To: " + b"a@b (c), " * n,
    "angles": lambda n: b"To: " + b"<" * n + b"\r\nCc: " + b"<>" * n,
    "ats": lambda n: b"To: " + b"@" * n + b"\r\nCc: a" + b"@a. " * n,
    "brackets": lambda n: b"To: " + b"a@[" * n,
    "words": lambda n: b"To: " + b"a . " * n + b"@b",
    "groups": lambda n: b"To: " + b"a:" * n + b";" * n,
    "commas": lambda n: b"To: " + b",;" * n,
    "routes": lambda n: b"To: <" + b"@a," * n + b"b@c>",
    "comments in comments": lambda n: b"To: " + b"(" * n + b"\r\nDate: " + b"(" * n,
    "comments": lambda n: b"To: " + b"()" * n + b"\r\nContent-Type: a/b " + b"()" * n,
    "quotes": lambda n: b"To: " + b'"' * n + b'\r\nCc: "' + b'\\"' * n,
    "parameters": lambda n: b"Content-Type: a/b" + b"; c*0*=d" * n,
    "odd parameters": lambda n: b"Content-Type: a/b" + b"; c (d" * n + b"\r\nContent-Disposition: a" + b' b="\\' * n,
    "encoded words": lambda n: b"Subject: " + b"=?utf-8?Q?a?= " * n,
    "encoded words begun": lambda n: b"Subject: " + b"=?a?q?" * n + b"\r\nTo: " + b"=?" * n,
    "tags": lambda n: b"Content-Type: text/html\r\n\r\n" + b"<" * n + b"&" * n,
    "broken base64": lambda n: b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"A=" * n,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_twice_the_octets_cost_twice_the_work(name):
    message = HOSTILE[name]
    costs = [cost(message(size)) for size in (400, 800, 1_600)]
    for (lines, octets), (more_lines, more_octets) in zip(costs, costs[1:], strict=False):
        assert more_lines <= 2.2 * lines + 100
        assert more_octets <= 2.2 * octets + 1_000


def repetitions(pattern, inside=False):
    """Whether a repetition that can try again lies in one that can try again."""
    for op, argument in pattern:
        again = op in (ops.MAX_REPEAT, ops.MIN_REPEAT) and argument[1] not in (0, 1)
        if again and inside:
            return True
        for inner in inner_patterns(argument):
            if repetitions(inner, inside or again):
                return True
    return False


def inner_patterns(argument):
    if isinstance(argument, parser.SubPattern):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for item in argument:
            yield from inner_patterns(item)


def test_no_expression_repeats_a_repetition():
    found = []
    for module in pkgutil.iter_modules(imapd.mime.__path__):
        for name, value in vars(importlib.import_module(f"imapd.mime.{module.name}")).items():
            if isinstance(value, re.Pattern):
                found.append(name)
                assert not repetitions(parser.parse(value.pattern, value.flags & ~re.UNICODE)), name
    assert len(found) > 10
    assert repetitions(parser.parse(rb"(a+b?)*c")) and not repetitions(parser.parse(rb"(?:a++b)*+"))


def test_mail_that_was_changed_at_random_is_read():
    assert fuzz_mime.FUZZER.run(seed=1, iterations=300) == 300
