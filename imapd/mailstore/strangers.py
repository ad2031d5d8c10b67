"""Files of a Maildir that have no rows yet: their order, what they are, and the rows they get.

A mailbox that is seen for the first time may have a million of them, so they are kept as columns, and no object is made
for each. `Rest` is what one part of them leaves to the next (mailstore/sync, rule 7).
"""

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import itemgetter, lt
from typing import Final, NamedTuple

from imapd.mailstore import maildir
from imapd.mailstore.flagnames import KEYWORDS, FlagNames
from imapd.mailstore.maildir import CUR, NEW
from imapd.mailstore.rows import BoxRow, Given, NewRows
from imapd.mailstore.store import Snapshot

Located = tuple[int, bytes]  # place and file name

COUNTED: Final = 12
"""How many files are looked at in the time in which one is read whole, because its name does not tell its size."""
_NO_UID: Final = 1 << 32
_SECONDS: Final = 11  # the octets of a time in seconds, from 2001 to 2286, and the dot
_ALL_IN_SECONDS: Final = re.compile(rb"(?:\d{10}\.)*")


@dataclass(slots=True)
class Strangers:
    """Files that were looked at, as columns. octets: on disk, where they were counted by us and not told by the name.

    came: the base names that the files came with; known_by: those that they have now.
    """

    places: list[int] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    came: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    octets: list[int] = field(default_factory=list)
    dates: list[int] = field(default_factory=list)
    known_by: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def move(self, move: Callable[[Located], Located]) -> None:
        """Have those in new/ moved: `move` does it, and says where they are then."""
        if NEW not in self.places:
            return
        self.known_by = self.known_by[:]
        for row, place in enumerate(self.places):
            if place == NEW:
                self.places[row], self.files[row] = move((NEW, self.files[row]))
                self.known_by[row] = maildir.base_of(self.files[row])

    def uids(self, box: BoxRow, given: Given | None, complete: bool) -> tuple[list[int], dict[str, object]]:
        """Their UIDs: those they had elsewhere, and then new ones. And the mailbox's next UID, and its watermark of
        \\Recent: what had a UID elsewhere was seen there. complete: there are no more files."""
        if not given:
            uidnext = box.uidnext + len(self)
            return list(range(box.uidnext, uidnext)), {"uidnext": uidnext, "recent": box.recent}
        had = {base: uid for base in self.came if (uid := given.uids.get(base))}
        seen = set(had.values())
        uidnext = max([box.uidnext, *[uid + 1 for uid in seen]])
        if complete or len(had) < len(self):
            uidnext = max(uidnext, given.uidnext)
        uids: list[int] = []
        for base in self.came:
            uid = had.pop(base, 0)  # a second file of the same name is a second message
            uids.append(uid or uidnext)
            uidnext += not uid
        return uids, {"uidnext": uidnext, "recent": max([box.recent, *seen])}

    def rows(self, uids: list[int], modseq: int, names: FlagNames, keywords: Mapping[bytes, Iterable[str]]) -> NewRows:
        """Their rows. keywords: by base names, of another server that keeps them elsewhere."""
        masks: dict[bytes, int] = {}  # of what stands behind the base name, which most files share
        infos = [file[len(base) :] for file, base in zip(self.files, self.known_by, strict=True)]
        for info in dict.fromkeys(infos):
            masks[info] = names.mask_of_letters(maildir.letters_of(info))
        rows = NewRows(
            uids, self.places, self.files, self.known_by, [masks[info] for info in infos], modseq, self.sizes,
            self.octets, self.dates, [0] * len(self))  # fmt: skip
        for row, base in enumerate(self.came if keywords else ()):
            for word in keywords.get(base, ()):
                rows.masks[row] |= names.mask([word], create=len(names.keywords) < KEYWORDS)
            located = self.places[row], self.files[row]
            rows.pending[row] = int(base in keywords and needs_rename(names, located, rows.masks[row]))
        return rows


class Rest(NamedTuple):
    """What one part of many strangers leaves to the next.

    box: the mailbox as the part left it. strangers: those that are left, in their order. uidlist_stamp: of the list
    that `given` was read from. stamps: what will be said of new/ and cur/ when all is taken in. cur_stamp: how cur/ was
    left. kept: the columns of all messages so far, where they are known.
    """

    box: BoxRow
    strangers: list[Located]
    given: Given | None
    uidlist_stamp: str
    stamps: dict[str, object]
    cur_stamp: str
    kept: Snapshot | None

    def goes_on(self, box: BoxRow, uidlist_stamp: str) -> bool:
        """Whether nobody has given UIDs in the mailbox since: then no stranger has got a row."""
        as_left = all(getattr(self.box, column) == getattr(box, column)
                      for column in ("id", "uidvalidity", "uidnext", "modseq", "messages"))  # fmt: skip
        return as_left and self.uidlist_stamp == uidlist_stamp


def needs_rename(names: FlagNames, located: Located, mask: int) -> bool:
    """Whether the index has flags that the file's name lacks."""
    place, name = located
    letters = names.letters(mask, maildir.letters_of(name))
    return set(letters) != set(maildir.letters_of(name)) and (place == CUR or bool(letters))


def in_order(strangers: Iterable[Located], given: Given | None) -> list[Located]:
    """The files in the order in which they get UIDs: that of the UIDs they had elsewhere, then that of delivery."""
    if not given:
        return _by_delivery(strangers)
    uids = given.uids

    def order(located: Located) -> tuple[int, tuple[int, int, bytes]]:
        return uids.get(maildir.base_of(located[1])) or _NO_UID, maildir.delivery_order(located[1])

    return sorted(strangers, key=order)


def _by_delivery(strangers: Iterable[Located]) -> list[Located]:
    by_name = sorted(strangers, key=itemgetter(1))
    # Where each came in a second of its own that is the order already, in a third of the time.
    seconds = [name[:_SECONDS] for _, name in by_name]
    if all(map(lt, seconds, seconds[1:])) and _ALL_IN_SECONDS.fullmatch(b"".join(seconds)):
        return by_name
    return sorted(by_name, key=lambda located: maildir.delivery_order(located[1]))


def look_at(folder: bytes, ordered: list[Located], most: int) -> tuple[Strangers, list[Located]]:
    """Look at files for the first time, in that order; and those that are left when so much has been done: one file
    whose name tells its size counts for 1, and others for COUNTED. What is gone or no regular file is left out.
    """
    found = Strangers()
    work = 0
    with ExitStack() as until_done:
        # A name in an open directory is found in less time than a path.
        directories: dict[int, int] = {}
        for place in (CUR, NEW):
            directories[place] = maildir.open_directory(folder + b"/" + maildir.PLACES[place])
            until_done.callback(os.close, directories[place])
        for number, (place, name) in enumerate(ordered):
            if work >= most:
                return _closed(found), ordered[number:]
            try:
                seen = os.stat(name, dir_fd=directories[place], follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(seen.st_mode):
                continue
            base = name.partition(b":")[0]
            size, counted = maildir.size_in_name(base, seen.st_size), 0
            if size is None:
                try:
                    counted, size = maildir.measure(folder + b"/" + maildir.PLACES[place] + b"/" + name)
                except FileNotFoundError:
                    continue
                work += COUNTED - 1
            work += 1
            found.places.append(place)
            found.files.append(name)
            found.came.append(base)
            found.sizes.append(size)
            found.octets.append(counted)
            found.dates.append(int(seen.st_mtime))
    return _closed(found), []


def _closed(found: Strangers) -> Strangers:
    found.known_by = found.came
    return found
