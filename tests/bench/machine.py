"""What a machine must allow, so that neither server is held back by a limit that administrators raise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
WANTED = 30_000  # Dovecot takes one for each session that is idle, imapd one for each worker


@contextlib.contextmanager
def room_to_watch() -> Iterator[None]:
    """Raise the limit of inotify instances while this lasts; said where it may not be done."""
    before = INSTANCES.read_text()
    if int(before) >= WANTED:
        yield
        return
    try:
        INSTANCES.write_text(str(WANTED))
    except OSError:
        print(f"{INSTANCES} is {before.strip()}: Dovecot will not hibernate, nor notice all changes; raise it as root")
        yield
        return
    try:
        yield
    finally:
        INSTANCES.write_text(before)
