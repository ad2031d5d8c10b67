"""Fuzzes the reading of mail: nothing raises on any octets, offsets nest, and FETCH's texts follow the grammar.

    python tests/fuzz/fuzz_mime.py --seconds 60 --seed 1

The mail at hand (tests/data/mail, and the corpus where it lies beside the checkout) is changed at random and read in
every way there is.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.fuzz.fuzzing import Fuzzer  # noqa: E402
from tests.mime.mails import mails  # noqa: E402
from tests.mime.promises import check  # noqa: E402

LARGEST = 20_000
SEEDS = [message for _, message in mails() if len(message) <= LARGEST]

TOKENS = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\n\n", b"\r", b"\0", b" ", b"\t", b"\xff", b"\xc3\xa4", b"--", b'"', b"\\", b"(", b")", b"<",
    b">", b"@", b",", b";", b":", b"=", b"=?utf-8?Q?", b"=?x?B?", b"?=", b"*0*=", b"%", b"''", b"&#", b"<b",
    b"Content-Type: multipart/mixed; boundary=x\r\n", b"Content-Type: multipart/digest; boundary=\"x\"\r\n", b"\r\n--x\r\n",
    b"\r\n--x--\r\n", b"Content-Type: message/rfc822\r\n\r\n", b"Content-Type: message/global\r\n", b"Content-Type: text/html\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n", b"charset=idna", b"charset=utf-7",
    b"Content-Disposition: attachment; filename*=", b"\r\nTo: ", b"\r\nDate: ", b"boundary=", b"multipart", b"[",
]  # fmt: skip


def mutate(choose, data):
    """The message with a few random changes, most of them where headers and delimiters are."""
    for _ in range(choose.randrange(1, 8)):
        at, length = place(choose, data), choose.choice((1, 2, 10, 100))
        what = choose.randrange(7)
        if what == 0:
            data = data[:at] + choose.choice(TOKENS) + data[at:]
        elif what == 1:
            data = data[:at] + data[at + length :]
        elif what == 2:
            data = data[:at] + choose.randbytes(min(length, 10)) + data[at + length :]
        elif what == 3:
            data = data[:at] + data[at : at + length] * choose.randrange(1, 50) + data[at:]
        elif what == 4:
            other = choose.choice(SEEDS)
            data = data[:at] + other[place(choose, other) :]
        elif what == 5:
            other = place(choose, data)
            data = data[:at] + data[other : other + 10 * length] + data[at:]
        else:
            data = data[:at]
    return data[: 2 * LARGEST]


def place(choose, data):
    """A place in the data: anywhere, or near something that means something."""
    at = choose.randrange(len(data) + 1)
    mark = choose.choice((b"", b"", b"\n--", b"Content-", b"boundary", b"\r\n\r\n", b"=?", b"<", b":"))
    found = data.find(mark, at)
    return found + choose.randrange(len(mark) + 1) if mark and found >= 0 else at


FUZZER = Fuzzer(SEEDS, mutate, lambda choose, data: check(data))

if __name__ == "__main__":
    FUZZER.main(__doc__)
