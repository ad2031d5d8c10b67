"""Mailbox names: their canonical form, their spelling on the wire, the tree they make, and the patterns of LIST.

Inside the house a name is a str in canonical form: "/" between levels, Unicode in NFC, and INBOX in capitals where it
is the first level (RFC 9051 section 5.1: INBOX is known in any case). On the wire it is modified UTF-7
(RFC 3501 section 5.1.3), or UTF-8 where the client asked for it (RFC 6855, RFC 9051). Any str that `decode_wire` gives
comes back from `encode_wire` and `decode_wire` unchanged. Whether a mailbox exists is the store's knowledge; which new
names are allowed is said by `check_new`.
"""

import re
import unicodedata
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from typing import Final

DELIMITER: Final = "/"
INBOX: Final = "INBOX"
SPECIAL_USES: Final = ("\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash")
"""The special uses a mailbox may be given (RFC 6154 section 2)."""

LEVEL_OCTETS: Final = 200
"""A level becomes a part of a file name, and file systems take 255 octets."""
NAME_OCTETS: Final = 1_000
"""Keeps a whole path below the 4,096 octets that the kernel takes, and an answer to LIST short."""
LEVELS: Final = 20
"""Deeper trees are the work of runaway programs."""
WIRE_OCTETS: Final = 8_000
"""What is read as a name at all: no path is that long, and to bring combining marks into NFC takes quadratic time."""

_PLAIN = re.compile(r"[ -%'-~]*")  # the characters that stand for themselves in modified UTF-7
_SHIFTED = re.compile(r"&|[^ -~]+")  # what must be encoded, in the longest runs
_SHIFT = re.compile(r"&([A-Za-z0-9+,]*)-")
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})  # not in Net-Unicode (RFC 5198 section 2), which RFC 9051 5.1 asks for


class BadName(ValueError):
    """The octets are no mailbox name, or the name cannot be given to a mailbox; the text is for the client."""


def decode_wire(raw: bytes, utf8: bool) -> str:
    """The canonical name of what the client sent. Raises BadName.

    With `utf8` the octets are UTF-8 and "&" is a letter like others. Without, they are modified UTF-7, and octets of
    8 bits are taken for UTF-8 all the same: some clients send them so.
    """
    return canonical(decode_pattern(raw, utf8))


def decode_pattern(raw: bytes, utf8: bool) -> str:
    """As decode_wire, but INBOX stays as it was written: in a pattern of LIST it need not be the first level."""
    if len(raw) > WIRE_OCTETS:
        raise BadName("The mailbox name is too long")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadName("The mailbox name is neither modified UTF-7 nor UTF-8") from None
    if "\0" in text:
        raise BadName("A mailbox name has no NUL")
    if "&" in text and not utf8:
        text = _from_utf7(text)
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def encode_wire(name: str, utf8: bool) -> bytes:
    """The name as it is sent: in UTF-8 or in modified UTF-7."""
    try:
        return name.encode("utf-8") if utf8 else _to_utf7(name).encode("ascii")
    except UnicodeEncodeError:
        raise BadName("The mailbox name is not Unicode text") from None


def canonical(name: str) -> str:
    """The name with INBOX in capitals where it is the first level."""
    # lower(), because upper() makes an I of the dotless i as well.
    if name[:5].lower() == "inbox" and name[5:6] in ("", DELIMITER):
        return INBOX + name[5:]
    return name


def check_new(name: str) -> None:
    """Raise BadName where no mailbox may be given that name; the text says why.

    The name is canonical, and a single "/" at its end, which announces children (RFC 9051 section 6.3.4), is off.
    """
    if not name:
        raise BadName("A mailbox name cannot be empty")
    levels = name.split(DELIMITER)
    if len(levels) > LEVELS:
        raise BadName(f"A mailbox name has at most {LEVELS} levels")
    if any(unicodedata.category(character) in _UNFIT for character in name):
        raise BadName("A mailbox name has no control characters")
    if "%" in name or "*" in name:
        raise BadName('A mailbox name has no "%" and no "*"')
    for level in levels:
        _check_level(level)
    if len(encode_wire(name, utf8=False)) > NAME_OCTETS:
        raise BadName("The mailbox name is too long")


def _check_level(level: str) -> None:
    if not level:
        raise BadName("A level of a mailbox name cannot be empty")
    if level in (".", ".."):
        raise BadName('A level of a mailbox name cannot be "." or ".."')
    if len(encode_wire(level, utf8=False)) > LEVEL_OCTETS:
        raise BadName("A level of the mailbox name is too long")


