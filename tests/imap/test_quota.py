"""GETQUOTA, GETQUOTAROOT, SETQUOTA, what is refused for want of room, and the warning before that."""

from dataclasses import replace

import pytest

from imapd.imap import catalogue
from imapd.mailstore.errors import Retry
from imapd.mailstore.memory import MemoryAccount
from imapd.mailstore.quota import Limits
from tests.support.people import People
from tests.support.talk import DEFAULT, Talk

MAIL = b"Subject: x\r\n\r\n" + b"x" * 1010  # one unit of STORAGE
LIMITED = replace(DEFAULT, limits=Limits(4 * 1024, 10), quota_warning=0)


def talk(settings=LIMITED, people=None, store=None, **others):
    people = people or People()
    people.others = others
    return Talk(settings=settings, people=people, store=store).login()


def administrator(settings=LIMITED, store=None):
    """Somebody who acts as alice."""
    return talk(settings, store=store, acted_by="people/root")


def resources(one):
    return one.say('q GETQUOTA ""')[0]


def words(one):
    return one.say("c CAPABILITY")[0].split()[2:]


# -- what is said


def test_use_and_limits_are_told_in_units_of_1024_octets():
    one = talk().append(MAIL).append(MAIL)
    assert one.say('a GETQUOTA ""') == ['* QUOTA "" (STORAGE 2 4 MESSAGE 2 10)', "a OK GETQUOTA completed."]
    assert one.say("b getquotaroot Nowhere")[:2] == [
        '* QUOTAROOT Nowhere ""',
        '* QUOTA "" (STORAGE 2 4 MESSAGE 2 10)',
    ]


def test_a_part_of_a_unit_is_a_unit():
    assert resources(talk(replace(LIMITED, limits=Limits(1500))).append(b"a: b\r\n\r\n")) == '* QUOTA "" (STORAGE 1 2)'


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(), "()"),
        (Limits(None, 7), "(MESSAGE 0 7)"),
        (Limits(1 << 50), "(STORAGE 0 1099511627776)"),
        (Limits(0, 0), "(STORAGE 0 0 MESSAGE 0 0)"),
    ],
)
def test_what_has_no_limit_is_not_named(limits, said):
    assert resources(talk(replace(LIMITED, limits=limits))) == f'* QUOTA "" {said}'


@pytest.mark.parametrize("root", ["x", '"#user/alice"', "{1+}\r\nx", '"INBOX"'])
def test_there_is_one_quota_root(root):
    one = administrator()
    assert one.say(f"a GETQUOTA {root}") == ["a NO [NONEXISTENT] There is no such quota root."]
    assert one.say(f"a SETQUOTA {root} (STORAGE 1)") == ["a NO [NONEXISTENT] There is no such quota root."]
    assert resources(one) == '* QUOTA "" (STORAGE 0 4 MESSAGE 0 10)'


@pytest.mark.parametrize(
    "command",
    [
        "GETQUOTA",
        'GETQUOTA ""  ""',
        "GETQUOTAROOT",
        "SETQUOTA",
        'SETQUOTA ""',
        'SETQUOTA "" STORAGE 1',
        'SETQUOTA "" (STORAGE)',
        'SETQUOTA "" (STORAGE -1)',
        'SETQUOTA "" (STORAGE 9223372036854775808)',
        'SETQUOTA "" (STORAGE 1 STORAGE 2)',
        'SETQUOTA "" (STORAGE 1',
    ],
)
def test_what_is_no_command_is_bad(command):
    assert administrator().say(f"a {command}")[-1].startswith("a BAD")


def test_before_login_there_is_nothing_to_ask():
    one = Talk()
    assert not any("QUOTA" in word for word in words(one))
    assert one.say('a GETQUOTA ""')[0].startswith("a BAD")


def test_status_tells_what_expunge_would_set_free():
    one = talk().append(MAIL, flags="(\\Deleted)").append(MAIL).append(MAIL, flags="(\\Deleted)")
    said = one.say("a STATUS INBOX (DELETED DELETED-STORAGE MESSAGES)")[0]
    assert said == f"* STATUS INBOX (DELETED 2 DELETED-STORAGE {2 * len(MAIL)} MESSAGES 3)"


