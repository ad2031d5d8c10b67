"""The files of a Maildir: names, flags, sizes, listings, folders. Nothing about UIDs, and no waiting but for the disk.

Every function here blocks and belongs into the disk threads, unless it says that it is quick. Paths are bytes, because
names of files are octets. A message file is called

    <unique>[,S=<octets>][,W=<octets with CRLF>][:2,<flags>]

in `new` (delivered, not looked at) or `cur`. `unique` begins with the time of delivery in seconds; ours never repeat,
also when the clock runs back. Flags are letters in ASCII order: D draft, F flagged, R answered, S seen, T deleted, and
a to z for the keywords of the folder's `dovecot-keywords` (mailstore/flagnames). Letters we do not know (P, passed) are
kept as they are.

Rules:

1. Only regular files count as messages, and links are not followed: a FIFO or a link to elsewhere is as good as absent.
2. No file is ever renamed onto another.
3. A file is durable when it was fsynced, and its name when the directory was. After an fsync has failed, the same file
   is not tried again: the kernel may have thrown away the data, and would report success.
"""

import contextlib
import errno
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from itertools import count
from typing import Final, NamedTuple

from imapd.mailstore import baton

CUR, NEW, ELSEWHERE = 0, 1, 2
"""The places of a message file: in cur/, in new/, or at a path relative to the Maildir (being moved)."""
PLACES: Final = (b"cur", b"new")
PIECE: Final = 128 * 1024
STALE_AFTER: Final = 36 * 3600
"""The age at which a file in tmp is no delivery any more (the Maildir convention)."""
_LONGEST: Final = 255
_LOOKS: Final = 6
_LATELY: Final = 0.01  # seconds within which two changes may leave the same time on a directory, and some more

_FIELD = re.compile(rb",([SW])=(\d{1,18})(?=[,:]|$)")
_SIZES = re.compile(rb",S=(\d{1,18}),W=(\d{1,18})$")  # the fields as ours and Dovecot's names have them
_TIME = re.compile(rb"(\d{1,12})\.(?:.*?M(\d{1,6}))?")
_counter = count()
_process, _token = 0, b""  # see _begin_names
_host = re.sub(rb"[^A-Za-z0-9.-]", b"_", os.fsencode(socket.gethostname())) or b"localhost"


class Found(NamedTuple):
    """What a message file is at first sight: octets on disk, octets on the wire, the date.

    counted: the wire size was counted by us and not taken from the name.
    """

    octets: int
    size: int
    date: int
    counted: bool


def new_unique(now: float) -> bytes:
    """What a base name begins with that no other file ever had. It may be the name of a file in tmp/."""
    seconds, fraction = divmod(now, 1)
    return b"%d.M%06dP%dQ%dR%s" % (seconds, fraction * 1e6, _process, next(_counter), _token)


def new_base(now: float, octets: int, size: int) -> bytes:
    """A base name that no other file ever had."""
    return b"%s,S=%d,W=%d" % (new_unique(now), octets, size)


def _begin_names() -> None:
    """Give this process names of its own: also where it has the number, and the time, of one that is gone."""
    global _process, _token
    _process, _token = os.getpid(), os.urandom(4).hex().encode() + b"." + _host


_begin_names()
os.register_at_fork(after_in_child=_begin_names)


def base_of(file: bytes) -> bytes:
    """The name of a file without directory and flags."""
    return (file.rpartition(b"/")[2] if b"/" in file else file).partition(b":")[0]


def letters_of(file: bytes) -> bytes:
    """The flag letters of a file name."""
    info = file.rpartition(b"/")[2].partition(b":")[2]
    return info[2:].partition(b",")[0] if info.startswith(b"2,") else b""


def with_letters(base: bytes, letters: bytes) -> bytes:
    """The name in cur/ of a message with those flags."""
    return base + b":2," + bytes(sorted(set(letters)))


def is_too_long(name: bytes) -> bool:
    """Whether no file can have that name: others may have given one that has no room for flags."""
    return len(name) > _LONGEST


def delivery_order(file: bytes) -> tuple[int, int, bytes]:
    """The key that sorts files by their delivery: the time in the name, then the name."""
    match = _TIME.match(file)
    return (int(match[1]), int(match[2] or 0), file) if match else (0, 0, file)


def folder_path(root: bytes, directory: bytes) -> bytes:
    """The path of a mailbox's directory; INBOX's is the root itself."""
    return root + b"/" + directory if directory else root


def relative_path(directory: bytes, place: int, file: bytes) -> bytes:
    """The path of a message file, relative to the Maildir."""
    if place == ELSEWHERE:
        return file
    return b"/".join([part for part in (directory, place_name(place), file) if part])


