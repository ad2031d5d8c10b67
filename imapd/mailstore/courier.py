"""What Courier keeps in a Maildir besides its UIDs: keywords, and the list of subscribed names.

Keywords lie in the directory `courierimapkeywords` of a folder. Its file `:list` has the words, a line each, an empty
line, and then a line "<base name>:<numbers>" for each message that has any, the words counted from 0. What was changed
since lies beside it in files that have one word a line: "<base name>", which counts before ".<number>.<base name>",
of which the highest number counts, which counts before `:list`.

The subscribed names lie in `courierimapsubscribed` of the Maildir, a line each, beginning with "INBOX" and with levels
separated by "."; in modified UTF-7, or since Courier 5 in UTF-8.
"""

import os
import re
from typing import Final

from imapd.mailstore import maildir
from imapd.mailstore.diskname import name_of
from imapd.model import names

SUBSCRIBED: Final = b"/courierimapsubscribed"
_KEYWORDS: Final = b"/courierimapkeywords"
_LIST: Final = b"/:list"
_CHANGE: Final = re.compile(rb"\.(\d{1,18})\.(.+)\Z", re.DOTALL)
_LONGEST: Final = 64 * 1024 * 1024
_LONGEST_CHANGE: Final = 64 * 1024


def subscribed(root: bytes) -> list[str]:
    """The subscribed names, in their order; what is no name is left out. Quick."""
    lines = _read(root + SUBSCRIBED, _LONGEST_CHANGE).splitlines()
    found = [_name(line) for line in lines if line]
    return list(dict.fromkeys([name for name in found if name is not None]))


def _name(line: bytes) -> str | None:
    inbox, dot, below = line.partition(b".")
    if inbox.upper() != b"INBOX":
        return None  # a folder that somebody else shares
    return name_of(b"." + below) if dot else names.INBOX


def keywords(folder: bytes) -> dict[bytes, tuple[str, ...]]:
    """The keywords of messages, by the base names of their files; words that are no keywords are left out."""
    directory = folder + _KEYWORDS
    try:
        entries = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = _listed(_read(directory + _LIST, _LONGEST))
    for base, entry in _newest(entries).items():
        found[base] = tuple(
            [word for word in map(_word, _read(directory + b"/" + entry, _LONGEST_CHANGE).split()) if word]
        )
    return found


def _listed(data: bytes) -> dict[bytes, tuple[str, ...]]:
    head, _, rest = data.partition(b"\n\n")
    words = [_word(word) for word in head.split(b"\n")]
    found: dict[bytes, tuple[str, ...]] = {}
    for line in rest.split(b"\n"):
        base, _, numbers = line.rpartition(b":")
        chosen = [int(number) for number in numbers.split() if number.isdigit() and len(number) < 10]
        if base:
            found[base] = tuple([word for number in chosen if number < len(words) and (word := words[number])])
    return found


def _newest(entries: list[bytes]) -> dict[bytes, bytes]:
    """The file that counts for each message."""
    newest: dict[bytes, tuple[float, bytes]] = {}
    for entry in entries:
        match = _CHANGE.match(entry)
        number, base = (float(match[1]), match[2]) if match else (float("inf"), entry)
        if entry != _LIST[1:] and number >= newest.get(base, (-1.0, b""))[0]:
            newest[base] = number, entry
    return {base: entry for base, (_, entry) in newest.items()}


def _word(word: bytes) -> str | None:
    """A keyword as text; None where it is no IMAP atom (RFC 9051 section 9, flag-keyword)."""
    fits = word and all(0x20 < octet < 0x7F and octet not in b'(){%*"\\]' for octet in word)
    return word.decode("ascii") if fits else None


def _read(path: bytes, longest: int) -> bytes:
    try:
        fd = maildir.open_message(path)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    with os.fdopen(fd, "rb") as file:
        return file.read(longest)
