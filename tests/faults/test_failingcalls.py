"""A sample of `python -m tests.faults.failingcalls`, which tries every call of every deed with every error."""

import os
import shutil

import pytest

from tests.faults import failingcalls
from tests.faults.failingcalls import Fault

SHARE = float(os.environ.get("IMAPD_TEST_FAILING_CALLS", "0.04"))

pytestmark = pytest.mark.timeout(600)  # half a minute, but not beside other work


@pytest.fixture(autouse=True)
def strace():
    if shutil.which("strace") is None:
        pytest.fail("strace is not on this machine: apt-get install strace (make test does it where it may)")


def test_a_call_that_fails_leaves_the_state_before_or_after_and_the_right_answer(tmp_path):
    assert failingcalls.trial(tmp_path, SHARE, seed=1) == []


@pytest.mark.parametrize(
    ("deed", "fault", "told"),
    [
        ("APPEND", Fault("write", "ENOSPC", 1), "refused NoSpace UNAVAILABLE"),
        ("APPEND", Fault("write", "EDQUOT", 1), "refused OverQuota OVERQUOTA"),
        ("APPEND", Fault("write", "EINTR", 1), "ok"),
        ("APPEND", Fault("fsync", "EIO", 1), "refused Retry UNAVAILABLE"),
        ("APPEND", Fault("fdatasync", "EIO", 1), "lost UnknownOutcome UNAVAILABLE"),
        ("APPEND", Fault("rename", "EIO", 1), "refused Retry UNAVAILABLE"),
        ("COPY", Fault("linkat", "EDQUOT", 2), "refused OverQuota OVERQUOTA"),
        ("STORE", Fault("rename", "EIO", 1), "ok"),
        ("EXPUNGE", Fault("unlink", "EROFS", 1), "ok"),
    ],
)
def test_what_a_client_is_told(tmp_path, deed, fault, told):
    trial = failingcalls.Trial(tmp_path)
    trial.after(deed)
    assert trial.one(deed, fault) == ""
    assert dict(trial.told) == {told: 1}


def test_a_sync_is_not_tried_again():
    failed = "fsync(5</mail/tmp/a>) = -1 EIO (Input/output error) (INJECTED)\n"
    assert failingcalls.synced_again(failed + "fsync(5</mail/tmp/a>) = 0\n") == "/mail/tmp/a"
    assert failingcalls.synced_again(failed + "fsync(5</mail/tmp/b>) = 0\n") == ""
    assert failingcalls.synced_again(failed.replace("EIO", "EINTR") + "fsync(5</mail/tmp/a>) = 0\n") == ""
