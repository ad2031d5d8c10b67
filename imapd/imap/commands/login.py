"""LOGIN and AUTHENTICATE (RFC 9051 sections 6.2.2 and 6.2.3, RFC 4959).

Both end in `log_in`: the directory says who it is, the store opens the mail file, the session enters. A password is
neither logged nor shown by repr; why a login failed is told to the log alone. Where passwords may not be sent in the
clear, LOGIN and the mechanisms that send them are refused with PRIVACYREQUIRED, before the directory is asked, so that
nobody learns by the answer whether the password was right.
"""

import base64
import binascii
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from imapd.directory.person import Person
from imapd.directory.sasl import MECHANISMS, Credentials, Mechanism
from imapd.imap.command import BEFORE_LOGIN, Command, Continue, Done, Running, State, Yielded
from imapd.imap.extension import Extension
from imapd.imap.session import Session
from imapd.mailstore.errors import NoSuchAccount, StoreError
from imapd.mailstore.store import Owner
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
        _check_privacy(session)
        return log_in(session, "LOGIN", self.user, self.password)


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
        if mechanism.reveals_password:
            _check_privacy(session)
        credentials = yield from _exchange(mechanism(), self.initial)
        if credentials.authzid and credentials.authzid != credentials.authcid:
            raise Refused("Nobody may log in for somebody else here.", code="AUTHORIZATIONFAILED")
        return log_in(session, self.mechanism, credentials.authcid, credentials.password)


def log_in(session: Session, method: str, user: str, password: bytes) -> Done:
    """Enter the session, or raise why not; the log is told in either case."""
    session.login_name = user
    began = session.loop.monotonic()

    def tell(event: str, **fields: Any) -> None:
        seconds = round(session.loop.monotonic() - began, 3)
        session.log(event, user=user[:256], method=method, tls=session.private, seconds=seconds, **fields)

    try:
        person = session.directory.authenticate(user, password, session.peer)
        account = session.store.open_account(_owner(person))
    except (Refused, StoreError) as refusal:
        session.failed_logins += 1
        tell("login_failed", reason=refusal.reason)
        raise
    except Unreachable as trouble:
        tell("login_failed", reason=str(trouble), temporary=True)
        raise
    session.enter(person, account)
    tell("login", person=person.user_name)
    words = " ".join(session.offers.capabilities(session))
    return Done("You have logged in.", code=f"CAPABILITY {words}")


def _owner(person: Person) -> Owner:
    if person.mail_file is None:
        raise NoSuchAccount(reason="the directory names no mail file for this person")
    return Owner(identity=person.identity, user_name=person.user_name, home=person.mail_file)


def _check_privacy(session: Session) -> None:
    if not session.settings.name_password:
        raise Refused("Names and passwords are not taken here.", code="CANNOT")
    if not session.login_allowed:
        raise Refused("Passwords are taken on encrypted connections only; begin TLS first.", code="PRIVACYREQUIRED")


def _exchange(mechanism: Mechanism, initial: bytes | None) -> Generator[Yielded, Line | bool | None, Credentials]:
    """Carry challenges and responses between the mechanism and the client, in base64."""
    exchange = mechanism.exchange()
    response = None if initial is None else _decode_initial(initial)
    if response is not None and not mechanism.initial_response_allowed:
        raise BadSyntax("That mechanism takes no initial response.")
    try:
        challenge = next(exchange)
        while True:
            if response is None:
                line = yield Continue(base64.b64encode(challenge))
                if not isinstance(line, Line):
                    raise BadSyntax("The login was broken off.")
                response = _decode(line.text)
            challenge, response = exchange.send(response), None
    except StopIteration as end:
        credentials: Credentials = end.value
        return credentials
    finally:
        exchange.close()


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
    usable = [
        f"AUTH={name}"
        for name, mechanism in session.offers.mechanisms.items()
        if name in session.settings.mechanisms and (session.login_allowed or not mechanism.reveals_password)
    ]
    return usable if session.login_allowed else [*usable, "LOGINDISABLED"]


extension = Extension(
    since=State.NOT_AUTHENTICATED,
    offered=_said,
    commands=(Login, Authenticate),
    mechanisms=tuple(MECHANISMS.values()),
)
