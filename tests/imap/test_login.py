"""LOGIN, AUTHENTICATE and STARTTLS."""

import base64
from dataclasses import replace

import pytest

from imapd.directory.chain import DirectoryChain, Policy
from imapd.directory.mailserver import Elsewhere, Home
from imapd.imap.commands.login import Login
from imapd.mailstore.errors import NoSuchAccount
from imapd.mailstore.memory import MemoryStore
from tests.support.directories import FakeDirectory, person
from tests.support.loop import PlainLoop
from tests.support.people import People
from tests.support.talk import DEFAULT, Talk


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("line", ["LOGIN alice secret", 'LOGIN "alice" "secret"', 'login "alice" secret'])
def test_login_takes_atoms_and_strings(line: str) -> None:
    answer = Talk().say(f"a {line}")
    assert answer[0].startswith("a OK [CAPABILITY IMAP4rev1 ")
    assert answer[0].endswith("] You have logged in.")


def test_passwords_may_hold_anything() -> None:
    talk = Talk(people=People(alice='a "b" \\ c', bob="Zoë"))
    assert talk.say('a LOGIN alice "a \\"b\\" \\\\ c"')[0].startswith("a OK")
    talk = Talk(people=People(alice="x", bob="Zoë"))
    assert talk.say('a LOGIN bob "Zoë"')[0].startswith("a OK")


def test_login_takes_literals() -> None:
    talk = Talk()
    assert talk.say("a LOGIN {5}") == ["+ Go ahead."]
    assert talk.say("alice {6}") == ["+ Go ahead."]
    assert talk.say("secret")[0].startswith("a OK")


def test_a_wrong_password_is_refused_without_saying_why() -> None:
    talk = Talk()
    expected = ["a NO [AUTHENTICATIONFAILED] Name or password is wrong."]
    assert talk.say("a LOGIN alice wrong") == expected
    assert talk.say("a LOGIN nobody wrong") == expected


def test_the_log_has_the_true_reason_and_no_password() -> None:
    talk = Talk()
    talk.say("a LOGIN nobody hunter2")
    talk.login()
    (failed,) = talk.logged("login_failed")
    assert failed == {"user": "nobody", "method": "LOGIN", "tls": True, "seconds": 0.0, "reason": "no such person"}
    (entered,) = talk.logged("login")
    assert entered["user"] == "alice" and entered["person"] == "Alice Example"
    assert "hunter2" not in repr(talk.events) and "secret" not in repr(talk.events)


def test_repr_hides_the_password() -> None:
    assert "secret" not in repr(Login("alice", b"secret"))


def test_three_failed_logins_end_the_connection() -> None:
    talk = Talk()
    talk.say("a LOGIN alice wrong")
    talk.say(f"b AUTHENTICATE PLAIN {b64(chr(0) + 'alice' + chr(0) + 'wrong')}")
    assert talk.say("c LOGIN alice wrong")[-1] == "* BYE Too many failed logins."
    assert talk.closed


def test_a_directory_that_is_away_is_no_failed_login() -> None:
    people = People()
    people.go_away()
    talk = Talk(people=people)
    for _ in range(4):
        assert talk.say("a LOGIN alice secret")[0].startswith("a NO [UNAVAILABLE]")
    assert talk.logged("login_failed")[0]["temporary"] is True
    people.trouble = None
    talk.login()


def test_a_person_without_a_mail_file_stays_outside() -> None:
    class NoMail(MemoryStore):
        def open_account(self, owner: object) -> object:
            raise NoSuchAccount

    talk = Talk(store=NoMail(PlainLoop()))
    assert talk.say("a LOGIN alice secret")[0].startswith("a NO [CONTACTADMIN]")
    assert talk.say("b NAMESPACE") == ["b BAD Log in before NAMESPACE."]


def test_a_person_whose_entry_names_no_mail_file_stays_outside() -> None:
    people = People()
    people.others = {"mail_file": None}
    talk = Talk(people=people)
    assert talk.say("a LOGIN alice secret")[0].startswith("a NO [CONTACTADMIN]")
    assert talk.logged("login_failed")[0]["reason"] == "the directory names no mail file for this person"


def test_in_the_clear_login_is_refused_before_the_directory_is_asked() -> None:
    people = People()
    talk = Talk(people=people, private=False, settings=replace(DEFAULT, plaintext_login=False))
    for _ in range(5):
        assert talk.say("a LOGIN alice secret")[0].startswith("a NO [PRIVACYREQUIRED]")
        assert talk.say("a AUTHENTICATE PLAIN")[0].startswith("a NO [PRIVACYREQUIRED]")
    assert people.asked == 0 and not talk.closed


def test_a_listener_may_take_no_passwords_at_all() -> None:
    talk = Talk(settings=replace(DEFAULT, name_password=False))
    assert talk.say("a LOGIN alice secret")[0].startswith("a NO [CANNOT]")


