"""Every mail at hand is read as the email package of the standard library reads it, but where that one is wrong.

Compared are the tree, types, parameters, encodings, sizes and lines of leaves, decoded bodies, addresses, dates and
subjects. The email package is no judge of broken mail; where the two differ, the difference stands in KNOWN with the
reason, and one that stands there and is no difference any more is an error too.
"""

import email
import email.header
import email.utils
import inspect

import pytest

from imapd.mime.address import addresses
from imapd.mime.header import fields, parse_date, unfold
from imapd.mime.parser import parse
from imapd.mime.parts import walk
from imapd.mime.text import UnknownEncoding, decode_transfer, decode_words, parameter_text
from tests.mime.mails import mails

NO_COLON = (
    "the email package ends a header at a line without colon; ours goes on to the empty line, as the store's does"
)
NAMED_ZONE = "the email package does not know the zone's name, or gives up the zone behind a comment"
BROKEN_TYPE = "a Content-Type that makes no sense is text/plain, and text/plain has a charset"
NO_VALUE = "a parameter without a value is none"
COMMENT = "a comment is no part of a value (RFC 2045 section 5.1)"
NO_PART = "a multipart in which no part begins has its body as its one part"
INNERMOST = "the innermost multipart takes a delimiter, the email package gives it to the outermost"
EMPTY_BOUNDARY = "an empty boundary is none (RFC 2046 section 5.1.1 wants at least one character)"
LAST_LINE_END = "the email package drops the last line end of a multipart that is not closed"
ENCODED_MESSAGE = (
    "RFC 2046 section 5.2.1 forbids to encode an embedded message; the email package reads base64 as a header"
)
PHRASE = "the email package leaves a blank at the end of a phrase, or puts the words of comments together otherwise"
ROUTE = "the email package knows no routes of more than one host"
QUOTED_LOCAL_PART = "ENVELOPE has the content of a quoted string (RFC 3501 section 7.4.2), not the quotes"
BROKEN_ADDRESS = "each saves from an address without sense what it can"
FOLDED_URL = "the email package leaves line ends in parameters"
UNSIGNED_ZONE = "a zone without a sign is none"


def of(reason, *differences):
    return dict.fromkeys(differences, reason)


