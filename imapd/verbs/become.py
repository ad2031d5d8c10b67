"""A verb that looks at what the daemon looks at does so as the daemon's user: it sees what the daemon sees, and leaves
no file behind that the daemon could not open."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from imapd.server import privileges
from imapd.settings import Settings

if TYPE_CHECKING:
    from imapd.server.house import House


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


def own_house(settings: Settings) -> tuple[str | None, House]:
    """The same house as a worker's, in this process; and the remark of `become_daemon`. Raises Stop."""
    from imapd.server import patched

    patched.patch()  # before anything brings ldap3
    import imapd.directory.ldapconn  # noqa: F401, while there is still root's right to read it
    from imapd.server import house
    from imapd.server.loop import GeventLoop

    remark = become_daemon(settings)
    try:
        house.check(settings)
        return remark, house.build(settings, GeventLoop())
    except (house.HouseError, ValueError, OSError) as error:
        raise Stop(str(error)) from None


def user_name() -> str:
    """Who this process is."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
