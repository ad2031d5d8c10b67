"""Logins over the whole chain: what is remembered, counted, admitted and told, and what nobody may learn by answers."""

import itertools
import logging
import threading
from dataclasses import replace

import pytest

from imapd.directory.access import Access, AccessList, read_list
from imapd.directory.certificate import ClientCertificate
from imapd.directory.chain import Ambiguous, Candidate, DirectoryChain, Policy
from imapd.directory.finder import Ambiguity
from imapd.directory.lockout import Lockout
from imapd.directory.mailserver import Elsewhere, Home
from imapd.directory.names import Scope
from imapd.directory.person import Status
from imapd.directory.sasl import ScramProof
from imapd.directory.scram import ScramVerifier
from imapd.directory.trace import Trace
from imapd.directory.tries import Rules
from imapd.directory.verdict import Verdict
from imapd.model.errors import Refused, Unreachable
from tests.support.directories import EVERYTHING, FakeDirectory, person

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"
LOCKING = Rules(enforce=True, max_tries=10)
DENIED = ("Authentication failed.", "AUTHENTICATIONFAILED")


@pytest.fixture
def acme():
    people = {name: person(name, "acme") for name in ("ada", "eve", "jo", "root")}
    return FakeDirectory("acme", 1, people, groups={"cn=admins,o=acme": {"acme/root"}, "cn=leavers,o=acme": set()})


@pytest.fixture
def chains(loop):
    """Makes chains whose delay is always two seconds."""

    def make(*directories, rules=None, path=None, **policy):
        lockout = Lockout(loop, rules, path) if rules else None
        return DirectoryChain(directories, loop, Policy(**policy), lockout, jitter=lambda low, high: 1.0)

    return make


def refused(chain, name, password=b"secret", peer=HOME, **more):
    with pytest.raises(Refused) as error:
        chain.authenticate(name, password, peer, **more)
    return error.value


def answer(loop, chain, *arguments, **more):
    """What the client sees: the words, the code and the time."""
    began = loop.monotonic()
    error = refused(chain, *arguments, **more)
    return error.text, error.code, loop.monotonic() - began


# What is remembered.


def test_a_remembered_login_asks_nobody(chains, acme, loop):
    chain = chains(acme, cache=300)
    for _ in range(5):
        assert chain.authenticate("ada", b"secret", HOME).identity == "acme/ada"
        loop.advance(50)
    assert len(acme.asked) == len(acme.verified) == 1


def test_spellings_of_a_name_share_what_is_remembered(chains, acme):
    chain = chains(acme, cache=300)
    for spelling in ("ada", " ADA ", "\uff21da"):
        chain.authenticate(spelling, b"secret", HOME)
    assert len(acme.verified) == 1


def test_an_old_password_is_good_for_the_time_of_the_cache_and_no_longer(chains, acme, loop):
    chain = chains(acme, cache=300)
    chain.authenticate("ada", b"secret", HOME)
    acme.people["ada"] = person("ada", "acme", b"changed")
    chain.authenticate("ada", b"secret", HOME)
    loop.advance(300)
    refused(chain, "ada")
    chain.authenticate("ada", b"changed", HOME)


def test_a_flush_ends_an_old_password_at_once(chains, acme):
    chain = chains(acme, cache=300)
    chain.authenticate("ada", b"secret", HOME)
    chain.authenticate("eve", b"secret", HOME)
    acme.people["ada"] = person("ada", "acme", b"changed")
    assert chain.flush("acme/ada") == 1
    refused(chain, "ada")
    assert chain.flush() == 1


def test_a_wrong_try_has_everybody_of_that_name_asked_about_again(chains, acme):
    chain = chains(acme, cache=300)
    chain.authenticate("ada", b"secret", HOME)
    acme.people["ada"] = person("ada", "acme", b"changed")
    refused(chain, "ada", b"wrong")
    refused(chain, "ada", b"secret")


def test_a_new_password_is_good_at_once_and_takes_the_old_one_s_place(chains, acme):
    chain = chains(acme, cache=300)
    chain.authenticate("ada", b"secret", HOME)
    acme.people["ada"] = person("ada", "acme", b"changed")
    chain.authenticate("ada", b"changed", HOME)
    refused(chain, "ada", b"secret")


