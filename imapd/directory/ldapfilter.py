"""Search filters for LDAP directories (RFC 4511 section 4.5.1.7), made from pairs of attribute and value only.

There is no way to hand in filter text: a value is data, whatever is in it. There is no NOT either: servers disagree on
what it means for attributes that an entry does not have, and a person must never be found by what he lacks. Status and
exceptions are read from the entry and decided in our own code.

`str()` gives the text of RFC 4515. Attribute names come from the configuration and from presets; one that could change
the filter's meaning raises ValueError.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# A name or a numeric OID, then options: userCertificate;binary (RFC 4512 sections 1.4 and 2.5).
_ATTRIBUTE = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)(?:;[A-Za-z0-9-]+)*", re.ASCII)
# A matching rule is named like an attribute without options.
_RULE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+", re.ASCII)

# What stands for itself in a value. All else is written as \xx, also what RFC 4515 would let pass: less to trust.
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$%'+,-./:;?@[]^_{}\"")


class Filter:
    """A filter. Made by equal(), present(), matching(), any_of() and all_of() alone."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Equal(Filter):
    attribute: str
    value: bytes
    rule: str | None = None

    def __str__(self) -> str:
        rule = f":{self.rule}:" if self.rule else ""
        return f"({self.attribute}{rule}={escaped(self.value)})"


@dataclass(frozen=True, slots=True)
class _Present(Filter):
    attribute: str

    def __str__(self) -> str:
        return f"({self.attribute}=*)"


@dataclass(frozen=True, slots=True)
class _Several(Filter):
    sign: str
    filters: tuple[Filter, ...]

    def __str__(self) -> str:
        return f"({self.sign}{''.join(map(str, self.filters))})"


def equal(attribute: str, value: str | bytes) -> Filter:
    """The attribute has this value, by the attribute's own equality. Text is sent as UTF-8."""
    return _Equal(_checked(attribute, _ATTRIBUTE), _octets(value))


def matching(attribute: str, rule: str, value: str | bytes) -> Filter:
    """The attribute matches the value by a named rule: certificateExactMatch, or nested groups in Active Directory."""
    return _Equal(_checked(attribute, _ATTRIBUTE), _octets(value), _checked(rule, _RULE))


def present(attribute: str) -> Filter:
    """The attribute has some value."""
    return _Present(_checked(attribute, _ATTRIBUTE))


def any_of(*filters: Filter) -> Filter:
    """At least one of the filters holds."""
    return _several("|", filters)


def all_of(*filters: Filter) -> Filter:
    """All filters hold."""
    return _several("&", filters)


def escaped(value: bytes) -> str:
    """A value as RFC 4515 section 3 writes it, in ASCII."""
    # Spaces at the ends are escaped: readers of filters strip them, and a binary value may begin or end with the octet.
    first, last = len(value) - len(value.lstrip(b" ")), len(value.rstrip(b" "))
    return "".join(
        chr(octet) if octet in _PLAIN and first <= at < last else f"\\{octet:02x}" for at, octet in enumerate(value)
    )


def _several(sign: str, filters: Sequence[Filter]) -> Filter:
    # RFC 4526 gives "(&)" and "(|)" a meaning, true and false, and not every server follows it.
    if not filters:
        raise ValueError("a filter of no filters")
    for one in filters:
        if not isinstance(one, Filter):
            raise TypeError(f"a filter is made of filters, not of {type(one).__name__}")
    return filters[0] if len(filters) == 1 else _Several(sign, tuple(filters))


def _checked(name: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an attribute or matching rule")
    return name


def _octets(value: str | bytes) -> bytes:
    octets = value.encode("utf-8") if isinstance(value, str) else bytes(value)
    # An empty assertion matches nothing that we look for, and some servers read it as a presence test.
    if not octets:
        raise ValueError("an empty value in a filter")
    return octets
