"""Stored passwords: is this the right one? Every scheme that directories hold, with limits.

A stored value is either clear text, or a scheme in braces and its data (RFC 2307, RFC 3112):

    {SSHA} {SHA} {SSHA256} {SHA256} {SSHA384} {SHA384} {SSHA512} {SHA512}   the digest, then salt, in base64
    {PBKDF2-SHA256} {PBKDF2-SHA512} {PBKDF2-SHA1} {PBKDF2}    iterations$salt$key; see _pbkdf2
    {PBKDF2_SHA256}                                           389-ds: one block in base64
    {ARGON2}                                                  $argon2id$v=19$m=..,t=..,p=..$..$..
    {CRYPT}                                                   $5$ $6$ $y$ by crypt(3), $2a$ $2b$ $2y$ by bcrypt
    {SCRAM-SHA-256}                                           iterations,salt,stored key,server key
    SCRAM-SHA-256$iterations:salt$stored key:server key       RFC 5803, in authPassword

Promises: nothing but the right password gives True; comparisons take the same time wherever they differ; a value that
asks for more work or memory than the limits below is refused before any of it is done, because entries may come from
other people's directories; stored values and passwords are in no text and no log line. A password that is empty or has
a NUL is never right. {MD5}, {SMD5} and the old crypt(3) forms are not here: whoever has the file has those passwords.

`check` raises Unusable where a stored value cannot be used; `verify` logs it and says False.
"""

import hashlib
import hmac
import logging
import os
import re
import struct
from collections.abc import Callable

import argon2
import bcrypt
import crypt_r

from imapd.directory import scram
from imapd.directory.person import AUTH_PASSWORD
from imapd.directory.scram import Unusable as Unusable  # checking a password raises it
from imapd.directory.scram import limit_iterations, number, unbase64

log = logging.getLogger("imapd.directory")

# Limits on what a stored value may ask, with scram.MOST_ITERATIONS. The hash pool has two threads, so 256 MiB of argon2
# are 512 at most. bcrypt 16 is about 4 seconds.
MOST_MEMORY = 256 * 2**20
MOST_BCRYPT_COST = 16
MOST_ARGON2_PASSES = 32
MOST_ARGON2_LANES = 16

_SCHEME = re.compile(rb"\{([A-Za-z0-9_.+/-]{1,40})\}")
_CRYPT_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def verify(stored: bytes, password: bytes) -> bool:
    """Whether the password is the right one. What cannot be used is logged, and wrong."""
    try:
        return check(stored, password)
    except Unusable as reason:
        log.warning("a stored password cannot be used: %s", reason)
        return False


def check(stored: bytes, password: bytes) -> bool:
    """The same, but raises Unusable; it does not log, so it may run in another thread."""
    # HMAC fills short keys up with NULs, so "secret" and "secret\0" have one PBKDF2 hash; nobody types a NUL.
    if not password or b"\0" in password:
        return False
    scheme, data = _scheme(stored)
    if scheme is None:
        return _clear(data, password)
    if scheme not in _SCHEMES:
        raise Unusable(f"the scheme {scheme} is not known")
    return _SCHEMES[scheme](data, password)


def slow(stored: bytes) -> bool:
    """Whether checking takes so long that it belongs into the pool of threads for hashes."""
    return _scheme(stored)[0] not in _QUICK


def dummy_verifier() -> bytes:
    """A verifier that no password fits: checked for people who do not exist, so that they cost the same."""
    return scram.made_up(os.urandom(32), "").written().encode("ascii")


def _scheme(stored: bytes) -> tuple[str | None, bytes]:
    """The scheme of a stored value in capitals, None for clear text, and its data."""
    if scram.spelled(stored) or stored.startswith(AUTH_PASSWORD):
        return "SCRAM", stored
    if match := _SCHEME.match(stored):
        return match[1].decode("ascii").upper(), stored[match.end() :]
    return None, stored


def _clear(data: bytes, password: bytes) -> bool:
    return bool(data) and hmac.compare_digest(data, password)


