"""Opening a message of an mbox, to which other programs may be writing at the same moment.

Rules:

1. Where the file is as it was when it was looked at, by its times before and after, a message is read without a lock.
2. Where it is not, mostly because something was added to it, the message is read under a lock for reading that is
   there at once, and for as long as that takes. The fingerprint says whether it is where it was.
3. Where that is not so either, the file is looked at, and the message opened while others are kept out: with deliveries
   one after another there may be no other moment at which index and file agree.
4. A long message is read in pieces later, without a lock. Behind each of them the beginning of the message is read
   once more: who makes a message longer or shorter, or removes one, writes what stands behind it over from there on.
"""

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import Final

from imapd.mailstore import mboxlock
from imapd.mailstore.bench import Bench
from imapd.mailstore.errors import Gone, StoreError
from imapd.mailstore.formats import Read, Slice
from imapd.mailstore.mboxfile import FROM_LINE, head_by, read_head
from imapd.mailstore.mboxlock import open_file
from imapd.mailstore.mboxrewrite import is_half_written, locked
from imapd.mailstore.mboxrows import PART, Seen
from imapd.mailstore.mboxsync import agrees, look
from imapd.mailstore.message import IN_MEMORY
from imapd.mailstore.rows import BoxRow, MessageRow

_TOGETHER: Final = 1024 * 1024
"""Octets of a file that are read in one piece, with the messages between those that are wanted."""
_BOTH_WAYS: Final = (False, True)


def open_seen(path: bytes, box: BoxRow, row: MessageRow, words: Sequence[str]) -> Slice:
    """Open a message where its row says (rules 1 and 2). Raises FileNotFoundError where that is not known just now."""
    fd = open_file(path)
    try:
        if _is_as_seen(fd, path, box):
            opened = _opened(fd, path, row)
            if _is_as_seen(fd, path, box):
                return opened
        try:
            with mboxlock.locked(path, words, write=False):
                if is_half_written(path):
                    raise FileNotFoundError(errno.ENOENT, "the mail file is half written", path)
                return _opened(fd, path, row)
        except StoreError:
            raise FileNotFoundError(errno.ENOENT, "another program has locked the mail file", path) from None
    except BaseException:
        os.close(fd)
        raise


def read_together(path: bytes, box: BoxRow, rows: Sequence[MessageRow], read: Read) -> list[bytearray]:
    """Read messages that lie side by side in one piece (rule 1), whole; nothing of those that are not where they were.

    Raises BlockingIOError where `read` does.
    """
    start = min([row.place for row in rows])
    room = bytearray(max([row.place + row.octets for row in rows]) + FROM_LINE - start)
    if len(room) > _TOGETHER:
        return [bytearray()] * len(rows)
    try:
        fd = open_file(path)
        try:
            is_as_seen = _is_as_seen(fd, path, box)
            del room[read(fd, [room], start) :]
            is_as_seen = is_as_seen and _is_as_seen(fd, path, box)
        finally:
            os.close(fd)
    except BlockingIOError:
        raise
    except OSError:
        is_as_seen = False
    return [_text_of(row, room, row.place - start) if is_as_seen else bytearray() for row in rows]


def _text_of(row: MessageRow, octets: bytearray, at: int) -> bytearray:
    """The text of a message that begins there in the octets, or nothing where it is not that of the row."""
    line, head = head_by(
        lambda size, place: bytes(octets[place - row.place + at : place - row.place + at + size]), row.place, row.octets
    )
    length = row.octets - len(head.octets)
    if head.fingerprint(line, length) != row.base:
        return bytearray()
    body = at + len(line) + len(head.octets)
    text = bytearray(head.text())
    text += memoryview(octets)[body : body + length]
    return text


def open_held(bench: Bench, box_id: int, uid: int, words: Sequence[str]) -> tuple[MessageRow, Slice] | None:
    """Open a message with the file locked (rule 3), and its row; None where it is gone. Raises Gone, FileLocked."""
    box = bench.box(box_id)
    path = bench.folder(box)
    try:
        with locked(path, words, write=bool(box.cur_stamp)) as mail:
            for force in _BOTH_WAYS:  # a look at the tail alone may not have seen that messages have moved
                while (force or not agrees(path, bench.box(box_id), bench.now)) and not look(
                    bench, box_id, mail, force
                ):
                    pass
                row = bench.index.message(box_id, uid)
                if row is None:
                    return None
                fd = open_file(path)
                try:
                    return row, _opened(fd, path, row)
                except FileNotFoundError:
                    os.close(fd)
                except BaseException:
                    os.close(fd)
                    raise
    except (FileNotFoundError, NotADirectoryError):
        if not bench.format.is_mailbox(bench.root, box.directory):
            raise Gone from None
    return None


def _opened(fd: int, path: bytes, row: MessageRow) -> Slice:
    """The message of a row, in an open file. Raises FileNotFoundError where another one stands there."""
    if not 0 <= row.place <= os.fstat(fd).st_size:
        raise FileNotFoundError(errno.ENOENT, "a damaged row: nothing can stand there", path)
    line, head = read_head(fd, row.place, row.octets)
    length = row.octets - len(head.octets)
    if head.fingerprint(line, length) != row.base:
        raise FileNotFoundError(errno.ENOENT, "another message stands there", path)
    text = head.text()
    begin = line + head.octets
    body = row.place + len(begin)
    if length <= IN_MEMORY:
        whole = text + os.pread(fd, length, body)
        return Slice(fd, body + length, len(whole), whole, row.octets - len(whole))

    def is_there() -> bool:
        with contextlib.suppress(OSError):
            return os.pread(fd, len(begin), row.place) == begin
        return False

    return Slice(fd, body, len(text) + length, text, len(head.octets) - len(text), is_there)


def _is_as_seen(fd: int, path: bytes, box: BoxRow) -> bool:
    seen = Seen.read(box.new_stamp)
    return (seen.times == PART or seen == Seen.of(os.fstat(fd))) and not is_half_written(path)
