"""The administrator's work on an LDIF file: adding people, changing passwords, listing who is there.

Nothing in here asks or prints; values come in, and UserError says in a sentence what was wrong with them.

Promises:

1. Every octet that is not part of the change stays as it was: comments, order, folding, line ends.
2. The new text is read and understood as the daemon would do it before it takes the old one's place.
3. The change is one rename of a file that is on the disk by then; owner, group and mode stay, a new file gets 0600.
   Two changes at once do not lose one: the file is locked from reading to renaming.
4. Passwords are written as a SCRAM-SHA-256 verifier only, and older passwords of the entry, in whatever form, go.
"""

import contextlib
import fcntl
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from imapd.directory import dn as names
from imapd.directory import ldif, scram
from imapd.directory.ldif import LdifError
from imapd.directory.ldifdirectory import People
from imapd.directory.names import Level, LoginName
from imapd.directory.person import AttributeMap, Person, path_fault
from imapd.directory.proof import LONGEST_PASSWORD

# What a new entry shares with the others: classes whose attributes we can fill in.
_PERSON_CLASSES = (b"top", b"person", b"organizationalperson", b"inetorgperson")
_AUTH_PASSWORD_CLASS = b"authPasswordObject"  # RFC 3112: the class that allows authPassword

# Loose: what is on both sides of the @ is the mail system's business.
_ADDRESS = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@.\x00-\x1f\x7f][^\s@\x00-\x1f\x7f]*")

# The text and the entries of a file; gives the new text and the DN of the entry that is meant.
Change = Callable[[bytes, list[ldif.Entry]], tuple[bytes, str]]


class UserError(ValueError):
    """What the administrator asked for cannot be done; one sentence, without secrets."""


@dataclass(frozen=True, slots=True)
class NewUser:
    """Somebody to be added. What is left out is derived from the rest."""

    name: str
    password: str = field(repr=False)
    full_name: str | None = None
    given_name: str | None = None
    last_name: str | None = None
    mail: str | None = None
    base: str | None = None


def add(path: str, user: NewUser, iterations: int = scram.ITERATIONS) -> str:
    """Add somebody to a file, which is made if it is not there; the DN of the new entry."""
    _check_new(user)
    verifier = _verifier(user.password, iterations)

    def change(data: bytes, entries: list[ldif.Entry]) -> tuple[bytes, str]:
        people = _people(data, path)
        _require_free(people, user)
        return _with_user(data, entries, people, user, verifier)

    return _edit(path, change, create=True)


def passwd(path: str, name: str, password: str, iterations: int = scram.ITERATIONS) -> str:
    """Give somebody a new password, which replaces all others; the DN of the entry."""
    verifier = _verifier(password, iterations)

    def change(data: bytes, entries: list[ldif.Entry]) -> tuple[bytes, str]:
        person = _one(_people(data, path), name)
        entry = next(entry for entry in entries if entry.dn == person.dn)
        return _with_password(data, entry, verifier), person.dn

    return _edit(path, change, create=False)


def list_people(path: str, attribute_map: AttributeMap | None = None) -> list[Person]:
    """Everybody in the file, in its order."""
    try:
        with open(path, "rb") as file:
            return list(_people(file.read(), path, attribute_map))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _check_new(user: NewUser) -> None:
    try:
        LoginName.parse(user.name)
    except ValueError as error:
        raise UserError(str(error)) from None
    # The name is a level of the mail file's path for most sites.
    if path_fault(user.name) or re.search(r"[/={}]|^[.\s]|\s$", user.name):
        raise UserError(f"{user.name!r} cannot be a login name: no slash, =, braces, nor a dot or space at its ends")
    if user.mail is not None and not _ADDRESS.fullmatch(user.mail):
        raise UserError(f"{user.mail!r} is not an Internet address")
    for text in (user.full_name, user.given_name, user.last_name):
        if text is not None and (not text.strip() or not text.isprintable()):
            raise UserError(f"{text!r} is not a person's name")


