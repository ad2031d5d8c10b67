"""The locks by which programs that share an mbox keep out of each other's way. Taken at once or not at all.

    fcntl    a record lock over the whole file. As a lock of the open file description, which other programs' POSIX
             locks conflict with, and which is not lost when another descriptor of this process is closed
    dotlock  the file NAME.lock beside it, with our process id and host in it
    flock    flock(2)

Rules:

1. Nothing waits here: a lock that somebody else has is FileLocked, and whoever wants it tries again.
2. A dotlock is somebody else's until he has gone: the process that it names is no more on this host, or nobody touched
   it and the mail file for 120 seconds (Dovecot's figure; it touches its own in long work, and so do we). One that
   names this host and was made before it was started is nobody's either, also where the number is another process's by
   now. That is Dovecot's way of writing it and ours; mutt and delivery agents write no host, and theirs may be of a
   process on another machine that shares the file: those are waited for, whatever their age says of this machine.
3. Where no dotlock can be made for lack of rights in the directory, that is an error, since other programs may rely on
   it; with the word `dotlock_try` it is done without.
4. Readers take a shared fcntl or flock lock, and a dotlock only where nothing else is set.
5. A mail file is read without its access time being changed. procmail, which has the locks by then, waits a second
   where that is in the second of its writing, for programs that tell new mail by the two times: with somebody who
   reads what it delivers at once it would deliver one message a second, and nobody could read meanwhile.
6. Who finds the file locked removes a dotlock that is nobody's, a reader too: many programs take the kernel's lock
   first and wait for the dotlock with it, and most never look whether somebody is behind that. One of this process he
   leaves alone: another thread may be about to have it, or to give it back. Who comes to write knows, for of those one
   comes at a time.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Final

from imapd.mailstore.errors import Denied, FileLocked
from imapd.mailstore.maildir import discard

WORDS: Final = ("fcntl", "dotlock", "dotlock_try", "flock")
DEFAULT: Final = ("fcntl", "dotlock")
STALE_AFTER: Final = 120.0
_FLOCK: Final = struct.Struct("hhxxxxqqixxxx")  # struct flock of a 64-bit Linux; l_pid has to be 0
_BUSY: Final = (errno.EACCES, errno.EAGAIN)
_HOST: Final = os.fsencode(socket.gethostname())
_held: set[bytes] = set()  # the dotlocks of this process
_NO_RIGHTS: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class Locked:
    """An mbox that is open and locked; `fd` is for reading, and for writing if it was locked so."""

    def __init__(self, path: bytes, fd: int, dotlock: bytes | None) -> None:
        self.path = path
        self.fd = fd
        self._dotlock = dotlock

    def touch(self) -> None:
        """Say that the work goes on (rule 2)."""
        if self._dotlock is not None:
            with contextlib.suppress(OSError):
                os.utime(self._dotlock)


@contextlib.contextmanager
def locked(path: bytes, words: Sequence[str], write: bool) -> Iterator[Locked]:
    """Open a mail file and lock it until the end of the context.

    Raises FileLocked, FileNotFoundError where there is no regular file, Denied for rule 3, OSError.
    """
    with contextlib.ExitStack() as stack:
        try:
            mail = _taken(path, words, write, stack)
        except FileLocked as busy:
            busy.is_free = lambda: _seems_free(path, words, write)
            if _has_dotlocks(words):
                with contextlib.suppress(OSError):  # it stays where it is, then
                    _remove_stale(path, path + b".lock", and_ours=False)
            raise
        yield mail


def _taken(path: bytes, words: Sequence[str], write: bool, stack: contextlib.ExitStack) -> Locked:
    dotlock = _dotlock(path, "dotlock" not in words, write) if _wants_dotlock(words, write) else None
    if dotlock is not None:
        stack.callback(_free_dotlock, dotlock, os.lstat(dotlock))
    fd = open_file(path, write)
    stack.callback(os.close, fd)
    take(fd, words, write)
    if not _is_at(fd, path):
        raise FileLocked(reason=f"{path!r} was replaced at this moment")
    return Locked(path, fd, dotlock)


def _has_dotlocks(words: Sequence[str]) -> bool:
    return bool({"dotlock", "dotlock_try"} & set(words))


def _wants_dotlock(words: Sequence[str], write: bool) -> bool:
    """Rule 4."""
    return _has_dotlocks(words) and (write or not {"fcntl", "flock"} & set(words))


def _seems_free(path: bytes, words: Sequence[str], write: bool) -> bool:
    """Whether it is worth trying again. The kernel is asked and no lock tried: mutt, which would find it taken at just
    that moment, goes to sleep for a second."""
    try:
        lock = path + b".lock"
        if _has_dotlocks(words):
            if _is_stale(path, lock, os.lstat(lock), and_ours=False):
                return True  # rule 6
            if _wants_dotlock(words, write):
                return False
    except OSError:
        pass
    try:
        if "fcntl" in words:
            fd = open_file(path, write)
            try:
                kind = fcntl.F_WRLCK if write else fcntl.F_RDLCK
                held = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))
            finally:
                os.close(fd)
            return int(_FLOCK.unpack(held)[0]) == fcntl.F_UNLCK
    except OSError:
        pass
    return True


def take(fd: int, words: Sequence[str], write: bool) -> None:
    """Take the kernel's locks on an open file; they go with its descriptor. Raises FileLocked."""
    try:
        if "fcntl" in words:
            kind = fcntl.F_WRLCK if write else fcntl.F_RDLCK
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))
        if "flock" in words:
            fcntl.flock(fd, (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            raise FileLocked(reason="another program has locked the mail file") from None
        raise


def open_file(path: bytes, write: bool = False) -> int:
    """Open a mail file (rule 5), without a lock. Raises FileNotFoundError also where it is no regular file, OSError."""
    flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            fd = os.open(path, flags | os.O_NOATIME)
        except PermissionError:  # for the owner alone
            fd = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENOTDIR):
            raise FileNotFoundError(errno.ENOENT, "no regular file", path) from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "no regular file", path)
    return fd


