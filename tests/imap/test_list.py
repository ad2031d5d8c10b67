"""LIST, LSUB and XLIST, with all their options."""

import pytest

from imapd.mailstore.errors import NoSuchMailbox, Retry
from imapd.mailstore.memory import MemoryAccount
from tests.support.talk import Talk


def tree(*names: str, subscribed: tuple[str, ...] = ()) -> Talk:
    talk = Talk().login()
    for name in names:
        assert talk.say(f"c CREATE {name}")[-1].startswith("c OK"), name
    for name in subscribed:
        assert talk.say(f"s SUBSCRIBE {name}")[-1].startswith("s OK"), name
    return talk


def listed(talk: Talk, command: str) -> list[str]:
    """What LIST or LSUB says, each line behind "* LIST "."""
    *lines, tagged = talk.say(f"a {command}")
    assert tagged.startswith("a OK"), tagged
    return [line.split(" ", 2)[2] for line in lines]


def names(talk: Talk, command: str) -> list[str]:
    return [line.split('"/" ')[1] for line in listed(talk, command)]


FRUIT = ("Fruit", "Fruit/Apple", "Fruit/Banana", "Tofu", "Vegetable", "Vegetable/Broccoli", "Vegetable/Corn")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ('LIST "" *', ["INBOX", *FRUIT]),
        ('LIST "" %', ["INBOX", "Fruit", "Tofu", "Vegetable"]),
        ('LIST "" inbox', ["INBOX"]),
        ('LIST "" iNbOx*', ["INBOX"]),
        ('LIST "" fruit', []),
        ('LIST "" Fruit', ["Fruit"]),
        ('LIST "" Fruit/%', ["Fruit/Apple", "Fruit/Banana"]),
        ("LIST Fruit/ %", ["Fruit/Apple", "Fruit/Banana"]),
        ('LIST "Fruit/" "A*"', ["Fruit/Apple"]),
        ("LIST Fru it", ["Fruit"]),
        ('LIST "" */*o*', ["Vegetable/Broccoli", "Vegetable/Corn"]),
        ('LIST "" %/Corn', ["Vegetable/Corn"]),
        ('LIST "" %%%%', ["INBOX", "Fruit", "Tofu", "Vegetable"]),
        ('LIST "" ""', ['""']),
        ('LIST "Fruit" ""', ['""']),
        ('LIST "" ("")', []),
        ('LIST "" ("Fruit" INBOX "Fru*")', ["INBOX", "Fruit", "Fruit/Apple", "Fruit/Banana"]),
        ('LIST "" Nothing', []),
        ('LIST "nowhere/" *', []),
    ],
)
def test_patterns_choose_names(command: str, expected: list[str]) -> None:
    assert names(tree(*FRUIT), command) == expected


def test_children_are_told_always() -> None:
    talk = tree("Foo", "Foo/Bar", "Moo")
    expected = ['(\\HasNoChildren) "/" INBOX', '(\\HasChildren) "/" Foo', '(\\HasNoChildren) "/" Moo']
    assert listed(talk, 'LIST "" %') == expected
    assert listed(talk, 'LIST () "" % RETURN (CHILDREN)') == expected


def test_the_delimiter_is_asked_for_with_an_empty_pattern() -> None:
    assert listed(tree(), 'LIST "" ""') == ['(\\Noselect) "/" ""']
    assert listed(tree(), 'LSUB "" ""') == ['(\\Noselect) "/" ""']


def test_a_name_that_only_has_children_cannot_be_selected() -> None:
    talk = tree("foo/bar")
    assert listed(talk, 'LIST "" foo') == ['(\\Noselect \\HasChildren) "/" foo']
    assert listed(talk, 'LIST "" (foo)') == ['(\\NonExistent \\Noselect \\HasChildren) "/" foo']
    assert listed(talk.enable(), 'LIST "" foo') == ['(\\NonExistent \\Noselect \\HasChildren) "/" foo']


def test_names_are_spelled_as_the_client_reads_them() -> None:
    talk = tree("Entw&APw-rfe", '"two words"')
    assert names(talk, 'LIST "" Entw*') == ['"Entw&APw-rfe"']
    assert names(talk, 'LIST "" "Entw&APw-r%"') == ['"Entw&APw-rfe"']
    assert names(talk, 'LIST "" two*') == ['"two words"']
    assert names(talk.enable(), 'LIST "" "Entwü*"') == ['"Entwürfe"']


# --- LIST-EXTENDED -----------------------------------------------------------------------------------------------


def fruit() -> Talk:
    """The tree of the examples of RFC 5258 section 5."""
    return tree(*FRUIT, subscribed=("INBOX", "Fruit/Banana", "Fruit/Peach", "Vegetable", "Vegetable/Broccoli"))


