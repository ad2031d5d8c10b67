"""SEARCH and UID SEARCH: every key, charsets, ESEARCH and the saved result."""

import encodings

import pytest

from tests.support.talk import Talk

MAILS = [
    # (flags, internal date, message)
    (
        "(\\Seen \\Flagged)",
        "01-Feb-1994 12:00:00 +0000",
        b"From: Smith <smith@example.org>\r\nTo: fred@example.org\r\nSubject: hello there\r\n"
        b"Date: Mon, 31 Jan 1994 23:30:00 -0500\r\n\r\nThe first text.\r\n",
    ),
    (
        "(\\Answered $Work)",
        "02-Feb-1994 00:00:00 +0000",
        b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nCc: boss@example.org\r\nBcc: spy@example.org\r\n"
        b"Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r\nX-Spam: no\r\nDate: Wed, 02 Feb 1994 10:00:00 +0000\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n0L7RgtC/0YPRgdC6\r\n",
    ),
    (
        "(\\Deleted \\Draft)",
        "28-Feb-2020 23:59:59 +0000",
        b"From: smithers@example.org\r\nSubject: (none)\r\nDate: nonsense\r\n\r\n" + b"x" * 500 + b"\r\n",
    ),
]


def filled() -> Talk:
    talk = Talk().login()
    for flags, date, mail in MAILS:
        head = f'append APPEND INBOX {flags} "{date}" {{{len(mail)}+}}\r\n'
        assert talk.send(head.encode() + mail + b"\r\n")[-1].startswith("append OK")
    return talk


@pytest.fixture
def talk() -> Talk:
    return filled().select()


def found(talk: Talk, keys: str) -> str:
    """The numbers that SEARCH finds, one after the other."""
    answer, tagged = talk.say(f"a SEARCH {keys}")
    assert tagged == "a OK SEARCH completed.", tagged
    assert answer.startswith("* SEARCH")
    return answer[len("* SEARCH") :].replace(" ", "")


KEYS = [
    ("ALL", "123"),
    ("ANSWERED", "2"),
    ("UNANSWERED", "13"),
    ("DELETED", "3"),
    ("UNDELETED", "12"),
    ("DRAFT", "3"),
    ("UNDRAFT", "12"),
    ("FLAGGED", "1"),
    ("UNFLAGGED", "23"),
    ("SEEN", "1"),
    ("UNSEEN", "23"),
    ("RECENT", "123"),
    ("NEW", "23"),
    ("OLD", ""),
    ("KEYWORD $Work", "2"),
    ("KEYWORD $wORK", "2"),
    ("KEYWORD $Other", ""),
    ("UNKEYWORD $Work", "13"),
    ("UNKEYWORD $Other", "123"),
    ("FROM smith", "13"),
    ('FROM "Smith <"', "1"),
    ('FROM "jürgen"', "2"),
    ("TO fred", "1"),
    ("CC boss", "2"),
    ("BCC SPY", "2"),
    ("SUBJECT hello", "1"),
    ('SUBJECT "GRÜSSE"', "2"),
    ('SUBJECT ""', "123"),
    ("HEADER X-Spam no", "2"),
    ('HEADER x-spam ""', "2"),
    ('HEADER X-Absent ""', ""),
    ("BODY first", "1"),
    ('BODY "отпуск"', "2"),
    ("BODY Smith", ""),
    ("TEXT Smith", "13"),
    ('TEXT "отпуск"', "2"),
    ("BEFORE 2-Feb-1994", "1"),
    ("ON 2-Feb-1994", "2"),
    ('ON "02-feb-1994"', "2"),
    ("SINCE 2-Feb-1994", "23"),
    ("BEFORE 1-Jan-1970", ""),
    ("SENTON 31-Jan-1994", "1"),
    ("SENTBEFORE 1-Feb-1994", "1"),
    ("SENTSINCE 1-Feb-1994", "2"),
    ("LARGER 500", "3"),
    ("SMALLER 500", "12"),
    ("LARGER 18446744073", ""),
    ("1", "1"),
    ("2:*", "23"),
    ("3,1", "13"),
    ("*", "3"),
    ("UID 2:3", "23"),
    ("UID 77", ""),
    ("UID 77:*", "3"),
    ("UID 1:4294967295", "123"),
    ("NOT SEEN", "23"),
    ("NOT NOT SEEN", "1"),
    ("OR SEEN DELETED", "13"),
    ("OR SEEN OR ANSWERED DELETED", "123"),
    ("(SEEN)", "1"),
    ("((SEEN FLAGGED))", "1"),
    ("(SEEN) DELETED", ""),
    ("NOT (OR SEEN DELETED)", "2"),
    ("1:2 UNSEEN", "2"),
    ("FLAGGED SINCE 1-Feb-1994 NOT FROM Jones", "1"),
    ("CHARSET US-ASCII FROM smith", "13"),
    ('CHARSET utf-8 BODY "отпуск"', "2"),
    ("unseen from smith", "3"),
    ("ALL ", "123"),
]


