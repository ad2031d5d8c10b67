"""Fuzzes the splitting of an mbox: any octets give messages that cover the file, in linear time, and nothing raises.

    python tests/fuzz/fuzz_mbox.py --seconds 60 --seed 1

Time is counted in steps (octets that were looked at), not by a clock.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from imapd.mailstore.mboxfile import Scan, read_head  # noqa: E402
from tests.conftest import CORPUS  # noqa: E402
from tests.fuzz.fuzzing import Fuzzer  # noqa: E402

LARGEST = 40_000
FROM = b"From ann@example.org Mon Nov 23 10:00:00 2026\n"
TOKENS = [
    b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b"From ", b"\nFrom ", b"\n\nFrom ", FROM, b"\n" + FROM, b"From -\n", b">From ",
    b"Content-Length: ", b"Content-Length: 5\n\n", b"Content-Length: 0\n\n", b"Lines: 3\n", b"Status: RO\n", b"X-UID: 1\n", b"X-Status: A\n",
    b"X-IMAPbase: 1 2 a\n", b"X-Imapd-Kept: ", b"X-Imapd-Cut: 1\n", b"X-Imapd-Cut: 2\n", b"X-Keywords: a b\n c\n", b"\n ", b"\n\t", b":",
    b"Subject: x\n", b"\xef\xbb\xbf", b"\0", b" Nov 23 10:00:00 2026", b"X-IMAP: 1 2\nSubject: FOLDER INTERNAL DATA\n",
]  # fmt: skip


def _seeds():
    """Small mailboxes."""
    text = b"Subject: one\nFrom: ann@example.org\n\nHello.\n\n>From me\n"
    made = [
        b"".join([FROM + text + b"\n"] * 3),
        b"".join(
            [FROM + b"Content-Length: 17\nStatus: RO\nX-UID: %d\n" % number + text + b"\n" for number in range(3)]
        ),
        (FROM + text + b"\n").replace(b"\n", b"\r\n") * 2,
    ]
    return made + [
        data for path in sorted((CORPUS / "mbox").glob("*.mbox")) if len(data := path.read_bytes()) <= LARGEST
    ]


SEEDS = _seeds()


def mutate(choose, data):
    """A mailbox with a few random changes."""
    for _ in range(choose.randrange(1, 10)):
        at, length = choose.randrange(len(data) + 1), choose.choice((1, 2, 10, 100))
        what = choose.randrange(6)
        if what < 2:
            data = data[:at] + choose.choice(TOKENS) + data[at:]
        elif what == 2:
            data = data[:at] + data[at + length :]
        elif what == 3:
            data = data[:at] + choose.randbytes(min(length, 10)) + data[at + length :]
        elif what == 4:
            data = data[:at] + data[at : at + length] * choose.randrange(1, 50) + data[at:]
        else:
            data = data[:at]
    return data[: 2 * LARGEST]


def check(data):
    """The promises."""
    fd = os.memfd_create("mbox")
    try:
        os.write(fd, data)
        scan = Scan(fd, 0, len(data))
        at = 0
        for found in scan:
            assert found.offset == at
            assert found.offset <= found.text <= found.end <= found.after
            assert found.after > found.offset
            assert len(found.head.octets) <= found.octets
            body = data[found.text + len(found.head.octets) : found.end]
            wire = (found.head.text() + body).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            assert len(wire) == found.size
            assert read_head(fd, found.offset, found.octets) == (found.from_line, found.head)
            assert len(found.fingerprint()) == 16
            at = found.after
        assert at == len(data)
        assert scan.steps <= 30 * len(data) + 10_000
    finally:
        os.close(fd)


FUZZER = Fuzzer(SEEDS, mutate, lambda choose, data: check(data))

if __name__ == "__main__":
    FUZZER.main(__doc__)
