"""SCRAM verifiers (RFC 5802, RFC 7677, RFC 5803): what is stored instead of a password, made, read and checked.

A verifier serves the mechanisms of SCRAM and passwords in the clear alike. Two spellings are read:

    SCRAM-SHA-256$iterations:salt$stored key:server key       RFC 5803, in authPassword; the one that is written
    {SCRAM-SHA-256}iterations,salt,stored key,server key      as some servers keep it in userPassword

Promises: a verifier that asks for more work than MOST_ITERATIONS, or whose keys have the wrong length, is Unusable
before any work is done; keys and salts are in no text; names that have no verifier get one made up, the same salt for
the same name each time, so that nobody learns by the first challenge which names there are.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from imapd.directory.dn import text_key
from imapd.directory.person import AUTH_PASSWORD

# 10,000: about 5 ms for a login; the verifier has to serve people who log in from five programs at once.
ITERATIONS = 10_000
# A directory may be somebody else's. 2,000,000 rounds of PBKDF2-SHA256 are about a second of one core.
MOST_ITERATIONS = 2_000_000

_SALT_SIZE = 16
_RFC5803 = re.compile(
    rb"\s*SCRAM-SHA-(1|256|512)\s*\$"
    rb"\s*([0-9]{1,9}):([A-Za-z0-9+/=]+)\s*\$\s*([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)\s*"
)
_BRACES = re.compile(rb"\{SCRAM-SHA-(1|256|512)\}", re.IGNORECASE)


class Unusable(ValueError):
    """A stored value that cannot be used; the text says why, without any of the value's secrets."""


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """What is kept of a password. algorithm: as hashlib calls it; the mechanisms take sha256 alone."""

    iterations: int
    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    algorithm: str = "sha256"

    @classmethod
    def make(cls, password: bytes | str, iterations: int = ITERATIONS, salt: bytes | None = None) -> "ScramVerifier":
        """A verifier of a new password. ValueError where it is empty, not UTF-8 or has forbidden characters."""
        text = password if isinstance(password, str) else password.decode("utf-8")
        prepared = saslprep(text).encode("utf-8")
        if not prepared:
            raise ValueError("an empty password")
        salt = os.urandom(_SALT_SIZE) if salt is None else salt
        return cls(iterations, salt, *keys("sha256", prepared, salt, iterations))

    @classmethod
    def read(cls, stored: bytes) -> "ScramVerifier | None":
        """The verifier that a stored value is, in either spelling; None where it is something else.

        Raises Unusable where it is one and cannot be used.
        """
        if match := _BRACES.match(stored):
            pieces = stored[match.end() :].split(b",")
            if len(pieces) != 4:
                raise Unusable("SCRAM data is not iterations,salt,stored key,server key")
        elif match := _RFC5803.fullmatch(stored.removeprefix(AUTH_PASSWORD)):
            pieces = list(match.groups()[1:])
        else:
            return None
        salt, stored_key, server_key = map(unbase64, pieces[1:])
        verifier = cls(number(pieces[0]), salt, stored_key, server_key, f"sha{match[1].decode('ascii')}")
        verifier._check()
        return verifier

    def written(self) -> str:
        """The verifier as a value of authPassword (RFC 5803)."""
        salt, stored, server = map(_base64, (self.salt, self.stored_key, self.server_key))
        return f"SCRAM-SHA-{self.algorithm[3:]}${self.iterations}:{salt}${stored}:{server}"

    def fits(self, password: bytes) -> bool:
        """Whether it is the verifier of that password; takes as long as its iterations do."""
        return any(
            hmac.compare_digest(self.stored_key, keys(self.algorithm, form, self.salt, self.iterations)[0])
            for form in _forms(password)
        )

    def _check(self) -> None:
        limit_iterations(self.iterations)
        size = hashlib.new(self.algorithm).digest_size
        if len(self.stored_key) != size or len(self.server_key) != size or not self.salt:
            raise Unusable("the SCRAM keys have the wrong length")


def spelled(stored: bytes) -> bool:
    """Whether a stored value is spelled as a verifier; it may still be unusable."""
    return bool(_BRACES.match(stored) or _RFC5803.fullmatch(stored.removeprefix(AUTH_PASSWORD)))


def among(stored: Iterable[bytes]) -> ScramVerifier | None:
    """The first verifier among stored passwords that SCRAM-SHA-256 can use, or None; the others are passed over."""
    for value in stored:
        try:
            verifier = ScramVerifier.read(value)
        except Unusable:
            continue
        if verifier is not None and verifier.algorithm == "sha256":
            return verifier
    return None


def made_up(secret: bytes, name: str, iterations: int = ITERATIONS) -> ScramVerifier:
    """A verifier that no password fits, for a name without one (RFC 5802 section 9 asks for no less).

    The same name has the same salt under the same secret, however it is spelled.
    """
    salt = hmac.digest(secret, b"salt" + text_key(name).encode("utf-8", "surrogatepass"), "sha256")[:_SALT_SIZE]
    return ScramVerifier(iterations, salt, os.urandom(32), os.urandom(32))


def keys(algorithm: str, password: bytes, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """StoredKey and ServerKey of a prepared password (RFC 5802 section 3)."""
    salted = hashlib.pbkdf2_hmac(algorithm, password, salt, iterations)
    client = hmac.digest(salted, b"Client Key", algorithm)
    return hashlib.new(algorithm, client).digest(), hmac.digest(salted, b"Server Key", algorithm)


def saslprep(text: str) -> str:
    """A password as SCRAM hashes it (RFC 4013, stored strings); ValueError for what is forbidden."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if any(forbidden(char) for char in prepared for forbidden in _FORBIDDEN):
        raise ValueError("a character that may not be in a password")
    # RFC 3454 section 6: right-to-left text stands alone, and at both ends.
    if any(stringprep.in_table_d1(char) for char in prepared):
        ends = stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])
        if not ends or any(stringprep.in_table_d2(char) for char in prepared):
            raise ValueError("left-to-right and right-to-left letters in one password")
    return prepared


# RFC 4013 sections 2.3 and 2.5.
_FORBIDDEN: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def _forms(password: bytes) -> list[bytes]:
    """The octets that a verifier may have been made of: prepared (RFC 5802), or, by others, as they came."""
    try:
        prepared = saslprep(password.decode("utf-8")).encode("utf-8")
    except ValueError:
        return [password]
    return [password] if prepared in (password, b"") else [prepared, password]


# What other schemes of stored passwords read in the same way.


def limit_iterations(iterations: int, blocks: int = 1) -> None:
    """Unusable where a stored value asks for too many iterations, or for none."""
    if iterations < 1 or iterations * blocks > MOST_ITERATIONS:
        raise Unusable(f"{iterations * blocks} iterations are more than allowed, or none")


def number(text: bytes) -> int:
    """The iterations as they are stored."""
    if not re.fullmatch(rb"[0-9]{1,12}", text.strip()):
        raise Unusable("the number of iterations cannot be read")
    return int(text)


def unbase64(data: bytes) -> bytes:
    """Base64 in its usual form, or with "." for "+" and without padding."""
    text = data.strip().replace(b".", b"+").rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise Unusable("the data is not base64") from None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
