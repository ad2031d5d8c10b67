"""The store of mail files on this machine's disks: Maildir++ (mailstore/maildir) with an index in SQLite.

An account's home is the absolute path of its Maildir. All sessions of a process share what is known of an account;
several processes may serve the same account, and other programs may deliver to it and change it.
"""

import os
import stat
from collections.abc import Sequence
from functools import partial

from imapd.mailstore.account import LocalAccount
from imapd.mailstore.awake import Awake
from imapd.mailstore.bench import DiskSettings, disk_errors
from imapd.mailstore.core import AccountCore
from imapd.mailstore.errors import Denied, NoSuchAccount
from imapd.mailstore.maildirformat import MaildirFormat
from imapd.mailstore.store import Owner
from imapd.model.loop import Loop

AWAKE = 64
"""Accounts that keep their databases open: about 10 MB and 450 descriptors of a worker."""


class LocalStore:
    """Opens accounts. One object for each process."""

    def __init__(
        self,
        loop: Loop,
        *,
        create: bool = True,
        special_use: Sequence[tuple[str, str]] = (),
        file_mode: int = 0o600,
        dir_mode: int = 0o700,
        awake: int = AWAKE,
    ) -> None:
        """create: make a Maildir for who has none, with the mailboxes of special_use: pairs of (use, name).

        awake: the most accounts whose databases stay open.
        """
        self._loop = loop
        self._settings = DiskSettings(create, tuple(special_use), file_mode, dir_mode)
        self._cores: dict[bytes, AccountCore] = {}  # those that somebody has open, and those that are awake
        self._awake = Awake(awake, self._dozed)

    def open_account(self, owner: Owner) -> LocalAccount:
        root = os.fsencode(os.path.normpath(owner.home))
        if not root.startswith(b"/") or b"\0" in root:
            raise NoSuchAccount(reason=f"the mail file of {owner.user_name} is no absolute path")
        with disk_errors():
            self._refuse_mbox(root)
        core = self._cores.get(root)
        if core is None:
            core = self._cores[root] = AccountCore(root, MaildirFormat(), self._loop, self._settings, self._awake)
        core.limits = owner.limits
        core.users += 1
        try:
            core.open()
        except BaseException:
            core.users -= 1
            if not core.users and self._cores.get(root) is core:
                del self._cores[root]
                core.close()
            raise
        return LocalAccount(core, partial(self._release, core))

    @staticmethod
    def _refuse_mbox(root: bytes) -> None:
        try:
            mode = os.stat(root).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISREG(mode):
            raise Denied(
                "Your mail file is an mbox file, which this version of the server does not serve; it serves Maildirs.",
                code="CONTACTADMIN",
            )
        if not stat.S_ISDIR(mode):
            raise NoSuchAccount(reason="the mail file is neither a directory nor a file")

    def _release(self, core: AccountCore) -> None:
        core.users -= 1
        if not core.users and self._cores.get(core.root) is core:
            core.rest()

    def _dozed(self, core: AccountCore) -> None:
        if not core.users and self._cores.get(core.root) is core:
            del self._cores[core.root]

    def close(self) -> None:
        while self._cores:
            _, core = self._cores.popitem()
            core.close()
