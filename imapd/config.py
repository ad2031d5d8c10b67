"""Reading the configuration file: configobj's dialect of ini, held against the table of settings.

Every problem is found in one pass and named with file, line and what would be right; nothing is guessed. Quotes keep
commas and number signs; DNs are put together again where somebody forgot the quotes.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from typing import Any

import configobj

from imapd import settings as table
from imapd.declare import Declaration, declared
from imapd.deliverysettings import Lmtp
from imapd.directory.presets import FIELDS
from imapd.directory.sasl import MECHANISMS
from imapd.kinds import DN, PLACE, Kind
from imapd.peoplesettings import Directory, OAuth
from imapd.settings import Listener, NamedCertificate, Settings, Tls


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a configuration file; line 0 stands for the file as a whole."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has all that is wrong with it, in the order of the file.

    remarks: what is set besides, and has no effect in this version.
    """

    def __init__(self, problems: list[Problem], remarks: list[Problem] | None = None) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        self.remarks = remarks or []
        super().__init__("\n".join(map(str, self.problems)))


def load(path: str) -> Settings:
    """Read and check a configuration file. Raises ConfigError."""
    return _Reader(path).settings()


class _Lines:
    """On which line each section and key of the file stands; configobj does not keep them."""

    def __init__(self, text: str) -> None:
        self.at: dict[tuple[str, ...], int] = {}
        place: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            if match := re.match(r"\s*(\[+)\s*(.*?)\s*\]+\s*(?:#.*)?$", line):
                depth = len(match[1])
                place = [*place[: depth - 1], match[2].strip("\"'")]
                self.at.setdefault(tuple(place), number)
            elif match := re.match(r"\s*([^#\s][^=]*?)\s*=", line):
                self.at.setdefault((*place, match[1].strip("\"'")), number)


