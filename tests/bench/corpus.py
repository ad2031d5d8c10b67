"""The corpus on disk: made once, kept, and copied to mail files for each server.

A corpus of n messages is the first n of one endless stream (`letters`), so that a small one is the beginning of a large
one. It is kept in a folder of its own, whose name says from which version of the text it was made:

    messages/NNN/NAME      1,000 messages a folder, under the names that they get in a Maildir, with S= and W=
    mbox-N                 an mbox with the first N, once it is wanted
    table                  a line for each message: its name, its octets with CRLF, those of a webmail's header fields

What is believed of the files is what `table` says; the answers of the servers are compared with that.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import letters

# What a webmail asks of every message that it lists.
WEBMAIL = (
    "FROM", "TO", "CC", "REPLY-TO", "SUBJECT", "DATE", "MESSAGE-ID", "IN-REPLY-TO", "REFERENCES", "CONTENT-TYPE",
    "X-PRIORITY", "LIST-POST", "DISPOSITION-NOTIFICATION-TO",
)  # fmt: skip
A_FOLDER = 1000
DISTINCT = 100_000  # a mailbox with more than that has them again, as links under other names
LAYOUT = 1  # counted up when `_write` writes something else
_FIELD = re.compile(rb"^(?:%s):.*\n(?:[ \t].*\n)*" % "|".join(WEBMAIL).encode(), re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the corpus. octets, webmail: with CRLF; source: the number and the name of the file that it is."""

    number: int
    name: str
    octets: int
    webmail: int
    source: tuple[int, str]


class Corpus:
    """The messages below `folder`. `entries` are all that are there."""

    def __init__(self, folder: Path, entries: list[Entry]) -> None:
        self.folder, self.entries = folder, entries

    def path(self, entry: Entry) -> Path:
        number, name = entry.source
        return self.folder / "messages" / f"{number // A_FOLDER:03}" / name

    def octets(self, count: int) -> int:
        """The sum of RFC822.SIZE of the first messages."""
        return sum(entry.octets for entry in self.entries[:count])

    def webmail_octets(self, count: int) -> int:
        """The sum of what BODY[HEADER.FIELDS (WEBMAIL)] gives for the first messages, blank lines included."""
        return sum(entry.webmail for entry in self.entries[:count])

    def seen(self, count: int) -> int:
        return sum(entry.name.endswith("S") for entry in self.entries[:count])


def version() -> str:
    """A name for the text of the messages; it changes when they would."""
    return hashlib.sha256(Path(letters.__file__).read_bytes() + repr((WEBMAIL, LAYOUT)).encode()).hexdigest()[:12]


def corpus(root: Path, count: int, owner: tuple[int, int] | None = None) -> Corpus:
    """The first `count` messages or more, from `root`; what is missing there is made. owner: uid and gid of new files."""
    folder = root / f"corpus-{version()}"
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "table"
    entries = _read(table) if table.exists() else []
    wanted, count = count, min(count, DISTINCT)
    # Written a folder at a time, the line after the file: what a broken run leaves is gone on with.
    for begin in range(len(entries), count, A_FOLDER):
        there = folder / "messages" / f"{begin // A_FOLDER:03}"
        shutil.rmtree(there, ignore_errors=True)
        there.mkdir(parents=True)
        new = [_write(there, number, owner) for number in range(begin, begin + A_FOLDER)]
        with open(table, "a") as lines:
            lines.write("".join(f"{entry.name} {entry.octets} {entry.webmail}\n" for entry in new))
        entries += new
    return Corpus(folder, [*entries, *(_once_more(entries, number) for number in range(len(entries), wanted))])


def _once_more(entries: list[Entry], number: int) -> Entry:
    """Message `number` of a corpus that has no more distinct ones: an earlier one that came later."""
    source = entries[number % len(entries)]
    _, rest = source.name.split("P1.", 1)
    return replace(source, number=number, name=f"{letters.came(number)}.M{number:06}P1.{rest}")


def _read(table: Path) -> list[Entry]:
    entries = []
    for number, line in enumerate(table.read_text().splitlines()):
        name, octets, webmail = line.split()
        entries.append(Entry(number, name, int(octets), int(webmail), (number, name)))
    return entries[: len(entries) // A_FOLDER * A_FOLDER]


def _write(folder: Path, number: int, owner: tuple[int, int] | None) -> Entry:
    text = letters.message(number)
    octets = len(text) + text.count(b"\n")
    when = letters.came(number)
    name = f"{when}.M{number:06}P1.bench,S={len(text)},W={octets}:2,{letters.flags(number)}"
    path = folder / name
    path.write_bytes(text)
    os.chmod(path, 0o600)
    if owner is not None:
        os.chown(path, *owner)
    os.utime(path, (when, when))
    return Entry(number, name, octets, webmail_octets(text), (number, name))


def webmail_octets(text: bytes) -> int:
    """How many octets BODY[HEADER.FIELDS (WEBMAIL)] of a message with LF has, the blank line included (RFC 9051, 6.4.5)."""
    header = text[: text.index(b"\n\n") + 1]
    fields = b"".join(_FIELD.findall(header))
    return len(fields) + fields.count(b"\n") + 2


# -- mail files --------------------------------------------------------------------------------------------------------


def make_maildir(
    source: Corpus, count: int, home: Path, *, own_files: bool, owner: tuple[int, int] | None = None
) -> None:
    """A Maildir at `home` with the first messages in cur/: files of its own, or links to the corpus."""
    for name in ("cur", "new", "tmp"):
        (home / name).mkdir(parents=True, exist_ok=True)
    cur = os.fspath(home / "cur")
    for entry in source.entries[:count]:
        path, goal = os.fspath(source.path(entry)), f"{cur}/{entry.name}"
        if own_files:
            shutil.copy2(path, goal)
            if owner is not None:
                os.chown(goal, *owner)
        else:
            os.link(path, goal)
    give_folders(home, owner)


def make_mbox(source: Corpus, count: int, home: Path, owner: tuple[int, int] | None = None) -> None:
    """A folder of mboxes at `home`, whose `inbox` has the first messages, with flags as mail readers write them."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_mbox(source, count), home / "inbox")
    (home / "inbox").chmod(0o600)
    if owner is not None:
        os.chown(home / "inbox", *owner)
    give_folders(home, owner)


def _mbox(source: Corpus, count: int) -> Path:
    """The mbox that copies are made of; kept beside the messages."""
    path = source.folder / f"mbox-{count}"
    if path.exists():
        return path
    unfinished = path.with_suffix(".new")
    with open(unfinished, "wb", buffering=1 << 20) as file:
        for entry in source.entries[:count]:
            header, _, body = source.path(entry).read_bytes().partition(b"\n\n")
            file.write(b"From bench@example.org %s\n" % letters.from_line_date(entry.number).encode())
            file.write(header + b"\n" + _status(entry.name.rpartition(",")[2]) + b"\n" + body + b"\n")
    unfinished.rename(path)
    return path


def _status(flags: str) -> bytes:
    answered_flagged = "".join(letter for here, letter in (("R", "A"), ("F", "F")) if here in flags)
    lines = b"Status: RO\n" if "S" in flags else b"Status: O\n"
    return lines + (b"X-Status: %s\n" % answered_flagged.encode() if answered_flagged else b"")


def give_folders(home: Path, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        for place in (home, *(path for path in home.iterdir() if path.is_dir())):
            os.chown(place, *owner)


def forget(home: Path) -> None:
    """Take away everything but the messages of INBOX: what servers keep beside them, and other mailboxes."""
    for path in home.iterdir():
        if path.name not in ("cur", "new", "tmp", "inbox"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
