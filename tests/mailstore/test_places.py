"""A large message is read from near the octet that was asked for, whatever its line ends are."""

import os
import random

import pytest

from imapd.mailstore import message as message_room
from imapd.mailstore.errors import Corrupt
from imapd.mailstore.places import BEGINNING, KEPT, KnownPlaces, Place, Places
from tests.mailstore.maildirhouse import Worker, deliver

ENDS = {
    "lf": [b"\n"],
    "crlf": [b"\r\n"],
    "mixed": [b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r\n"],
}


def large(ends: list[bytes]) -> bytes:
    chance = random.Random(7)
    lines = [b"x" * chance.randrange(90) + chance.choice(ends) for _ in range(20_000)]
    return b"Subject: large\n\n" + b"".join(lines)


def wire_of(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.mark.parametrize("ends", ENDS)
def test_pieces_from_anywhere_are_those_of_the_whole(tmp_path, ends):
    worker = Worker(tmp_path / "ann")
    text = large(ENDS[ends])
    deliver(worker.home, text)
    wire = wire_of(text)
    mailbox = worker.open()
    (uid,) = mailbox.snapshot().uids
    chance = random.Random(11)
    starts = [0, 1, len(wire) - 1, len(wire), *(chance.randrange(len(wire)) for _ in range(30))]
    for start in [*starts, *range(0, len(wire), 65_536)]:
        opened = mailbox.message(uid)  # as each command does
        assert b"".join(opened.chunks(start)) == wire[start:]
        opened.close()


@pytest.mark.parametrize("octets", [300_000, 900_000])
def test_what_stands_before_a_piece_is_read_once(tmp_path, monkeypatch, octets):
    worker = Worker(tmp_path / "ann")
    text = large(ENDS["lf"])[:octets]
    deliver(worker.home, text, f"1.M1P1.mx,S={len(text)},W={len(wire_of(text))}")
    mailbox = worker.open()
    (uid,) = mailbox.snapshot().uids
    mailbox.message(uid).close()  # the first one counts its octets
    read = 0
    real = message_room.read_at

    def counted(*arguments):
        nonlocal read
        data = real(*arguments)
        read += len(data)
        return data

    monkeypatch.setattr(message_room, "read_at", counted)
    for start in range(0, len(wire_of(text)), 65_536):
        opened = mailbox.message(uid)
        got = b""
        for chunk in opened.chunks(start):
            got += chunk
            if len(got) >= 65_536:
                break
        opened.close()
    assert read < 3 * len(text)


def test_places_ascend_and_are_found():
    places = Places()
    assert places.before(10**9) == BEGINNING
    for place in (Place(100, 90, 10), Place(200, 180, 13), Place(150, 1, 1), Place(300, 260, 65)):
        places.note(place)
    assert [places.before(wire) for wire in (99, 100, 250, 10**9)] == [
        BEGINNING,
        Place(100, 90, 10),
        Place(200, 180, 13),
        Place(300, 260, 65),
    ]


def test_the_places_of_few_messages_are_kept():
    known = KnownPlaces()
    first = known.of(1, 5)
    first.note(Place(10, 10, 10))
    for uid in range(2, KEPT + 1):
        known.of(uid, 5)
    assert known.of(1, 5) is first
    for uid in range(2, KEPT + 2):
        known.of(uid, 5)
    assert known.of(1, 5) is not first
    assert known.of(1, 6) is not known.of(1, 5)  # another text, in place


def test_a_message_has_its_file_read_to_where_it_was_before(tmp_path):
    """Where the file was changed in place under the same size, nothing but an end is made of it."""
    worker = Worker(tmp_path / "ann")
    deliver(worker.home, large(ENDS["lf"]))
    mailbox = worker.open()
    (uid,) = mailbox.snapshot().uids
    opened = mailbox.message(uid)
    total = sum(len(chunk) for chunk in opened.chunks())
    (path,) = (worker.home / "cur").iterdir()
    os.truncate(path, 70_000)
    with pytest.raises(Corrupt, match="changed while it was read"):
        list(opened.chunks(total - 10))
    opened.close()