def _digest(algorithm: str, salted: bool) -> Callable[[bytes, bytes], bool]:
    size = hashlib.new(algorithm).digest_size

    def check_digest(data: bytes, password: bytes) -> bool:
        octets = unbase64(data)
        if (len(octets) <= size) if salted else (len(octets) != size):
            raise Unusable("the digest has the wrong length")
        return hmac.compare_digest(octets[:size], hashlib.new(algorithm, password + octets[size:]).digest())

    return check_digest


def _pbkdf2(algorithm: str) -> Callable[[bytes, bytes], bool]:
    """`iterations$salt$key`, both in base64 with "." for "+" and without "=" (or in the usual one)."""

    def check_pbkdf2(data: bytes, password: bytes) -> bool:
        pieces = data.split(b"$")
        if len(pieces) != 3:
            raise Unusable("PBKDF2 data is not iterations$salt$key")
        return _pbkdf2_matches(algorithm, number(pieces[0]), unbase64(pieces[1]), unbase64(pieces[2]), password)

    return check_pbkdf2


def _pbkdf2_389(data: bytes, password: bytes) -> bool:
    """389-ds before 2.0: 4 octets of iterations, most significant first, 64 of salt, 256 of key."""
    octets = unbase64(data)
    if len(octets) != 4 + 64 + 256:
        raise Unusable("the PBKDF2 block has the wrong length")
    return _pbkdf2_matches("sha256", struct.unpack(">I", octets[:4])[0], octets[4:68], octets[68:], password)


