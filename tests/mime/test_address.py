"""Addresses and groups, as ENVELOPE has them."""

import pytest

from imapd.mime.address import GROUP_END, Address, addresses


def plain(mailbox, host, name=None, route=None):
    return Address(name, route, mailbox, host)


def group(name):
    return Address(None, None, name, None)


GRAY = plain(b"gray", b"cac.washington.edu", b"Terry Gray")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Terry Gray <gray@cac.washington.edu>", [GRAY]),
        (b'"Terry Gray" <gray@cac.washington.edu>', [GRAY]),
        (b"Terry   Gray<gray@cac.washington.edu>", [GRAY]),
        (b"gray@cac.washington.edu (Terry Gray)", [GRAY]),
        (b"gray@cac.washington.edu", [GRAY._replace(name=None)]),
        (b"<gray@cac.washington.edu>", [GRAY._replace(name=None)]),
        (b"a@b, c@d , ,,e@f,", [plain(b"a", b"b"), plain(b"c", b"d"), plain(b"e", b"f")]),
        (b'"Cara, D. \\"x\\"" <c@d>', [plain(b"c", b"d", b'Cara, D. "x"')]),
        (b'"quoted local"@h', [plain(b"quoted local", b"h")]),
        (b'<"a@b"@h>', [plain(b"a@b", b"h")]),
        (b"J. Q. Public (not (really)) <j@q>", [plain(b"j", b"q", b"J. Q. Public")]),
        (b"j . q . public @ a . b", [plain(b"j.q.public", b"a.b")]),
        (b"x <@r1,@r2:a@b>, c@d", [plain(b"a", b"b", b"x", b"@r1,@r2"), plain(b"c", b"d")]),
        (b"a@[192.0.2.1], <b@[IPv6:::1]>", [plain(b"a", b"[192.0.2.1]"), plain(b"b", b"[IPv6:::1]")]),
        (b"undisclosed-recipients:;", [group(b"undisclosed-recipients"), GROUP_END]),
        (b"A Group: a@b, C <c@d>;, e@f", [group(b"A Group"), plain(b"a", b"b"), plain(b"c", b"d", b"C"), GROUP_END, plain(b"e", b"f")]),
        (b"a: b@c; d: e@f;", [group(b"a"), plain(b"b", b"c"), GROUP_END, group(b"d"), plain(b"e", b"f"), GROUP_END]),
        (b"=?utf-8?Q?M=C3=BCller?= <m@x>", [plain(b"m", b"x", b"=?utf-8?Q?M=C3=BCller?=")]),
        (b"J\xf6rg <j@x>", [plain(b"j", b"x", b"J\xf6rg")]),
    ],
)  # fmt: skip
def test_addresses_are_read(value, expected):
    assert addresses(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b" , ; ,", []),
        (b"lonely", [plain(b"lonely", b"")]),
        (b"no address at all", [plain(b"no address at all", b"")]),
        (b"<>", [plain(b"", b"")]),
        (b"<lonely>", [plain(b"lonely", b"")]),
        (b"@host", [plain(b"", b"host")]),
        (b"x@y <x@y>", [plain(b"x", b"y", b"x@y")]),
        (b"a@b@c", [plain(b"a@b", b"c")]),
        (b"<a@b@c>", [plain(b"a@b", b"c")]),
        (b"a@b; c@d", [plain(b"a", b"b"), plain(b"c", b"d")]),
        (b"John Doe john@x", [plain(b"john", b"x", b"John Doe")]),
        (b"<a@b, c@d", [plain(b"a", b"b"), plain(b"c", b"d")]),
        (b"group: a@b, c@d", [group(b"group"), plain(b"a", b"b"), plain(b"c", b"d"), GROUP_END]),
        (b"a: b: c@d;", [group(b"a"), plain(b"c", b"d", b"b"), GROUP_END]),
        (b'"not closed <a@b>, c@d', [plain(b"not closed <a@b>, c@d", b"")]),
        (b"(not closed <a@b>", []),
        (b"a\x00b@c\x00", [plain(b"a\x00b", b"c\x00")]),
        (b'"" <a@b>', [plain(b"a", b"b")]),
    ],
)
def test_broken_addresses_keep_what_makes_sense(value, expected):
    assert addresses(value) == expected


def test_an_address_is_never_taken_for_a_group():
    for value in (b"x", b"<>", b"@", b"<@>", b"a@", b"<a@>", b"(c)", b"a <"):
        assert all(address.host is not None for address in addresses(value))


def test_what_lies_beyond_the_limit_is_cut_off():
    assert 9_000 < len(addresses(b"somebody@somewhere.example, " * 500_000)) < 20_000


def test_others_may_run_while_many_addresses_are_read():
    breaths = []
    addresses(b"a@b, " * 5_000, lambda: breaths.append(1))
    assert len(breaths) >= 5
