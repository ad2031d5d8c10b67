"""Crashes and failures of the disk at every step of every write to an mbox account, as for a Maildir."""

import errno

import pytest

from imapd.mailstore.choice import Kinds
from imapd.mailstore.errors import StoreError, UnknownOutcome
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import WIRE, Crash, Faults, Worker
from tests.mailstore.test_maildir_crash import DEEDS, SECOND, contents, state

MORE = ("pwrite", "ftruncate")


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


@pytest.mark.parametrize("deed", MBOX_DEEDS)
def test_a_crash_at_any_step_leaves_the_state_before_or_after(tmp_path, monkeypatch, deed):
    faults = Faults(monkeypatch, Crash, more=MORE)
    whole = prepare(tmp_path / "whole")
    before = state(whole)
    MBOX_DEEDS[deed](whole)
    after = state(whole)
    for step in range(1, 200):
        home = tmp_path / str(step)
        worker = prepare(home)
        faults.arm(step)
        try:
            MBOX_DEEDS[deed](worker)
        except Crash:
            done = False
        else:
            done = True
        faults.disarm()
        worker.crash()
        again = worker_at(home)
        seen = state(again)
        if deed == "write back":
            flagged = contents(seen)
            assert flagged in (contents(before), contents(after)), step
        else:
            assert seen == after if done else contents(seen) in (contents(before), contents(after)), step
        again.loop.advance(40 * 3600)
        again.store.close()
        swept = worker_at(home)
        swept.loop.advance(40 * 3600)
        assert state(swept) == seen, step
        swept.store.close()
        if done:
            break
    assert step > 2


@pytest.mark.parametrize("deed", MBOX_DEEDS)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_refuses_a_step_gives_an_error_or_does_it(tmp_path, monkeypatch, deed, code):
    faults = Faults(monkeypatch, lambda: OSError(code, "refused"), sticky=False, more=MORE)
    whole = prepare(tmp_path / "whole")
    before = state(whole)
    MBOX_DEEDS[deed](whole)
    after = state(whole)
    for step in range(1, 200):
        worker = prepare(tmp_path / str(step))
        faults.arm(step)
        expected = [after]
        try:
            MBOX_DEEDS[deed](worker)
        except UnknownOutcome:
            expected = [before, after]
        except StoreError:
            expected = [before]
        hit = faults.calls >= step
        faults.disarm()
        seen = state(worker)
        assert contents(seen) in [contents(one) for one in expected], step
        worker.store.close()
        again = worker_at(tmp_path / str(step))
        assert state(again) == seen, step
        again.store.close()
        if not hit:
            break
    assert step > 2