class _Reader:
    """One reading of one file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder = os.path.dirname(os.path.abspath(path))
        self.problems: list[Problem] = []
        self.remarks: list[Problem] = []
        self.lines = _Lines("")

    def settings(self) -> Settings:
        raw = self._parse()
        values = {name: self._top(name, raw.get(name)) for name in table.SECTIONS}
        self._unknown(raw, tuple(table.SECTIONS), ())
        self._together(values)
        if self.problems:
            raise ConfigError(self.problems, self.remarks)
        return Settings(path=self.path, **values, remarks=tuple(map(str, self.remarks)))

    def _parse(self) -> Any:
        try:
            with open(self.path, encoding="utf-8-sig") as file:
                text = file.read()
        except UnicodeDecodeError as error:
            raise ConfigError([Problem(self.path, 0, f"is not UTF-8 text: {error}")]) from None
        except OSError as error:
            raise ConfigError([Problem(self.path, 0, f"cannot be read: {error.strerror}")]) from None
        self.lines = _Lines(text)
        try:
            return configobj.ConfigObj(text.splitlines(), interpolation=False, raise_errors=False, encoding="utf-8")
        except configobj.ConfigObjError as error:
            found = [*getattr(error, "errors", [])] or [error]
            raise ConfigError([self._syntax(one) for one in found]) from None

    def _syntax(self, error: Any) -> Problem:
        text = re.sub(r"\s*at line \"?\d+\"?\.?$", "", str(error)).rstrip(".")
        return Problem(
            self.path,
            getattr(error, "line_number", 0) or 0,
            f"{text}. A value with a comma, a # or a quote in it must be quoted.",
        )

    # -- sections ----------------------------------------------------------------------------------------------------

    def _top(self, name: str, raw: Any) -> Any:
        kind = table.SECTIONS[name]
        if raw is not None and not isinstance(raw, dict):
            self._problem((name,), f"'{name}' is the name of a section: write [{name}] on a line of its own")
            raw = None
        if name not in table.NAMED:
            inner = {"names": self._named(("tls",), raw or {}, NamedCertificate)} if kind is Tls else {}
            return self._section((name,), kind, raw or {}, inner)
        if not raw:
            self._problem((name,), f"there is no [[name]] in the section [{name}]; at least one is needed")
        for key, value in (raw or {}).items():
            if not isinstance(value, dict):
                self._problem(
                    (name, key), f"'{key}' stands in [{name}] itself; keys belong below a [[name]] of your choice"
                )
        return self._named((name,), raw or {}, kind)

    def _named(self, place: tuple[str, ...], raw: dict[str, Any], kind: type) -> tuple[Any, ...]:
        found = []
        for name, value in raw.items():
            if isinstance(value, dict):
                inner: dict[str, Any] = {"name": name}
                if kind is Directory:
                    inner["attributes"] = self._attributes((*place, name, "attributes"), value.get("attributes"))
                found.append(self._section((*place, name), kind, value, inner))
        return tuple(found)

    def _section(self, place: tuple[str, ...], kind: type, raw: dict[str, Any], inner: dict[str, Any]) -> Any:
        known = declared(kind)
        values = dict(inner)
        for key, (field, declaration) in known.items():
            if key in raw:
                values[key] = self._value((*place, key), declaration, raw[key], field.default)
            elif declaration.required and (raw or place[0] not in ("tls",)):
                self._problem(place, f"'{key}' is missing in {_brackets(place)}: {declaration.help}")
        allowed = (*known, *("attributes" for _ in inner if kind is Directory))
        subsections = {name for name, value in raw.items() if isinstance(value, dict)} if kind is Tls else set()
        self._unknown({key: raw[key] for key in raw if key not in subsections}, allowed, place)
        return kind(**values)

    def _attributes(self, place: tuple[str, ...], raw: Any) -> dict[str, tuple[str, ...]]:
        if not isinstance(raw, dict):
            return {}
        self._unknown(raw, FIELDS, place)
        return {key: tuple(_listed(value)) for key, value in raw.items() if not isinstance(value, dict)}

    # -- values ------------------------------------------------------------------------------------------------------

    def _value(self, place: tuple[str, ...], declaration: Declaration, raw: Any, default: Any) -> Any:
        if isinstance(raw, dict):
            self._problem(place, f"'{place[-1]}' is a key, not a section: write {place[-1]} = value")
            return default
        kind = declaration.kind
        try:
            value = self._read(kind, raw)
        except ValueError as error:
            self._problem(place, f"{place[-1]}: {error}")
            return default
        if declaration.later and value != default and declaration.later.applies(value):
            self._later(place, declaration, value)
        return value

    def _read(self, kind: Kind, raw: Any) -> Any:
        if kind.many:
            return tuple(kind.read(word) for word in _listed(raw))
        if kind is DN:
            raw = ",".join(_listed(raw))
        if isinstance(raw, list):
            raise ValueError(f"one value is expected, here are {len(raw)}; quote a value that has commas")
        if not raw.strip():
            raise ValueError(f"the value is empty; it is {kind.words}")
        value = kind.read(raw.strip())
        if "\0" in raw:
            raise ValueError("the value has a NUL in it")
        if kind is PLACE and "://" in value:
            return value
        return os.path.normpath(os.path.join(self.folder, value)) if kind.path else value

    def _later(self, place: tuple[str, ...], declaration: Declaration, value: Any) -> None:
        assert declaration.later is not None
        sentence = f"{place[-1]}: this version does not have {declaration.later.what} yet"
        if declaration.later.refuse(value):
            self._problem(place, f"{sentence}, and it would not be right to start without; take the line out to go on")
        else:
            self.remarks.append(
                Problem(self.path, self.lines.at.get(place, 0), f"{sentence}; the line is known and has no effect")
            )

    # -- what belongs together ---------------------------------------------------------------------------------------

    def _together(self, values: dict[str, Any]) -> None:
        tls: Tls = values["tls"]
        oauth: OAuth = values["oauth"]
        self._check_oauth(oauth)
        for name in values["authentication"].mechanisms:
            if name not in MECHANISMS:
                known = ", ".join(MECHANISMS)
                self._problem(("authentication", "mechanisms"), f"mechanisms: there is no {name}; known: {known}")
        ways = {"EXTERNAL", *(("OAUTHBEARER", "XOAUTH2") if oauth.issuer else ())}
        ways &= set(values["authentication"].mechanisms)
        targets = any(one.status == "enabled" and one.security == "tls" for one in values["listeners"])
        for listener in values["listeners"]:
            self._check_listener(listener, tls, ways, targets)
        if bool(tls.certificate) != bool(tls.key):
            self._problem(("tls",), "'certificate' and 'key' go together; one of them is missing in [tls]")
        for directory in values["directories"]:
            place = ("directories", directory.name)
            if directory.type == "ldif" and not directory.file:
                self._problem(place, f"'file' is missing in {_brackets(place)}: a directory of type ldif needs it")
            if directory.type == "ldap":
                self._check_ldap(place, directory)
        self._check_lmtp(values["lmtp"], tls)
        orders = [directory.order for directory in values["directories"]]
        if len(orders) > 1 and len(set(orders)) < len(orders):
            self._problem(("directories",), "two directories have the same 'order'; number them 1, 2, ...")

    def _check_lmtp(self, lmtp: Lmtp, tls: Tls) -> None:
        if lmtp.status == "disabled":
            return
        if lmtp.socket is None and lmtp.port is None:
            self._problem(("lmtp",), "[lmtp] is enabled, and names neither a 'socket' nor a 'port'")
        if lmtp.starttls and not tls.certificate:
            self._problem(("lmtp", "starttls"), "starttls: [tls] names no certificate")

    def _check_ldap(self, place: tuple[str, ...], directory: Directory) -> None:
        for key in ("uri", "base"):
            if not getattr(directory, key):
                self._problem(place, f"'{key}' is missing in {_brackets(place)}: a directory of type ldap needs it")
        for one, other in (("bind_dn", "bind_password_file"), ("tls_certificate", "tls_key")):
            if bool(getattr(directory, one)) != bool(getattr(directory, other)):
                self._problem(place, f"'{one}' and '{other}' go together; one of them is missing in {_brackets(place)}")
        if directory.sasl == "external" and directory.bind_dn:
            self._problem((*place, "sasl"), "sasl = external takes the place of 'bind_dn' and its password; choose one")

    def _check_listener(self, listener: Listener, tls: Tls, ways: set[str], targets: bool) -> None:
        place = ("listeners", listener.name)
        if listener.status == "disabled":
            return
        if listener.status == "redirect":
            if listener.security == "tls" or not targets:
                self._problem(
                    (*place, "status"), "status: clients are sent to a port with security = tls; there is none"
                )
            return
        if listener.security != "plain" and not tls.certificate:
            self._problem(place, f"{_brackets(place)} speaks TLS, and [tls] names no certificate")
        certificates = listener.client_certificate != "no"
        if certificates and listener.security == "plain":
            self._problem((*place, "client_certificate"), "client_certificate: there is no TLS on this port")
        if certificates and not tls.client_ca:
            self._problem(place, f"{_brackets(place)} takes client certificates, and [tls] names no client_ca")
        if listener.require_both and not (listener.client_certificate == "required" and listener.name_password):
            self._problem(
                (*place, "require_both"),
                "require_both goes together with client_certificate = required and name_password = yes",
            )
        self._check_way_in(place, listener, ways)

    def _check_way_in(self, place: tuple[str, ...], listener: Listener, ways: set[str]) -> None:
        """Whether anybody can log in at all."""
        if listener.security == "plain" and listener.name_password and not listener.plaintext_login:
            self._problem(
                place,
                f"nobody can log in at {_brackets(place)}: security = plain offers no TLS, and plaintext_login is no",
            )
        if listener.client_certificate == "no":
            ways = ways - {"EXTERNAL"}
        if not listener.name_password and not ways:
            self._problem(
                (*place, "name_password"),
                "name_password: nobody could log in: there are neither client certificates with EXTERNAL nor tokens",
            )

    def _check_oauth(self, oauth: OAuth) -> None:
        given = [bool(one) for one in (oauth.issuer, oauth.audience, oauth.keys)]
        if any(given) and not all(given):
            self._problem(("oauth",), "'issuer', 'audience' and 'keys' go together; one of them is missing in [oauth]")
        if oauth.keys and "://" in oauth.keys and not oauth.keys.startswith("https://"):
            self._problem(("oauth", "keys"), "keys: they are fetched from https:// only, or read from a file")

    # -- words -------------------------------------------------------------------------------------------------------

    def _unknown(self, raw: dict[str, Any], known: tuple[str, ...], place: tuple[str, ...]) -> None:
        for key in raw:
            if key in known:
                continue
            what = "section" if isinstance(raw[key], dict) else "key"
            near = difflib.get_close_matches(key, known, 1, 0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
            where = f" in {_brackets(place)}" if place else ""
            self._problem((*place, key), f"unknown {what} '{key}'{where}; {hint}")

    def _problem(self, place: tuple[str, ...], text: str) -> None:
        line = 0
        while place and not line:
            line, place = self.lines.at.get(place, 0), place[:-1]
        self.problems.append(Problem(self.path, line, text))


def _listed(raw: Any) -> list[str]:
    return [word.strip() for word in ([raw] if isinstance(raw, str) else raw) if word.strip()]


def _brackets(place: tuple[str, ...]) -> str:
    return " ".join("[" * depth + name + "]" * depth for depth, name in enumerate(place, 1))
