"""Persons: what a directory says about somebody, and how it is read off an entry.

A Person is frozen and made of the entry's own values, never of what was typed. An AttributeMap says which attribute
gives which field; it is pure, and it is the place where values from outside are checked:

1. A mail file is a relative path, by the rules of directory/mailfile.
2. A value that cannot be taken is left out and logged; a mail file that cannot be taken is never replaced by the next
   best source, because somebody meant something by it, and a status that cannot be read closes the account.
3. Stored passwords are not part of any text: repr hides them.

The person's mail belongs to `identity`, so that a name that is given to somebody else does not inherit mail.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from imapd.directory import dn as names
from imapd.directory import mailfile, status, values
from imapd.directory.mailfile import path_fault as path_fault
from imapd.directory.names import Level
from imapd.directory.presets import PRESETS, Preset
from imapd.directory.status import Finding
from imapd.directory.status import Status as Status
from imapd.directory.values import parse_quota as parse_quota

log = logging.getLogger("imapd.directory")

Attributes = Mapping[str, Sequence[bytes]]

# How a value of authPassword (RFC 3112) is marked among the passwords: it must never be taken for a clear one.
AUTH_PASSWORD = b"{authPassword}"

# Fields whose values are secrets: not asked for unless they are to be compared here.
_SECRETS = ("auth_passwords", "passwords")
# Fields of groups, and of what an entry must be to count; they are no part of a person.
_NOT_OF_PERSONS = (
    "object_class",
    "object_category",
    "unique_login",
    "more_login",
    "login",
    "group_class",
    "group_members",
    "group_names",
    "member_of",
    "primary_group",
)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an entry in a directory.

    uid is the entry's unchanging id. mail_file is None where the entry gives none that may be used. quota_bytes and
    quota_messages: None where nothing is said, 0 for no limit. expires: seconds since the epoch, or None. forwarding:
    where the mail of somebody without a mail file goes. acted_by: the identity of the administrator who acts as this
    person in a session; no entry says that.
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
    mail_domain: str | None = None
    forwarding: str | None = None
    quota_bytes: int | None = None
    quota_messages: int | None = None
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
    status: Status = Status.ACTIVE
    expires: int | None = None
    passwords: tuple[bytes, ...] = field(default=(), repr=False)
    acted_by: str | None = field(default=None, compare=False)

    @property
    def identity(self) -> str:
        """What the person's mail belongs to: the directory and the entry's id, whatever the person is called now."""
        return f"{self.directory}/{self.uid}"

    def is_called(self, name: str) -> bool:
        """Whether somebody who says this name, or identity, may mean the person; several people may be called so."""
        called = [self.dn, names.slashed(self.dn), self.user_name, *self.full_names, *self.addresses]
        called += [one for one in (self.short_name, self.internet_address) if one is not None]
        return name == self.identity or names.text_key(name) in {names.text_key(one) for one in called}

    def barred(self, now: float) -> str | None:
        """Why the person may not log in at this time, or None."""
        if self.status is not Status.ACTIVE:
            return f"the entry is {self.status.value}"
        if self.expires is not None and now >= self.expires:
            return "the account has expired"
        return None


class AttributeMap:
    """Which attribute of an entry gives which field of a Person.

    binds: passwords are checked by the server, which knows of locks and of passwords to be changed by itself.
    """

    def __init__(self, sources: Preset, mail_prefix: str | None = None, binds: bool = False) -> None:
        self._sources = sources
        self._mail_prefix = mail_prefix
        self._binds = binds
        if mail_prefix is not None and (fault := path_fault(mail_prefix)):
            raise ValueError(f"mail_prefix {mail_prefix!r}: {fault}")
        for name, sources_of_field in sources.items():
            for source in sources_of_field:
                if "{" in source or "}" in source:
                    if name != "mail_file":
                        raise ValueError(f"{name}: {source!r} is a template, and only mail_file may have one")
                    mailfile.check_template(source)
        for source in sources["status"]:
            if source.lower() not in status.READERS:
                raise ValueError(
                    f"status: {source!r} is not an attribute that can be read; there are {', '.join(status.READERS)}"
                )

    @classmethod
    def load(
        cls,
        preset: str = "inetorgperson",
        overrides: Mapping[str, str | Sequence[str]] | None = None,
        mail_file: str | None = None,
        mail_prefix: str | None = None,
        binds: bool = False,
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
        return cls(sources, mail_prefix, binds)

    def sources(self, field_name: str) -> tuple[str, ...]:
        """The attributes, or classes, of a field, as they are configured."""
        return tuple(source for source in self._sources[field_name] if "{" not in source)

    def attributes(self, secrets: bool) -> tuple[str, ...]:
        """All attributes that persons are made of, each once; stored passwords only where they are wanted."""
        wanted = [
            source
            for name in self._sources
            if name not in _NOT_OF_PERSONS and (secrets or name not in _SECRETS)
            for source in self.sources(name)
            if source != "dn"
        ]
        return tuple({source.lower(): source for source in wanted}.values())

    def login_attributes(self, limited_to: str | None, level: Level) -> tuple[str, ...]:
        """The attributes in which a typed name is looked for; all, or the one that it was limited to.

        The twin of uid is the short name, whatever a preset calls it.
        """
        every = (*self._sources["login"], *(self._sources["more_login"] if level is Level.MORE else ()))
        if limited_to is None:
            return every
        twins = {limited_to, *(name.lower() for name in self._sources["short_name"] if limited_to == "uid")}
        return tuple(name for name in every if name.lower() in twins)

    def is_person(self, attributes: Attributes) -> bool:
        """Whether an entry with these attributes is a person at all."""
        classes = {value.lower() for value in attributes.get("objectclass", ())}
        # A class's name; an exported entry has the DN of the class instead.
        named = attributes.get("objectcategory", ())
        categories = {value.lower().partition(b",")[0].removeprefix(b"cn=") for value in named}
        of_class = any(name.lower().encode() in classes for name in self._sources["object_class"])
        return of_class and all(name.lower().encode() in categories for name in self._sources["object_category"])

    def login_values(self, attributes: Attributes, level: Level) -> Iterator[tuple[str, str]]:
        """What the person may type at login: (attribute in lower case, key of the value)."""
        return self._keys(attributes, self.login_attributes(None, level))

    def unique_values(self, attributes: Attributes) -> Iterator[tuple[str, str]]:
        """The values among them that nobody else may have, in whichever of these attributes."""
        return self._keys(attributes, self._sources["unique_login"])

    def unique_id(self, dn: str, attributes: Attributes) -> str:
        """The entry's unchanging id; where it has none, its name in one spelling."""
        for source in self._sources["unique_id"]:
            for value in attributes.get(source.lower(), ())[:1]:
                if uid := values.unique_id(source, value):
                    return uid
        return names.key(dn)

    def person(self, directory: str, dn: str, attributes: Attributes) -> Person:
        """The person of an entry; attributes by their names in lower case."""
        user_names = self._texts("user_name", dn, attributes)
        addresses = self._addresses(dn, attributes)
        short_name = self._text("short_name", dn, attributes)
        user_name = user_names[0] if user_names else None
        places = {
            "short_name": short_name,
            "user_name": user_name,
            "internet_address": addresses[0] if addresses else None,
            "local_part": addresses[0].rpartition("@")[0] if addresses else None,
            "domain": addresses[0].rpartition("@")[2].lower() if addresses else None,
        }
        state, expires = status.combine(self._findings(dn, attributes))
        return Person(
            directory=directory,
            uid=self.unique_id(dn, attributes),
            dn=dn,
            user_name=user_name or short_name or dn,
            full_names=tuple(dict.fromkeys(self._all_texts("full_names", attributes))),
            short_name=short_name,
            internet_address=addresses[0] if addresses else None,
            addresses=tuple(addresses[1:]),
            mail_file=self._mail_file(dn, attributes, places),
            mail_server=self._text("mail_server", dn, attributes),
            mail_domain=self._text("mail_domain", dn, attributes),
            forwarding=self._text("forwarding", dn, attributes),
            quota_bytes=self._quota("quota", dn, attributes),
            quota_messages=self._quota("quota_messages", dn, attributes),
            certificates=tuple(self._all("certificates", attributes)),
            status=state,
            expires=expires,
            passwords=(
                *(AUTH_PASSWORD + value for value in self._all("auth_passwords", attributes)),
                *self._all("passwords", attributes),
            ),
        )

    def _keys(self, attributes: Attributes, wanted: Sequence[str]) -> Iterator[tuple[str, str]]:
        for name in wanted:
            for value in attributes.get(name.lower(), ()):
                key = names.text_key(values.text(value) or "")
                if key:
                    yield name.lower(), key

    def _all(self, field_name: str, attributes: Attributes) -> Iterator[bytes]:
        """The values of all sources."""
        return (value for name in self._sources[field_name] for value in attributes.get(name.lower(), ()))

    def _all_texts(self, field_name: str, attributes: Attributes) -> list[str]:
        return [
            text for name in self._sources[field_name] for text in values.texts(name, attributes.get(name.lower(), ()))
        ]

    def _texts(self, field_name: str, dn: str, attributes: Attributes) -> list[str]:
        """The texts of the first source that has any."""
        for name in self._sources[field_name]:
            found = [names.slashed(dn)] if name == "dn" else values.texts(name, attributes.get(name.lower(), ()))
            if found:
                return found
        return []

    def _text(self, field_name: str, dn: str, attributes: Attributes) -> str | None:
        return next(iter(self._texts(field_name, dn, attributes)), None)

    def _addresses(self, dn: str, attributes: Attributes) -> list[str]:
        """All addresses, the person's own first, each once however it is spelled."""
        found = [*self._texts("internet_address", dn, attributes), *self._all_texts("addresses", attributes)]
        return list({address.lower(): address for address in reversed(found)}.values())[::-1]

    def _mail_file(self, dn: str, attributes: Attributes, places: Mapping[str, str | None]) -> str | None:
        for source in self._sources["mail_file"]:
            if "{" in source:
                if forwarding := self._text("forwarding", dn, attributes):
                    log.warning("%r has no mail file: the entry names none, and all mail goes to %r", dn, forwarding)
                    return None
                path, fault = mailfile.filled(source, places)
            elif found := attributes.get(source.lower()):
                path, fault = mailfile.written(source, found[0])
            else:
                continue
            if path is not None and fault is None:
                return f"{self._mail_prefix}/{path}" if self._mail_prefix else path
            log.warning("%r has no mail file: %s: %s", dn, source, fault)
            return None
        return None

    def _quota(self, field_name: str, dn: str, attributes: Attributes) -> int | None:
        for source in self._sources[field_name]:
            for value in attributes.get(source.lower(), ())[:1]:
                octets, messages = values.quota(source, value)
                if octets is None and messages is None:
                    log.warning("%r: the quota %r cannot be read; it is not used", dn, value[:40])
                    return None
                if field_name == "quota":
                    return octets
                # One attribute for both limits: a bare number is the octets.
                both = source in self._sources["quota"] and octets == messages
                return None if both else messages
        return None

    def _findings(self, dn: str, attributes: Attributes) -> Iterator[Finding]:
        for source in self._sources["status"]:
            try:
                for finding in status.read(source, attributes.get(source.lower(), ())):
                    if not (self._binds and finding.told_by_bind):
                        yield finding
            except ValueError as fault:
                log.warning("%r: %s cannot be read, so the account counts as disabled: %s", dn, source, fault)
                yield Finding(Status.DISABLED)
