"""Mailbox names as clients write them: with a delimiter behind them, and in another spelling than the stored one."""

from tests.support.talk import Talk

DECOMPOSED = "Entwu\u0308rfe"
COMPOSED = "Entw\u00fcrfe"


def test_every_command_passes_over_one_delimiter_at_the_end_of_a_name() -> None:
    talk = Talk().login().append().select()
    assert talk.say("a CREATE foo/")[-1].startswith("a OK")
    for command in ("COPY 1 foo/", "STATUS foo/ (MESSAGES)", "SUBSCRIBE foo/", "UNSUBSCRIBE foo/", "SELECT foo/"):
        assert talk.say("a " + command)[-1].startswith("a OK"), command
    assert talk.append(mailbox="foo/").say("a DELETE foo/")[-1].startswith("a OK")


def test_two_delimiters_are_too_many() -> None:
    talk = Talk().login()
    assert talk.say("a CREATE foo//")[-1].startswith("a NO [CANNOT]")


def test_a_client_of_rev2_is_told_how_its_name_is_stored() -> None:
    talk = Talk().login().enable()
    assert talk.say(f'a CREATE "{DECOMPOSED}"')[0] == f'* LIST () "/" "{COMPOSED}" ("OLDNAME" ("{DECOMPOSED}"))'
    answer = talk.say(f'a SELECT "{DECOMPOSED}"')
    assert f'* LIST () "/" "{COMPOSED}" ("OLDNAME" ("{DECOMPOSED}"))' in answer
    answer = talk.say(f'a RENAME "{DECOMPOSED}" other')
    assert answer[0] == f'* LIST () "/" other ("OLDNAME" ("{DECOMPOSED}"))'
    assert talk.say('a CREATE "inbox/x"')[0] == '* LIST () "/" INBOX/x ("OLDNAME" (inbox/x))'
    assert talk.say('a DELETE "inbox/x"')[0] == '* LIST (\\NonExistent) "/" INBOX/x ("OLDNAME" (inbox/x))'


def test_a_client_that_writes_the_stored_name_or_speaks_rev1_is_told_nothing() -> None:
    talk = Talk().login()
    assert talk.say('a CREATE "inbox/x"') == ["a OK CREATE completed."]
    talk.enable()
    assert talk.say(f'a CREATE "{COMPOSED}/"') == ["a OK CREATE completed."]
    assert '* LIST () "/" INBOX' in talk.say("a SELECT INBOX")
