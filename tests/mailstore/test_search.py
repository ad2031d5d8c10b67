"""Which messages a search finds, and what it reads to find them."""

from datetime import date

import pytest

from imapd.mailstore.search import folded, search
from imapd.mailstore.view import View
from imapd.model.criteria import (
    All,
    And,
    BodyContains,
    HasFlag,
    HeaderContains,
    InternalDate,
    Larger,
    Not,
    Or,
    Recent,
    SentDate,
    Sequence,
    Smaller,
    TextContains,
    Uids,
    UidSequence,
)
from imapd.model.errors import BadSyntax
from imapd.model.flags import FlagChange
from imapd.model.sets import RangeSet, SequenceSet

DAY = 86_400

PLAIN = b"""From: Ann <ann@example.org>\r
Subject: Plans for
 tomorrow\r
Date: Mon, 1 Jan 2024 23:30:00 -0800\r
\r
The quick brown fox.\r
"""
ENCODED = b"""From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r
Subject: =?iso-8859-1?b?R3L832U=?=\r
Date: Tue, 2 Jan 2024 00:30:00 +0900\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: base64\r
\r
U3RyYcOfZSB1bmQgV2VnCg==\r
"""
PARTS = b"""Subject: parts\r
To: bob@example.org\r
To: carol@example.org\r
Content-Type: multipart/mixed; boundary=b\r
\r
--b\r
Content-Type: text/plain\r
Content-Transfer-Encoding: quoted-printable\r
\r
na=C3=AFve wo=\r
rds\r
--b\r
Content-Type: message/rfc822\r
\r
Subject: inner subject\r
\r
inner body\r
--b\r
Content-Type: application/octet-stream\r
Content-Transfer-Encoding: base64\r
\r
c2VjcmV0\r
--b--\r
"""
BARE = b"no header at all"


class Reading:
    """A mailbox that counts what is read of it."""

    def __init__(self, mailbox):
        self._mailbox = mailbox
        self.headers = []
        self.bodies = []
        self.opened = []
        self.open_now = 0
        self.before_opening = lambda uid: None

    def __getattr__(self, name):
        return getattr(self._mailbox, name)

    def message(self, uid):
        self.before_opening(uid)
        self.opened.append(uid)
        return ReadMessage(self, uid, self._mailbox.message(uid))


class ReadMessage:
    def __init__(self, reading, uid, message):
        self._reading, self._uid, self._message = reading, uid, message
        reading.open_now += 1

    def header(self):
        self._reading.headers.append(self._uid)
        return self._message.header()

    def read(self):
        self._reading.bodies.append(self._uid)
        return self._message.read()

    def close(self):
        self._reading.open_now -= 1


@pytest.fixture
def house(memory_house):
    """INBOX: 1 is plain and seen, 2 is encoded and flagged with a keyword, 3 has parts, 4 has no header."""
    house = memory_house
    house.put("INBOX", PLAIN, date=10 * DAY, flags=frozenset({"\\Seen"}))
    house.put("INBOX", ENCODED, date=11 * DAY - 1, flags=frozenset({"\\Flagged", "Work"}))
    house.put("INBOX", PARTS, date=11 * DAY)
    house.put("INBOX", BARE, date=20 * DAY)
    return house


@pytest.fixture
def mailbox(house):
    return Reading(house.ann.open("INBOX"))


@pytest.fixture
def view(mailbox):
    return View(mailbox, read_only=False)


@pytest.fixture
def find(house, view):
    return lambda wanted: [uid for _, uid in search(wanted, view, house.loop)]


def numbers(text):
    return SequenceSet.parse(text)


def day(number):
    """The day of the epoch with that number."""
    return date.fromordinal(date(1970, 1, 1).toordinal() + number)


