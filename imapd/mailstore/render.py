"""The texts of FETCH for ENVELOPE, BODY and BODYSTRUCTURE, as they go over the wire (RFC 3501 sections 7.4.2 and 9).

`describe` reads a message once and gives all three; a store keeps them. On any octets the texts follow the grammar of
RFC 9051 section 9 (and so that of RFC 3501): strings that hold 8-bit octets or line ends become literals, and a NUL,
which no string may hold, is left out. Nothing is decoded: clients know encoded words and RFC 2231 parameters.
The tree is written without recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from imapd.mailstore.runs import Cut, Identity, Run
from imapd.mailstore.store import Description, Text
from imapd.mime import describe as values
from imapd.mime.address import addresses
from imapd.mime.describe import Form
from imapd.mime.header import wanted_values
from imapd.mime.parser import parse
from imapd.mime.parts import ENVELOPE_FIELDS, Fields, Part, first
from imapd.mime.values import Parameters
from imapd.wire import writer

_NIL = b"NIL"
_BREATH = 256  # addresses between two breaths: about a millisecond
_USUAL = 256  # octets of a field whose text is remembered


def describe(message: bytes, breathe: Callable[[], None] | None = None) -> Description:
    """The finished texts of a message with CRLF line ends; `breathe` is called about every millisecond of work."""
    root = parse(message, breathe)
    body, structure = _structures(root, breathe)
    return Description(_envelope(root.fields, breathe), body, structure)


def envelope_of(header: bytes, breathe: Callable[[], None] | None = None) -> bytes:
    """The ENVELOPE of a message with that header."""
    return _envelope(wanted_values(header, ENVELOPE_FIELDS, breathe), breathe)


# Runs: the texts of a message one behind the other, as mailstore/runs keeps them.


def described(message: Identity, description: Description) -> Run:
    """The run of a message that was described. Its texts are those of store.Text, in that order."""
    texts = (
        b"INTERNALDATE %b RFC822.SIZE %d" % (writer.date_time(message.date), message.size),
        b"ENVELOPE " + description.envelope,
        b"BODYSTRUCTURE " + description.bodystructure,
        b"BODY " + description.body,
    )
    first = len(texts[0])
    second = first + 1 + len(texts[1])
    return Run(message, b" ".join(texts), (first, second, second + 1 + len(texts[2])))


def cut(run: Run, cuts: Sequence[Cut]) -> bytes:
    """Some texts of a run."""
    edges = (-1, *run.marks, len(run.octets))
    return b" ".join([run.octets[edges[first] + 1 : edges[behind]] for first, behind in cuts])


def cuts_of(texts: Sequence[Text]) -> list[Cut]:
    """The texts as cuts, those that stand side by side as one."""
    cuts: list[Cut] = []
    for text in texts:
        if cuts and cuts[-1][1] == text:
            cuts[-1] = cuts[-1][0], text + 1
        else:
            cuts.append((int(text), text + 1))
    return cuts


# Envelopes.


def _envelope(fields: Fields, breathe: Callable[[], None] | None) -> bytes:
    """Addresses that a message lacks, or that nobody can read, are those of From (RFC 3501 section 7.4.2)."""
    from_ = _people(fields, b"from", breathe)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        _nstring(first(fields, b"date")),
        _nstring(first(fields, b"subject")),
        from_,
        _people(fields, b"sender", breathe, from_),
        _people(fields, b"reply-to", breathe, from_),
        _people(fields, b"to", breathe),
        _people(fields, b"cc", breathe),
        _people(fields, b"bcc", breathe),
        _nstring(first(fields, b"in-reply-to")),
        _nstring(first(fields, b"message-id")),
    )


def _people(fields: Fields, name: bytes, breathe: Callable[[], None] | None, otherwise: bytes = _NIL) -> bytes:
    value = values.people(fields, name)
    if not value:
        return otherwise
    text = _usual_addresses(value) if len(value) <= _USUAL else _addresses(value, breathe)
    return otherwise if text == _NIL else text


@lru_cache(maxsize=2_048)  # most mail comes from, and goes to, the same people again and again
def _usual_addresses(value: bytes) -> bytes:
    return _addresses(value, None)


def _addresses(value: bytes, breathe: Callable[[], None] | None) -> bytes:
    found = addresses(value, breathe)
    if not found:
        return _NIL
    texts: list[bytes] = []
    for start in range(0, len(found), _BREATH):
        texts += [b"(%b %b %b %b)" % tuple(map(_nstring, address)) for address in found[start : start + _BREATH]]
        if breathe is not None:
            breathe()
    return b"(" + b"".join(texts) + b")"


# Body structures.


def _structures(root: Part, breathe: Callable[[], None] | None) -> tuple[bytes, bytes]:
    """BODY and BODYSTRUCTURE, written side by side: they differ in what follows a part's basic fields.

    waiting has what is still to be written, the next last: a part, or the (BODY, BODYSTRUCTURE) texts that come after
    the parts above it.
    """
    body: list[bytes] = []
    structure: list[bytes] = []
    waiting: list[Part | tuple[bytes, bytes]] = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            body.append(item[0])
            structure.append(item[1])
            continue
        start, inner, end, extension = _part(item, breathe)
        body.append(start)
        structure.append(start)
        waiting.append((end + b")", end + extension + b")"))
        waiting.extend(reversed(inner))
        if breathe is not None:
            breathe()
    return b"".join(body), b"".join(structure)


def _part(part: Part, breathe: Callable[[], None] | None) -> tuple[bytes, list[Part], bytes, bytes]:
    """The text before a part's inner parts, these, the text after them, and the extension of BODYSTRUCTURE."""
    form = values.form(part)
    kind, subtype = values.shown_type(part)
    more = b" %b %b %b" % (_disposition(part), _languages(part), _nstring(part.location))
    if form is Form.MULTIPART:
        # body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]
        return b"(", part.children, b" " + _string(subtype), b" " + _parameters(part.params) + more
    # body-fields = body-fld-param SP body-fld-id SP body-fld-desc SP body-fld-enc SP body-fld-octets
    start = b"(%b %b %b %b %b %b %d" % (
        _string(kind),
        _string(subtype),
        _parameters(part.params),
        _nstring(part.id),
        _nstring(part.description),
        _string(part.encoding),
        part.size,
    )
    extension = b" " + _nstring(part.md5) + more
    if form is Form.TEXT:
        return start + b" %d" % part.lines, [], b"", extension
    if part.embedded is None:
        return start, [], b"", extension
    envelope = _envelope(part.embedded.fields, breathe)
    return start + b" " + envelope + b" ", [part.embedded], b" %d" % part.lines, extension


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return _NIL
    return b"(" + b" ".join([_string(name) + b" " + _string(value) for name, value in parameters]) + b")"


def _disposition(part: Part) -> bytes:
    if part.disposition is None:
        return _NIL
    kind, parameters = part.disposition
    return b"(" + _string(kind) + b" " + _parameters(parameters) + b")"


def _languages(part: Part) -> bytes:
    if part.language is None:
        return _NIL
    if len(part.language) == 1:
        return _string(part.language[0])
    return b"(" + b" ".join(map(_string, part.language)) + b")"


# Strings.


def _string(data: bytes) -> bytes:
    text = writer.string(data)
    # Only a literal could hold a NUL; nearly all strings are quoted.
    return writer.string(data.replace(b"\0", b"")) if text[0] == 0x7B and b"\0" in text else text


def _nstring(data: bytes | None) -> bytes:
    return _NIL if data is None else _string(data)
