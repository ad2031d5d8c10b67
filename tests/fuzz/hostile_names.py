"""Types hostile names at the filters of directories: a name is a value, whatever it is made of.

    python tests/fuzz/hostile_names.py --names 1000000 --seed 1

Each name is made of pieces that mean something to filters, DNs, URLs, shells and SQL, and of random characters. It is
understood as at a login, and the filter that comes of it is read back by a reader of our own. The promise: the filter
has the shape that a harmless name of the kind gives, with the same attributes in the same places, and in each place
where the name belongs stands the name and nothing else. A name that breaks it is printed.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from imapd.directory.ldapquery import Query  # noqa: E402
from imapd.directory.names import Level, LoginName  # noqa: E402
from imapd.directory.person import AttributeMap  # noqa: E402
from imapd.directory.presets import PRESETS  # noqa: E402

PIECES = [
    "*", "(", ")", "\\", "\0", "|", "&", "!", "=", "~=", ">=", "<=", ":=", ":dn:=", "/", ",", "+", ";", "<", ">", '"', "'", "#", " ",
    "\\2a", "\\28", "\\29", "\\5c", "\\00", "%2a", "%00", "&#42;", "\\u002a", "\\", "\\\\", "\\*",
    ")(uid=*", "*)(uid=*))(|(uid=*", "*)(|(mail=*", "ada)(|(uid=*)", "ada)(!(uid=x))", "*))%00", "admin)(&)", "(|(objectClass=*)", "*)(userPassword=*",
    "uid=", "cn=", "mail=", "userPassword=", "objectClass=", "uid=ada,", ",dc=acme,dc=example", ",ou=people,dc=acme,dc=example", "o=Acme", "/O=Acme",
    "cn=admin,dc=acme,dc=example", "uid=*,", "uid=\\2a,", "cn=a+uid=b,o=c", "#04024869", "1.2.840.113556.1.4.803:=2",
    "ada", "ben", "bait", "ada@acme.example", "@acme.example", "@", "root", "jo doe",
    "' OR '1'='1", "; DROP TABLE", "$(id)", "`id`", "../../etc/passwd", "${jndi:ldap://x/a}", "{{7*7}}", "<script>",
    "\uff0a", "\uff08", "\uff09", "\uff3c", "\u2217", "\u066d", "\ufdfa", "\u200b", "\u202e", "\ufeff", "\u0301", "a\u0301", "\xe1", "\xdf", "\u0130", "\u1e9e", "\U0001f600",
    "\r", "\n", "\t", "\x7f", "\x85", "\ud800",
]  # fmt: skip
SHORT = " abcXYZ019*()\\=,/@.-_|&!~<>#+;\"'\0\xe4\u20ac"


def names(count: int, seed: int) -> Iterator[str]:
    """So many names, always the same for one seed."""
    chance = random.Random(seed)
    for _ in range(count):
        kind = chance.random()
        if kind < 0.7:
            yield "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 5)))
        elif kind < 0.9:
            yield "".join(chance.choice(SHORT) for _ in range(chance.randint(1, 24)))
        else:
            yield "".join(chr(chance.randrange(0x110000)) for _ in range(chance.randint(1, 12)))


def read_filter(text: str) -> object:
    """A filter's text as (sign, [filters]) or (attribute, octets), by RFC 4515; ValueError where it is none."""
    found, end = _read(text, 0)
    if end != len(text):
        raise ValueError("something behind the filter")
    return found


def _read(text: str, at: int) -> tuple[object, int]:
    if text[at : at + 1] != "(":
        raise ValueError("a filter begins with (")
    if text[at + 1 : at + 2] in ("&", "|"):
        sign, inner, at = text[at + 1], [], at + 2
        while text[at : at + 1] == "(":
            one, at = _read(text, at)
            inner.append(one)
        if text[at : at + 1] != ")" or not inner:
            raise ValueError("a filter ends with )")
        return (sign, inner), at + 1
    end = text.index(")", at)
    attribute, equals, value = text[at + 1 : end].partition("=")
    if not equals or not attribute.replace("-", "").isalnum():
        raise ValueError(f"{attribute!r} is no attribute")
    return (attribute.lower(), _octets(value)), end + 1


def _octets(value: str) -> bytes:
    octets, at = bytearray(), 0
    while at < len(value):
        if value[at] in "*(\0" or ord(value[at]) > 126:
            raise ValueError(f"{value[at]!r} stands in a value as it is")
        if value[at] == "\\":
            octets.append(int(value[at + 1 : at + 3], 16))
            at += 3
        else:
            octets += value[at].encode("ascii")
            at += 1
    return bytes(octets)


class Judge:
    """Holds the filters of a preset against the promise."""

    def __init__(self, preset: str = "inetorgperson", level: Level = Level.MORE) -> None:
        self._map = AttributeMap.load(preset)
        self._query = Query(self._map, level)
        self._level = level
        # The part of every filter that says what a person is, as it stands before anything that was typed.
        self._person = read_filter(str(self._query.leaf((("cn", "x"),))))[1][:-1]
        self.understood = 0

    def hold(self, typed: str) -> None:
        """AssertionError where the promise is broken."""
        try:
            name = LoginName.parse(typed)
        except ValueError:
            return
        self.understood += 1
        if name.rdn:
            self._hold_leaf(name)
        if name.dn_key is None or name.abbreviated:
            self._hold_login(name)

    def _hold_login(self, name: LoginName) -> None:
        made = self._query.login(name)
        attributes = self._map.login_attributes(name.attribute, self._level)
        if made is None:
            assert not attributes or not name.value
            return
        value = name.value.encode("utf-8")
        asked = [(attribute.lower(), value) for attribute in attributes]
        expected = ("&", [*self._person, ("|", asked) if len(asked) > 1 else asked[0]])
        assert read_filter(str(made)) == expected, str(made)

    def _hold_leaf(self, name: LoginName) -> None:
        made = self._query.leaf(name.rdn)
        if made is not None:
            asked = [(kind, value.encode("utf-8")) for kind, value in name.rdn]
            assert read_filter(str(made)) == ("&", [*self._person, *asked]), str(made)
            assert not any("password" in kind for kind, _ in asked), str(made)


def run(count: int, seed: int) -> int:
    """Try so many names at every preset in turn; how many of them were names at all."""
    judges = [Judge(preset) for preset in PRESETS]
    for number, typed in enumerate(names(count, seed)):
        try:
            judges[number % len(judges)].hold(typed)
        except Exception as error:
            raise AssertionError(f"the name {typed!r} of --seed {seed}: {error}") from error
    return sum(judge.understood for judge in judges)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    started = time.monotonic()
    understood = run(arguments.names, arguments.seed)
    print(f"{arguments.names} names, {understood} of them understood, {time.monotonic() - started:.0f} s: all held")


if __name__ == "__main__":
    main()
