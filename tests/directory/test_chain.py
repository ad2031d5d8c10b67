"""The chain of directories: who gets in, who decides, what a refusal looks like and how long it takes."""

import logging

import pytest

from imapd.directory.chain import Ambiguous, DirectoryChain, Policy
from imapd.directory.names import Scope
from imapd.directory.person import Person
from imapd.directory.verdict import Verdict
from imapd.model.errors import Refused, Unreachable
from tests.directory.conftest import ALICE
from tests.support.directories import FakeDirectory, person
from tests.support.loop import PlainLoop


def refused(chain, *arguments, **more):
    with pytest.raises(Refused) as error:
        chain.authenticate(*arguments, **more)
    return error.value


@pytest.fixture
def first():
    return FakeDirectory("first", 1, {"ada": person("ada"), "two": Ambiguous(("uid=a,o=x", "uid=b,o=x"))})


@pytest.fixture
def second():
    return FakeDirectory("second", 2, {"ada": person("ada", "second", b"other"), "eve": person("eve", "second")})


@pytest.fixture
def chain(loop, first, second):
    return DirectoryChain([second, first], loop, jitter=lambda low, high: 1.0)


def test_the_right_password_gets_in_at_once(chain, loop):
    assert chain.authenticate("ada", b"secret", "192.0.2.1").identity == "first/ada"
    assert loop.sleeps == []


def test_the_next_directory_is_asked_where_the_first_knows_nobody(chain):
    assert chain.authenticate("eve", b"secret", "192.0.2.1").directory == "second"


def test_a_wrong_password_does_not_try_the_next_directory(chain, second):
    assert "first" in refused(chain, "ada", b"other", "192.0.2.1").reason
    assert second.asked == []


def test_a_directory_that_is_down_ends_the_login_without_a_delay(chain, first, second, loop):
    first.people["eve"] = Unreachable("no answer")
    with pytest.raises(Unreachable):
        chain.authenticate("eve", b"secret", "192.0.2.1")
    assert second.asked == [] and loop.sleeps == []


REFUSALS = [
    ("ada", b"wrong", "wrong password for 'uid=ada,o=first'"),
    ("nobody", b"secret", "no directory that may answer"),
    ("two", b"secret", "'uid=a,o=x' and 'uid=b,o=x'"),
    ("ada", b"", "empty"),
    ("ada", b"a\0b", "NUL"),
    ("ada", b"x" * 1025, "too long"),
    ("", b"secret", "the name is empty"),
    ("*", b"secret", "bare *"),
    ("ada\nroot", b"secret", "control characters"),
]


@pytest.mark.parametrize(("name", "password", "reason"), REFUSALS)
def test_every_refusal_looks_the_same_and_takes_as_long(chain, loop, name, password, reason):
    error = refused(chain, name, password, "192.0.2.1")
    assert (error.text, error.code) == ("Authentication failed.", "AUTHENTICATIONFAILED")
    assert reason in error.reason
    assert loop.sleeps == [2.0]


def test_garbage_asks_no_directory(chain, first):
    for name, password in (("ada", b""), ("", b"x"), ("a\0", b"x"), ("x" * 400, b"x")):
        refused(chain, name, password, "192.0.2.1")
    assert first.asked == [] and first.verified == []


def test_unknown_and_ambiguous_names_cost_a_verification(chain, first):
    refused(chain, "nobody", b"secret", "192.0.2.1")
    refused(chain, "two", b"secret", "192.0.2.1")
    assert first.verified == [None, None]


def test_the_delay_counts_from_the_beginning_has_jitter_and_may_be_none(first, loop):
    class Slow(FakeDirectory):
        def verify(self, person, password, trace=None):
            loop.advance(0.5)
            return Verdict.WRONG

    jittered = DirectoryChain([Slow("slow", 1, first.people)], loop, jitter=lambda low, high: high)
    refused(jittered, "ada", b"x", "192.0.2.1")
    assert loop.sleeps == [pytest.approx(2.0)]
    patient = PlainLoop()
    for _ in range(20):
        refused(DirectoryChain([first], patient), "ada", b"x", "192.0.2.1")
    assert all(1.5 <= sleep <= 2.5 for sleep in patient.sleeps) and len(set(patient.sleeps)) > 1
    quick = PlainLoop()
    refused(DirectoryChain([first], quick, Policy(delay=0)), "ada", b"x", "192.0.2.1")
    assert quick.sleeps == []


