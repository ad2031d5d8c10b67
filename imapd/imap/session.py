"""One client's session: who it is, what it has open, and what it has switched on.

The states and who changes them:

    NOT_AUTHENTICATED --enter()--> AUTHENTICATED --select()--> SELECTED
                                          ^                       |
                                          +-------unselect()------+          leave() from any state: LOGOUT

1. `account` and `person` are set from enter() on, never before and never again.
2. `view` is set in SELECTED and only there.
3. `enabled` only grows (RFC 5161 section 3.1), its words are in upper case.
4. close() gives back the view and the account, whatever the state; it may be called twice.

The session does no I/O of its own. What it hands to the log it hands to `log`, with the fields that name it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from imapd.imap.command import State
from imapd.mailstore.quota import NO_LIMITS, Limits
from imapd.model.sets import RangeSet

if TYPE_CHECKING:
    from imapd.directory.certificate import ClientCertificate
    from imapd.directory.person import Person
    from imapd.directory.sasl import Candidate, ScramProof
    from imapd.imap.extension import Offers
    from imapd.mailstore.store import Account, Store
    from imapd.mailstore.view import View
    from imapd.model.loop import Loop


# An empty set costs 216 octets, and each of many silent sessions has two.
NONE: frozenset[str] = frozenset()


class Directory(Protocol):
    """Who may log in; directory/chain.DirectoryChain is the one of a server. Everything raises Unreachable, and every
    authenticate... raises Refused. peer is the client's address; authzid is as whom he wants to act."""

    def authenticate(
        self,
        login_name: str,
        password: bytes,
        peer: str,
        authzid: str | None = None,
        certificate: ClientCertificate | None = None,
    ) -> Person:
        """The person of that name, if the password is his, and the certificate too, if one is given."""

    @property
    def offers_scram(self) -> bool:
        """Whether people can be asked to prove by SCRAM who they are."""

    def candidate(self, login_name: str) -> Candidate:
        """Who is about to prove by SCRAM that he has that name; any name has somebody, or seems to."""

    def authenticate_scram(self, proof: ScramProof, peer: str, certificate: ClientCertificate | None = None) -> Person:
        """The person whose proof it is, and whose certificate, if one is given."""

    def authenticate_certificate(self, certificate: ClientCertificate, peer: str, authzid: str | None = None) -> Person:
        """The person whose certificate it is."""

    def authenticate_token(self, token: str, user: str | None, peer: str) -> Person:
        """The person for whom a token was issued; the one whom the client names has to be the same."""


class Security(Protocol):
    """What TLS knows of the client."""

    @property
    def certificate(self) -> ClientCertificate | None:
        """The client's certificate, if he has shown one that counts."""

    def exporter(self) -> bytes | None:
        """The data that SASL binds itself to this connection with."""


class Clear:
    """A connection about which TLS knows nothing."""

    certificate = None

    def exporter(self) -> None:
        return None


class Log(Protocol):
    """Where a session's events go: one line for each, written by log.py."""

    def __call__(self, event: str, *, level: int = logging.INFO, **fields: object) -> None:
        """Write the event down."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the configuration says about the sessions of one listener.

    server_name: the name in the greeting. plaintext_login: passwords are taken without TLS. starttls: STARTTLS is
    offered. name_password: logins by name and password are taken at all. mechanisms: the SASL mechanisms that may be
    offered. certificate_required: nobody logs in without a client certificate. both_required: nor without a password,
    and both have to be the same person's. append_limit: octets of a message in APPEND. special_use: pairs of a use and
    a mailbox name. referrals: who has his mail elsewhere is told where.
    limits: what accounts may hold where the directory does not say; quota_warning: how full one is, in percent, when
    its owner is warned (0: never).
    product, version, support_url: for ID (RFC 2971); what is empty is not told. keepalive: seconds after which an idle
    client is told that the connection lives (0: never).
    """

    server_name: str = "localhost"
    plaintext_login: bool = False
    starttls: bool = True
    name_password: bool = True
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    certificate_required: bool = False
    both_required: bool = False
    referrals: bool = False
    append_limit: int = 50 * 1024 * 1024
    special_use: tuple[tuple[str, str], ...] = ()
    limits: Limits = NO_LIMITS
    quota_warning: int = 90
    product: str = "imapd"
    version: str = ""
    support_url: str = ""
    keepalive: float = 600  # Outlook gives up on a silent IDLE; more often only wakes the radios of phones


