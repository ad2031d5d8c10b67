"""Builds what the conversations of a worker have in common, from the settings: directories, mail store, offers.

This is where settings end: the lower floors get plain values. A person's mail file lies below [mail] root, whatever the
directory says: the path is checked here once more, being what stands between a directory's words and the disk.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import imapd
from imapd.directory.chain import DirectoryChain
from imapd.directory.ldifdirectory import LdifDirectory
from imapd.directory.names import Level, Scope
from imapd.directory.person import AttributeMap, path_fault
from imapd.imap import catalogue
from imapd.imap.dispatch import Conversation
from imapd.imap.extension import Offers
from imapd.imap.session import Session, SessionSettings
from imapd.mailstore.local import LocalStore
from imapd.mailstore.store import Account, Owner, Store
from imapd.model.errors import Refused
from imapd.model.loop import Loop
from imapd.server.connection import Begin, SessionLog
from imapd.server.loop import GeventLoop

if TYPE_CHECKING:
    from imapd.settings import Directory, Listener, Settings

# An idle client's connection shows life after that long at the earliest, and twice that at the latest: the address
# translators of mobile networks forget a silent connection after five minutes.
KEEPALIVE = 120.0


class HouseError(Exception):
    """The settings cannot be put to work; the text is for the administrator."""


@dataclass
class House:
    """What a worker's conversations share."""

    loop: Loop
    chain: DirectoryChain
    store: Store
    offers: Offers
    settings: dict[str, SessionSettings]  # by listener

    def begin(self, listener: str, peer: str) -> Begin:
        """The maker of a conversation with a client that came in by that listener."""

        def start(private: bool, log: SessionLog) -> Conversation:
            session = Session(
                self.offers, self.loop, self.chain, self.store, peer, private, self.settings[listener], log
            )
            return Conversation(session)

        return start

    def close(self) -> None:
        """Give everything back."""
        try:
            self.store.close()
        finally:
            self.chain.close()


class BelowRoot:
    """A store that opens accounts only below a folder; an owner's home is a path relative to it."""

    def __init__(self, store: Store, root: str) -> None:
        self._store = store
        self._root = root

    def open_account(self, owner: Owner) -> Account:
        return self._store.open_account(replace(owner, home=home_below(self._root, owner.home)))

    def close(self) -> None:
        self._store.close()


def home_below(root: str, mail_file: str | None) -> str:
    """The whole path of a mail file. Raises Refused where the person has none, or one that leads elsewhere."""
    if not mail_file:
        raise Refused("There is no mail file for you here.", code="CANNOT", reason="the entry gives no mail file")
    fault = path_fault(mail_file)
    if fault is not None:
        raise Refused("There is no mail file for you here.", code="CANNOT", reason=f"mail file {mail_file!r}: {fault}")
    return os.path.join(root, mail_file)


def builder(settings: Settings) -> Callable[[GeventLoop], House]:
    """Makes the house once there is a loop, in the worker."""
    return lambda loop: build(settings, loop)


def build(settings: Settings, loop: Loop) -> House:
    """Build everything."""
    primary = min(directory.order for directory in settings.directories)
    directories = [open_directory(settings, one, loop, one.order == primary) for one in settings.directories]
    store = LocalStore(loop, create=settings.mail.create, special_use=special_use(settings))
    return House(
        loop=loop,
        chain=DirectoryChain(directories, loop, delay=settings.authentication.failure_delay),
        store=BelowRoot(store, settings.mail.root),
        offers=catalogue.offers(settings.imap.without),
        settings={one.name: session_settings(settings, one) for one in settings.listeners},
    )


class _NoLoop:
    """What is asked of a loop while a directory is opened: the master must not have a real one, its workers are forked
    from it."""

    time = staticmethod(time.time)


def check(settings: Settings) -> None:
    """Try what would keep the workers from being built. Raises HouseError."""
    for directory in settings.directories:
        try:
            open_directory(settings, directory, cast("Loop", _NoLoop()), primary=True).close()
        except Exception as error:
            raise HouseError(f"[directories] [[{directory.name}]]: {error}") from error
    try:
        catalogue.offers(settings.imap.without)
    except ValueError as error:
        raise HouseError(f"[imap] without: {error}") from None


def open_directory(settings: Settings, directory: Directory, loop: Loop, primary: bool) -> LdifDirectory:
    """A directory of the settings, read. Raises ValueError, LdifError."""
    if directory.file is None:
        raise ValueError("a directory of type ldif needs 'file'")
    attributes = AttributeMap.load(
        directory.preset, directory.attributes, settings.mail.mail_file, directory.mail_prefix
    )
    scope = Scope.of(primary, directory.domains, directory.flat_names, directory.naming_rules, directory.trusted_for)
    level = Level(settings.authentication.internet_authentication)
    return LdifDirectory(
        directory.name, directory.file, attributes, loop, order=directory.order, scope=scope, level=level
    )


def session_settings(settings: Settings, listener: Listener) -> SessionSettings:
    """What the settings say about the sessions of a listener."""
    return SessionSettings(
        server_name=settings.service.name or socket.gethostname(),
        plaintext_login=listener.plaintext_login,
        starttls=listener.security == "starttls",
        name_password=listener.name_password,
        mechanisms=settings.authentication.mechanisms,
        append_limit=settings.mail.append_limit,
        special_use=special_use(settings),
        version=imapd.__version__,
        keepalive=KEEPALIVE,
    )


def special_use(settings: Settings) -> tuple[tuple[str, str], ...]:
    """The uses of mailboxes and their names: ("\\\\Sent", "Sent")."""
    return tuple((f"\\{use.capitalize()}", use.capitalize()) for use in settings.mail.special_use)
