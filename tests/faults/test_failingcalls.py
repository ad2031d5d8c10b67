"""A sample of `python -m tests.faults.failingcalls`, which tries every call of every deed with every error."""

import os
import shutil

import pytest

from imapd.mailstore import database
from imapd.mailstore.database import Database
from tests.faults import failingcalls
from tests.faults.afterthecut import Disk
from tests.faults.failingcalls import Fault

SHARE = float(os.environ.get("IMAPD_TEST_FAILING_CALLS", "0.04"))

pytestmark = pytest.mark.timeout(600)  # half a minute, but not beside other work


@pytest.fixture(autouse=True)
def strace():
    if shutil.which("strace") is None:
        pytest.fail("strace is not on this machine: apt-get install strace (make test does it where it may)")


@pytest.mark.parametrize("format", ["maildir", "mbox"])
def test_a_call_that_fails_leaves_the_state_before_or_after_and_the_right_answer(tmp_path, format):
    assert failingcalls.trial(tmp_path, SHARE / 2, seed=1, format=format) == []


@pytest.mark.parametrize(("deed", "number"), [("EXPUNGE", 2), ("MOVE", 3)])
def test_messages_whose_removal_from_an_mbox_is_not_durable_are_not_forgotten(tmp_path, deed, number):
    trial = failingcalls.Trial(tmp_path, "mbox")
    trial.after(deed)
    assert trial.one(deed, Fault("fsync", "EIO", number)) == ""


@pytest.mark.parametrize(
    ("deed", "fault", "told"),
    [
        ("APPEND", Fault("write", "ENOSPC", 1), "refused NoSpace UNAVAILABLE"),
        ("APPEND", Fault("write", "EDQUOT", 1), "refused OverQuota OVERQUOTA"),
        ("APPEND", Fault("write", "EINTR", 1), "ok"),
        ("APPEND", Fault("fsync", "EIO", 1), "refused Retry UNAVAILABLE"),
        ("APPEND", Fault("fdatasync", "EIO", 1), "lost UnknownOutcome UNAVAILABLE"),
        ("APPEND", Fault("rename", "EIO", 1), "ok"),  # it is appended in the other order then
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


def test_a_log_that_cannot_be_brought_into_the_database_takes_nothing_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_LOG", 1)  # with each commit
    trial = failingcalls.Trial(tmp_path)
    trial.after("STORE")
    calls = [fault.number for fault in trial.faults("STORE") if (fault.call, fault.error) == ("fdatasync", "EIO")]
    assert len(calls) > 1
    assert [trial.one("STORE", Fault("fdatasync", "EIO", number)) for number in calls] == [""] * len(calls)


def test_the_trial_notices_what_is_lost_with_a_sync_that_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(Database, "empty_log", lambda self: None)
    trial = failingcalls.Trial(tmp_path)
    trial.after("STORE")
    assert "after a power cut" in trial.one("STORE", Fault("fdatasync", "EIO", 1))


def test_after_a_cut_a_file_has_what_was_synced_and_not_what_a_sync_failed_for(tmp_path):
    home, cut = tmp_path / "home", tmp_path / "cut"
    home.mkdir()
    (home / "old").write_bytes(b"a" * 10_000)
    disk = Disk(home)
    disk.follow(
        f"""pwrite64(3<{home}/old>, "\\x62\\x62", 2, 0) = 2
pwrite64(3<{home}/old>, "c", 1, 5000) = 1
fdatasync(3<{home}/old>) = -1 EIO (Input/output error) (INJECTED)
pwrite64(3<{home}/old>, "d", 1, 5001) = 1
fdatasync(3<{home}/old>) = 0
openat(AT_FDCWD</>, "{home}/new", O_WRONLY|O_CREAT|O_EXCL, 0600) = 4<{home}/new>
write(4<{home}/new>, "one\\n", 4) = 4
write(4<{home}/new>, "two", 3) = 3
fsync(4<{home}/new>) = 0
openat(AT_FDCWD</>, "{home}/gone", O_WRONLY|O_CREAT|O_EXCL, 0600) = 4<{home}/gone>
fsync(5<{home}>) = 0
unlink("{home}/gone") = 0
rename("{home}/new", "{home}/newer") = 0
"""
    )
    disk.power_cut(cut)
    assert sorted(path.name for path in cut.iterdir()) == ["gone", "new", "old"]
    assert (cut / "new").read_bytes() == b"one\ntwo"
    assert (cut / "old").read_bytes() == b"a" * 5000 + b"cd" + b"a" * 4998
    disk.follow(f"fsync(5<{home}>) = -1 EIO (Input/output error)\nfsync(5<{home}>) = 0\n")
    disk.power_cut(cut)
    assert sorted(path.name for path in cut.iterdir()) == ["newer", "old"]


def test_a_sync_is_not_tried_again():
    wrote = 'write(5</mail/tmp/a>, "text", 4) = 4\n'
    failed = wrote + "fsync(5</mail/tmp/a>) = -1 EIO (Input/output error) (INJECTED)\n"
    again = "fsync(5</mail/tmp/a>) = 0\n"
    assert failingcalls.synced_again(failed + again) == "/mail/tmp/a"
    assert failingcalls.synced_again(failed + wrote + again) == ""
    assert failingcalls.synced_again(failed + "fsync(5</mail/tmp/b>) = 0\n") == ""
    assert failingcalls.synced_again(failed.replace("EIO", "EINTR") + again) == ""
    assert failingcalls.synced_again(failed.removeprefix(wrote) + again) == ""
