"""LOGIN and AUTHENTICATE (RFC 9051 sections 6.2.2 and 6.2.3, RFC 4959).

Both end in `_admit`: the directories say who it is, the store opens the mail file; then the session enters. A password
is neither logged nor shown by repr; why a login failed is told to the log alone. Where passwords may not be sent in the
clear, LOGIN and the mechanisms that send them are refused with PRIVACYREQUIRED, before the directory is asked, so that
nobody learns by the answer whether the password was right.

A mechanism is offered where all that it needs is there, and one that is not offered is not taken either.
"""

import base64
import binascii
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from imapd.directory.person import Person
from imapd.directory.sasl import (
    MECHANISMS,
    Certified,
    Credentials,
    Mechanism,
    Needs,
    Plain,
    Proof,
    ScramProof,
    Surroundings,
    Wanted,
)
from imapd.imap.command import BEFORE_LOGIN, Command, Continue, Done, Running, State, Yielded
from imapd.imap.extension import Extension
from imapd.imap.session import Session
from imapd.mailstore.errors import NoSuchAccount, StoreError
from imapd.mailstore.quota import Limits
from imapd.mailstore.store import Account, Owner
from imapd.model.errors import BadSyntax, Refused, Unreachable
from imapd.wire.framer import Line
from imapd.wire.scanner import Scanner


@dataclass(frozen=True, slots=True)
class Login(Command):
    """login = "LOGIN" SP userid SP password."""

    name = "LOGIN"
    states = BEFORE_LOGIN
    literal_limit = 1024

    user: str
    password: bytes = field(repr=False)

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        user = _text(scan.astring())
        scan.sp()
        password = scan.astring()
        scan.end()
        return cls(user, password)

    def run(self, session: Session) -> Running:
        yield from ()
        _check(session, Plain)
        began = session.loop.monotonic()
        entering = _admit(session, self.name, Credentials(self.user, self.password), began)
        return _enter(session, self.name, *entering, began)


@dataclass(frozen=True, slots=True)
class Authenticate(Command):
    """authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp] *(CRLF base64)."""

    name = "AUTHENTICATE"
    states = BEFORE_LOGIN
    literal_limit = 0

    mechanism: str
    initial: bytes | None = field(repr=False)

    @classmethod
    def parse(cls, scan: Scanner, session: Session) -> Self:
        scan.sp()
        mechanism = scan.atom().decode("ascii", "replace").upper()
        initial = None
        if not scan.at_end():
            scan.sp()
            initial = scan.rest()
        return cls(mechanism, initial)

    def run(self, session: Session) -> Running:
        mechanism = session.offers.mechanisms.get(self.mechanism)
        if mechanism is None or self.mechanism not in session.settings.mechanisms:
            raise Refused("That mechanism is not offered.", code="CANNOT")
        _check(session, mechanism)
        began = session.loop.monotonic()
        person, account = yield from _converse(session, mechanism(), self.initial)
        return _enter(session, self.mechanism, person, account, began)


def _converse(
    session: Session, mechanism: Mechanism, initial: bytes | None
) -> Generator[Yielded, Line | bool | None, tuple[Person, Account]]:
    """Carry words between the mechanism, the client, and the directories; who has come in, with his account."""
    response = None if initial is None else _decode_initial(initial)
    if response is not None and not mechanism.initial_response_allowed:
        raise BadSyntax("That mechanism takes no initial response.")
    began = session.loop.monotonic()
    exchange = mechanism.exchange(_surroundings(session))
    entering = None
    try:
        word = next(exchange)
        while True:
            if isinstance(word, bytes):
                if response is None:
                    line = yield Continue(base64.b64encode(word))
                    response = _decode_line(line)
                word, response = exchange.send(response), None
            elif isinstance(word, Wanted):
                word = exchange.send(session.directory.candidate(word.authcid))
            else:
                try:
                    entering = _admit(session, mechanism.name, word, began)
                except (Refused, StoreError, Unreachable) as error:
                    word = exchange.throw(error)
                else:
                    word = exchange.send(None)
    except StopIteration:
        assert entering is not None, "a mechanism ends behind a proof"
        admitted, entering = entering, None
        return admitted
    finally:
        exchange.close()
        if entering is not None:  # the client has broken off at the last moment
            entering[1].close()


def _admit(session: Session, method: str, proof: Proof, began: float) -> tuple[Person, Account]:
    """The person whom a proof lets in, and his account; raises why not. The log is told of that."""
    session.login_name = _claimed(proof)
    try:
        person = _prove(session, proof)
        return person, session.store.open_account(owner(person, session.settings.limits))
    except (Refused, StoreError) as refusal:
        session.failed_logins += 1
        _tell(session, "login_failed", method, began, reason=refusal.reason)
        raise
    except Unreachable as trouble:
        _tell(session, "login_failed", method, began, reason=str(trouble), temporary=True)
        raise


