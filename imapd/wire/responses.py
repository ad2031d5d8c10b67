"""What the server says: one type for each response, each of which spells itself (RFC 9051 section 7).

`chunks(utf8)` gives the octets of complete lines, CRLF and all. `utf8` is whether this client may be sent UTF-8 in
texts and mailbox names (RFC 6855, RFC 9051). Values that came from data never end a line before its end: a text has its
control characters made blanks, a name or string that has any becomes a literal.

Responses are values: making one sends nothing. Only a Fetch with Streamed items reads while it is sent.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from typing import Final, Literal, cast

from imapd.wire.writer import NIL, astring, flag_list, mailbox, nstring, paren, quoted, string

SEARCH_BLOCK: Final = 10_000
"""Numbers of a SEARCH response made at a time: about 64 kB, so that a large answer lets others run."""

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]+")

StatusKind = Literal["OK", "NO", "BAD", "BYE", "PREAUTH"]


class BrokenStream(Exception):
    """The octets of a streamed item were fewer than announced. The client waits for the rest: only closing helps."""


class Response:
    """The base of all responses."""

    __slots__ = ()

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        """The octets of the response, in one piece or in several."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Status(Response):
    """OK, NO, BAD, BYE or PREAUTH, tagged or not, with a response code (without its brackets) or none."""

    kind: StatusKind
    text: str
    code: str | bytes | None = None
    tag: str | None = None

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        text = _clean_text(self.text, utf8) or b"Done"  # never empty in IMAP4rev1 (RFC 3501 section 9, resp-text)
        if self.code is not None:
            text = b"[%s] %s" % (_clean(self.code, utf8), text)
        elif text.startswith(b"["):
            text = b"- " + text  # else it would be read as a response code
        tag = b"*" if self.tag is None else _clean(self.tag, False)
        return (b"%s %s %s\r\n" % (tag, self.kind.encode("ascii"), text),)


@dataclass(frozen=True, slots=True)
class Capability(Response):
    """CAPABILITY: what the server offers now."""

    words: Sequence[str]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        return (b"* CAPABILITY %s\r\n" % " ".join(self.words).encode("ascii"),)


@dataclass(frozen=True, slots=True)
class Enabled(Response):
    """ENABLED: what has been enabled by this ENABLE command (RFC 5161 section 3.2)."""

    words: Sequence[str]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        return (b"* %s\r\n" % " ".join(("ENABLED", *self.words)).encode("ascii"),)


@dataclass(frozen=True, slots=True)
class Exists(Response):
    """How many messages the mailbox has."""

    n: int

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        return (b"* %d EXISTS\r\n" % self.n,)


@dataclass(frozen=True, slots=True)
class Recent(Response):
    """How many messages are recent to this session (RFC 3501 section 7.3.2; not in IMAP4rev2)."""

    n: int

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        return (b"* %d RECENT\r\n" % self.n,)


@dataclass(frozen=True, slots=True)
class Expunges(Response):
    """The messages of these sequence numbers are gone, one after the other: those behind each move up by one."""

    seqs: Sequence[int]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        return (b"".join([b"* %d EXPUNGE\r\n" % seq for seq in self.seqs]),)


@dataclass(frozen=True, slots=True)
class FlagsResponse(Response):
    """The flags that are known in the mailbox."""

    flags: Iterable[str]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        return (b"* FLAGS %s\r\n" % flag_list(self.flags),)


@dataclass(frozen=True, slots=True)
class Streamed:
    """A FETCH item that is too large for memory: a name, its octets in pieces, and how many octets they are together.

    `binary` makes it a literal8, which may hold NUL (RFC 3516 section 4.2).
    """

    name: bytes
    size: int
    chunks: Iterable[bytes]
    binary: bool = False

    def pieces(self) -> Iterator[bytes]:
        """The name, the literal's head and exactly `size` octets; raises BrokenStream where there are fewer."""
        yield b"%s %s{%d}\r\n" % (self.name, b"~" if self.binary else b"", self.size)
        left = self.size
        for chunk in self.chunks:
            piece = chunk if len(chunk) <= left else chunk[:left]
            left -= len(piece)
            if piece:
                yield piece
        if left:
            raise BrokenStream(f"{left} octets are missing of {self.size}")


@dataclass(frozen=True, slots=True)
class Fetch(Response):
    """What was asked of one message: finished items (`b"UID 7"`), and streamed ones."""

    seq: int
    items: Sequence[bytes | Streamed]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        try:
            # Nearly always all items are bytes, and this line is run 100,000 times for FETCH 1:*.
            return (b"* %d FETCH (%s)\r\n" % (self.seq, b" ".join(cast("Sequence[bytes]", self.items))),)
        except TypeError:  # what join says to a Streamed
            return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        yield b"* %d FETCH (" % self.seq
        for place, item in enumerate(self.items):
            if place:
                yield b" "
            if isinstance(item, Streamed):
                yield from item.pieces()
            else:
                yield item
        yield b")\r\n"


@dataclass(frozen=True, slots=True)
class Block(Response):
    """Many responses that are spelled already: whole lines, with their ends."""

    octets: bytes

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        return (self.octets,)


@dataclass(frozen=True, slots=True)
class ListResponse(Response):
    """One mailbox name of LIST or LSUB; `extended` is finished, with its parentheses (RFC 5258 section 4)."""

    attributes: Sequence[str]
    delimiter: str | None
    name: str
    kind: bytes = b"LIST"
    extended: bytes = b""

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        attributes = " ".join(self.attributes).encode("ascii")
        delimiter = NIL if self.delimiter is None else quoted(self.delimiter)
        # An empty name is the answer to LIST "" "" (RFC 9051 section 6.3.9).
        words = b"* %s (%s) %s %s" % (self.kind, attributes, delimiter, mailbox(self.name, utf8))
        return (b"%s %s\r\n" % (words, self.extended) if self.extended else words + b"\r\n",)


