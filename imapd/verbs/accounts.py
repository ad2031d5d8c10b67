"""The mail files that a verb works on: somebody's, or all below [mail] root that have been opened here."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from imapd.mailstore.accounts import opened_below
from imapd.mailstore.local import LocalStore
from imapd.model.errors import Refused, Unreachable
from imapd.settings import Settings
from imapd.verbs.become import Stop, become_daemon

if TYPE_CHECKING:
    from imapd.server.loop import GeventLoop


class Accounts:
    """What the command line names, as the daemon's user sees it. remark: what is to be told of that, or None."""

    def __init__(self, settings: Settings, name: str | None) -> None:
        """name: whose mail file, or its path as the log gives it; None for all. Raises Stop."""
        if settings.mail.root is None:
            raise Stop("[mail] root is not set")
        self.loop = _loop()
        self.remark = become_daemon(settings)
        from imapd.server import house

        self.kinds = house.kinds(settings)
        self._special_use = house.special_use(settings)
        self.homes = self._homes(settings, name)

    def _homes(self, settings: Settings, name: str | None) -> list[str]:
        if name is None:
            return opened_below(settings.mail.root, self.kinds)
        return [_by_path(settings, name) if name.startswith("/") else _home(settings, self.loop, name)]

    def store(self) -> LocalStore:
        """A store that opens them as the daemon does, and makes none."""
        return LocalStore(self.loop, create=False, special_use=self._special_use, kinds=self.kinds)


def _loop() -> GeventLoop:
    from imapd.server import patched

    patched.patch()  # before anything brings ldap3
    import imapd.directory.ldapconn  # noqa: F401, while there is still root's right to read it
    from imapd.server.loop import GeventLoop

    return GeventLoop()


def _by_path(settings: Settings, path: str) -> str:
    """A mail file that is named by its path. Raises Stop."""
    home, root = os.path.normpath(path), os.path.normpath(settings.mail.root)
    if os.path.commonpath([home, root]) != root or home == root:
        raise Stop(f"{home} is not below [mail] root, which is {root}")
    return home


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
