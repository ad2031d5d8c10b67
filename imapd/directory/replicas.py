"""The servers of one directory: which of them is asked, and what becomes of one that does not answer.

A replica is UP, DOUBTFUL after a failure, and DOWN after two in a row. Those that are UP are asked first, in the order
in which the administrator named them, then the doubtful ones; one that is DOWN is not asked, so that nobody waits for
it. From its first failure on it is tried in the background, every second or so, by one attempt at a time; when that
shows it well, it is UP again, and the next who asks comes back to it. The attempts do not grow rarer: one connection a
second costs nobody anything, and people wait for a directory that is back.

A failure is no answer in time, a broken connection, a server that says that it cannot, or one that does not show the
directory's content to the daemon. A wrong password is an answer.

A new connection as the daemon is used only after it has shown that it can be trusted: a server may say "nobody of that
name" because the daemon may not see anybody.
"""

import logging
import random
import ssl
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeVar

from imapd.directory import srv
from imapd.directory.interface import ReplicaState
from imapd.directory.ldapfilter import present
from imapd.directory.ldappool import LinkPool
from imapd.directory.ldapuri import Address, Domain, parse
from imapd.directory.ldapvalues import Busy, Depth, DirectoryDown, Places, TooMany
from imapd.directory.ldapwire import Link
from imapd.model.errors import Overdue
from imapd.model.loop import Loop

log = logging.getLogger("imapd.directory")

Result = TypeVar("Result")

# One failure may be chance; two in a row are not.
_FAILURES_TO_BE_DOWN = 2
_BETWEEN_TRIES, _JITTER = 1.5, 0.2  # so that a server that is back is asked again within 2 s
_BETWEEN_LOOK_UPS = 30.0


class Health(IntEnum):
    """In the order in which replicas are asked."""

    UP = 0
    DOUBTFUL = 1
    DOWN = 2


class Replica:
    """One server."""

    def __init__(self, address: Address, places: Places, loop: Loop, tls: Callable[[], ssl.SSLContext]) -> None:
        self.address = address
        self._places = places
        self._loop = loop
        self._tls = tls
        self._failures = 0
        self._reason = ""
        self._next_try: float | None = None
        self._probing = self._closed = False
        self.searches = self._pool(self._open_as_daemon)
        self.passwords = self._pool(self._open)

    @property
    def health(self) -> Health:
        """What is thought of it."""
        return Health.UP if not self._failures else Health.DOWN if self._is_down else Health.DOUBTFUL

    @property
    def reason(self) -> str:
        """The last failure."""
        return self._reason

    def run(self, pool: LinkPool, work: Callable[[Link], Result], seconds: float) -> Result:
        """Do something on a connection of one of the pools, and learn from how it goes. Raises DirectoryDown."""
        try:
            with self._loop.deadline(seconds):
                result = pool.run(work, seconds)
        except Overdue:
            failure = DirectoryDown(f"{self.address}: no answer within {seconds:.1f} s")
            self._failed(failure)
            raise failure from None
        except Busy as busy:
            raise Busy(f"{self.address}: {busy}") from None
        except DirectoryDown as failure:
            self._failed(failure)
            raise
        except TooMany:
            self._well()
            raise
        self._well()
        return result

    def state(self) -> ReplicaState:
        """For an administrator."""
        connections = len(self.searches) + len(self.passwords)
        remark = f"{connections} connections"
        if self._failures:
            remark += f"; {self.health.name.lower()}: {self._reason}"
            if self._next_try is not None:
                remark += f"; tried again in {max(0.0, self._next_try - self._loop.monotonic()):.0f} s"
        return ReplicaState(str(self.address), self.health is not Health.DOWN, remark)

    def close(self) -> None:
        """Ask it no more."""
        self._closed = True
        self.searches.close()
        self.passwords.close()

    # -- connections -------------------------------------------------------------------------------------------------

    def _pool(self, open: Callable[[float], Link]) -> LinkPool:
        places = self._places
        return LinkPool(
            open,
            self._loop,
            places.connections,
            places.checkout_seconds,
            places.idle_seconds,
            places.lifetime_seconds,
        )

    def _open(self, seconds: float) -> Link:
        starttls = self._places.starttls and not self.address.tls and self.address.port is not None
        tls = self._tls() if self.address.tls or starttls else None
        return Link(self.address, self._loop, min(seconds, self._places.connect_seconds), tls, starttls)

    def _open_as_daemon(self, seconds: float) -> Link:
        until = self._loop.monotonic() + seconds
        link = self._open(seconds)
        try:
            link.within(until - self._loop.monotonic())
            link.bind(self._places.identity)
            self._require_visible(link, seconds)
        except BaseException:
            link.close()
            raise
        link.used = False  # so far it has only been made
        return link

    def _require_visible(self, link: Link, seconds: float) -> None:
        """The base, with something below it, and the canary: or the server's "nobody" means nothing."""
        places, anything = self._places, present("objectClass")
        try:
            found = len(link.search(places.base, Depth.SUBTREE, anything, (), 2, seconds))
        except TooMany as many:
            found = len(many.entries)
        if found < 2:
            raise DirectoryDown(f"{self.address}: it shows the daemon nothing below {places.base!r}")
        if places.canary and not link.search(places.canary, Depth.BASE, anything, (), 1, seconds):
            raise DirectoryDown(f"{self.address}: it does not show the daemon {places.canary!r}")

    # -- health ------------------------------------------------------------------------------------------------------

    @property
    def _is_down(self) -> bool:
        return self._failures >= _FAILURES_TO_BE_DOWN

    def _failed(self, failure: DirectoryDown) -> None:
        self._failures += 1
        self._reason = str(failure).removeprefix(f"{self.address}: ")
        log.warning("%s%s", failure, "; it is not asked until it is well" if self._failures == 2 else "")
        if not self._probing and not self._closed:
            self._probing = True
            self._next_try = self._loop.monotonic() + _BETWEEN_TRIES
            self._loop.spawn(self._try_until_well)

    def _well(self) -> None:
        if self._failures:
            log.info("%s: it answers again", self.address)
        self._failures = 0

    def _try_until_well(self) -> None:
        try:
            while self._failures and not self._closed:
                pause = _BETWEEN_TRIES * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311, nothing secret
                self._next_try = self._loop.monotonic() + pause
                self._loop.sleep(pause)
                if self._failures and not self._closed and self._try():
                    self._well()
        finally:
            self._probing = False
            self._next_try = None

    def _try(self) -> bool:
        seconds = self._places.operation_seconds
        try:
            with self._loop.deadline(seconds):
                self._open_as_daemon(seconds).close()
        except Overdue:
            self._reason = f"no answer within {seconds:.1f} s"
            return False
        except DirectoryDown as failure:
            self._reason = str(failure).removeprefix(f"{self.address}: ")
            return False
        return True