def place_name(place: int) -> bytes:
    """The directory of a place. A damaged row may say one that is none: nothing lies there, and a look mends it."""
    return PLACES[place] if 0 <= place < len(PLACES) else b"nowhere"


def relative_paths(directory: bytes) -> tuple[bytes, bytes]:
    """What stands before the names of files in the cur/ and in the new/ of a mailbox, relative to the Maildir."""
    return relative_path(directory, CUR, b"x")[:-1], relative_path(directory, NEW, b"x")[:-1]


def stamp(directory: bytes) -> tuple[str, float]:
    """What changes when an entry of the directory changes, and the time of the last change. Quick.

    Raises FileNotFoundError where there is no such directory; a link to one is none (rule 1).
    """
    seen = os.lstat(directory)
    if not stat.S_ISDIR(seen.st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a directory", directory)
    # The ctime as well: a restored backup may carry an old mtime over new contents.
    return f"{seen.st_ino}.{seen.st_mtime_ns}.{seen.st_ctime_ns}", seen.st_mtime


def listing(directory: bytes) -> list[bytes]:
    """The names of the files in cur/ or new/; those with a leading dot are no messages."""
    return [name for name in os.listdir(directory) if name[0] != 0x2E]


def looks(folder: bytes) -> Iterator[set[tuple[int, bytes]]]:
    """Listings of cur/ and new/, as places and names, for who misses something: a file that is renamed meanwhile can
    be missing in one, or be there twice. At least two, and more until nothing happened since shortly before the last.
    """
    for number in range(_LOOKS):
        before, changed = _stamps(folder)
        # new/ first: what is moved to cur/ in between is then seen twice and not missed.
        yield {(place, name) for place in (NEW, CUR) for name in listing(folder + b"/" + PLACES[place])}
        if number and _stamps(folder)[0] == before and changed < time.time() - _LATELY:
            return


def _stamps(folder: bytes) -> tuple[list[str], float]:
    stamps = [stamp(folder + b"/" + place) for place in PLACES]
    return [look for look, _ in stamps], max(changed for _, changed in stamps)


def octets_in_name(file: bytes) -> int | None:
    """The octets on disk that the name of a file tells, if it does."""
    fields = {field: int(number) for field, number in _FIELD.findall(base_of(file))}
    return fields.get(b"S")


def examine(path: bytes) -> Found | None:
    """Look at a message file for the first time; None where it is gone or is no regular file (rule 1)."""
    try:
        seen = os.lstat(path)
        if not stat.S_ISREG(seen.st_mode):
            return None
        told = size_in_name(base_of(path), seen.st_size)
        if told is not None:
            return Found(seen.st_size, told, int(seen.st_mtime), counted=False)
        octets, size = measure(path)
    except FileNotFoundError:
        return None
    return Found(octets, size, int(seen.st_mtime), counted=True)


def size_in_name(base: bytes, octets: int) -> int | None:
    """The octets on the wire that the base name of a file of so many octets tells; None where it does not, or what it
    tells cannot be."""
    if match := _SIZES.search(base):
        told, size = int(match[1]), int(match[2])
    else:
        fields = {field: int(number) for field, number in _FIELD.findall(base)}
        told, size = fields.get(b"S", -1), fields.get(b"W", -1)
    return size if told == octets and octets <= size <= 2 * octets else None


def open_message(path: bytes) -> int:
    """Open a message file for reading; raises FileNotFoundError for what is no regular file (rule 1). Quick."""
    return open_sized(path)[0]


def open_sized(path: bytes) -> tuple[int, int]:
    """As open_message; with the file's octets."""
    try:
        # O_NONBLOCK: a FIFO that somebody put there must not hold us.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            raise FileNotFoundError(errno.ENOENT, "no regular file", path) from None
        raise
    try:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):
            raise FileNotFoundError(errno.ENOENT, "no regular file", path)
    except BaseException:
        os.close(fd)
        raise
    return fd, seen.st_size