def _prove(session: Session, proof: Proof) -> Person:
    directory, peer, shown = session.directory, session.peer, session.security.certificate
    also = shown if session.settings.both_required else None
    if isinstance(proof, Credentials):
        return directory.authenticate(proof.authcid, proof.password, peer, proof.authzid, also)
    if isinstance(proof, ScramProof):
        return directory.authenticate_scram(proof, peer, also)
    if isinstance(proof, Certified):
        assert shown is not None, "EXTERNAL is taken only with a certificate"
        return directory.authenticate_certificate(shown, peer, proof.authzid)
    return directory.authenticate_token(proof.token, proof.user, peer)


def _claimed(proof: Proof) -> str:
    """Who somebody says to be, as far as he says so."""
    if isinstance(proof, Credentials | ScramProof):
        return proof.authcid
    return (proof.authzid if isinstance(proof, Certified) else proof.user) or ""


def _enter(session: Session, method: str, person: Person, account: Account, began: float) -> Done:
    session.enter(person, account)
    _tell(session, "login", method, began, person=person.user_name, directory=person.directory)
    words = " ".join(session.offers.capabilities(session))
    return Done("You have logged in.", code=f"CAPABILITY {words}")


def _tell(session: Session, event: str, method: str, began: float, **fields: Any) -> None:
    seconds = round(session.loop.monotonic() - began, 3)
    session.log(event, user=session.login_name[:256], method=method, tls=session.private, seconds=seconds, **fields)


def owner(person: Person, default: Limits) -> Owner:
    """Whose account it is; default: what it may hold where the directory does not say. Raises NoSuchAccount."""
    if person.mail_file is None:
        raise NoSuchAccount(reason="the directory names no mail file for this person")
    limits = Limits.said(person.quota_bytes, person.quota_messages, default)
    return Owner(identity=person.identity, user_name=person.user_name, home=person.mail_file, limits=limits)


# What has to be there.


def _lacks(session: Session, needs: Needs) -> Refused | None:
    """Why something that has these needs is not taken now, or None."""
    settings, security = session.settings, session.security
    if Needs.NAMES in needs and not settings.name_password:
        return Refused("Names and passwords are not taken here.", code="CANNOT")
    if Needs.PRIVACY in needs and not session.private and not settings.plaintext_login:
        return Refused("Passwords are taken on encrypted connections only; begin TLS first.", code="PRIVACYREQUIRED")
    if settings.certificate_required and security.certificate is None:
        return Refused("A client certificate is wanted here; begin TLS first.", code="PRIVACYREQUIRED")
    if Needs.CERTIFICATE in needs and (security.certificate is None or settings.both_required):
        return Refused("There is no client certificate to log in with.", code="CANNOT")
    if Needs.VERIFIERS in needs and not session.directory.offers_scram:
        return Refused("That mechanism is not offered.", code="CANNOT")
    if Needs.BINDING in needs and security.exporter() is None:
        return Refused("There is no channel binding on this connection.", code="CANNOT")
    return None


def _check(session: Session, mechanism: type[Mechanism]) -> None:
    if refusal := _lacks(session, mechanism.needs):
        raise refusal


def _offered(session: Session) -> list[str]:
    """The names of the mechanisms that are taken now."""
    return [
        name
        for name, mechanism in session.offers.mechanisms.items()
        if name in session.settings.mechanisms and _lacks(session, mechanism.needs) is None
    ]


def _surroundings(session: Session) -> Surroundings:
    binding_offered = any(Needs.BINDING in session.offers.mechanisms[name].needs for name in _offered(session))
    return Surroundings(session.security.exporter(), binding_offered)


# The client's lines.


def _decode_line(line: Line | bool | None) -> bytes:
    if not isinstance(line, Line):
        raise BadSyntax("The login was broken off.")
    return _decode(line.text)


def _decode_initial(text: bytes) -> bytes:
    return b"" if text == b"=" else _decode(text)  # RFC 4959 section 3: "=" is an empty response


def _decode(text: bytes) -> bytes:
    if text.strip() == b"*":
        raise BadSyntax("The login was cancelled.")
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise BadSyntax("A response is base64, and this is not.") from None


def _text(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1")  # what old clients send; the directory knows whether there is such a name


def _said(session: Session) -> Sequence[str]:
    if session.state is not State.NOT_AUTHENTICATED:
        return ()
    words = [f"AUTH={name}" for name in _offered(session)]
    return words if _lacks(session, Plain.needs) is None else [*words, "LOGINDISABLED"]


extension = Extension(
    since=State.NOT_AUTHENTICATED,
    offered=_said,
    commands=(Login, Authenticate),
    mechanisms=tuple(MECHANISMS.values()),
)