@dataclass(frozen=True, slots=True)
class StatusResponse(Response):
    """STATUS: counts of a mailbox, in the order the client asked for them."""

    name: str
    items: Sequence[tuple[str, int]]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        items = [b"%s %d" % (word.encode("ascii"), number) for word, number in self.items]
        return (b"* STATUS %s %s\r\n" % (mailbox(self.name, utf8), paren(*items)),)


@dataclass(frozen=True, slots=True)
class SearchResponse(Response):
    """SEARCH: the numbers that were found; it comes without any where nothing was (RFC 3501 section 7.2.5)."""

    numbers: Iterable[int]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        yield b"* SEARCH"
        numbers = iter(self.numbers)
        while block := list(islice(numbers, SEARCH_BLOCK)):
            yield (" " + " ".join(map(str, block))).encode("ascii")
        yield b"\r\n"


@dataclass(frozen=True, slots=True)
class ESearch(Response):
    """ESEARCH: what a search with RETURN asked for, each item a word and its finished value (RFC 4731)."""

    tag: str | None
    uid: bool
    items: Sequence[tuple[str, bytes]]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        words = [b"* ESEARCH"]
        if self.tag is not None:
            words.append(paren(b"TAG", quoted(self.tag)))
        if self.uid:
            words.append(b"UID")
        for name, value in self.items:
            words += (name.encode("ascii"), value)
        return (b" ".join(words) + b"\r\n",)


@dataclass(frozen=True, slots=True)
class NamespaceResponse(Response):
    """NAMESPACE: (prefix, delimiter) of the personal, other users' and shared name spaces (RFC 2342)."""

    personal: Sequence[tuple[str, str | None]] = (("", "/"),)
    others: Sequence[tuple[str, str | None]] = ()
    shared: Sequence[tuple[str, str | None]] = ()

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        spaces = [_namespace(each, utf8) for each in (self.personal, self.others, self.shared)]
        return (b"* NAMESPACE %s\r\n" % b" ".join(spaces),)


@dataclass(frozen=True, slots=True)
class QuotaResponse(Response):
    """QUOTA: the resources that are limited, each with what is used and the limit (RFC 9208 section 4.2.1)."""

    root: str
    resources: Sequence[tuple[str, int, int]]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        triplets = [b"%s %d %d" % (name.encode("ascii"), used, limit) for name, used, limit in self.resources]
        return (b"* QUOTA %s %s\r\n" % (astring(self.root.encode("utf-8")), paren(*triplets)),)


@dataclass(frozen=True, slots=True)
class QuotaRootResponse(Response):
    """QUOTAROOT: a mailbox and the names of its quota roots (RFC 9208 section 4.2.2)."""

    name: str
    roots: Sequence[str]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        words = [mailbox(self.name, utf8), *[astring(root.encode("utf-8")) for root in self.roots]]
        return (b"* QUOTAROOT %s\r\n" % b" ".join(words),)


@dataclass(frozen=True, slots=True)
class IdResponse(Response):
    """ID: who this server is, as names and values (RFC 2971); NIL without any."""

    fields: Sequence[tuple[str, str | None]] = ()

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        words: list[bytes] = []
        for name, value in self.fields:
            words += (string(name.encode("utf-8")), nstring(None if value is None else value.encode("utf-8")))
        return (b"* ID %s\r\n" % (paren(*words) if words else NIL),)


@dataclass(frozen=True, slots=True)
class Together(Response):
    """Short responses that are sent at once."""

    responses: Iterable[Response]

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        return (b"".join(chain.from_iterable([each.chunks(utf8) for each in self.responses])),)


@dataclass(frozen=True, slots=True)
class Raw(Response):
    """A finished line, for what no other type spells; its CRLF may be left out."""

    line: bytes

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        return (self.line if self.line.endswith(b"\r\n") else self.line + b"\r\n",)


@dataclass(frozen=True, slots=True)
class ContinueResponse(Response):
    """The line "+": the client may go on. The text is for people, or a challenge in base64, which may be empty."""

    text: bytes

    def chunks(self, utf8: bool) -> Iterable[bytes]:
        # The blank stays when the text is empty (RFC 9051 section 9, continue-req).
        return (b"+ " + _CONTROL.sub(b" ", self.text) + b"\r\n",)


def _clean(text: str | bytes, utf8: bool) -> bytes:
    """The text on one line: control characters made blanks, and in ASCII where the client reads no UTF-8."""
    if isinstance(text, str):
        text = text.encode("utf-8" if utf8 else "ascii", "replace")
    return _CONTROL.sub(b" ", text)


_clean_text = lru_cache(maxsize=256)(_clean)  # nearly all texts are a few of our own


def _namespace(spaces: Sequence[tuple[str, str | None]], utf8: bool) -> bytes:
    if not spaces:
        return NIL
    described = [
        paren(_prefix(prefix, utf8), NIL if delimiter is None else quoted(delimiter)) for prefix, delimiter in spaces
    ]
    return b"(" + b"".join(described) + b")"


def _prefix(prefix: str, utf8: bool) -> bytes:
    # A string, never an atom (RFC 9051 section 9, namespace-descr).
    spelled = mailbox(prefix, utf8)
    return spelled if spelled.startswith((b'"', b"{")) else quoted(spelled)
