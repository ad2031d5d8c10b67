"""SELECT, EXAMINE, CLOSE, UNSELECT, and the news of a mailbox."""

import pytest

from imapd.imap import catalogue
from imapd.imap.extension import Extension, Modifier, Offers
from tests.support.talk import Talk


def pair() -> tuple[Talk, Talk]:
    """Two clients of the same person."""
    first = Talk().login()
    return first, Talk(store=first.store, loop=first.loop).login()


def test_select_describes_an_empty_mailbox() -> None:
    answer = Talk().login().say("a SELECT inbox")
    assert answer[:4] == [
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)",
        "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Flags that last.",
        "* 0 EXISTS",
        "* 0 RECENT",
    ]
    assert answer[4].startswith("* OK [UIDVALIDITY ")
    assert answer[5].startswith("* OK [UIDNEXT 1]")
    assert answer[6:] == ["a OK [READ-WRITE] SELECT completed."]


def test_select_names_the_first_unseen_message_and_the_keywords() -> None:
    talk = Talk().login().append(flags="(\\Seen)").append(flags="($Forwarded)").append()
    answer = talk.say("a SELECT INBOX")
    assert answer[0] == "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded)"
    assert "* 3 EXISTS" in answer and "* 3 RECENT" in answer
    assert any(line.startswith("* OK [UNSEEN 2]") for line in answer)
    assert any(line.startswith("* OK [UIDNEXT 4]") for line in answer)


def test_examine_changes_nothing_and_offers_nothing() -> None:
    talk = Talk().login().append()
    for _ in range(2):
        answer = talk.say("a EXAMINE INBOX")
        assert "* 1 RECENT" in answer
        assert "* OK [PERMANENTFLAGS ()] Flags that last." in answer
        assert answer[-1] == "a OK [READ-ONLY] EXAMINE completed."


def test_a_mailbox_that_is_not_there_leaves_nothing_selected() -> None:
    talk = Talk().login().select()
    assert talk.say("a SELECT Nowhere")[-1].startswith("a NO [NONEXISTENT]")
    assert talk.say("b CHECK")[0].startswith("b BAD")


def test_a_select_that_cannot_be_read_changes_nothing() -> None:
    talk = Talk().login().select()
    assert talk.say("a SELECT")[-1].startswith("a BAD")
    assert talk.say("b CHECK") == ["b OK CHECK completed."]


def test_select_again_says_closed_in_rev2_only() -> None:
    talk = Talk().login().select()
    assert not talk.say("a SELECT INBOX")[0].startswith("* OK [CLOSED]")
    talk.enable()
    assert talk.say("a SELECT INBOX")[0] == "* OK [CLOSED] The mailbox before is closed."
    assert talk.say("a SELECT Nowhere")[0].startswith("* OK [CLOSED]")


def test_rev2_gets_list_and_no_recent_and_no_unseen() -> None:
    talk = Talk().login().append().enable()
    answer = talk.say("a SELECT INBOX")
    assert '* LIST () "/" INBOX' in answer
    assert not [line for line in answer if "RECENT" in line or "UNSEEN" in line]
    assert answer[-1] == "a OK [READ-WRITE] SELECT completed."


def test_rev2_names_are_utf8() -> None:
    talk = Talk().login()
    talk.say("a CREATE Entw&APw-rfe")
    talk.enable()
    answer = talk.say('b SELECT "Entwürfe"')
    assert '* LIST () "/" "Entwürfe"' in answer


def test_an_unknown_parameter_is_bad() -> None:
    assert Talk().login().say("a SELECT INBOX (FAST)") == ["a BAD SELECT has no parameter FAST."]


def test_parameters_come_from_the_table() -> None:
    class Fast(Modifier):
        command, name = "SELECT", "FAST"

    talk = Talk(offers=Offers([*catalogue.CATALOGUE, Extension(modifiers=(Fast,))])).login()
    assert talk.say("a SELECT INBOX (FAST)")[-1].startswith("a OK")


def test_close_expunges_without_a_word() -> None:
    talk = Talk().login().append(flags="(\\Deleted)").append().select()
    assert talk.say("a CLOSE") == ["a OK CLOSE completed."]
    assert "* 1 EXISTS" in talk.say("b SELECT INBOX")


