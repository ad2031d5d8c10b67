"""LDIF files: known answers, refusals with file and line, and the way there and back."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.directory import ldif
from imapd.directory.ldif import LdifError

READABLE = [
    (b"", []),
    (b"\n\n# nothing\n\n", []),
    (b"version: 1\n", []),
    (b"version: 1\n\ndn: o=x\no: x\n", [("o=x", [("o", b"x")])]),
    (b"VERSION:1\ndn: o=x\no: x\n", [("o=x", [("o", b"x")])]),
    (b"# first\n\nversion: 1\n\ndn: o=x\no: x\n", [("o=x", [("o", b"x")])]),
    (b"dn: o=x\no: x", [("o=x", [("o", b"x")])]),
    (b"dn: o=x\r\no: x\r\n\r\ndn: o=y\r\no: y\r\n", [("o=x", [("o", b"x")]), ("o=y", [("o", b"y")])]),
    (b"\xef\xbb\xbfdn: o=x\no: x\n", [("o=x", [("o", b"x")])]),
    (b"dn: o=x\no: x\n\n\n\n\ndn: o=y\no: y\n", [("o=x", [("o", b"x")]), ("o=y", [("o", b"y")])]),
    (b"dn: o=x\ncn: Jo\n  D\n oe\n", [("o=x", [("cn", b"Jo Doe")])]),
    (b"dn: o=\n x\no: x\n", [("o=x", [("o", b"x")])]),
    (b"dn: o=x\n# a comment\n  that goes on\no: x\n", [("o=x", [("o", b"x")])]),
    (b"dn: o=x\ncn:: SsO2cmc=\n", [("o=x", [("cn", "Jörg".encode())])]),
    (b"dn: o=x\ncn:: SsO\n 2cm\n c=\n", [("o=x", [("cn", "Jörg".encode())])]),
    (b"dn:: bz1Kw7ZyZw==\ncn: x\n", [("o=Jörg", [("cn", b"x")])]),
    (b"dn: o=x\ncn: J\xc3\xb6rg\n", [("o=x", [("cn", "Jörg".encode())])]),
    (b"dn: o=x\ncn:\nsn::\n", [("o=x", [("cn", b""), ("sn", b"")])]),
    (b"dn: o=x\ncn:    spaced  \n", [("o=x", [("cn", b"spaced  ")])]),
    (b"dn: o=x\nCN;lang-de: a:b: c\n2.5.4.4: d\n", [("o=x", [("cn;lang-de", b"a:b: c"), ("2.5.4.4", b"d")])]),
    (b"dn: o=x\ncn: a\rb\n", [("o=x", [("cn", b"a\rb")])]),
]


@pytest.mark.parametrize(("text", "entries"), READABLE)
def test_files_are_read(text, entries):
    found = [(entry.dn, [(value.name, value.value) for value in entry.values]) for entry in ldif.read(text, "f")]
    assert found == entries


REFUSED = [
    (b"version: 2\n", 1, "version 1"),
    (b"dn: o=x\njpegPhoto:< file:///etc/shadow\n", 2, ":<"),
    (b"dn:< file:///etc/passwd\no: x\n", 1, ":<"),
    (b"dn: o=x\nchangetype: delete\n", 2, "change records"),
    (b"dn: o=x\nChangeType: add\no: x\n", 2, "change records"),
    (b"dn: o=x\ncontrol: 1.2.3 true\n", 2, "change records"),
    (b"dn: o=x\no: x\n-\n", 3, "attribute: value"),
    (b"\n\no: x\n", 3, "begins with dn:"),
    (b"dn: o=x\no: x\ndn: o=y\no: y\n", 3, "empty line"),
    (b"dn: o=x\no: x\n \ndn: o=y\no: y\n", 4, "empty line"),
    (b"dn: o=x\n", 1, "no attributes"),
    (b" dn: o=x\n", 1, "continues nothing"),
    (b"dn: o=x\no: x\n\n  y\n", 4, "continues nothing"),
    (b"dn: o=x\ncn:: SsO2cm\n", 2, "base64"),
    (b"dn: o=x\ncn:: !!!!\n", 2, "base64"),
    (b"dn: o=x\ncn: a\0b\n", 2, "NUL"),
    (b"dn: o=x\nc n: a\n", 2, "attribute's name"),
    (b"dn: o=x\n: a\n", 2, "attribute's name"),
    (b"dn: nonsense\no: x\n", 1, "DN"),
    (b"dn:: /w==\no: x\n", 1, "DN"),
]


@pytest.mark.parametrize(("text", "line", "words"), REFUSED)
def test_files_are_refused_with_their_name_and_the_line(text, line, words):
    with pytest.raises(LdifError) as error:
        ldif.read(text, "people.ldif")
    assert str(error.value).startswith(f"people.ldif:{line}: ")
    assert words in str(error.value)


def test_options_belong_to_their_attribute_but_binary_does_not():
    text = b"dn: o=x\ncn;lang-de: a\ncn: b\nuserCertificate;binary:: AAE=\n"
    assert ldif.read(text, "f")[0].attributes() == {"cn": [b"a", b"b"], "usercertificate;binary": [b"\0\1"]}


def test_values_know_where_they_stand():
    text = b"# top\ndn: o=x\r\no: x\n# between\ncn: a\n b\n\n"
    entry = ldif.read(text, "f")[0]
    assert text[entry.start : entry.end] == b"dn: o=x\r\no: x\n# between\ncn: a\n b\n"
    assert [text[value.start : value.end] for value in entry.values] == [b"o: x\n", b"cn: a\n b\n"]
    assert [value.line for value in entry.values] == [3, 5]


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True).filter(
    lambda n: n not in ("dn", "changetype", "control", "version")
)
VALUES = st.one_of(st.binary(max_size=300), st.text(max_size=100).map(lambda t: t.encode("utf-8", "replace")))


@given(
    st.lists(st.tuples(st.text(max_size=60), st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=5)), max_size=4),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_what_is_written_is_read_again(entries, line_end):
    entries = [
        (f"cn={ldif.names.escape(cn.encode('utf-8', 'replace').decode())},o=x", values) for cn, values in entries
    ]
    text = b"version: 1" + line_end + b"".join(line_end + ldif.entry(dn, values, line_end) for dn, values in entries)
    assert all(len(line) <= 76 + 2 for line in text.split(b"\n"))
    assert text.isascii()
    found = [(entry.dn, [(value.name, value.value) for value in entry.values]) for entry in ldif.read(text, "f")]
    assert found == entries


@given(
    st.one_of(
        st.binary(),
        st.lists(st.sampled_from([b"dn: o=x", b"cn:: QQ==", b" ", b"\n", b"#", b":<", b":", b"a"])).map(b"".join),
    )
)
def test_any_octets_are_a_file_or_an_ldif_error(octets):
    try:
        ldif.read(octets, "f")
    except LdifError:
        pass


@pytest.mark.parametrize("value", [b" a", b":a", b"<a", b"a ", b"a\nb", b"a\0", b"\xc3\xb6", b"\r"])
def test_values_that_would_be_misread_are_written_in_base64(value):
    assert ldif.line("cn", value) == b"cn:: " + base64.b64encode(value) + b"\n"


def test_a_long_file_takes_linear_time():
    text = b"dn: o=x\ncn: " + b"a\n " * 200_000 + b"\n"
    assert len(ldif.read(text, "f")[0].values[0].value) == 200_000
