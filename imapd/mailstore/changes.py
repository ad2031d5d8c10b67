"""Writes to the messages of a Maildir: append, copy, move, expunge. Each is one transaction, under the account's lock.

The commit comes first, and the files follow (mailstore/settle), so a crash leaves the state before or the state after:

    append, copy   the text lies in tmp/, durable; commit; rename into cur/; directory durable; then the client is told
    move           commit: the message is in the target, its file still elsewhere; rename
    flags          commit (mailstore/rowchanges); rename
    expunge        commit: the message is a tombstone that knows its file; unlink

Why that is safe when the power is cut, at each step: before the commit there are files in tmp/ that nobody knows, and
`sweep` removes them. After it the rows stand, and so do the files they name: a file is synced, and where there are
several, the names in tmp/ are too, or one of them could be lost and the others not. A single file may lose its name
then, and its row goes at the next look: nobody was told of it. The client is told when the names in cur/ are synced.

The files of many messages follow after the answer, in the background (mailstore/settle rule 4): by then the commit and
the names in tmp/ are durable.

One message of a client, as nearly all come, is appended in another order (mailstore/singles).

An append or copy whose renames the disk refuses is taken back and reported. The others stay done: the index has them.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

from imapd.mailstore import maildir, maildirsize, tree
from imapd.mailstore.bench import Bench, explained
from imapd.mailstore.errors import Corrupt, StoreError, UnknownOutcome
from imapd.mailstore.flagnames import DELETED, FlagNames
from imapd.mailstore.formats import Addressed, Failures, Spooled
from imapd.mailstore.maildir import ELSEWHERE
from imapd.mailstore.rowchanges import insert, numbered, translated
from imapd.mailstore.rows import TAKING, BoxRow, MessageRow
from imapd.mailstore.settle import path_of, settle, settle_but_flags, settle_or_later, target_name
from imapd.mailstore.store import Placed
from imapd.mailstore.sync import is_as_known
from imapd.mailstore.tree import find
from imapd.model.names import INBOX

Result = TypeVar("Result")

_LOOKS: Final = 4
"""For files that others rename while they are copied: mutt and a second server may be at it."""


def make_durable(message: Spooled) -> None:
    """Sync a spooled message: without the lock, so that those of other clients are synced at the same time."""
    # A date that the file system cannot keep is kept in the index alone.
    with contextlib.suppress(OverflowError, ValueError):
        os.utime(message.fd, (message.date, message.date))
    maildir.sync(message.fd)


def append_each(
    bench: Bench, requests: Sequence[Addressed], admit: Callable[[Addressed], None]
) -> list[Placed | StoreError]:
    """Take durable messages of several clients into their mailboxes, in one commit; what became of each."""
    settle_but_flags(bench)
    _make_names_durable(bench, max(len(request.messages) for request in requests) if requests else 0)
    goals = [tried(goal_of, bench, request.name) for request in requests]
    with bench.index.transaction():
        rows = [
            goal if isinstance(goal, StoreError) else _tried_insert(bench, goal, request, admit)
            for goal, request in zip(goals, requests, strict=True)
        ]
    failures = settle(bench)
    return [each if isinstance(each, StoreError) else tried(_finish, bench, each, failures) for each in rows]


class _New(NamedTuple):
    """Messages that came into a mailbox, as it was before, with their UIDs there."""

    box: BoxRow
    names: FlagNames
    rows: list[MessageRow]


def tried(work: Callable[..., Result], *arguments: object) -> Result | StoreError:
    """What the work gives, or why it cannot be done for this one client. Raises Corrupt."""
    try:
        return work(*arguments)
    except Corrupt:
        raise
    except StoreError as error:
        return error


def _tried_insert(
    bench: Bench, goal: BoxRow, request: Addressed, admit: Callable[[Addressed], None]
) -> _New | StoreError:
    """Insert the messages of one client, within the caller's transaction, which fails as a whole if that does."""
    new = tried(_addressed, bench, goal, request, admit)
    if not isinstance(new, StoreError) and new.rows:
        insert(bench, new.box, new.names, new.rows)
    return new


def _addressed(bench: Bench, goal: BoxRow, request: Addressed, admit: Callable[[Addressed], None]) -> _New:
    admit(request)
    box = bench.box(goal.id)  # as those who came before have left it
    names = bench.names(box)
    masks = [names.mask(message.flags) for message in request.messages]
    rows = [
        newcomer(bench, b"tmp/" + os.path.basename(message.path), mask, message.size, message.octets, message.date)
        for message, mask in zip(request.messages, masks, strict=True)
    ]
    return _New(box, names, numbered(box, rows))