def _pbkdf2_matches(algorithm: str, iterations: int, salt: bytes, key: bytes, password: bytes) -> bool:
    size = hashlib.new(algorithm).digest_size
    if len(key) < 16 or len(key) > 512:
        raise Unusable("the PBKDF2 key has an odd length")
    # Each block of the digest's size costs all iterations again.
    limit_iterations(iterations, blocks=-(-len(key) // size))
    return hmac.compare_digest(key, hashlib.pbkdf2_hmac(algorithm, password, salt, iterations, len(key)))


def _argon2(data: bytes, password: bytes) -> bool:
    try:
        text = data.decode("ascii")
        asked = argon2.extract_parameters(text)
    except ValueError:
        raise Unusable("the argon2 data cannot be read") from None
    if asked.memory_cost * 1024 > MOST_MEMORY or asked.time_cost > MOST_ARGON2_PASSES:
        raise Unusable(f"argon2 asks for {asked.memory_cost} KiB and {asked.time_cost} passes, more than allowed")
    if asked.parallelism > MOST_ARGON2_LANES:
        raise Unusable(f"argon2 asks for {asked.parallelism} lanes, more than allowed")
    try:
        return argon2.low_level.verify_secret(data, password, asked.type)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except argon2.exceptions.Argon2Error as error:
        raise Unusable(f"argon2: {error}") from None


def _crypt(data: bytes, password: bytes) -> bool:
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise Unusable("the crypt data is not ASCII") from None
    kind = re.match(r"\$(5|6|y|2[aby])\$", text)
    if kind is None:
        raise Unusable("this form of crypt(3) is not accepted")
    if kind[1].startswith("2"):
        return _bcrypt(text, password)
    limit = _limit_yescrypt if kind[1] == "y" else _limit_sha_crypt
    limit(text)
    try:
        found = crypt_r.crypt(password.decode("utf-8"), text)
    except UnicodeDecodeError:
        return False  # the C function is only to be had for text
    except (ValueError, OSError) as error:
        raise Unusable(f"crypt(3) refuses it: {type(error).__name__}") from None
    if not found or found.startswith("*") or len(found) < 13:
        raise Unusable("crypt(3) refuses it")
    return hmac.compare_digest(found, text)


def _bcrypt(text: str, password: bytes) -> bool:
    if not re.fullmatch(r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}", text):
        raise Unusable("the bcrypt data cannot be read")
    if int(text[4:6]) > MOST_BCRYPT_COST:
        raise Unusable(f"bcrypt asks for cost {int(text[4:6])}, more than allowed")
    try:
        # bcrypt looks at 72 octets only; whoever stored a longer password stored those.
        return bcrypt.checkpw(password[:72], text.encode("ascii"))
    except ValueError:
        raise Unusable("the bcrypt data cannot be read") from None


def _limit_sha_crypt(text: str) -> None:
    if match := re.match(r"\$[56]\$rounds=([0-9]+)\$", text):
        limit_iterations(int(match[1][:12]))


def _limit_yescrypt(text: str) -> None:
    """`$y$` parameters `$` salt `$` hash; the parameters are flavour, log2 N, r, and maybe others.

    N * r * 128 octets are its memory. Parameters beyond these three multiply time, and nobody's passwd writes them.
    """
    parameters = text[3:].partition("$")[0]
    _, rest = _yescrypt_number(parameters, 0)  # the flavour
    log2_n, rest = _yescrypt_number(rest, 1)
    r, rest = _yescrypt_number(rest, 1)
    if rest:
        raise Unusable("yescrypt with unusual parameters")
    if log2_n > 30 or (r << log2_n) * 128 > MOST_MEMORY:
        raise Unusable(f"yescrypt asks for N=2^{log2_n}, r={r}, more than allowed")


def _yescrypt_number(text: str, least: int) -> tuple[int, str]:
    """A number at the beginning of the text: its first character says how many follow."""
    digits = [_CRYPT_ALPHABET.find(char) for char in text]
    if not digits or digits[0] < 0:
        raise Unusable("the yescrypt parameters cannot be read")
    value, start, end, count = least, 0, 47, 1
    while digits[0] > end:
        value += (end + 1 - start) << (6 * (count - 1))
        start = end + 1
        end = start + (62 - end) // 2
        count += 1
    if len(digits) < count or min(digits[:count]) < 0:
        raise Unusable("the yescrypt parameters cannot be read")
    value += (digits[0] - start) << (6 * (count - 1))
    for place in range(1, count):
        value += digits[place] << (6 * (count - 1 - place))
    return value, text[count:]


def _scram(stored: bytes, password: bytes) -> bool:
    verifier = scram.ScramVerifier.read(stored)
    if verifier is None:
        raise Unusable("the value of authPassword is not one of SCRAM")
    return verifier.fits(password)


# Schemes in capitals. The second line of each group: the names that other programs use for the same form.
_SCHEMES: dict[str, Callable[[bytes, bytes], bool]] = {
    "SCRAM": _scram,
    "CLEAR": _clear,
    "CLEARTEXT": _clear,
    "PLAIN": _clear,
    "SHA": _digest("sha1", salted=False),
    "SSHA": _digest("sha1", salted=True),
    "SHA256": _digest("sha256", salted=False),
    "SSHA256": _digest("sha256", salted=True),
    "SHA384": _digest("sha384", salted=False),
    "SSHA384": _digest("sha384", salted=True),
    "SHA512": _digest("sha512", salted=False),
    "SSHA512": _digest("sha512", salted=True),
    "PBKDF2": _pbkdf2("sha1"),
    "PBKDF2-SHA1": _pbkdf2("sha1"),
    "PBKDF2-SHA256": _pbkdf2("sha256"),
    "PBKDF2-SHA512": _pbkdf2("sha512"),
    "PBKDF2_SHA256": _pbkdf2_389,
    "ARGON2": _argon2,
    "ARGON2I": _argon2,
    "ARGON2ID": _argon2,
    "CRYPT": _crypt,
    "SHA256-CRYPT": _crypt,
    "SHA512-CRYPT": _crypt,
    "BLF-CRYPT": _crypt,
}

# What takes microseconds, and clear text.
_QUICK = {None, "CLEAR", "CLEARTEXT", "PLAIN", *(name for name in _SCHEMES if re.fullmatch(r"S?SHA[0-9]*", name))}
