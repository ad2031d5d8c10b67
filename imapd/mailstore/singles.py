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

from imapd.mailstore import changes, maildir, maildirsize
from imapd.mailstore.bench import Bench, disk_errors, explained
from imapd.mailstore.changes import newcomer
from imapd.mailstore.errors import StoreError, UnknownOutcome
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.formats import Addressed
from imapd.mailstore.maildir import CUR
from imapd.mailstore.rowchanges import insert, numbered
from imapd.mailstore.rows import BoxRow, MessageRow
from imapd.mailstore.settle import stamp_after, stamp_of, target_name
from imapd.mailstore.store import Placed


def append_each(
    bench: Bench, requests: Sequence[Addressed], admit: Callable[[Addressed], None]
) -> list[Placed | StoreError]:
    """Take durable messages of several clients into their mailboxes, in one commit; what became of each."""
    if any(len(request.messages) != 1 for request in requests) or not bench.index.is_settled():
        return changes.append_each(bench, requests, admit)
    goals = [changes.tried(changes.goal_of, bench, request.name) for request in requests]
    singles = _Singles(bench)
    try:
        with bench.index.transaction():
            outcomes = [
                goal if isinstance(goal, StoreError) else singles.add(goal.id, request, admit)
                for goal, request in zip(goals, requests, strict=True)
            ]
            singles.rename()
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


class _Singles:
    """The messages of one turn. rows: with the mailbox that each came into."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.rows: list[tuple[BoxRow, MessageRow]] = []
        self._paths: list[tuple[bytes, bytes]] = []
        self._renamed: list[tuple[bytes, bytes]] = []
        self._synced: list[bytes] = []

    def add(self, box_id: int, request: Addressed, admit: Callable[[Addressed], None]) -> Placed | StoreError:
        """Put a message into the index, within the caller's transaction, which fails as a whole if that does."""
        made = changes.tried(self._made, box_id, request, admit)
        if isinstance(made, StoreError):
            return made
        box, names, row = made
        insert(self._bench, box, names, [row])
        self.rows.append((box, row))
        self._paths.append((request.messages[0].path, self._bench.folder(box) + b"/cur/" + row.file))
        return Placed(box.uidvalidity, (row.uid,), ())

    def _made(
        self, box_id: int, request: Addressed, admit: Callable[[Addressed], None]
    ) -> tuple[BoxRow, FlagNames, MessageRow]:
        bench = self._bench
        admit(request)
        box = bench.box(box_id)  # as those who came before have left it
        names = bench.names(box)
        [message] = request.messages
        file = b"tmp/" + os.path.basename(message.path)
        new = newcomer(bench, file, names.mask(message.flags), message.size, message.octets, message.date)
        name = target_name(names, new)
        if maildir.is_too_long(name):
            raise OSError(f"{name!r} is too long")  # the other order finds another name
        [row] = numbered(box, [new._replace(place=CUR, file=name, base=None, pending=0)])
        return box, names, row

    def rename(self) -> None:
        """Bring the files to cur/, durably. Raises OSError, and StoreError for a failed sync, which is not tried again
        (mailstore/maildir rule 3)."""
        bench = self._bench
        boxes = {box.id: box for box, _ in reversed(self.rows)}
        before = {box.id: stamp_of(bench, box) for box in boxes.values()}
        for source, target in self._paths:
            if not maildir.rename_aside(source, target):
                raise FileExistsError(target)
            self._renamed.append((source, target))
        for box in boxes.values():
            with disk_errors():
                maildir.sync_directory(bench.folder(box) + b"/cur")
            self._synced.append(bench.folder(box) + b"/cur")
            bench.index.update_box(box.id, **stamp_after(bench, box, before[box.id]))
            bench.changed.add(bench.folder(box))

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