def test_a_directory_that_is_down_changes_nothing_for_who_is_remembered(chains, acme, loop):
    chain = chains(acme, cache=300)
    chain.authenticate("ada", b"secret", HOME)
    acme.down = "no answer"
    assert chain.authenticate("ada", b"secret", HOME).identity == "acme/ada"
    with pytest.raises(Unreachable):  # it may have been changed to this one
        chain.authenticate("ada", b"wrong", HOME)
    assert chain.authenticate("ada", b"secret", HOME).identity == "acme/ada", "no answer forgets nothing"
    loop.advance(300)
    with pytest.raises(Unreachable):
        chain.authenticate("ada", b"secret", HOME)


def test_grace_lets_the_remembered_in_while_a_directory_is_down_and_only_then(chains, acme, loop, caplog):
    chain = chains(acme, cache=300, grace=3600)
    chain.authenticate("ada", b"secret", HOME)
    loop.advance(1000)
    acme.down = "no answer"
    assert chain.authenticate("ada", b"secret", HOME).identity == "acme/ada"
    assert "by a login that is remembered" in caplog.text
    for name, password in (("ada", b"wrong"), ("eve", b"secret")):
        with pytest.raises(Unreachable):
            chain.authenticate(name, password, HOME)
    acme.down = None
    acme.people["ada"] = person("ada", "acme", b"changed")
    refused(chain, "ada", b"secret")
    acme.down = "no answer"
    loop.advance(3000)
    with pytest.raises(Unreachable):
        chain.authenticate("ada", b"secret", HOME)


@pytest.mark.parametrize("verdict", [Verdict.EXPIRED, Verdict.MUST_CHANGE, Verdict.DISABLED, Verdict.LOCKED])
def test_only_a_right_password_of_an_open_account_is_remembered(chains, acme, verdict):
    chain = chains(acme, cache=300)
    acme.verdicts["acme/ada"] = verdict
    for _ in range(3):
        refused(chain, "ada")
    assert len(acme.verified) == 3
    acme.people["eve"] = replace(acme.people["eve"], status=Status.LOCKED)
    refused(chain, "eve")
    refused(chain, "eve")
    assert len(acme.verified) == 5


def test_an_account_that_ends_while_it_is_remembered_ends(chains, acme, loop):
    acme.people["ada"] = person("ada", "acme", expires=int(loop.time()) + 100)
    chain = chains(acme, cache=300)
    chain.authenticate("ada", b"secret", HOME)
    loop.advance(100)
    assert refused(chain, "ada").code == "EXPIRED" and len(acme.verified) == 1


def test_an_unknown_name_asks_the_directory_once_in_a_while(chains, acme, loop):
    chain = chains(acme, delay=0)
    for _ in range(5):
        refused(chain, "nobody")
    assert acme.asked == ["nobody"]
    acme.people["nobody"] = person("nobody", "acme")
    loop.advance(15)
    assert chain.authenticate("nobody", b"secret", HOME).short_name == "nobody"


def test_that_a_directory_was_down_is_not_remembered(chains, acme):
    chain = chains(acme, cache=300)
    acme.down = "no answer"
    with pytest.raises(Unreachable):
        chain.authenticate("ada", b"secret", HOME)
    acme.down = None
    chain.authenticate("ada", b"secret", HOME)


def test_connections_that_come_together_ask_once(chains, acme):
    begun, go = threading.Event(), threading.Event()
    verify = acme.verify

    def slowly(*arguments):
        begun.set()
        assert go.wait(10)
        return verify(*arguments)

    acme.verify = slowly
    chain, got = chains(acme, cache=300), []
    threads = [
        threading.Thread(target=lambda: got.append(chain.authenticate("ada", b"secret", HOME))) for _ in range(5)
    ]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(10)
    assert len(got) == 5 and len(acme.verified) == 1


def test_look_ups_are_remembered_for_a_minute(chains, acme, loop):
    chain = chains(acme)
    assert chain.lookup("ada") is chain.lookup("ADA") and acme.asked == ["ada"]
    loop.advance(60)
    chain.lookup("ada")
    assert acme.asked == ["ada", "ada"]


