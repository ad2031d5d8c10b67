"""A directory in memory: a few people with passwords, and what may go wrong with them."""

from imapd.directory.person import Person

from imapd.model.errors import Refused, Unreachable


def person(name: str) -> Person:
    """A person with the mail file "mail/name"."""
    return Person(
        directory="people",
        uid=name,
        dn=f"uid={name}",
        user_name=f"{name.capitalize()} Example",
        full_names=(),
        short_name=name,
        internet_address=f"{name}@example.org",
        addresses=(f"{name}@example.org",),
        mail_file=f"mail/{name}",
        mail_server="",
        quota_bytes=None,
        quota_messages=None,
        certificates=(),
        status="",
        passwords=(),
    )


class People:
    """Who may log in. `trouble`, if set, is raised instead of an answer; `asked` counts the questions."""

    def __init__(self, **passwords: str) -> None:
        self.passwords = passwords or {"alice": "secret", "bob": "secret"}
        self.trouble: Exception | None = None
        self.asked = 0

    def authenticate(self, login_name: str, password: bytes, peer: str) -> Person:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        known = self.passwords.get(login_name)
        if known is None or known.encode() != password:
            reason = "no such person" if known is None else "wrong password"
            raise Refused("Name or password is wrong.", code="AUTHENTICATIONFAILED", reason=reason)
        return person(login_name)

    def go_away(self) -> None:
        """The directory answers no more."""
        self.trouble = Unreachable("ldap1 does not answer")
