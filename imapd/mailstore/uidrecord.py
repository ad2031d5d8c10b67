"""The second record of UIDs: a file beside the messages of a mailbox, from which a lost index is made anew.

    imapd-uids 1 <UIDVALIDITY> <checksum>
    <UID> <checksum> <what the message is known by>
    ...

A message is known by the base name of its file (in an mbox: by its fingerprint), in which "%" and line feeds are
written as %25 and %0A. The checksum is
a CRC-32 over UIDVALIDITY, UID and that, in hexadecimal, so a line of another mailbox is none of this one.

Rules:

1. Lines are appended after the commit that gave the UIDs, under the account's lock, and never before: what stands here
   was given. The file is not waited for (fsync): after a power cut lines may be missing at its end, or be torn.
2. A line that does not fit its checksum says nothing, and costs its message the UID; the other lines hold.
3. Of two lines for one message the later one counts. Lines of expunged messages stay until more than half are such.
4. The record says which UIDs were given to what, and not which UIDs were not given (mailstore/floors does).
5. Base names of files are unique. Fingerprints of messages in an mbox need not be: of several with the same one the
   record cannot tell which is which.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from imapd.mailstore import maildir

FILE: Final = b"imapd-uids"
_LONGEST: Final = 1 << 30
_SPARE: Final = 1_000  # dead lines that are not worth a new file

Pair = tuple[int, bytes]  # UID, and what the message is known by


class UidRecord(NamedTuple):
    """UIDVALIDITY, the lowest UID above all in the record, and the UIDs by what messages are known by."""

    uidvalidity: int
    uidnext: int
    uids: dict[bytes, int]


def read(path: bytes, twins: bool = True) -> UidRecord | None:
    """The record in a file; None where there is none, or it is not known whose it is.

    twins: without them, what was ever known by the same as another message is left out (rule 5).
    """
    try:
        fd = maildir.open_message(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with open(fd, "rb") as file:
        head, *lines = file.read(_LONGEST).split(b"\n")
    uidvalidity = _uidvalidity(head)
    if not uidvalidity:
        return None
    known: dict[int, bytes] = {}
    start = crc32(b"%d " % uidvalidity)
    for line in lines:
        if pair := _pair(start, line):
            known[pair[0]] = pair[1]
    uids = {base: uid for uid, base in sorted(known.items())}
    if not twins and len(uids) < len(known):
        times = Counter(known.values())
        uids = {base: uid for base, uid in uids.items() if times[base] == 1}
    return UidRecord(uidvalidity, max(known, default=0) + 1, uids)


def _uidvalidity(head: bytes) -> int:
    number = head.split(b" ")[2] if head.count(b" ") == 3 else b""
    return int(number) if number.isdigit() and head == _head(int(number)) else 0


def _pair(start: int, line: bytes) -> Pair | None:
    number, _, rest = line.partition(b" ")
    known_by = rest[9:].replace(b"%0A", b"\n").replace(b"%25", b"%")
    fits = number.isdigit() and len(number) <= 10 and line == _line(start, int(number), known_by)
    return (int(number), known_by) if fits else None


def note(path: bytes, uidvalidity: int, pairs: Sequence[Pair], alive: int) -> bool:
    """Append UIDs to the record of a mailbox that has `alive` messages with them.

    False where it has to be written whole: it is not there, is another mailbox's, or is mostly dead. Raises OSError.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        head = _head(uidvalidity) + b"\n"
        if os.pread(fd, len(head), 0) != head:
            return False
        data = _lines(uidvalidity, pairs)
        size = os.fstat(fd).st_size
        if size * len(pairs) > (2 * alive + _SPARE) * len(data):  # lines are about as long as these
            return False
        if os.pread(fd, 1, size - 1) != b"\n":
            data = b"\n" + data  # the last line is torn
        if pairs:
            os.write(fd, data)
        return True
    finally:
        os.close(fd)


def write_whole(path: bytes, uidvalidity: int, pairs: Iterable[Pair], scratch: bytes, mode: int) -> None:
    """Write the record anew, as one step; `scratch` is a free name on the same file system. Raises OSError."""
    maildir.replace_file(path, _head(uidvalidity) + b"\n" + _lines(uidvalidity, pairs), scratch, mode)


def _head(uidvalidity: int) -> bytes:
    text = b"imapd-uids 1 %d" % uidvalidity
    return b"%s %08x" % (text, crc32(text))


def _lines(uidvalidity: int, pairs: Iterable[Pair]) -> bytes:
    start = crc32(b"%d " % uidvalidity)
    return b"".join([
        b"%d %08x %s\n" % (uid, crc32(b"%d %s" % (uid, known_by), start),
                           _spelled(known_by) if b"%" in known_by or b"\n" in known_by else known_by)
        for uid, known_by in pairs
    ])  # fmt: skip


def _spelled(known_by: bytes) -> bytes:
    return known_by.replace(b"%", b"%25").replace(b"\n", b"%0A")


def _line(start: int, uid: int, known_by: bytes) -> bytes:
    """start: the checksum of the UIDVALIDITY."""
    return b"%d %08x %s" % (uid, crc32(b"%d %s" % (uid, known_by), start), _spelled(known_by))