@pytest.mark.parametrize(
    "wanted, found",
    [
        (All(), [1, 2, 3, 4]),
        (And(()), [1, 2, 3, 4]),
        (HasFlag("\\Seen"), [1]),
        (HasFlag("work"), [2]),
        (HasFlag("unknown"), []),
        (Not(HasFlag("\\Seen")), [2, 3, 4]),
        (Not(HasFlag("unknown")), [1, 2, 3, 4]),
        (Recent(), [1, 2, 3, 4]),
        (And((Recent(), Not(HasFlag("\\Seen")))), [2, 3, 4]),
        (Or(HasFlag("\\Seen"), HasFlag("Work")), [1, 2]),
        (Or(HasFlag("\\Seen"), Not(HasFlag("Work"))), [1, 3, 4]),
        (Larger(len(BARE)), [1, 2, 3]),
        (Smaller(len(BARE)), []),
        (Smaller(len(BARE) + 1), [4]),
        (InternalDate("before", day(11)), [1, 2]),
        (InternalDate("on", day(10)), [1, 2]),
        (InternalDate("on", day(11)), [3]),
        (InternalDate("since", day(11)), [3, 4]),
        (InternalDate("before", day(10)), []),
        (Sequence(numbers(b"2:3")), [2, 3]),
        (Sequence(numbers(b"*")), [4]),
        (UidSequence(numbers(b"3:4294967295")), [3, 4]),
        (UidSequence(numbers(b"9:*")), [4]),
        (Uids(RangeSet.of([1, 4, 9])), [1, 4]),
        (Not(Uids(RangeSet.of([1, 4, 9]))), [2, 3]),
        (And((Sequence(numbers(b"1:3")), And((Not(HasFlag("\\Seen")), Larger(1))))), [2, 3]),
    ],
)
def test_columns_answer_without_opening_a_message(find, mailbox, wanted, found):
    assert find(wanted) == found
    assert mailbox.opened == []


@pytest.mark.parametrize(
    "wanted, found",
    [
        (HeaderContains("From", "ANN"), [1]),
        (HeaderContains("from", "jörg"), [2]),
        (HeaderContains("FROM", "JO\u0308RG"), [2]),
        (HeaderContains("Subject", "plans for tomorrow"), [1]),
        (HeaderContains("Subject", "GRÜSSE"), [2]),
        (HeaderContains("Subject", "grüße"), [2]),
        (HeaderContains("To", "carol"), [3]),
        (HeaderContains("Subject", "inner"), []),
        (HeaderContains("Date", ""), [1, 2]),
        (HeaderContains("X-None", ""), []),
        (Not(HeaderContains("Date", "")), [3, 4]),
        (SentDate("on", date(2024, 1, 1)), [1]),
        (SentDate("on", date(2024, 1, 2)), [2]),
        (SentDate("before", date(2024, 1, 2)), [1]),
        (SentDate("since", date(2024, 1, 1)), [1, 2]),
        (Not(SentDate("since", date(1970, 1, 1))), [3, 4]),
    ],
)
def test_headers_answer_without_reading_a_body(find, mailbox, wanted, found):
    assert find(wanted) == found
    assert mailbox.headers == [1, 2, 3, 4]
    assert mailbox.bodies == []
    assert mailbox.open_now == 0


@pytest.mark.parametrize(
    "wanted, found",
    [
        (BodyContains("QUICK brown"), [1]),
        (BodyContains("ann"), []),
        (BodyContains("strasse"), [2]),
        (BodyContains("naïve words"), [3]),
        (BodyContains("inner subject"), [3]),
        (BodyContains("inner body"), [3]),
        (BodyContains("secret"), []),
        (BodyContains("U3Ry"), []),
        (TextContains("ann@EXAMPLE.org"), [1]),
        (TextContains("subject: plans"), [1]),
        (TextContains("weg"), [2]),
        (TextContains("example.org"), [1, 2, 3]),
        (Not(TextContains("example.org")), [4]),
        (Or(HeaderContains("To", "bob"), BodyContains("fox")), [1, 3]),
        (And((TextContains("inner"), HeaderContains("To", "bob"))), [3]),
        (And((BodyContains("inner"), Not(HasFlag("\\Seen")), Or(HasFlag("Work"), HeaderContains("To", "bob")))), [3]),
    ],
)
def test_bodies_are_searched_decoded(find, mailbox, wanted, found):
    assert find(wanted) == found
    assert mailbox.open_now == 0


def test_an_empty_text_is_found_everywhere(find, mailbox):
    assert find(BodyContains("")) == find(TextContains("")) == [1, 2, 3, 4]
    assert mailbox.opened == []