def _require_free(people: People, user: NewUser) -> None:
    """Nobody may have one of the names; nor may a full name be somebody's uid, who could not log in any more."""
    wanted = [user.name, user.mail, f"uid={_full_name(user)}"]
    for value in filter(None, wanted):
        for other in people.matching(LoginName.parse(value), Level.FEWER):
            raise UserError(f"{value.removeprefix('uid=')!r} is a name of {other.dn} already")


def _full_name(user: NewUser) -> str:
    return user.full_name or " ".join(filter(None, (user.given_name, user.last_name))) or user.name


def _verifier(password: str, iterations: int) -> bytes:
    if len(password.encode("utf-8", "surrogatepass")) > LONGEST_PASSWORD:
        raise UserError(f"the password is longer than {LONGEST_PASSWORD} octets")
    try:
        return scram.ScramVerifier.make(password, iterations).written().encode("ascii")
    except ValueError as error:
        raise UserError(f"this cannot be a password: {error}") from None


def _people(data: bytes, path: str, attribute_map: AttributeMap | None = None) -> People:
    try:
        return People.read(data, path, "", attribute_map or AttributeMap.load(), Level.FEWER)
    except LdifError as error:
        raise UserError(str(error)) from None


def _one(people: People, name: str) -> Person:
    try:
        found = people.matching(LoginName.parse(name), Level.FEWER)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not found:
        raise UserError(f"nobody is called {name!r}")
    if len(found) > 1:
        raise UserError(f"{name!r} may be {' or '.join(person.dn for person in found)}; give the uid or the DN")
    return found[0]


# What the text becomes.


def _with_user(
    data: bytes, entries: list[ldif.Entry], people: People, user: NewUser, verifier: bytes
) -> tuple[bytes, str]:
    """The file with a new entry at its end, and the DN of that entry."""
    line_end = _line_end(data)
    base = user.base or _base(entries, people)
    head = b""
    if not data:
        head += b"version: 1" + line_end + line_end
    elif not data.endswith(b"\n"):
        head += line_end
    if entries:
        head += line_end
    if base is None:
        base = f"ou=people,{_domain_base(user)}"
        head += b"".join(text + line_end for text in _base_entries(base, line_end))
    dn = f"uid={names.escape(user.name)},{base}"
    full_name = _full_name(user)
    values = [
        *(("objectClass", name) for name in _classes(entries)),
        ("uid", user.name.encode("utf-8")),
        ("cn", full_name.encode("utf-8")),
        *([("givenName", user.given_name.encode("utf-8"))] if user.given_name else []),
        ("sn", (user.last_name or full_name.split()[-1]).encode("utf-8")),
        *([("mail", user.mail.encode("utf-8"))] if user.mail else []),
        ("authPassword", verifier),
    ]
    return data + head + ldif.entry(dn, values, line_end), dn


def _base(entries: list[ldif.Entry], people: People) -> str | None:
    """Where most of the others are; else the unit or domain that the file has."""
    above = Counter(names.key(names.parent(person.dn)) for person in people)
    if above:
        wanted = above.most_common(1)[0][0]
        return next(parent for person in people if names.key(parent := names.parent(person.dn)) == wanted)
    for kinds in ({b"organizationalunit"}, {b"domain", b"dcobject", b"organization"}):
        for entry in entries:
            if kinds & {value.lower() for value in entry.attributes().get("objectclass", ())}:
                return entry.dn
    return None


def _domain_base(user: NewUser) -> str:
    domain = user.mail.rpartition("@")[2] if user.mail else "localdomain"
    return ",".join(f"dc={names.escape(label)}" for label in domain.split(".") if label)


def _base_entries(base: str, line_end: bytes) -> list[bytes]:
    """The unit for people and the domain above it, so that the file can be loaded into a server as it is."""
    domain = names.parent(base)
    label = names.parse(domain)[0][0][1]
    return [
        ldif.entry(domain, [("objectClass", b"domain"), ("dc", label.encode("utf-8"))], line_end),
        ldif.entry(base, [("objectClass", b"organizationalUnit"), ("ou", b"people")], line_end),
    ]