@pytest.mark.parametrize(("keys", "numbers"), KEYS, ids=[keys for keys, _ in KEYS])
def test_a_key_finds_its_messages(talk: Talk, keys: str, numbers: str) -> None:
    assert found(talk, keys) == numbers


def test_text_may_be_a_literal_in_a_charset(talk: Talk) -> None:
    for charset, codec in (("KOI8-R", "koi8-r"), ("windows-1251", "cp1251"), ("UTF-8", "utf-8"), ("utf-7", "utf-7")):
        octets = "отпуск".encode(codec)
        line = f"a SEARCH CHARSET {charset} TEXT {{{len(octets)}+}}\r\n".encode() + octets + b"\r\n"
        assert talk.send(line) == ["* SEARCH 2", "a OK SEARCH completed."]


def test_latin_1_without_a_charset_is_understood(talk: Talk) -> None:
    assert talk.send(b'a SEARCH SUBJECT "Gr\xfc\xdfe"\r\n')[0] == "* SEARCH 2"


@pytest.mark.parametrize(
    "charset", ["X-UNHEARD", "hex", "idna", "unicode-escape", "undefined", '"a b"', '"../x"', "rot13", '""']
)
def test_an_unknown_charset_is_refused(talk: Talk, charset: str) -> None:
    answer = talk.say(f"a SEARCH CHARSET {charset} TEXT x")
    assert len(answer) == 1 and answer[0].startswith("a NO [BADCHARSET (US-ASCII UTF-8 ")


@pytest.mark.parametrize("charset", ["US-ASCII", "UTF-8", "iso-8859-15", "GB18030", "ISO-2022-JP", "Big5", "utf-7"])
def test_charsets_are_known(talk: Talk, charset: str) -> None:
    assert talk.say(f"a SEARCH CHARSET {charset} TEXT x")[-1].startswith("a OK")


def test_charsets_that_are_not_known_are_not_remembered(talk: Talk) -> None:
    """Python keeps what it was asked for, for ever."""
    before = len(encodings._cache)  # type: ignore[attr-defined]
    for number in range(50):
        talk.say(f"a SEARCH CHARSET never-heard-of-{number} TEXT x")
    assert len(encodings._cache) == before  # type: ignore[attr-defined]


BAD = [
    "", " ", "UNHEARD", "ALL UNHEARD", "FROM", "ON yesterday", "ON 32-Jan-1994", "ON 1-Foo-1994", "LARGER x", "LARGER -1",
    "NOT", "OR SEEN", "(SEEN", "()", "SEEN)", "0", "1:0", "UID", "UID x", "HEADER X-Spam", "CHARSET", "CHARSET UTF-8",
    "CHARSET KOI8-R", "KEYWORD", "RETURN", "RETURN ()", "RETURN (UNHEARD) ALL", "RETURN (ALL", "4", "1:4", "KEYWORD (",
]  # fmt: skip


@pytest.mark.parametrize("keys", BAD)
def test_what_is_no_search_is_bad(talk: Talk, keys: str) -> None:
    assert talk.say(f"a SEARCH {keys}")[-1].startswith("a BAD")