KNOWN = {
    "addresses.eml": of(PHRASE, "0 cc") | of(ROUTE, "0 sender") | of(QUOTED_LOCAL_PART, "0 to"),
    "base64-message.eml": of(ENCODED_MESSAGE, "0.1.message part"),
    "content-type-broken.eml": of(
        BROKEN_TYPE, "0.1 parameters", "0.2 parameters", "0.3 parameters", "0.3 type", "0.5 parameters"
    )
    | of(COMMENT, "0.3 decoded", "0.3 encoding", "0.7 parameters")
    | of(NO_VALUE, "0.6 parameters"),
    "header-odd.eml": of(
        NO_COLON, "0 date", "0 decoded", "0 from", "0 lines", "0 parameters", "0 size", "0 subject", "0 to"
    ),
    "no-boundary.eml": of(NO_PART, "0 decoded", "0 size", "0.1 part"),
    "mailkit-0.eml": of(BROKEN_TYPE, "0.2.3 parameters"),
    "mailkit-13.eml": of(NAMED_ZONE, "0 date"),
    "mailkit-20.eml": of(UNSIGNED_ZONE, "0.2.message date"),
    "mailkit-21.eml": of(NO_VALUE, "0 parameters"),
    "mailkit-27.eml": of(PHRASE, "0 cc") | of(NAMED_ZONE, "0 date"),
    "mailkit-28.eml": of(BROKEN_TYPE, "0 parameters"),
    "mailkit-3.eml": of(PHRASE, "0 to"),
    "mailkit-35.eml": of(FOLDED_URL, "0.2.3 parameters"),
    "mailkit-42.eml": of(NAMED_ZONE, "0 date"),
    "mailkit-6.eml": of(NAMED_ZONE, "0 date"),
    "mimekit-disposition-notification.eml": of(NAMED_ZONE, "0 date", "0.3.message date"),
    "mimekit-empty-multipart.eml": of(NO_PART, "0.1 decoded", "0.1 size", "0.1.1 part"),
    "mimekit-feedback-report.eml": of(
        NO_COLON,
        "0 date",
        "0 decoded",
        "0 lines",
        "0 parameters",
        "0 size",
        "0 subject",
        "0 to",
        "0 type",
        "0.1 part",
        "0.2 part",
        "0.3 part",
        "0.3.message part",
    ),
    "mimekit-issue358.eml": of(
        NO_COLON, "0 decoded", "0 lines", "0 parameters", "0 size", "0 type", "0.1 part", "0.2 part"
    )
    | of(BROKEN_ADDRESS, "0 from"),
    "mimekit-stack-overflow.eml": of(BROKEN_ADDRESS, "0 to"),
    "mimekit-startrek.eml": of(BROKEN_TYPE, "0.2.3 parameters"),
    "content-length.mbox:0": of(NO_VALUE, "0 parameters"),
    "content-length.mbox:6": of(BROKEN_ADDRESS, "0 from", "0 to"),
    "content-length.mbox:15": of(
        NO_COLON,
        "0.message date",
        "0.message decoded",
        "0.message encoding",
        "0.message from",
        "0.message lines",
        "0.message parameters",
        "0.message size",
        "0.message subject",
        "0.message to",
        "0.message type",
    ),
    "content-length.mbox:16": of(
        NO_COLON,
        "0.2.message date",
        "0.2.message decoded",
        "0.2.message encoding",
        "0.2.message from",
        "0.2.message lines",
        "0.2.message parameters",
        "0.2.message size",
        "0.2.message subject",
        "0.2.message to",
        "0.2.message type",
    ),
    "simple.mbox:0": of(LAST_LINE_END, "0.1.1.1 decoded", "0.1.1.1 lines", "0.1.1.1 size"),
    "simple.mbox:1": of(INNERMOST, "0.1 decoded", "0.1 size", "0.1.1 part", "0.1.1.1 part", "0.2 part", "0.3 part"),
    "simple.mbox:2": of(
        EMPTY_BOUNDARY, "0.1 decoded", "0.1 lines", "0.1 parameters", "0.1 size", "0.1 type", "0.2 part", "0.3 part"
    ),
}

ADDRESS_FIELDS = ("from", "sender", "reply-to", "to", "cc", "bcc")
LENIENT = {"strict": False} if "strict" in inspect.signature(email.utils.getaddresses).parameters else {}
MAILS = dict(mails())


def as_octets(text):
    return text.encode("utf-8", "surrogateescape")


# What we find.


def our_parts(message):
    """The parts by their place in the tree, in the order of the message."""
    waiting = [("0", parse(message))]
    while waiting:
        place, part = waiting.pop()
        is_message = place == "0" or place.endswith("message")
        yield place, our_part(part, message) | (our_header(part.header(message)) if is_message else {})
        inner = [(f"{place}.{number}", child) for number, child in enumerate(part.children, 1)]
        if part.embedded is not None:
            inner = [(f"{place}.message", part.embedded)]
        waiting += reversed(inner)


def our_part(part, message):
    found = {"type": part.content_type.decode("latin-1"), "encoding": part.encoding.lower(), "parameters": {}}
    for key, value in part.params:
        name = key.lower()
        found["parameters"].setdefault(name.partition(b"*")[0], value if b"*" not in name else None)
    for name, value in found["parameters"].items():
        if value is None:
            found["parameters"][name] = as_octets(parameter_text(part.params, name))
    if not part.children and part.embedded is None:
        body = part.body(message)
        found["size"] = part.size
        if part.type.lower() == b"text":
            found["lines"] = part.lines
        try:
            found["decoded"] = decode_transfer(body, part.encoding)
        except UnknownEncoding:
            found["decoded"] = None
    return found


def our_header(header):
    found = {}
    for field in fields(header):
        name = field.name.decode("latin-1").lower()
        if name in ADDRESS_FIELDS:
            found.setdefault(name, []).extend(our_addresses(field.value))
        elif name == "subject":
            found.setdefault(name, " ".join(decode_words(field.value).split()))
        elif name == "date":
            found.setdefault(name, parse_date(field.value))
    return found


def our_addresses(value):
    for name, _, mailbox, host in addresses(unfold(value)):
        if host is not None:
            yield name or b"", mailbox + b"@" + host if host else mailbox


# What they find.


