"""ENABLE, ID, NAMESPACE and CAPABILITY as commands."""

from dataclasses import replace

import pytest

from tests.support.talk import DEFAULT, Talk


def test_enable_says_what_was_switched_on_now() -> None:
    talk = Talk().login()
    assert talk.say("a ENABLE imap4REV2 X-GOOD-IDEA") == ["* ENABLED IMAP4rev2", "a OK ENABLE completed."]
    assert talk.session.rev2
    assert talk.say("b ENABLE IMAP4rev2") == ["* ENABLED", "b OK ENABLE completed."]


def test_enable_of_rev2_in_a_mailbox_forgets_what_is_recent() -> None:
    talk = Talk().login().append().select()
    assert talk.say("a FETCH 1 FLAGS")[0] == "* 1 FETCH (FLAGS (\\Recent))"
    talk.enable()
    assert talk.say("a FETCH 1 FLAGS")[0] == "* 1 FETCH (FLAGS ())"
    assert talk.append().say("a UID FETCH 2 FLAGS")[0] == "* 2 FETCH (UID 2 FLAGS ())"


def test_enable_needs_a_word_and_a_login() -> None:
    assert Talk().say("a ENABLE IMAP4rev2") == ["a BAD Log in before ENABLE."]
    assert Talk().login().say("a ENABLE")[0].startswith("a BAD")


def test_without_enable_it_is_imap4rev1() -> None:
    assert not Talk().login().session.rev2


def test_id_tells_who_we_are() -> None:
    talk = Talk(settings=replace(DEFAULT, support_url="https://example.org/help"))
    assert talk.say("a ID NIL") == [
        '* ID ("name" "imapd" "version" "1" "support-url" "https://example.org/help")',
        "a OK ID completed.",
    ]


def test_what_is_empty_is_not_told() -> None:
    assert Talk(settings=replace(DEFAULT, version="")).say("a ID NIL")[0] == '* ID ("name" "imapd")'


def test_what_the_client_says_is_logged() -> None:
    talk = Talk()
    talk.say('a ID ("name" "iPhone Mail" "os-version" NIL "Build" "22A\\"1")')
    assert talk.logged("client") == [{"client_name": "iPhone Mail", "client_os_version": "", "client_build": '22A"1'}]
    assert talk.session.client["name"] == "iPhone Mail"


def test_it_is_logged_once() -> None:
    talk = Talk()
    for _ in range(5):
        talk.say('a ID ("name" "x")')
    assert len(talk.logged("client")) == 1


def test_many_and_long_fields_are_borne() -> None:
    talk = Talk()
    fields = " ".join(f'"field{number}" "{"x" * 100}"' for number in range(50))
    assert talk.say(f"a ID ({fields})")[-1] == "a OK ID completed."
    assert len(talk.session.client) == 50
    assert talk.say(f'b ID ("a" "{"x" * 1000}")')[-1] == "b OK ID completed."
    assert len(talk.session.client["a"]) == 200


@pytest.mark.parametrize("arguments", ["", " (", ' ("name")', ' ("name" "x"', " atom"])
def test_a_broken_id_is_bad(arguments: str) -> None:
    assert Talk().login().say(f"a ID{arguments}")[0].startswith("a BAD")


def test_an_empty_list_is_nothing() -> None:
    assert Talk().say("a ID ()")[-1] == "a OK ID completed."


def test_namespace_is_one_without_a_prefix() -> None:
    assert Talk().login().say("a NAMESPACE") == ['* NAMESPACE (("" "/")) NIL NIL', "a OK NAMESPACE completed."]


def test_commands_without_arguments_take_none() -> None:
    talk = Talk().login()
    for name in ("NOOP", "CAPABILITY", "NAMESPACE", "IDLE"):
        assert talk.say(f"a {name} x")[0].startswith("a BAD")
    assert talk.say("a NOOP  ") == ["a OK NOOP completed."]


def test_check_needs_a_mailbox() -> None:
    talk = Talk().login()
    assert talk.say("a CHECK")[0].startswith("a BAD")
    assert talk.select().say("a CHECK") == ["a OK CHECK completed."]
