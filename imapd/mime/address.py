"""Addresses and groups of header fields (RFC 2822 sections 3.4 and 4.4), in the form that ENVELOPE has them.

Takes an unfolded value, gives octets as sent: encoded words stay encoded, quotes and comments are taken off. Raises
nothing on any bytes, at linear cost. Most addresses of real mail are read by one regular expression; the rest
(comments, escapes, routes, groups, faults) by the reader below it, which keeps as much as it can make sense of.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from imapd.mime.values import comment, quoted_string

MAX_ADDRESSES_VALUE: Final = 256 * 1024
"""About 10,000 addresses. Servers without such a bound were held for minutes by one message."""

MAX_ADDRESS: Final = 16 * 1024
"""Of the octets of one odd address no more than these are read; others shall not wait for it."""

_BREATH: Final = 4 * 1024  # octets between two breaths: about a millisecond


class Address(NamedTuple):
    """One address of an ENVELOPE (RFC 3501 section 7.4.2), octets as sent.

    A group is a run of addresses: its start has the group's name as mailbox and no host, its end has neither.
    An address that lacks its local part or its host has an empty one, so that nobody takes it for a group.
    """

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


GROUP_END: Final = Address(None, None, None, None)


_PLAIN = re.compile(
    rb'[\s,]*+(?:(?:"([^"\\]*+)"|([^\x00-\x1f"(),:;<>@\[\]\\\x7f]*+))[ \t]*+'
    rb'<([^\s"(),:;<>@\[\]\\]++)@([^\s"(),:;<>@\[\]\\]++)>|'
    rb'([^\s"(),:;<>@\[\]\\]++)@([^\s"(),:;<>@\[\]\\]++))[ \t]*+(?=,|\Z)'
)
_WORD = re.compile(rb'[^\s()<>,;:"@]++')
_GAP = re.compile(rb"[\s,]++")
_LITERAL_HOST = re.compile(rb"\[[^\]\s]{0,100}\]")
_AT: Final = b"@"


def addresses(value: bytes, breathe: Callable[[], None] | None = None) -> list[Address]:
    """The addresses and group markers of an unfolded field value."""
    value = value[:MAX_ADDRESSES_VALUE]
    found: list[Address] = []
    reader = _AddressReader(found)
    at = breathed = 0
    while at < len(value):
        if at - breathed > _BREATH and breathe is not None:
            breathe()
            breathed = at
        match = _PLAIN.match(value, at)
        if match:
            quoted, phrase, mailbox, host, bare, bare_host = match.groups()
            name = quoted if quoted is not None else b" ".join((phrase or b"").split())
            found.append(Address(name or None, None, bare or mailbox, bare_host or host))
            at = match.end()
        else:
            at += reader.read(value[at : at + MAX_ADDRESS])
    reader.end()
    return found


class _AddressReader:
    """Reads what is not of the plain form: comments, quotes, routes, groups, faults. One per field value."""

    def __init__(self, found: list[Address]) -> None:
        self.value = b""
        self.found = found
        self.in_group = False
        self._clear()

    def _clear(self) -> None:
        self.words: list[bytes] = []  # the phrase, or what comes before an "@"
        self.host: bytes | None = None
        self.angle: tuple[bytes | None, bytes, bytes] | None = None
        self.comment: bytes | None = None

    def read(self, value: bytes) -> int:
        """Read one address or one side of a group; returns the octets to go on behind, at least one."""
        self.value = value
        gap = _GAP.match(value)
        at = gap.end() if gap else 0
        while at < len(value):
            here = value[at]
            if here in b" \t\r\n\f\v":
                at += 1
            elif here == 0x2C:  # ","
                break
            elif here == 0x3B:  # ";" ends a group; elsewhere some programs write it for the comma
                self._flush()
                self._close_group()
                return at + 1
            elif here == 0x3A and self._opens_group():  # ":"
                return at + 1
            else:
                at = self._token(at)
        self._flush()
        return at + 1

    def end(self) -> None:
        """End the group that nobody closed."""
        self._close_group()

    def _token(self, at: int) -> int:
        value, here = self.value, self.value[at]
        if here == 0x22:  # '"'
            content, at = quoted_string(value, at)
            self.words.append(content)
        elif here == 0x28:  # "("
            content, at = comment(value, at)
            self.comment = content or self.comment
        elif here == 0x3C:  # "<"
            self._address_was_phrase()  # often an address is the display name of itself, unquoted
            self.angle, at = _angle(value, at + 1)
        elif here == 0x40:  # "@"
            self._address_was_phrase()
            self.host, at = _host(value, at + 1)
        else:
            match = _WORD.match(value, at)
            if match and self.angle is None and self.host is None:
                self.words.append(match.group())
            at = match.end() if match else at + 1
        return at

    def _address_was_phrase(self) -> None:
        if self.host is not None:
            self.words.append(b"@" + self.host)
            self.host = None

    def _opens_group(self) -> bool:
        if self.in_group or not self.words or self.host is not None or self.angle is not None:
            return False
        self.found.append(Address(None, None, b" ".join(self.words), None))
        self.in_group = True
        self._clear()
        return True

    def _close_group(self) -> None:
        if self.in_group:
            self.found.append(GROUP_END)
        self.in_group = False

    def _flush(self) -> None:
        """Put down the address read so far, if any."""
        if self.angle is not None:
            self.found.append(Address(self._phrase() or self.comment, *self.angle))
        elif self.host is not None:
            # RFC 822 allowed blanks around the dots; words that no dot joins to the last one are a name.
            local = self._local_part()
            self.found.append(Address(self._phrase() or self.comment, None, local, self.host))
        elif self.words:
            self.found.append(Address(self.comment, None, self._phrase(), b""))
        self._clear()

    def _phrase(self) -> bytes:
        return b" ".join(self.words).replace(b" @", b"@")

    def _local_part(self) -> bytes:
        taken = [self.words.pop()] if self.words else []
        while self.words and (taken[-1].startswith((b".", b"@")) or self.words[-1].endswith(b".")):
            taken.append(self.words.pop())
        return b"".join(reversed(taken))


def _angle(value: bytes, at: int) -> tuple[tuple[bytes | None, bytes, bytes], int]:
    """What stands between "<" and ">": route, local part, host; and the place after it.

    Where the ">" is missing, the comma ends it, unless a route is being read (RFC 2822 section 4.4).
    """
    tokens: list[bytes] = []
    last_at, colon = -1, -1
    while at < len(value):
        here = value[at]
        at += 1
        if here == 0x3E:  # ">"
            break
        if here == 0x2C and not (tokens and tokens[0] is _AT and colon < 0):
            at -= 1
            break
        if here == 0x40:
            last_at = len(tokens)
            tokens.append(_AT)
        elif here == 0x3A and colon < 0 and tokens and tokens[0] is _AT:
            colon, last_at = len(tokens), -1
            tokens.append(b":")
        elif here == 0x22:
            content, at = quoted_string(value, at - 1)
            tokens.append(content)
        elif here == 0x28:
            at = comment(value, at - 1)[1]
        elif here not in b" \t\r\n\f\v":
            match = _LITERAL_HOST.match(value, at - 1) or _WORD.match(value, at - 1)
            tokens.append(match.group() if match else value[at - 1 : at])
            at = match.end() if match else at
    route = b"".join(tokens[:colon]) if colon >= 0 else None
    stop = last_at if last_at >= 0 else len(tokens)
    return (route, b"".join(tokens[colon + 1 : stop]), b"".join(tokens[stop + 1 :])), at


def _host(value: bytes, at: int) -> tuple[bytes, int]:
    """The host after an "@" outside of angle brackets; blanks around its dots are obsolete, but allowed."""
    pieces: list[bytes] = []
    while True:
        at = _skip_white(value, at)
        match = _LITERAL_HOST.match(value, at) or _WORD.match(value, at)
        if not match or (pieces and not pieces[-1].endswith(b".") and not match.group().startswith(b".")):
            return b"".join(pieces), at
        pieces.append(match.group())
        at = match.end()


def _skip_white(value: bytes, at: int) -> int:
    while at < len(value) and value[at] in b" \t\r\n\f\v":
        at += 1
    return at
