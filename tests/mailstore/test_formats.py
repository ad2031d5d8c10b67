"""The seam between the store and the kinds of mail files: locked files, slices of files, the last close."""

import os

import pytest

from imapd.mailstore.errors import FileLocked, Retry
from imapd.mailstore.formats import Slice
from imapd.mailstore.lock import PATIENCE
from imapd.mailstore.maildirformat import MaildirFormat
from imapd.mailstore.message import LocalMessage, count_wire, read_whole
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import WIRE, Worker
from tests.support.loop import PlainLoop


@pytest.fixture
def home(tmp_path):
    return tmp_path / "ann"


def core_of(worker):
    (core,) = worker.store._cores.values()
    return core


# A mail file that another program has locked


def test_a_locked_mail_file_is_waited_for_in_the_loop_without_the_accounts_lock(home):
    worker, other = Worker(home), Worker(home)
    tries = []
    sleep = worker.loop.sleep

    def sleeping(seconds):
        other.put()  # would not get the lock if it were held meanwhile
        sleep(seconds)

    def work(bench):
        tries.append(len(bench.index.rows(1)))
        if len(tries) < 6:
            raise FileLocked
        return "done"

    worker.loop.sleep = sleeping
    assert core_of(worker).locked(work) == "done"
    assert tries == [0, 1, 2, 3, 4, 5]
    assert len(worker.loop.sleeps) == 5
    # Not longer with every try: an agent that delivers one message after another leaves it free for some milliseconds.
    assert all(0 < pause <= 0.002 for pause in worker.loop.sleeps)
    assert other.loop.sleeps == []


def test_a_mail_file_that_stays_locked_is_told_to_the_client(home):
    worker = Worker(home)

    def work(bench):
        raise FileLocked

    before = worker.loop.monotonic()
    with pytest.raises(Retry) as refused:
        core_of(worker).locked(work)
    assert refused.value.code == "INUSE"
    assert "close it there" in refused.value.text
    assert PATIENCE - 0.2 < worker.loop.monotonic() - before <= PATIENCE


def test_an_index_that_was_not_looked_over_to_the_end_is_opened_again(home, monkeypatch):
    worker = Worker(home)
    uidvalidity = worker.ann.status("INBOX").uidvalidity
    (home / "imapd-index.sqlite").unlink()
    monkeypatch.setattr(MaildirFormat, "settle", locked_once := LockedOnce(MaildirFormat.settle))
    assert worker.ann.status("INBOX").uidvalidity > uidvalidity
    assert locked_once.calls > 1


class LockedOnce:
    """A method that raises FileLocked the first time."""

    def __init__(self, method):
        self._method = method
        self.calls = 0

    def __call__(self, bench):
        self.calls += 1
        if self.calls == 1:
            raise FileLocked
        return self._method(bench.format, bench)


# Slices


@pytest.mark.parametrize("size", [10, 200_000, 700_000], ids=["small", "middle", "large"])
def test_a_message_is_a_slice_of_a_file(tmp_path, size):
    text = b"Subject: x\n\n" + b"\n" * 3 + b"y" * size + b"\r\n.\n"
    wire = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    path = tmp_path / "mbox"
    path.write_bytes(b"From before\n\nnot this\r" + text + b"\nFrom behind\n\nnor this\n")
    loop = PlainLoop()
    opened = Slice(os.open(path, os.O_RDONLY), 22, len(text))
    assert read_whole(opened, loop) == wire
    assert count_wire(opened, loop) == len(wire)
    message = LocalMessage(opened, len(wire), loop)
    assert message.read() == wire
    assert message.header() == b"Subject: x\r\n\r\n"
    message.close()
    with pytest.raises(OSError):
        os.fstat(opened.fd)


# The last close


class Lagging(MaildirFormat):
    """A format that writes back when a mailbox is closed."""

    def __init__(self):
        self.behind = set()
        self.written = []
        self.refusal = None

    def lags(self, index, box):
        return box in self.behind

    def after_flags(self, bench, box):
        super().after_flags(bench, box)
        self.behind.add(box)

    def closed(self, bench, box):
        if self.refusal is not None:
            raise self.refusal
        self.written.append(bench.box(box).name)
        self.behind.discard(box)


def lagging(home):
    worker = Worker(home)
    worker.put()
    core = core_of(worker)
    core.format = core._index._format = Lagging()
    return worker, core.format


def test_the_last_close_writes_back_what_the_mail_file_lacks(home):
    worker, lag = lagging(home)
    one, two = worker.open(), worker.open()
    one.change_flags([1], FlagChange.ADD, frozenset({"\\Seen"}))
    one.close()
    assert lag.written == []
    two.close()
    assert lag.written == ["INBOX"]
    worker.open().close()
    assert lag.written == ["INBOX"]


def test_a_close_that_cannot_write_back_is_a_close(home, caplog):
    worker, lag = lagging(home)
    mailbox = worker.open()
    mailbox.change_flags([1], FlagChange.ADD, frozenset({"\\Seen"}))
    lag.refusal = FileLocked()
    mailbox.close()
    worker.ann.close()
    assert not any(core.users for core in worker.store._cores.values())
    assert "brought up to date later" in caplog.text
    assert Worker(home).texts() == {1: WIRE}
