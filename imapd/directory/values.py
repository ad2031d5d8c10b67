"""Values of entries as fields of a person: texts, addresses, ids, quotas.

Most attributes hold UTF-8 text. The few that hold something else have a reader here, found by the attribute's name,
whatever field it is mapped to.
"""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence

from imapd.directory import dn as names

# Quotas that count in kilobytes: Exchange, and Kolab with Cyrus. All others that are known count in octets.
_KILOBYTES = {"mdbstoragequota", "mdboverquotalimit", "mdboverhardquotalimit", "cyrus-userquota"}
_UNITS = {b"": 1, b"K": 1 << 10, b"M": 1 << 20, b"G": 1 << 30, b"T": 1 << 40}
_MOST = (1 << 63) - 1  # what IMAP can say (RFC 9208 section 3.1.2)


def text(value: bytes) -> str | None:
    """A value as text, or None where it is none."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def texts(attribute: str, values: Sequence[bytes]) -> list[str]:
    """The texts that an attribute holds, without those that are empty or not readable."""
    found = [decoded.strip() for value in values if (decoded := text(value)) is not None]
    return [one for one in _TEXTS.get(attribute.lower(), list)(found) if one]


def unique_id(attribute: str, value: bytes) -> str:
    """An id that does not change, in one spelling. "" where there is none."""
    if attribute.lower() == "objectguid" and len(value) == 16:
        return str(uuid.UUID(bytes_le=value))
    decoded = text(value)
    return value.hex() if decoded is None else decoded.strip().lower()


def unique_value(attribute: str, uid: str) -> bytes:
    """The other way round: the value to look for. ValueError where the attribute cannot have such an id."""
    if attribute.lower() == "objectguid":
        return uuid.UUID(uid).bytes_le
    return uid.encode("utf-8")


def quota(attribute: str, value: bytes) -> tuple[int | None, int | None]:
    """A quota as (octets, messages), in the attribute's own unit."""
    octets, messages = parse_quota(value)
    if octets is not None and attribute.lower() in _KILOBYTES and value.strip().isdigit():
        octets = min(octets * 1024, _MOST)
    return octets, messages


def parse_quota(value: bytes) -> tuple[int | None, int | None]:
    """A quota as (octets, messages), either None where it is not said or cannot be read.

    A bare number counts for both, as its field wants; `1000000S,1000C` is qmail's way to say both, and `5G` or `500 MB`
    is how people write octets, by powers of 1,024.
    """
    stripped = value.strip()
    if re.fullmatch(rb"[0-9]{1,18}", stripped):
        return int(stripped), int(stripped)
    if match := re.fullmatch(rb"([0-9]{1,18})S(?:,([0-9]{1,18})C)?", stripped):
        return int(match[1]), int(match[2]) if match[2] else None
    if match := re.fullmatch(rb"([0-9]{1,18})C", stripped):
        return None, int(match[1])
    if match := re.fullmatch(rb"([0-9]{1,15}) ?([KMGT])(?:i?B)?", stripped, re.IGNORECASE):
        octets = int(match[1]) * _UNITS[match[2].upper()]
        return (octets, None) if octets <= _MOST else (None, None)
    return None, None


def _proxy_addresses(found: list[str]) -> list[str]:
    """Exchange: only smtp: is an Internet address, and the one in capitals is the first."""
    mail = [one for one in found if one[:5].lower() == "smtp:"]
    return [one[5:].strip() for one in sorted(mail, key=lambda one: not one.startswith("SMTP:"))]


def _abbreviated(found: list[str]) -> list[str]:
    """Domino writes servers' names without their types: CN=Mail1,O=Acme is Mail1/Acme."""
    return [names.abbreviated(one) for one in found]


_TEXTS: Mapping[str, Callable[[list[str]], list[str]]] = {
    "proxyaddresses": _proxy_addresses,
    "mailserver": _abbreviated,
}
