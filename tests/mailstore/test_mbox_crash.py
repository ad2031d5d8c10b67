"""Crashes and failures of the disk at every step of every write to an mbox account, as for a Maildir."""

import errno

import pytest

from imapd.mailstore.choice import Kinds
from imapd.model.flags import FlagChange
from tests.mailstore.crashes import Deeds
from tests.mailstore.maildirhouse import WIRE, Worker
from tests.mailstore.test_maildir_crash import DEEDS, SECOND


def close_inbox(worker):
    """The last session closes INBOX, whose flags the file does not have yet."""
    mailbox = worker.open()
    mailbox.change_flags([1], FlagChange.ADD, frozenset({"\\Seen", "A-keyword-that-needs-more-room-than-there-is-$$$"}))
    mailbox.close()


MBOX_DEEDS = {**DEEDS, "write back": close_inbox}


def worker_at(home):
    return Worker(home, kinds=Kinds("mbox"))


def prepare(home):
    worker = worker_at(home)
    worker.put("INBOX", WIRE, SECOND, flags=frozenset({"\\Deleted", "Work"}), date=1_000_000)
    worker.put("INBOX", WIRE, WIRE)
    worker.ann.create("A")
    worker.ann.create("A/B")
    worker.put("A/B", WIRE)
    worker.look()
    return worker


@pytest.fixture
def deeds(tmp_path, monkeypatch):
    return Deeds(tmp_path, monkeypatch, worker_at, prepare, more=("pwrite", "ftruncate"))


@pytest.mark.parametrize("deed", MBOX_DEEDS)
def test_a_crash_at_any_step_leaves_the_state_before_or_after(deeds, deed):
    deeds.crash_at_each_step(MBOX_DEEDS[deed], answered=deed != "write back")


@pytest.mark.parametrize("deed", MBOX_DEEDS)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_refuses_a_step_gives_an_error_or_does_it(deeds, deed, code):
    deeds.refuse_each_step(MBOX_DEEDS[deed], code)
