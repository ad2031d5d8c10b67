"""Listening sockets: made by the master before it gives up its privileges, or handed over by systemd.

1. Each address has as many sockets as there are workers (SO_REUSEPORT): the kernel spreads connections evenly, and
   none waits behind a busy worker's neighbour. Worker k serves the sockets k, k + workers, ...; where there are fewer
   sockets than workers (systemd hands over one) they share.
2. The master keeps all of them open: while a worker is replaced, its clients wait in the queue.
3. IPv6 sockets take IPv6 only; "0.0.0.0" and "::" are two addresses.
4. An address is in use if anybody listens on it, another imapd of the same user included, which SO_REUSEPORT alone
   would let in.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imapd.log import event

if TYPE_CHECKING:
    from imapd.settings import Listener

logger = logging.getLogger("imapd.server.sockets")

# Clients that wait to be accepted; the kernel cuts it to net.core.somaxconn.
BACKLOG = 4096
_FIRST_HANDED_OVER = 3  # sd_listen_fds(3)


# The port of a Unix socket's place, whose host is its path.
UNIX = -1


class ListenError(Exception):
    """An address cannot be listened on; the text says which, why, and what to do."""


@dataclass(frozen=True)
class Place:
    """One address of a listener, with its sockets."""

    listener: str
    host: str
    port: int
    sockets: list[socket.socket] = field(compare=False)
    activated: bool = False

    def share(self, worker: int, workers: int) -> list[socket.socket]:
        """The sockets that a worker serves (rule 1)."""
        count = len(self.sockets)
        if count < workers:
            return [self.sockets[worker % count]]
        return self.sockets[worker::workers]


@dataclass(frozen=True)
class Access:
    """Who may connect to a Unix socket: its mode, and its owner and group, -1 for our own."""

    mode: int
    uid: int = -1
    gid: int = -1


@dataclass(frozen=True)
class HandedOver:
    """A socket of systemd's: its name (FileDescriptorName=) and itself."""

    name: str
    socket: socket.socket


def handed_over() -> list[HandedOver]:
    """The sockets that systemd hands over; asking twice gives none the second time."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found = []
    for place in range(int(count)):
        number = _FIRST_HANDED_OVER + place
        os.set_inheritable(number, False)
        try:
            sock = socket.socket(fileno=number)
        except OSError:
            continue  # not a socket
        sock.setblocking(False)
        found.append(HandedOver(names[place] if place < len(names) else "", sock))
    return found


def open_places(
    listeners: Iterable[Listener], workers: int, handed: Sequence[HandedOver] = (), open_already: Iterable[Place] = ()
) -> list[Place]:
    """The places of all listeners that are not disabled. What is open already is kept, what is new is opened.

    Raises ListenError; then nothing new stays open.
    """
    kept = list(open_already)
    left = list(handed)
    places: list[Place] = []
    try:
        for listener in listeners:
            if listener.status == "disabled":
                continue
            found = [place for place in kept if place.activated and place.listener == listener.name]
            places += found or _activated(listener, left)
            if places and places[-1].activated and places[-1].listener == listener.name:
                continue
            for host in dict.fromkeys(listener.address):
                place = Place(listener.name, host, listener.port, _open_there(kept, host, listener.port))
                places.append(place)
                if place.sockets:
                    _grow(place, workers)
                else:
                    _open(place, workers)
    except ListenError:
        release(places, kept)
        raise
    for unused in left:
        event(logger, logging.WARNING, "socket_not_used", name=unused.name, address=_words(unused.socket))
        unused.socket.close()
    return places


def open_unix(listener: str, path: str, access: Access, open_already: Iterable[Place] = ()) -> Place:
    """The place of a Unix socket, which all workers share; kept where it is open already. Raises ListenError."""
    for place in open_already:
        if (place.host, place.port) == (path, UNIX):
            return Place(listener, path, UNIX, place.sockets)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        clear(path)
        # Whoever connects before the mode is right would get in by a wider one: it is made with none.
        before = os.umask(0o777)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        if os.geteuid() == 0 and (access.uid, access.gid) != (-1, -1):
            os.chown(path, access.uid, access.gid)
        elif access.gid not in (-1, os.getegid()):
            os.chown(path, -1, access.gid)
        os.chmod(path, access.mode)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"{_section(listener)}: {path} cannot be opened: {error.strerror or error}") from None
    sock.setblocking(False)
    return Place(listener, path, UNIX, [sock])


def clear(path: str) -> None:
    """Take away a socket that a process left behind which was killed. Raises OSError where there is something else, or
    somebody listens."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "something is there that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, "another daemon is listening there")