def test_subscribed_names_are_listed_whether_they_exist_or_not() -> None:
    expected = [
        '(\\HasNoChildren \\Subscribed) "/" INBOX',
        '(\\HasNoChildren \\Subscribed) "/" Fruit/Banana',
        '(\\NonExistent \\Noselect \\HasNoChildren \\Subscribed) "/" Fruit/Peach',
        '(\\HasChildren \\Subscribed) "/" Vegetable',
        '(\\HasNoChildren \\Subscribed) "/" Vegetable/Broccoli',
    ]
    assert listed(fruit(), 'LIST (SUBSCRIBED) "" "*"') == expected
    assert listed(fruit(), 'LIST (REMOTE SUBSCRIBED) "" "*"') == expected
    assert listed(fruit(), 'LIST (SUBSCRIBED SUBSCRIBED) "" "*" RETURN (SUBSCRIBED)') == expected


def test_subscriptions_are_told_of_names_that_exist() -> None:
    said = listed(fruit(), 'LIST (REMOTE) "" "*" RETURN (SUBSCRIBED)')
    assert [line.split('"/" ')[1] for line in said if "\\Subscribed" in line] == [
        "INBOX", "Fruit/Banana", "Vegetable", "Vegetable/Broccoli",
    ]  # fmt: skip
    assert len(said) == 8 and not any("Peach" in line for line in said)
    assert not any("\\Subscribed" in line for line in listed(fruit(), 'LIST "" "*"'))


def test_recursivematch_tells_of_what_is_below() -> None:
    talk = tree("Foo", "Foo/Bar", "Foo/Baz", "Moo", subscribed=("Foo/Baz",))
    assert listed(talk, 'LIST (SUBSCRIBED) "" "%"') == []
    below = '"/" Foo ("CHILDINFO" ("SUBSCRIBED"))'
    assert listed(talk, 'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"') == [f"(\\HasChildren) {below}"]
    talk.say("s SUBSCRIBE Foo")
    assert listed(talk, 'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"') == [f"(\\HasChildren \\Subscribed) {below}"]
    talk.say("s UNSUBSCRIBE Foo/Baz")
    assert listed(talk, 'LIST (RECURSIVEMATCH SUBSCRIBED) "" "%"') == ['(\\HasChildren \\Subscribed) "/" Foo']


def test_recursivematch_works_without_the_parent() -> None:
    talk = tree("Moo", subscribed=("Foo/Baz",))
    assert listed(talk, 'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"') == [
        '(\\NonExistent \\Noselect \\HasNoChildren) "/" Foo ("CHILDINFO" ("SUBSCRIBED"))'
    ]


def test_childinfo_is_not_sent_for_what_is_listed_itself() -> None:
    """RFC 9051 section 6.3.9.8, example 8."""
    talk = tree(
        "foo2", "foo2/bar1", "foo2/bar2", "baz2", "baz2/bar2", "baz2/bar22", "baz2/bar222", "eps2", "eps2/mamba", "qux2/bar2",
        subscribed=("foo2/bar1", "foo2/bar2", "baz2/bar2", "baz2/bar22", "baz2/bar222", "eps2", "eps2/mamba", "qux2/bar2"),
    )  # fmt: skip
    said = listed(talk, 'LIST (RECURSIVEMATCH SUBSCRIBED) "" "*2"')
    assert {line.split('"/" ')[1] for line in said} == {
        'foo2 ("CHILDINFO" ("SUBSCRIBED"))', "foo2/bar2", "baz2/bar2", "baz2/bar22", "baz2/bar222",
        'eps2 ("CHILDINFO" ("SUBSCRIBED"))', "qux2/bar2",
    }  # fmt: skip


def test_childinfo_does_not_need_children_that_exist() -> None:
    """RFC 9051 section 6.3.9.8, example 9."""
    talk = tree("foo", subscribed=("foo/bar",))
    assert listed(talk, 'LIST (SUBSCRIBED RECURSIVEMATCH) "" foo RETURN (CHILDREN)') == [
        '(\\HasNoChildren) "/" foo ("CHILDINFO" ("SUBSCRIBED"))'
    ]


@pytest.mark.parametrize(
    "command",
    [
        'LIST (RECURSIVEMATCH) "" *',
        'LIST (REMOTE RECURSIVEMATCH) "" *',
        'LIST (UNHEARD) "" *',
        'LIST "" * RETURN (UNHEARD)',
        'LIST "" * RETURNS (CHILDREN)',
        'LIST "" * RETURN',
        'LIST "" * RETURN (STATUS)',
        'LIST "" * RETURN (STATUS ())',
        'LIST "" * RETURN (STATUS (UNHEARD))',
        'LIST ""',
        "LIST",
        'LSUB (SUBSCRIBED) "" *',
    ],
)
def test_what_is_no_list_is_bad(command: str) -> None:
    assert tree().say(f"a {command}")[-1].startswith("a BAD")


def test_blanks_at_the_end_are_overlooked() -> None:
    assert names(tree(), 'LIST "" * ') == ["INBOX"]


# --- LIST-STATUS -------------------------------------------------------------------------------------------------


