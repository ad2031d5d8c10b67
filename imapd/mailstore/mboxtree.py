"""The mailboxes of an mbox account as files: where they lie, and what their names are.

An account is a single mail file, its INBOX, with a directory of its own beside it (`ann` and `ann.folders`); or a
directory with files in it, of which INBOX is the first that there is of INBOX, inbox, Inbox and mbox. A mailbox is
known by its path in the directory, INBOX by b"". A mailbox "Work/2024" lies in

    Work/2024        where Work is a directory, or
    Work.sbd/2024    otherwise, as Thunderbird has it, so that Work can be a mailbox too

Both are read. A level is written in modified UTF-7, as in a Maildir, with its first letter or its dots shifted out
where the plain name would be one of those that are no mailboxes; UTF-8 is read. What is no mailbox: names that begin
with a dot, locks, other programs' indexes, our own files, files that do not begin as an mbox, links.
"""

import contextlib
import errno
import os
import re
import stat
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

from imapd.mailstore import uidrecord
from imapd.mailstore.errors import BadMailboxName
from imapd.mailstore.maildir import create_file, discard, sync_directory
from imapd.mailstore.mboxfile import begins_like_mbox
from imapd.mailstore.mboxlock import open_file
from imapd.mailstore.mboxrewrite import redo_path
from imapd.model import names

INBOX_FILES: Final = (b"INBOX", b"inbox", b"Inbox", b"mbox")
NEW_INBOX: Final = b"inbox"
MARK: Final = b"imapd-mbox"
"""An empty file that says: the directory is an account of mboxes, also when it has none at the moment."""
CHILDREN: Final = b".sbd"
_OURS: Final = (b"imapd", b"dovecot")
_RESERVED: Final = (b"tmp", b"subscriptions", *INBOX_FILES)
_ENDS: Final = (b".lock", b".msf", CHILDREN)
_LONGEST: Final = 255
_SHIFTED: Final = re.compile(rb"&(A[A-H][AEIMQUYcgkosw048])-")
_DEEPEST: Final = 50


def inbox_of(tree: bytes) -> bytes:
    """The path of INBOX in a directory of mail files. Quick."""
    for name in INBOX_FILES:
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.lstat(tree + b"/" + name).st_mode):
                return tree + b"/" + name
    return tree + b"/" + NEW_INBOX


def has_mailboxes(tree: bytes) -> bool:
    """Whether a directory has mbox files in it. Quick."""
    inbox = inbox_of(tree)
    return os.path.lexists(inbox) or next(Tree(tree, inbox).files(), None) is not None