def test_a_guess_that_nobody_was_asked_about_forgets_nobody(chains, acme, loop):
    chain = chains(acme, cache=300, delay=0)
    for number in range(4):
        refused(chain, "ada", b"%d" % number)
    loop.advance(30)
    chain.authenticate("ada", b"secret", HOME)
    for number in range(4):
        refused(chain, "ada", b"another %d" % number)
    acme.verified.clear()
    for number in range(4, 10):
        refused(chain, "ada", b"another %d" % number)
    assert acme.verified == []


# What is counted.


def test_twenty_wrong_passwords_at_the_door_are_four_at_the_directory(chains, acme):
    chain = chains(acme, delay=0)
    for number in range(20):
        refused(chain, ("ada", "ADA", " ada")[number % 3], b"%d" % number)
    assert len(acme.verified) == 4


def test_a_locked_person_is_refused_with_the_right_password_and_in_the_same_way(chains, acme, loop):
    chain = chains(acme, rules=LOCKING)
    usual = answer(loop, chain, "ada", b"wrong 0")
    answers = {answer(loop, chain, "ada", b"wrong %d" % number) for number in range(1, 15)}
    answers.add(answer(loop, chain, "ada", b"secret"))
    assert answers == {usual}
    assert "locked" in refused(chain, "ada").reason
    assert chain.authenticate("ada", b"secret", ELSEWHERE).short_name == "ada"
    assert chain.authenticate("eve", b"secret", HOME).short_name == "eve"
    chain.lockout.unlock("acme/ada")
    assert chain.authenticate("ada", b"secret", HOME).short_name == "ada"


def test_a_lock_shuts_out_the_remembered_too(chains, acme):
    chain = chains(acme, rules=LOCKING, cache=300, delay=0)
    chain.authenticate("ada", b"secret", HOME)
    for number in range(10):
        refused(chain, "ada", b"%d" % number)
    chain.authenticate("ada", b"secret", ELSEWHERE)
    assert "locked" in refused(chain, "ada").reason


def test_a_directory_that_is_down_counts_no_failure(chains, acme):
    chain = chains(acme, rules=LOCKING)
    acme.down = "no answer"
    for number in range(20):
        with pytest.raises(Unreachable):
            chain.authenticate("ada", b"%d" % number, HOME)
    acme.down = None
    assert chain.lockout.entries() == []
    chain.authenticate("ada", b"secret", HOME)


def test_who_is_killed_within_a_question_leaves_nothing_behind(chains, acme):
    class Killed(BaseException):
        pass

    chain = chains(acme, rules=LOCKING)
    verify, acme.verify = acme.verify, lambda *arguments: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        chain.authenticate("ada", b"secret", HOME)
    acme.verify = verify
    assert chain.lockout.entries() == []
    chain.authenticate("ada", b"secret", HOME)


def test_a_network_that_guesses_names_waits_before_a_directory_is_asked(chains, acme, loop):
    chain = chains(acme)
    for number in range(100):
        refused(chain, f"guess{number}")
    asked = len(acme.asked)
    loop.sleeps.clear()
    original, acme.find = acme.find, lambda *arguments: loop.sleeps.append("asked") or original(*arguments)
    chain.authenticate("ada", b"secret", HOME)
    assert loop.sleeps == [8.0, "asked"] and asked == 100
    loop.sleeps.clear()
    chain.authenticate("ada", b"secret", ELSEWHERE)
    assert loop.sleeps == ["asked"]


def test_what_the_directory_itself_has_locked_is_not_counted_here(chains, acme):
    chain = chains(acme, rules=LOCKING, delay=0)
    acme.verdicts["acme/ada"] = Verdict.LOCKED
    for _ in range(20):
        refused(chain, "ada")
    assert chain.lockout.entries() == []


# What answers tell.


