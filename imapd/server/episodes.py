"""A life that waits without a greenlet, so that ten thousand idle clients cost what their objects do.

The life of a connection is a row of episodes. Each begins, in a new greenlet, with what was heard on the transport, and
ends when nothing is left to do; the greenlet with its stack ends as well. An episode is a generator, and says in one of
three ways how it goes on:

1. It yields a time: there is more to do, but what the client says is needed for it. The generator is kept, and is sent
   what was heard.
2. It returns a time: all is done. Nothing is kept but the object itself, and what is heard begins another episode.
3. It returns None, or raises: the life is over.

The times are those of time.monotonic(), up to which there is nothing to do unless something is heard.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Self, TypeVar

import gevent

from imapd.server.transport import Heard, Transport

Result = TypeVar("Result")
Waiting = Generator[float, Heard | None, Result]
"""Work that yields times up to which it waits for the client, and is sent what was heard then."""


class Episodes:
    """What lives in episodes, which its class makes in `_episode_of`."""

    __slots__ = ("_episode", "_greenlet", "_over", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._episode: Waiting[float | None] | None = None  # that is not at its end
        self._greenlet: gevent.Greenlet | None = None  # in which it runs just now
        self._over: Callable[[Any], None] | None = None

    def serve(self, over: Callable[[Self], None]) -> None:
        """Serve the client; returns as soon as it has to be waited for. `over` is called at the end."""
        self._over = over
        self._go_on(None)

    def cut(self) -> list[gevent.Greenlet]:
        """The greenlets that have to be killed so that the life ends at once."""
        return [self._greenlet] if self._greenlet is not None else []

    def _episode_of(self, heard: Heard | None) -> Waiting[float | None]:
        """The episode that begins with what was heard; nothing was yet at the first."""
        raise NotImplementedError

    def _go_on(self, heard: Heard | None) -> None:
        """Live on to the next wait; a greenlet's whole work."""
        self._greenlet = gevent.getcurrent()
        until: float | None = None
        try:
            if self._episode is None:
                self._episode, heard = self._episode_of(heard), None
            until = self._episode.send(heard)
        except StopIteration as end:
            self._episode = None
            until = end.value
        finally:
            self._greenlet = None
            if until is None and self._over is not None:
                self._over(self)
        if until is not None:
            self._transport.rest(until, self._wake)

    def _wake(self, heard: Heard) -> None:
        self._greenlet = gevent.spawn(self._go_on, heard)