class Tree:
    """The mailboxes of one account. root: the directory of the account; inbox: the path of INBOX."""

    def __init__(self, root: bytes, inbox: bytes) -> None:
        self.root = root
        self.inbox = inbox
        self._looked: dict[bytes, tuple[tuple[int, int, int], bool]] = {}

    def path(self, directory: bytes) -> bytes:
        return self.root + b"/" + directory if directory else self.inbox

    def record(self, directory: bytes) -> bytes:
        """The path of the second record of a mailbox's UIDs (mailstore/mboxrestore)."""
        name = b"-" + blake2b(directory, digest_size=16).hexdigest().encode() if directory else b""
        return self.root + b"/" + uidrecord.FILE + name

    # Looking

    def files(self) -> Iterator[bytes]:
        """The paths in the tree of all mailboxes but INBOX."""
        yield from self._below(b"", _DEEPEST)

    def _below(self, prefix: bytes, depth: int) -> Iterator[bytes]:
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(self.root + b"/" + prefix) as entries,
        ):
            for entry in sorted(entries, key=lambda entry: entry.name):
                name = entry.name
                with contextlib.suppress(FileNotFoundError):
                    if _is_foreign(name, not prefix):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if depth and not os.path.lexists(entry.path + b"/cur"):  # a Maildir beside mboxes
                            yield from self._below(prefix + name + b"/", depth - 1)
                    elif self._is_mailbox(entry.path) and entry.path != self.inbox and not name.endswith(CHILDREN):
                        yield prefix + name

    def _is_mailbox(self, path: bytes) -> bool:
        seen = os.lstat(path)
        if not stat.S_ISREG(seen.st_mode):
            return False
        look = seen.st_ino, seen.st_size, seen.st_mtime_ns
        known = self._looked.get(path)
        if known is None or known[0] != look:
            with contextlib.suppress(OSError):
                known = self._looked[path] = look, _begins_like_mbox(path)
        return known is not None and known[1]

    def is_mailbox(self, directory: bytes) -> bool:
        """Whether there is a mailbox; INBOX is one whatever is in it."""
        try:
            if not directory:
                return stat.S_ISREG(os.lstat(self.inbox).st_mode)
            return self._is_mailbox(self.path(directory))
        except (FileNotFoundError, NotADirectoryError):
            return False

    # Names

    def directory_of(self, name: str) -> bytes:
        """Where a mailbox lies, or would be made. Raises BadMailboxName."""
        if name == names.INBOX:
            return b""
        levels = [level_to_disk(level, not number) for number, level in enumerate(name.split(names.DELIMITER))]
        if any(len(level) + len(CHILDREN) > _LONGEST for level in levels) or len(levels) > _DEEPEST:
            raise BadMailboxName(name, "The mailbox name is too long or has too many levels.")
        path = b""
        for level in levels[:-1]:
            path += level + (b"/" if _is_directory(self.root + b"/" + path + level) else CHILDREN + b"/")
        return path + levels[-1]

    # Making, moving, removing

    def make(self, directory: bytes, mode: int, dir_mode: int) -> None:
        """Make an empty mailbox, durably."""
        path = self.path(directory)
        self._make_above(path, dir_mode)
        if not directory:
            with contextlib.suppress(FileExistsError):
                os.close(create_file(self.root + b"/" + MARK, mode))
        with contextlib.suppress(FileExistsError):
            os.close(create_file(path, mode))
        sync_directory(os.path.dirname(path))

    def _make_above(self, path: bytes, dir_mode: int) -> None:
        above = os.path.dirname(path)
        if not _is_directory(above):
            if len(above) <= len(self.root):
                raise FileNotFoundError(errno.ENOENT, "no directory", above)
            self._make_above(above, dir_mode)
            os.mkdir(above, dir_mode)
            sync_directory(os.path.dirname(above))

    def move(self, pairs: Iterable[tuple[bytes, bytes]], dir_mode: int) -> None:
        """Rename mailboxes, durably: those that are there and whose target is not."""
        for source, target in pairs:
            old, new = self.path(source), self.path(target)
            if os.path.lexists(old) and not os.path.lexists(new):
                self._make_above(new, dir_mode)
                with contextlib.suppress(FileNotFoundError):  # first, so that a crash leaves nothing to be done for it
                    os.rename(self.record(source), self.record(target))
                with contextlib.suppress(FileNotFoundError):
                    os.rename(redo_path(old), redo_path(new))
                os.rename(old, new)
                sync_directory(os.path.dirname(new))
                self._tidy(os.path.dirname(old))

    def remove(self, directory: bytes) -> None:
        """Remove a mailbox."""
        for path in (self.path(directory), self.record(directory), redo_path(self.path(directory))):
            with contextlib.suppress(OSError):
                discard(path)

    def _tidy(self, above: bytes) -> None:
        """Remove directories that have nothing in them any more."""
        with contextlib.suppress(OSError):
            sync_directory(above)
            while len(above) > len(self.root):
                os.rmdir(above)
                above = os.path.dirname(above)
                sync_directory(above)


def name_of(directory: bytes) -> str | None:
    """The name of the mailbox at a path in the tree; None where it cannot have one."""
    if not directory:
        return names.INBOX
    *above, last = directory.split(b"/")
    levels = [level.removesuffix(CHILDREN) for level in above] + [last]
    if not all(levels):
        return None
    name = names.canonical(names.DELIMITER.join([_level_from_disk(level) for level in levels]))
    return name if name.isprintable() and name != names.INBOX else None


def level_to_disk(level: str, first: bool) -> bytes:
    """A level of a name as the name of a file; first: in the root, where our own files lie too."""
    plain = names.encode_wire(level, utf8=False)
    if plain.endswith(_ENDS):
        head, _, tail = level.rpartition(".")
        plain = names.encode_wire(head, utf8=False) + b"&AC4-" + names.encode_wire(tail, utf8=False)
    if _is_foreign(plain, first) or (first and plain in _RESERVED):
        shifted = b"&" + _base64(level[0]) + b"-"
        plain = shifted + names.encode_wire(level[1:], utf8=False) if not plain.startswith(b"&") else plain
    return plain


def _base64(letter: str) -> bytes:
    return b2a_base64(letter.encode("utf-16-be"), newline=False).rstrip(b"=").replace(b"/", b",")


def _level_from_disk(level: bytes) -> str:
    pieces = _SHIFTED.split(level)  # every second one is a letter that modified UTF-7 would never shift out by itself
    pieces[1::2] = [a2b_base64(letter + b"=")[1:] for letter in pieces[1::2]]
    return "".join([piece.decode("ascii") if number % 2 else _decoded(piece) for number, piece in enumerate(pieces)])


def _decoded(level: bytes) -> str:
    try:
        text = names.decode_pattern(level, utf8=False)
    except names.BadName:
        text = level.decode("utf-8", "replace")
    return text.replace(names.DELIMITER, "\ufffd")


def _is_foreign(name: bytes, first: bool) -> bool:
    """Whether a file or directory of that name has nothing to do with mailboxes."""
    if name.startswith(b".") or name.endswith((b".lock", b".msf")):
        return True
    return first and (name.startswith(_OURS) or name in (b"tmp", b"subscriptions"))


def _is_directory(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _begins_like_mbox(path: bytes) -> bool:
    fd = open_file(path)
    try:
        return begins_like_mbox(os.read(fd, 64))
    finally:
        os.close(fd)