def parent(name: str) -> str | None:
    """The name one level up, or None for a name of one level."""
    above, delimiter, _ = name.rpartition(DELIMITER)
    return above if delimiter else None


def ancestors(name: str) -> tuple[str, ...]:
    """The names above, from the top down: of "a/b/c" they are "a" and "a/b"."""
    return tuple([name[: match.start()] for match in re.finditer(DELIMITER, name)])


def is_below(name: str, ancestor: str) -> bool:
    """Whether the name is a child of the other, or a child's child."""
    return name.startswith(ancestor + DELIMITER)


@dataclass(frozen=True, slots=True)
class Pattern:
    """The reference and mailbox pattern of LIST or LSUB: "*" is any text, "%" any text in one level.

    The reference is put before the pattern (RFC 9051 section 6.3.9). INBOX and what is below it match in any case.

    A pattern is an automaton with one state for each place in it; `_states` holds all states at once as bits of an
    int, so a match takes one step for each character of the name, however many wildcards there are.
    """

    reference: str
    pattern: str
    _last: int = field(init=False, repr=False, compare=False)
    _any: int = field(init=False, repr=False, compare=False)
    _level: int = field(init=False, repr=False, compare=False)
    _steps: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = _single_wildcards(self.reference + self.pattern)
        anything = level = 0
        steps: dict[str, int] = {}
        for place, character in enumerate(text):
            if character == "*":
                anything |= 1 << place
            elif character == "%":
                level |= 1 << place
            else:
                steps[character] = steps.get(character, 0) | 1 << place
        for slot, value in (("_last", 1 << len(text)), ("_any", anything), ("_level", level), ("_steps", steps)):
            object.__setattr__(self, slot, value)

    def matches(self, name: str) -> bool:
        """Whether the whole name fits the pattern."""
        if self._any == 1 and self._last == 2:
            return True  # "*" alone, what most clients ask for
        wild = self._any | self._level
        states = 1 | (1 & wild) << 1
        caseless = len(INBOX) if name == INBOX or name.startswith(INBOX + DELIMITER) else 0
        for place, character in enumerate(name):
            step = self._steps.get(character, 0)
            if place < caseless:
                step |= self._steps.get(character.lower(), 0)
            stay = self._any if character == DELIMITER else wild
            states = (states & step) << 1 | (states & stay)
            if not states:
                return False
            states |= (states & wild) << 1
        return bool(states & self._last)

    def matches_parent_of(self, name: str) -> tuple[str, ...]:
        """The names above this one that fit the pattern, from the top down.

        LSUB "%" answers "a" for a subscribed "a/b" (RFC 3501 section 6.3.9), and LIST (RECURSIVEMATCH) likewise
        (RFC 5258 section 3.5).
        """
        return tuple([above for above in ancestors(name) if self.matches(above)])


def _single_wildcards(text: str) -> str:
    """The pattern with each run of wildcards as one, which means the same: the automaton steps over one at a time."""
    return re.sub(r"[*%]{2,}", lambda run: "*" if "*" in run[0] else "%", text)


def _to_utf7(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    return _SHIFTED.sub(_shift_out, name)


def _shift_out(run: re.Match[str]) -> str:
    if run[0] == "&":
        return "&-"
    encoded = b64encode(run[0].encode("utf-16-be"), altchars=b"+,")
    return "&" + encoded.rstrip(b"=").decode("ascii") + "-"


def _from_utf7(text: str) -> str:
    # Read leniently, then asked to be what we would have written: that refuses shifts that are not ended or not
    # needed, letters that stand for themselves and stray bits, all at once (RFC 3501 section 5.1.3).
    decoded = _SHIFT.sub(_shift_in, text)
    if _SHIFTED.sub(_shift_out, decoded) != _SHIFTED.sub(_escape_raw, text):
        raise BadName("The mailbox name is not modified UTF-7")
    return decoded


def _escape_raw(run: re.Match[str]) -> str:
    # Octets of 8 bits that came as they are count as if they had been encoded.
    return "&" if run[0] == "&" else _shift_out(run)


def _shift_in(shift: re.Match[str]) -> str:
    if not shift[1]:
        return "&"
    try:
        octets = b64decode(shift[1] + "=" * (-len(shift[1]) % 4), altchars=b"+,", validate=True)
        decoded = octets.decode("utf-16-be")
    except (Base64Error, UnicodeDecodeError):
        raise BadName("The mailbox name is not modified UTF-7") from None
    if "\0" in decoded:
        raise BadName("A mailbox name has no NUL")
    return decoded
