"""The short form of `python -m tests.faults.powercuts`; 3,000 cuts are for `make faults`."""

import os

import pytest

from imapd.mailstore import changes
from tests.faults import powercuts
from tests.faults.loggeddisk import what_is_missing

CYCLES = int(os.environ.get("IMAPD_TEST_CUTS", "200"))
MISSING = what_is_missing()

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"no power cuts can be tried: {MISSING}"),
    pytest.mark.timeout(600),  # half a minute, but not beside other work
]


@pytest.mark.parametrize(("format", "share"), [("maildir", 0.7), ("mbox", 0.3)])
def test_a_power_cut_loses_nothing_that_was_acknowledged(format, share):
    assert powercuts.trial(round(CYCLES * share), deeds=300, seed=1, format=format) == []


def test_the_trial_notices_a_store_that_does_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr(changes, "make_durable", lambda message: None)
    assert powercuts.trial(40, deeds=60, seed=2, say=lambda _: None, stop_after=1) != []