def remove_unix(places: Iterable[Place]) -> None:
    """Take the names of Unix sockets away; where that is not allowed any more, the next daemon does it."""
    for place in places:
        if place.port == UNIX:
            with contextlib.suppress(OSError):
                os.unlink(place.host)


def release(places: Iterable[Place], keep: Iterable[Place]) -> None:
    """Close the sockets of the places, but for those that the places to be kept have too."""
    keep = list(keep)
    remove_unix(place for place in places if place.port == UNIX and place.host not in {one.host for one in keep})
    kept = {sock for place in keep for sock in place.sockets}
    for place in places:
        for sock in place.sockets:
            if sock not in kept:
                sock.close()


def _open_there(kept: Iterable[Place], host: str, port: int) -> list[socket.socket]:
    """The sockets that are open at an address already, whatever name the listener had; a list of its own."""
    for place in kept:
        if (place.host, place.port) == (host, port) and not place.activated:
            return list(place.sockets)
    return []


def _activated(listener: Listener, left: list[HandedOver]) -> list[Place]:
    """The sockets that systemd made for the listener: those of its name, or else those of its port."""
    mine = [one for one in left if one.name == listener.name]
    mine = mine or [one for one in left if _port(one.socket) == listener.port]
    for one in mine:
        left.remove(one)
    return [Place(listener.name, _words(one.socket), listener.port, [one.socket], activated=True) for one in mine]


def _port(sock: socket.socket) -> int | None:
    name = sock.getsockname()
    return name[1] if isinstance(name, tuple) else None


def _words(sock: socket.socket) -> str:
    name = sock.getsockname()
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name)


def _open(place: Place, workers: int) -> None:
    family, address = _resolve(place)
    try:
        if place.port:
            _socket(family, address, shared=False).close()  # rule 4
        for _ in range(workers):
            sock = _socket(family, address, shared=True)
            place.sockets.append(sock)
            sock.listen(BACKLOG)
            address = sock.getsockname()  # port 0 became a port
    except OSError as error:
        raise ListenError(_advice(place, error)) from None


def _grow(place: Place, workers: int) -> None:
    """More workers than before: more sockets, where the kernel still lets us; otherwise they share."""
    family, address = place.sockets[0].family, place.sockets[0].getsockname()
    try:
        while len(place.sockets) < workers:
            sock = _socket(family, address, shared=True)
            sock.listen(BACKLOG)
            place.sockets.append(sock)
    except OSError:
        # A port below 1024, or a socket that root made: without its privileges the master may not.
        return


def _socket(family: int, address: tuple[object, ...], shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
        if not shared:
            sock.listen(1)  # two sockets may be bound to one address; that somebody listens shows here
    except OSError:
        sock.close()
        raise
    return sock


def _section(listener: str) -> str:
    """Where the file speaks of a listener: one with a section of its own has its name in brackets already."""
    return listener if listener.startswith("[") else f"[listeners] [[{listener}]]"


def _resolve(place: Place) -> tuple[int, tuple[object, ...]]:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError(
            f"{_section(place.listener)}: there is no address '{place.host}' ({error}); "
            "give an address of this machine, such as 127.0.0.1, 0.0.0.0 or ::"
        ) from None
    return found[0][0], found[0][4]


def _advice(place: Place, error: OSError) -> str:
    where = f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
    advice = {
        errno.EADDRINUSE: f"another program listens there (ss -ltnp 'sport = :{place.port}' shows which); "
        "stop it or choose another port",
        errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE; start as root with 'user' set, "
        "use socket activation, or choose a port from 1024 on",
        errno.EADDRNOTAVAIL: "this machine has no such address; take it out of 'address' or give it to an interface",
        errno.EAFNOSUPPORT: "this machine has no IPv6; take the address out",
    }
    hint = advice.get(error.errno or 0, "see the system's log")
    return f"{_section(place.listener)}: cannot listen on {where}: {error.strerror}; {hint}"
