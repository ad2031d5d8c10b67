"""CREATE, DELETE, RENAME, SUBSCRIBE and UNSUBSCRIBE."""

import pytest

from tests.support.talk import Talk


def names(talk: Talk) -> list[str]:
    return [line.split('"/" ')[1] for line in talk.say('l LIST "" *')[:-1]]


def test_a_mailbox_is_created_with_its_parents() -> None:
    talk = Talk().login()
    assert talk.say("a CREATE foo/bar/zap") == ["a OK CREATE completed."]
    assert names(talk) == ["INBOX", "foo", "foo/bar", "foo/bar/zap"]
    assert talk.say("b SELECT foo/bar")[-1].startswith("b NO [NONEXISTENT]")
    assert talk.say("c CREATE foo/bar") == ["c OK CREATE completed."]
    assert talk.say("d SELECT foo/bar")[-1].startswith("d OK")


def test_a_delimiter_at_the_end_is_taken_off() -> None:
    talk = Talk().login()
    assert talk.say("a CREATE owatagusiam/") == ["a OK CREATE completed."]
    assert talk.say("b CREATE owatagusiam/blurdybloop") == ["b OK CREATE completed."]
    assert names(talk) == ["INBOX", "owatagusiam", "owatagusiam/blurdybloop"]
    assert talk.say("c RENAME owatagusiam/ other/")[-1].startswith("c OK")
    assert talk.say("d DELETE other/blurdybloop/")[-1].startswith("d OK")
    assert names(talk) == ["INBOX", "other"]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("CREATE inbox", "ALREADYEXISTS"),
        ("CREATE here", "ALREADYEXISTS"),
        ("CREATE INBOX/", "ALREADYEXISTS"),
        ('CREATE ""', "CANNOT"),
        ("CREATE /", "CANNOT"),
        ("CREATE a//b", "CANNOT"),
        ("CREATE ../x", "CANNOT"),
        ('CREATE "a*"', "CANNOT"),
        ('CREATE "a%b"', "CANNOT"),
        ("CREATE x (USE (\\All))", "USEATTR"),
        ("CREATE x (USE (\\Nonsense))", "USEATTR"),
        ("CREATE x (USE (\\Drafts \\Sent))", "USEATTR"),
        ("DELETE INBOX", "CANNOT"),
        ("DELETE nowhere", "NONEXISTENT"),
        ("DELETE above", "HASCHILDREN"),
        ("RENAME nowhere x", "NONEXISTENT"),
        ("RENAME here above/child", "ALREADYEXISTS"),
        ("RENAME here inbox", "ALREADYEXISTS"),
        ("RENAME here here/below", "CANNOT"),
        ("RENAME here a//b", "CANNOT"),
        ("SUBSCRIBE a//b", "CANNOT"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_code(command: str, code: str) -> None:
    talk = Talk().login()
    for name in ("here", "above/child", "Post (USE (\\Sent))"):
        assert talk.say(f"c CREATE {name}")[-1].startswith("c OK")
    before = names(talk)
    answer = talk.say(f"a {command}")
    assert len(answer) == 1 and answer[0].startswith(f"a NO [{code}] "), answer
    assert names(talk) == before


@pytest.mark.parametrize(
    "command",
    ["CREATE", "CREATE ", "CREATE x y", "CREATE x (USE)", "CREATE x (USE (Sent))", "CREATE x (UNHEARD (1))", "CREATE &x",
     "DELETE", "RENAME x", "RENAME x y z", "SUBSCRIBE", "UNSUBSCRIBE"],
)  # fmt: skip
def test_what_cannot_be_read_is_bad(command: str) -> None:
    talk = Talk().login()
    assert talk.say(f"a {command}")[-1].startswith("a BAD")
    assert names(talk) == ["INBOX"]


def test_a_mailbox_may_be_created_for_a_use() -> None:
    talk = Talk().login()
    assert talk.say("a CREATE MySpecial (USE (\\Drafts \\Sent))") == ["a OK CREATE completed."]
    assert talk.say('b LIST "" My*')[0] == '* LIST (\\HasNoChildren \\Drafts \\Sent) "/" MySpecial'
    assert talk.say("c CREATE Plain (USE ())") == ["c OK CREATE completed."]


def test_a_deleted_mailbox_leaves_its_children() -> None:
    talk = Talk().login()
    for name in ("foo", "foo/bar"):
        talk.say(f"c CREATE {name}")
    assert talk.say("a DELETE foo") == ["a OK DELETE completed."]
    assert talk.say('b LIST "" %')[1] == '* LIST (\\Noselect \\HasChildren) "/" foo'
    assert talk.say("c DELETE foo")[0].startswith("c NO [HASCHILDREN]")
    assert talk.say("d DELETE foo/bar") == ["d OK DELETE completed."]
    assert names(talk) == ["INBOX"]


def test_deleting_the_selected_mailbox_closes_it() -> None:
    talk = Talk().login()
    talk.say("c CREATE foo")
    talk.select("foo")
    assert talk.say("a DELETE foo") == [
        "* OK [CLOSED] The selected mailbox was deleted.",
        "a OK DELETE completed.",
    ]
    assert talk.say("b FETCH 1 FLAGS")[0].startswith("b BAD")
    assert talk.say("c SELECT INBOX")[-1].startswith("c OK")


def test_children_are_renamed_with_their_parent() -> None:
    talk = Talk().login()
    talk.say("c CREATE foo/bar")
    talk.say("c CREATE blurdybloop")
    assert talk.say("a RENAME blurdybloop sarasoop") == ["a OK RENAME completed."]
    assert talk.say("b RENAME foo baz/rag/zowie") == ["b OK RENAME completed."]
    assert names(talk) == ["INBOX", "baz", "baz/rag", "baz/rag/zowie", "baz/rag/zowie/bar", "sarasoop"]


def test_renaming_inbox_moves_its_messages() -> None:
    talk = Talk().login().append().append()
    talk.say("c CREATE INBOX/bar")
    talk.select()
    assert talk.say("a RENAME INBOX old-mail") == ["* 2 EXPUNGE", "* 1 EXPUNGE", "* 0 RECENT", "a OK RENAME completed."]
    assert names(talk) == ["INBOX", "INBOX/bar", "old-mail"]
    assert talk.say("b STATUS old-mail (MESSAGES)")[0] == "* STATUS old-mail (MESSAGES 2)"


def test_subscriptions_do_not_need_mailboxes() -> None:
    talk = Talk().login()
    assert talk.say("a SUBSCRIBE #news.comp.mail.mime") == ["a OK SUBSCRIBE completed."]
    assert talk.say("b SUBSCRIBE #news.comp.mail.mime") == ["b OK SUBSCRIBE completed."]
    assert talk.say('c LSUB "" *')[0].endswith("#news.comp.mail.mime") or "#news" in talk.say('c LSUB "" *')[0]
    assert talk.say("d UNSUBSCRIBE #news.comp.mail.mime") == ["d OK UNSUBSCRIBE completed."]
    assert talk.say("e UNSUBSCRIBE #news.comp.mail.mime") == ["e OK UNSUBSCRIBE completed."]
    assert talk.say('f LSUB "" *') == ["f OK LSUB completed."]


def test_a_subscription_outlives_its_mailbox() -> None:
    talk = Talk().login()
    for line in ("CREATE foo", "SUBSCRIBE foo", "DELETE foo"):
        assert talk.say(f"a {line}")[-1].startswith("a OK")
    assert talk.say('b LSUB "" *')[0] == '* LSUB (\\Noselect \\HasNoChildren) "/" foo'
    assert names(talk) == ["INBOX"]