def test_unknown_wrong_locked_disabled_and_not_permitted_look_alike(chains, acme, loop):
    acme.people["off"] = person("off", "acme", status=Status.LOCKED)
    acme.people["two"] = Ambiguous(("uid=a,o=acme", "uid=b,o=acme"))
    acme.verdicts["acme/eve"] = Verdict.DISABLED
    lists = Access({"": [AccessList.read([], ["uid=jo,o=acme"])]})
    chain = chains(acme, rules=LOCKING, access=lists)
    for number in range(10):
        refused(chain, "root", b"%d" % number)
    cases = {
        ("nobody", b"secret"): "no directory",
        ("ada", b"wrong"): "wrong password for 'uid=ada,o=acme' in acme",
        ("two", b"secret"): "ambiguous in acme",
        ("off", b"secret"): "'uid=off,o=acme' in acme: the entry is locked",
        ("eve", b"secret"): "the directory acme says of 'uid=eve,o=acme': disabled",
        ("jo", b"secret"): "'uid=jo,o=acme' in acme: denied access by",
        ("root", b"secret"): "'uid=root,o=acme' in acme: locked: too many failures",
        ("", b"secret"): "the name is empty",
        ("ada", b""): "the password is empty",
    }
    for (name, password), reason in cases.items():
        began = loop.monotonic()
        error = refused(chain, name, password)
        assert (error.text, error.code) == DENIED and loop.monotonic() - began == pytest.approx(2.0), name
        assert reason in error.reason


def test_work_that_is_done_for_a_name_does_not_show_in_the_time(chains, loop):
    class Slow(FakeDirectory):
        def verify(self, person, password, trace=None):
            loop.advance(0.9 if person else 0.1)
            return super().verify(person, password)

    chain = chains(Slow("slow", 1, {"ada": person("ada")}))
    times = {name: answer(loop, chain, name, b"wrong")[2] for name in ("ada", "nobody")}
    assert times["ada"] == pytest.approx(times["nobody"]) == pytest.approx(2.0)


@pytest.mark.parametrize("verdict", [Verdict.EXPIRED, Verdict.MUST_CHANGE])
def test_that_a_password_has_expired_is_told_behind_it(chains, acme, verdict):
    acme.verdicts["acme/ada"] = verdict
    chain = chains(acme)
    assert refused(chain, "ada").code == "EXPIRED"
    assert refused(chain, "ada", b"wrong").code == "AUTHENTICATIONFAILED"


def test_the_log_has_the_reason_the_address_and_the_listener_in_one_line(chains, acme, caplog):
    with caplog.at_level(logging.DEBUG):
        refused(chains(acme).at("imaps"), "ada", b"hunter2hunter2")
    lines = [line for line in caplog.text.splitlines() if "wrong password" in line]
    assert len(lines) == 1 and all(word in lines[0] for word in ("'ada'", HOME, "'imaps'", "in acme"))
    assert "hunter2" not in caplog.text


# Ambiguity.


def two_of_a_name(**first):
    return Ambiguous(
        ("uid=a,o=acme", "uid=b,o=acme"), (person("a", "acme", b"one", **first), person("b", "acme", b"two"))
    )


@pytest.fixture
def deciding(chains, acme):
    acme.people["sam"] = two_of_a_name()
    return chains(acme, ambiguity=Ambiguity.PASSWORD_DECIDES, rules=LOCKING, delay=0)


def test_the_password_decides_where_that_is_wanted(chains, acme, deciding):
    assert deciding.authenticate("sam", b"one", HOME).uid == "a"
    assert deciding.authenticate("sam", b"two", HOME).uid == "b"
    assert deciding.lockout.entries() == [], "it says nothing against the other one"
    assert "ambiguous" in refused(chains(acme), "sam", b"one").reason


def test_a_password_of_neither_counts_against_both(deciding):
    assert refused(deciding, "sam", b"x").reason.count("wrong password") == 2
    assert {entry.subject for entry in deciding.lockout.entries()} == {"acme/a", "acme/b"}


def test_a_password_that_several_have_is_nobody_s(acme, deciding):
    acme.people["sam"] = Ambiguous(("uid=a,o=acme", "uid=b,o=acme"), (person("a", "acme"), person("b", "acme")))
    assert "several people" in refused(deciding, "sam").reason


def test_the_password_decides_over_directories_as_well(chains, acme):
    other = FakeDirectory("other", 2, {"ada": person("ada", "other", b"different")})
    deciding = chains(acme, other, ambiguity=Ambiguity.PASSWORD_DECIDES)
    assert deciding.authenticate("ada", b"different", HOME).directory == "other"
    assert deciding.authenticate("ada", b"secret", HOME).directory == "acme"
    other.down = "no answer"
    with pytest.raises(Unreachable):
        deciding.authenticate("ada", b"secret", HOME)


