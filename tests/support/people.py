"""A directory in memory: a few people with passwords, and what may go wrong with them."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from imapd.directory.person import Person
from imapd.directory.sasl import ScramProof
from imapd.directory.scram import ScramVerifier
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

    def authenticate(
        self, login_name: str, password: bytes, peer: str, authzid: str | None = None, certificate: Any = None
    ) -> Person:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        known = self.passwords.get(login_name)
        if known is None or known.encode() != password:
            reason = "no such person" if known is None else "wrong password"
            raise Refused("Name or password is wrong.", code="AUTHENTICATIONFAILED", reason=reason)
        return self._as(authzid, login_name)

    offers_scram = False

    def candidate(self, login_name: str) -> SimpleNamespace:
        self.asked += 1
        password = self.passwords.get(login_name, "another one")
        return SimpleNamespace(verifier=ScramVerifier.make(password, 4096, b"salt"), name=login_name)

    def authenticate_scram(self, proof: ScramProof, peer: str, certificate: Any = None) -> Person:
        if proof.fault is not None or proof.authcid not in self.passwords:
            raise Refused("Name or password is wrong.", code="AUTHENTICATIONFAILED", reason=proof.fault)
        return self._as(proof.authzid, proof.authcid)

    def authenticate_certificate(self, certificate: Any, peer: str, authzid: str | None = None) -> Person:
        return self._as(authzid, certificate.common_name)

    def authenticate_token(self, token: str, user: str | None, peer: str) -> Person:
        if token not in self.passwords:
            raise Refused("The token is wrong.", code="AUTHENTICATIONFAILED", reason="no such token")
        return self._as(user, token)

    def _as(self, authzid: str | None, name: str) -> Person:
        if authzid not in (None, name):
            raise Refused("You may act as yourself only.", code="AUTHORIZATIONFAILED")
        return replace(person(name), **self.others)

    def go_away(self) -> None:
        """The directory answers no more."""
        self.trouble = Unreachable("ldap1 does not answer")
