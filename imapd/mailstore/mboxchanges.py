"""Writes to the messages of an mbox: append, copy, move, expunge. Each is one transaction.

    append, copy   the messages are written to the end of the file, durable; commit; then the client is told
    move           the same, and the commit makes the originals graves; they are taken out of their file later
    expunge        commit: the messages are graves, which are taken out of the file now or later

An append notes in the index, durably, where it begins and how much it will write, before its first octet: what a crash
leaves of it without the commit is cut off at the next look (mailstore/mboxsync). So a power cut leaves the state before
or the state after, of a move too: its messages are in one of the two mailboxes, never in both, never in neither. When
the disk refuses, it is cut off at once.

A message of ours has Content-Length, which other programs honour too, and no quoting: a line of its body that looks
like a From_ line stays as the client wrote it. Its own fields that would be taken for ours are marked as text
(mailstore/mboxheader), so that what a client wrote comes back octet by octet.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeAlias

from imapd.mailstore import tree
from imapd.mailstore.bench import Bench, explained, log
from imapd.mailstore.errors import FileLocked, StoreError, UnknownOutcome
from imapd.mailstore.flagnames import DELETED, FlagNames
from imapd.mailstore.formats import Spooled
from imapd.mailstore.maildir import discard, open_message
from imapd.mailstore.mboxfile import split_header
from imapd.mailstore.mboxheader import Base, beginning, fields, fingerprint, kept
from imapd.mailstore.mboxlock import Locked
from imapd.mailstore.mboxrewrite import locked, pwrite_all, separated
from imapd.mailstore.mboxrows import Grave, Owed, Seen, pack_mask, wanted
from imapd.mailstore.mboxsync import look_whole, our_stamps, read_known
from imapd.mailstore.mboxwriteback import is_due, write_back
from imapd.mailstore.rowchanges import insert, translated
from imapd.mailstore.rows import BoxRow, MessageRow, message_id
from imapd.mailstore.store import Placed
from imapd.model.names import INBOX

_PIECE: Final = 1 << 20
_HEADER: Final = 512 * 1024
"""A longer header of a client's goes on as body: what reads it looks at no more than 1 MB."""
_AT_HAND: Final = 10_000
"""So many headers may be in memory: 20 MB."""
_LATEST: Final = 253_402_300_799  # the end of 9999: a From_ line has four digits for the year


@dataclass(frozen=True, slots=True)
class _Source:
    """A message to be added: From_ line, header without fields, how much of it is no text; its body in pieces, which
    are read once, and how long that is."""

    from_line: bytes
    header: bytes
    cut: int
    body: Iterable[bytes]
    length: int
    mask: int
    size: int
    date: int


_Sources: TypeAlias = "Sequence[_Source] | _Copies"


def append(bench: Bench, box: BoxRow, messages: Sequence[Spooled], words: Sequence[str]) -> Placed:
    """Take spooled messages into a mailbox, all or none."""
    with contextlib.ExitStack() as stack:
        mail = stack.enter_context(locked(bench.folder(box), words, write=True))
        box = look_whole(bench, box.id, mail)
        names = bench.names(box)
        sources = []
        for message in messages:
            spool = -1
            if message.text is None:
                spool = open_message(message.path)
                stack.callback(os.close, spool)
            sources.append(_spooled(message, spool, names.mask(message.flags)))
        placed = _Adding(bench, box, mail, names).run(sources)
    for message in messages:
        if message.text is None:
            with contextlib.suppress(OSError):
                discard(message.path)
    return placed


def _spooled(message: Spooled, spool: int, mask: int) -> _Source:
    """spool: the open file, where there is one."""
    start = os.pread(spool, _HEADER, 0) if message.text is None else message.text[:_HEADER]
    header, cut = split_header(start)
    line = b"From MAILER-DAEMON %s\n" % time.asctime(time.localtime(min(max(message.date, 0), _LATEST))).encode()
    end = b"\n" * cut
    length = message.octets - len(header)
    body = _octets(spool, len(header), length) if message.text is None else [message.text[len(header) :]]
    return _Source(line, kept(header) + end, cut, body, length, mask, message.size, message.date)