class Replicas:
    """All servers of a directory."""

    def __init__(self, places: Places, loop: Loop) -> None:
        """ValueError: a URI is none. Nothing is opened yet."""
        self._places = places
        self._loop = loop
        self._sources = [parse(uri) for uri in places.uris]
        if not self._sources:
            raise ValueError("a directory of type ldap needs 'uri'")
        self._replicas: dict[Address, Replica] = {}
        self._named: dict[Domain, srv.Answer] = {}
        self._looking: set[Domain] = set()
        self._good_until: dict[Domain, float] = {}
        self._context: ssl.SSLContext | None = None

    def candidates(self) -> list[Replica]:
        """Those that may be asked, the best first. DirectoryDown: there is none, and why."""
        known = [self._replica(address) for source in self._sources for address in self._addresses(source)]
        usable = sorted((one for one in known if one.health is not Health.DOWN), key=lambda one: one.health)
        if not usable:
            raise DirectoryDown("; ".join(f"{one.address}: {one.reason}" for one in known) or self._nameless())
        return usable

    def states(self) -> Sequence[ReplicaState]:
        """All that are known, in their order. Asks nobody."""
        addresses: list[Address] = []
        for source in self._sources:
            addresses += (
                [source]
                if isinstance(source, Address)
                else self._named[source].addresses
                if source in self._named
                else []
            )
        return [self._replica(address).state() for address in addresses]

    def close(self) -> None:
        """Ask nobody any more."""
        for replica in self._replicas.values():
            replica.close()

    def _replica(self, address: Address) -> Replica:
        if address not in self._replicas:
            self._replicas[address] = Replica(address, self._places, self._loop, self._tls)
        return self._replicas[address]

    def _tls(self) -> ssl.SSLContext:
        """One for all connections: reading the authorities takes milliseconds. New ones come with a reload."""
        if self._context is None:
            places = self._places
            try:
                context = self._loop.tls_context(places.ca_file)
                if places.client_certificate:
                    context.load_cert_chain(places.client_certificate, places.client_key)
            except OSError as error:
                raise DirectoryDown(f"TLS cannot be set up: {error.strerror or error}") from None
            self._context = context
        return self._context

    # -- names in DNS ------------------------------------------------------------------------------------------------

    def _addresses(self, source: Address | Domain) -> Sequence[Address]:
        if isinstance(source, Address):
            return (source,)
        if source not in self._named:
            self._look_up(source)
        elif self._loop.monotonic() > self._good_until[source] and source not in self._looking:
            self._looking.add(source)
            self._loop.spawn(lambda: self._look_up(source))
        return self._named[source].addresses if source in self._named else ()

    def _look_up(self, source: Domain) -> None:
        """Ask DNS; where it does not tell, what it told before stays good."""
        try:
            answer = self._loop.offload(srv.look_up, source)
        except DirectoryDown as failure:
            log.warning("%s", failure)
            self._good_until[source] = self._loop.monotonic() + _BETWEEN_LOOK_UPS
        else:
            self._named[source] = answer
            self._good_until[source] = self._loop.monotonic() + answer.seconds
        finally:
            self._looking.discard(source)

    def _nameless(self) -> str:
        return "DNS does not tell the servers of " + ", ".join(map(str, self._sources))