@pytest.mark.parametrize("leave", ["UNSELECT", "LOGOUT"])
def test_unselect_and_logout_expunge_nothing(leave: str) -> None:
    talk = Talk().login().append(flags="(\\Deleted)").select()
    talk.say(f"a {leave}")
    assert "* 1 EXISTS" in Talk(store=talk.store).login().say("b SELECT INBOX")


def test_close_after_examine_expunges_nothing() -> None:
    talk = Talk().login().append(flags="(\\Deleted)")
    talk.say("a EXAMINE INBOX")
    assert talk.say("b CLOSE") == ["b OK CLOSE completed."]
    assert "* 1 EXISTS" in talk.say("c SELECT INBOX")


# --- news


def test_noop_tells_arrivals() -> None:
    one, two = pair()
    one.select()
    two.append()
    assert one.say("a NOOP") == ["* 1 EXISTS", "* 1 RECENT", "a OK NOOP completed."]
    assert one.say("b NOOP") == ["b OK NOOP completed."]


def test_a_message_is_recent_to_one_session_only() -> None:
    one, two = pair()
    one.append().select()
    assert "* 0 RECENT" in two.say("a SELECT INBOX")


def test_in_rev2_nobody_hears_of_recent() -> None:
    one, two = pair()
    one.enable().select()
    two.append()
    assert one.say("a NOOP") == ["* 1 EXISTS", "a OK NOOP completed."]


def test_new_keywords_are_told_before_the_flags_that_use_them() -> None:
    one, two = pair()
    two.append().select()
    one.select()
    two.say("a STORE 1 +FLAGS ($Label1 \\Seen)")
    assert one.say("a NOOP") == [
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Label1)",
        "* 1 FETCH (FLAGS (\\Seen $Label1))",
        "a OK NOOP completed.",
    ]


def test_in_rev2_flags_come_with_the_uid() -> None:
    one, two = pair()
    two.append().select()
    one.enable().select()
    two.say("a STORE 1 +FLAGS (\\Seen)")
    assert one.say("a NOOP")[0] == "* 1 FETCH (UID 1 FLAGS (\\Seen))"


def test_expunges_come_from_the_highest_down() -> None:
    one, two = pair()
    two.append().append(flags="(\\Deleted)").append(flags="(\\Deleted)").select()
    one.select()
    two.say("a EXPUNGE")
    assert one.say("a NOOP")[:2] == ["* 3 EXPUNGE", "* 2 EXPUNGE"]


def test_expunge_waits_while_numbers_may_not_change() -> None:
    one, two = pair()
    two.append(flags="(\\Deleted)").append().select()
    one.select()
    two.say("a EXPUNGE")
    assert not [line for line in one.say("a SEARCH ALL") if "EXPUNGE" in line]
    assert "* 1 EXPUNGE" in one.say("b UID SEARCH ALL")


def test_a_deleted_mailbox_says_bye_to_a_rev1_client() -> None:
    one, two = pair()
    one.say("a CREATE Work")
    one.select("Work")
    two.say("a DELETE Work")
    answer = one.say("b NOOP")
    assert answer[0].startswith("* BYE") and answer[-1].startswith("b OK") and one.closed
    assert one.logged("mailbox_lost")[0]["mailbox"] == "Work"


def test_a_deleted_mailbox_is_closed_for_a_rev2_client() -> None:
    one, two = pair()
    one.say("a CREATE Work")
    one.enable().select("Work")
    two.say("a DELETE Work")
    assert one.say("b NOOP")[0].startswith("* OK [CLOSED]")
    assert one.say("c CHECK")[0].startswith("c BAD")
    assert "* 0 EXISTS" in one.say("d SELECT INBOX")


def test_a_deleted_mailbox_can_be_left_for_another() -> None:
    one, two = pair()
    one.say("a CREATE Work")
    one.select("Work")
    two.say("a DELETE Work")
    assert one.say("b SELECT INBOX")[-1].startswith("b OK")


def test_a_deleted_mailbox_can_be_closed() -> None:
    one, two = pair()
    one.say("a CREATE Work")
    one.select("Work")
    two.say("a DELETE Work")
    assert one.say("b CLOSE") == ["b OK CLOSE completed."]