class _Adding:
    """Adding messages to the end of a file that is locked and was looked at as a whole."""

    def __init__(self, bench: Bench, box: BoxRow, mail: Locked, names: FlagNames) -> None:
        self._bench = bench
        self._box = box
        self._mail = mail
        self._names = names
        self._end = os.fstat(mail.fd).st_size
        self._keywords = list(names.keywords)
        self._rows: list[MessageRow] = []

    def run(self, sources: _Sources, buried: Sequence[tuple[BoxRow, list[MessageRow]]] = ()) -> Placed:
        """Write and commit; `buried` are messages of a mailbox that become graves with the same commit."""
        box, index = self._box, self._bench.index
        if not sources:
            return Placed(box.uidvalidity, (), ())
        separator = separated(self._mail.fd, self._end)
        length = self._compose(sources, self._end + len(separator)) + len(separator)
        # Durable before the first octet: after a power cut nothing else tells half a message of ours from a whole one.
        with index.transaction():
            index.update_known(box, cur_stamp=str(Owed((self._end, length))))
        try:
            # The end comes first: what another program adds after a crash then stands behind all that is ours.
            pwrite_all(self._mail.fd, b"\n", self._end + length - 1)
            self._write(sources, separator)
            os.fsync(self._mail.fd)
            self._commit(buried)
        except UnknownOutcome:
            raise  # the rows may be there: what they are of stays in the file
        except (OSError, StoreError):
            self._take_back()
            raise
        return Placed(box.uidvalidity, tuple([row.uid for row in self._rows]), ())

    def begin_mailbox(self, sources: _Sources, fresh: bytes, source: BoxRow, buried: Sequence[MessageRow]) -> None:
        """Write into a file outside the tree, which becomes a mailbox by the commit that buries the messages."""
        box, index = self._box, self._bench.index
        self._compose(sources, 0)
        self._write(sources, b"")
        os.fsync(self._mail.fd)
        with index.transaction():
            goal = self._bench.box(index.add_box(box.name, box.directory, box.uidvalidity, ""))
            index.add_moving([(fresh, box.directory)])
            if buried:
                _bury(self._bench, source, buried)
            insert(self._bench, goal, self._names, [row._replace(id=goal.id << 32 | row.uid) for row in self._rows])
            index.update_box(goal.id, new_stamp=str(Seen.of(os.fstat(self._mail.fd))), doubt=self._bench.now)

    def _compose(self, sources: _Sources, place: int) -> int:
        """Make rows; how much is to be written."""
        begin = place
        box = self._box
        made = []
        for uid, source in enumerate(sources, box.uidnext):
            known_by = fingerprint(source.from_line, source.length, source.header)
            row = MessageRow(
                message_id(box.id, uid), place, pack_mask(source.mask), known_by, source.mask, box.modseq + 1,
                source.size, 0, source.date, 0)  # fmt: skip
            octets = len(self._head(source, row, len(sources))) + source.length
            made.append(row._replace(octets=octets))
            place += len(source.from_line) + octets + 1
        self._rows = made
        return place - begin

    def _head(self, source: _Source, row: MessageRow, messages: int) -> bytes:
        box, words = self._box, self._keywords
        base = None if row.place else Base(box.uidvalidity, box.uidnext + messages - 1, tuple(words))
        return fields(wanted(box, row, words), source.length, source.cut, base) + source.header

    def _write(self, sources: _Sources, separator: bytes) -> None:
        offset = self._end
        gathered = bytearray(separator)
        for source, row in zip(sources, self._rows, strict=True):
            head = self._head(source, row, len(sources))
            for piece in chain([source.from_line, head], source.body, [b"\n"]):
                gathered += piece
                if len(gathered) >= _PIECE:
                    pwrite_all(self._mail.fd, bytes(gathered), offset)
                    offset += len(gathered)
                    gathered.clear()
        pwrite_all(self._mail.fd, bytes(gathered), offset)

    def _commit(self, buried: Sequence[tuple[BoxRow, list[MessageRow]]]) -> None:
        index = self._bench.index
        goal = self._box
        with our_stamps(self._bench, goal, self._mail) as stamps, index.transaction():
            for source, rows in buried:
                _bury(self._bench, source, rows)
                goal = self._bench.box(goal.id)  # within one mailbox both halves of a move share its modseq
            if goal.modseq != self._box.modseq:
                self._rows = [row._replace(modseq=goal.modseq + 1) for row in self._rows]
            insert(self._bench, goal, self._names, self._rows, cur_stamp="", **stamps)
        self._bench.changed.add(self._mail.path)

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._mail.fd, self._end)
            os.fsync(self._mail.fd)
        except OSError as error:
            # The next look cuts it off, by what was noted.
            log.warning("an append could not be taken back yet: %s", explained(error).reason)
            return
        with contextlib.suppress(StoreError), self._bench.index.settling():
            self._bench.index.update_box(self._box.id, cur_stamp="")


def _octets(fd: int, offset: int, length: int) -> Iterator[bytes]:
    end = offset + length
    while offset < end and (piece := os.pread(fd, min(_PIECE, end - offset), offset)):
        offset += len(piece)
        yield piece


def _bury(bench: Bench, box: BoxRow, rows: Sequence[MessageRow]) -> None:
    """Messages become graves, within the caller's transaction."""
    bench.index.bury([(row, box.modseq + 1, Grave(row.place, row.id, row.base or b"").packed()) for row in rows])
    bench.index.update_box(box.id, modseq=box.modseq + 1)
    bench.changed.add(bench.folder(box))


def copy(bench: Bench, box_id: int, uids: Sequence[int], target: str, words: Sequence[str]) -> Placed:
    """Copy messages, all that are there."""
    return _transfer(bench, box_id, uids, tree.find(bench, target), words, is_move=False)


