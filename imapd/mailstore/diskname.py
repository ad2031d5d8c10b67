"""Names of mailboxes as directories of a Maildir++, and back.

INBOX is the Maildir itself, the directory b"". Any other mailbox is a directory beside `cur`, called "." and its levels
joined by ".": the mailbox "Work/2024" lies in ".Work.2024". A level is written in modified UTF-7 (RFC 3501 section
5.1.3), as Dovecot and Courier write it. A "." inside a level, which would make two levels of it, is written as the
shift "&AC4-", which modified UTF-7 never makes by itself: "v1.0" lies in ".v1&AC4-0". So every name has exactly one
directory, and `name_of(directory_of(name)) == name` for every name.

Directories that other programs made otherwise (raw UTF-8, a bare "&") are read leniently; the index remembers which
directory a name lies in, so nothing is renamed for the sake of spelling.
"""

from typing import Final

from imapd.mailstore.errors import BadMailboxName
from imapd.model import names

INBOX_DIRECTORY: Final = b""
_DOT: Final = b"&AC4-"
_LONGEST: Final = 255  # what file systems take for one name


def directory_of(name: str) -> bytes:
    """The directory of a mailbox, relative to the Maildir. Raises BadMailboxName where it would be too long."""
    if name == names.INBOX:
        return INBOX_DIRECTORY
    directory = b"".join([b"." + _level_to_disk(level) for level in name.split(names.DELIMITER)])
    if len(directory) > _LONGEST:
        raise BadMailboxName(name, "The mailbox name is too long with all its levels.")
    return directory


def name_of(directory: bytes) -> str | None:
    """The name of the mailbox in a directory; None where the directory cannot be one."""
    if directory == INBOX_DIRECTORY:
        return names.INBOX
    if not directory.startswith(b".") or directory in (b".", b".."):
        return None
    levels = directory[1:].split(b".")
    if not all(levels):
        return None
    name = names.canonical(names.DELIMITER.join([_level_from_disk(level) for level in levels]))
    return name if name.isprintable() and name != names.INBOX else None


def _level_to_disk(level: str) -> bytes:
    return _DOT.join([names.encode_wire(piece, utf8=False) for piece in level.split(".")])


def _level_from_disk(level: bytes) -> str:
    return ".".join([_piece_from_disk(piece) for piece in level.split(_DOT)])


def _piece_from_disk(piece: bytes) -> str:
    try:
        text = names.decode_pattern(piece, utf8=False)
    except names.BadName:
        text = piece.decode("utf-8", "replace")
    # A level with a slash in it, encoded by somebody, must not become two.
    return text.replace(names.DELIMITER, "\ufffd")
