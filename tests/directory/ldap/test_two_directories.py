"""A primary directory and a partner's: whose names are whose, also while the primary cannot be asked."""

import base64

import pytest

from imapd.directory.certificate import ClientCertificate
from imapd.directory.chain import DirectoryChain, Policy
from imapd.directory.names import Scope
from imapd.model.errors import Refused, Unreachable
from tests.support.certificates import Authority
from tests.support.loop import PlainLoop
from tests.support.slapd import HIDDEN, people, person

CERTIFICATES = Authority("Partner CA")
BOSS = CERTIFICATES.issue("Boss", emails=("boss@acme.example",))

ACME = Scope.of(True, ("acme.example",), True, (), ("credentials", "certificates", "groups"))
PARTNER = Scope.of(False, ("partner.example",), None, ("*/*/*/people/Partner/*",), ("credentials",))


@pytest.fixture
def acme(make_slapd):
    return make_slapd(people("ada", "boss", "u8"))


@pytest.fixture
def partner(make_slapd):
    claims = person("eve", "o=Partner", mail="eve@partner.example") + "mail: boss@acme.example\n"
    held = f"userCertificate;binary:: {base64.b64encode(BOSS.der).decode()}\n"
    own = person("u8", "o=Partner", mail="u8@partner.example", password="partner") + held
    outside = "dn: uid=spy,o=Partner\nobjectClass: inetOrgPerson\nuid: spy\ncn: Spy\nsn: Spy\nmail: spy@partner.example\nuserPassword: secret\n"
    return make_slapd("\n".join([claims, own, outside]), suffix="o=Partner")


@pytest.fixture
def site(open_directory, acme, partner):
    """Makes the chain of both; the arguments are for the primary."""

    def make(loop=None, **primary):
        loop = loop or PlainLoop()
        first = open_directory(acme, order=1, scope=ACME, loop=loop, **primary)
        second = open_directory(
            partner, name="partner", order=2, scope=PARTNER, base="o=Partner", mail_prefix="partner", loop=loop
        )
        return DirectoryChain([second, first], loop, Policy(delay=0))

    return make


def refused(chain, name, password=b"secret"):
    with pytest.raises(Refused) as error:
        chain.authenticate(name, password, "192.0.2.1")
    return error.value


def test_a_name_in_both_is_the_primarys(site):
    chain = site()
    assert chain.authenticate("u8", b"secret", "::1").directory == "acme"
    assert refused(chain, "u8", b"partner").code == "AUTHENTICATIONFAILED"
    theirs = chain.authenticate("u8@partner.example", b"partner", "::1")
    assert theirs.directory == "partner" and theirs.mail_file == "partner/u8"


def stopped(server):
    server.stop()


def killed(server):
    server.kill()


def paused(server):
    server.pause()


def hidden(server):
    server.configure(HIDDEN)
    server.restart()


@pytest.mark.parametrize("trouble", [stopped, killed, paused, hidden])
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "warm"])
def test_no_name_of_the_primary_is_taken_while_it_cannot_be_asked(site, acme, trouble, warm):
    chain = site()
    if warm:
        assert chain.lookup("u8").directory == "acme"
    trouble(acme)
    try:
        for name in ("u8", "U8 ", "uid=u8", "u8@acme.example", "nobody", "U8 Example"):
            with pytest.raises(Unreachable):
                chain.authenticate(name, b"partner", "192.0.2.1")
        # The partner's own names are the partner's, whatever becomes of the primary.
        assert chain.authenticate("u8@partner.example", b"partner", "192.0.2.1").directory == "partner"
    finally:
        if acme.process:
            acme.resume()


def test_a_primary_with_a_wrong_base_lets_no_name_go_to_the_partner(site):
    chain = site(base="ou=peple,dc=acme,dc=example")
    with pytest.raises(Unreachable):
        chain.authenticate("u8", b"partner", "192.0.2.1")


def test_a_primary_that_hides_its_canary_is_not_believed(open_directory, acme, partner):
    loop = PlainLoop()
    first = open_directory(acme, order=1, scope=ACME, loop=loop, canary="uid=ghost,ou=people,dc=acme,dc=example")
    second = open_directory(partner, name="partner", order=2, scope=PARTNER, base="o=Partner", loop=loop)
    with pytest.raises(Unreachable):
        DirectoryChain([first, second], loop, Policy(delay=0)).authenticate("u8", b"partner", "192.0.2.1")


def test_an_address_of_ours_in_the_partners_directory_is_nobodys(site, acme):
    chain = site()
    assert chain.lookup("boss@acme.example").directory == "acme"
    acme.delete("uid=boss,ou=people,dc=acme,dc=example")
    assert "no directory" in refused(site(), "boss@acme.example").reason


def test_somebody_whom_no_rule_fits_does_not_get_in(site):
    assert "no naming rule" in refused(site(), "spy@partner.example").reason
    assert refused(site(), "uid=eve,ou=people,o=Acme").code == "AUTHENTICATIONFAILED"
    assert site().authenticate("uid=eve,ou=people,o=Partner", b"secret", "::1").directory == "partner"


def test_a_certificate_with_an_address_of_ours_is_not_ours(site):
    with pytest.raises(Refused, match="Authentication failed"):
        site().authenticate_certificate(ClientCertificate.read(BOSS.der), "192.0.2.1")


def test_a_directory_that_is_down_ends_the_search_for_a_certificate(site, acme):
    chain = site()
    acme.stop()
    with pytest.raises(Unreachable):
        chain.authenticate_certificate(ClientCertificate.read(BOSS.der), "192.0.2.1")
