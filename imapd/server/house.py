"""Builds what the conversations of a worker have in common, from the settings: directories, mail store, offers.

This is where settings end: the lower floors get plain values. A person's mail file lies below [mail] root, whatever the
directory says: the path is checked here once more, being what stands between a directory's words and the disk.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import imapd
from imapd.delivery import replies
from imapd.delivery.lmtp import Conversation as Delivering
from imapd.delivery.post import Post, Rules
from imapd.directory.chain import DirectoryChain
from imapd.directory.person import path_fault
from imapd.directory.tokens import Issuer, Terms
from imapd.imap import catalogue
from imapd.imap.dispatch import Conversation
from imapd.imap.extension import Offers
from imapd.imap.session import Security, Session, SessionSettings
from imapd.mailstore.background import Ask
from imapd.mailstore.choice import Kinds
from imapd.mailstore.local import LocalStore
from imapd.mailstore.quota import Limits
from imapd.mailstore.store import Account, Owner, Store
from imapd.model.errors import Refused
from imapd.model.loop import Loop
from imapd.server import directories, entrance, lmtp, owners
from imapd.server.loop import GeventLoop
from imapd.server.partners import Begin, SessionLog

if TYPE_CHECKING:
    from imapd.directory.person import Person
    from imapd.peoplesettings import OAuth
    from imapd.settings import Listener, Settings

# An idle client's connection shows life after that long at the earliest, and twice that at the latest: the address
# translators of mobile networks forget a silent connection after five minutes.
KEEPALIVE = 120.0

_SECRET_SIZE = 32
# People whose mail files a worker remembers the owner of; some MB.
_MOST_KNOWN = 20_000


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
    post: Post
    server_name: str
    _chains: dict[str, DirectoryChain] = field(default_factory=dict)

    def begin(self, listener: str, peer: str) -> Begin:
        """The maker of a conversation with a client that came in by that listener."""

        chain = self._chains.get(listener)
        if chain is None:
            chain = self._chains[listener] = self.chain.at(listener)

        def start(private: bool, log: SessionLog, security: Security) -> Conversation:
            session = Session(
                self.offers, self.loop, chain, self.store, peer, private, self.settings[listener], log, security
            )
            return Conversation(session)

        return start

    def receive(self, peer: str) -> lmtp.Begin:
        """The maker of a conversation with a client that delivers mail."""

        def start(tell: replies.Log, number: str, starttls: bool) -> Delivering:
            terms = replies.Terms(self.server_name, f"[{peer}]" if peer else "", starttls)
            return Delivering(self.post, terms, tell, self.loop.time, number)

        return start

    def forget(self, name: str | None) -> int:
        """Forget what is remembered of logins, a person's or all; tells how many logins that were."""
        return self.chain.flush(name)

    def objection(self, listener: str, person: Person) -> str | None:
        """Why somebody who came in by that listener may not stay, or None. Raises Unreachable."""
        return self.chain.at(listener).objection(person)

    def renew(self, lists: bytes) -> None:
        """Other access lists are in force from now on."""
        self.chain.renew(entrance.access(json.loads(lists)))

    def close(self) -> None:
        """Give everything back."""
        try:
            self.store.close()
        finally:
            self.chain.close()


class BelowRoot:
    """A store that opens accounts only below a folder, and only for their owners, where that is kept; an owner's home
    is a path relative to the folder."""

    def __init__(
        self, store: Store, root: str, loop: Loop, keep_owners: bool, place: Callable[[str], str] = str
    ) -> None:
        """place: where the files about an account lie whose home it is given."""
        self._store = store
        self._place = place
        self._root = root
        self._loop = loop
        self._keep_owners = keep_owners
        self._known: dict[str, tuple[str, tuple[int, int, int]]] = {}  # by home: whose it is, by the file as it was

    def open_account(self, owner: Owner) -> Account:
        home = home_below(self._root, owner.home)
        if not self._keep_owners or self._is_known(home, owner.identity):
            return self._store.open_account(replace(owner, home=home))
        place = self._place(home)
        if owners.is_at_hand(place):
            is_recorded = owners.require(place, owner.identity)
        else:
            is_recorded = self._loop.offload(owners.require, place, owner.identity)
        account = self._store.open_account(replace(owner, home=home))
        if not is_recorded:
            try:
                self._loop.offload(owners.record, self._place(home), owner.identity)
            except BaseException:
                account.close()
                raise
        self._remember(home, owner.identity)
        return account

    def _is_known(self, home: str, identity: str) -> bool:
        known = self._known.get(home)
        return known is not None and known == (identity, owners.stamp(self._place(home)))

    def _remember(self, home: str, identity: str) -> None:
        """Have the next login of the same person cost a look at the file's times, and no wait for a thread."""
        seen = owners.stamp(self._place(home))
        if seen is not None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[home] = identity, seen

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


