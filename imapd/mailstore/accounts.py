"""Which mail files there are below a folder: those that have been opened here, by what lies beside their mail."""

import os
from typing import Final

from imapd.mailstore import floors
from imapd.mailstore.choice import Kinds
from imapd.mailstore.findings import ENTRY, Pace, without_rest
from imapd.mailstore.indexfile import INDEX_FILE

_OURS: Final = (os.fsdecode(INDEX_FILE), os.fsdecode(floors.FILE))
"""Of these an account has both, or one where the other was lost."""


def opened_below(folder: str, kinds: Kinds, pace: Pace = without_rest) -> list[str]:
    """The path of every mail file below a folder that has been opened here, in the order of their names. Blocks."""
    found: list[str] = []
    beside: dict[str, str] = {}  # by the directory of an account whose mail file is a file: that file
    for path, folders, files in os.walk(folder):
        pace((1 + len(folders) + len(files)) * ENTRY)
        if any(name in files for name in _OURS):
            folders.clear()
            found.append(path)
        elif "cur" in folders:
            folders.clear()  # a Maildir that nobody has opened
        else:
            paths = [os.path.join(path, name) for name in files]
            beside |= {kinds.directory_of(file): file for file in paths if not os.path.islink(file)}
    return sorted(beside.get(each, each) for each in found)
