"""The list of subscribed names, where Dovecot keeps it: in `subscriptions` of a Maildir, in `.subscriptions` of a
directory of mboxes.

Both forms that Dovecot knows are read: the first has one name a line, levels separated by "." (or "/", and among mboxes
by "/" alone); the second begins with "V<tab>2" and an empty line, and separates levels by tabs. Names are in modified
UTF-7. The second form is written, since only there a level may have a "." in it. Where there is no such file yet,
Courier's list is read (mailstore/courier). Writing replaces the file as one step, under the account's lock.
"""

import os
from collections.abc import Sequence
from typing import Final

from imapd.mailstore import courier, maildir
from imapd.mailstore.bench import Bench, explained
from imapd.mailstore.errors import UnknownOutcome
from imapd.model import names

FILE: Final = b"/subscriptions"
MBOX_FILE: Final = b"/.subscriptions"
_HEADER: Final = b"V\t2\n\n"
_LONGEST: Final = 4 * 1024 * 1024


def read(root: bytes) -> frozenset[str]:
    """The subscribed names. Quick."""
    return frozenset(_load(root))


def change(bench: Bench, name: str, subscribed: bool) -> None:
    """Put a name on the list, or take it off."""
    listed = _load(bench.root)
    if (name in listed) == subscribed:
        return
    _write(bench, [*listed, name] if subscribed else [other for other in listed if other != name])


def hand_over(bench: Bench) -> None:
    """Write the list where it was read from Courier's."""
    if not os.path.lexists(_path(bench.root)) and (listed := _load(bench.root)):
        _write(bench, listed)


def _write(bench: Bench, listed: list[str]) -> None:
    data = _HEADER + b"".join([_line(other) + b"\n" for other in listed])
    maildir.replace_file(_path(bench.root), data, bench.scratch(), bench.settings.file_mode)
    try:
        maildir.sync_directory(bench.root)
    except OSError as error:
        raise UnknownOutcome(reason=explained(error).reason) from error


def _path(root: bytes) -> bytes:
    """The file that is written."""
    return root + (FILE if maildir.is_folder(root) else MBOX_FILE)


def _load(root: bytes) -> list[str]:
    """The names in their order; what is no name is left out."""
    path = _path(root)
    try:
        fd = maildir.open_message(path)
    except FileNotFoundError:
        return courier.subscribed(root)
    separators = (b"/", b".") if path == root + FILE else (b"/",)
    with os.fdopen(fd, "rb") as file:
        data = file.read(_LONGEST)
    tabs = data.startswith(_HEADER)
    lines = data.removeprefix(_HEADER).split(b"\n")
    found = [_name(_levels(line, tabs, separators)) for line in lines if line]
    return list(dict.fromkeys([name for name in found if name is not None]))


def _levels(line: bytes, tabs: bool, separators: Sequence[bytes]) -> list[bytes]:
    if tabs:
        return [_unescaped(level) for level in line.split(b"\t")]
    return line.split(next((separator for separator in separators if separator in line), b"/"))


def _name(levels: list[bytes]) -> str | None:
    try:
        return names.canonical("/".join([_decoded(level) for level in levels]))
    except (names.BadName, UnicodeDecodeError):
        return None


def _decoded(level: bytes) -> str:
    try:
        return names.decode_pattern(level, utf8=False)
    except names.BadName:
        return level.decode("utf-8")  # Dovecot writes UTF-8 where it was told to, with a bare "&"


def _line(name: str) -> bytes:
    return b"\t".join([_escaped(names.encode_wire(level, utf8=False)) for level in name.split("/")])


def _escaped(level: bytes) -> bytes:
    return level.replace(b"\1", b"\x011").replace(b"\t", b"\1t")


def _unescaped(level: bytes) -> bytes:
    return level.replace(b"\1t", b"\t").replace(b"\x011", b"\1")
