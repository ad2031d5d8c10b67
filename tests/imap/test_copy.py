"""COPY, MOVE, EXPUNGE and their UID forms."""

import re

import pytest

from imapd.imap import catalogue
from imapd.mailstore.errors import OverQuota
from imapd.mailstore.memory import MemoryMailbox
from tests.support.talk import Talk


@pytest.fixture
def talk() -> Talk:
    """INBOX has five messages, Saved one."""
    talk = Talk().login()
    assert talk.say("c CREATE Saved")[-1].startswith("c OK")
    talk.append(mailbox="Saved")
    for number in range(1, 6):
        talk.append(f"Subject: {number}\r\n\r\nx\r\n", flags="(\\Seen)" if number % 2 else "()")
    return talk.select()


def uidvalidity(talk: Talk, mailbox: str) -> str:
    return re.search(r"UIDVALIDITY (\d+)", talk.say(f"v STATUS {mailbox} (UIDVALIDITY)")[0])[1]


def expunged(talk: Talk, numbers: str) -> None:
    """Another client removes messages; this one is not told."""
    other = Talk(store=talk.store, loop=talk.loop).login().select()
    for line in (f"STORE {numbers} +FLAGS.SILENT (\\Deleted)", "EXPUNGE"):
        assert other.say(f"x {line}")[-1].startswith("x OK")


@pytest.mark.parametrize(
    ("command", "sets"),
    [
        ("COPY 2:4 Saved", "2:4 2:4"),
        ("COPY 5,1,3 Saved", "1,3,5 2:4"),
        ("COPY * Saved", "5 2"),
        ("COPY 1:* INBOX", "1:5 6:10"),
        ("UID COPY 2:3,77 Saved", "2:3 2:3"),
    ],
)
def test_a_copy_tells_the_new_uids(talk: Talk, command: str, sets: str) -> None:
    target = command.split()[-1]
    *_, tagged = talk.say(f"a {command}")
    assert tagged == f"a OK [COPYUID {uidvalidity(talk, target)} {sets}] {command.rsplit(' ', 2)[0]} completed."


def test_a_copy_keeps_flags_and_date(talk: Talk) -> None:
    talk.say("a STORE 1 +FLAGS.SILENT ($Work \\Flagged)")
    before = talk.say("b FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE)")[0].replace(" \\Recent", "")
    talk.say("c COPY 1 Saved")
    talk.select("Saved")
    assert talk.say("d FETCH 2 (FLAGS INTERNALDATE RFC822.SIZE)")[0].replace(" \\Recent", "") == before.replace(
        "* 1", "* 2"
    )


@pytest.mark.parametrize("command", ["COPY 1 Nowhere", "UID COPY 1 Nowhere", "MOVE 1 Nowhere", "UID MOVE 1 Nowhere"])
def test_a_missing_target_may_be_created(talk: Talk, command: str) -> None:
    answer = talk.say(f"a {command}")
    assert len(answer) == 1 and answer[0].startswith("a NO [TRYCREATE] ")
    assert talk.say("b FETCH 1:* UID")[-2] == "* 5 FETCH (UID 5)"


@pytest.mark.parametrize("command", ["UID COPY 77 Saved", "UID MOVE 77:80 Saved", "UID COPY 77 Nowhere"])
def test_uids_that_name_nothing_are_no_error(talk: Talk, command: str) -> None:
    (answer,) = talk.say(f"a {command}")
    assert answer.startswith("a OK There is nothing to ")


