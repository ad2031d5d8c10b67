"""Certificates in a real LDAP directory: whose a certificate is, octet by octet."""

import base64

import pytest

from imapd.directory.certificate import ClientCertificate
from imapd.directory.interface import Ambiguous
from imapd.directory.person import Person
from tests.support.certificates import Authority
from tests.support.slapd import Slapd, person

OURS, OTHER = Authority('Acme "A" CA'), Authority("Other CA")
ADA = OURS.issue("Ada Byron", serial=77)
BEN = OURS.issue("Benjamin", serial=78)
OLD = OURS.issue("Ada Byron", serial=76)
SHARED = OURS.issue("Reception", serial=90)
# What others may come with: the same number by another authority, the same number and authority again, any name.
SAME_NUMBER = OTHER.issue("Ada Byron", serial=77, emails=("ada@acme.example",))
SAME_AGAIN = OURS.issue("Ada Byron", serial=77)
SAME_NAME = OURS.issue("Ada Byron", serial=99, emails=("ada@acme.example",))


def holding(name, *certificates, attribute="userCertificate;binary", **attributes):
    held = "".join(f"{attribute}:: {base64.b64encode(one.der).decode()}\n" for one in certificates)
    return person(name, **attributes) + held


ENTRIES = [
    holding("ada", ADA, OLD, cn="Ada Byron"),
    holding("ben", BEN),
    holding("sue", SHARED),
    holding("tom", SHARED),
    person("eve", cn="Ada Byron"),
    holding("dora", BEN, OURS.issue("x"), objectClass="dominoPerson", cn="Benjamin"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Slapd(tmp_path_factory.mktemp("certificates") / "slapd", "\n".join(ENTRIES)) as slapd:
        yield slapd


def owner(directory, issued):
    found = directory.find_certificate(ClientCertificate.read(issued.der))
    return found.short_name if isinstance(found, Person) else found


@pytest.mark.parametrize(
    ("issued", "name"), [(ADA, "ada"), (OLD, "ada"), (SAME_NUMBER, None), (SAME_AGAIN, None), (SAME_NAME, None)]
)
def test_a_certificate_is_whose_entry_has_it(server, open_directory, issued, name):
    assert owner(open_directory(server), issued) == name


def test_a_certificate_that_two_people_have_is_ambiguous(server, open_directory):
    found = owner(open_directory(server), SHARED)
    assert isinstance(found, Ambiguous) and len(found.dns) == 2


def test_a_server_that_does_not_match_certificates_is_asked_for_the_names_in_it(server, open_directory, monkeypatch):
    directory = open_directory(server, preset="domino")
    monkeypatch.setattr(type(directory._query), "certificate", lambda self, certificate: None)
    assert owner(directory, BEN) == "dora"
    assert owner(directory, SAME_NAME) is None


def test_the_search_by_number_and_issuer_finds_one_entry_of_many(server, open_directory):
    directory = open_directory(server)
    question = directory._query.certificate(ClientCertificate.read(ADA.der))
    assert [one.short_name for one in directory._persons(question, 10, lambda *step: None)] == ["ada"]
