"""SCRAM, certificates and tokens at the chain: they let in, refuse, wait and count as passwords do."""

import pytest

from imapd.directory import scram
from imapd.directory.certificate import ClientCertificate
from imapd.directory.chain import Ambiguous, DirectoryChain, Policy
from imapd.directory.lockout import Lockout
from imapd.directory.names import NamingRule, Scope
from imapd.directory.sasl import ScramProof
from imapd.directory.scram import ScramVerifier
from imapd.directory.tries import Rules
from imapd.model.errors import Refused, Unreachable
from tests.support.directories import EVERYTHING, FakeDirectory, person

PEER = "192.0.2.1"
VERIFIER = ScramVerifier.make("secret", 4096)
LATE = 2_000_000_000


def certificate(name):
    return ClientCertificate(name.encode(), f"CN={name}", "CN=CA", 1)


class Issuer:
    """Whose tokens are names; "wrong" is none, and "silent" has not been seen yet."""

    def holder(self, token):
        if token == "wrong":
            raise ValueError("the token is not right")
        if token == "silent":
            raise Unreachable("no keys")
        return token


@pytest.fixture
def first():
    people = {
        "ada": person("ada"),
        "old": person("old", expires=1),
        "plain": person("plain"),
        "two": Ambiguous(("uid=a,o=x", "uid=b,o=x")),
    }
    owners = {certificate("ada"): people["ada"], certificate("old"): people["old"]}
    owners[certificate("two")] = people["two"]
    owners[certificate("both")] = people["ada"]
    verifiers = {"first/ada": VERIFIER, "first/old": VERIFIER}
    return FakeDirectory("first", 1, people, owners=owners, verifiers=verifiers)


@pytest.fixture
def second():
    eve = person("eve", "second")
    owners = {certificate("eve"): eve, certificate("both"): eve}
    return FakeDirectory("second", 2, {"eve": eve, "boss": person("boss", "second")}, owners=owners)


@pytest.fixture
def chain(loop, first, second):
    policy = Policy(issuer=Issuer(), secret=b"s" * 32)
    return DirectoryChain([second, first], loop, policy, jitter=lambda low, high: 1.0)


def proof(chain, name, fault=None, authzid=None):
    return ScramProof(name, chain.candidate(name), fault, authzid)


def refused(work, *arguments):
    with pytest.raises(Refused) as error:
        work(*arguments)
    return error.value


# --- SCRAM


def test_a_candidate_has_the_verifier_of_his_entry(chain):
    assert chain.candidate("ada").verifier == VERIFIER
    assert chain.authenticate_scram(proof(chain, "ada"), PEER).identity == "first/ada"


@pytest.mark.parametrize("name", ["nobody", "two", "plain", "", "a\0b", "x" * 400])
def test_every_name_has_a_verifier_the_same_each_time_and_no_proof_fits_it(chain, name):
    made_up = chain.candidate(name).verifier
    assert made_up.salt == chain.candidate(name).verifier.salt and made_up.iterations == scram.ITERATIONS
    assert made_up != VERIFIER
    # Even where the proof were right nobody would come in.
    assert refused(chain.authenticate_scram, proof(chain, name), PEER).code == "AUTHENTICATIONFAILED"


@pytest.mark.parametrize(
    ("name", "fault", "reason"),
    [
        ("ada", "the proof is not that of the password", "the proof is not that"),
        ("nobody", "the proof is not that of the password", "knows it"),
        ("plain", None, "no verifier"),
        ("two", None, "ambiguous"),
    ],
)
def test_whatever_is_wrong_with_a_proof_is_said_in_the_same_words_after_the_same_time(chain, loop, name, fault, reason):
    refusal = refused(chain.authenticate_scram, proof(chain, name, fault), PEER)
    assert (refusal.text, refusal.code) == ("Authentication failed.", "AUTHENTICATIONFAILED")
    assert reason in refusal.reason and loop.sleeps == [pytest.approx(2.0)]


def test_an_account_that_has_expired_is_called_so_behind_the_proof_only(chain):
    assert refused(chain.authenticate_scram, proof(chain, "old"), PEER).code == "EXPIRED"
    assert refused(chain.authenticate_scram, proof(chain, "old", "wrong"), PEER).code == "AUTHENTICATIONFAILED"


def test_a_directory_that_is_down_gives_no_made_up_verifier(chain, first):
    first.down = "no answer"
    with pytest.raises(Unreachable):
        chain.candidate("ada")


def test_wrong_proofs_lock_and_then_the_right_one_is_refused_in_the_same_words(loop, first):
    lockout = Lockout(loop, Rules(enforce=True, max_tries=3))
    chain = DirectoryChain([first], loop, Policy(), lockout)
    for _ in range(3):
        refused(chain.authenticate_scram, proof(chain, "ada", "wrong"), PEER)
    refusal = refused(chain.authenticate_scram, proof(chain, "ada"), PEER)
    assert refusal.code == "AUTHENTICATIONFAILED" and "locked" in refusal.reason
    # The password is no way around it.
    assert "locked" in refused(chain.authenticate, "ada", b"secret", PEER).reason


