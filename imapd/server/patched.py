"""Makes the standard library's sockets wait in the loop, in a worker, after the fork.

Directories get their sockets from the loop (Loop.connect). What libraries open by themselves, to look up a name or to
fetch a set of keys, would stop every connection of the worker without this.

The master is never patched: a patched socket makes a hub, and a patched look-up of a host a thread, and the workers are
forked from it. In a worker, too, only waiting is patched. Locks, threads and queues are not: the pools for disk and
hashes are real threads, whose work needs real locks. Nor are processes and signals, which nothing here waits for.
"""

# By the time of the patch the privileges are gone, and maybe the right to read the modules: what gevent would import
# then is imported now.
import importlib.metadata  # noqa: F401

import gevent.monkey
import gevent.resolver.thread
import gevent.select
import gevent.socket
import gevent.ssl
import gevent.time  # noqa: F401


def patch() -> None:
    """Patch what waits: sockets, TLS on them, host names, select, sleep. A second time it does nothing."""
    gevent.monkey.patch_all(
        socket=True,
        dns=True,
        ssl=True,
        select=True,
        time=True,
        thread=False,
        os=False,
        subprocess=False,
        sys=False,
        builtins=False,
        signal=False,
        queue=False,
        contextvars=False,
    )
