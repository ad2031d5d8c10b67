"""Persons: what a directory says about somebody, and how it is read off an entry.

A Person is frozen and made of the entry's own values, never of what was typed. An AttributeMap says which attribute
gives which field; it is pure, and it is the place where values from outside are checked:

1. A mail file is a relative path: no "..", no empty or "." level, no NUL or other control character.
2. What a template such as "{short_name}" puts into a path is one piece of one level: no "/", no dot at its beginning.
3. A value that cannot be taken is left out and logged; a mail file or a status that cannot be taken is never
   replaced by the next best source, because somebody meant something by it.
4. Stored passwords are not part of any text: repr hides them.

The person's mail belongs to `identity`, so that a name that is given to somebody else does not inherit mail.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from imapd.directory import dn as names
from imapd.directory.names import Level

log = logging.getLogger("imapd.directory")

Attributes = Mapping[str, Sequence[bytes]]

_DAY = 86_400
_LONGEST_LEVEL = 255  # NAME_MAX of the file systems we know, in octets
_LONGEST_PATH = 1_000

# What a status attribute that cannot be read counts as: fail closed.
_LONG_AGO = 0

# How a value of authPassword (RFC 3112) is marked among the passwords: it must never be taken for a clear one.
AUTH_PASSWORD = b"{authPassword}"


class Status(Enum):
    """Whether the directory lets the person in; an end that lies in the future is not in here, see `barred`."""

    ACTIVE = "active"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an entry in a directory.

    uid is the entry's unchanging id. mail_file is None where the entry gives none that may be used. quota_bytes and
    quota_messages: None where nothing is said, 0 for no limit. expires: seconds since the epoch, or None.
    """

    directory: str
    uid: str
    dn: str
    user_name: str
    full_names: tuple[str, ...] = ()
    short_name: str | None = None
    internet_address: str | None = None
    addresses: tuple[str, ...] = ()
    mail_file: str | None = None
    mail_server: str | None = None
    quota_bytes: int | None = None
    quota_messages: int | None = None
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
    status: Status = Status.ACTIVE
    expires: int | None = None
    passwords: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def identity(self) -> str:
        """What the person's mail belongs to: the directory and the entry's id, whatever the person is called now."""
        return f"{self.directory}/{self.uid}"

    def barred(self, now: float) -> str | None:
        """Why the person may not log in at this time, or None."""
        if self.status is not Status.ACTIVE:
            return f"the entry is {self.status.value}"
        if self.expires is not None and now >= self.expires:
            return "the account has expired"
        return None


# Fields of a preset: where each comes from, the first source that is there wins. A text with "{" is a template.
INETORGPERSON: Mapping[str, tuple[str, ...]] = {
    "object_class": ("inetOrgPerson",),  # a class's name, not an attribute
    "unique_id": ("entryUUID",),
    "unique_login": ("uid", "mail"),
    "login": ("uid", "mail", "cn"),
    "more_login": ("sn", "givenName"),
    "user_name": ("cn",),
    "short_name": ("uid",),
    "internet_address": ("mail",),
    "addresses": ("mailLocalAddress",),
    "mail_server": ("mailHost",),
    "mail_file": (),
    "quota": (),
    "quota_messages": (),
    "certificates": ("userCertificate;binary", "userCertificate", "userSMIMECertificate;binary"),
    "auth_passwords": ("authPassword",),
    "passwords": ("userPassword",),
    "locked": ("pwdAccountLockedTime",),
    "expires": ("shadowExpire",),
}

PRESETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {"inetorgperson": INETORGPERSON}