def test_the_capability_words():
    assert {"QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE"} <= set(words(talk()))
    without = Talk(offers=catalogue.offers(without=["QUOTA"])).login()
    assert not any("QUOTA" in word for word in words(without))
    assert without.say('a GETQUOTA ""')[0].startswith("a BAD")


# -- where the limits come from


def test_the_entry_stands_above_the_settings():
    assert resources(talk(quota_bytes=8192)) == '* QUOTA "" (STORAGE 0 8 MESSAGE 0 10)'
    assert resources(talk(quota_messages=3)) == '* QUOTA "" (STORAGE 0 4 MESSAGE 0 3)'
    assert resources(talk(quota_bytes=0, quota_messages=0)) == '* QUOTA "" ()'


def test_administrators_are_told_that_they_may_set_limits_and_nobody_else_may():
    one = talk()
    assert "QUOTASET" not in words(one)
    assert one.say('a SETQUOTA "" (STORAGE 512)') == ["a NO [NOPERM] Limits are set by administrators."]
    assert resources(one) == '* QUOTA "" (STORAGE 0 4 MESSAGE 0 10)'
    assert "QUOTASET" in words(administrator())


def test_what_is_set_stands_above_the_entry_and_what_is_not_named_has_no_limit():
    store = (root := administrator()).store
    assert root.say('a SETQUOTA "" (STORAGE 512)') == ['* QUOTA "" (STORAGE 0 512)', "a OK SETQUOTA completed."]
    assert root.logged("quota_set") == [{"by": "people/root", "octets": 512 * 1024, "messages": None}]
    alice = talk(store=store, quota_bytes=1 << 20)
    assert resources(alice) == '* QUOTA "" (STORAGE 0 512)'
    root.say('b SETQUOTA "" (message 3 storage 0)')
    assert resources(alice) == '* QUOTA "" (STORAGE 0 0 MESSAGE 0 3)'
    assert root.say('c SETQUOTA "" ()')[0] == '* QUOTA "" ()'
    assert resources(talk(store=store, quota_bytes=1 << 20)) == '* QUOTA "" ()'


def test_resources_that_there_are_not_are_refused():
    one = administrator()
    assert one.say('a SETQUOTA "" (MAILBOX 3)') == ["a NO [CANNOT] There is no limit for MAILBOX here."]
    assert one.say('b SETQUOTA "" (STORAGE 1 ANNOTATION-STORAGE 3)')[0].startswith("b NO [CANNOT]")
    assert resources(one) == '* QUOTA "" (STORAGE 0 4 MESSAGE 0 10)'


def test_a_limit_that_cannot_be_counted_in_octets_is_the_largest_that_can():
    one = administrator()
    assert one.say('a SETQUOTA "" (STORAGE 9223372036854775807)')[0] == '* QUOTA "" (STORAGE 0 9007199254740991)'


# -- what is refused


def test_a_message_that_does_not_fit_is_refused_before_it_is_sent():
    one = talk()
    assert one.say("a APPEND INBOX {4097}")[0].startswith("a NO [OVERQUOTA]")
    assert one.say("b APPEND INBOX {4096}") == ["+ Go ahead."]
    assert one.send(b"x" * 4096 + b"\r\n")[-1].startswith("b OK")
    assert one.say("c APPEND INBOX {1}")[0].startswith("c NO [OVERQUOTA]")
    said = one.send(b"d APPEND INBOX {5+}\r\nhello\r\ne NOOP\r\n")
    assert [line.split()[:3] for line in said] == [["d", "NO", "[OVERQUOTA]"], ["e", "OK", "NOOP"]]


def test_the_number_of_messages_is_limited_too():
    one = talk(replace(LIMITED, limits=Limits(None, 2))).append().append()
    assert one.say("a APPEND INBOX {1}")[0].startswith("a NO [OVERQUOTA]")


