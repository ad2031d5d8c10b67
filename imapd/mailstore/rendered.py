"""What FETCH sends of messages again and again, kept in finished form: the run files of one mailbox (mailstore/runs).

There is one file for descriptions (INTERNALDATE, RFC822.SIZE, ENVELOPE, BODYSTRUCTURE, BODY) and one for each set of
header fields that clients ask for, the FILES last ones. They lie in `imapd-cache/`, a directory of the account. What
is not kept is made from the message and kept; a disk that refuses it is no error of the client's.
"""

import contextlib
import logging
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final
from zlib import crc32

from imapd.mailstore.message import read_at
from imapd.mailstore.render import cut
from imapd.mailstore.runs import LARGEST, Cut, Identity, Messages, Run, RunFile, RunStamp, append, subject_of
from imapd.mime.header import selector
from imapd.model.loop import Loop
from imapd.wire import writer

log = logging.getLogger("imapd.mailstore")

DIRECTORY: Final = b"imapd-cache"
FILES: Final = 4
"""Sets of header fields that are kept for a mailbox."""
MANY: Final = 16
SPARE: Final = 2_000
FEW: Final = 16
"""A file begins anew when more than half of it is of messages that are no more, or when its blocks have fewer runs than
FEW, which makes it slow to load. So many runs or blocks are forgiven (SPARE)."""
SETS_OCTETS: Final = 1_000
"""The longest list of header fields that is kept, in octets: longer ones are nobody's habit."""

Make = Callable[[Messages], Iterator[Run | None]]
"""Makes the runs of messages, one after the other; None of one that is gone."""


def of_fields(message: Identity, header: bytes, fields: frozenset[bytes]) -> Run:
    """The run with chosen fields of a header."""
    return Run(message, writer.literal(selector(fields)(header)))


def subject(fields: Iterable[bytes]) -> bytes:
    """How a set of header fields is called in the head of its file."""
    return b" ".join(sorted({field.upper() for field in fields}))


class Rendered:
    """The run files of one mailbox, for one process."""

    __slots__ = ("_files", "_key", "_loop", "_mode", "_root")

    def __init__(self, root: bytes, box: int, uidvalidity: int, loop: Loop, mode: int) -> None:
        self._root = root
        self._key = (box, uidvalidity)
        self._loop = loop
        self._mode = mode
        self._files: dict[bytes, RunFile] = {}

    def texts(self, messages: Messages, what: bytes, cuts: Sequence[Cut], make: Make) -> list[bytes]:
        """Texts of the messages' runs with a subject, made where they are not kept.

        b"" for a message that is gone, and for one whose run is too large to be kept.
        """
        file = self._file(what)
        try:
            found = file.read(messages, cuts, self._read_at)
        except OSError as error:
            log.warning("rendered messages cannot be read: %s", error.strerror)
            found = [b""] * len(messages.uids)
        if b"" not in found:
            return found
        made: list[Run] = []
        missing = [place for place, text in enumerate(found) if not text]
        for place, run in zip(missing, make(messages.of(missing)), strict=True):
            if run is not None and len(run.octets) <= LARGEST:
                found[place] = cut(run, cuts)
                made.append(run)
            self._loop.breathe()
        if made:
            self._loop.offload(self._keep, what, made, file.is_broken)
        return found

    def keeps(self, what: bytes, count: int) -> bool:
        """Whether header fields of so many messages are to be kept: what is asked of many at once is a habit."""
        return len(what) <= SETS_OCTETS and (count >= MANY or len(self._file(what)) > 0)

    def _read_at(self, fd: int, size: int, place: int) -> bytes:
        return read_at(fd, size, place, self._loop)

    def missing(self, uids: "array[int]") -> list[int]:
        """Those of the UIDs, which are all of the mailbox, for which no description is kept."""
        for what in (b"", *self.subjects()):
            file = self._file(what)
            if len(file) > 2 * len(uids) + SPARE or file.blocks > SPARE + len(uids) // FEW:
                with contextlib.suppress(OSError):
                    os.unlink(file.path)
        return self._file(b"").missing(uids)

    def lacking(self, uids: Sequence[int]) -> list[int]:
        """Those of some UIDs for which no description is kept now."""
        return self._file(b"").lacking(uids)

    def subjects(self) -> list[bytes]:
        """The sets of header fields that are kept."""
        return [what for what in subjects(self._root, *self._key) if what]

    def keep(self, runs: Mapping[bytes, Sequence[Run]]) -> bool:
        """Keep runs by their subjects, in a disk thread; False where the disk refuses."""
        return all(keep(self._root, RunStamp(*self._key, what), each, self._mode) for what, each in runs.items())

    def _file(self, what: bytes) -> RunFile:
        """The file of a subject, with what others added to it."""
        file = self._files.pop(what, None)
        if file is None:
            file = RunFile(path_of(self._root, *self._key, what), RunStamp(*self._key, what))
        self._files[what] = file  # the last one is the one that was used last
        if len(self._files) > FILES + 1:
            del self._files[next(iter(self._files))]
        while file.refresh():
            self._loop.breathe()
        return file

    def _keep(self, what: bytes, runs: Sequence[Run], anew: bool) -> None:
        path = path_of(self._root, *self._key, what)
        if anew:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if what and not os.path.lexists(path):
            self._make_way()
        keep(self._root, RunStamp(*self._key, what), runs, self._mode)

    def _make_way(self) -> None:
        """Remove the set of header fields that nobody has added to for the longest time, where there are FILES."""
        beginning = path_of(self._root, *self._key, b"") + b"-"
        sets = [path for path in files(self._root) if path.startswith(beginning)]
        if len(sets) >= FILES:
            with contextlib.suppress(OSError):
                os.unlink(min(sets, key=os.path.getmtime))

    def forget(self, uid: int) -> None:
        """Drop what is kept of a message whose file turned out to be another."""
        for each in subjects(self._root, *self._key):
            keep(self._root, RunStamp(*self._key, each), [Run(Identity(uid, 0, 0), b"")], self._mode)


