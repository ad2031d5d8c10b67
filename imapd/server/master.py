"""The master: opens what needs privileges (startup), gives them up, and looks after the workers and the indexer. It
reads nothing from clients, only what the administrator says at the control socket (control).

Its signals:

    SIGTERM, SIGINT  stop: workers accept no more, clients hear BYE, everything ends within shutdown_timeout
    SIGHUP           read the configuration and the certificates again. If anything is wrong with them, all problems
                     are logged and nothing changes. Else new workers are started; once they serve, the old ones
                     retire: they keep their clients until these leave
    SIGCHLD          a worker or the indexer ended: it is replaced, after 1 s first, up to 30 s where it keeps dying

The service manager is told READY=1 when all workers serve, RELOADING=1 and READY=1 around a reload, STOPPING=1.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from imapd import log
from imapd.log import event
from imapd.server import children, entrance, house, indexer, privileges, startup
from imapd.server.children import Generation, wait_readable
from imapd.server.control import Control, ControlError
from imapd.server.notify import notify, reloading
from imapd.server.privileges import PrivilegeError
from imapd.server.sockets import UNIX, handed_over, release, remove_unix
from imapd.server.startup import StartError
from imapd.server.worker import LISTS

if TYPE_CHECKING:
    from imapd.settings import Settings

logger = logging.getLogger("imapd.server.master")

# How long new workers may take until they serve.
START = 60.0


def serve(settings: Settings, reread: Callable[[], Settings]) -> int:
    """Run the daemon until it is told to stop; returns the exit status. reread reads the configuration again."""
    return Master(settings, reread).run()


class Master:
    """The daemon's first process."""

    def __init__(self, settings: Settings, reread: Callable[[], Settings]) -> None:
        self._settings = settings
        self._reread = reread
        self._current: Generation | None = None
        self._coming: Generation | None = None
        self._coming_settings = settings
        self._coming_until = 0.0
        self._retired: list[Generation] = []
        self._reload_again = False
        self._stopping_since: float | None = None
        self._status = 0
        self._secret = b""
        self._listeners: set[str] = set()  # the names of all that there have been
        self._control = Control(None)
        # By it workers tell the indexer what they wish; it lasts as long as we do, whoever reads and writes.
        self._channel = indexer.make_channel()

    def run(self) -> int:
        self._catch_signals()
        try:
            self._begin()
        except StartError as error:
            _log_problems(error.problems)
            self._control.close()
            return 1
        while not self._over():
            wait_readable([self._wakeup, *self._links(), *self._control.speaking], self._until_due())
            for number in self._signals():
                self._handle(number)
            self._reap()
            self._see_to_workers()
            self._serve_control()
        self._control.close()
        remove_unix(self._current.places if self._current is not None else ())
        event(logger, logging.INFO, "stopped")
        return self._status

    # -- the beginning -----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        os.umask(0o077)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold passwords and mail
        become = startup.user(self._settings)
        startup.make_folders(self._settings, become)
        self._secret = house.secret(self._settings.service.state_directory)
        generation = startup.generation(self._settings, self._secret, self._channel, handed=handed_over())
        try:
            self._control = Control(self._settings.service.control_socket, become)
        except ControlError as error:
            raise StartError(str(error)) from None
        try:
            privileges.drop(become)
        except PrivilegeError as error:
            raise StartError(str(error)) from None
        _log_remarks(self._settings)
        for place in generation.places:
            address = place.sockets[0].getsockname()
            where = {"socket": address} if place.port == UNIX else {"address": address[0], "port": address[1]}
            event(logger, logging.INFO, "listening", listener=place.listener, **where)
        self._start(generation, self._settings)

    def _start(self, generation: Generation, settings: Settings) -> None:
        self._coming, self._coming_settings = generation, settings
        self._coming_until = time.monotonic() + START
        generation.start_all(self._of_master())

    # -- signals -----------------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        self._wakeup, writing = socket.socketpair()
        self._wakeup.setblocking(False)
        writing.setblocking(False)
        self._writing = writing
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: None)  # the number arrives by the wakeup socket

    def _signals(self) -> list[int]:
        try:
            return list(dict.fromkeys(self._wakeup.recv(4096)))
        except BlockingIOError:
            return []

    def _handle(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop()
        elif number == signal.SIGHUP:
            self._reload()

    def _stop(self, status: int = 0) -> None:
        """Stop; told a second time, do not wait any more."""
        if self._stopping_since is not None:
            self._kill_all(signal.SIGKILL)
            return
        notify("STOPPING=1", "STATUS=Stopping")
        event(logger, logging.INFO, "stopping")
        self._status = status
        self._stopping_since = time.monotonic()
        self._kill_all(signal.SIGTERM)

    def _kill_all(self, number: int) -> None:
        for generation in self._generations():
            generation.kill(number)

    def _reload(self) -> None:
        if self._stopping_since is not None:
            return
        if self._coming is not None:
            self._reload_again = True
            return
        reloading()
        try:
            settings = self._reread()
            before = self._current.places if self._current is not None else ()
            generation = startup.generation(settings, self._secret, self._channel, before)
        except Exception as error:  # whatever is wrong with the new file, the old settings serve on
            problems = getattr(error, "problems", None)
            if problems is None:
                logger.error("reading the configuration again failed", exc_info=error)
            _log_problems(problems or (str(error),))
            _refuse_reload()
            return
        log.setup(settings.log.level, settings.log.format)
        _log_remarks(settings)
        old = self._settings.service
        if (settings.service.user, settings.service.group) != (old.user, old.group):
            event(logger, logging.WARNING, "restart_needed", setting="[service] user and group")
        if settings.service.control_socket != self._control.path:
            event(logger, logging.WARNING, "restart_needed", setting="[service] control_socket")
        self._start(generation, settings)

    # -- workers -----------------------------------------------------------------------------------------------------

    def _generations(self) -> list[Generation]:
        return [one for one in (self._coming, self._current, *self._retired) if one is not None]

    def _of_master(self) -> list[socket.socket]:
        """What a new worker must not keep: our ends of things, and what only others listen at. A port that is served no
        more would stay open in it, and clients would wait there for nobody."""
        places = [place for generation in self._generations() for place in generation.places]
        listening = [sock for place in places for sock in place.sockets]
        links = [child.link for generation in self._generations() for child in generation.children.values()]
        return [self._wakeup, self._writing, *self._control.sockets, *links, *listening]

    def _links(self) -> list[socket.socket]:
        """Those to the workers that have something to say: that they are ready, or what somebody waits for."""
        waiting = self._control.waiting
        starting = [one for one in (self._coming, self._current) if one is not None]
        return [
            child.link
            for one in self._generations()
            for child in one.children.values()
            if child.pid in waiting or (not child.ready and one in starting)
        ]

    def _serve_control(self) -> None:
        """The retired workers are told as well: their clients may log in yet."""
        generations = self._generations()
        for one in generations:
            for pid, line in one.answers(self._control.waiting):
                self._control.heard(pid, line)
        alive = {pid for one in generations for pid in one.children}
        self._control.serve(lambda line: [pid for one in generations for pid in one.tell(line)], alive)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._coming is not None and (child := self._coming.bury(pid, status, replace=False)):
                if child.number == children.INDEXER:
                    self._coming.delay(child.number)
                elif self._stopping_since is None:
                    self._give_up_coming("a new worker ended before it served")
                continue
            for generation in (self._current, *self._retired):
                if generation is not None:
                    stays = generation is self._current and self._stopping_since is None
                    generation.bury(pid, status, replace=stays)

    def _see_to_workers(self) -> None:
        self._retired = [generation for generation in self._retired if generation.children]
        if self._stopping_since is not None:
            bound = max(1.0, self._coming_settings.service.shutdown_timeout)
            if time.monotonic() - self._stopping_since > bound:
                self._kill_all(signal.SIGKILL)
            return
        if self._current is not None:
            self._current.hear()
            self._current.start_due(self._of_master())
        if self._coming is None:
            return
        self._coming.hear()
        if self._coming.ready:
            self._take_over()
        elif time.monotonic() > self._coming_until:
            self._give_up_coming("the new workers took too long to start")

    def _take_over(self) -> None:
        """The coming workers serve: the others retire."""
        old, self._current, self._coming = self._current, self._coming, None
        assert self._current is not None
        self._settings = self._coming_settings
        self._listeners |= {one.name for one in self._settings.listeners}
        if old is not None:
            self._tell_lists([old, *self._retired])
            for child in old.children.values():
                child.retire()
            self._retired.append(old)
            release(old.places, self._current.places)
        event(logger, logging.INFO, "ready" if old is None else "reloaded", workers=self._current.count)
        notify("READY=1", f"MAINPID={os.getpid()}", "STATUS=Serving")
        if self._reload_again:
            self._reload_again = False
            self._reload()

    def _tell_lists(self, generations: list[Generation]) -> None:
        """The clients of earlier workers have to pass the new access lists."""
        written = entrance.lists(self._settings, self._listeners)
        message = LISTS + json.dumps(written).encode("utf-8")
        for generation in generations:
            if len(generation.tell(message)) < len(generation.workers):
                event(logger, logging.ERROR, "access_lists_not_told", hint="sessions from before the reload may stay")

    def _give_up_coming(self, reason: str) -> None:
        """New workers do not come up: stay with the old ones, or end where there are none."""
        coming, self._coming = self._coming, None
        if coming is None:
            return
        self._coming_settings = self._settings
        for child in coming.children.values():
            child.retired = True
        self._retired.append(coming)
        if self._current is None:
            event(logger, logging.CRITICAL, "start_failed", reason=reason)
            self._stop(status=1)
            return
        coming.kill(signal.SIGTERM)
        release(coming.places, self._current.places)
        _refuse_reload(reason)

    # -- time --------------------------------------------------------------------------------------------------------

    def _over(self) -> bool:
        return self._stopping_since is not None and not any(one.children for one in self._generations())

    def _until_due(self) -> float:
        if self._stopping_since is not None:
            return 0.1
        times = list(self._current.due.values()) if self._current else []
        if self._coming is not None:
            times.append(self._coming_until)
        return min([*times, self._control.until, time.monotonic() + 3600.0]) - time.monotonic()


def _refuse_reload(reason: str | None = None) -> None:
    """Tell that new settings are not put to work. reason: where the problems do not stand in the log already."""
    event(logger, logging.ERROR, "reload_refused", reason=reason, hint="the old settings stay in force")
    notify("READY=1", "STATUS=Serving; the last reload was refused, see the log")


def _log_problems(problems: Iterable[object]) -> None:
    for problem in problems:
        logger.error("%s", problem)


def _log_remarks(settings: Settings) -> None:
    for remark in settings.remarks:
        logger.warning("%s", remark)