def test_several_messages_are_taken_together():
    one = talk(replace(LIMITED, limits=Limits(1000, 10)))
    head = b"a APPEND INBOX {400+}\r\n%s {400+}\r\n%s {400}\r\n" % (b"x" * 400, b"y" * 400)
    assert one.send(head)[0].startswith("a NO [OVERQUOTA]")
    one = talk(replace(LIMITED, limits=Limits(None, 2)))
    assert one.send(b"a APPEND INBOX {1+}\r\nx {1+}\r\ny {1}\r\n")[0].startswith("a NO [OVERQUOTA]")
    assert one.say("b STATUS INBOX (MESSAGES)")[0] == "* STATUS INBOX (MESSAGES 0)"


def test_line_ends_that_are_made_whole_count_at_the_end():
    one = talk(replace(LIMITED, limits=Limits(10)))
    assert one.send(b"a APPEND INBOX {8+}\r\na\nb\nc\nd\n\r\n")[0].startswith("a NO [OVERQUOTA]")


def test_a_missing_mailbox_is_said_first():
    assert talk().say("a APPEND Nowhere {9000}")[0].startswith("a NO [TRYCREATE]")


def test_copies_are_all_or_none_and_everything_else_goes_on():
    one = talk().append(MAIL).append(MAIL).append(MAIL)
    one.say("x CREATE Other")
    one.select()
    assert one.say("a COPY 1:2 Other")[-1].startswith("a NO [OVERQUOTA]")
    assert one.say("b STATUS Other (MESSAGES)")[0] == "* STATUS Other (MESSAGES 0)"
    assert one.say("c COPY 1 Other")[-1].startswith("c OK")
    one.session.account.set_quota(Limits(0, 0))
    assert one.say("d MOVE 2 Other")[-1].startswith("d OK")
    assert one.say("e STORE 1 +FLAGS (\\Deleted)")[-1].startswith("e OK")
    assert one.say("f EXPUNGE")[-1].startswith("f OK")
    assert one.say("g RENAME INBOX Old")[-1].startswith("g OK")
    assert one.say("h CREATE New")[-1].startswith("h OK")
    assert one.say("i DELETE Other")[-1].startswith("i OK")
    assert resources(one) == '* QUOTA "" (STORAGE 1 0 MESSAGE 1 0)'


# -- the warning


ALERT = "* NO [ALERT] Your mail file is %d %% full."


def test_who_is_nearly_full_is_warned_once_in_a_connection():
    settings = replace(LIMITED, quota_warning=50)
    one = talk(settings).append(MAIL)
    assert not [line for line in one.say("a SELECT INBOX") if "ALERT" in line]
    said = one.send(b"b APPEND INBOX {%d+}\r\n%s\r\n" % (len(MAIL), MAIL))
    assert said[0] == ALERT % 50 and said[-1].startswith("b OK")
    assert not [line for line in one.say("c SELECT INBOX") if "ALERT" in line]
    again = talk(settings, store=one.store)
    assert ALERT % 50 in again.say("d SELECT INBOX")
    assert ALERT % 50 not in again.say("e EXAMINE INBOX")


def test_the_limit_that_is_nearer_counts():
    one = talk(replace(LIMITED, limits=Limits(1 << 20, 4), quota_warning=90))
    for _ in range(4):
        one.append()
    assert ALERT % 100 in Talk(store=one.store, settings=one.session.settings).login().say("a EXAMINE INBOX")


def test_there_is_no_warning_without_limits_or_a_threshold():
    for settings in (replace(LIMITED, quota_warning=0), replace(DEFAULT, quota_warning=1)):
        one = talk(settings)
        for _ in range(3):
            one.append(MAIL)
        assert not [line for line in one.say("a SELECT INBOX") if "ALERT" in line]


def test_a_warning_that_cannot_be_given_fails_no_command(monkeypatch):
    one = talk(replace(LIMITED, quota_warning=1))

    def busy(account):
        raise Retry

    monkeypatch.setattr(MemoryAccount, "quota", busy)
    assert one.say("a SELECT INBOX")[-1].startswith("a OK")
