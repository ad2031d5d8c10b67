"""The master's view of its workers and the indexer: forking them, hearing whether they are ready, and when to replace
one.

A generation is the processes of one reading of the configuration: workers, and one indexer. Each has a number in it,
and a link, a pair of sockets: by it the process says that it is ready and is told to retire; its end tells either side
that the other is dead. Nobody waits for the indexer: a generation serves when its workers do.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from imapd.log import event
from imapd.server.process import READY, RETIRE
from imapd.server.sockets import Place

logger = logging.getLogger("imapd.server.children")

FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
# A worker that lived that long did not die of how it was started.
LIVED_WELL = 60.0
EX_SOFTWARE = 70
INDEXER = -1
"""The number of the indexer; workers count from 0."""


class Plan(Protocol):
    """All that a process is made of. name: what it is, for the log."""

    @property
    def name(self) -> str: ...

    @property
    def listening(self) -> Iterable[socket.socket]:
        """The sockets of ours that the process serves; it keeps no other one."""

    def run(self, number: int, link: socket.socket) -> int:
        """The process' whole life; the exit status."""


@dataclass
class Child:
    """A running worker, or the indexer."""

    pid: int
    name: str
    number: int
    link: socket.socket
    started: float
    ready: bool = False
    retired: bool = False

    def retire(self) -> None:
        self.retired = True
        self.tell(RETIRE)

    def tell(self, message: bytes) -> bool:
        """Send the worker a message; False where it is ending by itself, or too busy to be told."""
        try:
            self.link.send(message)
        except OSError:
            return False
        return True

    def kill(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass


@dataclass
class Generation:
    """The processes of one configuration. count: of workers; plan gives the plan of the process with that number."""

    count: int
    places: list[Place]
    plan: Callable[[int], Plan]
    children: dict[int, Child] = field(default_factory=dict)  # by pid
    due: dict[int, float] = field(default_factory=dict)  # numbers to be started, and when
    delays: dict[int, float] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return len(self.workers) == self.count and all(child.ready for child in self.workers)

    @property
    def workers(self) -> list[Child]:
        """Those who serve clients."""
        return [child for child in self.children.values() if child.number != INDEXER]

    def start_all(self, to_close: Iterable[socket.socket]) -> None:
        for number in (*range(self.count), INDEXER):
            self.start(number, to_close)

    def start(self, number: int, to_close: Iterable[socket.socket]) -> None:
        """Fork a process; where that fails, try again later."""
        self.due.pop(number, None)
        plan = self.plan(number)
        ours = {sock for place in self.places for sock in place.sockets}
        links = [child.link for child in self.children.values()]
        try:
            child = fork(plan, number, ({*to_close} | ours).difference(plan.listening) | {*links})
        except OSError as error:
            event(logger, logging.ERROR, "fork_failed", worker=number, error=error.strerror)
            self.delay(number)
            return
        self.children[child.pid] = child
        event(logger, logging.INFO, f"{child.name}_started", **_told(child))

    def start_due(self, to_close: Iterable[socket.socket]) -> None:
        now = time.monotonic()
        for number in [number for number, when in self.due.items() if when <= now]:
            self.start(number, to_close)

    def bury(self, pid: int, status: int, replace: bool) -> Child | None:
        """Note that a child ended; it is replaced after a delay that grows while it keeps dying young."""
        child = self.children.pop(pid, None)
        if child is None:
            return None
        child.link.close()
        lived = time.monotonic() - child.started
        code = os.waitstatus_to_exitcode(status)
        how = {"signal": signal.Signals(-code).name} if code < 0 else {"status": str(code)}
        expected = child.retired or not replace
        level = logging.INFO if expected and code == 0 else logging.ERROR
        event(logger, level, f"{child.name}_ended", **_told(child), lived=round(lived, 1), **how)
        if not expected:
            if lived >= LIVED_WELL:
                self.delays.pop(child.number, None)
            self.delay(child.number)
        return child

    def delay(self, number: int) -> None:
        """Have a process started in a while."""
        delay = self.delays.get(number, FIRST_DELAY)
        self.delays[number] = min(delay * 2, LONGEST_DELAY)
        self.due[number] = time.monotonic() + delay

    def hear(self) -> None:
        """Take the words of those that are ready now."""
        for child in self.children.values():
            if child.ready:
                continue
            try:
                child.ready = child.link.recv(16) == READY
            except OSError:
                pass

    def tell(self, line: bytes) -> list[int]:
        """Send a line to all workers that serve; tells to which."""
        return [child.pid for child in self.workers if child.ready and child.tell(line)]

    def answers(self, pids: Collection[int]) -> Iterator[tuple[int, bytes]]:
        """What those of the workers have answered by now."""
        for pid in self.children.keys() & set(pids):
            try:
                line = self.children[pid].link.recv(4096)
            except OSError:
                continue
            if line:
                yield pid, line

    def kill(self, number: int) -> None:
        for child in self.children.values():
            child.kill(number)


def _told(child: Child) -> dict[str, int]:
    """Which process an event is about."""
    number = {} if child.number == INDEXER else {child.name: child.number}
    return number | {f"{child.name}_pid": child.pid}


def fork(plan: Plan, number: int, to_close: Iterable[socket.socket]) -> Child:
    """Start a process. Raises OSError. In the child this does not return."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    # The master's handlers must not run in the child: a stop that came in between would be lost there.
    everything = signal.valid_signals()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, everything)
    # What the master has made is shared with the worker until one of them writes there: the collector, which notes
    # something at every object that it passes, leaves it alone.
    gc.freeze()
    try:
        pid = os.fork()
        if pid == 0:
            ours.close()
            _be(plan, number, theirs, to_close)
    except OSError:
        ours.close()
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    finally:
        gc.unfreeze()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    ours.setblocking(False)
    return Child(pid, plan.name, number, ours, time.monotonic())


def _be(plan: Plan, number: int, link: socket.socket, to_close: Iterable[socket.socket]) -> None:
    """The child's whole life. It leaves by os._exit: what the master does at its exit is not for the child."""
    code = EX_SOFTWARE
    try:
        signal.set_wakeup_fd(-1)
        for known in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(known, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for sock in to_close:
            sock.close()
        code = plan.run(number, link)
    except Exception as error:
        logger.critical("%s %d cannot work: %s", plan.name, number, error, exc_info=error)
    finally:
        try:
            logging.shutdown()
        finally:
            os._exit(code)


def wait_readable(sockets: Iterable[socket.socket], seconds: float) -> None:
    """Wait until one of the sockets has something to say."""
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN)
    poll.poll(max(0.0, seconds) * 1000)
