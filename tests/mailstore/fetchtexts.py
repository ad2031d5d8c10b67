"""Reads the texts of FETCH back, by the grammar of RFC 9051 section 9, and says whether they follow it."""

import re

_NUMBER = re.compile(rb"\d+")
_LITERAL = re.compile(rb"\{(\d+)\}\r\n")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00]|\\["\\])*+)"')


class Basic(bytes):
    """A string that was sent in quotes: the grammar wants them around MESSAGE, RFC822 and TEXT."""


def read(data):
    """The value of the octets: None, int, bytes or a list."""
    value, at = _value(data, 0)
    assert at == len(data), data[at : at + 50]
    return value


def _value(data, at):
    if data.startswith(b"NIL", at):
        return None, at + 3
    if data.startswith(b"(", at):
        return _list(data, at + 1)
    if match := _QUOTED.match(data, at):
        return Basic(re.sub(rb"\\(.)", rb"\1", match[1], flags=re.DOTALL)), match.end()
    if match := _LITERAL.match(data, at):
        end = match.end() + int(match[1])
        assert end <= len(data) and b"\0" not in data[match.end() : end]
        return data[match.end() : end], end
    match = _NUMBER.match(data, at)
    assert match, data[at : at + 50]
    return int(match[0]), match.end()


def _list(data, at):
    items = []
    while True:
        item, at = _value(data, at)
        items.append(item)
        if data.startswith(b")", at):
            return items, at + 1
        # A space between items, but none between the bodies of a multipart or the addresses of an envelope.
        if data.startswith(b" ", at):
            at += 1
        else:
            assert isinstance(item, list) and data.startswith(b"(", at), data[at - 20 : at + 20]


def check_envelope(envelope):
    """Raise AssertionError unless the value is an envelope."""
    date, subject, *people, in_reply_to, message_id = envelope
    assert len(people) == 6
    for text in (date, subject, in_reply_to, message_id):
        assert text is None or isinstance(text, bytes)
    for addresses in people:
        assert addresses is None or addresses
        for address in addresses or ():
            name, route, mailbox, host = address
            assert all(part is None or isinstance(part, bytes) for part in address)
            assert mailbox is not None or host is None


def check_body(body, extended):
    """Raise AssertionError unless the value is a body of BODY, or of BODYSTRUCTURE (extended)."""
    if isinstance(body[0], list):
        _check_multipart(body, extended)
        return
    kind, subtype, parameters, identity, description, encoding, octets, *rest = body
    assert isinstance(kind, bytes) and isinstance(subtype, bytes) and isinstance(encoding, bytes)
    assert isinstance(octets, int)
    assert all(text is None or isinstance(text, bytes) for text in (identity, description))
    _check_parameters(parameters)
    kind, subtype = kind.lower(), subtype.lower()
    assert kind != b"multipart"
    if kind == b"text":
        assert isinstance(body[0], Basic) and isinstance(rest.pop(0), int)
    elif kind == b"message" and subtype in (b"rfc822", b"global"):
        assert isinstance(body[0], Basic) and isinstance(body[1], Basic)
        envelope, inner, lines, *rest = rest
        check_envelope(envelope)
        check_body(inner, extended)
        assert isinstance(lines, int)
    if extended:
        md5, *rest = rest
        assert md5 is None or isinstance(md5, bytes)
        _check_extension(rest)
    else:
        assert rest == []


def _check_multipart(body, extended):
    while isinstance(body[0], list):
        check_body(body[0], extended)
        body = body[1:]
    subtype, *rest = body
    assert isinstance(subtype, bytes)
    if extended:
        parameters, *rest = rest
        _check_parameters(parameters)
        _check_extension(rest)
    else:
        assert rest == []


def _check_parameters(parameters):
    assert parameters is None or (parameters and len(parameters) % 2 == 0)
    assert all(isinstance(text, bytes) for text in parameters or ())


def _check_extension(rest):
    disposition, language, location = rest
    if disposition is not None:
        kind, parameters = disposition
        assert isinstance(kind, bytes)
        _check_parameters(parameters)
    assert language is None or isinstance(language, bytes) or all(isinstance(tag, bytes) for tag in language)
    assert location is None or isinstance(location, bytes)
