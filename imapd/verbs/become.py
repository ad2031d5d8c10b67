"""A verb that looks at what the daemon looks at does so as the daemon's user: it sees what the daemon sees, and leaves
no file behind that the daemon could not open."""

from __future__ import annotations

import os
import pwd

from imapd.server import privileges
from imapd.settings import Settings


class Stop(Exception):
    """The verb cannot go on; the text is for the administrator."""


def become_daemon(settings: Settings) -> str | None:
    """Become the user of the settings, where root asks; a remark where somebody else asks, or None. Raises Stop."""
    try:
        become = privileges.chosen(settings.service.user, settings.service.group)
        if os.geteuid() == 0:
            privileges.drop(become)
    except privileges.PrivilegeError as error:
        raise Stop(str(error)) from None
    if become is None or os.geteuid() == become.uid:
        return None
    return f"the daemon runs as {become.user}; what is said here of files is true for {user_name()}"


def user_name() -> str:
    """Who this process is."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