def _classes(entries: list[ldif.Entry]) -> list[bytes]:
    """The classes of the last person in the file, as far as we can fill them in."""
    classes = [b"inetOrgPerson"]
    for entry in reversed(entries):
        found = entry.attributes().get("objectclass", [])
        if b"inetorgperson" in [name.lower() for name in found]:
            classes = [name for name in found if name.lower() in _PERSON_CLASSES]
            break
    return [*classes, _AUTH_PASSWORD_CLASS]


def _with_password(data: bytes, entry: ldif.Entry, verifier: bytes) -> bytes:
    """The file with another password in one entry, in the place of the old one."""
    line_end = _line_end(data)
    old = [value for value in entry.values if value.name.partition(";")[0] in ("userpassword", "authpassword")]
    classes = [value for value in entry.values if value.name == "objectclass"]
    pieces: list[tuple[int, int, bytes]] = [(value.start, value.end, b"") for value in old]
    place = old[0].start if old else entry.end
    text = ldif.line("authPassword", verifier, line_end)
    if classes and _AUTH_PASSWORD_CLASS.lower() not in [value.value.lower() for value in classes]:
        class_line = ldif.line("objectClass", _AUTH_PASSWORD_CLASS, line_end)
        pieces.append((classes[-1].end, classes[-1].end, class_line))
    pieces.append((place, place, text))
    return _replace(data, pieces, line_end)


def _replace(data: bytes, pieces: list[tuple[int, int, bytes]], line_end: bytes) -> bytes:
    """Put texts, whole lines each, in the place of ranges; insertions come before what is removed behind them."""
    written, at = bytearray(), 0
    for start, end, text in sorted(pieces, key=lambda piece: (piece[0], piece[1])):
        written += data[at:start]
        if text and written and not written.endswith(b"\n"):
            written += line_end  # the file's last line has no end
        written += text
        at = end
    return bytes(written + data[at:])


def _line_end(data: bytes) -> bytes:
    return b"\r\n" if data[: data.find(b"\n") + 1].endswith(b"\r\n") else b"\n"


# What happens to the file.


def _edit(path: str, change: Change, create: bool) -> str:
    """Lock the file, change its text, check the new one, put it in the old one's place; the DN that change gives."""
    path = os.path.realpath(path)  # a link stays a link
    while True:
        try:
            with _locked(path) as file:
                text, dn = _changed(file.read(), change, path)
                _exchange(path, text, os.fstat(file.fileno()))
            return dn
        except FileNotFoundError:
            if not create:
                raise UserError(f"{path} is not there") from None
        except OSError as error:
            raise UserError(f"{path} cannot be changed: {error.strerror}") from None
        try:
            text, dn = _changed(b"", change, path)
            _exchange(path, text, None)
            return dn
        except FileExistsError:
            continue  # somebody else made it meanwhile: add to that one
        except OSError as error:
            raise UserError(f"{path} cannot be made: {error.strerror}") from None


def _changed(data: bytes, change: Change, path: str) -> tuple[bytes, str]:
    try:
        text, dn = change(data, ldif.read(data, path))
    except LdifError as error:
        raise UserError(str(error)) from None
    _people(text, path)
    return text, dn


@contextlib.contextmanager
def _locked(path: str) -> Iterator[BinaryIO]:
    """The file, open and ours alone. Waits, without an end, for another change; its maker can be seen and stopped."""
    while True:
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # While we waited the file may have been exchanged; the lock is on the old one then.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                yield file
                return


def _exchange(path: str, text: bytes, old: os.stat_result | None) -> None:
    """Put a text where the old file is, or make the file; on the disk before the name points to it."""
    folder = os.path.dirname(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            if old is not None:
                made = os.fstat(descriptor)
                if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
                    os.fchown(descriptor, old.st_uid, old.st_gid)
                os.fchmod(descriptor, old.st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        if old is not None:
            os.rename(temporary, path)
        else:
            os.link(temporary, path)  # unlike rename it does not replace a file that came meanwhile
            os.unlink(temporary)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
