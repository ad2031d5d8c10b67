"""Writing a new version of an mbox over the old one, safe from crashes and from programs that wait for its lock.

The file stays the same file. To rename another one over it would be simpler, but other programs open a mail file first
and wait for its lock then. mutt goes on with the file that it has open, asks for the size and time of the one that is
there by now, and writes by the offsets of the one into the other.

A crash while it is written over would leave neither version. So what changes, from the first octet that does, is
written beside it before: to `.NAME.imapd-redo`, which begins with a line that says what is to be done. Whoever locks
the file next and finds it there does it again.

Rules:

1. All of it happens under the locks for writing (mailstore/mboxlock). `locked` here gives no mail file that is half
   written.
2. The redo file is durable before the first octet is written over, and durably gone before the locks are freed.
3. A file that grows gets its room first, durably, and one that shrinks is cut last. So its length, and the digest of
   what the old version had there, tell whether a crash came before, between or after.
4. What other programs added after a crash stands behind the longer version of the two, and is kept. Nothing helps
   where one rewrites a file that is half written; our dotlock keeps those out that ask for it, until a worker looks.
5. The times of the file are what they were: other programs tell new mail by them.
6. While there is a redo file, nothing is believed by the times of the mail file: after a power cut it may have octets
   of the new version and the times of the old one.
7. It is written from its beginning on, and not in the tick of the clock in which it changed last: whoever reads
   without a lock sees by the times, or by the beginning of a message, whether that is where it was.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain
from typing import Final

from imapd.mailstore import mboxlock
from imapd.mailstore.maildir import discard, sync_directory
from imapd.mailstore.mboxlock import Locked

_PIECE: Final = 1 << 20
_TOUCH: Final = 64 << 20  # octets after which the dotlock is touched: a second's work, or ten
_HEAD: Final = 256
_MAGIC: Final = b"imapd-redo"
_DIGEST: Final = 16
_COARSE: Final = 5  # CLOCK_REALTIME_COARSE of Linux, by which files get their times
_TICKS: Final = 20  # of a millisecond each; a tick is at most 10 ms

Part = bytes | tuple[int, int]
"""What a new version is made of: octets, or a range (start, end) of the old file."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a redo file is for: the file with that inode has `old` octets, and from `start` on is to be what stands in
    the redo file, `new` octets in all. beyond: the digest of what the old version has from the block of the file system
    on that is the next one behind `mark`; changed: of that and what it has from `mark` to there."""

    inode: int
    start: int
    old: int
    new: int
    block: int
    changed: str
    beyond: str

    @property
    def mark(self) -> int:
        """Of a file that grows, where it begins to change; of one that shrinks, what is cut off."""
        return self.start if self.new > self.old else self.new

    @property
    def next_block(self) -> int:
        return min(self.old, -(-self.mark // self.block) * self.block)


def redo_path(path: bytes) -> bytes:
    """Where it is written down what a mail file is about to become."""
    folder, name = os.path.split(path)
    return folder + b"/." + name + b".imapd-redo"


@contextlib.contextmanager
def locked(path: bytes, words: Sequence[str], write: bool) -> Iterator[Locked]:
    """As mboxlock.locked, of a file that is whole: a rewriting that a crash cut off is done first."""
    while True:
        with mboxlock.locked(path, words, write) as mail:
            is_whole = not os.path.lexists(redo_path(path))
            if is_whole or write:
                if not is_whole:
                    finish(mail)
                yield mail
                return
        with mboxlock.locked(path, words, write=True) as mail:
            finish(mail)


def rewrite(mail: Locked, parts: Iterable[Part]) -> None:
    """Make the mail file consist of the parts, durably. Raises OSError; then it is as it was, or will be as it should
    when it is locked next."""
    seen = os.fstat(mail.fd)
    start, rest = _from_first_change(mail, parts)
    plan = _write_redo(mail, start, seen.st_size, rest)
    with _open_redo(mail.path) as redo:
        _apply(mail, redo, plan, seen)


def is_half_written(path: bytes) -> bool:
    """Whether a rewriting did not come to its end."""
    return os.path.lexists(redo_path(path))


def finish(mail: Locked) -> None:
    """Do what a redo file says, where there is one and it is of this file. Raises OSError."""
    try:
        with _open_redo(mail.path) as redo:
            plan = _read_plan(redo)
            seen = os.fstat(mail.fd)
            if plan is not None and plan.inode == seen.st_ino and _is_to_do(mail.fd, redo, plan, seen.st_size):
                if seen.st_size > plan.old > plan.new:
                    whole = _octets(redo, _HEAD, os.fstat(redo).st_size)
                    plan = _write_redo(mail, plan.start, seen.st_size, chain(whole, [(plan.old, seen.st_size)]))
                with _open_redo(mail.path) as current:
                    _apply(mail, current, plan, seen)
                return
    except FileNotFoundError:
        return
    _forget(mail.path)


def _is_to_do(fd: int, redo: int, plan: _Plan, size: int) -> bool:
    """Whether the file is still, or in part, the old version (rule 3)."""
    if size < max(plan.old, plan.new):
        return False  # it shrank already, or had not begun to grow
    changed, beyond = _digests(fd, plan)
    if plan.new <= plan.old:
        return changed == plan.changed or (
            # Before a file is shorter on the disk there may be zeros in it, to the end of what is its last block then.
            beyond == plan.beyond and not any(any(piece) for piece in _octets(fd, plan.mark, plan.next_block))
        )
    return changed != plan.changed or _is_room(fd, redo, plan)


def _is_room(fd: int, redo: int, plan: _Plan) -> bool:
    """Whether what stands behind the old version is room for the new one, with pieces of it that may be there before
    anything else after a power cut; and not what another program added before it had room."""
    wanted = _octets(redo, _HEAD + plan.old - plan.start, _HEAD + plan.new - plan.start)
    for piece, new in zip(_octets(fd, plan.old, plan.new), wanted, strict=True):
        if piece != new and any(octet and octet != other for octet, other in zip(piece, new, strict=True)):
            return False
    return True


# The redo file


def _write_redo(mail: Locked, start: int, old: int, rest: Iterable[Part]) -> _Plan:
    """Write down what the file is to be from `start` on, durably. Raises OSError, and then there is no redo file."""
    path = redo_path(mail.path)
    making = path + b"-new"
    discard(making)
    fd = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(fd, b"\n".rjust(_HEAD))
            _write_parts(mail, fd, rest)
            new = start + os.fstat(fd).st_size - _HEAD
            seen = os.fstat(mail.fd)
            plan = _Plan(seen.st_ino, start, old, new, max(1, seen.st_blksize), "", "")
            changed, beyond = _digests(mail.fd, plan)
            plan = replace(plan, changed=changed, beyond=beyond)
            pwrite_all(fd, _line(plan, fd), 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(making, path)
        sync_directory(os.path.dirname(path))
    except OSError:
        discard(making)
        raise
    return plan


def _line(plan: _Plan, fd: int) -> bytes:
    said = f"{plan.inode} {plan.start} {plan.old} {plan.new} {plan.block} {plan.changed} {plan.beyond}"
    whole = _digest(fd, _HEAD, os.fstat(fd).st_size, said.encode())
    return f"{_MAGIC.decode()} {said} {whole}".encode().ljust(_HEAD - 1) + b"\n"


def _read_plan(fd: int) -> _Plan | None:
    """What a redo file says; None where it is not whole."""
    line = os.pread(fd, _HEAD, 0)
    words = line.split()
    if len(words) != 9 or words[0] != _MAGIC:
        return None
    inode, start, old, new, block = [int(word) for word in words[1:6]]
    plan = _Plan(inode, start, old, new, block, words[6].decode(), words[7].decode())
    return plan if _line(plan, fd) == line else None


@contextlib.contextmanager
def _open_redo(path: bytes) -> Iterator[int]:
    fd = os.open(redo_path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _forget(path: bytes) -> None:
    discard(redo_path(path))
    sync_directory(os.path.dirname(path))


def _from_first_change(mail: Locked, parts: Iterable[Part]) -> tuple[int, Iterable[Part]]:
    """Where the new version begins to be another than the old one, and what it is from there on."""
    at = 0
    rest = iter(parts)
    for part in rest:
        if isinstance(part, bytes):
            if os.pread(mail.fd, len(part), at) != part:
                return at, chain([part], rest)
            at += len(part)
        elif part[0] == at or part[0] >= part[1]:
            at = max(at, part[1]) if part[0] == at else at
        else:
            return at, chain([part], rest)
    return at, ()


def _write_parts(mail: Locked, fd: int, parts: Iterable[Part]) -> None:
    written = 0
    gathered = bytearray()
    for part in parts:
        for piece in [part] if isinstance(part, bytes) else _octets(mail.fd, *part):
            gathered += piece
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


# The mail file


def _apply(mail: Locked, redo: int, plan: _Plan, seen: os.stat_result) -> None:
    """Write the file over (rules 3 and 7). Raises OSError; what can be taken back then is."""
    if plan.new > seen.st_size:
        try:
            os.posix_fallocate(mail.fd, seen.st_size, plan.new - seen.st_size)
            os.fsync(mail.fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(mail.fd, seen.st_size)
                _forget(mail.path)
            raise
    await_tick(seen)
    at = written = plan.start
    for piece in _octets(redo, _HEAD, _HEAD + plan.new - plan.start):
        pwrite_all(mail.fd, piece, at)
        at += len(piece)
        if at - written > _TOUCH:
            mail.touch()
            written = at
    os.fsync(mail.fd)
    if plan.new < plan.old:
        os.ftruncate(mail.fd, plan.new)
        os.fsync(mail.fd)
    with contextlib.suppress(PermissionError):  # somebody else's file, that we may write to
        os.utime(mail.fd, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    _forget(mail.path)


def await_tick(seen: os.stat_result) -> bool:
    """Wait for the clock to move on from when the file changed last: some milliseconds, and seldom. Whether it has:
    the file system may go by another clock."""
    for _ in range(_TICKS):
        if time.clock_gettime_ns(_COARSE) > seen.st_ctime_ns:
            return True
        time.sleep(0.001)
    return False


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


def _octets(fd: int, start: int, end: int) -> Iterator[bytes]:
    """A range of a file, in pieces. Raises OSError where it ends before."""
    while start < end:
        piece = os.pread(fd, min(_PIECE, end - start), start)
        if not piece:
            raise OSError(errno.EIO, "the file was cut short while it was read")
        yield piece
        start += len(piece)


def _digests(fd: int, plan: _Plan) -> tuple[str, str]:
    """Those of what a file has now."""
    beyond = _digest(fd, plan.next_block, plan.old)
    return _digest(fd, plan.mark, plan.next_block, beyond.encode()), beyond


def _digest(fd: int, start: int, end: int, said: bytes = b"") -> str:
    digest = blake2b(said, digest_size=_DIGEST)
    for piece in _octets(fd, start, end):
        digest.update(piece)
    return digest.hexdigest()


def separated(fd: int, end: int) -> bytes:
    """What has to stand between the end of a mail file and a new From_ line: its last line may have no end yet."""
    tail = os.pread(fd, min(2, end), max(0, end - 2))
    if not tail or tail in (b"\n\n", b"\r\n"):
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\n\n"
