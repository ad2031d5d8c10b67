"""Plays dialogues against any server: python -m tests.dialogues --host H --port P --user U --password W [FILE ...].

The person's mailboxes are emptied before each dialogue: use an account that exists for this.
"""

import argparse
import sys
from pathlib import Path

from tests.dialogues.script import Differs, Player, read, remove_mailboxes

HERE = Path(__file__).parent


def empty(player: Player) -> None:
    """Delete every mailbox of the person, every message of the inbox, every subscription."""
    with player.connect() as client:
        player.login(client)
        remove_mailboxes(client)
        client.ok("SELECT INBOX")
        client.command(r"STORE 1:* +FLAGS.SILENT (\Deleted)")
        client.ok("CLOSE")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.dialogues", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=143)
    parser.add_argument("--user", required=True, help="a # in it is the number of the dialogue: an account for each")
    parser.add_argument("--password", required=True)
    parser.add_argument("--tls", action="store_true", help="TLS from the first octet")
    parser.add_argument("files", nargs="*", type=Path)
    options = parser.parse_args()
    failed = passed = left_out = 0
    for number, path in enumerate(options.files or sorted(HERE.rglob("*.txt"))):
        player = Player(
            options.host, options.port, options.user.replace("#", str(number)), options.password, options.tls
        )
        empty(player)
        try:
            if player.play(read(path)):
                passed += 1
            else:
                left_out += 1
                print(f"not offered: {path.name}")
        except (Differs, OSError) as error:
            failed += 1
            print(f"FAILED {path.name}\n{error}\n")
    print(f"{passed} passed, {failed} failed, {left_out} not offered")
    return 1 if failed else 0


sys.exit(main())
