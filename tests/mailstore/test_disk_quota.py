"""A quota of the file system itself, used up: it is told as what it is, whether a file meets it or the index.

The file system is a btrfs in a file, with a quota of 4 MB on the mail file; where none can be mounted the tests are
skipped.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from imapd.mailstore import quota
from imapd.mailstore.errors import OverQuota, UnknownOutcome
from imapd.mailstore.index import Index
from imapd.mailstore.quota import is_used_up
from tests.mailstore.maildirhouse import WaitingLoop, Worker

ROOT = Path(__file__).parents[2]
TEXT = b"Subject: x\r\n\r\n" + b"x" * 20_000
MOUNT = """
mount -o loop {image} {place} && btrfs quota enable {place} && {{
    test -e {place}/ann || btrfs subvolume create {place}/ann >&2 && btrfs qgroup limit 4M {place}/ann; }}"""


def on_a_small_quota(folder: Path, deed: str) -> None:
    """Run one of the functions below with such a file system."""
    image, place = folder / "image", folder / "place"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(128 << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], capture_output=True, check=True)
    mount = MOUNT.format(image=image, place=place)
    tried = subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system with quotas can be mounted here: {tried.stderr.decode()}")
    command = f"{mount} && exec {sys.executable} -m tests.mailstore.test_disk_quota {deed} {place}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def use_up(place: Path) -> None:
    with open(place / "ann" / "ballast", "wb", buffering=0) as ballast:
        for size in (65536, 512):
            while True:
                try:
                    ballast.write(b"x" * size)
                except OSError:
                    break
        os.fsync(ballast.fileno())


def files_meet_it(place: Path) -> None:
    """Nothing of SQLite is touched behind the end of the room: its log's table is mapped, and on a file system that
    copies on write, as this one, the kernel kills who writes to a page for which there is no room."""
    worker = Worker(place / "ann", WaitingLoop())
    worker.put("INBOX", TEXT)
    spool = worker.ann.spool()
    assert not is_used_up(os.fsencode(place / "ann"))
    use_up(place)
    assert is_used_up(os.fsencode(place / "ann")) and not is_used_up(os.fsencode(place))
    with pytest.raises(OverQuota, match="quota"):
        spool.write(TEXT * 100)
        spool.finish()
    os._exit(0)


def test_a_quota_of_the_file_system_is_told_as_one(tmp_path):
    on_a_small_quota(tmp_path, "files_meet_it")


def the_index_meets_it(home: Path) -> None:
    """A bound on the size of files has SQLite report the same I/O error as a quota."""
    worker = Worker(home)
    worker.put("INBOX", TEXT)
    index = Index.writer(os.fsencode(home / "imapd-index.sqlite"))
    log = os.path.getsize(home / "imapd-index.sqlite-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (log, log))
    for used_up, error in ((False, UnknownOutcome), (True, OverQuota)):
        quota.is_used_up = lambda directory, answer=used_up: answer  # type: ignore[assignment]
        with pytest.raises(error, match="disk I/O error"), index.transaction():
            index.add_keywords(1, [(number, "x" * 10_000) for number in range(100)])
    assert index.keywords(1) == ()
    assert list(worker.texts().values()) == [TEXT]


def test_a_quota_that_the_index_meets_is_told_as_one(tmp_path):
    command = [sys.executable, "-m", "tests.mailstore.test_disk_quota", "the_index_meets_it", str(tmp_path / "ann")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


if __name__ == "__main__":
    os.umask(0o077)
    globals()[sys.argv[1]](Path(sys.argv[2]))
