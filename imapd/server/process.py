"""What every process of ours does when it has been forked, before it begins its own work."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import signal
import sys
from typing import Any

import gevent
from gevent.event import Event

from imapd.server import memory
from imapd.server.loop import GeventLoop

logger = logging.getLogger("imapd.server.process")

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
    memory.use_few_arenas()
    sys.setswitchinterval(_SWITCH)
    gevent.reinit()  # where the process that forked us had a loop, it is not ours
    loop = GeventLoop()
    gevent.get_hub().print_exception = _log_exception
    gevent.signal_handler(signal.SIGTERM, ended.set)
    return loop


def _call_oneself(name: str) -> None:
    """Have ps and top show which process this is (comm of proc(5), 15 octets); where that cannot be, it is not."""
    # Not by /proc/self/comm: who has given up root may not write there.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode("ascii"), 0, 0, 0)


def _log_exception(context: object, kind: type[BaseException], value: BaseException, trace: Any) -> None:
    """In place of gevent's printing: one event, one line."""
    logger.error("unforeseen error in %s", type(context).__name__, exc_info=(kind, value, trace))
