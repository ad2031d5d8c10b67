"""Real mail programs: where they are, and what they find."""

import shutil
import time
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parent.parent / "debian-packages"


@pytest.fixture
def program():
    """program("mbsync"): its path; where it is missing the test fails and says what to install."""

    def find(command: str) -> str:
        path = shutil.which(command)
        if path is None:
            packages = {
                line.split("\t")[1]: line.split("\t")[0] for line in PACKAGES.read_text().splitlines() if "\t" in line
            }
            pytest.fail(
                f"{command} is not on this machine: apt-get install {packages[command]} (make test does it where it may)"
            )
        return path

    return find


MESSAGE = b"From: Sender <sender@example.org>\r\nTo: anna@example.org\r\nSubject: Number %d\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\nMessage-ID: <%d@example.org>\r\n\r\nText of number %d.\r\n"


def message(number: int) -> bytes:
    return MESSAGE % (number, number, number)


def deliver(maildir: Path, data: bytes, name: str | None = None) -> Path:
    """What a delivery agent does: write into tmp, rename into new."""
    deliver.count = getattr(deliver, "count", 0) + 1
    name = name or f"{time.time():.6f}.M{deliver.count}.test"
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True, exist_ok=True)
    (maildir / "tmp" / name).write_bytes(data)
    (maildir / "tmp" / name).rename(maildir / "new" / name)
    return maildir / "new" / name
