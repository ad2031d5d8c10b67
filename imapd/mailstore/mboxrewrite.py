"""Replacing an mbox by a new version of it, safe from crashes and from programs that are about to write to the old one.

The new version is written beside it as `.NAME.imapd-new`, made durable, and renamed over it: whatever happens, there is
the old file or the new one, whole.

A program that opened the old file and waits for its lock would write to a file without a name. So the old file keeps
one for a while, `.NAME.imapd-old-<octets>-<inode>`: what is there beyond its octets came in afterwards, and is carried
over to the end of the new file. After two minutes nobody waits for a lock any more, and it goes.

Rules:

1. All of it happens under the locks of the mail file (mailstore/mboxlock), with those of the old one taken too when
   something is carried over.
2. What was carried over is durable in the new file before the old one is cut back. A crash between the two would carry
   it over once more; so the tail of the mail file is compared first.
3. Owner, mode and times are those of the old file: other programs tell new mail by them.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable, Sequence
from typing import Final

from imapd.mailstore.maildir import discard, sync_directory
from imapd.mailstore.mboxlock import Locked, take

KEEP_OLD: Final = 120.0
_PIECE: Final = 1 << 20
_TOUCH: Final = 64 << 20  # octets after which the dotlock is touched: a second's work, or ten
_OLD: Final = re.compile(rb"\.(.+)\.imapd-old-(\d{1,18})-(\d{1,20})")

Part = bytes | tuple[int, int]
"""What a new version is made of: octets, or a range (start, end) of the old file."""


def new_path(path: bytes) -> bytes:
    """Where the new version of a mail file is written."""
    folder, name = os.path.split(path)
    return folder + b"/." + name + b".imapd-new"


def old_paths(path: bytes) -> list[tuple[bytes, int]]:
    """The old versions of a mail file that are kept, with the octets they had. Lists the directory."""
    folder, name = os.path.split(path)
    found = []
    for entry in sorted(os.listdir(folder)):
        if (match := _OLD.fullmatch(entry)) and match[1] == name:
            found.append((folder + b"/" + entry, int(match[2])))
    return found


def rewrite(mail: Locked, parts: Iterable[Part]) -> None:
    """Replace the mail file by the parts. Raises OSError, and then the old file is there as it was."""
    seen = os.fstat(mail.fd)
    new = new_path(mail.path)
    discard(new)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            _write_parts(mail, fd, parts)
            _like(fd, seen)
            os.fsync(fd)
        finally:
            os.close(fd)
        folder, name = os.path.split(mail.path)
        old = b"%s/.%s.imapd-old-%d-%d" % (folder, name, seen.st_size, seen.st_ino)
        discard(old)
        os.link(mail.path, old, follow_symlinks=False)
        os.rename(new, mail.path)
    except OSError:
        discard(new)
        raise
    sync_directory(folder)


def _write_parts(mail: Locked, fd: int, parts: Iterable[Part]) -> None:
    written = 0
    gathered = bytearray()
    for part in parts:
        if isinstance(part, bytes):
            gathered += part
        else:
            start, end = part
            while start < end:
                piece = os.pread(mail.fd, min(_PIECE, end - start), start)
                if not piece:
                    raise OSError(errno.EIO, "the mail file was cut short while it was read", mail.path)
                gathered += piece
                start += len(piece)
                written += _flush(fd, gathered, _PIECE)
        written += _flush(fd, gathered, _PIECE)
        if written > _TOUCH:
            mail.touch()
            written = 0
    _flush(fd, gathered, 1)


def _flush(fd: int, gathered: bytearray, least: int) -> int:
    """Write what was gathered if it is at least so much; how much it was."""
    octets = len(gathered)
    if octets < least:
        return 0
    write_all(fd, bytes(gathered))
    gathered.clear()
    return octets


def write_all(fd: int, data: bytes) -> None:
    """Write all of it: a disk that is nearly full takes less than it was given, and says no more than that."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def pwrite_all(fd: int, data: bytes, offset: int) -> None:
    """Write all of it at an offset."""
    left = memoryview(data)
    while left:
        written = os.pwrite(fd, left, offset)
        offset += written
        left = left[written:]


def _like(fd: int, seen: os.stat_result) -> None:
    """Owner, mode and times of the old file (rule 3); the group at least, where we may not give files away."""
    try:
        os.fchown(fd, seen.st_uid, seen.st_gid)
    except PermissionError:
        with contextlib.suppress(PermissionError):
            os.fchown(fd, -1, seen.st_gid)
    os.fchmod(fd, stat.S_IMODE(seen.st_mode))
    os.utime(fd, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def carry_over(mail: Locked, words: Sequence[str], now: float) -> bool:
    """Bring what was written to old versions into the mail file, and remove those that nobody writes to any more.

    Whether old versions are still kept. Raises FileLocked where somebody is writing to one of them.
    """
    kept = False
    for old, octets in old_paths(mail.path):
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(old, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if os.path.samestat(os.fstat(fd), os.fstat(mail.fd)):
                    os.unlink(old)  # it was not replaced after all
                    continue
                take(fd, words, write=True)
                seen = os.fstat(fd)
                if seen.st_size > octets:
                    _append(mail, os.pread(fd, seen.st_size - octets, octets))
                    os.ftruncate(fd, octets)
                    os.fsync(fd)
                # The ctime tells when it was replaced, or cut back: perhaps after `now`, while we waited for a lock.
                if abs(now - seen.st_ctime) >= KEEP_OLD:
                    os.unlink(old)
                else:
                    kept = True
            finally:
                os.close(fd)
    return kept


def _append(mail: Locked, data: bytes) -> None:
    end = os.fstat(mail.fd).st_size
    if end >= len(data) and os.pread(mail.fd, len(data), end - len(data)) == data:
        return  # rule 2
    try:
        pwrite_all(mail.fd, separated(mail.fd, end) + data, end)
        os.fsync(mail.fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(mail.fd, end)
        raise


def separated(fd: int, end: int) -> bytes:
    """What has to stand between the end of a mail file and a new From_ line: its last line may have no end yet."""
    tail = os.pread(fd, min(2, end), max(0, end - 2))
    if not tail or tail in (b"\n\n", b"\r\n"):
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\n\n"
