"""The store of mail files on this machine's disks: Maildir or mbox (mailstore/choice) with an index in SQLite.

An account's home is the absolute path of its Maildir, its mbox, or a directory of mboxes. All sessions of a process
share what is known of an account; several processes may serve the same account, and other programs may deliver to it
and change it.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence

from imapd.mailstore.account import LocalAccount
from imapd.mailstore.awake import Handles
from imapd.mailstore.background import Ask, Background, Wish
from imapd.mailstore.bench import DiskSettings, disk_errors
from imapd.mailstore.choice import Kinds
from imapd.mailstore.core import AccountCore
from imapd.mailstore.errors import NoSuchAccount
from imapd.mailstore.store import Owner
from imapd.model.loop import Loop

AWAKE = 64
"""Accounts that keep their databases open: about 11 MB and 300 descriptors of a worker."""
WRITING = 24
"""Those among them that keep them open for writing: up to 12 MB."""


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
        kinds: Kinds | None = None,
        ask: Ask | None = None,
    ) -> None:
        """create: make a mail file for who has none, with the mailboxes of special_use: pairs of (use, name).

        awake: the most accounts whose databases stay open. kinds: which kinds of mail files there are. ask: where there
        is a process that renders for others.
        """
        self._loop = loop
        self._settings = DiskSettings(create, tuple(special_use), file_mode, dir_mode)
        self._kinds = kinds or Kinds()
        self._cores: dict[bytes, AccountCore] = {}  # those that somebody has open, and those that are awake
        self._handles = Handles[AccountCore](awake, WRITING, self._doze, loop)
        self._background = Background(loop, ask)
        self._released = self._release  # one for all accounts

    def open_account(self, owner: Owner) -> LocalAccount:
        root = home = os.fsencode(os.path.normpath(owner.home))
        if not root.startswith(b"/") or b"\0" in root:
            raise NoSuchAccount(reason=f"the mail file of {owner.user_name} is no absolute path")
        with disk_errors():
            root, mail_format = self._kinds.choose(root, self._settings.dir_mode)
        core = self._cores.get(root)
        if core is None:
            core = self._cores[root] = AccountCore(
                root, home, mail_format, self._loop, self._settings, self._handles, self._background, self._released
            )
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
        return LocalAccount(core)

    def rendering(self, wish: Wish) -> Iterator[int]:
        """Render a mailbox for another process, a piece at a time: how many messages it had. Raises StoreError."""
        with contextlib.closing(self.open_account(Owner(wish.mail_file, wish.mail_file, wish.mail_file))) as account:
            yield from account.rendering(wish)

    def _release(self, core: AccountCore) -> None:
        core.users -= 1
        if not core.users and self._cores.get(core.root) is core:
            core.rest()

    def _doze(self, core: AccountCore) -> None:
        core.doze()
        if not core.users and self._cores.get(core.root) is core:
            del self._cores[core.root]

    def close(self) -> None:
        while self._cores:
            _, core = self._cores.popitem()
            core.close()
