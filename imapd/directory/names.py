"""Names typed at login: what kind of name it is, and which directory it may be looked for in.

A login name is an Internet address, a hierarchical name (`cn=Jo Doe,o=Acme`, `CN=Jo Doe/O=Acme` or `Jo Doe/Acme`), or a
flat name (`jo`, `Jo Doe`), maybe limited to one attribute (`uid=jo`, `cn=Jo Doe`). What is garbage is refused here,
before any directory is asked. After the look-up nobody uses the typed name any more: the entry's own values count.

A directory's Scope says which names it may answer for. The primary directory answers for flat names; another one
answers for its own mail domains and naming rules only, so that it cannot take the names of a primary that is down.
"""

import unicodedata
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from imapd.directory import dn

# Longer than any Internet address may be: 64 octets, "@", 255 octets (RFC 5321 section 4.5.3.1).
LONGEST_NAME = 320


class Level(Enum):
    """How many variations of a name are accepted at login."""

    FEWER = "fewer"
    MORE = "more"


class Kind(Enum):
    """What a login name looks like."""

    FLAT = "flat"
    ADDRESS = "address"
    HIERARCHICAL = "hierarchical"


@dataclass(frozen=True)
class LoginName:
    """A name as it was typed, understood.

    key: the form in which it is compared. attribute: "uid" or "cn" where the name was limited to it. domain: of an
    address. dn_key: the key of the whole DN where the name is one; abbreviated: it was written without types. rdn: the
    leaf of that DN, as it reads.
    """

    text: str
    kind: Kind
    key: str
    attribute: str | None = None
    domain: str | None = None
    dn_key: str | None = None
    abbreviated: bool = False
    rdn: dn.Rdn = ()

    @property
    def value(self) -> str:
        """What a server is asked for: the key in the case of the typed name, since a server has its own way to fold
        case ("Straße" is not "strasse" for all)."""
        value = " ".join(unicodedata.normalize("NFKC", self.text).split())
        return value.partition("=")[2].strip() if self.attribute else value

    @classmethod
    def parse(cls, text: str) -> "LoginName":
        """Understand a name; ValueError, with a reason for the log, for what cannot be one."""
        _refuse_garbage(text)
        if (rdns := _distinguished(text)) is not None:
            return cls(text, Kind.HIERARCHICAL, dn.text_key(text), dn_key=dn.key_of(rdns), rdn=rdns[0])
        attribute, key = _attribute_prefix(dn.text_key(text))
        if not key:
            raise ValueError("the name is empty")
        if "@" in key:
            return cls(text, Kind.ADDRESS, key, attribute, domain=key.rpartition("@")[2])
        if attribute is None and (rdns := _abbreviated(text)) is not None:
            return cls(text, Kind.HIERARCHICAL, key, dn_key=dn.key_of(rdns), abbreviated=True, rdn=rdns[0])
        return cls(text, Kind.FLAT, key, attribute)


def _refuse_garbage(text: str) -> None:
    if not text.strip():
        raise ValueError("the name is empty")
    if len(text.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        raise ValueError(f"the name is longer than {LONGEST_NAME} octets")
    if any(char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("the name has control characters")
    if text.strip() == "*":
        raise ValueError("the name is a bare *")


def _distinguished(text: str) -> tuple[dn.Rdn, ...] | None:
    """The parts of a DN written with types, by commas or, as Domino writes it, by slashes."""
    for separator in (",", "/"):
        if separator in text and "=" in text:
            parts = text if separator == "," else ",".join(text.split("/"))
            try:
                rdns = dn.parse(parts)
            except ValueError:
                continue
            if len(rdns) > 1:
                return rdns
    return None


def _attribute_prefix(key: str) -> tuple[str | None, str]:
    prefix, equals, rest = key.partition("=")
    if equals and prefix.strip() in ("uid", "cn"):
        return prefix.strip(), rest.strip()
    return None, key


def _abbreviated(text: str) -> tuple[dn.Rdn, ...] | None:
    """`A/B/C` as the parts of cn=A,ou=B,o=C."""
    levels = [level.strip() for level in text.split("/")]
    if len(levels) < 2 or not all(levels):
        return None
    kinds = ["cn", *["ou"] * (len(levels) - 2), "o"]
    return tuple(((kind, level),) for kind, level in zip(kinds, levels, strict=True))


@dataclass(frozen=True)
class NamingRule:
    """A rule of six parts, `ou4/ou3/ou2/ou1/o/c`: each a literal, "*" for any or none, or empty for none."""

    text: str

    def __post_init__(self) -> None:
        if self.text.count("/") != 5:
            raise ValueError(f"the naming rule {self.text!r} has not six parts, as in */*/*/*/Acme/US")

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        return tuple(dn.text_key(part) for part in self.text.split("/"))

    def matches(self, dn_key: str) -> bool:
        """Whether a DN belongs to the rule; parts other than ou, o and c are not looked at."""
        rdns = dn.parse(dn_key)
        units = [dn.text_key(value) for rdn in rdns for kind, value in rdn if kind == "ou"]
        organizations = [dn.text_key(value) for rdn in rdns for kind, value in rdn if kind == "o"]
        countries = [dn.text_key(value) for rdn in rdns for kind, value in rdn if kind == "c"]
        if len(units) > 4 or len(organizations) > 1 or len(countries) > 1:
            return set(self._parts) == {"*"}
        # Units stand right-aligned: the one next to the organization is ou1, the fourth part of the rule.
        found = [""] * (4 - len(units)) + units + (organizations or [""]) + (countries or [""])
        return all(rule in ("*", value) for rule, value in zip(self._parts, found, strict=True))


@dataclass(frozen=True)
class Scope:
    """Which names a directory may answer for, and for what it is trusted."""

    domains: frozenset[str] = frozenset()
    flat_names: bool = True
    naming_rules: tuple[NamingRule, ...] = ()
    trusted_for: frozenset[str] = frozenset({"credentials"})

    @classmethod
    def of(
        cls,
        primary: bool,
        domains: tuple[str, ...] = (),
        flat_names: bool | None = None,
        naming_rules: tuple[str, ...] = (),
        trusted_for: tuple[str, ...] = ("credentials",),
    ) -> "Scope":
        """A scope as it is configured; flat names belong to the primary alone unless something else is said."""
        return cls(
            domains=frozenset(dn.text_key(domain) for domain in domains),
            flat_names=primary if flat_names is None else flat_names,
            naming_rules=tuple(NamingRule(rule) for rule in naming_rules),
            trusted_for=frozenset(trusted_for),
        )

    def admits(self, name: LoginName) -> bool:
        """Whether a typed name may be looked for here. Without domains or rules of its own, as flat names are."""
        if name.kind is Kind.ADDRESS:
            return name.domain in self.domains if self.domains else self.flat_names
        if name.kind is Kind.HIERARCHICAL and name.dn_key is not None:
            return self._rule_for(name.dn_key) if self.naming_rules else self.flat_names
        return self.flat_names

    def trusts(self, entry_dn: str) -> bool:
        """Whether an entry that was found may be who it says: its DN fits a rule, where there are any."""
        return self._rule_for(dn.key(entry_dn)) if self.naming_rules else True

    def _rule_for(self, dn_key: str) -> bool:
        return any(rule.matches(dn_key) for rule in self.naming_rules)
