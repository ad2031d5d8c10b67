"""The part of `imapd check` that asks the LDAP directories: each server by itself, as the daemon would, whether it can
be reached, lets the daemon in and shows people with what is needed. What is wrong is said with what to do about it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imapd.directory.interface import Ambiguous
from imapd.directory.names import LoginName
from imapd.model.errors import Unreachable
from imapd.peoplesettings import Directory
from imapd.settings import Settings
from imapd.verbs.become import Stop, become_daemon

if TYPE_CHECKING:
    from imapd.directory.ldapdirectory import LdapDirectory
    from imapd.directory.person import Person
    from imapd.directory.survey import Survey
    from imapd.server.loop import GeventLoop

# So many people are looked at: enough to see what all of them lack, and nothing to a server.
SAMPLE = 100

# What a server's failure says, and what an administrator can do about it; the first that fits.
_HINTS = (
    (r"Name or service not known|No address associated|Temporary failure in name", "DNS does not know that host"),
    (r"Connection refused", "nothing listens there: is the server running, is it port 389 (ldap) or 636 (ldaps)?"),
    (r"No such file", "the socket of ldapi:// is not there: is the server running, with that socket?"),
    (r"Hostname mismatch|IP address mismatch", "'uri' has to have a host name that is in the server's certificate"),
    (r"self.signed|local issuer|issuer cert", "'tls_ca' has to name the file with the authority of that certificate"),
    (r"certificate has expired", "the server needs a new certificate"),
    (r"TLS fails", "does that port speak TLS? ldaps:// is for port 636; for StartTLS, ldap:// and starttls = required"),
    (r"refuses StartTLS", "the server has no certificate yet, or wants ldaps://"),
    (r"TLS cannot be set up", "look at 'tls_ca', 'tls_certificate' and 'tls_key'"),
    (r"strongerAuthRequired|confidentialityRequired", "it wants TLS: ldaps://, or starttls = required"),
    (r"invalidCredentials", "'bind_dn' is not an entry there, or 'bind_password_file' has another password"),
    (r"does not let the daemon in", "look at 'bind_dn' and 'bind_password_file'"),
    (r"took the daemon's bind .* anonymous", "the server ignores the password; look at 'bind_dn'"),
    (r"there is no .*base|may not see it|noSuchObject", "'base' is misspelled, or the daemon may not read it"),
    (r"shows the daemon nothing", "the daemon may not read the people below it, or there are none"),
    (r"does not show the daemon", "'canary' is misspelled, or the daemon may not read it"),
    (r"operationsError", "it wants a bind before a search: set 'bind_dn' and 'bind_password_file'"),
    (r"no answer within", "a firewall may swallow what is sent, or the server hangs; can this machine reach the port?"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say; wrong: people cannot log in by it."""

    text: str
    wrong: bool = False


def findings(settings: Settings) -> Iterator[Finding]:
    """Ask all LDAP directories. As the daemon's user from here on, where root asks: it is he who reads the secrets."""
    declared = [directory for directory in settings.directories if directory.type == "ldap"]
    if not declared:
        return
    from imapd.server import patched

    patched.patch()  # before anything brings ldap3
    import imapd.directory.ldapconn  # while there is still root's right to read it
    import imapd.directory.srv
    import imapd.server.directories  # noqa: F401
    from imapd.server.loop import GeventLoop

    try:
        remark = become_daemon(settings)
    except Stop as error:
        yield Finding(f"the directories were not asked: {error}", wrong=True)
        return
    if remark is not None:
        yield Finding(remark)
    loop = GeventLoop()
    try:
        for one in declared:
            for finding in _directory(settings, one, loop):
                yield replace(finding, text=f"[directories] [[{one.name}]]: {finding.text}")
    finally:
        loop.close()


def hint(text: str) -> str:
    """A failure with what to do about it."""
    for pattern, advice in _HINTS:
        if re.search(pattern, text):
            return f"{text} ({advice})"
    return text


