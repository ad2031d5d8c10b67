"""Tells the service manager how the daemon is: ready, reloading, stopping (the protocol of sd_notify(3)).

Where NOTIFY_SOCKET is not set nobody wants to know, and nothing is sent. A message that cannot be delivered is
dropped: the service manager's troubles must not become the clients'.
"""

import os
import socket
import time


def notify(*states: str) -> bool:
    """Send states such as "READY=1" as one message; says whether anybody was told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address[0] == "@":  # an abstract socket: its name begins with NUL
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.sendto("\n".join(states).encode(), address)
    except OSError:
        return False
    return True


def reloading() -> bool:
    """Say that the configuration is read again; systemd wants the time with it (Type=notify-reload)."""
    microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return notify("RELOADING=1", f"MONOTONIC_USEC={microseconds}")
