"""Looks again at the people who are logged in: who may not stay loses his sessions.

1. Everybody is looked up once in an interval, one after the other and spread over it, however many sessions he has.
   The first round begins within the interval; a call of `at_once` begins one now, which is not spread.
2. Somebody goes only by a clear answer: he is gone, disabled, expired, or not on the access lists any more. A directory
   that does not answer throws nobody out; nor does a mistake of ours.
3. Whoever goes hears BYE as soon as his command is over; the log has the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import gevent
from gevent.event import Event

from imapd.log import event
from imapd.model.errors import Unreachable

if TYPE_CHECKING:
    from imapd.directory.person import Person

logger = logging.getLogger("imapd.server.recheck")

# The shortest sleep that lets the loop look at its sockets.
_TURN = 1e-6

GOODBYE = "You are not let in here any more"


class Live(Protocol):
    """A connection."""

    @property
    def listener(self) -> str: ...
    @property
    def person(self) -> Person | None: ...
    def stop(self, text: str) -> None: ...


# By listener and person: why he may not stay, or None; raises Unreachable.
Objection = Callable[[str, "Person"], str | None]


class Recheck:
    """The rounds of a worker. interval in seconds; connections: those that there are at the time."""

    def __init__(self, objection: Objection, interval: float, connections: Callable[[], Iterable[Live]]) -> None:
        self._objection = objection
        self._interval = interval
        self._connections = connections
        self._hurry = Event()

    def run(self) -> None:
        """Go round for ever; a greenlet's whole work."""
        while True:
            spread = not self._hurry.wait(self._interval)
            self._hurry.clear()
            self.round(spread)

    def at_once(self) -> None:
        """Begin a round now; one that is under way is finished without pauses."""
        self._hurry.set()

    def round(self, spread: bool = False) -> None:
        """Look at everybody once."""
        sessions: dict[tuple[str, str], list[Live]] = {}
        for one in self._connections():
            if one.person is not None:
                sessions.setdefault((one.listener, one.person.identity), []).append(one)
        unknown = set()
        for (listener, _), ones in sessions.items():
            if spread:
                # Half of the interval, so that a round ends before the next one even where directories are slow.
                self._hurry.wait(self._interval / 2 / len(sessions))
            person = ones[0].person
            assert person is not None
            try:
                reason = self._objection(listener, person)
            except Unreachable as trouble:
                unknown.add(str(trouble))
            except Exception as error:
                logger.error("looking at %r again failed", person.dn, exc_info=error)
            else:
                if reason is not None:
                    self._throw_out(ones, person, reason)
            gevent.sleep(_TURN)
        for trouble_text in sorted(unknown):
            event(logger, logging.WARNING, "recheck_incomplete", reason=trouble_text)

    def _throw_out(self, ones: list[Live], person: Person, reason: str) -> None:
        user, directory = person.user_name, person.directory
        event(logger, logging.WARNING, "thrown_out", user=user, directory=directory, sessions=len(ones), reason=reason)
        for one in ones:
            one.stop(GOODBYE)
