"""Connections to one LDAP directory, which may have several servers with the same content.

This is what the rooms above talk to; nothing of ldap3 comes out of it. A Pool asks the first replica that is well,
keeps connections to it, and keeps to its bounds whatever the servers do. A call ends in one of these ways:

- an answer of the directory that can be trusted: the server had shown its content when the connection was made
- TooMany, from a search that found more than was asked for
- DirectoryDown: no replica gave an answer in time. It is never the answer "no"
- ValueError, before anything is sent: what was asked for is nonsense, as a bind without a name or a password

A search that one replica does not answer goes to the next. A user's password is tried on connections that are used for
nothing else, and sent once: servers count wrong ones. It is sent again only where a connection that had been kept
turned out to be gone.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from imapd.directory.interface import ReplicaState
from imapd.directory.ldapfilter import Filter
from imapd.directory.ldappool import LinkPool
from imapd.directory.ldapvalues import Busy, Depth, DirectoryDown, Entry, Gone, Identity, Places, TooMany
from imapd.directory.ldapwire import Link
from imapd.directory.replicas import Replica, Replicas
from imapd.directory.verdict import Verdict
from imapd.model.loop import Loop

__all__ = ["Busy", "Depth", "DirectoryDown", "Entry", "Gone", "Identity", "Places", "Pool", "TooMany"]

Result = TypeVar("Result")


class Pool:
    """The connections to a directory. Making one opens nothing; ValueError: the places make no sense."""

    def __init__(self, places: Places, loop: Loop) -> None:
        self._places = places
        self._loop = loop
        self._replicas = Replicas(places, loop)

    def search(self, base: str, depth: Depth, filter: Filter, attributes: Sequence[str], limit: int = 0) -> list[Entry]:
        """The entries that match, at most `limit` of them; more raise TooMany. 0: as many as the server gives.

        attributes: none gives entries without any. A base that is not there raises DirectoryDown, but with Depth.BASE
        it is an entry that does not exist.
        """
        seconds = self._places.operation_seconds
        return self._ask(
            lambda replica: replica.searches,
            lambda link: link.search(base, depth, filter, attributes, limit, seconds),
        )

    def bind_as(self, dn: str, password: bytes) -> Verdict:
        """What the directory says of somebody's password."""
        if not dn or not password:
            raise ValueError("a bind without a name or a password proves nothing")
        sent = False

        def work(link: Link) -> Verdict:
            nonlocal sent
            sent = True
            return link.try_password(dn, password)

        return self._ask(lambda replica: replica.passwords, work, lambda: not sent)

    def compare(self, dn: str, attribute: str, value: bytes) -> bool:
        """Whether an entry has a value, by the attribute's equality. Passwords are not compared."""
        if attribute.lower() == "userpassword":
            raise ValueError("a comparison says nothing about a password")
        return self._ask(lambda replica: replica.searches, lambda link: link.compare(dn, attribute, value))

    def health(self) -> Sequence[ReplicaState]:
        """What is thought of the servers, in their order. Asks none of them."""
        return self._replicas.states()

    def close(self) -> None:
        """Close the connections; what is under way ends by itself."""
        self._replicas.close()

    def _ask(
        self,
        pool: Callable[[Replica], LinkPool],
        work: Callable[[Link], Result],
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> Result:
        """Ask one replica after the other, as long as there is time and somebody left."""
        until = self._loop.monotonic() + self._places.operation_seconds
        candidates = self._replicas.candidates()
        failures = []
        for number, replica in enumerate(candidates, 1):
            left = until - self._loop.monotonic()
            if left <= 0:
                break
            # The last one may be slow: there is nobody to ask after it.
            seconds = left if number == len(candidates) else min(left, self._places.answer_seconds)
            try:
                return replica.run(pool(replica), work, seconds)
            except DirectoryDown as failure:
                failures.append(str(failure))
                if not may_go_on():
                    break
        raise DirectoryDown("; ".join(failures))
