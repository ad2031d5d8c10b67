"""`imapd check`: reads the configuration and tries on this machine what the daemon will need, and says what is wrong.

Nothing is changed. Exit code 0: the daemon would start with this file, and LDAP directories answer as they should; 1:
it would not, or they do not, and it was said why.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Iterator

from imapd.config import ConfigError, load
from imapd.deliverysettings import Lmtp
from imapd.log import escape
from imapd.settings import Listener, Settings


def check(path: str, local: bool = False) -> int:
    """Print what is wrong with the file, the machine and the directories; returns the exit code. local: the directories
    are not asked, as the daemon does not ask them at its start."""
    try:
        settings = load(path)
    except ConfigError as error:
        lines = sorted((problem.line, str(problem)) for problem in (*error.problems, *error.remarks))
        print("\n".join(text for _, text in lines))
        print(f"{path}: {_count(len(error.problems), 'problem')}; the daemon would not start.")
        return 1
    for remark in settings.remarks:
        print(remark)
    problems = list(_machine(settings))
    for problem in problems:
        print(f"{path}: {problem}")
    if problems:
        print(f"{path}: {_count(len(problems), 'problem')}; the daemon would not start.")
        return 1
    if not local and (wrong := _directories(settings)):
        print(f"{path}: {_count(wrong, 'problem')}; the daemon would start, but people could not log in.")
        return 1
    print(f"{path}: in order.")
    return 0


def _directories(settings: Settings) -> int:
    """Say what the LDAP directories do; how much of it is wrong."""
    from imapd.verbs.directories import findings

    wrong = 0
    for finding in findings(settings):
        print(f"{settings.path}: {escape(finding.text)}", flush=True)
        wrong += finding.wrong
    return wrong


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _machine(settings: Settings) -> Iterator[str]:
    yield from _identity(settings)
    yield from _folders(settings)
    yield from _certificates(settings)
    yield from _people(settings)
    for listener in settings.listeners:
        if listener.status == "enabled":
            yield from _port(listener, f"[listeners] [[{listener.name}]]")
    yield from _lmtp(settings.lmtp)


def _identity(settings: Settings) -> Iterator[str]:
    user, group = settings.service.user, settings.service.group
    if user and not _known(pwd.getpwnam, user):
        yield f"there is no user '{user}' on this machine; adduser --system {user} makes one"
    if group and not _known(grp.getgrnam, group):
        yield f"there is no group '{group}' on this machine; addgroup --system {group} makes one"


def _known(ask: object, name: str) -> bool:
    try:
        ask(name)  # type: ignore[operator]
    except KeyError:
        return False
    return True


def _folders(settings: Settings) -> Iterator[str]:
    wanted = [("[mail] root", settings.mail.root)]
    if settings.service.state_directory:
        wanted.append(("[service] state_directory", settings.service.state_directory))
    for key, folder in wanted:
        if os.path.isdir(folder):
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                yield f"{key}: {folder} is not readable and writable for {_me()}"
        elif os.path.exists(folder):
            yield f"{key}: {folder} is not a folder"
        elif not settings.mail.create:
            yield f"{key}: {folder} does not exist; make it, or set create = yes in [mail]"


def _certificates(settings: Settings) -> Iterator[str]:
    from imapd.server import tls

    try:
        tls.make_contexts(
            settings.tls, [one.client_certificate for one in settings.listeners if one.status == "enabled"]
        )
    except tls.TlsError as error:
        yield f"[tls] {error}"


def _people(settings: Settings) -> Iterator[str]:
    from imapd.server import house

    try:
        house.check(settings)
    except house.HouseError as error:
        yield str(error)


def _lmtp(lmtp: Lmtp) -> Iterator[str]:
    """Whether there is room for the socket, and the ports can be bound."""
    from imapd.server.lmtp import listeners

    for listener in listeners(lmtp):
        yield from _port(listener, "[lmtp]")
    if lmtp.status != "enabled" or lmtp.socket is None:
        return
    folder = os.path.dirname(lmtp.socket)
    if not os.access(folder, os.W_OK | os.X_OK):
        yield f"[lmtp] socket: nothing can be made in {folder} by {_me()}; make it, or start as root"
    if lmtp.socket_group and not _known(grp.getgrnam, lmtp.socket_group):
        yield f"[lmtp] socket_group: there is no group '{lmtp.socket_group}' on this machine"


def _me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _port(listener: Listener, section: str) -> Iterator[str]:
    """Whether the port can be bound; one that is in use may well be our own, running already."""
    for address in listener.address:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                probe.bind((address, listener.port))
            except OSError as error:
                yield f"{section}: {address} port {listener.port}: {error.strerror}"
