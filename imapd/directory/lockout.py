"""Guessing: how many wrong passwords there may be before nobody is asked any more, and where.

Failures are counted for an entry, whatever name was typed, and for the client's network. So a stranger elsewhere
cannot lock somebody out of where he is; only very many failures from everywhere lock everywhere.

1. A directory hears a few wrong passwords at once, and later ones rarely: its own lockout is not set off from here.
   This holds whether or not locking is switched on.
2. The same wrong password counts once, however often it comes: it is a telephone that has not been told of the new one.
   It is asked about ever more rarely.
3. A network from which many different passwords fail waits, ever longer, before any directory is asked.
4. What a lock does to an answer is nothing: its words and its time are those of a wrong password.

Where the file of failures cannot be used (a full disk), the process goes on counting by itself and says so.
"""

import functools
import hashlib
import ipaddress
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from imapd.directory.authcache import Expiring
from imapd.directory.person import Person
from imapd.directory.tries import TROUBLE, Answer, Busy, Entry, Rules, TriesFile
from imapd.model.loop import Loop

log = logging.getLogger("imapd.directory")

Result = TypeVar("Result")

FILE = "lockout.sqlite"
LOCKED = "locked: too many failures before"

# How long somebody waits while passwords for the same entry are being asked about, and how often he looks.
_PATIENCE = 8.0
_LOOK_AGAIN = 0.1

# Failures of one network that cost nobody anything, and how the wait before a directory grows with the others. A
# company behind one address has some at any time.
_CALM = 10
_LONGEST_WAIT = 8.0

# The file is swept that often; a row is of a failure, and few are needed after a day.
_SWEEP = 600.0

# Short deeds after which the log is brought into the file, which waits for the disk. SQLite would do so after a
# thousand pages.
_TIDY = 400


@dataclass(frozen=True, slots=True)
class Try:
    """A password that may be asked about; lockout.end() is told what came of it."""

    person: Person
    network: str | None
    digest: bytes = field(repr=False)
    fresh: bool = False


@functools.lru_cache(maxsize=4096)  # each login asks several times, and reading an address takes longer than the rest
def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


