"""The mail files that a verb works on: somebody's, or all below [mail] root that have been opened here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imapd.mailstore.choice import Kinds
from imapd.mailstore.local import LocalStore
from imapd.model.errors import Refused, Unreachable
from imapd.settings import Settings
from imapd.verbs.become import Stop, become_daemon

if TYPE_CHECKING:
    from imapd.server.loop import GeventLoop

OURS = ("imapd-index.sqlite", "imapd-floors")
"""Of these an account has both, or one where the other was lost."""


class Accounts:
    """What the command line names, as the daemon's user sees it. remark: what is to be told of that, or None."""

    def __init__(self, settings: Settings, name: str | None) -> None:
        """name: whose mail file; None for all. Raises Stop."""
        if settings.mail.root is None:
            raise Stop("[mail] root is not set")
        self.loop = _loop()
        self.remark = become_daemon(settings)
        from imapd.server import house

        self.kinds = house.kinds(settings)
        self._special_use = house.special_use(settings)
        self.homes = list(below(settings.mail.root, self.kinds)) if name is None else [_home(settings, self.loop, name)]

    def store(self) -> LocalStore:
        """A store that opens them as the daemon does, and makes none."""
        return LocalStore(self.loop, create=False, special_use=self._special_use, kinds=self.kinds)


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


def below(root: str, kinds: Kinds) -> Iterator[str]:
    """Every mail file below a folder that has been opened here."""
    found: list[str] = []
    beside: dict[str, str] = {}  # by the directory of an account whose mail file is a file: that file
    for folder, folders, files in os.walk(root):
        if any(name in files for name in OURS):
            folders.clear()
            found.append(folder)
        elif "cur" in folders:
            folders.clear()  # a Maildir that nobody has opened
        else:
            paths = [os.path.join(folder, name) for name in files]
            beside |= {kinds.directory_of(path): path for path in paths if not os.path.islink(path)}
    for folder in found:
        yield beside.get(folder, folder)
