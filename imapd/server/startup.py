"""What settings need before anybody is served by them: a user, folders, ports, certificates, plans of the processes.

The master asks for it when it starts, still as root where it was started so, and for a new generation at each reload.

1. Whatever the settings want of this machine is tried here, so that one that cannot be had is told to the administrator
   and no worker has to find it out.
2. Where anything is wrong the settings are not put to work at all: StartError, and what was open before stays as it is.
3. Ports are open before workers are forked: they are kept from one generation to the next, and no client is lost.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from imapd.log import event
from imapd.server import children, house, indexer, lmtp, privileges
from imapd.server.children import Generation
from imapd.server.partners import Patience
from imapd.server.privileges import Become, PrivilegeError
from imapd.server.sockets import HandedOver, ListenError, Place, open_places
from imapd.server.tls import Context, TlsError, make_contexts
from imapd.server.worker import Door, Plan

if TYPE_CHECKING:
    from imapd.settings import Settings

logger = logging.getLogger("imapd.server.startup")

Channel = tuple[socket.socket, socket.socket]
"""What indexer.make_channel gives."""


class StartError(Exception):
    """The settings cannot be put to work; problems are sentences for the administrator."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def user(settings: Settings) -> Become | None:
    """Who the daemon is to be; None where the settings name nobody. Raises StartError."""
    try:
        return privileges.chosen(settings.service.user, settings.service.group)
    except PrivilegeError as error:
        raise StartError(str(error)) from None


def make_folders(settings: Settings, become: Become | None) -> None:
    """Make the folders of mail and state, or see that they are there, as the settings want it. Raises StartError."""
    mail, state = settings.mail, settings.service.state_directory
    wanted = [("[mail] root", mail.root)] + ([("[service] state_directory", state)] if state else [])
    problems = []
    for name, path in wanted:
        try:
            if mail.create:
                privileges.make_folder(path, become)
            elif not os.path.isdir(path):
                problems.append(f"{name}: there is no folder {path}; make it, or set create = yes in [mail]")
        except OSError as error:
            problems.append(f"{name}: the folder {path} cannot be made: {error.strerror}")
    if problems:
        raise StartError(*problems)


def generation(
    settings: Settings,
    secret: bytes,
    channel: Channel,
    before: Sequence[Place] = (),
    handed: Sequence[HandedOver] = (),
) -> Generation:
    """The processes-to-be of the settings; sockets and certificates are opened here. Raises StartError.

    secret: the daemon's own (house.secret); before: the places that are open already; handed: systemd's sockets.
    """
    count = settings.service.workers or len(os.sched_getaffinity(0))
    share = -(-settings.service.max_sessions // count)
    _raise_file_limit(share)
    try:
        house.check(settings)
        wanted = [one.client_certificate for one in settings.listeners]
        contexts = make_contexts(settings.tls, [*wanted, "no"] if settings.lmtp.starttls else wanted)
        places = open_places([*settings.listeners, *lmtp.listeners(settings.lmtp)], count, handed, before)
        places += lmtp.open_socket(settings, places, before)
    except (ListenError, house.HouseError) as error:
        raise StartError(str(error)) from None
    except TlsError as error:
        raise StartError(f"[tls] {error}") from None
    doors = _doors(settings, contexts)
    wishes, wishing = channel
    build = house.builder(settings, secret, indexer.asking(wishing))
    patience = Patience(login=settings.service.login_timeout, session=settings.service.session_timeout)
    bound, recheck = settings.service.shutdown_timeout, settings.authentication.recheck

    def plan(number: int) -> children.Plan:
        if number == children.INDEXER:
            return indexer.Plan(settings, wishes)
        sockets: dict[str, list[socket.socket]] = {}
        for place in places:
            sockets.setdefault(place.listener, []).extend(place.share(number, count))
        return Plan(build, doors, sockets, share, patience, bound, recheck)

    return Generation(count, places, plan)


def _doors(settings: Settings, contexts: Mapping[str, Context]) -> tuple[Door, ...]:
    """The listeners as workers serve them."""
    doors = tuple(
        Door(
            one.name,
            None if one.security == "plain" else contexts.get(one.client_certificate),
            one.security == "tls",
            _tls_port(settings) if one.status == "redirect" else None,
        )
        for one in settings.listeners
    )
    if settings.lmtp.status == "enabled":
        doors += (Door(lmtp.LISTENER, contexts.get("no"), False, lmtp=settings.lmtp),)
    return doors


def _tls_port(settings: Settings) -> int:
    """Where clients of a port with status = redirect are sent."""
    return next(one.port for one in settings.listeners if one.status == "enabled" and one.security == "tls")


def _raise_file_limit(connections: int) -> None:
    """Let a worker open files for all its connections: each has a socket and may have a few files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * 2 + 1024
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < connections + 256:
        hint = f"set LimitNOFILE={wanted} in the unit, or lower max_sessions"
        event(logger, logging.WARNING, "few_files", limit=soft, connections=connections, hint=hint)