# --- AUTHENTICATE


def test_plain_asks_for_the_response() -> None:
    talk = Talk()
    assert talk.say("a AUTHENTICATE PLAIN") == ["+ "]
    assert talk.say(b64("\0alice\0secret"))[0].startswith("a OK [CAPABILITY ")


def test_plain_takes_an_initial_response() -> None:
    assert (
        Talk().say(f"a authenticate plain {b64('alice' + chr(0) + 'alice' + chr(0) + 'secret')}")[0].startswith("a OK")
    )


def test_login_mechanism_asks_twice() -> None:
    talk = Talk()
    assert talk.say("a AUTHENTICATE LOGIN") == [f"+ {b64('Username:')}"]
    assert talk.say(b64("alice")) == [f"+ {b64('Password:')}"]
    assert talk.say(b64("secret"))[0].startswith("a OK")


def test_a_star_cancels() -> None:
    talk = Talk()
    talk.say("a AUTHENTICATE PLAIN")
    assert talk.say("*") == ["a BAD The login was cancelled."]
    talk.login()


@pytest.mark.parametrize("response", ["not base64!", "AA=A", b64("no zeros"), ""])
def test_a_bad_response_is_bad(response: str) -> None:
    talk = Talk()
    talk.say("a AUTHENTICATE PLAIN")
    assert talk.say(response)[0].startswith("a BAD")
    assert not talk.closed


def test_an_unknown_mechanism_is_refused() -> None:
    assert Talk().say("a AUTHENTICATE GSSAPI") == ["a NO [CANNOT] That mechanism is not offered."]


def test_a_mechanism_that_the_listener_does_not_allow_is_refused() -> None:
    talk = Talk(settings=replace(DEFAULT, mechanisms=("PLAIN",)))
    assert talk.say("a AUTHENTICATE LOGIN") == ["a NO [CANNOT] That mechanism is not offered."]


def test_nobody_logs_in_for_somebody_else() -> None:
    people = People()
    talk = Talk(people=people)
    answer = talk.say(f"a AUTHENTICATE PLAIN {b64('bob' + chr(0) + 'alice' + chr(0) + 'secret')}")
    assert answer[0].startswith("a NO [AUTHORIZATIONFAILED]")
    # Only behind the password: who does not know it does not learn who there is.
    answer = talk.say(f"b AUTHENTICATE PLAIN {b64('bob' + chr(0) + 'alice' + chr(0) + 'wrong')}")
    assert answer[0].startswith("b NO [AUTHENTICATIONFAILED]")


# --- STARTTLS


def test_starttls_is_acknowledged_before_it_begins() -> None:
    talk = Talk(private=False, settings=replace(DEFAULT, plaintext_login=False))
    assert talk.say("a STARTTLS") == ["a OK Begin TLS now."]
    assert talk.upgraded and talk.session.private
    assert "STARTTLS" not in talk.say("b CAPABILITY")[0]
    talk.login()


def test_starttls_comes_once() -> None:
    assert Talk(private=True).say("a STARTTLS") == ["a BAD The connection is encrypted already."]


def test_starttls_may_be_switched_off() -> None:
    talk = Talk(private=False, settings=replace(DEFAULT, starttls=False))
    assert talk.say("a STARTTLS") == ["a BAD There is no TLS on this port."]


def test_what_was_said_in_the_clear_is_forgotten() -> None:
    talk = Talk(private=False)
    talk.say('a ID ("name" "x")')
    talk.say("b STARTTLS")
    assert not talk.session.client


def test_starttls_comes_before_login() -> None:
    assert Talk(private=False).login().say("a STARTTLS")[0].startswith("a BAD STARTTLS comes before login")


def test_who_has_his_mail_elsewhere_is_told_where_in_a_line_of_its_own() -> None:
    people = FakeDirectory("acme", 1, {"ada": person("ada", mail_server="imap2.example.org", short_name="a]b\r\n")})
    policy = Policy(delay=0, home=Home(Elsewhere.REFERRAL, ["imap.example.org"]))
    talk = Talk(people=DirectoryChain([people], PlainLoop(), policy), settings=replace(DEFAULT, referrals=True))
    assert "LOGIN-REFERRALS" in talk.say("a CAPABILITY")[0].split()
    code = "REFERRAL imap://a%5Db%0D%0A;AUTH=*@imap2.example.org/"
    assert talk.say("b LOGIN ada secret") == [f"b NO [{code}] Your mail is on imap2.example.org."]
    assert talk.say(f"c AUTHENTICATE PLAIN {b64(chr(0) + 'ada' + chr(0) + 'secret')}")[0].startswith(f"c NO [{code}]")
    assert (
        talk.logged("login_failed")[0]["reason"] == "the mail of 'uid=ada,o=first' in first is on 'imap2.example.org'"
    )
    assert "LOGIN-REFERRALS" not in Talk().say("a CAPABILITY")[0]