def test_status_follows_each_name_that_can_be_selected() -> None:
    talk = tree("foo", "bar/baz").append(mailbox="foo").append(mailbox="foo", flags="(\\Seen)")
    assert talk.say('a LIST "" % RETURN (STATUS (MESSAGES UNSEEN))') == [
        '* LIST (\\HasNoChildren) "/" INBOX',
        "* STATUS INBOX (MESSAGES 0 UNSEEN 0)",
        '* LIST (\\NonExistent \\Noselect \\HasChildren) "/" bar',
        '* LIST (\\HasNoChildren) "/" foo',
        "* STATUS foo (MESSAGES 2 UNSEEN 1)",
        "a OK LIST completed.",
    ]


def test_status_is_not_told_of_a_name_that_is_listed_for_its_children() -> None:
    """RFC 9051 section 6.3.9.8, example 11."""
    talk = tree("foo", "foo/bar", subscribed=("INBOX", "foo/bar"))
    assert talk.say('a LIST (SUBSCRIBED RECURSIVEMATCH) "" % RETURN (STATUS (MESSAGES))')[:-1] == [
        '* LIST (\\HasNoChildren \\Subscribed) "/" INBOX',
        "* STATUS INBOX (MESSAGES 0)",
        '* LIST (\\HasChildren) "/" foo ("CHILDINFO" ("SUBSCRIBED"))',
    ]


@pytest.mark.parametrize(
    ("trouble", "attributes"),
    [(NoSuchMailbox(), "\\NonExistent \\Noselect \\HasNoChildren"), (Retry(), "\\HasNoChildren")],
)
def test_a_status_that_fails_does_not_fail_the_list(monkeypatch, trouble: Exception, attributes: str) -> None:
    def fail(*_: object) -> None:
        raise trouble

    talk = tree()
    monkeypatch.setattr(MemoryAccount, "status", fail)
    assert talk.say('a LIST "" * RETURN (STATUS (MESSAGES))') == [
        f'* LIST ({attributes}) "/" INBOX',
        "a OK LIST completed.",
    ]


# --- SPECIAL-USE -------------------------------------------------------------------------------------------------


def test_special_uses_are_told_without_being_asked_for() -> None:
    talk = tree("Gesendet (USE (\\sent))", "Plain", subscribed=("Gesendet",))
    assert listed(talk, 'LIST "" Ges*') == ['(\\HasNoChildren \\Sent) "/" Gesendet']
    assert listed(talk, 'LIST "" Ges* RETURN (SPECIAL-USE)') == ['(\\HasNoChildren \\Sent) "/" Gesendet']
    assert listed(talk, 'LSUB "" *') == ['(\\HasNoChildren \\Sent) "/" Gesendet']


def test_special_use_chooses() -> None:
    talk = tree("Post/Ab (USE (\\Sent))", "Post/Muell (USE (\\Junk))", "Plain")
    assert listed(talk, 'LIST (SPECIAL-USE) "" *') == [
        '(\\HasNoChildren \\Sent) "/" Post/Ab',
        '(\\HasNoChildren \\Junk) "/" Post/Muell',
    ]
    assert listed(talk, 'LIST (SPECIAL-USE RECURSIVEMATCH) "" %') == [
        '(\\NonExistent \\Noselect \\HasChildren) "/" Post ("CHILDINFO" ("SPECIAL-USE"))'
    ]


def test_xlist_is_answered_though_nobody_offers_it() -> None:
    talk = tree("Spam (USE (\\Junk))")
    assert talk.say('a XLIST "" *') == [
        '* XLIST (\\HasNoChildren \\Inbox) "/" INBOX',
        '* XLIST (\\HasNoChildren \\Spam) "/" Spam',
        "a OK XLIST completed.",
    ]
    assert "XLIST" not in talk.say("b CAPABILITY")[0]


# --- LSUB --------------------------------------------------------------------------------------------------------


def test_lsub_lists_subscribed_names() -> None:
    assert listed(fruit(), 'LSUB "" *') == [
        '(\\HasNoChildren) "/" INBOX',
        '(\\HasNoChildren) "/" Fruit/Banana',
        '(\\Noselect \\HasNoChildren) "/" Fruit/Peach',
        '(\\HasChildren) "/" Vegetable',
        '(\\HasNoChildren) "/" Vegetable/Broccoli',
    ]


def test_lsub_with_a_percent_tells_of_parents() -> None:
    """RFC 3501 section 6.3.9: foo is not subscribed, foo/bar is."""
    talk = tree("foo", "foo/bar", subscribed=("foo/bar",))
    assert listed(talk, 'LSUB "" %') == ['(\\Noselect \\HasChildren) "/" foo']
    assert listed(talk, 'LSUB "" *') == ['(\\HasNoChildren) "/" foo/bar']
    assert listed(talk, "LSUB foo/ %") == ['(\\HasNoChildren) "/" foo/bar']
    assert listed(talk, 'LSUB "" f%r') == []
