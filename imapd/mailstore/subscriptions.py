"""The list of subscribed names, in the file `subscriptions` of the Maildir, as Dovecot keeps it.

Both forms that Dovecot knows are read: the first has one name a line, levels separated by "." (or "/"); the second
begins with "V<tab>2" and an empty line, and separates levels by tabs. Names are in modified UTF-7. The second form is
written, since only there a level may have a "." in it. Where there is no such file yet, Courier's list is read
(mailstore/courier). Writing replaces the file as one step, under the account's lock.
"""

import os
from typing import Final

from imapd.mailstore import courier, maildir
from imapd.mailstore.bench import Bench, explained
from imapd.mailstore.errors import UnknownOutcome
from imapd.model import names

FILE: Final = b"/subscriptions"
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
    if not os.path.lexists(bench.root + FILE) and (listed := _load(bench.root)):
        _write(bench, listed)


def _write(bench: Bench, listed: list[str]) -> None:
    data = _HEADER + b"".join([_line(other) + b"\n" for other in listed])
    maildir.replace_file(bench.root + FILE, data, bench.scratch(), bench.settings.file_mode)
    try:
        maildir.sync_directory(bench.root)
    except OSError as error:
        raise UnknownOutcome(reason=explained(error).reason) from error


def _load(root: bytes) -> list[str]:
    """The names in their order; what is no name is left out."""
    try:
        fd = maildir.open_message(root + FILE)
    except FileNotFoundError:
        return courier.subscribed(root)
    with os.fdopen(fd, "rb") as file:
        data = file.read(_LONGEST)
    tabs = data.startswith(_HEADER)
    lines = data.removeprefix(_HEADER).split(b"\n")
    found = [_name(line, tabs) for line in lines if line]
    return list(dict.fromkeys([name for name in found if name is not None]))


def _name(line: bytes, tabs: bool) -> str | None:
    if tabs:
        levels = [_unescaped(level) for level in line.split(b"\t")]
    else:
        levels = line.split(b"/" if b"/" in line else b".")
    try:
        return names.canonical("/".join([names.decode_pattern(level, utf8=False) for level in levels]))
    except names.BadName:
        return None


def _line(name: str) -> bytes:
    return b"\t".join([_escaped(names.encode_wire(level, utf8=False)) for level in name.split("/")])


def _escaped(level: bytes) -> bytes:
    return level.replace(b"\1", b"\x011").replace(b"\t", b"\1t")


def _unescaped(level: bytes) -> bytes:
    return level.replace(b"\1t", b"\t").replace(b"\x011", b"\1")
