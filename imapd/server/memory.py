"""Gives memory back to the machine that the C library keeps though nobody uses it.

SQLite and OpenSSL take and free many small pieces in several threads. glibc keeps what was freed, in one arena for each
thread: after ten thousand people have come and gone a worker would hold hundreds of MB for the next ten thousand. Two
arenas are enough where the interpreter runs one thread at a time, and what is free is given back now and then, in a
thread, since it takes some milliseconds. With another C library nothing is done.
"""

import ctypes
from collections.abc import Callable
from typing import Any

ARENAS = 2
PAUSE = 30.0  # seconds; a storm of logins is over by then
_M_ARENA_MAX = -8  # malloc.h


def use_few_arenas() -> None:
    """To be called before the process has threads."""
    library = _library()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, ARENAS)


def give_back(sleep: Callable[[float], None], offload: Callable[[Callable[[], object]], object]) -> None:
    """Give back what is free, again and again; a greenlet's whole work."""
    library = _library()
    while library is not None:
        sleep(PAUSE)
        offload(lambda: library.malloc_trim(0))


def _library() -> Any:
    """The C library, if it is glibc."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
    except OSError:
        return None
