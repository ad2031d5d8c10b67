"""mbox as a kind of mail files (mailstore/formats): one account's mail files, with what the mbox rooms do."""

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from imapd.mailstore import (
    floors,
    maildir,
    mboxchanges,
    mboxcheck,
    mboxlock,
    mboxread,
    mboxrestore,
    mboxsync,
    mboxtree,
    rebuild,
    tree,
)
from imapd.mailstore.bench import Bench, DiskSettings, explained, log
from imapd.mailstore.errors import StoreError
from imapd.mailstore.findings import Finding, Inventory, Sight
from imapd.mailstore.formats import Addressed, Failures, Read, Slice, Spooled
from imapd.mailstore.index import Index
from imapd.mailstore.mboxcolumns import FirstColumns
from imapd.mailstore.mboxrewrite import locked
from imapd.mailstore.mboxwriteback import write_all, write_back
from imapd.mailstore.rows import ABSENT, BoxRow, Given, MessageRow
from imapd.mailstore.store import Placed

_OUTSIDE: Final = (b"imapd-deleted-", b"imapd-new-")


class MboxFormat:
    """The mail files of one account. tree: a directory with mail files, which is the account's root too.

    inbox: where INBOX is a mail file by itself, its path. words: how mail files are locked (mailstore/mboxlock).
    """

    def __init__(self, root: bytes, inbox: bytes | None = None, words: Sequence[str] = mboxlock.DEFAULT) -> None:
        self._root = root
        self._inbox = inbox
        self._words = tuple(words)
        self._tree = mboxtree.Tree(root, inbox or mboxtree.inbox_of(root))
        self._dir_mode = 0o700
        self._columns = FirstColumns()
        self._given: dict[int, bytes] = {}  # UIDVALIDITY that a mailbox brought with it, and which one

    # Quick

    def is_there(self, root: bytes) -> bool:
        if self._inbox is None and not self._tree.is_mailbox(b""):
            self._tree.inbox = mboxtree.inbox_of(root)  # it may have come by another of its names
        return self._tree.is_mailbox(b"") and os.path.isdir(root)

    def folder(self, root: bytes, directory: bytes) -> bytes:
        return self._tree.path(directory)

    def directories(self, root: bytes) -> set[bytes]:
        return {b"", *self._tree.files()}

    def is_mailbox(self, root: bytes, directory: bytes) -> bool:
        return self._tree.is_mailbox(directory)

    def is_taken(self, root: bytes, directory: bytes) -> bool:
        return os.path.lexists(self._tree.path(directory))

    def name_of(self, directory: bytes) -> str | None:
        return mboxtree.name_of(directory)

    def directory_of(self, root: bytes, name: str) -> bytes:
        return self._tree.directory_of(name)

    def agrees(self, folder: bytes, box: BoxRow, now: float) -> bool:
        return mboxsync.agrees(folder, box, now)

    def has_work(self, index: Index, box: int) -> bool:
        return False

    def lags(self, index: Index, box: int) -> bool:
        return not index.is_settled_in(box)

    def watched(self, folder: bytes) -> list[bytes]:
        # The file for other programs; tmp/ because every write of ours touches its time.
        return [folder, self._root + b"/tmp"]

    def open_message(self, root: bytes, box: BoxRow, row: MessageRow) -> Slice:
        return mboxread.open_seen(self._tree.path(box.directory), box, row, self._words)

    def open_held(self, bench: Bench, box: int, uid: int, again: bool) -> tuple[MessageRow, Slice] | None:
        return mboxread.open_held(bench, box, uid, self._words)

    def read_together(
        self, root: bytes, box: BoxRow, rows: Sequence[MessageRow], most: int, read: Read
    ) -> list[bytearray]:
        return mboxread.read_together(self._tree.path(box.directory), box, rows, read)

    def knows_uids(self, folder: bytes, box: BoxRow) -> bool:
        return True  # nobody else numbers messages whose fields we know

    # The tree

    def given(self, bench: Bench, directory: bytes) -> Given:
        """What X-IMAPbase says, if nobody was told of a later UID, and no other mailbox has that UIDVALIDITY, of which
        this may be a copy. Nor where it may be ours, and nothing tells how far its UIDs had got."""
        base = mboxsync.base_of(self._tree.path(directory))
        if base is None or base.uidvalidity in {box.uidvalidity for box in bench.index.boxes()}:
            return Given(0, 1, {}, ABSENT)
        if self._given.setdefault(base.uidvalidity, directory) != directory:
            return Given(0, 1, {}, ABSENT)
        floor = floors.known(bench.root + b"/" + floors.FILE).get(base.uidvalidity)
        last = max(bench.index.last_uidvalidity(), tree.last_given(bench.root))
        if base.last_uid + 1 < floor[0] if floor else base.uidvalidity <= last:
            return Given(0, 1, {}, ABSENT)
        return Given(base.uidvalidity, base.last_uid + 1, {}, "", floor[1] + rebuild.GAP if floor else 1)

    def follow(self, bench: Bench, box: BoxRow) -> BoxRow:
        return box

    def note_uids(self, bench: Bench, box: BoxRow, pairs: Sequence[tuple[int, bytes]]) -> None:
        mboxrestore.note(bench, box, self._tree.record(box.directory), pairs)

    def restore(self, bench: Bench, name: str, directory: bytes, before: BoxRow | None) -> bool:
        """Where it is False, `given` tells UIDVALIDITY when the mailbox is seen, and taking it in the UIDs."""
        return mboxrestore.restore(bench, name, directory, before, self._tree.record(directory), self._words)

    def hand_over(self, bench: Bench, box: int) -> int:
        with locked(bench.folder(bench.box(box)), self._words, write=True) as mail:
            row = mboxsync.look_whole(bench, box, mail)
            write_all(bench, row, mail)
            return row.messages

    def make_mailbox(self, root: bytes, directory: bytes, settings: DiskSettings) -> None:
        self._dir_mode = settings.dir_mode
        self._tree.make(directory, settings.file_mode, settings.dir_mode)

    def move_mailboxes(self, root: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._tree.move(pairs, self._dir_mode)

    def remove_mailbox(self, root: bytes, directory: bytes) -> None:
        self._tree.remove(directory)
        with contextlib.suppress(OSError):
            self.ring(b"")

    def leftovers(self, root: bytes, prefixes: tuple[bytes, ...]) -> list[bytes]:
        return [entry for entry in os.listdir(root) if entry.startswith(prefixes)]

    def check_settled(self, bench: Bench, boxes: Sequence[BoxRow]) -> None:
        """An expunged message that is still in a file goes where the file goes."""

    def ring(self, folder: bytes) -> None:
        maildir.touch(self._root + b"/tmp")

    # Reading the truth back

    def examine(self, sight: Sight, told: Inventory) -> None:
        mboxcheck.examine(sight, told)

    def mend(self, bench: Bench, box: int, findings: Sequence[Finding]) -> None:
        """Nothing: taking in the whole file has done it."""

    # Messages

    def settle_some(self, bench: Bench) -> bool:
        return False

    def settle(self, bench: Bench, at_once: bool = True) -> Failures:
        try:
            if pairs := bench.index.moving():
                self._tree.move(pairs, bench.settings.dir_mode)
                with bench.index.settling():
                    bench.index.clear_moving()
        except (OSError, StoreError) as error:
            cause = explained(error) if isinstance(error, OSError) else error
            log.warning("work on files is put off: %s", cause.reason)
            return Failures(of_all=cause)
        return Failures()

    def take_in(self, bench: Bench, box: int, read_write: bool, force: bool = False) -> bool:
        self.settle(bench)
        return mboxsync.take_in(bench, box, self._words, force, self._columns)

    def make_durable(self, message: Spooled) -> None:
        """Nothing: its text is copied to the end of the mbox, and durable there."""

    appends_at_once = 1
    needs_files = False

    def append_each(
        self, bench: Bench, requests: Sequence[Addressed], admit: Callable[[Addressed], None]
    ) -> list[Placed | StoreError]:
        [request] = requests
        box = tree.find(bench, request.name)
        admit(request)
        return [mboxchanges.append(bench, box, request.messages, self._words)]

    def copy(self, bench: Bench, box: int, uids: Sequence[int], target: str) -> Placed:
        return mboxchanges.copy(bench, box, uids, target, self._words)

    def move(self, bench: Bench, box: int, uids: Sequence[int], target: str) -> Placed:
        return mboxchanges.move(bench, box, uids, target, self._words)

    def empty_inbox_into(self, bench: Bench, name: str) -> None:
        mboxchanges.empty_inbox_into(bench, name, self._words)

    def expunge(self, bench: Bench, box: int, uids: Sequence[int] | None) -> tuple[int, ...]:
        return mboxchanges.expunge(bench, box, uids, self._words)

    def after_flags(self, bench: Bench, box: int) -> None:
        """Nothing yet: the file is brought up to date when the mailbox is closed."""

    def closed(self, bench: Bench, box: int) -> None:
        with locked(bench.folder(bench.box(box)), self._words, write=True) as mail:
            write_back(bench, mboxsync.look_whole(bench, box, mail), mail)
