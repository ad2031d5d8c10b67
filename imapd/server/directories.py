"""Makes the directories of the settings: files that are read, and LDAP servers that are asked.

Nothing is sent here. What can be seen to be wrong without asking a server, a URI, a preset, a password's file, is a
ValueError that an administrator can act upon; whether the servers answer shows later, and may change.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, cast

from imapd.directory import dn, ldapuri
from imapd.directory.finder import MOST_CANDIDATES
from imapd.directory.interface import Directory
from imapd.directory.ldapdirectory import LdapDirectory, Servers
from imapd.directory.ldapvalues import Identity, Places
from imapd.directory.ldifdirectory import LdifDirectory
from imapd.directory.names import Level, Scope
from imapd.directory.person import AttributeMap
from imapd.model.loop import Loop

if TYPE_CHECKING:
    from imapd.peoplesettings import Directory as Declared
    from imapd.settings import Settings

logger = logging.getLogger("imapd.server")

# The part of the time for an answer that one server gets, where there is another one to be asked after it.
_SHARE = 0.4

_HERE = ("localhost", "127.0.0.1", "::1")

# Nobody has a longer password in a file; a larger file is another one than was meant.
_LONGEST_SECRET = 4_096


def open_directory(settings: Settings, declared: Declared, loop: Loop, primary: bool) -> Directory:
    """A directory of the settings, in a worker. Raises ValueError (LdifError is one)."""
    if declared.type == "ldif":
        return _ldif(settings, declared, loop, primary)
    # Not above: it brings ldap3, which must not be there before a worker's sockets are patched.
    from imapd.directory.ldapconn import Pool

    return _ldap(settings, declared, Pool(places(declared), loop), loop, primary)


def check(settings: Settings, declared: Declared, loop: Loop) -> None:
    """Try in the master whether it can be made; warn of what the administrator should know. Raises ValueError."""
    if declared.type == "ldif":
        _ldif(settings, declared, loop, primary=True).close()
        return
    where = places(declared)
    _ldap(settings, declared, cast("Servers", None), loop, primary=True)
    dn.parse(where.base)
    for uri in where.uris:
        _warn_of_clear_text(declared.name, ldapuri.parse(uri), where.starttls)
    path = declared.bind_password_file
    if path is not None and os.stat(path).st_mode & (stat.S_IROTH | stat.S_IWOTH):
        logger.warning("%s holds a password and everybody may read or write it; chmod 640 would do", path)


def _ldif(settings: Settings, declared: Declared, loop: Loop, primary: bool) -> LdifDirectory:
    if declared.file is None:
        raise ValueError("a directory of type ldif needs 'file'")
    return LdifDirectory(
        declared.name,
        declared.file,
        _attributes(settings, declared),
        loop,
        order=declared.order,
        scope=_scope(declared, primary),
        level=Level(settings.authentication.internet_authentication),
        offers_scram=declared.scram,
    )


def _ldap(settings: Settings, declared: Declared, servers: Servers, loop: Loop, primary: bool) -> LdapDirectory:
    return LdapDirectory(
        declared.name,
        servers,
        declared.base or "",
        _attributes(settings, declared),
        loop,
        order=declared.order,
        scope=_scope(declared, primary),
        level=Level(settings.authentication.internet_authentication),
        hashes=declared.verify == "hash",
        offers_scram=bool(declared.scram),
        group_base=declared.group_base,
        candidates=2 if settings.authentication.ambiguity == "refuse" else MOST_CANDIDATES,
    )


def _attributes(settings: Settings, declared: Declared) -> AttributeMap:
    binds = declared.type == "ldap" and declared.verify == "bind"
    return AttributeMap.load(declared.preset, declared.attributes, settings.mail.mail_file, declared.mail_prefix, binds)


def _scope(declared: Declared, primary: bool) -> Scope:
    return Scope.of(primary, declared.domains, declared.flat_names, declared.naming_rules, declared.trusted_for)


def places(declared: Declared) -> Places:
    """Where the servers of a directory are, and who the daemon is for them. Raises ValueError."""
    if not declared.uri or declared.base is None:
        raise ValueError("a directory of type ldap needs 'uri' and 'base'")
    for uri in declared.uri:
        ldapuri.parse(uri)
    for path in (declared.tls_ca, declared.tls_certificate, declared.tls_key):
        if path is not None and not os.access(path, os.R_OK):
            raise ValueError(f"{path} cannot be read")
    return Places(
        uris=declared.uri,
        base=declared.base,
        identity=_identity(declared),
        starttls=declared.starttls == "required",
        ca_file=declared.tls_ca,
        client_certificate=declared.tls_certificate,
        client_key=declared.tls_key,
        canary=declared.canary,
        connections=declared.connections,
        answer_seconds=declared.timeout * _SHARE,
        operation_seconds=declared.timeout,
    )


def _identity(declared: Declared) -> Identity:
    if declared.sasl == "external":
        return Identity(external=True)
    if declared.bind_dn is None:
        return Identity()
    if declared.bind_password_file is None:
        raise ValueError("'bind_dn' needs 'bind_password_file'")
    return Identity(declared.bind_dn, _secret(declared.bind_password_file))


def _secret(path: str) -> bytes:
    """The first line of a password's file."""
    try:
        with open(path, "rb") as file:
            text = file.read(_LONGEST_SECRET + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    secret, _, rest = text.removesuffix(b"\n").removesuffix(b"\r").partition(b"\n")
    if not secret or rest.strip() or len(text) > _LONGEST_SECRET:
        raise ValueError(f"{path} should have one line, the password of 'bind_dn'")
    return secret


def _warn_of_clear_text(name: str, where: ldapuri.Address | ldapuri.Domain, starttls: bool) -> None:
    """Passwords on a wire that others may listen in on. It is for the administrator to say that nobody can."""
    here = isinstance(where, ldapuri.Address) and (where.port is None or where.host in _HERE)
    if not (here or where.tls or starttls):
        logger.warning(
            "directory %s: passwords go to %s without TLS; ldaps:// or starttls = required would hide them", name, where
        )
