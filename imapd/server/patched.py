"""Makes the standard library's sockets wait in the loop, in a worker, after the fork.

ldap3, which the directories need, waits in plain sockets, and takes `socket` and `ssl` as they are when it is imported.
Without this a directory that does not answer would stop every connection of the worker. So a worker patches before it
builds the house, and directory/ldapconn imports ldap3 with the first connection that it opens, and looks whether the
sockets are patched (`is_patched`).

The master is never patched: a patched socket makes a hub, and a patched look-up of a host a thread, and the workers are
forked from it. In a worker, too, only waiting is patched. Locks, threads and queues are not: the pools for disk and
hashes are real threads, whose work needs real locks. Nor are processes and signals, which nothing here waits for.
"""

import gevent.monkey


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