class Lockout:
    """Counts failures, in a file that all workers share (or, path None, for this process alone).

    secret: the same for all workers, new for each run; it keys the digests of passwords.
    """

    def __init__(
        self, loop: Loop, rules: Rules, path: str | None = None, exempt: Sequence[str] = (), secret: bytes = b""
    ) -> None:
        self._loop = loop
        self._rules = rules
        self._secret = secret
        self._exempt = [ipaddress.ip_network(network, strict=False) for network in exempt]
        self._networks: Expiring[str, int] = Expiring(loop, rules.tries_interval)
        self._seen: Expiring[Hashable, bool] = Expiring(loop, rules.tries_interval)
        self._lock = loop.lock()
        self._swept = loop.monotonic()
        self._short = 0  # deeds that were done without a thread, or could have been
        self._path = path
        self._file: TriesFile | None = self._open()

    def network(self, peer: str) -> str | None:
        """What a client's address counts as; None where nothing is counted."""
        address = _address(peer)
        if address is None:
            return peer[:64]  # not from the Internet
        if any(address in network for network in self._exempt):
            return None
        # A customer has a whole /64 to call from; under IPv4 an address may be a whole company, and no more.
        return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)

    def wait(self, peer: str) -> float:
        """How long a client has to wait before a directory is asked for it."""
        network = self.network(peer)
        failures = self._networks.get(network) or 0 if network is not None else 0
        return 0.0 if failures <= _CALM else min(0.25 * 2.0 ** min((failures - _CALM) / 5, 10), _LONGEST_WAIT)

    def failed(self, peer: str, what: Hashable) -> None:
        """Somebody from there did not get in by this name. The same again does not count again."""
        network = self.network(peer)
        if network is None or self._seen.get((network, what)):
            return
        self._seen.put((network, what), True)
        self._count(network)

    def locked(self, person: Person, peer: str) -> bool:
        """Whether the person is locked for that client."""
        network = self.network(peer)
        if network is None or not self._rules.enforce:
            return False
        return self._do(lambda file: file.locked(person.identity, network, self._loop.time()), is_short=True)

    def begin(self, person: Person, password: bytes, peer: str) -> Try | str:
        """May this password be asked about? A Try, or why not, for the log."""
        network = self.network(peer)
        digest = hashlib.blake2b(
            person.identity.encode() + b"\0" + password, key=self._secret, digest_size=8, person=b"imapd try"
        ).digest()
        if network is None:
            return Try(person, None, digest)
        if self._loop.monotonic() - self._swept > _SWEEP:
            self._swept = self._loop.monotonic()
            self.purge()
        key = (person.identity, person.dn, network, digest)
        until = self._loop.monotonic() + _PATIENCE
        rest = _LOOK_AGAIN
        while True:
            ruling = self._do(lambda file: file.begin(*key, self._loop.time()), is_short=True)
            if ruling.answer is not Answer.LATER or self._loop.monotonic() + rest > until:
                break
            self._loop.sleep(rest)
            rest = min(rest * 2, 1.0)
        if ruling.fresh:
            self._count(network)  # as failed, until it is known to be right
        if ruling.locks:
            self._tell_of_lock(person, network)
        return Try(person, network, digest, ruling.fresh) if ruling.answer is Answer.ASK else _REASONS[ruling.answer]

    def end(self, tried: Try, right: bool | None) -> None:
        """What a directory said of a password: right, wrong, or (None) neither."""
        network = tried.network
        if network is None:
            return
        if right is not False and tried.fresh:
            self._count(network, -1)
        person = tried.person
        key = (person.identity, person.dn, network, tried.digest)
        if self._do(lambda file: file.end(*key, right, self._loop.time()), is_short=True):
            self._tell_of_lock(person, network)

    def entries(self) -> list[Entry]:
        """The locks and the failures that count, for the administrator."""
        return self._do(lambda file: file.entries(self._loop.time()))

    def unlock(self, name: str, network: str | None = None) -> int:
        """Forget what there is about a person, by identity or DN; tells how many rows that were."""
        return self._do(lambda file: file.unlock(name, network))

    def purge(self) -> int:
        """Forget what does not count any more; tells how many rows that were."""
        return self._do(lambda file: file.purge(self._loop.time()))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _count(self, network: str, failures: int = 1) -> None:
        self._networks.put(network, max(0, (self._networks.get(network) or 0) + failures))

    def _tell_of_lock(self, person: Person, network: str) -> None:
        how_long = f"for {self._rules.expiration:.0f} s" if self._rules.expiration else "until it is unlocked"
        log.warning("%r in %s is locked %s: too many failures from %s", person.dn, person.directory, how_long, network)

    def _open(self) -> TriesFile:
        try:
            file = TriesFile(self._path, self._rules)
            file.be_brief()
            return file
        except TROUBLE as error:
            return self._without_file(error)

    def _without_file(self, error: Exception) -> TriesFile:
        log.error("%s cannot be used: %s; failed logins are counted for each worker alone", self._path, error)
        self._path = None
        return TriesFile(None, self._rules)

    def _do(self, deed: Callable[[TriesFile], Result], is_short: bool = False) -> Result:
        with self._lock:
            # Who is killed while he waits for a thread leaves it at work, with a file that nobody uses then.
            file, self._file = self._file or self._open(), None
            if self._path is not None:
                try:
                    result = self._done(deed, file, is_short)
                    self._file = file
                    return result
                except TROUBLE as error:
                    file = self._without_file(error)
            self._file = file
            return deed(file)  # in memory: too short for a thread, and nobody is killed within

    def _done(self, deed: Callable[[TriesFile], Result], file: TriesFile, is_short: bool) -> Result:
        """What is short is done in the loop where no other worker writes just now: it waits for no disk, and a thread,
        which asks for the interpreter at each statement, takes three times as long. Raises what TROUBLE is."""
        if is_short:
            self._short += 1
            if self._short % _TIDY == 0:
                self._loop.offload(file.tidy)
            try:
                result: Result = deed(file)
                return result
            except Busy:
                pass
        return self._loop.offload(lambda: file.patiently(deed))


_REASONS = {
    Answer.LOCKED: LOCKED,
    Answer.PAUSED: "not asked: too many wrong passwords before, and too soon",
    Answer.REPEATED: "not asked: the same wrong password again",
    Answer.LATER: "not asked: too many passwords at the same time",
}