def test_an_unknown_key_is_named(talk: Talk) -> None:
    assert talk.say("a SEARCH SEEN UNHEARD x") == ["a BAD SEARCH has no key UNHEARD"]


def test_nesting_has_a_limit(talk: Talk) -> None:
    assert found(talk, "(" * 32 + "SEEN" + ")" * 32) == "1"
    for keys in ("(" * 33 + "SEEN" + ")" * 33, "NOT " * 40 + "SEEN", "(" * 100_000):
        assert talk.say(f"a SEARCH {keys}")[-1].startswith("a BAD Nested too deeply")


def test_many_keys_are_no_nesting(talk: Talk) -> None:
    assert found(talk, "UNSEEN " * 2_000 + "FROM smith") == "3"
    assert found(talk, "OR FROM nobody " * 500 + "SEEN") == "1"
    assert found(talk, "OR " * 500 + "SEEN DELETED" + " FROM nobody" * 499) == "13"
    assert found(talk, "NOT OR OR SEEN DELETED OR FLAGGED NOT ALL") == "2"
    assert talk.say(f"a SEARCH {'OR SEEN ' * 500}")[-1].startswith("a BAD")


def test_uid_search_answers_in_uids(talk: Talk) -> None:
    for line in ("STORE 1 +FLAGS.SILENT (\\Deleted)", "UID EXPUNGE 1"):
        talk.say(f"a {line}")
    assert found(talk, "FROM smith") == "2"
    assert talk.say("a UID SEARCH FROM smith") == ["* SEARCH 3", "a OK UID SEARCH completed."]
    assert talk.say("a UID SEARCH 1:2 UID 3") == ["* SEARCH 3", "a OK UID SEARCH completed."]


def test_an_empty_mailbox_is_searched_without_complaint() -> None:
    talk = Talk().login().select()
    for keys in ("ALL", "1:*", "UID 1:*", "NOT SEEN", "TEXT x"):
        assert found(talk, keys) == ""


def test_expunged_messages_are_not_found(talk: Talk) -> None:
    other = Talk(store=talk.store, loop=talk.loop).login().select()
    for line in ("STORE 2 +FLAGS.SILENT (\\Deleted)", "UID EXPUNGE 2"):
        other.say(f"a {line}")
    assert talk.say("a SEARCH ALL") == ["* SEARCH 1 3", "a OK SEARCH completed."]
    assert talk.say("a UID SEARCH ALL") == ["* SEARCH 1 3", "* 2 EXPUNGE", "* 2 RECENT", "a OK UID SEARCH completed."]


# --- ESEARCH, RFC 4731 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("SEARCH RETURN (MIN COUNT) UNSEEN", "MIN 2 COUNT 2"),
        ("SEARCH RETURN (COUNT MIN) UNSEEN", "COUNT 2 MIN 2"),
        ("SEARCH RETURN (MIN MAX) ALL", "MIN 1 MAX 3"),
        ("SEARCH RETURN () ALL", "ALL 1:3"),
        ("SEARCH RETURN (ALL) OR SEEN DELETED", "ALL 1,3"),
        ("SEARCH return (all) CHARSET UTF-8 SEEN", "ALL 1"),
        ("SEARCH RETURN (COUNT) KEYWORD none", "COUNT 0"),
        ("SEARCH RETURN (MIN MAX ALL) KEYWORD none", ""),
        ("SEARCH RETURN (MIN MIN) SEEN", "MIN 1"),
        ("UID SEARCH RETURN (MIN MAX) 1:2", "UID MIN 1 MAX 2"),
    ],
)
def test_return_asks_for_what_is_told(talk: Talk, command: str, answer: str) -> None:
    assert talk.say(f"A282 {command}")[0] == f'* ESEARCH (TAG "A282") {answer}'.rstrip()


def test_a_client_of_rev2_gets_esearch_always() -> None:
    talk = filled().enable().select()
    assert talk.say("a SEARCH SEEN") == ['* ESEARCH (TAG "a") ALL 1', "a OK SEARCH completed."]
    assert talk.say("a UID SEARCH KEYWORD none")[0] == '* ESEARCH (TAG "a") UID'


