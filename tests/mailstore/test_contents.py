"""Messages that are read many at a time have the octets that each has by itself, or are said to need a look."""

import os
import random
from array import array
from pathlib import Path

import pytest

from imapd.mailstore import contents as contents_room
from imapd.mailstore.choice import Kinds
from tests.mailstore.maildirhouse import Worker

WHOLE = 1 << 40


def texts() -> list[bytes]:
    chance = random.Random(5)
    ends = [b"\r\n", b"\n", b"\r\n\r\n", b"\r", b" \r\n"]
    made = [b"Subject: %d\r\n\r\n" % number for number in range(3)]
    for number in range(30):
        lines = [b"x" * chance.randrange(70) + chance.choice(ends) for _ in range(chance.randrange(200))]
        made.append(b"Subject: %d\r\nStatus: mine\r\nContent-Length: 7\r\n\r\n" % number + b"".join(lines))
    return made


@pytest.fixture(params=["maildir", "mbox"])
def mailbox(request, tmp_path):
    worker = Worker(tmp_path / "ann", kinds=Kinds(request.param))
    worker.put("INBOX", *texts())
    return worker.open()


def one_by_one(mailbox, uids, most):
    found = []
    for uid in uids:
        opened = mailbox.message(uid)
        found.append(opened.read()[:most])
        opened.close()
    return found


def opened_mail(folder: Path) -> list[str]:
    """The mail files, and the folders of message files, that this process has open there."""
    paths = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    links = [os.readlink(path) for path in paths if path.is_symlink()]
    there = [link for link in links if link.startswith(f"{folder}/")]
    return [link for link in there if "/cur" in link or link.endswith(("/inbox", "/ann"))]


@pytest.mark.parametrize("most", [1, 20, 500, 4_000, WHOLE])
def test_they_are_those_of_the_messages(mailbox, most):
    uids = mailbox.snapshot().uids
    read = mailbox.reader(uids)
    for some in (uids, uids[:1], uids[4:9], array("I", [2, 3, 11, uids[-1]])):
        assert read(some, most) == one_by_one(mailbox, some, most)


def test_what_is_not_in_memory_is_read_in_one_hop(mailbox, tmp_path, monkeypatch):
    uids = mailbox.snapshot().uids
    expected = one_by_one(mailbox, uids, WHOLE)
    refused = []

    def cold(fd, rooms, start):
        refused.append(fd)
        raise BlockingIOError

    monkeypatch.setattr(contents_room, "_at_hand", cold)
    assert mailbox.reader(uids)(uids, WHOLE) == expected
    assert len(refused) == 1 and not opened_mail(tmp_path)


def test_a_message_that_is_gone_is_empty(mailbox):
    uids = mailbox.snapshot().uids
    assert not all(mailbox.reader(uids)(array("I", [1, 2, 999]), WHOLE))


def change(path, text: bytes) -> None:
    path.unlink()
    path.write_bytes(text)


def pipe(path) -> None:
    path.unlink()
    os.mkfifo(path)


DEEDS = {
    "removed": lambda path: path.unlink(),
    "shorter": lambda path: change(path, b"Subject: 1\n"),
    "longer": lambda path: change(path, b"Subject: 1\n\n" + b"x" * 90_000),
    "as long, with other line ends": lambda path: change(path, path.read_bytes().replace(b"\n", b"x")),
    "a pipe": pipe,
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (path.rename(path.parent.parent / "elsewhere"), path.symlink_to("../elsewhere")),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_a_file_that_is_not_as_its_row_says_is_left_to_the_message(tmp_path, deed):
    worker = Worker(tmp_path / "ann")
    worker.put("INBOX", *texts())
    mailbox = worker.open()
    uids = mailbox.snapshot().uids
    read = mailbox.reader(uids)
    expected = read(uids, WHOLE)
    victim = next(path for path in sorted((tmp_path / "ann" / "cur").iterdir()) if path.stat().st_size > 2_000)
    place = next(place for place, text in enumerate(expected) if text.replace(b"\r\n", b"\n") == victim.read_bytes())
    DEEDS[deed](victim)
    found = read(uids, WHOLE)
    assert found[place] == b"" and found[:place] == expected[:place] and found[place + 1 :] == expected[place + 1 :]


def test_an_mbox_that_others_have_written_to_is_left_to_the_message(tmp_path):
    worker = Worker(tmp_path / "ann", kinds=Kinds("mbox"))
    worker.put("INBOX", *texts())
    mailbox = worker.open()
    uids = mailbox.snapshot().uids
    read = mailbox.reader(uids)
    assert all(read(uids, WHOLE))
    file = next(path for path in (tmp_path / "ann").rglob("*") if path.is_file() and b"From " in path.read_bytes()[:5])
    file.write_bytes(file.read_bytes().replace(b"Subject: 1", b"Subject: 2"))
    assert not any(read(uids, WHOLE))
