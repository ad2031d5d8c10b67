"""Crashes and refusals at every step of a deed, for any kind of mail files."""

from imapd.mailstore.errors import StoreError, UnknownOutcome
from tests.mailstore.maildirhouse import Crash, Faults

STEPS = 200  # more than any deed has


def state(worker):
    """All that a client can see: mailboxes with UIDVALIDITY, UIDs, flags, texts; without the UIDs that were used up."""
    seen = {}
    for entry in worker.ann.mailboxes():
        if entry.selectable:
            flags, texts = worker.look(entry.name), worker.texts(entry.name)
            seen[entry.name] = {uid: (texts[uid], flags[uid]) for uid in flags}
        if entry.subscribed:
            seen["subscribed " + entry.name] = {}
    return seen


def contents(seen):
    """The state without UIDs: an append that came about after all may have been given another one."""
    return {name: sorted(((text, sorted(flags)) for text, flags in rows.values())) for name, rows in seen.items()}


class Deeds:
    """What is done to an account: worker_at(home) opens one, prepare(home) fills it; more: further calls that fail."""

    def __init__(self, folder, monkeypatch, worker_at, prepare, more=()):
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._worker_at = worker_at
        self._prepare = prepare
        self._more = more

    def _before_and_after(self, deed):
        whole = self._prepare(self._folder / "whole")
        before = state(whole)
        deed(whole)
        return before, state(whole)

    def crash_at_each_step(self, deed, answered=True):
        """Afterwards all is as before the deed or as after it; where it was done, as after it.

        answered: whether the deed promises anything once it is done (what is written back later does not).
        """
        faults = Faults(self._monkeypatch, Crash, more=self._more)
        before, after = self._before_and_after(deed)
        for step in range(1, STEPS):
            home = self._folder / str(step)
            worker = self._prepare(home)
            faults.arm(step)
            try:
                deed(worker)
            except Crash:
                done = False
            else:
                done = True
            faults.disarm()
            worker.crash()
            again = self._worker_at(home)
            seen = state(again)
            if done and answered:
                assert seen == after, step
            else:
                assert contents(seen) in (contents(before), contents(after)), step
            again.loop.advance(40 * 3600)
            again.store.close()
            swept = self._worker_at(home)
            swept.loop.advance(40 * 3600)
            assert state(swept) == seen, step
            swept.store.close()
            if done:
                break
        assert step > 2

    def refuse_each_step(self, deed, code):
        """A disk that refuses one call with that errno: all is as the deed's outcome says, now and after a restart."""
        faults = Faults(self._monkeypatch, lambda: OSError(code, "refused"), sticky=False, more=self._more)
        before, after = self._before_and_after(deed)
        for step in range(1, STEPS):
            worker = self._prepare(self._folder / str(step))
            faults.arm(step)
            possible = [after]
            try:
                deed(worker)
            except UnknownOutcome:
                possible = [before, after]
            except StoreError:
                possible = [before]
            hit = faults.calls >= step
            faults.disarm()
            seen = state(worker)
            assert contents(seen) in [contents(one) for one in possible], step
            worker.store.close()
            again = self._worker_at(self._folder / str(step))
            assert state(again) == seen, step
            again.store.close()
            if not hit:
                break
        assert step > 2
