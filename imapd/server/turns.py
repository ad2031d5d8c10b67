"""Whose work goes on: of those who keep the loop busy one at a time gets a slice, between two looks at the sockets.

Were each of them woken by a timer of its own, all timers would be due at the same look: four busy connections would
then keep everybody else waiting for four slices, and forty for forty. In a queue they wait for each other, and whoever
has only a little to do waits for one slice of one of them.
"""

from collections import deque

import gevent
from gevent.hub import Waiter

# A timer, however short, forces a look at the sockets; sleep(0) would not: libev runs 50 callbacks before it looks
# again, and a lone greenlet queues itself among them.
SOON = 1e-6


class Turns:
    """The queue of a loop's busy greenlets."""

    __slots__ = ("_hub", "_timer", "_waiting")

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._timer = self._hub.loop.timer(SOON)
        self._waiting: deque[Waiter] = deque()

    def wait(self) -> None:
        """Come back when the loop has looked at the sockets and those who came before have had their turn.

        What is thrown into the greenlet meanwhile (a deadline, the end) is raised, and its place in the queue is gone.
        """
        waiter = Waiter(self._hub)
        self._waiting.append(waiter)
        if not self._timer.active:
            self._timer.start(self._next)
        try:
            waiter.get()
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _next(self) -> None:
        """Wake the first; runs in the hub after each look."""
        if not self._waiting:
            return
        first = self._waiting.popleft()
        if self._waiting:
            self._timer.stop()
            self._timer.start(self._next)
        # A callback, because it comes after those whom the same look has woken; a switch from here would come before.
        self._hub.loop.run_callback(first.switch, None)