class AttributeMap:
    """Which attribute of an entry gives which field of a Person."""

    def __init__(self, sources: Mapping[str, tuple[str, ...]], mail_prefix: str | None = None) -> None:
        self._sources = sources
        self._mail_prefix = mail_prefix
        if mail_prefix is not None and (fault := path_fault(mail_prefix)):
            raise ValueError(f"mail_prefix {mail_prefix!r}: {fault}")
        for sources_of_field in sources.values():
            for source in sources_of_field:
                if "{" in source or "}" in source:
                    _check_template(source)

    @classmethod
    def load(
        cls,
        preset: str = "inetorgperson",
        overrides: Mapping[str, str | Sequence[str]] | None = None,
        mail_file: str | None = None,
        mail_prefix: str | None = None,
    ) -> "AttributeMap":
        """A preset with what the administrator said instead; ValueError names what is not known.

        mail_file is the template for people whose entry names no mail file.
        """
        if preset not in PRESETS:
            raise ValueError(f"the preset {preset!r} is not known, only {', '.join(sorted(PRESETS))}")
        sources = dict(PRESETS[preset])
        for name, wanted in (overrides or {}).items():
            if name not in sources:
                raise ValueError(f"{name!r} is not a field of a person; there are {', '.join(sorted(sources))}")
            sources[name] = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        if mail_file is not None:
            sources["mail_file"] += (mail_file,)
        return cls(sources, mail_prefix)

    def is_person(self, attributes: Attributes) -> bool:
        """Whether an entry with these attributes is a person at all."""
        classes = {value.lower() for value in attributes.get("objectclass", ())}
        return any(name.lower().encode() in classes for name in self._sources["object_class"])

    def login_values(self, attributes: Attributes, level: Level) -> Iterator[tuple[str, str]]:
        """What the person may type at login: (attribute in lower case, key of the value)."""
        more = self._sources["more_login"] if level is Level.MORE else ()
        return self._keys(attributes, (*self._sources["login"], *more))

    def unique_values(self, attributes: Attributes) -> Iterator[tuple[str, str]]:
        """The values among them that nobody else may have, in whichever of these attributes."""
        return self._keys(attributes, self._sources["unique_login"])

    def person(self, directory: str, dn: str, attributes: Attributes) -> Person:
        """The person of an entry; attributes by their names in lower case."""
        user_names = self._texts("user_name", attributes)
        addresses = [*self._texts("internet_address", attributes), *self._texts("addresses", attributes)]
        short_name = next(iter(self._texts("short_name", attributes)), None)
        unique_ids = self._texts("unique_id", attributes)
        values = {
            "short_name": short_name,
            "user_name": user_names[0] if user_names else None,
            "internet_address": addresses[0] if addresses else None,
            "local_part": addresses[0].rpartition("@")[0] if addresses else None,
            "domain": addresses[0].rpartition("@")[2].lower() if addresses else None,
        }
        return Person(
            directory=directory,
            uid=unique_ids[0].strip().lower() if unique_ids and unique_ids[0].strip() else names.key(dn),
            dn=dn,
            user_name=user_names[0] if user_names else short_name or dn,
            full_names=tuple(user_names),
            short_name=short_name,
            internet_address=addresses[0] if addresses else None,
            addresses=tuple(dict.fromkeys(addresses[1:])),
            mail_file=self._mail_file(dn, attributes, values),
            mail_server=next(iter(self._texts("mail_server", attributes)), None),
            quota_bytes=self._quota("quota", dn, attributes),
            quota_messages=self._quota("quota_messages", dn, attributes),
            certificates=tuple(self._all("certificates", attributes)),
            status=Status.LOCKED if self._first("locked", attributes) else Status.ACTIVE,
            expires=self._expires(dn, attributes),
            passwords=(
                *(AUTH_PASSWORD + value for value in self._all("auth_passwords", attributes)),
                *self._all("passwords", attributes),
            ),
        )

    def _keys(self, attributes: Attributes, wanted: Sequence[str]) -> Iterator[tuple[str, str]]:
        for name in wanted:
            for value in attributes.get(name.lower(), ()):
                key = names.text_key(_text(value) or "")
                if key:
                    yield name.lower(), key

    def _first(self, field_name: str, attributes: Attributes) -> Sequence[bytes]:
        """The values of the first source that is there."""
        return next((found for name in self._sources[field_name] if (found := attributes.get(name.lower()))), ())

    def _all(self, field_name: str, attributes: Attributes) -> Iterator[bytes]:
        return (value for name in self._sources[field_name] for value in attributes.get(name.lower(), ()))

    def _texts(self, field_name: str, attributes: Attributes) -> list[str]:
        return [text for value in self._first(field_name, attributes) if (text := (_text(value) or "").strip())]

    def _mail_file(self, dn: str, attributes: Attributes, values: Mapping[str, str | None]) -> str | None:
        for source in self._sources["mail_file"]:
            if "{" in source:
                path, fault = _fill(source, values)
            elif found := attributes.get(source.lower()):
                path = _text(found[0])
                fault = path_fault(path) if path is not None else "it is not UTF-8"
            else:
                continue
            if path is not None and fault is None:
                return f"{self._mail_prefix}/{path}" if self._mail_prefix else path
            log.warning("%r has no mail file: %s: %s", dn, source, fault)
            return None
        return None

    def _quota(self, field_name: str, dn: str, attributes: Attributes) -> int | None:
        values = self._first(field_name, attributes)
        if not values:
            return None
        bytes_limit, messages_limit = parse_quota(values[0])
        limit = bytes_limit if field_name == "quota" else messages_limit
        if limit is None:
            log.warning("%r: the quota %r cannot be read; it is not used", dn, values[0][:40])
        return limit

    def _expires(self, dn: str, attributes: Attributes) -> int | None:
        """shadowExpire counts days; a negative number means never. 0 is how some sites close an account."""
        values = self._first("expires", attributes)
        if not values:
            return None
        if not re.fullmatch(rb"\s*-?[0-9]{1,9}\s*", values[0]):
            log.warning("%r: the expiry %r cannot be read; the account counts as expired", dn, values[0][:40])
            return _LONG_AGO
        days = int(values[0])
        return days * _DAY if days >= 0 else None


