"""How the commands of LMTP are spelled (RFC 2033, and RFC 5321 section 4.1.2 for what both have in common)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# RFC 5321 section 4.5.3.1: a path has 256 octets, a local part 64; UTF-8 is counted as it is sent.
_LONGEST_PATH = 256
_PATH = re.compile(
    r"""<(?:@[^:<>\s]+:)?                        # a source route, which is ignored (RFC 5321 section 4.1.1.3)
         ( "(?:[^"\\\r\n]|\\.)*" | [^"@<>\s]* )  # a quoted string or a dot-string, or nothing
         (?: @( \[[^\]<>\s]*\] | [^@<>\s\[\]]+ ) )?
        >""",
    re.VERBOSE,
)
_PARAMETER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?:=[!-<>-~\u0080-\U0010ffff]+)?")
_NUMBER = re.compile(r"[0-9]{1,20}")


class BadWord(ValueError):
    """The command is not spelled as it should be; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A command line: its verb in capitals, and the rest."""

    name: str
    rest: str


@dataclass(frozen=True, slots=True)
class Path:
    """A path with its parameters. address: without brackets and quoting, "" for the null path."""

    address: str
    parameters: dict[str, str] = field(default_factory=dict)


def verb(line: bytes) -> Verb:
    """A line without its end as a command. Raises BadWord."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise BadWord("The line is not UTF-8") from None
    if any(char < " " or char == "\x7f" for char in text):
        raise BadWord("The line has control characters")
    name, _, rest = text.strip(" ").partition(" ")
    return Verb(name.upper(), rest.strip(" "))


def path(rest: str, keyword: str) -> Path:
    """`FROM:<path> parameters` or `TO:<path> parameters`. Raises BadWord."""
    if rest[: len(keyword) + 1].upper() != f"{keyword}:":
        raise BadWord(f"{keyword}:<address> is expected")
    match = _PATH.match(rest, re.compile(" *").match(rest, len(keyword) + 1).end())  # type: ignore[union-attr]
    if match is None or rest[match.end() : match.end() + 1] not in ("", " "):
        raise BadWord(f"What stands behind {keyword}: is no address in angle brackets")
    if len(match[0].encode("utf-8")) > _LONGEST_PATH:
        raise BadWord(f"An address has at most {_LONGEST_PATH} octets")
    local, domain = _unquoted(match[1]), match[2]
    if domain is not None and not local:
        raise BadWord("The address has nothing before its @")
    return Path(local + (f"@{domain}" if domain is not None else ""), _parameters(rest[match.end() :]))


def number(text: str) -> int:
    """A count of octets. Raises BadWord."""
    if not _NUMBER.fullmatch(text):
        raise BadWord("That is no number of octets")
    return int(text)


def _unquoted(local: str) -> str:
    return re.sub(r"\\(.)", r"\1", local[1:-1]) if local.startswith('"') else local


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in text.split():
        if not _PARAMETER.fullmatch(word):
            raise BadWord("The parameters are not spelled as they should be")
        key, _, value = word.partition("=")
        if key.upper() in found:
            raise BadWord(f"{key.upper()} is there twice")
        found[key.upper()] = value
    return found
