"""People whose entry names a mail server: who is at home here, and where the others are sent."""

import pytest

from imapd.directory.mailserver import Elsewhere, Home
from imapd.directory.person import Person
from imapd.model.errors import Refused

NAMES = ("imap.acme.example", "Mail1/Acme")


def person(server, **fields):
    return Person("acme", "1", "uid=ada,o=acme", "Ada", mail_server=server, **fields)


def refused(home, person):
    with pytest.raises(Refused) as error:
        home.require(person)
    return error.value


@pytest.mark.parametrize(
    ("server", "here"),
    [
        (None, True),
        ("imap.acme.example", True),
        ("IMAP.acme.EXAMPLE.", True),
        ("imap.acme.example:993", True),
        ("CN=Mail1,O=Acme", True),
        ("CN=Mail1/O=Acme", True),
        ("mail1/acme", True),
        ("mail2/acme", False),
        ("imap2.acme.example", False),
        ("", False),
        ("a\0b", False),
    ],
)
def test_who_is_at_home_here(server, here):
    assert Home(Elsewhere.REFUSE, NAMES).is_here(person(server)) is here


def test_people_of_other_servers_are_refused_and_the_log_knows_where_they_are():
    error = refused(Home(Elsewhere.REFUSE, NAMES), person("imap2.acme.example"))
    assert error.code == "CANNOT" and "imap2" not in error.text and "'imap2.acme.example'" in error.reason


def test_or_served_all_the_same():
    Home(Elsewhere.SERVE, NAMES).require(person("imap2.acme.example"))


def test_or_sent_there():
    ada = person("imap2.acme.example", internet_address="ada@acme.example", short_name="ada")
    error = refused(Home(Elsewhere.REFERRAL, NAMES), ada)
    assert error.code == "REFERRAL imap://ada@acme.example;AUTH=*@imap2.acme.example/".replace("ada@", "ada%40")


def test_a_user_in_a_referral_cannot_break_out_of_the_line():
    error = refused(Home(Elsewhere.REFERRAL, NAMES), person("imap2.acme.example:1143", short_name="a]\r\n* OK x/é;"))
    assert error.code == "REFERRAL imap://a%5D%0D%0A%2A%20OK%20x%2F%C3%A9%3B;AUTH=*@imap2.acme.example:1143/"


@pytest.mark.parametrize("server", ["Mail2/Acme", "imap2] x", "imap2\r\nx", "imap2/x", "-", "@evil.example", ""])
def test_nobody_is_sent_to_what_is_no_host(server):
    assert refused(Home(Elsewhere.REFERRAL, NAMES), person(server)).code == "CANNOT"
