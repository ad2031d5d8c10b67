"""The responses: their spelling, and that no data ends a line early."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.wire.responses import (
    SEARCH_BLOCK,
    BrokenStream,
    Capability,
    ContinueResponse,
    Enabled,
    ESearch,
    Exists,
    Expunges,
    Fetch,
    FlagsResponse,
    IdResponse,
    ListResponse,
    NamespaceResponse,
    Raw,
    Recent,
    Response,
    SearchResponse,
    Status,
    StatusResponse,
    Streamed,
)

SPELLED = [
    (Status("OK", "Ready"), b"* OK Ready\r\n"),
    (Status("NO", "Not so", "NONEXISTENT", "a1"), b"a1 NO [NONEXISTENT] Not so\r\n"),
    (Status("BAD", "", tag="a1"), b"a1 BAD Done\r\n"),
    (Status("BYE", "Good bye"), b"* BYE Good bye\r\n"),
    (Status("PREAUTH", "Hello"), b"* PREAUTH Hello\r\n"),
    (Status("OK", "[x] y"), b"* OK - [x] y\r\n"),
    (Status("OK", "a\r\nb BAD\0c"), b"* OK a b BAD c\r\n"),
    (Status("OK", "x", b"COPYUID 1 2:3 4:5", "t"), b"t OK [COPYUID 1 2:3 4:5] x\r\n"),
    (Status("NO", "käse"), b"* NO k?se\r\n"),
    (Capability(["IMAP4rev1", "IDLE"]), b"* CAPABILITY IMAP4rev1 IDLE\r\n"),
    (Enabled([]), b"* ENABLED\r\n"),
    (Enabled(["CONDSTORE"]), b"* ENABLED CONDSTORE\r\n"),
    (Exists(3), b"* 3 EXISTS\r\n"),
    (Recent(0), b"* 0 RECENT\r\n"),
    (Expunges((7,)), b"* 7 EXPUNGE\r\n"),
    (Expunges((9, 3)), b"* 9 EXPUNGE\r\n* 3 EXPUNGE\r\n"),
    (FlagsResponse(["Work", "\\Seen"]), b"* FLAGS (\\Seen Work)\r\n"),
    (Fetch(1, [b"UID 7", b"FLAGS (\\Seen)"]), b"* 1 FETCH (UID 7 FLAGS (\\Seen))\r\n"),
    (
        Fetch(1, [b"UID 7", Streamed(b"BODY[]", 5, [b"ab", b"", b"cde"]), b"X 1"]),
        b"* 1 FETCH (UID 7 BODY[] {5}\r\nabcde X 1)\r\n",
    ),
    (Fetch(1, [Streamed(b"BINARY[1]", 1, [b"\0"], binary=True)]), b"* 1 FETCH (BINARY[1] ~{1}\r\n\0)\r\n"),
    (Fetch(1, [Streamed(b"BODY[]", 0, [])]), b"* 1 FETCH (BODY[] {0}\r\n)\r\n"),
    (Fetch(1, [Streamed(b"BODY[]", 2, [b"abc", b"d"])]), b"* 1 FETCH (BODY[] {2}\r\nab)\r\n"),
    (ListResponse(["\\HasNoChildren"], "/", "a b"), b'* LIST (\\HasNoChildren) "/" "a b"\r\n'),
    (ListResponse(["\\Noselect"], "/", ""), b'* LIST (\\Noselect) "/" ""\r\n'),
    (ListResponse([], None, "INBOX", b"LSUB"), b"* LSUB () NIL INBOX\r\n"),
    (
        ListResponse([], "/", "x", extended=b'("CHILDINFO" ("SUBSCRIBED"))'),
        b'* LIST () "/" x ("CHILDINFO" ("SUBSCRIBED"))\r\n',
    ),
    (StatusResponse("x", [("MESSAGES", 1), ("UIDNEXT", 2)]), b"* STATUS x (MESSAGES 1 UIDNEXT 2)\r\n"),
    (StatusResponse("ä", []), b'* STATUS "&AOQ-" ()\r\n'),
    (SearchResponse([]), b"* SEARCH\r\n"),
    (SearchResponse(iter([3, 5])), b"* SEARCH 3 5\r\n"),
    (ESearch("a1", True, [("COUNT", b"2"), ("ALL", b"3,5")]), b'* ESEARCH (TAG "a1") UID COUNT 2 ALL 3,5\r\n'),
    (ESearch(None, False, []), b"* ESEARCH\r\n"),
    (NamespaceResponse(), b'* NAMESPACE (("" "/")) NIL NIL\r\n'),
    (
        NamespaceResponse((("", "/"),), (("~", "/"), ("ä/", "/")), (("#x", None),)),
        b'* NAMESPACE (("" "/")) (("~" "/")("&AOQ-/" "/")) (("#x" NIL))\r\n',
    ),
    (IdResponse(), b"* ID NIL\r\n"),
    (IdResponse([("name", "imapd"), ("os", None)]), b'* ID ("name" "imapd" "os" NIL)\r\n'),
    (Raw(b"* X"), b"* X\r\n"),
    (Raw(b"* X\r\n"), b"* X\r\n"),
    (ContinueResponse(b"idling"), b"+ idling\r\n"),
    (ContinueResponse(b""), b"+ \r\n"),
]


def spelled(response, utf8=False):
    return b"".join(response.chunks(utf8))


@pytest.mark.parametrize(("response", "octets"), SPELLED)
def test_a_response_spells_itself(response, octets):
    assert spelled(response) == octets
    assert isinstance(response, Response)


def test_utf8_is_for_those_who_asked():
    assert spelled(Status("NO", "käse"), utf8=True) == "* NO käse\r\n".encode()
    assert spelled(ListResponse([], "/", "ä"), utf8=True) == '* LIST () "/" "ä"\r\n'.encode()
    assert spelled(StatusResponse("ä", []), utf8=True) == '* STATUS "ä" ()\r\n'.encode()


def test_an_empty_prefix_of_a_namespace_is_a_string_and_not_an_atom():
    assert spelled(NamespaceResponse((("INBOX/", "/"),))) == b'* NAMESPACE (("INBOX/" "/")) NIL NIL\r\n'


def test_a_stream_that_runs_short_breaks_instead_of_lying():
    sent = []
    with pytest.raises(BrokenStream, match="3 octets"):
        sent.extend(Fetch(1, [Streamed(b"BODY[]", 5, [b"ab"])]).chunks(False))
    assert b"".join(sent) == b"* 1 FETCH (BODY[] {5}\r\nab"


def test_a_stream_is_read_only_as_it_is_sent():
    read = []

    def octets():
        for piece in (b"a", b"b"):
            read.append(piece)
            yield piece

    chunks = iter(Fetch(1, [Streamed(b"BODY[]", 2, octets())]).chunks(False))
    assert next(chunks) == b"* 1 FETCH (" and not read
    assert b"".join(chunks) == b"BODY[] {2}\r\nab)\r\n"


def test_a_large_search_comes_in_pieces():
    chunks = list(SearchResponse(range(1, 100_001)).chunks(False))
    assert len(chunks) == 2 + 100_000 // SEARCH_BLOCK
    assert b"".join(chunks) == b"* SEARCH " + b" ".join(b"%d" % number for number in range(1, 100_001)) + b"\r\n"


anything = st.text(st.characters(exclude_categories=["Cs"]))
one_line = re.compile(rb"[^\r\n\0]*\r\n")


@given(anything, st.none() | anything, st.booleans())
def test_no_text_ends_its_line(text, code, utf8):
    assert one_line.fullmatch(spelled(Status("NO", text, code, "a1"), utf8))
    assert one_line.fullmatch(spelled(ContinueResponse(text.encode()), utf8))
    assert one_line.fullmatch(spelled(FlagsResponse([text]), utf8))


@given(anything.filter(lambda text: not set(text) & set("\r\n\0")))
def test_no_mailbox_name_ends_its_line(name):
    assert one_line.fullmatch(spelled(ListResponse([], "/", name), utf8=True))
    assert one_line.fullmatch(spelled(ListResponse([], "/", name), utf8=False))


def test_a_hundred_thousand_fetch_responses_are_quick():
    began = time.perf_counter()
    octets = 0
    for number in range(1, 100_001):
        for chunk in Fetch(number, [b"UID 5", b"FLAGS (\\Seen)"]).chunks(False):
            octets += len(chunk)
    assert octets > 3_000_000
    assert time.perf_counter() - began < 3
