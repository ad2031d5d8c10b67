"""`imapd export-uidlist NAME|--all`: leaving. Writes the UIDs where Dovecot looks for them, so that its clients need
not download their mail again.

It works on the mail files as one more worker would, whether or not the daemon runs. What comes in afterwards is not in
it: to leave for good, stop the daemon first.
"""

from __future__ import annotations

import argparse
import contextlib
import sys

from imapd.config import load
from imapd.log import escape
from imapd.mailstore.errors import StoreError
from imapd.mailstore.local import LocalStore
from imapd.mailstore.store import Owner
from imapd.verbs.accounts import Accounts
from imapd.verbs.become import Stop


def run(options: argparse.Namespace) -> int:
    """Export; returns the exit code: 0 where every mailbox was written."""
    try:
        accounts = Accounts(load(options.config), None if options.all else options.name)
    except Stop as error:
        print(f"imapd export-uidlist: {error}", file=sys.stderr)
        return 1
    if accounts.remark is not None:
        print(f"imapd export-uidlist: {accounts.remark}", file=sys.stderr)
    with contextlib.closing(accounts.store()) as store:
        return max([_export(store, home) for home in accounts.homes], default=0)


def _export(store: LocalStore, home: str) -> int:
    try:
        with contextlib.closing(store.open_account(Owner(home, home, home))) as account:
            written = account.hand_over()
    except StoreError as error:
        print(f"imapd export-uidlist: {escape(home)}: {escape(error.reason)}", file=sys.stderr)
        return 1
    messages = sum(number for _, number in written)
    print(f"{escape(home)}: {messages} messages in {len(written)} mailboxes")
    return 0
