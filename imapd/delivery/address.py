"""Addresses of recipients: how one is taken apart, and which names it stands for, in the order in which they are looked
up.

An address may have a detail, `anna+lists@example.org` (RFC 5233 section 4), which names one of the person's mailboxes.
Somebody may be called so all the same, so the whole address comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple


class Meaning(NamedTuple):
    """A name to look up, and the detail that was taken off it, "" where none was."""

    name: str
    detail: str


def meanings(address: str, separator: str, local_domains: Collection[str] = ()) -> Iterator[Meaning]:
    """What the address may mean. separator: the character in front of a detail, "" where there are none.

    local_domains: domains, in lower case, whose addresses are looked up by what stands before the "@" as well.
    """
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = address, ""
    names = [local + at + domain]
    if at and domain.lower() in local_domains:
        names.append(local)
    base, found, detail = local.partition(separator) if separator else (local, "", "")
    for name in names:
        yield Meaning(name, "")
        if found and base:
            yield Meaning(base + name[len(local) :], detail)