def path_fault(path: str) -> str | None:
    """What is wrong with a mail file's path, or None."""
    if path.startswith("/"):
        return "it is not relative"
    if any(char < " " or "\x7f" <= char <= "\x9f" for char in path):
        return "it has control characters"
    levels = path.split("/")
    if any(level in ("", ".", "..") for level in levels):
        return 'it has a level that is empty, "." or ".."'
    octets = [len(level.encode("utf-8")) for level in levels]
    if max(octets) > _LONGEST_LEVEL or sum(octets) > _LONGEST_PATH:
        return "it is too long"
    return None


def parse_quota(value: bytes) -> tuple[int | None, int | None]:
    """A quota as (octets, messages), either None where it is not said or cannot be read.

    A bare number counts for both, as its field wants; `1000000S,1000C` is qmail's way to say both.
    """
    text = value.strip()
    if re.fullmatch(rb"[0-9]{1,18}", text):
        return int(text), int(text)
    if match := re.fullmatch(rb"([0-9]{1,18})S(?:,([0-9]{1,18})C)?", text):
        return int(match[1]), int(match[2]) if match[2] else None
    if match := re.fullmatch(rb"([0-9]{1,18})C", text):
        return None, int(match[1])
    return None, None


_PLACES = ("short_name", "user_name", "internet_address", "local_part", "domain")


def _check_template(template: str) -> None:
    bare = re.sub(r"\{(" + "|".join(_PLACES) + r")\}", "x", template)
    if "{" in bare or "}" in bare:
        raise ValueError(f"the template {template!r} may have {', '.join('{' + place + '}' for place in _PLACES)} only")
    if fault := path_fault(bare):
        raise ValueError(f"the template {template!r}: {fault}")


def _fill(template: str, values: Mapping[str, str | None]) -> tuple[str | None, str | None]:
    """The path that a template gives, or None, and what is wrong with it."""
    path = template
    for place in _PLACES:
        if "{" + place + "}" not in template:
            continue
        value = values[place]
        if not value:
            return None, f"the entry has no {place}"
        if "/" in value or value.startswith("."):
            return None, f"{place} {value[:80]!r} has a slash or begins with a dot"
        # A brace in a value would be taken for the next place.
        if "{" in value or "}" in value:
            return None, f"{place} {value[:80]!r} has a brace"
        path = path.replace("{" + place + "}", value)
    return path, path_fault(path)


def _text(value: bytes) -> str | None:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None
