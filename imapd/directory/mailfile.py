"""Paths of mail files, from attributes and from templates such as "mail/{short_name}".

1. A path is relative: no "..", no empty or "." level, no NUL or other control character.
2. What a template puts into a path is one piece of one level: no "/", no dot at its beginning.

A path that breaks a rule is never mended into one that does not: somebody meant something by it. What is only another
product's way to write a path is read: Domino's back slashes and its ".nsf", and the slash at the end of a Maildir.
"""

import re
from collections.abc import Callable, Mapping

_LONGEST_LEVEL = 255  # NAME_MAX of the file systems we know, in octets
_LONGEST_PATH = 1_000

PLACES = ("short_name", "user_name", "internet_address", "local_part", "domain")


def path_fault(path: str) -> str | None:
    """What is wrong with a mail file's path, or None."""
    if path.startswith("/"):
        return "it is not relative"
    if any(char < " " or "\x7f" <= char <= "\x9f" for char in path):
        return "it has control characters"
    levels = path.split("/")
    if any(level in ("", ".", "..") for level in levels):
        return 'it has a level that is empty, "." or ".."'
    octets = [len(level.encode("utf-8")) for level in levels]
    if max(octets) > _LONGEST_LEVEL or sum(octets) > _LONGEST_PATH:
        return "it is too long"
    return None


def written(attribute: str, value: bytes) -> tuple[str | None, str | None]:
    """The path that an attribute holds, or None, and what is wrong with it."""
    try:
        path = value.decode("utf-8")
    except UnicodeDecodeError:
        return None, "it is not UTF-8"
    path = _SPELLINGS.get(attribute.lower(), str)(path)
    return path, path_fault(path)


def check_template(template: str) -> None:
    """ValueError where a template names places that there are not, or leads elsewhere whatever is filled in."""
    bare = re.sub(r"\{(" + "|".join(PLACES) + r")\}", "x", template)
    if "{" in bare or "}" in bare:
        raise ValueError(f"the template {template!r} may have {', '.join('{' + place + '}' for place in PLACES)} only")
    if fault := path_fault(bare):
        raise ValueError(f"the template {template!r}: {fault}")


def filled(template: str, values: Mapping[str, str | None]) -> tuple[str | None, str | None]:
    """The path that a template gives, or None, and what is wrong with it."""
    path = template
    for place in PLACES:
        if "{" + place + "}" not in template:
            continue
        value = values[place]
        if not value:
            return None, f"the entry has no {place}"
        if "/" in value or value.startswith("."):
            return None, f"{place} {value[:80]!r} has a slash or begins with a dot"
        # A brace in a value would be taken for the next place.
        if "{" in value or "}" in value:
            return None, f"{place} {value[:80]!r} has a brace"
        path = path.replace("{" + place + "}", value)
    return path, path_fault(path)


def _of_domino(path: str) -> str:
    """`mail\\ada.nsf` is mail/ada."""
    return re.sub(r"\.nsf$", "", path.replace("\\", "/"), flags=re.IGNORECASE)


def _of_qmail(path: str) -> str:
    """qmail tells a Maildir from an mbox by the slash at the end; here the file system says it."""
    return path[:-1] if path.endswith("/") and path != "/" else path


_SPELLINGS: Mapping[str, Callable[[str], str]] = {"mailfile": _of_domino, "mailmessagestore": _of_qmail}
