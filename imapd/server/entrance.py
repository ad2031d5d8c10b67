"""Builds what stands between a client and his mail file, from the settings: the chain of directories with its rules.

The key of the digests of wrong passwords is drawn when this is imported, in the master, so that all workers forked from
it count alike; it is on no disk, unlike the digests.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from imapd.directory import lockout, mailserver, tries
from imapd.directory.access import Access, AccessList, read_list
from imapd.directory.chain import DirectoryChain, Policy
from imapd.directory.finder import Ambiguity
from imapd.directory.interface import Directory
from imapd.directory.tokens import Issuer
from imapd.model.loop import Loop

if TYPE_CHECKING:
    from imapd.settings import Settings

_TRIES_KEY = os.urandom(32)


def chain(
    settings: Settings, directories: Sequence[Directory], loop: Loop, issuer: Issuer | None, secret: bytes | None
) -> DirectoryChain:
    """The chain of the settings. Raises ValueError where they cannot be understood."""
    authentication, locking, state = settings.authentication, settings.lockout, settings.service.state_directory
    policy = Policy(
        delay=authentication.failure_delay,
        ambiguity=Ambiguity(authentication.ambiguity),
        cache=authentication.cache,
        grace=authentication.cache_grace,
        access=access(lists(settings)),
        administrators=read_list(authentication.administrators),
        home=home(settings),
        issuer=issuer,
        secret=secret or os.urandom(32),
        scram_iterations=authentication.scram_iterations,
    )
    rules = tries.Rules(
        enforce=locking.enforce,
        max_tries=locking.max_tries,
        max_tries_everywhere=locking.max_tries_everywhere,
        expiration=locking.expiration,
        tries_interval=locking.tries_interval,
    )
    path = None if state is None else os.path.join(state, lockout.FILE)
    counted = lockout.Lockout(loop, rules, path, locking.exempt_networks, _TRIES_KEY)
    return DirectoryChain(directories, loop, policy, counted)


Lists = Mapping[str, Sequence[tuple[Sequence[str], Sequence[str]]]]


def lists(settings: Settings, others: Iterable[str] = ()) -> Lists:
    """The access lists in force as they are written, by listener: pairs of allow and deny, all of which have to be
    passed. others: listeners that are not there any more and have clients yet; for them the lists of all count."""
    if not settings.access.enforce:
        return {}
    everywhere = (settings.access.allow, settings.access.deny)
    asked = [one for one in settings.listeners if one.enforce_server_access]
    left = set(others) - {one.name for one in settings.listeners}
    return {one.name: [everywhere, (one.allow, one.deny)] for one in asked} | {name: [everywhere] for name in left}


def access(written: Lists) -> Access:
    """Who may come in by which listener. Raises ValueError for an entry that cannot be read."""
    return Access({name: [AccessList.read(*one) for one in pairs] for name, pairs in written.items()})


def home(settings: Settings) -> mailserver.Home:
    """What this server is called, and what becomes of those whose mail is on another one."""
    names = [settings.service.name, socket.gethostname(), "localhost", *settings.service.aliases]
    elsewhere = mailserver.Elsewhere(settings.authentication.other_mail_server)
    return mailserver.Home(elsewhere, [name for name in names if name])


def check(settings: Settings) -> None:
    """Raises ValueError, naming the key, for what would keep the chain from being built."""
    lists = {
        "[access] allow": settings.access.allow,
        "[access] deny": settings.access.deny,
        "[authentication] administrators": settings.authentication.administrators,
    }
    for one in settings.listeners:
        lists |= {f"[listeners] [[{one.name}]] allow": one.allow, f"[listeners] [[{one.name}]] deny": one.deny}
    for key, texts in lists.items():
        try:
            read_list(texts)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    if "*" in settings.authentication.administrators:
        raise ValueError("[authentication] administrators: * would let everybody read everybody's mail")
    for network in settings.lockout.exempt_networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise ValueError(f"[lockout] exempt_networks: {error}") from None
