"""The texts of FETCH for ENVELOPE, BODY and BODYSTRUCTURE, as they go over the wire (RFC 3501 sections 7.4.2 and 9).

`describe` reads a message once and gives all three; a store keeps them. On any octets the texts follow the grammar of
RFC 9051 section 9 (and so that of RFC 3501): strings that hold 8-bit octets or line ends become literals, and a NUL,
which no string may hold, is left out. Nothing is decoded: clients know encoded words and RFC 2231 parameters.
The tree is written without recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imapd.mailstore.runs import Cut, Identity, Run
from imapd.mailstore.store import Description, Text
from imapd.mime import describe as values
from imapd.mime.address import Address
from imapd.mime.describe import Envelope, Form
from imapd.mime.parts import Part, parse
from imapd.mime.values import Parameters
from imapd.wire import writer

_NIL = b"NIL"
_BREATH = 256  # addresses between two breaths: about a millisecond


def describe(message: bytes, breathe: Callable[[], None] | None = None) -> Description:
    """The finished texts of a message with CRLF line ends; `breathe` is called about every millisecond of work."""
    root = parse(message, breathe)
    body, structure = _structures(root, breathe)
    return Description(_envelope(values.envelope_of_fields(root.fields, breathe), breathe), body, structure)


def envelope_of(header: bytes, breathe: Callable[[], None] | None = None) -> bytes:
    """The ENVELOPE of a message with that header."""
    return _envelope(values.envelope(header, breathe), breathe)


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


def _envelope(envelope: Envelope, breathe: Callable[[], None] | None) -> bytes:
    from_ = _addresses(envelope.from_, breathe)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        _nstring(envelope.date),
        _nstring(envelope.subject),
        from_,
        from_ if envelope.sender is envelope.from_ else _addresses(envelope.sender, breathe),
        from_ if envelope.reply_to is envelope.from_ else _addresses(envelope.reply_to, breathe),
        _addresses(envelope.to, breathe),
        _addresses(envelope.cc, breathe),
        _addresses(envelope.bcc, breathe),
        _nstring(envelope.in_reply_to),
        _nstring(envelope.message_id),
    )


def _addresses(addresses: Sequence[Address], breathe: Callable[[], None] | None) -> bytes:
    if not addresses:
        return _NIL
    texts: list[bytes] = []
    for start in range(0, len(addresses), _BREATH):
        texts += [b"(%b %b %b %b)" % tuple(map(_nstring, address)) for address in addresses[start : start + _BREATH]]
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
    envelope = _envelope(values.envelope_of_fields(part.embedded.fields, breathe), breathe)
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
    if b"\0" in data:
        data = data.replace(b"\0", b"")
    return writer.string(data)


def _nstring(data: bytes | None) -> bytes:
    return _NIL if data is None else _string(data)