def goal_of(bench: Bench, name: str) -> BoxRow:
    """The mailbox that messages are to come into. The UIDs that those in it had elsewhere are taken in first."""
    box = find(bench, name)
    while box.uidlist_stamp.startswith(TAKING):
        bench.format.take_in(bench, box.id, read_write=False)
        box = bench.box(box.id)
    return box


def _make_names_durable(bench: Bench, messages: int) -> None:
    """Sync the names in tmp/, where there are several that have to stay or go together."""
    if messages > 1:
        maildir.sync_directory(bench.root + b"/tmp")


def newcomer(bench: Bench, file: bytes, mask: int, size: int, octets: int, date: int) -> MessageRow:
    base = maildir.new_base(bench.now, octets, size)
    base = base if octets else base.partition(b",")[0]  # sizes that nobody counted are not claimed again
    return MessageRow(0, ELSEWHERE, file, base, mask, 0, size, octets, date, 1)


def _place(bench: Bench, box: BoxRow, names: FlagNames, rows: list[MessageRow], sources: list[int]) -> Placed:
    """Commit messages that lie in tmp/ and bring them to cur/; taken back where that cannot be done."""
    if not rows:
        return Placed(box.uidvalidity, (), ())
    new = _New(box, names, numbered(box, rows))
    with bench.index.transaction():
        insert(bench, box, names, new.rows)
    # The name of a single message in tmp/ is not durable: it is brought to cur/ now.
    failures = settle_or_later(bench) if len(rows) > 1 else settle(bench)
    return replace(_finish(bench, new, failures), sources=tuple(sources))


def _finish(bench: Bench, new: _New, failures: Failures) -> Placed:
    """What became of messages whose rows are committed; taken back where their files could not be brought to cur/."""
    box, names, rows = new
    if rows:
        bench.changed.add(bench.folder(box))
        refused = failures.among([row.id for row in rows])
        if refused is not None:
            _take_back(bench, box, names, rows)
            raise refused
        maildirsize.note(bench.root, box.directory, rows, 1)
    return Placed(box.uidvalidity, tuple([row.uid for row in rows]), ())


def _take_back(bench: Bench, box: BoxRow, names: FlagNames, rows: Sequence[MessageRow]) -> None:
    """Undo an append or copy. Its UIDs are used up, since another process may have seen them."""
    try:
        for row in rows:
            maildir.discard(bench.root + b"/" + row.file)
            maildir.discard(bench.folder(box) + b"/cur/" + target_name(names, row))
        modseq = bench.box(box.id).modseq + 1
        with bench.index.transaction():
            bench.index.bury([(row, modseq, None) for row in rows])
            bench.index.update_box(box.id, modseq=modseq)
    except OSError as error:
        raise UnknownOutcome(reason=explained(error).reason) from error
    except StoreError as error:
        raise UnknownOutcome(reason=error.reason) from error


def copy(bench: Bench, box_id: int, uids: Sequence[int], target: str) -> Placed:
    """Copy messages by hard links, all that are there. Raises NoSuchMailbox."""
    settle_but_flags(bench)
    goal = goal_of(bench, target)
    rows = bench.index.rows(box_id, uids)
    for _ in range(_LOOKS):
        try:
            return _copied(bench, box_id, rows, goal.id)
        except FileNotFoundError:  # another program renamed one
            rows = _present(bench, box_id, uids)
    return _copied(bench, box_id, rows, goal.id)


def _copied(bench: Bench, box_id: int, rows: Sequence[MessageRow], goal_id: int) -> Placed:
    """Copy messages whose files are where their rows say; raises FileNotFoundError, and has done nothing, if not."""
    box, goal = bench.box(box_id), bench.box(goal_id)
    source_names, names = bench.names(box), bench.names(goal)
    masks = {mask: translated(mask, source_names, names) for mask in dict.fromkeys([row.mask for row in rows])}
    made: list[MessageRow] = []
    try:
        for row in rows:
            # Each under a name of its own: what the one that it is to have in cur/ begins with.
            _, _, _, _, mask, _, size, octets, date, _ = row
            unique = maildir.new_unique(bench.now)
            base = b"%s,S=%d,W=%d" % (unique, octets, size) if octets else unique
            made.append(MessageRow(0, ELSEWHERE, b"tmp/" + unique, base, masks[mask], 0, size, octets, date, 1))
            maildir.link_or_copy(path_of(bench, box, row), bench.root + b"/tmp/" + unique, bench.settings.file_mode)
        _make_names_durable(bench, len(rows))
        return _place(bench, goal, names, made, [row.uid for row in rows])
    except UnknownOutcome:
        raise  # the index may know the links
    except (OSError, StoreError):
        for row in made:
            with contextlib.suppress(OSError):
                maildir.discard(bench.root + b"/" + row.file)
        raise


