"""The short form of `python -m tests.faults.deliveries`; ten minutes are for `make faults`."""

import os
import shutil

import pytest

from tests.faults import deliveries

SECONDS = float(os.environ.get("IMAPD_TEST_DELIVERY_SECONDS", "20"))

pytestmark = pytest.mark.timeout(600)  # half a minute, but not beside other work


@pytest.mark.parametrize(("format", "agent"), [("maildir", "maildrop"), ("mbox", "maildrop"), ("mbox", "procmail")])
def test_an_agent_mutt_and_two_workers_share_a_mail_file_and_nothing_is_lost_or_doubled(tmp_path, format, agent):
    for program in (agent, "mutt"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not on this machine: apt-get install {program} (make test does it where it may)")
    waits = deliveries.trial(tmp_path, SECONDS, agent, format)
    # Within a second is what is promised, and `make faults` prints the figures; here only that nobody waits for a timeout.
    assert max(waits) < 30
