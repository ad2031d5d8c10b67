"""The short form of `python -m tests.faults.kills`; 5,000 kills are for `make faults`."""

import os

import pytest

from tests.faults import kills
from tests.faults.hands import ImapHand
from tests.faults.ledger import Broken, Ledger, Mail, Uids
from tests.support.daemon import Daemon

CYCLES = int(os.environ.get("IMAPD_TEST_KILLS", "200"))

pytestmark = pytest.mark.timeout(600)  # a minute, but not beside other work


@pytest.mark.parametrize("format", ["maildir", "mbox"])
def test_whoever_is_killed_nothing_acknowledged_is_lost_and_no_uid_is_used_twice(tmp_path, format):
    trial = kills.trial(tmp_path, CYCLES // 2, seed=1, mail=f"format = {format}")
    assert trial.kills["worker"] > 0 and trial.kills["all"] > 0
    assert set(trial.done()) == {
        "APPEND",
        "MULTIAPPEND",
        "STORE",
        "COPY",
        "MOVE",
        "EXPUNGE",
        "CREATE",
        "DELETE",
        "RENAME",
    }


def test_a_daemon_that_was_killed_greets_again(tmp_path):
    waits = kills.patient(tmp_path)
    print(waits)
    # Two seconds is what is promised (make faults prints the figures); a test on a busy machine asks for the order of it.
    assert max(waits.values()) < 20


SEEN, DELETED = frozenset({"\\Seen"}), frozenset({"\\Deleted"})


def test_the_ledger_notices_what_is_lost_changed_or_back_again(tmp_path):
    with kills.started(Daemon(tmp_path / "imapd")) as daemon:
        hand = ImapHand(daemon, "anna")
        ledger = Ledger(Uids(), hand.look("c0"))
        mail = Mail("c0.1", SEEN)
        placed = hand.append("INBOX", [mail])
        before = ledger.state
        ledger.acknowledge({"INBOX": before["INBOX"].plus([mail], placed)})
        ledger.check(hand.look("c0"))
        with pytest.raises(Broken, match="came, expected was"):
            Ledger(Uids(), before).check(hand.look("c0"))
        hand.store("INBOX", placed.uids, False, SEEN)
        with pytest.raises(Broken, match="was .*Seen"):
            ledger.check(hand.look("c0"))
        hand.store("INBOX", placed.uids, True, DELETED)
        hand.expunge("INBOX", placed.uids)
        with pytest.raises(Broken, match="is gone"):
            ledger.check(hand.look("c0"))
        with pytest.raises(Broken, match="was c0.1 and is c0.2"):
            ledger.uids.note(placed.uidvalidity, placed.uids[0], "c0.2")
        hand.close()
