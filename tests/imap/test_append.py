"""APPEND and MULTIAPPEND."""

from dataclasses import replace

import pytest

from imapd.imap import catalogue
from imapd.imap.commands import append as append_room
from imapd.mailstore.errors import NoSpace
from imapd.mailstore.memory import MemoryAccount, MemorySpool
from tests.support.talk import DEFAULT, Talk

MAIL = b"From: a@example.org\r\nSubject: hello\r\n\r\nText.\r\n"


def stored(talk: Talk, uid: int = 1, mailbox: str = "INBOX") -> bytes:
    return bytes(talk.session.account.open(mailbox).message(uid).read())


def test_a_client_may_wait_for_the_continuation() -> None:
    talk = Talk().login()
    assert talk.say(f"a APPEND INBOX (\\Seen) {{{len(MAIL)}}}") == ["+ Go ahead."]
    answer = talk.send(MAIL + b"\r\n")
    assert answer[0].startswith("a OK [APPENDUID ") and answer[0].endswith(" 1] APPEND completed.")
    assert stored(talk) == MAIL


def test_a_client_need_not_wait() -> None:
    talk = Talk().login()
    said = talk.send(b"a APPEND INBOX {%d+}\r\n%s\r\nb NOOP\r\n" % (len(MAIL), MAIL))
    assert [line.split()[:2] for line in said] == [["a", "OK"], ["b", "OK"]]


def test_flags_and_date_are_kept() -> None:
    talk = Talk().login()
    head = f'a APPEND INBOX (\\Flagged $Work \\Recent) " 1-Feb-1994 12:00:00 +0100" {{{len(MAIL)}+}}\r\n'
    assert talk.send(head.encode() + MAIL + b"\r\n")[0].startswith("a OK")
    snapshot = talk.session.account.open("INBOX").snapshot()
    assert snapshot.flags_of(0) == {"\\Flagged", "$Work"}
    assert snapshot.dates[0] == 760100400


def test_the_mailbox_may_be_a_literal() -> None:
    talk = Talk().login()
    assert talk.say("a APPEND {5}") == ["+ Go ahead."]
    assert talk.say("INBOX {4}") == ["+ Go ahead."]
    assert talk.send(b"abcd\r\n")[0].startswith("a OK")


def test_a_missing_mailbox_is_said_before_the_message_is_sent() -> None:
    talk = Talk().login()
    assert talk.say("a APPEND Nowhere {100}")[0].startswith("a NO [TRYCREATE]")
    assert talk.say("b NOOP") == ["b OK NOOP completed."]


def test_a_message_that_is_too_big_is_refused_before_it_is_sent() -> None:
    talk = Talk(settings=replace(DEFAULT, append_limit=1000)).login()
    assert talk.say("a APPEND INBOX {1001}") == ["a NO [TOOBIG] A message may have 1000 octets."]
    said = talk.send(b"b APPEND INBOX {1001+}\r\n" + b"x" * 1001 + b"\r\nc NOOP\r\n")
    assert [line.split()[:2] for line in said] == [["b", "NO"], ["c", "OK"]]
    talk.append(b"x" * 1000)


def test_an_empty_message_is_refused() -> None:
    talk = Talk().login()
    assert talk.say("a APPEND INBOX {0}")[0].startswith("a NO [CANNOT]")
    assert talk.send(b"b APPEND INBOX {0+}\r\n\r\nc NOOP\r\n")[0].startswith("b NO [CANNOT]")


def test_in_the_selected_mailbox_exists_follows() -> None:
    talk = Talk().login().select()
    said = talk.send(b"a APPEND INBOX {4+}\r\nabcd\r\n")
    assert said[:2] == ["* 1 EXISTS", "* 1 RECENT"] and said[2].startswith("a OK [APPENDUID")


