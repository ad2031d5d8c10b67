"""Disk threads that write run one after the other, but where they wait for the disk.

One thread has Python's interpreter at a time anyway. But each system call gives it up, and where others want it, one of
them has it when the call returns: then each of the fifty quick calls of an APPEND costs two switches between threads
(ten clients at once: 155 switches for each message, and twice the processor time of one client). So who writes carries
a baton, and lays it down while he waits for the disk. All of them wait for the disk at the same time, and the calls in
between go undisturbed.

It guards nothing, and nobody depends on it: who does not get it soon, because somebody has long work, goes without.
"""

from _thread import allocate_lock, get_ident
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PATIENCE: Final = 0.005
"""Seconds. What one client's message needs of the processor is less."""

_baton = allocate_lock()
_carrier = 0  # the thread that has it


@contextmanager
def carried() -> Iterator[None]:
    """Carry the baton in this context, if it is to be had soon. Contexts may nest."""
    if _carrier == get_ident():
        yield
        return
    _take()
    try:
        yield
    finally:
        _lay_down()


@contextmanager
def laid_down() -> Iterator[None]:
    """Wait for the disk in this context."""
    if _lay_down():
        try:
            yield
        finally:
            _take()
    else:
        yield


def _take() -> None:
    global _carrier
    if _baton.acquire(timeout=PATIENCE):
        _carrier = get_ident()


def _lay_down() -> bool:
    global _carrier
    if _carrier != get_ident():
        return False
    _carrier = 0
    _baton.release()
    return True