def move(bench: Bench, box_id: int, uids: Sequence[int], target: str, words: Sequence[str]) -> Placed:
    """Move messages, all that are there."""
    placed = _transfer(bench, box_id, uids, tree.find(bench, target), words, is_move=True)
    clean_up(bench, box_id, words)
    return placed


def _transfer(
    bench: Bench, box_id: int, uids: Sequence[int] | None, goal: BoxRow, words: Sequence[str], is_move: bool
) -> Placed:
    with contextlib.ExitStack() as stack:
        mail = stack.enter_context(locked(bench.folder(goal), words, write=True))
        other = mail
        if goal.id != box_id:
            source = bench.box(box_id)
            # For reading, where it is in need of nothing: agents that find a dotlock go to sleep for seconds.
            other = stack.enter_context(locked(bench.folder(source), words, write=bool(source.cur_stamp)))
            look_whole(bench, box_id, other)
        goal = look_whole(bench, goal.id, mail)
        box, names = bench.box(box_id), bench.names(goal)
        rows = bench.index.rows(box_id, uids)
        sources = _copies(bench, other, rows, bench.names(box), names)
        buried = [(box, rows)] if is_move and rows else []
        placed = _Adding(bench, goal, mail, names).run(sources, buried)
        return Placed(placed.uidvalidity, placed.uids, tuple([row.uid for row in rows]))


def _copies(bench: Bench, mail: Locked, rows: Sequence[MessageRow], before: FlagNames, names: FlagNames) -> _Sources:
    """Messages of a locked file, to be added elsewhere, where their flags have other names."""
    masks = {mask: translated(mask, before, names) for mask in dict.fromkeys([row.mask for row in rows])}
    copies = _Copies(bench, mail, rows, masks)
    return list(copies) if len(rows) <= _AT_HAND else copies


@dataclass(frozen=True, slots=True)
class _Copies:
    """Many copies: their headers, which would be 2 GB of a million, are read once for the rows and once to be written.

    masks: what their flags are to be.
    """

    bench: Bench
    mail: Locked
    rows: Sequence[MessageRow]
    masks: dict[int, int]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[_Source]:
        return (_copied(self.bench, self.mail, row, self.masks[row.mask]) for row in self.rows)


def _copied(bench: Bench, mail: Locked, row: MessageRow, mask: int) -> _Source:
    line, head = read_known(bench, mail, row)
    body = row.place + len(line) + len(head.octets)
    length = row.octets - len(head.octets)
    line = line.lstrip(b"\xef\xbb\xbf\r\n") or b"From MAILER-DAEMON %s\n" % time.asctime(time.localtime(0)).encode()
    line = line if line.endswith(b"\n") else line + b"\n"
    return _Source(
        line, beginning(head.bare), head.cut, _octets(mail.fd, body, length), length, mask, row.size, row.date
    )


def expunge(bench: Bench, box_id: int, uids: Sequence[int] | None, words: Sequence[str]) -> tuple[int, ...]:
    """Remove messages with \\Deleted; the UIDs of those that were removed."""
    box = bench.box(box_id)
    rows = bench.index.rows_with(box_id, DELETED, uids)
    if rows:
        with bench.index.transaction():
            _bury(bench, box, rows)
        clean_up(bench, box_id, words)
    return tuple([row.uid for row in rows])


def clean_up(bench: Bench, box_id: int, words: Sequence[str]) -> None:
    """Take the expunged messages out of the file, if that is due and can be done now; else it stays owed."""
    try:
        with locked(bench.folder(bench.box(box_id)), words, write=True) as mail:
            box = look_whole(bench, box_id, mail)
            if is_due(bench, box, mail):
                write_back(bench, box, mail)
    except FileLocked:
        pass
    except (OSError, StoreError) as error:
        log.warning("expunged messages stay in the mail file for now: %s",
                    error.reason if isinstance(error, StoreError) else explained(error).reason)  # fmt: skip


def empty_inbox_into(bench: Bench, name: str, words: Sequence[str]) -> None:
    """RENAME of INBOX: a new mailbox with all its messages."""
    tree.check_free(bench, name)
    inbox = tree.find(bench, INBOX)
    fresh, directory, uidvalidity = tree.begin_mailbox(bench, name)
    with (
        locked(bench.folder(inbox), words, write=True) as mail,
        locked(bench.format.folder(bench.root, fresh), words, write=True) as target,
    ):
        inbox = look_whole(bench, inbox.id, mail)
        rows = bench.index.rows(inbox.id)
        goal = BoxRow(0, name, directory, uidvalidity, 1, 1, 0, "", "", "", 0.0, 0, 0, "")  # until the commit
        names = bench.names(goal)
        sources = _copies(bench, mail, rows, bench.names(inbox), names)
        try:
            _Adding(bench, goal, target, names).begin_mailbox(sources, fresh, inbox, rows)
        except UnknownOutcome:
            raise
        except (OSError, StoreError):
            bench.format.remove_mailbox(bench.root, fresh)
            raise
    bench.format.settle(bench)
    clean_up(bench, inbox.id, words)
