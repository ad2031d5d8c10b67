"""What the C library keeps of the memory that nobody uses, and when the machine gets it back.

SQLite and OpenSSL take and free many small pieces in several threads. glibc keeps what was freed, in one arena for each
thread: after ten thousand people have come and gone a worker would hold hundreds of MB for the next ten thousand. Two
arenas are enough where the interpreter runs one thread at a time, and what is free is given back now and then, in a
thread, since it takes some milliseconds.

Until then some MB are kept. glibc would give back the end of the heap as soon as 128 kB are free there: an answer of a
MB is made of several, piece by piece, and for each piece the kernel would clear pages that it had just been given back,
which takes longer than all that is written into them. With another C library nothing is done.
"""

import ctypes
from collections.abc import Callable
from typing import Any

ARENAS = 2
PAUSE = 10.0  # seconds; it takes 7 ms where 100 MB lie in 60,000 pieces
KEPT = 4 * 1024 * 1024
"""Octets that one client's answer takes while it is made, with the pieces that it is made of."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


def keep_some() -> None:
    """Say how much is kept; to be called before the process has threads."""
    library = _library()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, ARENAS)
        library.mallopt(_M_TRIM_THRESHOLD, KEPT)
        library.mallopt(_M_MMAP_THRESHOLD, KEPT)


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