def secret(state_directory: str | None) -> bytes:
    """The daemon's own secret: the same for all workers, and over restarts where there is a folder to keep it in."""
    if state_directory is None:
        return os.urandom(_SECRET_SIZE)
    path = os.path.join(state_directory, "secret")
    try:
        with open(path, "rb") as file:
            kept = file.read(_SECRET_SIZE + 1)
        if len(kept) == _SECRET_SIZE:
            return kept
    except FileNotFoundError:
        pass
    made = os.urandom(_SECRET_SIZE)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(made)
    return made


def kinds(settings: Settings) -> Kinds:
    """Which kinds of mail files there are, and where."""
    mail = settings.mail
    return Kinds(mail.format, mail.mbox_locks, os.path.normpath(mail.root), mail.mbox_folders)


def builder(settings: Settings, secret: bytes | None = None, ask: Ask | None = None) -> Callable[[GeventLoop], House]:
    """Makes the house once there is a loop, in the worker."""
    return lambda loop: build(settings, loop, secret, ask)


def build(settings: Settings, loop: Loop, secret: bytes | None = None, ask: Ask | None = None) -> House:
    """Build everything. secret: see `secret`; not given, one for this process. ask: the indexer, if there is one."""
    primary = min(directory.order for directory in settings.directories)
    opened = [directories.open_directory(settings, one, loop, one.order == primary) for one in settings.directories]
    mail, kind = settings.mail, kinds(settings)
    local = LocalStore(loop, create=mail.create, special_use=special_use(settings), kinds=kind, ask=ask)
    store = BelowRoot(local, mail.root, loop, mail.keep_owners, kind.directory_of)
    chain = entrance.chain(settings, opened, loop, issuer(settings.oauth, loop), secret)
    return House(
        loop=loop,
        chain=chain,
        store=store,
        post=Post(chain, store, loop, rules(settings), settings.mail.root),
        server_name=settings.service.name or socket.gethostname(),
        offers=catalogue.offers(settings.imap.without),
        settings={one.name: session_settings(settings, one) for one in settings.listeners},
    )


def rules(settings: Settings) -> Rules:
    """What the settings say about deliveries."""
    delivery = settings.delivery
    return Rules(
        separator=delivery.separator,
        create=delivery.create,
        bounce_over_quota=delivery.over_quota == "bounce",
        refuse_closed=delivery.closed_accounts == "bounce",
        local_domains=frozenset(domain.lower() for domain in delivery.local_domains),
        limit=delivery.message_limit,
        limits=limits(settings),
    )


class _NoLoop:
    """What is asked of a loop while a directory is opened: the master must not have a real one, its workers are forked
    from it."""

    time = staticmethod(time.time)


def check(settings: Settings) -> None:
    """Try what would keep the workers from being built. Raises HouseError."""
    for directory in settings.directories:
        try:
            directories.check(settings, directory, cast("Loop", _NoLoop()))
        except Exception as error:
            raise HouseError(f"[directories] [[{directory.name}]]: {error}") from error
    try:
        entrance.check(settings)
    except ValueError as error:
        raise HouseError(str(error)) from None
    try:
        catalogue.offers(settings.imap.without)
    except ValueError as error:
        raise HouseError(f"[imap] without: {error}") from None


def session_settings(settings: Settings, listener: Listener) -> SessionSettings:
    """What the settings say about the sessions of a listener."""
    return SessionSettings(
        server_name=settings.service.name or socket.gethostname(),
        plaintext_login=listener.plaintext_login,
        starttls=listener.security == "starttls",
        name_password=listener.name_password,
        mechanisms=mechanisms(settings, listener),
        certificate_required=listener.client_certificate == "required",
        both_required=listener.require_both,
        referrals=settings.authentication.other_mail_server == "referral",
        append_limit=settings.mail.append_limit,
        limits=limits(settings),
        quota_warning=settings.quota.warning,
        special_use=special_use(settings),
        version=imapd.__version__,
        keepalive=KEEPALIVE,
    )


def limits(settings: Settings) -> Limits:
    """What accounts may hold whose owners the directory says nothing of."""
    return Limits.said(settings.quota.default, settings.quota.messages)


def mechanisms(settings: Settings, listener: Listener) -> tuple[str, ...]:
    """The mechanisms for which there is at this listener what they need, as far as the settings say."""
    missing = set()
    if settings.oauth.issuer is None:
        missing |= {"OAUTHBEARER", "XOAUTH2"}
    if listener.client_certificate == "no":
        missing.add("EXTERNAL")
    return tuple(name for name in settings.authentication.mechanisms if name not in missing)


def issuer(oauth: OAuth, loop: Loop) -> Issuer | None:
    """Whose tokens are believed, if anybody's."""
    if oauth.issuer is None or oauth.audience is None or oauth.keys is None:
        return None
    # In the worker: it brings urllib, which must not be there before sockets are patched.
    from imapd.directory.jwtissuer import JwtIssuer, reader

    return JwtIssuer(Terms(oauth.issuer, oauth.audience, oauth.claim, oauth.scope), loop, reader(oauth.keys))


def special_use(settings: Settings) -> tuple[tuple[str, str], ...]:
    """The uses of mailboxes and their names: ("\\\\Sent", "Sent")."""
    return tuple((f"\\{use.capitalize()}", use.capitalize()) for use in settings.mail.special_use)