def test_nobody_is_asked_for_a_password_where_too_many_may_be_meant(chains, acme):
    many = tuple(person(str(number), "acme") for number in range(4))
    acme.people["sam"] = Ambiguous(tuple(one.dn for one in many), many)
    acme.people["max"] = Ambiguous(("uid=a,o=acme", "uid=b,o=acme", "and more"), many[:2])
    chain = chains(acme, ambiguity=Ambiguity.PASSWORD_DECIDES)
    assert "ambiguous" in refused(chain, "sam").reason and "ambiguous" in refused(chain, "max").reason
    assert acme.verified == [None, None]


def test_an_answer_that_is_missing_counts_against_nobody_where_the_password_decides(acme, deciding):
    asked = itertools.count()
    verify = acme.verify

    def second_fails(*arguments):
        acme.down = "no answer" if next(asked) == 1 else None
        return verify(*arguments)

    acme.verify = second_fails
    with pytest.raises(Unreachable):
        deciding.authenticate("sam", b"x", HOME)
    assert deciding.lockout.entries() == []


# Who is admitted.


def test_access_lists_hold_for_their_listeners_and_for_the_remembered(chains, acme, loop):
    lists = Access({"imaps": [AccessList.read([], ["cn=leavers,o=acme"])]})
    chain = chains(acme, access=lists, cache=300)
    chain.at("imaps").authenticate("ada", b"secret", HOME)
    acme.groups["cn=leavers,o=acme"] = {"acme/ada"}
    loop.advance(60)
    assert "denied access" in refused(chain.at("imaps"), "ada").reason
    chain.at("internal").authenticate("ada", b"secret", HOME)
    assert len(acme.verified) == 1


def test_a_group_that_cannot_be_looked_up_lets_nobody_in_but_the_remembered(chains, acme, loop):
    lists = Access({"": [AccessList.read([], ["cn=leavers,o=acme"])]})
    chain = chains(acme, access=lists, cache=300)
    chain.authenticate("ada", b"secret", HOME)
    acme.down = "no answer"
    loop.advance(100)
    chain.authenticate("ada", b"secret", HOME)
    with pytest.raises(Unreachable):
        chain.authenticate("eve", b"secret", HOME)


def test_the_lists_are_asked_behind_the_password_only(chains, acme):
    chain = chains(acme, access=Access({"": [AccessList.read(["cn=admins,o=acme"], [])]}))
    refused(chain, "ada", b"wrong")
    assert acme.memberships == []
    refused(chain, "ada")
    assert acme.memberships == [("acme/ada", "cn=admins,o=acme")]


def test_administrators_may_act_as_others_and_it_is_logged(chains, acme, caplog):
    chain = chains(acme, administrators=read_list(["cn=admins,o=acme"]))
    with caplog.at_level(logging.INFO):
        ada = chain.authenticate("root", b"secret", HOME, authzid="ada")
    assert (ada.identity, ada.acted_by) == ("acme/ada", "acme/root")
    assert f"'uid=root,o=acme' in acme, from {HOME}, acts as 'uid=ada,o=acme' in acme" in caplog.text
    caplog.clear()
    root = chain.authenticate("root", b"secret", HOME, authzid="ROOT")
    assert (root.identity, root.acted_by) == ("acme/root", None)
    assert chain.authenticate("ada", b"secret", HOME).acted_by is None
    assert "acts as" not in caplog.text


def test_nobody_else_may_and_learns_nothing_by_asking(chains, acme, loop):
    chain = chains(acme, administrators=read_list(["cn=admins,o=acme"]))
    answers = {answer(loop, chain, "ada", authzid=other) for other in ("eve", "nobody", "", "a\0b")}
    assert len(answers) == 1 and answers.pop()[1] == "AUTHORIZATIONFAILED"
    assert refused(chain, "root", b"wrong", authzid="ada").code == "AUTHENTICATIONFAILED"
    assert refused(chain, "root", authzid="nobody").code == "AUTHORIZATIONFAILED"


def test_who_is_acted_as_could_come_in_himself(chains, acme):
    acme.people["off"] = person("off", "acme", status=Status.LOCKED)
    lists = Access({"": [AccessList.read([], ["uid=eve,o=acme"])]})
    chain = chains(acme, administrators=read_list(["uid=root,o=acme"]), access=lists)
    for other in ("off", "eve"):
        assert refused(chain, "root", authzid=other).code == "AUTHENTICATIONFAILED"


