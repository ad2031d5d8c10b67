"""The control socket: what the administrator tells the running daemon, and what he is told.

A Unix socket with mode 0600. Whoever connects sends one line of JSON and gets one back:

    {"verb": "auth flush", "user": "anna"}      {"workers": 2, "logins": 1}      {"error": "..."}

1. The kernel says who connects (SO_PEERCRED); only root and the daemon's own user are listened to.
2. The master serves it, between his other duties, and so nothing here waits: what a caller has not said or taken when
   his time is up is not heard.
3. The master knows no people. He hands the words on to the workers that serve, and answers when all have answered; one
   that dies meanwhile has forgotten everything.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from imapd.log import event
from imapd.server import privileges
from imapd.server.sockets import clear

logger = logging.getLogger("imapd.server.control")

# How long a caller may take to say his line, and the workers to answer him.
PATIENCE = 5.0
_CALLERS = 16
_LONGEST_LINE = 4096
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): process, user, group

VERBS = ("auth flush",)


class ControlError(Exception):
    """The socket cannot be opened; the text is for the administrator."""


@dataclass(eq=False)
class _Caller:
    """Somebody who has connected. waiting: the workers that have not answered him yet, once they have been asked."""

    sock: socket.socket
    until: float
    number: int
    said: bytes = b""
    waiting: set[int] | None = None
    workers: int = 0
    logins: int = 0
    faults: list[str] = field(default_factory=list)


class Control:
    """The socket and those who have connected to it. path None: there is none."""

    def __init__(self, path: str | None, become: privileges.Become | None = None) -> None:
        """Open it, while there may still be root's rights to. Raises ControlError."""
        self.path = path
        self._listening = None if path is None else _listen(path, become)
        self._inode = None if path is None else os.stat(path).st_ino
        self._callers: list[_Caller] = []
        self._count = 0

    @property
    def sockets(self) -> list[socket.socket]:
        """All that a worker must not keep."""
        listening = [self._listening] if self._listening is not None else []
        return [*listening, *(caller.sock for caller in self._callers)]

    @property
    def speaking(self) -> list[socket.socket]:
        """What to look at for something to read; serve() reads it."""
        full = len(self._callers) >= _CALLERS
        listening = [self._listening] if self._listening is not None and not full else []
        return [*listening, *(caller.sock for caller in self._callers if caller.waiting is None)]

    @property
    def waiting(self) -> set[int]:
        """The workers, by process, that somebody waits for."""
        return set().union(*(caller.waiting or () for caller in self._callers))

    @property
    def until(self) -> float:
        """When to come back at the latest."""
        return min((caller.until for caller in self._callers), default=float("inf"))

    def serve(self, tell: Callable[[bytes], Collection[int]], alive: Collection[int]) -> None:
        """Do what there is to do now. tell: hand a line to the workers, and say to which; alive: those there are."""
        self._accept()
        for caller in list(self._callers):
            if caller.waiting is None:
                self._hear(caller, tell)
            if caller.waiting is not None:
                caller.waiting &= set(alive)
                if not caller.waiting:
                    self._answer(caller, _outcome(caller))
            if caller in self._callers and time.monotonic() >= caller.until:
                late = "" if caller.waiting is None else f"{len(caller.waiting)} workers did not answer in time"
                self._answer(caller, {"error": late} if late else None)

    def heard(self, pid: int, line: bytes) -> None:
        """A worker's answer."""
        reply = json.loads(line)
        for caller in self._callers:
            if caller.number == reply["number"] and caller.waiting and pid in caller.waiting:
                caller.waiting.discard(pid)
                caller.workers += 1
                caller.logins += reply.get("logins", 0)
                if fault := reply.get("error"):
                    caller.faults.append(fault)

    def close(self) -> None:
        """Close everything, and take the socket's name away if it is still ours."""
        for sock in self.sockets:
            sock.close()
        self._listening, self._callers = None, []
        if self.path is not None:
            with contextlib.suppress(OSError):
                if os.stat(self.path).st_ino == self._inode:
                    os.unlink(self.path)

    def _accept(self) -> None:
        while self._listening is not None and len(self._callers) < _CALLERS:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            sock.setblocking(False)
            self._count += 1
            caller = _Caller(sock, time.monotonic() + PATIENCE, self._count)
            self._callers.append(caller)
            _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            if uid not in (0, os.geteuid()):
                event(logger, logging.WARNING, "control_refused", uid=uid)
                self._answer(caller, {"error": "only root and the daemon's own user may give commands"})

    def _hear(self, caller: _Caller, tell: Callable[[bytes], Collection[int]]) -> None:
        try:
            said = caller.sock.recv(_LONGEST_LINE)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        caller.said += said
        if b"\n" not in caller.said:
            if not said or len(caller.said) > _LONGEST_LINE:
                self._answer(caller, None)
            return
        try:
            wish = _understood(caller.said.partition(b"\n")[0])
        except ValueError as error:
            self._answer(caller, {"error": str(error)})
            return
        event(logger, logging.INFO, "control", **wish)
        caller.waiting = set(tell(json.dumps(wish | {"number": caller.number}).encode()))

    def _answer(self, caller: _Caller, answer: dict[str, Any] | None) -> None:
        """Say it, as far as he takes it at once, and be done with him."""
        self._callers.remove(caller)
        with contextlib.suppress(OSError):
            if answer is not None:
                caller.sock.send(json.dumps(answer).encode() + b"\n")
        caller.sock.close()


def ask(path: str, wish: dict[str, Any]) -> dict[str, Any]:
    """The other side, for the administrator's command: the daemon's answer. Raises OSError, ValueError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE * 2)
        sock.connect(path)
        sock.sendall(json.dumps(wish).encode() + b"\n")
        answer = b""
        while more := sock.recv(_LONGEST_LINE):
            answer += more
    read = json.loads(answer)
    if not isinstance(read, dict):
        raise ValueError("the daemon's answer makes no sense")
    return read


def reply(line: bytes, forget: Callable[[str | None], int]) -> bytes:
    """A worker's answer to a line that the master hands on. forget: forget logins, of a person or all."""
    wish = json.loads(line)
    try:
        return json.dumps({"number": wish["number"], "logins": forget(wish.get("user"))}).encode()
    except Exception as error:  # the caller is told; the worker goes on
        logger.error("a command failed: %s", wish["verb"], exc_info=error)
        return json.dumps({"number": wish["number"], "error": "it failed; the log says more"}).encode()


def _understood(line: bytes) -> dict[str, Any]:
    try:
        wish = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("that is not a line of JSON") from None
    verb, user = (wish.get("verb"), wish.get("user")) if isinstance(wish, dict) else (None, None)
    if verb not in VERBS or not isinstance(user, str | None):
        raise ValueError(f"that is not a command; there are: {', '.join(VERBS)}")
    return {"verb": verb} | ({} if user is None else {"user": user[:320]})


def _outcome(caller: _Caller) -> dict[str, Any]:
    if caller.faults:
        return {"error": caller.faults[0]}
    return {"workers": caller.workers, "logins": caller.logins}


def _listen(path: str, become: privileges.Become | None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # /run is empty after each start of the machine.
        privileges.make_folder(os.path.dirname(path), become)
        clear(path)
        sock.bind(path)
        os.chmod(path, 0o600)
        if become is not None and os.geteuid() == 0:
            os.chown(path, become.uid, become.gid)
        sock.listen(_CALLERS)
    except OSError as error:
        sock.close()
        raise ControlError(f"[service] control_socket: {path} cannot be opened: {error.strerror or error}") from None
    sock.setblocking(False)
    return sock
