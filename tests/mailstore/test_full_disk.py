"""A disk that is full or read-only: reading goes on, deleting makes room, and what is refused leaves nothing behind.

The disk is a small one in memory, mounted in a namespace of its own; where that is not allowed the tests are skipped.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imapd.mailstore.errors import Denied, NoSpace, Retry, StoreError
from imapd.mailstore.view import View
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import WaitingLoop, Worker, deliver, files

ROOT = Path(__file__).parents[2]
TEXTS = [b"number: %d\r\n\r\n" % number + b"x" * 20_000 for number in range(30)]


def on_a_small_disk(place: Path, deed: str) -> None:
    """Run one of the functions below on a disk of 2 MB."""
    mount = f"mount -t tmpfs -o size=2m none {place}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    command = f"{mount} && exec {sys.executable} -m tests.mailstore.test_full_disk {deed} {place}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def fill(place: Path) -> None:
    with open(place / "ballast", "wb", buffering=0) as ballast:
        for size in (65536, 512):
            while True:
                try:
                    ballast.write(b"x" * size)
                except OSError:
                    break


def prepared(place: Path) -> Worker:
    worker = Worker(place / "ann", WaitingLoop())
    for text in TEXTS:
        worker.put("INBOX", text)
    return worker


def read_and_delete(worker: Worker) -> None:
    """What has to work on a full disk."""
    deliver(worker.home, b"")  # an empty file finds a place
    view = View(worker.open(), read_only=False)
    assert [text for text in worker.texts().values() if text] == TEXTS
    assert len(list(view.mailbox.descriptions(range(1, 31)))) == 30
    assert worker.ann.status("INBOX").messages >= 30
    with pytest.raises(NoSpace):
        worker.put("INBOX", TEXTS[0] * 10)
    gone = list(range(1, 21))
    assert list(view.mailbox.change_flags(gone, FlagChange.ADD, frozenset({"\\Deleted"}))) == gone
    assert list(view.mailbox.expunge(None)) == gone
    assert view.sync(may_expunge=True).vanished
    assert files(worker.home)["tmp"] == []
    worker.put("INBOX", TEXTS[0])
    assert [text for text in worker.texts().values() if text] == [*TEXTS[20:], TEXTS[0]]


def full_while_open(place: Path) -> None:
    worker = prepared(place)
    fill(place)
    read_and_delete(worker)


def full_before_the_login(place: Path) -> None:
    prepared(place).store.close()
    fill(place)
    read_and_delete(Worker(place / "ann", WaitingLoop()))


def full_after_a_crash(place: Path) -> None:
    prepared(place).crash()
    fill(place)
    read_and_delete(Worker(place / "ann", WaitingLoop()))


def mbox_in(place: Path) -> Worker:
    (place / "ann").mkdir(parents=True)
    (place / "ann" / "inbox").touch()
    return prepared(place)


def read_and_delete_in_an_mbox(place: Path, worker: Worker) -> None:
    """A full disk takes nothing and tears nothing. What is expunged is gone for clients at once, also after a crash, and
    from the file when there is room for a second one."""
    inbox = place / "ann" / "inbox"
    before = inbox.read_bytes()
    mailbox = worker.open()
    assert list(worker.texts().values()) == TEXTS
    for texts in (TEXTS[:1] * 10, TEXTS):
        with pytest.raises(NoSpace):
            worker.put("INBOX", *texts)
        assert inbox.read_bytes() == before
    with pytest.raises(NoSpace):
        mailbox.copy(range(1, 31), "INBOX")
    assert inbox.read_bytes() == before
    gone = list(range(1, 21))
    assert list(mailbox.change_flags(gone, FlagChange.ADD, frozenset({"\\Deleted"}))) == gone
    assert list(mailbox.expunge(None)) == gone
    assert list(worker.texts().values()) == TEXTS[20:]
    mailbox.close()
    assert inbox.read_bytes() == before
    assert sorted(os.listdir(inbox.parent)) == sorted(
        {*os.listdir(inbox.parent)} - {".inbox.imapd-redo", ".inbox.imapd-redo-new", "inbox.lock"}
    )
    worker.crash()
    worker = Worker(place / "ann", WaitingLoop())
    assert list(worker.texts().values()) == TEXTS[20:]
    (place / "ballast").unlink()
    worker.open().close()
    assert inbox.stat().st_size < len(before) / 2
    assert list(worker.texts().values()) == TEXTS[20:]
    worker.put("INBOX", TEXTS[0])
    assert list(worker.texts()) == [*range(21, 31), max(worker.texts())]


def mbox_full_and_the_last_ones_deleted(place: Path) -> None:
    """What stands at the end of the file makes room when it is expunged."""
    worker = mbox_in(place)
    inbox = place / "ann" / "inbox"
    fill(place)
    before = inbox.read_bytes()
    mailbox = worker.open()
    for gone, is_rewritten in ((range(26, 31), False), ([1, 2, 3, *range(8, 26)], True)):
        mailbox.change_flags(list(gone), FlagChange.ADD, frozenset({"\\Deleted"}))
        assert list(mailbox.expunge(None)) == list(gone)
        left = [TEXTS[uid - 1] for uid in mailbox.snapshot().uids]
        assert list(worker.texts().values()) == left
        assert before.startswith(inbox.read_bytes()) != is_rewritten
        assert inbox.stat().st_size < sum(map(len, left)) + 300 * len(left)
    worker.crash()
    worker = Worker(place / "ann", WaitingLoop())
    assert worker.texts() == {uid: TEXTS[uid - 1] for uid in range(4, 8)}
    mailbox = worker.open()
    mailbox.change_flags(range(4, 8), FlagChange.ADD, frozenset({"\\Deleted"}))
    assert list(mailbox.expunge(None)) == [4, 5, 6, 7]
    assert inbox.stat().st_size == 0
    worker.put("INBOX", TEXTS[0])
    assert worker.texts() == {31: TEXTS[0]}


def mbox_full_while_open(place: Path) -> None:
    worker = mbox_in(place)
    fill(place)
    read_and_delete_in_an_mbox(place, worker)


def mbox_full_before_the_login(place: Path) -> None:
    mbox_in(place).store.close()
    fill(place)
    read_and_delete_in_an_mbox(place, Worker(place / "ann", WaitingLoop()))


def mbox_full_after_a_crash(place: Path) -> None:
    mbox_in(place).crash()
    fill(place)
    read_and_delete_in_an_mbox(place, Worker(place / "ann", WaitingLoop()))


def read_only(place: Path) -> None:
    prepared(place).store.close()
    deliver(place / "ann")
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    worker = Worker(place / "ann", WaitingLoop())
    view = View(worker.open(), read_only=False)
    assert view.exists == 30
    assert list(worker.texts().values()) == TEXTS
    assert len(list(view.mailbox.descriptions(range(1, 31)))) == 30
    assert [entry.name for entry in worker.ann.mailboxes()] == ["INBOX"]
    for deed in (worker.put, lambda: view.mailbox.expunge(None), lambda: worker.ann.create("A")):
        try:
            deed()
        except (Denied, Retry):
            continue
        except StoreError as other:
            raise AssertionError(other) from other
    subprocess.run(["mount", "-o", "remount,bind,rw", place], check=True)
    worker.put()
    assert len(worker.texts()) == 32


@pytest.mark.parametrize(
    "deed",
    [
        "full_while_open", "full_before_the_login", "full_after_a_crash", "read_only",
        "mbox_full_while_open", "mbox_full_before_the_login", "mbox_full_after_a_crash",
        "mbox_full_and_the_last_ones_deleted",
    ],
)  # fmt: skip
def test_a_small_disk(tmp_path, deed):
    on_a_small_disk(tmp_path, deed)


def test_a_lock_that_others_hold_keeps_nobody_from_reading(tmp_path):
    import fcntl

    worker = Worker(tmp_path / "ann")
    worker.put()
    view = View(worker.open(), read_only=False)
    deliver(worker.home)
    with open(worker.home / "imapd.lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not view.sync(may_expunge=True)
        assert len(worker.texts()) == 1
    assert view.sync(may_expunge=True).arrived == 2


if __name__ == "__main__":
    os.umask(0o077)
    globals()[sys.argv[1]](Path(sys.argv[2]))