def _is_at(fd: int, path: bytes) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


# Dotlocks


def _dotlock(path: bytes, may_miss: bool, write: bool) -> bytes | None:
    """Make the dotlock; its path. Raises FileLocked."""
    lock = path + b".lock"
    for _ in range(2):
        try:
            _make(lock)
        except FileExistsError:
            if not _remove_stale(path, lock, and_ours=write):
                break
            continue
        except OSError as error:
            if error.errno not in _NO_RIGHTS:
                raise
            if may_miss:
                return None
            raise Denied(
                "The server may not lock your mail file; please tell your administrator.",
                reason=f"{os.fsdecode(lock)} cannot be made ({error.strerror}): give imapd the right to write in that "
                f"directory, or set mbox_locks to `fcntl, dotlock_try` if no program relies on dotlocks alone",
            ) from error
        _held.add(lock)
        return lock
    raise FileLocked(reason=f"another program holds {os.fsdecode(lock)}")


def _make(lock: bytes) -> None:
    """Make the file of a dotlock. Raises FileExistsError, OSError."""
    if _make_at_once(lock):
        return
    fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with contextlib.closing(_Descriptor(fd)):
        _sign(fd)


def _make_at_once(lock: bytes) -> bool:
    """Make it with its content: where a process dies between the two, nobody knows that its lock is stale. Whether the
    file system can do that. Raises FileExistsError."""
    try:
        fd = os.open(os.path.dirname(lock), os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    except OSError:
        return False
    with contextlib.closing(_Descriptor(fd)):
        _sign(fd)
        try:
            # With a directory, which the path does not need, the link is followed (linkat(2)).
            os.link(b"/proc/self/fd/%d" % fd, lock, src_dir_fd=fd, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError:
            return False
    return True


def _sign(fd: int) -> None:
    with contextlib.suppress(OSError):  # on a full disk it locks without saying who
        os.write(fd, b"%d:%s" % (os.getpid(), _HOST))


class _Descriptor:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        os.close(self._fd)


def _remove_stale(path: bytes, lock: bytes, and_ours: bool) -> bool:
    """Remove a dotlock whose owner has gone (rule 2); whether there is none now. and_ours: also one of this process
    that it has no more (rule 6)."""
    try:
        seen = os.lstat(lock)
        if not _is_stale(path, lock, seen, and_ours):
            return False
        # By another name first: what was judged may have been removed, and somebody else's be there by now.
        aside = b"%s.%d" % (lock, os.getpid())
        os.rename(lock, aside)
        try:
            found = os.lstat(aside)
            # A new one may have the inode of one that others have removed.
            if not os.path.samestat(found, seen) or found.st_mtime_ns != seen.st_mtime_ns:
                with contextlib.suppress(OSError):
                    os.link(aside, lock, follow_symlinks=False)
                return False
        finally:
            discard(aside)
    except FileNotFoundError:
        pass
    return True


def _is_stale(path: bytes, lock: bytes, seen: os.stat_result, and_ours: bool) -> bool:
    with contextlib.suppress(OSError, ValueError):
        fd = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.closing(_Descriptor(fd)):
            owner, _, host = os.read(fd, 512).strip().partition(b":")
        if host == _HOST and int(owner) == os.getpid() and not and_ours:
            return False
        if host == _HOST and int(owner) > 0 and (_is_from_before_boot(seen) or not _is_held(lock, int(owner))):
            return True
    try:
        changed = max(seen.st_mtime, os.lstat(path).st_mtime)
    except FileNotFoundError:
        changed = seen.st_mtime
    return time.time() - changed > STALE_AFTER


def _is_from_before_boot(seen: os.stat_result) -> bool:
    return max(seen.st_mtime, seen.st_ctime) < time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _is_held(lock: bytes, process: int) -> bool:
    """Whether its owner still has it; one of ours may be there because it could not be removed."""
    return lock in _held if process == os.getpid() else _is_alive(process)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True


def _free_dotlock(lock: bytes, made: os.stat_result) -> None:
    """Remove our dotlock, if it is still ours: others may have found it stale."""
    _held.discard(lock)
    with contextlib.suppress(OSError):
        if os.path.samestat(os.lstat(lock), made):
            os.unlink(lock)