def test_what_is_over_quota_is_refused(talk: Talk, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OverQuota

    monkeypatch.setattr(MemoryMailbox, "copy", full)
    assert talk.say("a COPY 1 Saved")[0].startswith("a NO [OVERQUOTA]")


def test_expunged_messages_are_not_copied(talk: Talk) -> None:
    """RFC 2180 section 4.4.2."""
    expunged(talk, "2")
    said = talk.say("a COPY 1:3 Saved")
    assert said[0] == "* 2 EXPUNGE"
    assert said[-1] == f"a OK [COPYUID {uidvalidity(talk, 'Saved')} 1,3 2:3] COPY completed."


@pytest.mark.parametrize("command", ["COPY", "MOVE"])
def test_nothing_left_to_copy_is_an_error_with_sequence_numbers(talk: Talk, command: str) -> None:
    expunged(talk, "2:3")
    said = talk.say(f"a {command} 2:3 Saved")
    assert said[:2] == ["* 3 EXPUNGE", "* 2 EXPUNGE"]
    assert said[-1].startswith("a NO [EXPUNGEISSUED]")


def test_uid_copy_of_expunged_messages_is_ok(talk: Talk) -> None:
    expunged(talk, "2:3")
    assert talk.say("a UID COPY 2:3 Saved")[-1] == "a OK UID COPY completed."


@pytest.mark.parametrize("command", ["MOVE 2:3 Saved", "UID MOVE 2:3 Saved"])
def test_move_tells_the_uids_before_it_expunges(talk: Talk, command: str) -> None:
    assert talk.say(f"a {command}") == [
        f"* OK [COPYUID {uidvalidity(talk, 'Saved')} 2:3 2:3] Moved.",
        "* 3 EXPUNGE",
        "* 2 EXPUNGE",
        "* 3 RECENT",
        f"a OK {command.rsplit(' ', 2)[0]} completed.",
    ]
    assert talk.say("b STATUS Saved (MESSAGES)")[0] == "* STATUS Saved (MESSAGES 3)"
    assert talk.say("c UID SEARCH ALL")[0] == "* SEARCH 1 4 5"


def test_a_message_may_be_moved_into_its_own_mailbox(talk: Talk) -> None:
    said = talk.say("a MOVE 1 INBOX")
    assert said[0].startswith("* OK [COPYUID ") and " 1 6]" in said[0]
    assert said[1:3] == ["* 1 EXPUNGE", "* 5 EXISTS"]


def test_nothing_moves_out_of_a_mailbox_for_reading_only(talk: Talk) -> None:
    talk.say("a EXAMINE INBOX")
    for command in ("MOVE 1 Saved", "UID MOVE 1 Saved", "EXPUNGE", "UID EXPUNGE 1"):
        assert talk.say(f"b {command}") == ["b NO [READ-ONLY] The mailbox is open for reading only."]
    assert talk.say("c COPY 1 Saved")[0].startswith("c OK [COPYUID")


def test_without_uidplus_no_uids_are_told() -> None:
    talk = Talk(offers=catalogue.offers(without=["UIDPLUS"])).login().append().select()
    assert talk.say("a COPY 1 INBOX")[-1] == "a OK COPY completed."
    assert not any("COPYUID" in line for line in talk.say("b MOVE 1 INBOX"))
    assert talk.say("c UID EXPUNGE 1")[0].startswith("c BAD")


def test_without_move_there_is_no_move() -> None:
    talk = Talk(offers=catalogue.offers(without=["MOVE"])).login().append().select()
    assert talk.say("a MOVE 1 INBOX")[0].startswith("a BAD")
    assert "MOVE" not in talk.say("b CAPABILITY")[0].split()


def test_expunge_removes_what_is_deleted(talk: Talk) -> None:
    talk.say("a STORE 2,4 +FLAGS.SILENT (\\Deleted)")
    assert talk.say("b EXPUNGE") == ["* 4 EXPUNGE", "* 2 EXPUNGE", "* 3 RECENT", "b OK EXPUNGE completed."]
    assert talk.say("c EXPUNGE") == ["c OK EXPUNGE completed."]
    assert talk.say("d UID SEARCH ALL")[0] == "* SEARCH 1 3 5"


def test_uid_expunge_removes_what_is_deleted_and_named(talk: Talk) -> None:
    talk.say("a STORE 2,4 +FLAGS.SILENT (\\Deleted)")
    assert talk.say("b UID EXPUNGE 1:3,77") == ["* 2 EXPUNGE", "* 4 RECENT", "b OK UID EXPUNGE completed."]
    assert talk.say("c UID EXPUNGE 77") == ["c OK UID EXPUNGE completed."]
    assert talk.say("d UID EXPUNGE 1:*") == ["* 3 EXPUNGE", "* 3 RECENT", "d OK UID EXPUNGE completed."]


@pytest.mark.parametrize(
    "command",
    ["COPY", "COPY 1", "COPY 9 Saved", "COPY 0 Saved", "COPY x Saved", "COPY 1 Saved x", "MOVE 1", "MOVE 6 Saved", "EXPUNGE 1",
     "UID EXPUNGE", "UID EXPUNGE x", "UID COPY 1", "UID MOVE Saved", "UID", "UID NOOP"],
)  # fmt: skip
def test_what_cannot_be_read_is_bad(talk: Talk, command: str) -> None:
    assert talk.say(f"a {command}")[-1].startswith("a BAD")
    assert talk.say("b FETCH 1:* UID")[-2] == "* 5 FETCH (UID 5)"