def move(bench: Bench, box_id: int, uids: Sequence[int], target: str) -> Placed:
    """Move messages, all that are there. Raises NoSuchMailbox."""
    settle_but_flags(bench)
    goal = goal_of(bench, target)
    rows = _present(bench, box_id, uids)
    goal = bench.box(goal.id)  # as it is after what was taken in
    if rows:
        with bench.index.transaction():
            _move_rows(bench, bench.box(box_id), rows, goal)
        settle_or_later(bench)
        maildirsize.note(bench.root, bench.box(box_id).directory, rows, -1)
        maildirsize.note(bench.root, goal.directory, rows, 1)
    uids = tuple(range(goal.uidnext, goal.uidnext + len(rows)))
    return Placed(goal.uidvalidity, uids, tuple([row.uid for row in rows]))


def empty_inbox_into(bench: Bench, name: str) -> None:
    """RENAME of INBOX: a new mailbox with all messages of INBOX, which stays (RFC 9051 section 6.3.6)."""
    tree.check_free(bench, name)
    inbox = find(bench, INBOX)
    while not bench.format.take_in(bench, inbox.id, read_write=False):
        pass
    rows = _present(bench, inbox.id, None)
    fresh, directory, uidvalidity = tree.begin_mailbox(bench, name)
    with bench.index.transaction():
        goal = bench.box(bench.index.add_box(name, directory, uidvalidity, ""))
        _move_rows(bench, bench.box(inbox.id), rows, goal)
        bench.index.add_moving([(fresh, directory)])
    settle(bench)


def _move_rows(bench: Bench, box: BoxRow, rows: Sequence[MessageRow], goal: BoxRow) -> None:
    """A move in the index, within the caller's transaction; the files follow with the next `settle`."""
    source_names, names = bench.names(box), bench.names(goal)
    masks = {mask: translated(mask, source_names, names) for mask in dict.fromkeys([row.mask for row in rows])}
    before = (*maildir.relative_paths(box.directory), b"")  # what stands before the names of files, by their places
    arrived = [
        newcomer(bench, before[row.place] + row.file, masks[row.mask], row.size, row.octets, row.date) for row in rows
    ]
    bench.index.bury_many(box.id, rows, box.modseq + 1)
    bench.index.update_box(box.id, modseq=box.modseq + 1)
    # Within one mailbox the two halves of the move share its modseq.
    goal = bench.box(goal.id)
    insert(bench, goal, names, numbered(goal, arrived))
    bench.changed |= {bench.folder(box), bench.folder(goal)}


def _present(bench: Bench, box_id: int, uids: Sequence[int] | None) -> list[MessageRow]:
    """The rows of messages whose files are where the index says; the mailbox is looked through where one is not."""
    box = bench.box(box_id)
    rows = bench.index.rows(box_id, uids)
    if is_as_known(bench, box) or all(os.path.lexists(path_of(bench, box, row)) for row in rows):
        return rows
    bench.format.take_in(bench, box_id, read_write=False, force=True)
    rows = bench.index.rows(box_id, uids)
    return [row for row in rows if os.path.lexists(path_of(bench, box, row))]


def expunge(bench: Bench, box_id: int, uids: Sequence[int] | None) -> tuple[int, ...]:
    """Remove messages with \\Deleted; the UIDs of those that were removed."""
    settle_or_later(bench)
    box = bench.box(box_id)
    rows = bench.index.rows_with(box_id, DELETED, uids)
    if not rows:
        return ()
    with bench.index.transaction():
        bench.index.bury_many(box_id, rows, box.modseq + 1, maildir.relative_paths(box.directory))
        bench.index.update_box(box_id, modseq=box.modseq + 1)
    bench.changed.add(bench.folder(box))
    settle_or_later(bench)
    maildirsize.note(bench.root, box.directory, rows, -1)
    return tuple([row.uid for row in rows])