def test_mail_that_is_elsewhere_is_told_behind_the_password(chains, acme):
    acme.people["ada"] = person("ada", "acme", mail_server="imap2.acme.example")
    acme.people["eve"] = person("eve", "acme", mail_server="imap.acme.example")
    chain = chains(acme, home=Home(Elsewhere.REFERRAL, ["imap.acme.example"]), cache=300)
    for _ in range(2):
        assert refused(chain, "ada").code == "REFERRAL imap://ada;AUTH=*@imap2.acme.example/"
    assert refused(chain, "ada", b"wrong").code == "AUTHENTICATIONFAILED"
    chain.authenticate("eve", b"secret", HOME)


# Who may stay.


def test_who_is_logged_in_may_stay_as_long_as_he_could_come_in(chains, acme, loop):
    chain = chains(acme, access=Access({"imaps": [AccessList.read([], ["cn=leavers,o=acme"])]})).at("imaps")
    ada = chain.authenticate("ada", b"secret", HOME)
    assert chain.objection(ada) is None
    acme.groups["cn=leavers,o=acme"] = {"acme/ada"}
    assert "denied access" in chain.objection(ada), "not as of a minute ago"
    acme.groups["cn=leavers,o=acme"] = set()
    acme.people["ada"] = replace(ada, status=Status.LOCKED)
    assert "the entry is locked" in chain.objection(ada)
    acme.people["ada"] = replace(ada, uid="somebody else")
    assert "is gone" in chain.objection(ada)
    assert "not there any more" in chain.objection(replace(ada, directory="closed"))
    acme.down = "no answer"
    with pytest.raises(Unreachable):
        chain.objection(ada)


# Other proofs.

CERTIFICATE = ClientCertificate(b"der", "CN=Ada", "CN=Authority", 7)
VERIFIER = ScramVerifier(4096, b"salt", b"s" * 32, b"k" * 32)


def test_a_certificate_is_one_person_s_over_all_directories(chains, acme):
    acme.owners[CERTIFICATE] = acme.people["ada"]
    other = FakeDirectory("other", 2, {})
    chain = chains(acme, other)
    assert chain.authenticate_certificate(CERTIFICATE, HOME).identity == "acme/ada"
    other.owners[CERTIFICATE] = person("ada", "other")
    with pytest.raises(Refused) as error:
        chain.authenticate_certificate(CERTIFICATE, HOME)
    assert "several directories" in error.value.reason
    other.scope = Scope(trusted_for=EVERYTHING - {"certificates"})
    assert chain.authenticate_certificate(CERTIFICATE, HOME).identity == "acme/ada"
    other.scope, other.down = Scope(trusted_for=EVERYTHING), "no answer"
    with pytest.raises(Unreachable):
        chain.authenticate_certificate(CERTIFICATE, HOME)


def test_a_certificate_does_not_pass_by_access_lists(chains, acme):
    acme.owners[CERTIFICATE] = acme.people["ada"]
    chain = chains(acme, access=Access({"": [AccessList.read([], ["uid=ada,o=acme"])]}))
    with pytest.raises(Refused):
        chain.authenticate_certificate(CERTIFICATE, HOME)


def test_certificate_and_password_have_to_be_one_person_s(chains, acme):
    acme.owners[CERTIFICATE] = acme.people["ada"]
    chain = chains(acme)
    assert chain.authenticate("ada", b"secret", HOME, certificate=CERTIFICATE).identity == "acme/ada"
    assert "the certificate is that of" in refused(chain, "eve", certificate=CERTIFICATE).reason


def scram(chain, name, fault=None):
    return chain.authenticate_scram(ScramProof(name, chain.candidate(name), fault), HOME)


def test_wrong_proofs_of_scram_lock_like_wrong_passwords(chains, acme):
    acme.verifiers["acme/ada"] = VERIFIER
    chain = chains(acme, rules=LOCKING, delay=0)
    assert scram(chain, "ada").identity == "acme/ada"
    for _ in range(10):
        with pytest.raises(Refused):
            scram(chain, "ada", "the proof is not that of the password")
    with pytest.raises(Refused) as error:
        scram(chain, "ada")
    assert "locked" in error.value.reason and "locked" in refused(chain, "ada").reason


