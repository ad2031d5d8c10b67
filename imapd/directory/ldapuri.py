"""Where a directory's servers are: the words of the setting `uri`.

    ldap://host[:port]           plain, or with StartTLS where the setting asks for it; port 389
    ldaps://host[:port]          TLS from the beginning; port 636
    ldapi://%2Frun%2Fslapd%2Fldapi   a socket on this machine
    ldap+srv://domain, ldaps+srv://domain   the servers that DNS names for a domain (RFC 2782)

A path behind the host, a search base for instance, is refused: it would have no effect. A slash alone is fine.
"""

from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS = {"ldap": 389, "ldaps": 636}
SRV = "+srv"


@dataclass(frozen=True, slots=True)
class Address:
    """One server. port None: host is the path of a socket on this machine."""

    host: str
    port: int | None
    tls: bool

    def __str__(self) -> str:
        if self.port is None:
            return f"ldapi://{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ldaps' if self.tls else 'ldap'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain whose servers DNS names."""

    name: str
    tls: bool

    def __str__(self) -> str:
        return f"{'ldaps' if self.tls else 'ldap'}{SRV}://{self.name}"


def parse(uri: str) -> Address | Domain:
    """Understand a URI; ValueError, with a sentence for the administrator, for what is none."""
    try:
        parts = urlsplit(uri.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{uri!r} is no LDAP URI: {error}") from None
    if parts.scheme == "ldapi":
        return _local(uri, parts)
    kind = parts.scheme.removesuffix(SRV)
    if kind not in _PORTS:
        raise ValueError(
            f"{uri!r} begins neither with ldap://, ldaps:// or ldapi:// nor with ldap+srv:// or ldaps+srv://"
        )
    if not parts.hostname or parts.username is not None:
        raise ValueError(f"{uri!r} names no host" if not parts.hostname else f"{uri!r} names a user; that is bind_dn")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{uri!r} goes on behind the host; the search base has a setting of its own")
    if parts.scheme.endswith(SRV):
        if port is not None:
            raise ValueError(f"{uri!r} has a port, which is for DNS to say")
        return Domain(parts.hostname.rstrip("."), kind == "ldaps")
    if port == 0:
        raise ValueError(f"{uri!r} has the port 0")
    return Address(parts.hostname, port or _PORTS[kind], kind == "ldaps")


def _local(uri: str, parts: SplitResult) -> Address:
    path = unquote(parts.netloc)
    if not path.startswith("/") or parts.path not in ("", "/") or "\0" in path:
        raise ValueError(f"{uri!r} has no absolute path with its slashes written as %2F")
    return Address(path, None, False)