def test_a_name_outside_every_scope_is_refused_like_the_others(loop):
    partner = FakeDirectory("partner", 1, {"ada": person("ada")}, Scope.of(primary=False, domains=("partner.example",)))
    chain = DirectoryChain([partner], loop, Policy(delay=0))
    assert refused(chain, "ada", b"secret", "::1").code == "AUTHENTICATIONFAILED"
    assert partner.asked == [] and partner.verified == [None]


def test_a_secondary_does_not_take_a_name_of_the_primary(loop):
    acme = FakeDirectory("acme", 1, {}, Scope.of(primary=True, domains=("acme.example",)))
    claims = {"boss@acme.example": person("boss", "partner"), "jo@partner.example": person("jo", "partner")}
    partner = FakeDirectory("partner", 2, claims, Scope.of(primary=False, domains=("partner.example",)))
    chain = DirectoryChain([acme, partner], loop, Policy(delay=0))
    refused(chain, "boss@acme.example", b"secret", "::1")
    assert partner.asked == []
    assert chain.authenticate("jo@partner.example", b"secret", "::1").directory == "partner"


def test_an_entry_that_its_directory_may_not_speak_for_is_refused(loop):
    scope = Scope.of(primary=False, domains=("partner.example",), naming_rules=("*/*/*/*/Partner/*",))
    boss = Person("partner", "1", "CN=Boss,O=Acme", "Boss", passwords=(b"secret",))
    chain = DirectoryChain([FakeDirectory("partner", 1, {"boss@partner.example": boss}, scope)], loop, Policy(delay=0))
    assert "naming rule" in refused(chain, "boss@partner.example", b"secret", "::1").reason


def test_a_directory_that_is_not_trusted_for_credentials_is_not_asked(loop, first):
    first.scope = Scope(trusted_for=frozenset({"groups"}))
    refused(DirectoryChain([first], loop, Policy(delay=0)), "ada", b"secret", "::1")
    assert first.asked == []


def test_a_closed_account_is_told_only_behind_its_password(people_file, open_directory, loop):
    people_file.write_text(ALICE + "shadowExpire: 1\n")
    chain = DirectoryChain([open_directory(people_file)], loop, Policy(delay=0))
    assert refused(chain, "alice", b"wrong", "::1").code == "AUTHENTICATIONFAILED"
    assert refused(chain, "alice", b"wonderland", "::1").code == "EXPIRED"
    people_file.write_text(ALICE + "pwdAccountLockedTime: 000001010000Z\n")
    locked = refused(chain, "alice", b"wonderland", "::1")
    assert locked.code == "AUTHENTICATIONFAILED" and "locked" in locked.reason


def test_spellings_of_a_name_are_one_person(people_file, open_directory, loop):
    chain = DirectoryChain([open_directory(people_file)], loop)
    spellings = ["alice", "ALICE ", "alice@example.ORG", "uid=alice", "UID=alice, ou=People,dc=example,dc=org"]
    assert len({chain.authenticate(name, b"wonderland", "::1").identity for name in spellings}) == 1


def test_one_may_act_as_oneself_and_nobody_else(people_file, open_directory, loop):
    chain = DirectoryChain([open_directory(people_file)], loop, Policy(delay=0))
    assert chain.authenticate("alice", b"wonderland", "::1", authzid="Alice@example.org").short_name == "alice"
    for other in ("bob", "nobody", "", "a\0"):
        assert refused(chain, "alice", b"wonderland", "::1", authzid=other).code == "AUTHORIZATIONFAILED"


def test_look_ups_need_no_proof(chain):
    assert chain.lookup("ada").identity == "first/ada"
    assert chain.lookup("nobody") is None and chain.lookup("") is None
    with pytest.raises(Refused):
        chain.lookup("two")


def test_no_text_has_the_password(people_file, open_directory, loop, caplog):
    chain = DirectoryChain([open_directory(people_file)], loop, Policy(delay=0))
    with caplog.at_level(logging.DEBUG):
        error = refused(chain, "alice", b"hunter2hunter2", "::1")
        chain.authenticate("alice", b"wonderland", "::1")
    texts = caplog.text + error.reason + repr(error) + repr(chain.lookup("alice"))
    assert "hunter2" not in texts and "wonderland" not in texts


def test_a_chain_without_directories_refuses(loop):
    refused(DirectoryChain([], loop), "ada", b"secret", "::1")


def test_closing_the_chain_closes_its_directories(chain, first, second):
    chain.close()
    assert first.closed and second.closed
