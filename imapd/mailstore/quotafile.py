"""The limits that an administrator has set for an account, told by a second file than the index.

An index that is lost or damaged is made anew from the mail files, and they say nothing of limits. So what is set is
written to `imapd-quota` as well, durably, and an index that has no mailbox yet begins with what stands there.

The file is one line with its checksum: octets and messages, `-` for no limit. What is no such line says nothing. It is
written before the index, so that a crash between leaves what nobody was told of.
"""

import contextlib
import os
import re
from typing import Final
from zlib import crc32

from imapd.mailstore import maildir
from imapd.mailstore.bench import Bench
from imapd.mailstore.quota import Limits

FILE: Final = b"imapd-quota"
_LINE: Final = re.compile(rb"((?:-|[0-9]{1,19}) (?:-|[0-9]{1,19})) ([0-9a-f]{8})\n")
_LONGEST: Final = 64
_MOST: Final = (1 << 63) - 1  # what the index can hold


def set_limits(bench: Bench, limits: Limits | None) -> None:
    """Set what stands above the owner's limits (mailstore/quota, rule 4); None: nothing does. Durable on return."""
    path = _path(bench)
    if limits is not None:
        maildir.write_whole(path, _line(limits), bench.scratch(), bench.settings.file_mode)
    elif os.path.lexists(path):
        os.unlink(path)
        maildir.sync_directory(bench.root)
    with bench.index.transaction():
        bench.index.set_limits(limits)


def bring_back(bench: Bench) -> None:
    """Have a new index know what was set before it."""
    if not bench.index.boxes() and (limits := read(bench.root)) is not None:
        with bench.index.transaction():
            bench.index.set_limits(limits)


def _path(bench: Bench) -> bytes:
    return bench.root + b"/" + FILE


def _line(limits: Limits) -> bytes:
    words = b" ".join([b"-" if one is None else b"%d" % one for one in (limits.storage_octets, limits.messages)])
    return words + b" %08x\n" % crc32(words)


def read(root: bytes) -> Limits | None:
    """What is written down in an account's directory."""
    with contextlib.suppress(OSError):
        fd = maildir.open_message(root + b"/" + FILE)
        try:
            match = _LINE.fullmatch(os.read(fd, _LONGEST))
        finally:
            os.close(fd)
        if match and match[2] == b"%08x" % crc32(match[1]):
            storage, messages = [None if word == b"-" else min(int(word), _MOST) for word in match[1].split()]
            return Limits(storage, messages)
    return None
