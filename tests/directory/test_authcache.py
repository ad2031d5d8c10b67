"""What is remembered of logins and names, for how long, and who shares a request."""

import threading
from dataclasses import replace

import pytest

from imapd.directory.authcache import AuthCache, Expiring, SingleFlight
from imapd.directory.person import Person
from imapd.model.errors import Unreachable

ADA = Person("acme", "1", "uid=ada,o=acme", "Ada", passwords=(b"stored-secret",))


def test_a_login_is_remembered_for_its_time_and_with_its_password_only(loop):
    cache = AuthCache(loop, lifetime=300)
    cache.put("ada", b"secret", ADA)
    assert cache.get("ada", b"secret") is ADA
    assert cache.get("ada", b"secreT") is None and cache.get("eve", b"secret") is None
    loop.advance(299)
    assert cache.get("ada", b"secret") is ADA
    loop.advance(1)
    assert cache.get("ada", b"secret") is None


def test_looking_does_not_lengthen_the_time(loop):
    cache = AuthCache(loop, lifetime=300)
    cache.put("ada", b"secret", ADA)
    for _ in range(5):
        loop.advance(70)
        found = cache.get("ada", b"secret")
    assert found is None


def test_a_lifetime_of_nothing_remembers_nothing(loop):
    cache = AuthCache(loop, lifetime=0, grace=3600)
    cache.put("ada", b"secret", ADA)
    assert cache.get("ada", b"secret", late=True) is None


def test_grace_counts_only_for_those_who_ask_for_it_and_ends(loop):
    cache = AuthCache(loop, lifetime=300, grace=3600)
    cache.put("ada", b"secret", ADA)
    loop.advance(400)
    assert cache.get("ada", b"secret") is None
    assert cache.get("ada", b"secret", late=True) is ADA
    assert cache.get("ada", b"other", late=True) is None
    loop.advance(3600)
    assert cache.get("ada", b"secret", late=True) is None


def test_another_password_takes_the_place_of_the_old_one(loop):
    cache = AuthCache(loop, lifetime=300)
    cache.put("ada", b"old", ADA)
    cache.put("ada", b"new", ADA)
    assert cache.get("ada", b"old") is None and cache.get("ada", b"new") is ADA
    cache.drop("ada")
    assert cache.get("ada", b"new") is None


def test_flushing_forgets_the_persons_that_are_meant(loop):
    cache = AuthCache(loop, lifetime=300)
    cache.put("ada", b"secret", ADA)
    cache.put("ada@acme.example", b"secret", ADA)
    cache.put("eve", b"secret", replace(ADA, uid="2"))
    assert cache.flush(lambda person: person.uid == "1") == 2
    assert cache.get("ada", b"secret") is None and cache.get("eve", b"secret")
    assert cache.flush() == 1


def test_the_memory_is_bounded_and_keeps_what_was_used_last(loop):
    memory = Expiring(loop, 60, size=2)
    memory.put("a", 1)
    memory.put("b", 2)
    assert memory.get("a") == 1
    memory.put("c", 3)
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (1, None, 3)
    assert len(memory) == 2


def test_no_password_is_kept_nor_shown(loop):
    cache = AuthCache(loop, lifetime=300)
    cache.put("ada", b"hunter2hunter2", ADA)
    cache.put("eve", b"hunter2hunter2", ADA)
    entries = [entry for _, entry in cache._logins._entries.values()]
    assert "hunter2" not in repr(entries) and "stored-secret" not in repr(entries)
    assert all(b"hunter2" not in entry.digest + entry.salt for entry in entries)
    assert entries[0].digest != entries[1].digest, "the same password does not look the same twice"


class Asking:
    """Something to ask that answers when it is told to, for threads that stand for connections."""

    def __init__(self, answer):
        self.answer, self.asked = answer, 0
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self):
        self.asked += 1
        self.begun.set()
        assert self.go.wait(10)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def together(flights, asking, count):
    """That many threads ask the same; returns what each of them got."""
    got = []

    def ask():
        try:
            got.append(flights.share("ada", asking))
        except BaseException as error:
            got.append(error)

    first = threading.Thread(target=ask)
    first.start()
    assert asking.begun.wait(10)
    others = [threading.Thread(target=ask) for _ in range(count - 1)]
    for thread in others:
        thread.start()
    asking.go.set()
    for thread in [first, *others]:
        thread.join(10)
    return got


def test_those_who_ask_the_same_share_one_request(loop):
    flights, asking = SingleFlight(loop), Asking("person")
    # A thread that comes after the first has its answer asks anew; those that wait do not.
    assert together(flights, asking, 10) == ["person"] * 10
    assert asking.asked < 10
    assert flights.share("ada", lambda: "anew") == "anew"


def test_a_directory_that_is_down_is_down_for_all_who_wait(loop):
    got = together(SingleFlight(loop), Asking(Unreachable("no answer")), 5)
    assert [str(error) for error in got] == ["no answer"] * 5
    assert all(isinstance(error, Unreachable) for error in got)


def test_the_next_one_asks_where_the_first_was_broken_off(loop):
    class Killed(BaseException):
        pass

    flights = SingleFlight(loop)
    with pytest.raises(Killed):
        flights.share("ada", lambda: (_ for _ in ()).throw(Killed()))
    assert flights.share("ada", lambda: "person") == "person"


def test_different_questions_do_not_wait_for_each_other(loop):
    flights = SingleFlight(loop)
    assert flights.share("ada", lambda: flights.share("eve", lambda: "eve")) == "eve"
