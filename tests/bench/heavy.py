"""A client that works hard until it is killed: python -m tests.bench.heavy PORT NAME list|search. It looks at nothing."""

from __future__ import annotations

import sys

from tests.bench.client import Connection

COMMANDS = {
    "list": b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)",
    "search": b"SEARCH TEXT xyzzyx",
}


def main(port: str, name: str, kind: str) -> None:
    connection = Connection(int(port))
    connection.ask(b"LOGIN %s secret" % name.encode())
    connection.ask(b"SELECT INBOX")
    print("selected", flush=True)
    while True:
        connection.ask(COMMANDS[kind])


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (AssertionError, OSError):  # the server has ended
        pass
