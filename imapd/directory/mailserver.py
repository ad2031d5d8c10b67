"""Whether a person's mail is here: what the entry says about the mail server, and what is done where it is another.

A server is named by a host name, with or without a port, or, as Domino does it, by a distinguished name, whole or
abbreviated. A person whose entry names no server is at home here.
"""

import re
from collections.abc import Sequence
from enum import Enum
from urllib.parse import quote

from imapd.directory import dn
from imapd.directory.names import LoginName
from imapd.directory.person import Person
from imapd.model.errors import Refused

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.?)+(?::[0-9]{1,5})?")


class Elsewhere(Enum):
    """What is done about somebody whose mail is on another server."""

    REFUSE = "refuse"
    REFERRAL = "referral"
    SERVE = "serve"


class Home:
    """The names of this server, and what is done about people of others."""

    def __init__(self, elsewhere: Elsewhere = Elsewhere.SERVE, names: Sequence[str] = ()) -> None:
        self.elsewhere = elsewhere
        self._names = {_key(name) for name in names}

    def is_here(self, person: Person) -> bool:
        """Whether the person's mail is here, as far as the entry says."""
        return person.mail_server is None or _key(person.mail_server) in self._names

    def require(self, person: Person) -> None:
        """Raises Refused where the person is not to be served here; only behind the right password."""
        if self.elsewhere is Elsewhere.SERVE or self.is_here(person):
            return
        server = person.mail_server or ""
        reason = f"the mail of {person.dn!r} in {person.directory} is on {server!r}"
        if self.elsewhere is Elsewhere.REFERRAL and _HOST.fullmatch(server):
            # RFC 2221 section 4.1; the user in the URL as RFC 5092 wants it.
            user = quote(person.internet_address or person.short_name or person.user_name, safe="")
            raise Refused(f"Your mail is on {server}.", code=f"REFERRAL imap://{user};AUTH=*@{server}/", reason=reason)
        raise Refused("Your mail is on another server.", code="CANNOT", reason=reason)


def _key(name: str) -> str:
    """A server's name as it is compared: hosts without port and final dot, Domino's names as DNs."""
    try:
        parsed = LoginName.parse(name)
    except ValueError:
        return dn.text_key(name)
    if parsed.dn_key is not None:
        return parsed.dn_key
    return re.sub(r":[0-9]+$", "", parsed.key).rstrip(".")
