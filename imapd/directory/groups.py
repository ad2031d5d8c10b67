"""Groups: who is in one, directly or by groups in it.

Groups are followed upwards, from a person to the groups that name him and to the groups that name those: nobody has to
read a group of thousands for one person. The way ends after DEPTH groups, and a group is looked at once, so that
groups which hold each other do no harm.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from imapd.directory import dn as names
from imapd.directory import values
from imapd.directory.person import AttributeMap, Attributes

log = logging.getLogger("imapd.directory")

# How many groups may lie between a person and the group that is asked for.
DEPTH = 8

# From the DNs of some groups to the DNs of the groups that hold any of them.
Above = Callable[[Sequence[str]], Iterable[str]]


def reaches(direct: Iterable[str], group: str, above: Above) -> bool:
    """Whether the way up from a person's direct groups comes to a group. Malformed names raise ValueError."""
    wanted = names.key(group)
    found = {names.key(dn): dn for dn in direct}
    seen: set[str] = set()
    for _ in range(DEPTH):
        if wanted in found:
            return True
        level = [dn for key, dn in found.items() if key not in seen]
        if not level:
            return False
        seen |= found.keys()
        found = {names.key(dn): dn for dn in above(level)}
    if wanted in found:
        return True
    if found.keys() - seen:
        log.warning("groups lie more than %d deep on the way to %r; the rest is not followed", DEPTH, group)
    return False


class Groups:
    """The groups of an LDIF file, by what they hold."""

    def __init__(self) -> None:
        self._by_member: dict[str, list[str]] = {}
        self._by_name: dict[str, list[str]] = {}

    def add(self, dn: str, attributes: Attributes, attribute_map: AttributeMap) -> None:
        """Take an entry in, if it is a group."""
        classes = {value.lower() for value in attributes.get("objectclass", ())}
        if not any(name.lower().encode() in classes for name in attribute_map.sources("group_class")):
            return
        for source in attribute_map.sources("group_members"):
            for member in values.texts(source, attributes.get(source.lower(), ())):
                try:
                    self._by_member.setdefault(names.key(member), []).append(dn)
                except ValueError:
                    log.warning("%r: the member %r is no distinguished name", dn, member[:80])
        for source in attribute_map.sources("group_names"):
            for name in values.texts(source, attributes.get(source.lower(), ())):
                self._by_name.setdefault(names.text_key(name), []).append(dn)

    def has(self, group: str, dn: str, short_name: str | None) -> bool:
        """Whether a group holds somebody, by his DN or his short name."""
        try:
            direct = [*self._of([dn]), *(self._by_name.get(names.text_key(short_name), ()) if short_name else ())]
            return reaches(direct, group, self._of)
        except ValueError:
            return False  # not a DN: no group is called so

    def _of(self, members: Sequence[str]) -> list[str]:
        return [group for member in members for group in self._by_member.get(names.key(member), ())]