def is_at_hand(path: bytes, most: int) -> bool:
    """Whether a file of so many octets at most is in memory, so that reading it waits for no disk; also where there is
    none. Quick."""
    try:
        fd, size = open_sized(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return size <= most and os.preadv(fd, [bytearray(size)], 0, os.RWF_NOWAIT) == size
    except OSError:  # it is not, or the file system cannot tell
        return False
    finally:
        os.close(fd)


def bare_line_feeds(data: bytes, last: int) -> int:
    """How many octets a piece grows by when its line ends are made CRLF; `last` is the octet before it (or -1)."""
    grows = data.count(b"\n")
    if b"\r" in data:  # looking for two octets takes as long again as all the rest
        grows -= data.count(b"\r\n")
    return grows - 1 if last == 0x0D and data[:1] == b"\n" else grows


def measure(path: bytes) -> tuple[int, int]:
    """The octets of a message on disk and on the wire, counted. Raises FileNotFoundError."""
    octets = size = 0
    last = -1
    fd = open_message(path)
    try:
        while data := os.read(fd, PIECE):
            octets += len(data)
            size += len(data) + bare_line_feeds(data, last)
            last = data[-1]
    finally:
        os.close(fd)
    return octets, size


def rename_aside(source: bytes, target: bytes) -> bool:
    """Rename a file, never onto another (rule 2). False where the target is taken; FileNotFoundError without source."""
    if os.path.lexists(target):
        os.lstat(source)
        return False
    os.rename(source, target)
    return True


def link_or_copy(source: bytes, target: bytes, mode: int) -> None:
    """Give the message a second name; where the file system cannot, a copy of it, durable and with its date."""
    try:
        os.link(source, target, follow_symlinks=False)
        return
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    fd = open_message(source)
    with open(fd, "rb") as original, open(_create(target, mode), "wb") as copy:
        shutil.copyfileobj(original, copy, PIECE)
        copy.flush()
        seen = os.fstat(original.fileno())
        os.utime(copy.fileno(), ns=(seen.st_atime_ns, seen.st_mtime_ns))
        os.fsync(copy.fileno())


def _create(path: bytes, mode: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def create_file(path: bytes, mode: int) -> int:
    """Open a new file for writing, owned by nobody else. Quick."""
    return _create(path, mode)


def replace_file(path: bytes, data: bytes, scratch: bytes, mode: int) -> None:
    """Replace a small file as one step; `scratch` is a free name on the same file system.

    What is in the file is durable, its name is when the directory is synced.
    """
    fd = _create(scratch, mode)
    try:
        try:
            left = memoryview(data)
            while left:  # a disk that is nearly full takes less than it was given, and says no more than that
                left = left[os.write(fd, left) :]
            sync(fd)
        finally:
            os.close(fd)
        os.rename(scratch, path)
    except OSError:
        discard(scratch)
        raise


def write_whole(path: bytes, data: bytes, scratch: bytes, mode: int) -> None:
    """Replace a small file as one step, durably."""
    replace_file(path, data, scratch, mode)
    sync_directory(os.path.dirname(path))


def sync_directory(path: bytes) -> None:
    """Make the names in a directory durable."""
    fd = open_directory(path)
    try:
        sync(fd)
    finally:
        os.close(fd)


def sync(fd: int) -> None:
    """Make a file or directory durable."""
    with baton.laid_down():
        os.fsync(fd)


def open_directory(path: bytes) -> int:
    """Open a directory. Quick."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def discard(path: bytes) -> None:
    """Remove a file, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def is_folder(path: bytes) -> bool:
    """Whether there is a Maildir at the path: a directory with a cur/ in it, neither of them a link. Quick."""
    try:
        stamp(path)
        stamp(path + b"/cur")
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def folders(root: bytes) -> list[bytes]:
    """The directories of all folders in a Maildir, INBOX's not among them. Quick."""
    with os.scandir(root) as entries:
        names = [e.name for e in entries if e.name[:1] == b"." and e.is_dir(follow_symlinks=False)]
    return [name for name in names if is_folder(root + b"/" + name)]


def make_folder(path: bytes, mode: int, inbox: bool = False) -> None:
    """Make the directories of a folder, or those that are missing; cur/ comes last, for it makes the folder visible."""
    make_directory(path, mode)
    for part in (b"tmp", b"new"):
        make_directory(path + b"/" + part, mode)
    if not inbox:
        # Maildir++ marks folders so for delivery agents, which then count quota at the level above.
        with contextlib.suppress(FileExistsError):
            os.close(_create(path + b"/maildirfolder", mode & 0o666))
    make_directory(path + b"/cur", mode)
    sync_directory(path)


def make_directory(path: bytes, mode: int) -> None:
    """Make a directory, if it is not there. Raises FileNotFoundError where something else is. Quick."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        stamp(path)  # raises where it is no directory


def touch(path: bytes) -> None:
    """Set the times of a file or directory to now, if that can be done; those who watch it are told so."""
    with contextlib.suppress(OSError):
        os.utime(path)


def remove_tree(path: bytes) -> None:
    """Remove a directory with all that is in it; what cannot be removed stays for the next time."""
    shutil.rmtree(path, ignore_errors=True)


def stale_files(directory: bytes, now: float) -> Iterator[bytes]:
    """The files in a tmp/ that no delivery is writing any more."""
    for entry in os.scandir(directory):
        try:
            seen = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        # The later of the two times: a link to an old message has an old mtime, but was made just now.
        if stat.S_ISREG(seen.st_mode) and now - max(seen.st_mtime, seen.st_ctime) > STALE_AFTER:
            yield entry.path