class Session:
    """The session of one connection."""

    # There are thousands, most of them silent.
    __slots__ = (
        "_account", "_person", "_view", "client", "directory", "enabled", "failed_logins", "keywords_told", "log",
        "login_name", "loop", "offers", "peer", "private", "security", "settings", "state", "store", "tag",
        "warned_of_quota",
    )  # fmt: skip

    def __init__(
        self,
        offers: Offers,
        loop: Loop,
        directory: Directory,
        store: Store,
        peer: str,
        private: bool,
        settings: SessionSettings,
        log: Log,
        security: Security | None = None,
    ) -> None:
        self.offers = offers
        self.loop = loop
        self.directory = directory
        self.store = store
        self.peer = peer
        self.private = private  # the connection is encrypted
        self.settings = settings
        self.log = log
        self.security: Security = security or Clear()
        self.state = State.NOT_AUTHENTICATED
        self.tag = ""  # of the command that runs; ESEARCH names it (RFC 4731)
        self.login_name = ""  # as the client spelled it
        self.failed_logins = 0
        self.enabled: frozenset[str] = NONE
        self.keywords_told: frozenset[str] = NONE  # of the selected mailbox, by the last FLAGS response
        self.warned_of_quota = False
        self.client: Mapping[str, str] = {}  # what the client told of itself by ID
        self._person: Person | None = None
        self._account: Account | None = None
        self._view: View | None = None

    @property
    def rev2(self) -> bool:
        """Whether the client has switched to IMAP4rev2 (RFC 9051 section 6.3.1)."""
        return "IMAP4REV2" in self.enabled

    @property
    def utf8(self) -> bool:
        """Whether names and strings go over the wire in UTF-8, both ways."""
        return self.rev2

    @property
    def person(self) -> Person:
        """Who has logged in."""
        assert self._person is not None, "nobody has logged in"
        return self._person

    @property
    def by_administrator(self) -> bool:
        """Whether it is an administrator who acts as the person (the authorization identity of SASL)."""
        return self._person is not None and self._person.acted_by is not None

    @property
    def account(self) -> Account:
        """The mailboxes of the person who has logged in."""
        assert self._account is not None, "nobody has logged in"
        return self._account

    @property
    def view(self) -> View:
        """What the client has been told of the selected mailbox."""
        assert self._view is not None, "no mailbox is selected"
        return self._view

    @property
    def has_view(self) -> bool:
        """Whether a mailbox is selected."""
        return self._view is not None

    @property
    def ended(self) -> bool:
        """Whether the connection is to be closed."""
        return self.state is State.LOGOUT

    def enter(self, person: Person, account: Account) -> None:
        """Somebody has logged in."""
        assert self.state is State.NOT_AUTHENTICATED
        self._person = person
        self._account = account
        self.state = State.AUTHENTICATED

    def select(self, view: View) -> None:
        """A mailbox was selected; the one before it must have been unselected."""
        assert self.state is State.AUTHENTICATED and self._view is None
        self._view = view
        self.state = State.SELECTED

    def enable(self, words: Iterable[str]) -> None:
        """The client has switched these on. To IMAP4rev2 nothing is recent, in an open mailbox either."""
        self.enabled |= set(words)
        if self.rev2 and self._view is not None:
            self._view.keeps_recent = False
            self._view.recent = RangeSet()

    def unselect(self) -> None:
        """The selected mailbox, if there is one, is selected no longer."""
        view, self._view = self._view, None
        self.keywords_told = NONE
        if self.state is State.SELECTED:
            self.state = State.AUTHENTICATED
        if view is not None:
            view.close()

    def leave(self) -> None:
        """The connection is to end after what is being sent."""
        self.state = State.LOGOUT

    def close(self) -> None:
        """Give back everything that the session holds."""
        self.state = State.LOGOUT
        try:
            self.unselect()
        finally:
            account, self._account = self._account, None
            if account is not None:
                account.close()