def test_scram_is_no_way_to_act_as_somebody_else(chain):
    assert chain.authenticate_scram(proof(chain, "ada", authzid="ada"), PEER)
    assert refused(chain.authenticate_scram, proof(chain, "ada", authzid="eve"), PEER).code == "AUTHORIZATIONFAILED"


def test_scram_is_offered_where_all_directories_have_verifiers(chain, first, second):
    first.offers_scram = second.offers_scram = True
    assert chain.offers_scram
    second.offers_scram = False
    assert not chain.offers_scram


# --- certificates


def test_a_certificate_lets_in_whose_entry_holds_it(chain):
    assert chain.authenticate_certificate(certificate("ada"), PEER).identity == "first/ada"
    assert chain.authenticate_certificate(certificate("eve"), PEER).identity == "second/eve"


@pytest.mark.parametrize(("name", "reason"), [("nobody", "no directory"), ("two", "several"), ("both", "several")])
def test_a_certificate_that_is_not_one_persons_lets_nobody_in(chain, loop, name, reason):
    refusal = refused(chain.authenticate_certificate, certificate(name), PEER)
    assert refusal.code == "AUTHENTICATIONFAILED" and reason in refusal.reason
    assert loop.sleeps == [pytest.approx(2.0)]


def test_where_a_directory_is_down_no_certificate_lets_in(chain, second):
    second.down = "no answer"
    with pytest.raises(Unreachable):
        chain.authenticate_certificate(certificate("ada"), PEER)


def test_a_directory_that_is_not_trusted_for_certificates_is_not_asked(chain, second):
    second.scope = Scope(trusted_for=frozenset({"credentials"}))
    assert chain.authenticate_certificate(certificate("both"), PEER).identity == "first/ada"
    assert refused(chain.authenticate_certificate, certificate("eve"), PEER).code == "AUTHENTICATIONFAILED"


def test_a_partner_cannot_claim_a_name_by_a_certificate_in_his_directory(chain, second):
    second.scope = Scope(trusted_for=EVERYTHING, naming_rules=(NamingRule("*/*/*/*/Partner/*"),))
    refusal = refused(chain.authenticate_certificate, certificate("eve"), PEER)
    assert refusal.code == "AUTHENTICATIONFAILED" and "naming rule" in refusal.reason


def test_a_certificate_does_not_open_an_account_that_is_closed(chain):
    assert refused(chain.authenticate_certificate, certificate("old"), PEER).code == "EXPIRED"


def test_a_certificate_is_no_way_to_act_as_somebody_else(chain):
    assert refused(chain.authenticate_certificate, certificate("ada"), PEER, "eve").code == "AUTHORIZATIONFAILED"


def test_a_password_and_the_certificate_of_somebody_else_let_nobody_in(chain):
    assert chain.authenticate("ada", b"secret", PEER, certificate=certificate("ada"))
    assert chain.authenticate_scram(proof(chain, "ada"), PEER, certificate("ada"))
    for other in ("eve", "nobody"):
        refusal = refused(lambda name=other: chain.authenticate("ada", b"secret", PEER, certificate=certificate(name)))
        assert refusal.code == "AUTHENTICATIONFAILED" and "certificate" in refusal.reason
        assert refused(chain.authenticate_scram, proof(chain, "ada"), PEER, certificate(other)).code == refusal.code


# --- tokens


def test_a_token_lets_in_whom_it_is_for(chain):
    assert chain.authenticate_token("ada", None, PEER).identity == "first/ada"
    assert chain.authenticate_token("eve", "eve", PEER).identity == "second/eve"


@pytest.mark.parametrize("token", ["wrong", "nobody", "two", "", "a\0b"])
def test_another_token_lets_nobody_in(chain, loop, token):
    refusal = refused(chain.authenticate_token, token, None, PEER)
    assert refusal.code == "AUTHENTICATIONFAILED" and loop.sleeps == [pytest.approx(2.0)]


def test_a_token_is_no_way_to_be_somebody_else_and_opens_no_closed_account(chain):
    assert refused(chain.authenticate_token, "ada", "eve", PEER).code == "AUTHORIZATIONFAILED"
    assert refused(chain.authenticate_token, "old", None, PEER).code == "EXPIRED"


def test_an_issuer_that_was_never_seen_is_no_refusal(chain):
    with pytest.raises(Unreachable):
        chain.authenticate_token("silent", None, PEER)


def test_without_an_issuer_no_token_is_taken(loop, first):
    assert refused(DirectoryChain([first], loop).authenticate_token, "ada", None, PEER).code == "AUTHENTICATIONFAILED"
