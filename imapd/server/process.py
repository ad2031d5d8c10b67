"""What every process of ours does when it has been forked, before it begins its own work, and what it hears from the
master."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

import gevent
import gevent.socket
from gevent.event import Event

from imapd.server import memory
from imapd.server.loop import GeventLoop

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

logger = logging.getLogger("imapd.server.process")

# By the link, from the process and to it; further words are the worker's (server/worker).
READY, RETIRE = b"+", b"R"
_LONGEST_MESSAGE = 256 * 1024
_PR_SET_NAME = 15  # prctl(2)
# Seconds that a thread of the pools may keep the interpreter while the loop waits for it; Python's own 5 ms would be
# more than a connection may keep the loop.
_SWITCH = 0.001


def begin(name: str, ended: Event) -> GeventLoop:
    """A loop for this process, which is called so from now on. ended: set when it is told to end (SIGTERM).

    SIGINT and SIGHUP are the master's business; a terminal sends them to all.
    """
    _call_oneself(name)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    memory.keep_some()
    sys.setswitchinterval(_SWITCH)
    gevent.reinit()  # where the process that forked us had a loop, it is not ours
    loop = GeventLoop()
    gevent.get_hub().print_exception = _log_exception
    gevent.signal_handler(signal.SIGTERM, ended.set)
    return loop


def words_of_master(link: socket.socket) -> Iterator[bytes]:
    """Say by the link that we are ready, and give what the master says; ends when there is no master any more."""
    link.setblocking(False)
    link.send(READY)
    while True:
        gevent.socket.wait_read(link.fileno())
        try:
            message = link.recv(_LONGEST_MESSAGE)
        except BlockingIOError:
            continue
        except OSError:
            return
        if not message:
            return
        yield message


def _call_oneself(name: str) -> None:
    """Have ps and top show which process this is (comm of proc(5), 15 octets); where that cannot be, it is not."""
    # Not by /proc/self/comm: who has given up root may not write there.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode("ascii"), 0, 0, 0)


def _log_exception(context: object, kind: type[BaseException], value: BaseException, trace: Any) -> None:
    """In place of gevent's printing: one event, one line."""
    logger.error("unforeseen error in %s", type(context).__name__, exc_info=(kind, value, trace))
