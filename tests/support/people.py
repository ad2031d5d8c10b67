"""A directory in memory: a few people with passwords, and what may go wrong with them."""

from dataclasses import replace
from typing import Any

from imapd.directory.person import Person
from imapd.model.errors import Refused, Unreachable


def person(name: str) -> Person:
    """A person with the mail file "mail/name"."""
    return Person(
        directory="people",
        uid=name,
        dn=f"uid={name}",
        user_name=f"{name.capitalize()} Example",
        short_name=name,
        internet_address=f"{name}@example.org",
        mail_file=f"mail/{name}",
    )


class People:
    """Who may log in. `trouble`, if set, is raised instead of an answer; `asked` counts the questions."""

    def __init__(self, **passwords: str) -> None:
        self.passwords = passwords or {"alice": "secret", "bob": "secret"}
        self.trouble: Exception | None = None
        self.asked = 0
        self.others: dict[str, Any] = {}  # fields of the persons that are other than usual

    def authenticate(self, login_name: str, password: bytes, peer: str) -> Person:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        known = self.passwords.get(login_name)
        if known is None or known.encode() != password:
            reason = "no such person" if known is None else "wrong password"
            raise Refused("Name or password is wrong.", code="AUTHENTICATIONFAILED", reason=reason)
        return replace(person(login_name), **self.others)

    def go_away(self) -> None:
        """The directory answers no more."""
        self.trouble = Unreachable("ldap1 does not answer")
