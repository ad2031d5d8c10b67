"""How values are spelled on the wire: quoted strings, literals, atoms, lists, dates (RFC 9051 sections 4 and 9).

Every function takes a value and gives the octets, and what the scanner reads from them is the value again. Nothing
here ends a line: that is done by responses. What cannot be spelled safely (a line end in a quoted string) is an error
of the caller, never a broken line.
"""

import re
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from imapd.model.flags import RECENT, SYSTEM_FLAGS
from imapd.model.names import encode_wire

QUOTED_OCTETS: Final = 1_000
"""Longer strings are sent as literals: some clients read lines into buffers of little more than this."""

LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999: date-year has four digits."""

_FIRST_SECOND: Final = -62_135_596_800  # the first of January of the year 1
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")
_PLAIN = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-!#-\[\]-\x7f]{0,%d}" % QUOTED_OCTETS)  # nearly every string
_SPECIAL = re.compile(rb'(["\\])')
_BARE = re.compile(rb"[A-Za-z0-9_.:/,@$=+\-]+")  # what no client has ever read as something else
_FLAG = re.compile(r"\\\*|\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_RANK: Final = {flag: rank for rank, flag in enumerate((*SYSTEM_FLAGS, RECENT))}

NIL: Final = b"NIL"


def quoted(text: bytes | str) -> bytes:
    """A quoted string; a str goes out in UTF-8. Raises ValueError for what no quoted string can hold."""
    data = text.encode("utf-8") if isinstance(text, str) else text
    if b"\r" in data or b"\n" in data or b"\0" in data:
        raise ValueError("a quoted string holds no line end and no NUL")
    if b'"' in data or b"\\" in data:
        data = _SPECIAL.sub(rb"\\\1", data)
    return b'"' + data + b'"'


def literal(data: bytes) -> bytes:
    """A literal, as servers send it: always synchronizing in form, never waited for."""
    return b"{%d}\r\n" % len(data) + data


def string(data: bytes) -> bytes:
    """A quoted string where that can hold the octets, else a literal."""
    if _PLAIN.fullmatch(data):
        return b'"' + data + b'"'
    if len(data) <= QUOTED_OCTETS and _QUOTABLE.fullmatch(data):
        if b'"' in data or b"\\" in data:
            data = _SPECIAL.sub(rb"\\\1", data)
        return b'"' + data + b'"'
    return literal(data)


def nstring(data: bytes | None) -> bytes:
    """A string, or NIL for None."""
    return NIL if data is None else string(data)


def astring(data: bytes) -> bytes:
    """The octets bare where nobody can take them for something else, else a string."""
    if _BARE.fullmatch(data) and data.upper() != NIL:
        return data
    return string(data)


def mailbox(name: str, utf8: bool) -> bytes:
    """A mailbox name: in modified UTF-7, or in a quoted string of UTF-8 for a client that asked for it (RFC 6855)."""
    data = encode_wire(name, utf8)
    if utf8 and not name.isascii():
        return literal(data) if b"\r" in data or b"\n" in data else quoted(data)
    return astring(data)


def flag_list(flags: Iterable[str]) -> bytes:
    """Flags in parentheses: system flags in the RFC's order, then keywords by the alphabet.

    A keyword that the grammar cannot spell (one may come from another program's files) is left out.
    """
    return _flag_list(flags if isinstance(flags, frozenset) else frozenset(flags))


@lru_cache(maxsize=1_024)  # a mailbox has few different sets of flags, and a FETCH asks for them 100,000 times
def _flag_list(flags: frozenset[str]) -> bytes:
    words = [flag for flag in flags if _FLAG.fullmatch(flag)]
    words.sort(key=lambda flag: (_RANK.get(flag, len(_RANK)), flag))
    return b"(" + " ".join(words).encode("ascii") + b")"


def paren(*items: bytes) -> bytes:
    """The items in parentheses."""
    return b"(" + b" ".join(items) + b")"


def date_time(epoch: int) -> bytes:
    """A moment, in quotes and always in UTC: b'"01-Feb-1994 12:00:00 +0000"'."""
    moment = time.gmtime(min(max(epoch, _FIRST_SECOND), LAST_SECOND))
    return b'"%02d-%s-%04d %02d:%02d:%02d +0000"' % (
        moment.tm_mday,
        _MONTHS[moment.tm_mon - 1],
        moment.tm_year,
        moment.tm_hour,
        moment.tm_min,
        moment.tm_sec,
    )
