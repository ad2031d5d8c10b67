"""STATUS, with SIZE and DELETED."""

import pytest

from tests.support.talk import Talk


def filled() -> Talk:
    """blurdybloop has three messages of 10 octets: one new, one seen, one deleted."""
    talk = Talk().login()
    talk.say("c CREATE blurdybloop")
    for flags in ("()", "(\\Seen)", "(\\Seen \\Deleted)"):
        talk.append(b"A: b\r\n\r\nxx", "blurdybloop", flags)
    return talk


@pytest.mark.parametrize(
    ("items", "answer"),
    [
        ("UIDNEXT MESSAGES", "UIDNEXT 4 MESSAGES 3"),
        ("MESSAGES UIDNEXT", "MESSAGES 3 UIDNEXT 4"),
        ("unseen recent", "UNSEEN 1 RECENT 3"),
        ("SIZE", "SIZE 30"),
        ("DELETED", "DELETED 1"),
        ("MESSAGES MESSAGES", "MESSAGES 3"),
    ],
)
def test_items_are_answered_in_the_order_of_the_question(items: str, answer: str) -> None:
    assert filled().say(f"a STATUS blurdybloop ({items})") == [
        f"* STATUS blurdybloop ({answer})",
        "a OK STATUS completed.",
    ]


def test_uidvalidity_is_the_one_of_select() -> None:
    talk = filled()
    value = talk.say("a STATUS blurdybloop (UIDVALIDITY)")[0].split()[-1].rstrip(")")
    assert any(f"[UIDVALIDITY {value}]" in line for line in talk.say("b SELECT blurdybloop"))


def test_the_selected_mailbox_may_be_asked_for() -> None:
    talk = filled().select("blurdybloop")
    assert talk.say("a STATUS blurdybloop (MESSAGES)")[0] == "* STATUS blurdybloop (MESSAGES 3)"


def test_a_mailbox_that_does_not_exist_has_no_status() -> None:
    assert filled().say("a STATUS nowhere (MESSAGES)")[0].startswith("a NO [NONEXISTENT]")


@pytest.mark.parametrize("command", ["STATUS", "STATUS INBOX", "STATUS INBOX ()", "STATUS INBOX (UNHEARD)", "STATUS INBOX MESSAGES"])  # fmt: skip
def test_what_is_no_status_is_bad(command: str) -> None:
    assert filled().say(f"a {command}")[-1].startswith("a BAD")


def test_an_unknown_item_is_named() -> None:
    assert filled().say("a STATUS INBOX (UNHEARD)") == ["a BAD STATUS has no item UNHEARD"]
