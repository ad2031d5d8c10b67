"""Appending to a Maildir where each client brings one message, as nearly all do: its file goes before its row.

    the text lies in tmp/, durable; rename into cur/; directory durable; commit; then the client is told

Nobody else of ours looks at the files meanwhile, who has the lock. A crash before the commit leaves a file that has all
that the message is, its flags and date too: the next look takes it in, or it is not there at all, and the client was
told neither. So this is all or nothing only for one message, and mailstore/changes does it for several. In return there
is one commit and not two, and no work is left on files.

Where the disk refuses, everything is taken back, and done again in the other order, in which each client is told what
became of his own message.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imapd.mailstore import changes, maildir, maildirsize
from imapd.mailstore.bench import Bench, disk_errors, explained
from imapd.mailstore.errors import StoreError, UnknownOutcome
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.formats import Addressed
from imapd.mailstore.maildir import CUR
from imapd.mailstore.rows import BoxRow, MessageRow, message_id
from imapd.mailstore.settle import is_settled_but_flags, stamp_after, stamp_of
from imapd.mailstore.store import Placed


def append_each(
    bench: Bench, requests: Sequence[Addressed], admit: Callable[[Addressed], None]
) -> list[Placed | StoreError]:
    """Take durable messages of several clients into their mailboxes, in one commit; what became of each."""
    if any(len(request.messages) != 1 for request in requests) or not is_settled_but_flags(bench):
        return changes.append_each(bench, requests, admit)
    goals = [changes.tried(changes.goal_of, bench, request.name) for request in requests]
    if len(goals) > 1:  # the first ones may have changed while the others were looked for
        goals = [goal if isinstance(goal, StoreError) else changes.tried(bench.box, goal.id) for goal in goals]
    singles = _Singles(bench)
    try:
        with bench.index.transaction():
            outcomes = [
                goal if isinstance(goal, StoreError) else singles.add(goal, request, admit)
                for goal, request in zip(goals, requests, strict=True)
            ]
            singles.make_names_durable()
    except UnknownOutcome:
        raise  # the index may know the files
    except OSError:
        singles.take_back()
        return changes.append_each(bench, requests, admit)
    except BaseException:
        singles.take_back()
        raise
    for box, row in singles.rows:
        maildirsize.note(bench.root, box.directory, [row], 1)
    return outcomes


@dataclass(slots=True)
class _Goal:
    """A mailbox, as those who came before have left it; cur_stamp: of its cur/."""

    box: BoxRow
    keywords: tuple[str, ...]
    cur_stamp: str


class _Singles:
    """The messages of one turn. rows: with the mailbox that each came into."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._goals: dict[int, _Goal] = {}
        self._renamed: list[tuple[bytes, bytes]] = []
        self._synced: list[bytes] = []
        self.rows: list[tuple[BoxRow, MessageRow]] = []

    def add(self, box: BoxRow, request: Addressed, admit: Callable[[Addressed], None]) -> Placed | StoreError:
        """Bring a message to cur/ and put it into the index, within the caller's transaction, which fails as a whole if
        that does. Raises OSError."""
        bench = self._bench
        goal = self._goals.get(box.id)
        if goal is None:
            goal = self._goals[box.id] = _Goal(box, bench.index.keywords(box.id), stamp_of(bench, box))
        names = FlagNames(bench.folder(box), goal.keywords, bench.now, bench.settings.file_mode)
        row = changes.tried(self._made, goal.box, names, request, admit)
        if isinstance(row, StoreError):
            return row
        self._rename(request.messages[0].path, bench.folder(box) + b"/cur/" + row.file)
        self._insert(goal, names, row)
        return Placed(box.uidvalidity, (row.uid,), ())

    def _made(
        self, box: BoxRow, names: FlagNames, request: Addressed, admit: Callable[[Addressed], None]
    ) -> MessageRow:
        admit(request)
        [message] = request.messages
        mask = names.mask(message.flags)
        # The name that it has in tmp/ was given to no other file.
        base = b"%s,S=%d,W=%d" % (os.path.basename(message.path), message.octets, message.size)
        name = maildir.with_letters(base, names.letters(mask, b""))
        if maildir.is_too_long(name):
            raise OSError(f"{name!r} is too long")  # the other order finds another name
        key = message_id(box.id, box.uidnext)
        return MessageRow(key, CUR, name, None, mask, box.modseq + 1, message.size, message.octets, message.date, 0)

    def _rename(self, source: bytes, target: bytes) -> None:
        if not maildir.rename_aside(source, target):
            raise FileExistsError(target)
        self._renamed.append((source, target))

    def _insert(self, goal: _Goal, names: FlagNames, row: MessageRow) -> None:
        bench, box = self._bench, goal.box
        stamps = stamp_after(bench, box, goal.cur_stamp)
        bench.index.add_keywords(box.id, names.added)
        goal.box = bench.index.insert_into(box, [row], uidnext=row.uid + 1, modseq=row.modseq, **stamps)
        goal.keywords, goal.cur_stamp = tuple(names.keywords), goal.box.cur_stamp
        self.rows.append((box, row))

    def make_names_durable(self) -> None:
        """Raises StoreError for a failed sync, which is not tried again (mailstore/maildir rule 3)."""
        for box in {row.id >> 32: box for box, row in self.rows}.values():
            folder = self._bench.folder(box)
            with disk_errors():
                maildir.sync_directory(folder + b"/cur")
            self._synced.append(folder + b"/cur")
            self._bench.changed.add(folder)

    def take_back(self) -> None:
        """Bring the files back to tmp/. Raises UnknownOutcome where one has to stay."""
        for source, target in self._renamed:
            try:
                os.rename(target, source)
            except OSError as error:
                raise UnknownOutcome(reason=explained(error).reason) from error
        for directory in self._synced:
            with contextlib.suppress(OSError):  # or a power cut brings them back, and they are taken in
                maildir.sync_directory(directory)
