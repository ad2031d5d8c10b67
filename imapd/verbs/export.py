"""`imapd export-uidlist NAME|--all`: leaving. Writes the UIDs where Dovecot looks for them, so that its clients need
not download their mail again.

It works on the mail files as one more worker would, whether or not the daemon runs. What comes in afterwards is not in
it: to leave for good, stop the daemon first.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imapd.config import load
from imapd.log import escape
from imapd.mailstore.errors import StoreError
from imapd.mailstore.local import LocalStore
from imapd.mailstore.store import Owner
from imapd.model.errors import Refused, Unreachable
from imapd.settings import Settings
from imapd.verbs.become import Stop, become_daemon

if TYPE_CHECKING:
    from imapd.server.loop import GeventLoop

INDEX = "imapd-index.sqlite"


def run(options: argparse.Namespace) -> int:
    """Export; returns the exit code: 0 where every mailbox was written."""
    try:
        settings = load(options.config)
        if settings.mail.root is None:
            raise Stop("[mail] root is not set")
        loop = _loop()
        remark = become_daemon(settings)
        if remark is not None:
            print(f"imapd export-uidlist: {remark}", file=sys.stderr)
        homes = list(_all(settings.mail.root)) if options.all else [_home(settings, loop, options.name)]
    except Stop as error:
        print(f"imapd export-uidlist: {error}", file=sys.stderr)
        return 1
    with contextlib.closing(LocalStore(loop, create=False)) as store:
        return max([_export(store, home) for home in homes], default=0)


def _loop() -> GeventLoop:
    from imapd.server import patched

    patched.patch()  # before anything brings ldap3
    import imapd.directory.ldapconn  # noqa: F401, while there is still root's right to read it
    from imapd.server.loop import GeventLoop

    return GeventLoop()


def _home(settings: Settings, loop: GeventLoop, name: str) -> str:
    """The mail file of somebody. Raises Stop."""
    from imapd.server import house

    try:
        built = house.build(settings, loop)
        with contextlib.closing(built):
            person = built.chain.lookup(name)
            if person is None:
                raise Stop(f"no directory knows {name}")
            return house.home_below(settings.mail.root, person.mail_file)
    except (Refused, Unreachable, ValueError, OSError) as error:
        raise Stop(str(getattr(error, "reason", None) or error)) from None


def _all(root: str) -> Iterator[str]:
    """Every mail file below a folder that has been opened here."""
    for folder, folders, files in os.walk(root):
        if INDEX in files:
            folders.clear()
            yield folder


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
