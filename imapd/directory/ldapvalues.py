"""What goes in and out of the rooms that talk to LDAP servers: settings, entries and the ways to fail."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from imapd.model.errors import Unreachable


class DirectoryDown(Unreachable):
    """The directory cannot be asked, or what it says cannot be trusted. The text, for the log, says why."""


class Gone(DirectoryDown):
    """The connection ended before the answer came."""


class Busy(DirectoryDown):
    """All connections are in use, and were for as long as one may wait. Nothing is wrong with the server."""


class TooMany(Exception):
    """More entries match than were asked for; `entries` are those that arrived."""

    def __init__(self, entries: "tuple[Entry, ...]" = ()) -> None:
        super().__init__(f"more than {len(entries)} entries match" if entries else "too many entries match")
        self.entries = entries


class Depth(Enum):
    """How far below its base a search looks; the values are those of RFC 4511 section 4.5.1.2."""

    BASE = 0
    ONE = 1
    SUBTREE = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as the server gave it: attributes by their lower-case names, without options but ";binary"."""

    dn: str
    attributes: Mapping[str, list[bytes]]

    def first(self, *names: str) -> bytes | None:
        """The first value of the first of these attributes that the entry has."""
        for name in names:
            if values := self.attributes.get(name.lower()):
                return values[0]
        return None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the daemon is for a directory: a DN and its password, or `external`: what TLS or the kernel says, or nobody.

    password never appears in a log or in repr().
    """

    dn: str | None = None
    password: bytes | None = field(default=None, repr=False)
    external: bool = False

    def __post_init__(self) -> None:
        # A DN with an empty password is an anonymous bind that succeeds (RFC 4513 section 5.1.2).
        if self.dn is not None and not self.password:
            raise ValueError(f"there is no password for {self.dn}")
        if self.external and self.dn is not None:
            raise ValueError("an identity is by password or external, not both")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a directory is and how to speak to it.

    uris: replicas of one directory, in order of preference (directory/ldapuri). base: the entry that must be visible,
    with something below it, or the server is not trusted; canary: an entry that must be visible as well.
    connections: so many of each kind to each replica. Seconds: operation bounds a whole search or bind over all
    replicas; answer one replica's part in it, where there is another one to be asked after it.
    """

    uris: tuple[str, ...]
    base: str
    identity: Identity = Identity()
    starttls: bool = False
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    canary: str | None = None
    connections: int = 4
    connect_seconds: float = 2.0
    answer_seconds: float = 2.5
    operation_seconds: float = 6.0
    checkout_seconds: float = 2.0
    idle_seconds: float = 60.0
    lifetime_seconds: float = 600.0
