"""How commands and addresses are spelled."""

import pytest

from imapd.delivery.address import meanings
from imapd.delivery.heading import Arrival, heading, unwrapped
from imapd.delivery.words import BadWord, number, path, verb

PATHS = [
    ("TO:<anna@example.org>", "anna@example.org", {}),
    ("to: <anna@example.org>", "anna@example.org", {}),
    ("TO:<>", "", {}),
    ("TO:<anna>", "anna", {}),
    ("TO:<@a.example,@b.example:anna@example.org>", "anna@example.org", {}),
    ('TO:<"anna banana"@example.org>', "anna banana@example.org", {}),
    (r'TO:<"an\"na@x"@example.org>', 'an"na@x@example.org', {}),
    ("TO:<anna@[192.0.2.1]>", "anna@[192.0.2.1]", {}),
    ("TO:<änna@exämple.org> SMTPUTF8", "änna@exämple.org", {"SMTPUTF8": ""}),
    ("TO:<a@b> SIZE=12 body=8BITMIME", "a@b", {"SIZE": "12", "BODY": "8BITMIME"}),
]


@pytest.mark.parametrize(("rest", "address", "parameters"), PATHS)
def test_a_path(rest, address, parameters):
    found = path(rest, "TO")
    assert (found.address, found.parameters) == (address, parameters)


@pytest.mark.parametrize(
    "rest",
    ["", "TO", "TO:", "TO:anna@example.org", "TO:<anna@example.org", "TO:<anna@example.org>x", "FROM:<a@b>", "TO:<@b>",
     "TO:<a b@c>", "TO:<a@b@c>", "TO:<a@b> SIZE=", "TO:<a@b> SIZE=1 SIZE=2", "TO:<a@b> =1", f"TO:<{'a' * 260}@b>"],
)  # fmt: skip
def test_what_is_no_path(rest):
    with pytest.raises(BadWord):
        path(rest, "TO")


@pytest.mark.parametrize("line", [b"NOOP\0", b"NOOP \x07", b"\xff", b"RCPT TO:<a\r@b>"])
def test_octets_that_are_no_command(line):
    with pytest.raises(BadWord):
        verb(line)


def test_numbers():
    assert number("0") == 0 and number("12345678901234567890") == 12345678901234567890
    for text in ("", "-1", "1x", "1" * 21, "\u0661"):
        with pytest.raises(BadWord):
            number(text)


@pytest.mark.parametrize(
    ("address", "separator", "expected"),
    [
        ("anna@example.org", "+", ["anna@example.org|", "anna|"]),
        ("anna@EXAMPLE.org", "+", ["anna@EXAMPLE.org|", "anna|"]),
        ("anna@example.net", "+", ["anna@example.net|"]),
        ("anna", "+", ["anna|"]),
        ("anna+a+b@example.net", "+", ["anna+a+b@example.net|", "anna@example.net|a+b"]),
        ("anna+x@example.org", "+", ["anna+x@example.org|", "anna@example.org|x", "anna+x|", "anna|x"]),
        ("anna+@example.net", "+", ["anna+@example.net|", "anna@example.net|"]),
        ("+x@example.net", "+", ["+x@example.net|"]),
        ("anna+x@example.net", "", ["anna+x@example.net|"]),
        ("anna-x", "-", ["anna-x|", "anna|x"]),
    ],
)
def test_what_an_address_may_mean(address, separator, expected):
    assert [f"{name}|{detail}" for name, detail in meanings(address, separator, {"example.org"})] == expected


def test_the_lines_above_a_message():
    arrival = Arrival("client ([192.0.2.1])", "mx.example.org", "LMTP", "7.1.1", 0)
    text = heading("", "anna@example.org", arrival).decode()
    assert text.startswith(
        "Return-Path: <>\r\nDelivered-To: anna@example.org\r\nReceived: from client ([192.0.2.1])\r\n\tby mx"
    )
    assert " with LMTP id 7.1.1\r\n\tfor <anna@example.org>; Thu, 01 Jan 1970 " in text
    assert heading(None, "anna") == b"Delivered-To: anna\r\n"


@pytest.mark.parametrize(
    ("beginning", "rest", "sender"),
    [
        (b"From a@b Mon Nov 23 2026\nSubject: x\n", b"Subject: x\n", "a@b"),
        (b"From MAILER-DAEMON Mon\r\nSubject: x\r\n", b"Subject: x\r\n", ""),
        (b">From a@b Mon\nSubject: x\n", b"Subject: x\n", "a@b"),
        (b"From: a@b\n", b"From: a@b\n", None),
        (b"Subject: x\n\nFrom me\n", b"Subject: x\n\nFrom me\n", None),
        (b"Return-Path: <a@b>\nSubject: x\n", b"Subject: x\n", "a@b"),
        (b"From x y\nReturn-Path: <>\nSubject: x\n", b"Subject: x\n", ""),
        (b"Subject: x\nReturn-Path: <a@b>\n", b"Subject: x\nReturn-Path: <a@b>\n", None),
        (b"From \xff y\nSubject: x\n", b"Subject: x\n", None),
    ],
)
def test_what_a_pipe_brings_above_a_message(beginning, rest, sender):
    assert unwrapped(beginning) == (rest, sender)