def test_several_messages_come_in_one_command() -> None:
    talk = Talk().login()
    assert talk.say("a APPEND INBOX (\\Seen) {4}") == ["+ Go ahead."]
    assert talk.say("abcd {5}") == ["+ Go ahead."]
    said = talk.send(b"efghi {3+}\r\njkl\r\n")
    assert said[0].split("]")[0].endswith(" 1:3")
    assert [stored(talk, uid)[:3] for uid in (1, 2, 3)] == [b"abc", b"efg", b"jkl"]


def test_one_bad_message_of_several_leaves_nothing() -> None:
    talk = Talk().login()
    talk.say("a APPEND INBOX {4}")
    assert talk.say("abcd {0}")[0].startswith("a NO")
    assert "* 0 EXISTS" in talk.say("b SELECT INBOX")


def test_without_multiappend_there_is_one_message() -> None:
    talk = Talk(offers=catalogue.offers(without=["MULTIAPPEND"])).login()
    talk.say("a APPEND INBOX {4}")
    assert talk.say("abcd {4}") == ["a BAD APPEND takes one message at a time."]


def test_there_is_a_limit_to_the_messages_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_room, "MESSAGES", 2)
    talk = Talk().login()
    assert talk.send(b"a APPEND INBOX {1+}\r\na {1+}\r\nb {1+}\r\nc\r\n") == [
        "a NO [LIMIT] An APPEND may have 2 messages."
    ]


def test_literal8_is_taken() -> None:
    talk = Talk().login()
    assert talk.say("a APPEND INBOX ~{4}") == ["+ Go ahead."]
    assert talk.send(b"abcd\r\n")[0].startswith("a OK")


def test_without_uidplus_no_uid_is_told() -> None:
    talk = Talk(offers=catalogue.offers(without=["UIDPLUS"])).login()
    assert talk.send(b"a APPEND INBOX {4+}\r\nabcd\r\n") == ["a OK APPEND completed."]


@pytest.mark.parametrize("line", ["a APPEND INBOX", 'a APPEND INBOX "text"', "a APPEND INBOX (\\Seen)", "a APPEND"])
def test_what_is_no_message_is_bad(line: str) -> None:
    assert Talk().login().say(line)[0].startswith("a BAD")


# --- spools


class WatchedSpool(MemorySpool):
    abandoned = 0

    def abandon(self) -> None:
        type(self).abandoned += 1
        super().abandon()


class FullSpool(WatchedSpool):
    def write(self, data: bytes) -> None:
        raise NoSpace


@pytest.fixture
def spools(monkeypatch: pytest.MonkeyPatch) -> type[WatchedSpool]:
    WatchedSpool.abandoned = 0
    monkeypatch.setattr(MemoryAccount, "spool", lambda self: WatchedSpool())
    return WatchedSpool


def test_the_spool_of_a_command_that_cannot_be_read_is_thrown_away(spools: type[WatchedSpool]) -> None:
    talk = Talk().login()
    assert talk.send(b"a APPEND INBOX {4+}\r\nabcd nonsense\r\n")[0].startswith("a BAD")
    assert spools.abandoned


def test_the_spool_of_a_refused_command_is_thrown_away(spools: type[WatchedSpool]) -> None:
    talk = Talk().login()
    talk.say("a APPEND INBOX {4}")
    talk.say("abcd {0}")
    assert spools.abandoned


def test_the_spool_of_a_client_that_went_away_is_thrown_away(spools: type[WatchedSpool]) -> None:
    talk = Talk().login()
    talk.say("a APPEND INBOX {4000}")
    talk.send(b"abcd")
    talk.hang_up()
    assert spools.abandoned


def test_a_full_disk_is_said_when_the_message_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryAccount, "spool", lambda self: FullSpool())
    talk = Talk().login()
    said = talk.send(b"a APPEND INBOX {4+}\r\nabcd\r\nb NOOP\r\n")
    assert said[0].startswith("a NO [UNAVAILABLE]") and said[1] == "b OK NOOP completed."