def test_names_without_a_verifier_seem_to_have_one(chains, acme):
    acme.verifiers["acme/ada"] = VERIFIER
    chain = chains(acme, scram_iterations=4096)
    for name in ("eve", "nobody", "", "two\0"):
        seeming = chain.candidate(name)
        assert isinstance(seeming, Candidate) and seeming.person is None
        assert seeming.verifier.iterations == 4096 and seeming.verifier.salt == chain.candidate(name).verifier.salt
        with pytest.raises(Refused) as error:
            scram(chain, name)
        assert (error.value.text, error.value.code) == DENIED


def test_a_verifier_is_remembered_for_a_minute(chains, acme, loop):
    acme.verifiers["acme/ada"] = VERIFIER
    chain = chains(acme)
    chain.candidate("ada")
    acme.verifiers["acme/ada"] = replace(VERIFIER, salt=b"new")
    assert chain.candidate("ada").verifier.salt == b"salt"
    loop.advance(60)
    assert chain.candidate("ada").verifier.salt == b"new"


def test_a_token_passes_the_same_rules(chains, acme):
    class Issuer:
        def holder(self, token):
            if token == "bad":
                raise ValueError("the token is not right")
            return token

    chain = chains(acme, issuer=Issuer(), access=Access({"": [AccessList.read([], ["uid=eve,o=acme"])]}))
    assert chain.authenticate_token("ada", None, HOME).identity == "acme/ada"
    assert chain.authenticate_token("ada", "ADA", HOME).identity == "acme/ada"
    for token, user in (("bad", None), ("nobody", None), ("eve", None), ("ada", "jo")):
        with pytest.raises(Refused):
            chain.authenticate_token(token, user, HOME)


# Why.


def explained(chain, *arguments, **more):
    steps = []
    try:
        chain.explain(arguments[0], HOME, Trace(steps.append), *arguments[1:], **more)
    except Refused as refused:
        steps.append(refused.reason)
    return steps


def test_a_login_can_be_explained_step_by_step(chains, acme):
    partner = FakeDirectory("partner", 0, {}, Scope.of(primary=False, domains=("partner.example",)))
    lists = Access({"imaps": [AccessList.read(["cn=admins,o=acme"], [])]})
    chain = chains(partner, acme, access=lists, rules=LOCKING).at("imaps")
    assert explained(chain, "root", b"secret") == [
        "the name 'root' is flat, looked up as 'root'",
        "partner: not asked, it does not answer for such names",
        "acme: found 'uid=root,o=acme', who is acme/root",
        "acme: the password of 'uid=root,o=acme' is right",
        "'uid=root,o=acme' is a member of 'cn=admins,o=acme'",
        "let in as acme/root, mail file None",
    ]
    assert explained(chain, "ada")[-1].endswith("not on the list of those who are allowed access")
    assert explained(chain, "nobody")[-2:] == [
        "acme: knows nobody of that name",
        "no directory that may answer for the name knows it",
    ]
    assert explained(chain, "")[-1] == "the name is empty"


def test_an_explanation_counts_and_delays_nothing(chains, acme, loop):
    chain = chains(acme, rules=LOCKING, cache=300)
    for number in range(20):
        assert "wrong password" in explained(chain, "ada", b"%d" % number)[-1]
    assert loop.sleeps == [] and chain.lockout.entries() == []
    explained(chain, "ada", b"secret")
    assert chain.flush() == 0


def test_an_explanation_names_the_lock(chains, acme):
    chain = chains(acme, rules=LOCKING, delay=0)
    for number in range(10):
        refused(chain, "ada", b"%d" % number)
    assert "locked" in explained(chain, "ada")[-1] and "locked" in explained(chain, "ada", b"secret")[-1]


def test_a_real_login_can_be_told_as_well_and_never_tells_the_password(chains, acme):
    steps = []
    chain = chains(acme, cache=300)
    for _ in range(2):
        chain.authenticate("ada", b"secret", HOME, trace=Trace(steps.append))
    assert "the login is remembered: 'uid=ada,o=acme' in acme" in steps
    refused(chain, "ada", b"hunter2hunter2", trace=Trace(steps.append))
    assert not any("hunter2" in step or "secret" in step for step in steps)
