"""Giving up root: once, for good, and verified.

The master opens what needs root (ports, keys, folders to be made) and then becomes the service's user, before any
worker is forked and before anything comes from the network.
"""

import grp
import os
import pwd
from dataclasses import dataclass


class PrivilegeError(Exception):
    """The daemon cannot become who it should be; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Become:
    """Who to run as."""

    user: str
    uid: int
    gid: int


def chosen(user: str | None, group: str | None) -> Become | None:
    """Who the settings name; None where they name nobody. Raises PrivilegeError for names that do not exist."""
    if user is None and group is None:
        return None
    try:
        entry = pwd.getpwnam(user) if user is not None else pwd.getpwuid(os.geteuid())
    except KeyError:
        raise PrivilegeError(f"[service] user: there is no user '{user}'; make one (adduser --system {user})") from None
    try:
        gid = grp.getgrnam(group).gr_gid if group is not None else entry.pw_gid
    except KeyError:
        text = f"[service] group: there is no group '{group}'; make one (addgroup --system {group})"
        raise PrivilegeError(text) from None
    return Become(entry.pw_name, entry.pw_uid, gid)


def drop(become: Become | None) -> None:
    """Become that user and group, with the groups that the user is in. Raises PrivilegeError."""
    if become is None:
        return
    if os.geteuid() != 0:
        if (os.geteuid(), os.getegid()) == (become.uid, become.gid):
            return
        raise PrivilegeError(
            f"[service] user: only root can become '{become.user}'; "
            f"start as root, or as '{become.user}', or take the line out"
        )
    try:
        os.setgroups(os.getgrouplist(become.user, become.gid))
        os.setgid(become.gid)
        os.setuid(become.uid)
    except OSError as error:
        raise PrivilegeError(f"[service] user: cannot become '{become.user}': {error.strerror}") from None
    _verify(become)


def _verify(become: Become) -> None:
    if os.getresuid() != (become.uid,) * 3 or os.getresgid() != (become.gid,) * 3:
        raise PrivilegeError(f"[service] user: became somebody else than '{become.user}'; not going on")
    if become.uid == 0:
        return
    try:
        os.setuid(0)
    except OSError:
        return
    raise PrivilegeError("[service] user: root's rights could be taken back; not going on")


def make_folder(path: str, become: Become | None) -> None:
    """Make a folder, with those above it, that only the service's user may enter; leave one that is there as it is."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path.rstrip("/"))
    if parent and not os.path.isdir(parent):
        os.makedirs(parent, mode=0o755)
    os.mkdir(path, mode=0o700)
    if become is not None and os.geteuid() == 0:
        os.chown(path, become.uid, become.gid)
