"""Whose a mail file is: the identity of the person who used it first, in the file imapd-owner inside it.

Names are given again: a new colleague may get the login name, the address and so the mail file of somebody who left.
Entries have ids that are never given again. Whoever comes with another id than the one that is written down does not
get the mail; it is for an administrator to give it to him, by removing the file.

A mail file without an owner, as one that other programs made, becomes the property of the first who logs in.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time

from imapd.mailstore import maildir
from imapd.model.errors import Refused

logger = logging.getLogger("imapd.server.owners")

FILE = "imapd-owner"

# Seconds within which two changes may leave the same time on a file, and some more.
_LATELY = 0.05

# An identity is a directory's name and an id; nothing that we wrote is longer.
_LONGEST = 4_096


def require(home: str, identity: str) -> bool:
    """Whether it is written down that the mail file is this person's; Refused where it is somebody else's."""
    owner = owner_of(home)
    if owner is not None and owner != identity:
        raise Refused(
            "You have no mail file here; please ask your administrator.",
            code="CONTACTADMIN",  # RFC 5530 section 3
            reason=f"the mail file {home} is that of {owner}, not of {identity}; remove {FILE} in it to give it away",
        )
    return owner is not None


def record(home: str, identity: str) -> None:
    """Write down whose the mail file is, if nobody has; Refused where somebody else was quicker."""
    path = os.path.join(home, FILE)
    if not os.path.isdir(home):
        return
    try:
        if not os.path.exists(path):
            _make(path, f"{identity}\n".encode())
    except OSError as error:
        # Mail that can only be read may still be read.
        logger.warning("%s cannot be written: %s", path, error.strerror)
        return
    require(home, identity)


def stamp(home: str) -> tuple[int, int, int] | None:
    """What changes when the file that names the owner does; None where there is none, or it was changed so lately that
    another change could leave the same times. Quick."""
    try:
        seen = os.lstat(os.path.join(home, FILE))
    except OSError:
        return None
    return None if time.time() - seen.st_ctime < _LATELY else (seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)


def is_at_hand(home: str) -> bool:
    """Whether `require` waits for no disk. Quick."""
    return maildir.is_at_hand(os.fsencode(os.path.join(home, FILE)), _LONGEST)


def owner_of(home: str) -> str | None:
    """The identity of the person whose the mail file is, if anybody's."""
    try:
        with open(os.path.join(home, FILE), "rb") as file:
            return file.read(_LONGEST).decode("utf-8", "replace").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _make(path: str, text: bytes) -> None:
    """Make the file whole or not at all; one that is there by then stays."""
    descriptor, temporary = tempfile.mkstemp(prefix=f"{FILE}.", dir=os.path.dirname(path))
    try:
        with open(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
