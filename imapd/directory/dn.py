"""Distinguished names (RFC 4514): reading, comparing, and writing the little of them that we write.

A name is compared by its key: a text in one spelling, whatever the case, the spaces or the escapes of the original.
Keys are what indexes hold and what mail files belong to; for people and logs the original spelling is kept elsewhere.
Malformed names raise ValueError. A name typed by a user is only ever compared, it never becomes part of a request.
"""

import re
import unicodedata

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+")
_HEX = "0123456789abcdefABCDEF"
_SPECIAL = set(',+"\\<>;=')

# RFC 4514 section 3: these types may be written in either way; more people write them so than as numbers.
_SHORT = {
    "commonname": "cn",
    "surname": "sn",
    "organizationname": "o",
    "organizationalunitname": "ou",
    "countryname": "c",
    "domaincomponent": "dc",
    "userid": "uid",
}

Rdn = tuple[tuple[str, str], ...]


def text_key(text: str) -> str:
    """The form in which directories compare texts: no case, inner spaces single, outer ones gone (RFC 4518)."""
    if text.isascii():
        return " ".join(text.lower().split())  # the same, four times as fast; nearly all texts are
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def parse(name: str) -> tuple[Rdn, ...]:
    """The parts of a name, the leaf first; each a tuple of (type in lower case, value as it reads)."""
    if not name.strip():
        return ()
    return tuple(tuple(_attribute(pair) for pair in _split(rdn, "+")) for rdn in _split(name, ","))


def key(name: str) -> str:
    """The one spelling of a name under which it is compared and kept in indexes."""
    return key_of(parse(name))


def key_of(rdns: tuple[Rdn, ...]) -> str:
    """The same for a name in parts."""
    return ",".join("+".join(sorted(f"{kind}={escape(text_key(value))}" for kind, value in rdn)) for rdn in rdns)


def parent(name: str) -> str:
    """The name above, in the spelling of the original; "" above the first level."""
    return ",".join(_split(name, ",")[1:]).strip()


def slashed(name: str) -> str:
    """A name as Domino writes it, CN=Jo Doe/OU=West/O=Acme; the name itself where it is none."""
    try:
        rdns = parse(name)
    except ValueError:
        return name
    return "/".join("+".join(f"{kind.upper()}={value}" for kind, value in rdn) for rdn in rdns)


def abbreviated(name: str) -> str:
    """The same without the types, Jo Doe/West/Acme; whatever way the name was written."""
    try:
        rdns = parse(name if "," in name or "/" not in name else name.replace("/", ","))
    except ValueError:
        return name
    return "/".join("+".join(value for _, value in rdn) for rdn in rdns)


def is_below(name: str, base: str) -> bool:
    """Whether a name is the base, or somewhere below it; part by part, for a value may look like the end of a name."""
    wanted = [key_of((rdn,)) for rdn in parse(base)]
    found = [key_of((rdn,)) for rdn in parse(name)]
    return len(found) >= len(wanted) and found[len(found) - len(wanted) :] == wanted


def organization(name: str) -> str:
    """What is left of a name without the units and other names at its leaf: the o=, dc= or c= that it belongs to."""
    pieces = _split(name, ",")
    kinds = [{kind for kind, _ in rdn} for rdn in parse(name)]
    start = next((at for at, found in enumerate(kinds) if found & {"o", "dc", "c"}), 0)
    return ",".join(pieces[start:]).strip()


def escape(value: str) -> str:
    """A value as it stands in a name (RFC 4514 section 2.4); control characters as pairs of hex digits."""
    written = value if value.isalnum() else "".join(_escaped(char) for char in value)
    if written.endswith(" "):
        written = written[:-1] + "\\ "
    return "\\" + written if written.startswith((" ", "#")) else written


def _escaped(char: str) -> str:
    if char in _SPECIAL:
        return "\\" + char
    if char < " " or char == "\x7f":
        return f"\\{ord(char):02x}"
    return char


def _split(text: str, separator: str) -> list[str]:
    """Cut at each separator that is not escaped; the pieces keep their escapes."""
    if "\\" not in text:
        return text.split(separator)
    pieces, start, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == separator:
            pieces.append(text[start:at])
            start = at + 1
        at += 1
    pieces.append(text[start:])
    return pieces


def _attribute(pair: str) -> tuple[str, str]:
    kind, equals, value = pair.partition("=")
    kind = kind.strip().lower()
    if not equals or not _TYPE.fullmatch(kind):
        raise ValueError(f"{pair.strip()!r} is not type=value")
    return _SHORT.get(kind, kind), _value(value)


def _value(text: str) -> str:
    text = text.lstrip(" ")
    # A space at the end counts only where it is escaped, that is, behind an odd number of backslashes.
    bare = text.rstrip(" ")
    if len(bare) < len(text) and (len(bare) - len(bare.rstrip("\\"))) % 2:
        bare += " "
    if bare.startswith("#"):
        return bare.lower()  # a BER value in hex: compared as it is written
    return _unescape(bare)


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    octets, at = bytearray(), 0
    while at < len(text):
        char = text[at]
        if char != "\\":
            octets += char.encode("utf-8")
            at += 1
        elif len(text) > at + 2 and text[at + 1] in _HEX and text[at + 2] in _HEX:
            octets.append(int(text[at + 1 : at + 3], 16))
            at += 3
        elif len(text) > at + 1:
            octets += text[at + 1].encode("utf-8")
            at += 2
        else:
            raise ValueError("a backslash with nothing behind it")
    return octets.decode("utf-8")  # UnicodeDecodeError is a ValueError