def their_parts(message):
    waiting = [("0", email.message_from_bytes(message))]
    while waiting:
        place, part = waiting.pop()
        is_message = place == "0" or place.endswith("message")
        yield place, their_part(part) | (their_header(part) if is_message else {})
        inner = []
        if part.get_content_maintype() == "multipart" and part.is_multipart():
            inner = [(f"{place}.{number}", child) for number, child in enumerate(part.get_payload(), 1)]
        elif part.get_content_type() in ("message/rfc822", "message/global") and part.is_multipart():
            inner = [(f"{place}.message", part.get_payload(0))]
        waiting += reversed(inner)


def their_part(part):
    found = {"type": part.get_content_type()}
    found["encoding"] = as_octets(str(part.get("content-transfer-encoding", "7bit"))).strip().lower()
    found["parameters"] = {}
    default = {b"charset": b"us-ascii"} if "content-type" not in part and found["type"] == "text/plain" else {}
    for name, value in part.get_params(failobj=[])[1:] if "content-type" in part else ():
        found["parameters"].setdefault(as_octets(name.lower()), as_octets(email.utils.collapse_rfc2231_value(value)))
    found["parameters"] = found["parameters"] or default
    payload = part._payload  # as it was read; get_payload would decode the charset
    if isinstance(payload, str):
        octets = payload.encode("ascii", "surrogateescape")
        found["size"] = len(octets)
        if part.get_content_maintype() == "text":
            found["lines"] = octets.count(b"\n")
        known = found["encoding"] in (b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable", b"")
        found["decoded"] = their_decoded(part, octets) if known else None
    return found


def their_decoded(part, octets):
    copy = email.message.Message()
    copy["Content-Transfer-Encoding"] = str(part.get("content-transfer-encoding", "7bit"))
    copy.set_payload(octets.decode("ascii", "surrogateescape"))
    return copy.get_payload(decode=True)


def their_header(part):
    found = {}
    for name, raw in part.raw_items():
        name, value = name.lower(), as_their_octets(raw)
        if name in ADDRESS_FIELDS:
            found.setdefault(name, []).extend(their_addresses(value))
        elif name == "subject":
            found.setdefault(name, their_subject(value))
        elif name == "date":
            found.setdefault(name, their_date(value))
    return found


def as_their_octets(raw):
    return unfold(raw.encode("ascii", "surrogateescape"))


def their_addresses(value):
    try:
        pairs = email.utils.getaddresses([value.decode("latin-1")], **LENIENT)
    except RecursionError:
        return
    for name, address in pairs:
        if name or address:
            yield name.encode("latin-1"), address.encode("latin-1")


def their_subject(value):
    if b"=?" not in value:
        return " ".join(decode_words(value).split())
    pieces = email.header.decode_header(value.decode("latin-1"))
    return " ".join(str(email.header.make_header(pieces)).split())


def their_date(value):
    try:
        return email.utils.parsedate_to_datetime(value.decode("latin-1"))
    except ValueError:
        return None


# The comparison.


def differences(message):
    """The places and names where the two differ, with what each found."""
    ours, theirs = dict(our_parts(message)), dict(their_parts(message))
    found = {}
    for place in sorted(ours.keys() | theirs.keys()):
        if place not in ours or place not in theirs:
            found[f"{place} part"] = (place in ours, place in theirs)
            continue
        for name in ours[place].keys() | theirs[place].keys():
            pair = ours[place].get(name), theirs[place].get(name)
            is_other_message = ours[place]["type"].startswith("message/") and name in ("size", "decoded")
            if pair[0] != pair[1] and not is_other_message:
                found[f"{place} {name}"] = pair
    return found


@pytest.mark.parametrize("name", MAILS)
def test_the_mail_is_read_as_the_email_package_reads_it(name):
    found = differences(MAILS[name])
    assert {place: what for place, what in found.items() if place not in KNOWN.get(name, {})} == {}


@pytest.mark.parametrize("name", [name for name in KNOWN if name in MAILS])
def test_the_known_differences_are_still_there(name):
    assert KNOWN[name].keys() - differences(MAILS[name]).keys() == set()


def test_there_is_mail_to_compare():
    assert len(MAILS) >= 15
    assert sum(1 for message in MAILS.values() for _ in walk(parse(message))) > 60
