"""IDLE."""

from dataclasses import replace

from imapd.imap.commands import idle as idle_room
from tests.support.talk import DEFAULT, Talk


def pair() -> tuple[Talk, Talk]:
    first = Talk(settings=replace(DEFAULT, keepalive=600)).login()
    return first, Talk(store=first.store, loop=first.loop).login()


def test_idle_tells_what_arrives_until_done() -> None:
    one, two = pair()
    one.select()
    assert one.say("a IDLE") == ["+ idling"]
    assert one.hear() == []
    two.append()
    assert one.hear() == ["* 1 EXISTS", "* 1 RECENT"]
    assert one.say("done") == ["a OK IDLE ended."]
    assert one.say("b NOOP") == ["b OK NOOP completed."]


def test_the_continuation_comes_before_the_news() -> None:
    one, two = pair()
    one.select()
    two.append()
    assert one.say("a IDLE") == ["+ idling", "* 1 EXISTS", "* 1 RECENT"]


def test_expunges_are_told_while_idle() -> None:
    one, two = pair()
    two.append(flags="(\\Deleted)").select()
    one.select()
    one.say("a IDLE")
    two.say("a EXPUNGE")
    assert "* 1 EXPUNGE" in one.hear()


def test_done_and_the_next_command_may_come_together() -> None:
    talk = Talk().login().select()
    talk.say("a IDLE")
    assert talk.send(b"DONE\r\nb NOOP\r\n") == ["a OK IDLE ended.", "b OK NOOP completed."]


def test_idle_and_done_may_come_together() -> None:
    assert Talk().login().send(b"a IDLE\r\nDONE\r\n") == ["+ idling", "a OK IDLE ended."]


def test_idle_needs_no_mailbox() -> None:
    talk = Talk().login()
    assert talk.say("a IDLE") == ["+ idling"]
    assert talk.say("DONE") == ["a OK IDLE ended."]


def test_anything_but_done_is_bad() -> None:
    talk = Talk().login().select()
    talk.say("a IDLE")
    assert talk.say("b NOOP") == ["a BAD IDLE is ended by DONE."]


def test_a_sign_of_life_comes_after_a_long_silence_only() -> None:
    one, two = pair()
    one.select()
    one.say("a IDLE")
    one.loop.advance(599)
    assert one.wake() == []
    two.append()
    assert one.hear() == ["* 1 EXISTS", "* 1 RECENT"]
    one.loop.advance(599)
    assert one.wake() == []
    one.loop.advance(1)
    assert one.wake() == ["* OK Still here."]
    assert one.wake() == []


def test_a_mailbox_deleted_meanwhile_ends_the_session_of_a_rev1_client() -> None:
    one, two = pair()
    one.say("a CREATE Work")
    one.select("Work").say("a IDLE")
    two.say("a DELETE Work")
    assert one.wake()[0].startswith("* BYE") and one.closed


def test_a_mailbox_deleted_meanwhile_is_closed_for_a_rev2_client() -> None:
    one, two = pair()
    one.say("a CREATE Work")
    one.enable().select("Work").say("a IDLE")
    two.say("a DELETE Work")
    assert one.wake()[0].startswith("* OK [CLOSED]")
    assert one.say("DONE") == ["a OK IDLE ended."]


def test_idle_must_come_after_login() -> None:
    assert Talk().say("a IDLE") == ["a BAD Log in before IDLE."]
    assert idle_room.extension.words == ("IDLE",)