# --- SEARCHRES, RFC 5182 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returns", "saved"),
    [
        ("SAVE", "123"),
        ("SAVE ALL", "123"),
        ("SAVE COUNT", "123"),
        ("SAVE MIN", "1"),
        ("MAX SAVE", "3"),
        ("MIN SAVE MAX", "13"),
        ("MIN SAVE COUNT", "123"),
        ("ALL SAVE MIN", "123"),
    ],
)
def test_what_is_saved_depends_on_what_is_returned(talk: Talk, returns: str, saved: str) -> None:
    talk.say(f"a SEARCH RETURN ({returns}) ALL")
    assert found(talk, "$") == saved
    assert found(talk, "UID $") == saved


def test_save_alone_says_nothing(talk: Talk) -> None:
    assert talk.say("a SEARCH RETURN (SAVE) SEEN") == ["a OK SEARCH completed."]
    assert talk.say("b FETCH $ UID") == ["* 1 FETCH (UID 1)", "b OK FETCH completed."]
    assert talk.say("c UID FETCH $ UID") == ["* 1 FETCH (UID 1)", "c OK UID FETCH completed."]
    assert found(talk, "OR $ 3") == "13"
    assert found(talk, "NOT $") == "23"


def test_a_saved_result_may_be_empty(talk: Talk) -> None:
    talk.say("a SEARCH RETURN (SAVE) KEYWORD none")
    for command in ("FETCH $ FLAGS", "COPY $ nowhere", "STORE $ +FLAGS (\\Seen)", "UID FETCH $ FLAGS"):
        (answer,) = talk.say(f"b {command}")
        assert answer.startswith("b OK")


def test_a_refused_search_empties_the_saved_result_and_a_bad_one_does_not(talk: Talk) -> None:
    talk.say("a SEARCH RETURN (SAVE) ALL")
    talk.say("b SEARCH RETURN (SAVE) UNHEARD")
    assert found(talk, "$") == "123"
    talk.say("c SEARCH CHARSET X-UNHEARD TEXT x")
    assert found(talk, "$") == "123"
    talk.say("d SEARCH RETURN (SAVE) CHARSET X-UNHEARD (OR $ 1) TEXT x")
    assert found(talk, "$") == ""


def test_what_is_expunged_leaves_the_saved_result(talk: Talk) -> None:
    talk.say("a SEARCH RETURN (SAVE) ALL")
    talk.say("b STORE 1 +FLAGS.SILENT (\\Deleted)")
    talk.say("c EXPUNGE")
    assert found(talk, "$") == "1"


def test_selecting_empties_the_saved_result(talk: Talk) -> None:
    talk.say("a SEARCH RETURN (SAVE) ALL")
    talk.select()
    assert found(talk, "$") == ""


def test_a_saved_result_may_be_searched_in_for_the_next_saved_result() -> None:
    """RFC 5182 section 2.1: only the end of the search changes the variable."""
    talk = Talk().login()
    for _ in range(5):
        talk.append()
    talk.select()
    talk.say("a SEARCH RETURN (SAVE) 2:4")
    assert talk.say("b SEARCH RETURN (SAVE ALL) $ NOT 3")[0] == '* ESEARCH (TAG "b") ALL 2,4'
    assert talk.say("c SEARCH $")[0] == "* SEARCH 2 4"


def test_a_search_that_is_bad_leaves_the_saved_result_alone() -> None:
    talk = Talk().login().append().append().select()
    talk.say("a SEARCH RETURN (SAVE) 2")
    assert talk.say("b SEARCH RETURN (SAVE) 9")[0].startswith("b BAD")
    assert talk.say("c SEARCH $")[0] == "* SEARCH 2"


def test_the_number_of_keys_is_bounded() -> None:
    talk = Talk().login().append().select()
    assert talk.say("a SEARCH " + "ALL " * 9_999 + "ALL")[0] == "* SEARCH 1"
    for many in ("ALL " * 10_000 + "ALL", "1 " * 10_000 + "1", "OR ALL " * 10_000 + "ALL", "(ALL) " * 10_000 + "ALL"):
        assert talk.say("b SEARCH " + many)[0].startswith("b NO [LIMIT]")
