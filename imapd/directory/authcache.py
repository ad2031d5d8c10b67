"""What a process remembers of its directories: who got in, which names there are not, and what is being asked now.

Promises:

1. Nothing of it is on a disk, and no password is kept: only its keyed digest, with a salt for each entry and a key that
   the process draws for itself.
2. Every memory is bounded in time and number; what was used least is forgotten first.
3. Only a right password is remembered, never a wrong one: somebody who has just been given another password gets in
   with it at once. The price, which the manual names: for as long as a login is remembered, an old password is good
   still, here, and a directory's own lockout does not see that login.
4. A directory that did not answer is never remembered.
"""

import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from imapd.directory.person import Person
from imapd.model.errors import Unreachable
from imapd.model.loop import Loop

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

SIZE = 10_000


class Expiring(Generic[Key, Value]):
    """A bounded memory whose entries end after a time; a lifetime of 0 remembers nothing."""

    def __init__(self, loop: Loop, lifetime: float, size: int = SIZE) -> None:
        self._loop = loop
        self._lifetime = lifetime
        self._size = size
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """What is remembered under the key, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._loop.monotonic() >= entry[0]:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: Key, value: Value) -> None:
        """Remember, in the place of what was there."""
        if self._lifetime <= 0:
            return
        self._entries[key] = (self._loop.monotonic() + self._lifetime, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def drop(self, key: Key) -> None:
        """Forget one."""
        self._entries.pop(key, None)

    def flush(self, which: Callable[[Key, Value], bool] = lambda key, value: True) -> int:
        """Forget all of these; tells how many."""
        gone = [key for key, (_, value) in self._entries.items() if which(key, value)]
        for key in gone:
            del self._entries[key]
        return len(gone)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True, slots=True)
class _Login:
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    person: Person
    fresh_until: float


class AuthCache:
    """Logins that a directory has found right, by the name as it was typed.

    lifetime: how long one counts. grace: how much longer it counts while its directory does not answer.
    """

    def __init__(self, loop: Loop, lifetime: float, grace: float = 0.0, size: int = SIZE) -> None:
        self._loop = loop
        self._lifetime = lifetime
        self._key = os.urandom(32)
        self._logins: Expiring[Hashable, _Login] = Expiring(loop, lifetime + grace if lifetime > 0 else 0, size)

    def get(self, name: Hashable, password: bytes, late: bool = False) -> Person | None:
        """Who has got in by that name and password not long ago. late: those whose time is over, but for the grace."""
        login = self._logins.get(name)
        if login is None or (self._loop.monotonic() >= login.fresh_until and not late):
            return None
        right = hmac.compare_digest(login.digest, self._digest(login.salt, password))
        return login.person if right else None

    def put(self, name: Hashable, password: bytes, person: Person) -> None:
        """Somebody got in."""
        salt = os.urandom(16)
        fresh_until = self._loop.monotonic() + self._lifetime
        self._logins.put(name, _Login(salt, self._digest(salt, password), person, fresh_until))

    def drop(self, name: Hashable) -> None:
        """A directory has said that what somebody typed for the name is wrong: let everybody be asked about again."""
        self._logins.drop(name)

    def flush(self, which: Callable[[Person], bool] = lambda person: True) -> int:
        """Forget the logins of these persons; tells how many."""
        return self._logins.flush(lambda name, login: which(login.person))

    def _digest(self, salt: bytes, password: bytes) -> bytes:
        return hashlib.blake2b(password, key=self._key, salt=salt, person=b"imapd login").digest()


class SingleFlight(Generic[Key, Value]):
    """Lets those who ask the same at the same time share one request."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._flights: dict[Key, _Flight[Value]] = {}

    def share(self, key: Key, ask: Callable[[], Value]) -> Value:
        """What ask() gives to the first of those who ask; Unreachable is shared too. Where the first was broken off
        before there was an answer, the next one asks."""
        while True:
            flight = self._flights.get(key)
            if flight is None:
                return self._lead(key, ask)
            with flight.lock:
                pass
            if flight.trouble is not None:
                raise Unreachable(flight.trouble)
            if flight.answers:
                return flight.answers[0]

    def _lead(self, key: Key, ask: Callable[[], Value]) -> Value:
        flight: _Flight[Value] = _Flight(self._loop.lock())
        # Before anybody else knows of the flight, so it does not wait.
        with flight.lock:
            self._flights[key] = flight
            try:
                answer = ask()
                flight.answers.append(answer)
                return answer
            except Unreachable as trouble:
                flight.trouble = str(trouble)
                raise
            finally:
                del self._flights[key]


class _Flight(Generic[Value]):
    """One request, and those who wait for its lock wait for its answer."""

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self.lock = lock
        self.answers: list[Value] = []
        self.trouble: str | None = None
