"""The UID lists that other servers keep in a Maildir: Dovecot's `dovecot-uidlist`, Courier's `courierimapuiddb`. Pure.

Both are text: a header with UIDVALIDITY and the next UID, then a line for each message with its UID and the base name
of its file. Courier's, and version 1 of Dovecot's:

    1 <uidvalidity> <next uid>
    <uid> <name>

Version 3 of Dovecot's has fields of a letter and a value, in any order, of which more may come (G is the mailbox's
GUID, W a message's size on the wire, P its id for POP3, O its place there). What we do not know is carried along:

    3 V<uidvalidity> N<next uid> G<guid>
    <uid> W<size> P<id> :<name>

Dovecot appends lines without changing the header, so the next UID is behind every line's. Names may have flags behind
a ":", which count for nothing.

Rules for what is broken. A UID must never come to mean another message; a message that gets another UID is downloaded
once more, and that is all.

1. A line that is none is left out, and the lines after it count. (Dovecot gives up at the first one, and removes the
   file.) So is a last line without its end: who wrote it was interrupted.
2. UIDs have to ascend. Where they do not, the longest ascending choice of lines counts, so that one wrong number does
   not lose those behind it. Of two lines with the same UID at most one is in it.
3. Of two lines with the same name the later one counts, as Dovecot does it: a file that came back has a new UID.
4. A file whose line is left out is like one that has none: it gets a UID behind all that stand in the file.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from imapd.mailstore.rows import LAST_UID

DOVECOT: Final = b"dovecot-uidlist"
COURIER: Final = b"courierimapuiddb"
_HIGHEST: Final = 0xFFFFFFFF

_PLAIN_HEADER: Final = re.compile(rb"1 (\d{1,10}) (\d{1,10})\Z")
_PLAIN_LINE: Final = re.compile(rb"(\d{1,10}) +()([^/]+)\Z")
_FIELDS_LINE: Final = re.compile(rb"(\d{1,10}) +((?:[A-Za-z][^ ]* +)*):([^/]+)\Z")


@dataclass(frozen=True, slots=True)
class UidList:
    """Which UID is whose. uids: by the base names of files, ascending; uidnext is above all of them.

    header: Dovecot's other fields of the mailbox; fields: those of messages, by base name; left_out: how many lines
    were no use.
    """

    uidvalidity: int
    uidnext: int
    uids: dict[bytes, int]
    header: bytes = b""
    fields: dict[bytes, bytes] = field(default_factory=dict)
    left_out: int = 0


def read_dovecot(data: bytes) -> UidList | None:
    """What a `dovecot-uidlist` of version 1 or 3 says; None where its header says nothing."""
    first, _, rest = data.partition(b"\n")
    if first[:2] != b"3 ":
        return read_courier(data)
    values = {part[:1]: part[1:] for part in first[2:].split(b" ") if part}
    others = b" ".join([part for part in first[2:].split(b" ") if part and part[:1] not in b"VN"])
    return _read(values.get(b"V", b""), values.get(b"N", b""), others, rest, _FIELDS_LINE)


def read_courier(data: bytes) -> UidList | None:
    """What a `courierimapuiddb` of version 1 says; None where its header says nothing."""
    first, _, rest = data.partition(b"\n")
    match = _PLAIN_HEADER.match(first.rstrip())
    return _read(match[1], match[2], b"", rest, _PLAIN_LINE) if match else None


def _read(uidvalidity: bytes, uidnext: bytes, header: bytes, rest: bytes, form: re.Pattern[bytes]) -> UidList | None:
    if not (_is_number(uidvalidity, _HIGHEST) and _is_number(uidnext, _HIGHEST)):
        return None
    lines = rest.split(b"\n")[:-1]  # rule 1
    found = [
        (int(match[1]), match[2].strip(), match[3].partition(b":")[0]) for match in map(form.match, lines) if match
    ]
    found = [line for line in found if 0 < line[0] <= LAST_UID and line[2]]
    last = {name: number for number, (_, _, name) in enumerate(found)}
    chosen = [line for number, line in enumerate(found) if last[line[2]] == number]  # rule 3
    kept = [chosen[number] for number in _ascending([uid for uid, _, _ in chosen])]
    return UidList(
        int(uidvalidity),
        max([int(uidnext), *[uid + 1 for uid, _, _ in found]]),  # rule 4
        {name: uid for uid, _, name in kept},
        header,
        {name: fields for _, fields, name in kept if fields},
        len(lines) - len(kept),
    )


def _is_number(text: bytes, highest: int) -> bool:
    return text.isdigit() and len(text) <= 10 and 0 < int(text) <= highest


def _ascending(numbers: Sequence[int]) -> list[int]:
    """The positions of a longest strictly ascending choice of numbers (rule 2)."""
    if all(before < after for before, after in zip(numbers, numbers[1:], strict=False)):
        return list(range(len(numbers)))
    ends: list[int] = []  # the lowest number that a choice of each length can end with
    where: list[int] = []  # and its position
    before: list[int] = []  # the position before each position, in the longest choice that ends there
    for position, number in enumerate(numbers):
        length = bisect_left(ends, number)
        before.append(where[length - 1] if length else -1)
        ends[length : length + 1] = [number]
        where[length : length + 1] = [position]
    position, positions = where[-1], []
    while position >= 0:
        positions.append(position)
        position = before[position]
    return positions[::-1]


def write_dovecot(listed: UidList) -> bytes:
    """The list as a `dovecot-uidlist` of version 3."""
    header = b" ".join([b"3", b"V%d" % listed.uidvalidity, b"N%d" % listed.uidnext, *listed.header.split()])
    lines = [
        b" ".join([b"%d" % uid, *listed.fields.get(name, b"").split(), b":" + name])
        for name, uid in sorted(listed.uids.items(), key=lambda item: item[1])
    ]
    return b"\n".join([header, *lines, b""])


def write_courier(listed: UidList) -> bytes:
    """The list as a `courierimapuiddb` of version 1, which Dovecot reads as well."""
    lines = [b"%d %s" % (uid, name) for name, uid in sorted(listed.uids.items(), key=lambda item: item[1])]
    return b"\n".join([b"1 %d %d" % (listed.uidvalidity, listed.uidnext), *lines, b""])