def _directory(settings: Settings, declared: Directory, loop: GeventLoop) -> Iterator[Finding]:
    who = declared.bind_dn or ("EXTERNAL" if declared.sasl == "external" else "nobody, 'bind_dn' is not set")
    yield Finding(f"asked below {declared.base}, as {who}")
    for uri in declared.uri:
        try:
            servers = _servers(uri)
        except (Unreachable, ValueError) as error:
            yield Finding(str(error), wrong=True)
            continue
        for server in servers:
            yield from _server(settings, replace(declared, uri=(server,)), loop)


def _servers(uri: str) -> list[str]:
    """The one that a URI names, or those that DNS does."""
    from imapd.directory import ldapuri, srv

    where = ldapuri.parse(uri)
    return [uri] if isinstance(where, ldapuri.Address) else [str(address) for address in srv.look_up(where).addresses]


def _server(settings: Settings, declared: Directory, loop: GeventLoop) -> Iterator[Finding]:
    from imapd.server.directories import open_directory

    said = _Said()
    try:
        directory: LdapDirectory = open_directory(settings, declared, loop, primary=True)  # type: ignore[assignment]
    except (ValueError, OSError) as error:
        yield Finding(str(error), wrong=True)
        return
    (server,) = declared.uri
    try:
        with said:
            seen = directory.survey(SAMPLE, declared.attributes)
        yield from _seen(server, declared, seen)
        if declared.check_person is not None and seen.people:
            yield from _person(server, directory, declared.check_person)
        for text in said.texts:
            yield Finding(f"{server}: {text}")
    except Unreachable as failure:
        text = str(failure)
        yield Finding(hint(text if text.startswith("ldap") else f"{server}: {text}"), wrong=True)
    finally:
        directory.close()


def _seen(server: str, declared: Directory, seen: Survey) -> Iterator[Finding]:
    if not seen.people:
        text = f"no entry below 'base' that the daemon sees is a person of the preset {declared.preset}"
        yield Finding(f"{server}: {text}; is 'preset' right, or is object_class another one here?", wrong=True)
        return
    count = f"more than {len(seen.people)}" if seen.more else str(len(seen.people))
    yield Finding(f"{server}: answers, and shows {count} people")
    for field, sources in seen.lacking:
        yield Finding(
            f"{server}: none of them has {' or '.join(sources)} ({field}): {_EFFECT.get(field, 'it stays empty')}; "
            "another attribute can be named in [[[attributes]]], or the daemon may not read it",
            wrong=field in ("login", "passwords"),
        )
    lost = [person.dn for person in seen.people if person.mail_file is None]
    if lost:
        yield Finding(
            f"{server}: {len(lost)} of them have no mail file, such as {lost[0]}",
            wrong=len(lost) > len(seen.people) / 2,
        )


_EFFECT = {
    "login": "nobody can log in",
    "passwords": "no password can be checked",
    "unique_id": "mail would belong to names, and a name that is given to somebody else would inherit it",
    "short_name": "mail files cannot be named by it",
    "internet_address": "people have no address",
}


def _person(server: str, directory: LdapDirectory, name: str) -> Iterator[Finding]:
    try:
        found: Person | Ambiguous | None = directory.find(LoginName.parse(name))
    except ValueError as error:
        yield Finding(f"check_person: {error}", wrong=True)
        return
    if found is None:
        yield Finding(f"{server}: nobody is called {name} (check_person)", wrong=True)
    elif isinstance(found, Ambiguous):
        yield Finding(f"{server}: several people are called {name} (check_person): {', '.join(found.dns)}", wrong=True)
    else:
        yield Finding(f"{server}: {name} is {found.dn}, mail file {found.mail_file or 'none'}, {found.status.value}")


class _Said(logging.Handler):
    """What the rooms of the directory would log meanwhile, but for the failures of servers, which are told anyway."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._found: dict[str, None] = {}

    @property
    def texts(self) -> Sequence[str]:
        """Each once."""
        return list(self._found)[:5]

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if not text.startswith("ldap"):
            self._found[text] = None

    def __enter__(self) -> _Said:
        logger = logging.getLogger("imapd.directory")
        logger.addHandler(self)
        logger.propagate = False
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("imapd.directory").removeHandler(self)
