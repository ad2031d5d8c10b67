"""FETCH of many messages at once: what can be said of a whole piece as columns is put together in one go.

Nearly everything that clients ask of 1:* is of this kind: numbers and flags out of the snapshot, and texts that the
store has ready. The octets are those that the items give one by one; where anything is not as usual (a message is
gone, a text is too large to be kept) the piece is answered message by message, and fetch.py has the rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from imapd.imap.commands.fetchitems import Envelope, InternalDate, Section, Size
from imapd.imap.extension import Column, FetchItem, Piece
from imapd.mailstore import contents
from imapd.mailstore.store import ReadMany, Text
from imapd.wire.responses import Block

if TYPE_CHECKING:
    from array import array

    from imapd.imap.session import Session


HELD = 32 * 1024 * 1024
"""Octets that may stand in memory for the answer about one piece."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Items that the store has ready, in one run."""

    wanted: tuple[Text, ...]

    def column(self, piece: Piece) -> Column | None:
        texts = piece.session.view.mailbox.texts(piece.uids, self.wanted)
        return None if b"" in texts else (b"%b", texts)


def plan(items: Sequence[FetchItem]) -> list[FetchItem | Texts]:
    """The items, those of the store's texts that stand side by side as one."""
    steps: list[FetchItem | Texts] = []
    for item in items:
        if item.text is None:
            steps.append(item)
            continue
        wanted: tuple[Text, ...] = (item.text,)
        if isinstance(item, Envelope) and [type(step) for step in steps[-2:]] == [InternalDate, Size]:
            del steps[-2:]
            wanted = (Text.DATE_AND_SIZE, *wanted)
        if steps and isinstance(before := steps[-1], Texts):
            wanted = before.wanted + wanted
            del steps[-1]
        steps.append(Texts(wanted))
    return steps


def portions(
    session: Session, items: Sequence[FetchItem], numbers: Sequence[int], uids: array[int]
) -> Iterator[tuple[Sequence[int], array[int]]]:
    """A piece cut so that what the items have to read for one portion may be in memory."""
    most = [octets for item in items if (octets := item.reads())]
    snapshot = session.view.snapshot
    rows = snapshot.rows(uids) if most else None
    if rows is None:
        yield numbers, uids
        return
    sizes = [snapshot.sizes[row] for row in rows]
    for portion in contents.portions([sum([min(size, each) for each in most]) for size in sizes]):
        yield numbers[portion], uids[portion]


def answer(
    session: Session, steps: Sequence[FetchItem | Texts], numbers: Sequence[int], uids: array[int], read: ReadMany
) -> Block | None:
    """The responses for a piece, or None where its messages have to be answered one by one. read: see Piece."""
    snapshot = session.view.snapshot
    rows = snapshot.rows(uids)
    if rows is None:
        return None
    piece = Piece(session, numbers, uids, rows, snapshot, read)
    held = 0
    patterns: list[bytes] = []
    columns: list[Sequence[object]] = [numbers]
    for step in steps:
        column = step.column(piece)
        if column is None:
            return None
        patterns.append(column[0])
        columns += column[1:]
        if isinstance(step, Texts | Section):
            held += sum(map(len, cast("Sequence[bytes]", column[-1])))
        if held > HELD:
            return None
    pattern = b"* %%d FETCH (%b)\r\n" % b" ".join(patterns)
    return Block(b"".join([pattern % values for values in zip(*columns, strict=True)]))
