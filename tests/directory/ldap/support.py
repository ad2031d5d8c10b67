"""Directories over the servers of these tests."""

from imapd.directory.ldapconn import Identity, Places, Pool
from imapd.directory.ldapdirectory import LdapDirectory
from imapd.directory.names import LoginName
from imapd.directory.person import AttributeMap, Person
from tests.support.loop import PlainLoop

# How long a server that answers nothing is waited for.
SECONDS = 1.0


def open_directory(
    server,
    name="acme",
    preset="inetorgperson",
    overrides=None,
    loop=None,
    base=None,
    mail_prefix=None,
    canary=None,
    seconds=SECONDS,
    **arguments,
):
    """A directory over a server, as the service."""
    loop = loop or PlainLoop()
    base = base or server.base
    places = Places(
        (server.uri,),
        base,
        Identity(server.service_dn, server.service_password.encode()),
        canary=canary,
        connect_seconds=seconds,
        answer_seconds=seconds,
        operation_seconds=seconds,
    )
    binds = not arguments.get("hashes")
    attribute_map = AttributeMap.load(preset, overrides, "{short_name}", mail_prefix, binds=binds)
    return LdapDirectory(name, Pool(places, loop), base, attribute_map, loop, **arguments)


def find(directory, typed):
    return directory.find(LoginName.parse(typed))


def known(directory, typed) -> Person:
    found = find(directory, typed)
    assert isinstance(found, Person), found
    return found


def who(directory, typed):
    """The short name of whom a name finds; None, or Ambiguous, as it comes."""
    found = find(directory, typed)
    return found.short_name if isinstance(found, Person) else found
