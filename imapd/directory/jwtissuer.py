"""JSON Web Tokens (RFC 7519, RFC 9068), checked with the issuer's public keys.

The issuer is not asked about a token; it is enough that its keys are at hand, in a file or at an address that the
administrator names. Promises:

1. Only a signature by one of the issuer's public keys counts, in an algorithm for public keys; "none" and the shared
   secrets of HS256 are nothing that a token may choose.
2. A token has to say who issued it, for whom it is meant, and when it ends, and all of that has to be right.
3. The keys are read again when they are old, and when a token names one that is not there, though not more often than
   LEAST_AGE. Keys that cannot be read again stay in force; where there have never been any, that is Unreachable.
4. No token is in any text.

Not imported before a worker's sockets are patched: it brings urllib and what of it is bound to sockets.
"""

import json
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from imapd.directory.tokens import Terms
from imapd.model.errors import Unreachable
from imapd.model.loop import Loop

log = logging.getLogger("imapd.directory")

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# Clocks of two machines differ.
LEEWAY = 60
# Issuers change keys every few weeks and announce new ones a day before.
OLDEST = 6 * 3600.0
# A token with a key that nobody has costs the issuer one question at most in that time.
LEAST_AGE = 60.0
_PATIENCE = 5.0
_MOST_OCTETS = 1 << 20
_MOST_KEYS = 100


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and the one algorithm that it is for, if the issuer says so."""

    public: Any
    algorithm: str | None = None


class JwtIssuer:
    """A tokens.Issuer with a set of keys (RFC 7517). read: gives the octets of the set, and may wait."""

    def __init__(self, terms: Terms, loop: Loop, read: Callable[[], bytes]) -> None:
        self._terms = terms
        self._loop = loop
        self._read = read
        self._keys: Mapping[str, Key] = {}
        self._lock = loop.lock()
        self._tried = float("-inf")
        self._taken = float("-inf")

    def holder(self, token: str) -> str:
        """See tokens.Issuer."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise ValueError(f"the token cannot be read: {error}") from None
        if header.get("alg") not in ALGORITHMS:
            raise ValueError(f"the token's algorithm {str(header.get('alg'))[:20]!r} is not taken")
        key = self._key(header.get("kid"))
        if key.algorithm not in (None, header["alg"]):
            raise ValueError("the token's algorithm is not that of its key")
        try:
            claims = jwt.decode(
                token,
                key.public,
                algorithms=[header["alg"]],
                issuer=self._terms.issuer,
                audience=self._terms.audience,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise ValueError(f"the token is not right: {error}") from None
        return self._name(claims)

    def _name(self, claims: Mapping[str, Any]) -> str:
        terms = self._terms
        if terms.scope is not None and terms.scope not in _scopes(claims):
            raise ValueError(f"the token has not the scope {terms.scope!r}")
        # An address that its owner has not shown to be his is anybody's.
        if terms.claim == "email" and claims.get("email_verified") is False:
            raise ValueError("the token's address is not verified")
        name = claims.get(terms.claim)
        if not isinstance(name, str) or not name:
            raise ValueError(f"the token has no {terms.claim!r}")
        return name

    def _key(self, name: object) -> Key:
        if not self._keys:
            self._renew()
        elif self._loop.monotonic() - max(self._taken + OLDEST, self._tried + LEAST_AGE) > 0:
            self._loop.spawn(self._renew)  # the old ones do until then
        if not self._keys:
            raise Unreachable("the keys of the issuer of tokens have not been seen yet")
        key = self._named(name)
        if key is None:
            self._renew()
            key = self._named(name)
        if key is None:
            raise ValueError(f"the token's key {str(name)[:80]!r} is none of the issuer's")
        return key

    def _named(self, name: object) -> Key | None:
        if name is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(name) if isinstance(name, str) else None

    def _renew(self) -> None:
        with self._lock:  # who waited for another one's question does not ask again
            if self._loop.monotonic() - self._tried < LEAST_AGE:
                return
            self._tried = self._loop.monotonic()
            try:
                self._keys = keys_of(self._loop.offload(self._read))
            except (OSError, ValueError) as error:
                log.error("the keys of the issuer of tokens cannot be read: %s", error)
            else:
                self._taken = self._loop.monotonic()


def keys_of(data: bytes) -> dict[str, Key]:
    """The public keys of a set by their names; ValueError where it is none, or empty."""
    try:
        listed = json.loads(data)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("there is no set of keys (RFC 7517)") from None
    found: dict[str, Key] = {}
    for number, one in enumerate(listed[:_MOST_KEYS] if isinstance(listed, list) else []):
        # A secret key, or one for encrypting, is none that a token is checked with.
        if not isinstance(one, dict) or one.get("kty") not in ("RSA", "EC", "OKP") or one.get("use", "sig") != "sig":
            continue
        try:
            found[str(one.get("kid", number))] = Key(jwt.PyJWK(one).key, one.get("alg"))
        except jwt.PyJWTError:
            continue
    if not found:
        raise ValueError("the set has no key that signatures are checked with")
    return found


def reader(place: str) -> Callable[[], bytes]:
    """What reads a set of keys from a file or from an https:// address. ValueError for another kind of address."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", place):
        if not place.startswith("https://"):
            raise ValueError(f"{place}: keys are fetched from https:// only")
        return lambda: _fetch(place)
    return lambda: _read_file(place)


class _NotElsewhere(urllib.request.HTTPRedirectHandler):
    """Keys come from where the administrator said, and from nowhere that that place says."""

    def redirect_request(self, *arguments: Any, **more: Any) -> None:
        return None


def _fetch(address: str) -> bytes:
    opener = urllib.request.build_opener(_NotElsewhere)
    with opener.open(address, timeout=_PATIENCE) as response:
        data: bytes = response.read(_MOST_OCTETS + 1)
    return _bounded(data)


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return _bounded(file.read(_MOST_OCTETS + 1))


def _bounded(data: bytes) -> bytes:
    if len(data) > _MOST_OCTETS:
        raise ValueError(f"the set of keys is longer than {_MOST_OCTETS} octets")
    return data


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    """The words of the scope: one text (RFC 8693 section 4.2), or, as some issuers have it, a list in "scp"."""
    said = claims.get("scope", claims.get("scp", ""))
    return said.split() if isinstance(said, str) else [one for one in said if isinstance(one, str)]