def path_of(root: bytes, box: int, uidvalidity: int, subject: bytes) -> bytes:
    """Where the runs of a mailbox are kept."""
    name = b"%d-%d" % (box, uidvalidity) + (b"-%08x" % crc32(subject) if subject else b"")
    return b"/".join([root, DIRECTORY, name])


def files(root: bytes) -> list[bytes]:
    """The paths of all run files of an account."""
    with contextlib.suppress(OSError):
        return [b"/".join([root, DIRECTORY, name]) for name in os.listdir(b"/".join([root, DIRECTORY]))]
    return []


def mailbox_of(path: bytes) -> bytes:
    """Whose a file of an account is, by its name: the id and UIDVALIDITY of a mailbox, with a hyphen between."""
    return b"-".join(os.path.basename(path).partition(b".")[0].split(b"-")[:2])


def sweep(root: bytes, boxes: Iterable[tuple[int, int]]) -> None:
    """Remove the files of mailboxes that are no more; boxes: the id and UIDVALIDITY of those that are."""
    beginnings = {b"%d-%d" % box for box in boxes}
    for path in files(root):
        if mailbox_of(path) not in beginnings:
            with contextlib.suppress(OSError):
                os.unlink(path)


def subjects(root: bytes, box: int, uidvalidity: int) -> list[bytes]:
    """What is kept of a mailbox: the subjects of its files."""
    found = []
    beginning = b"%d-%d" % (box, uidvalidity)
    for path in files(root):
        name = os.path.basename(path)
        if name == beginning or name.startswith(beginning + b"-"):
            with contextlib.suppress(OSError):
                what = subject_of(path, box, uidvalidity)
                found += [what] if what is not None else []
    return found


def keep(root: bytes, stamp: RunStamp, runs: Sequence[Run], mode: int) -> bool:
    """Add runs to a file of the account; False where the disk refuses, and nothing is kept."""
    path = path_of(root, stamp.box, stamp.uidvalidity, stamp.subject)
    try:
        try:
            append(path, stamp, runs, mode)
        except FileNotFoundError:
            os.mkdir(os.path.dirname(path), mode | (mode & 0o444) >> 2)
            append(path, stamp, runs, mode)
    except OSError as error:
        # A run that says that nothing is known must not be missing (rule 4 of mailstore/runs).
        if any(not run.octets for run in runs):
            with contextlib.suppress(OSError):
                os.unlink(path)
        log.info("rendered messages are not kept: %s", error.strerror)
        return False
    return True