def test_what_is_cheap_is_asked_first(find, mailbox):
    assert find(And((BodyContains("fox"), HeaderContains("From", "ann"), HasFlag("\\Seen")))) == [1]
    assert (mailbox.opened, mailbox.headers, mailbox.bodies) == ([1], [1], [1])


def test_a_header_that_decides_spares_the_body(find, mailbox):
    assert find(Or(TextContains("nowhere"), HeaderContains("Subject", "p"))) == [1, 3]
    assert mailbox.bodies == [2, 4]
    mailbox.bodies.clear()
    assert find(TextContains("example")) == [1, 2, 3]
    assert mailbox.bodies == [4]


def test_a_message_is_opened_once_for_many_keys(find, mailbox):
    find(Or(Or(BodyContains("a1"), TextContains("a2")), Or(HeaderContains("To", "a3"), BodyContains("a4"))))
    assert mailbox.opened == [1, 2, 3, 4]
    assert mailbox.bodies == [1, 2, 3, 4]


def test_columns_inside_or_spare_messages(find, mailbox):
    assert find(Or(HasFlag("\\Seen"), And((HasFlag("Work"), BodyContains("weg"))))) == [1, 2]
    assert mailbox.opened == [2]


def test_only_messages_that_the_client_knows_are_found(house, view, find):
    house.put("INBOX", PLAIN)
    assert find(All()) == [1, 2, 3, 4]
    assert find(TextContains("fox")) == [1]
    view.sync(True)
    assert find(TextContains("fox")) == [1, 5]


def test_flags_are_the_newest_ones(house, find):
    house.open("ann").open("INBOX").change_flags([3], FlagChange.ADD, frozenset({"\\Seen"}))
    assert find(HasFlag("\\Seen")) == [1, 3]


def test_ghosts_are_left_out_and_numbers_stay(house, view):
    other = house.open("ann").open("INBOX")
    other.change_flags([2], FlagChange.ADD, frozenset({"\\Deleted"}))
    other.expunge(None)
    assert search(All(), view, house.loop) == [(1, 1), (3, 3), (4, 4)]
    assert search(Not(HasFlag("\\Seen")), view, house.loop) == [(3, 3), (4, 4)]
    assert search(Sequence(numbers(b"2:3")), view, house.loop) == [(3, 3)]
    view.sync(True)
    assert search(All(), view, house.loop) == [(1, 1), (2, 3), (3, 4)]


@pytest.mark.parametrize("wanted", [BodyContains("inner"), Not(BodyContains("fox")), TextContains("bob")])
def test_what_vanishes_during_the_search_is_left_out(house, mailbox, find, wanted):
    other = house.open("ann").open("INBOX")

    def expunge(uid):
        if uid == 3:
            other.change_flags([3], FlagChange.ADD, frozenset({"\\Deleted"}))
            other.expunge(None)

    mailbox.before_opening = expunge
    assert 3 not in find(wanted)


def test_a_number_above_exists_is_an_error_whatever_else_is_asked(find):
    for wanted in (
        Sequence(numbers(b"5")),
        And((HasFlag("unknown"), Sequence(numbers(b"1:7")))),
        Not(Sequence(numbers(b"9"))),
    ):
        with pytest.raises(BadSyntax):
            find(wanted)


def test_the_saved_result_can_be_searched(find, view):
    view.saved = RangeSet.of([1, 3])
    assert find(And((Sequence(numbers(b"$")), Not(HasFlag("\\Seen"))))) == [3]
    assert find(UidSequence(numbers(b"$"))) == [1, 3]


def test_an_empty_mailbox_has_nothing(house):
    house.ann.create("empty")
    view = View(house.ann.open("empty"), read_only=False)
    for wanted in (All(), Not(TextContains("x")), UidSequence(numbers(b"*")), Sequence(numbers(b"1:*"))):
        assert search(wanted, view, house.loop) == []


def test_long_searches_let_others_run(house, view, find):
    before = house.loop.breaths
    find(TextContains("nowhere"))
    assert house.loop.breaths >= before + 4


@pytest.mark.parametrize(
    "one, other",
    [("STRASSE", "straße"), ("e\u0301", "É"), ("ﬁne", "FINE"), ("Ａ", "a"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("\u1e9e", "ss")],
)
def test_texts_are_compared_without_case_and_composition(one, other):
    assert folded(one) == folded(other)
