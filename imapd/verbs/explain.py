"""`imapd explain NAME`: what a login would come to, step by step, and why.

It walks the way of a real login (directory/chain.explain) in a house built from the settings, in its own process: the
daemon need not run. Nothing is counted as a failure, nothing is remembered, nobody waits, and no mail file is made. A
directory is asked for the password only if one is given.
"""

from __future__ import annotations

import argparse
import getpass
import ipaddress
import logging
import os
import ssl
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imapd.config import load
from imapd.directory.certificate import ClientCertificate
from imapd.directory.interface import Directory
from imapd.directory.person import Person
from imapd.directory.trace import Trace
from imapd.log import escape
from imapd.mailstore.errors import StoreError
from imapd.mailstore.mboxtree import has_mailboxes
from imapd.mailstore.store import Owner
from imapd.model.errors import Refused, Unreachable
from imapd.server import owners, tls
from imapd.settings import Listener, Settings
from imapd.verbs.become import Stop, own_house, user_name
from imapd.verbs.lockout import line as lockout_line

if TYPE_CHECKING:
    from imapd.server.house import House

# Where a client seems to come from, if nobody says: this machine.
HERE = "127.0.0.1"
# The index beside the mail: a mail file that has it, and an owner, has been opened before; opening it adds nothing.
_INDEX = "imapd-index.sqlite"


def run(options: argparse.Namespace) -> int:
    """Explain; returns the exit code: 0 where the person would get in."""
    try:
        settings = load(options.config)
        listener = _listener(settings, options.listener)
        password = _password(options.password_file)
        certificate = _certificate(options.certificate)
        peer = _address(options.address)
        remark, house = own_house(settings)
    except Stop as error:
        print(f"imapd explain: {error}", file=sys.stderr)
        return 1
    story = _Story(settings, listener, house, peer)
    if remark is not None:
        story.note(remark)
    try:
        return 0 if story.tell(options.name, password, certificate) else 1
    finally:
        story.close()


class _Story:
    """One explanation, as it is printed."""

    def __init__(self, settings: Settings, listener: Listener, house: House, peer: str) -> None:
        self._settings = settings
        self._listener = listener
        self._house = house
        self._chain = house.chain.at(listener.name)
        self._peer = peer
        self._steps = 0
        self._logged = _Notes(self.note)
        logger = logging.getLogger("imapd")
        logger.handlers[:] = [self._logged]
        logger.propagate = False

    def tell(self, name: str, password: bytes | None, certificate: ClientCertificate | None) -> bool:
        """Whether the person would get in, with all that leads there."""
        proof = "by the certificate" if certificate else "with the password" if password else "with the right password"
        print(f"A login as {escape(name)} {proof}, at the listener {self._listener.name}, from {self._peer}:")
        person = None
        try:
            self._at_the_door(password, certificate)
            person = self._proven(name, password, certificate)
            self._open_mail(person)
        except (Refused, StoreError) as refused:
            self._about(person or self._somebody(name))
            print(f"\nDOES NOT GET IN: {escape(refused.reason or str(refused))}")
            print(f"The client is told: NO {f'[{refused.code}] ' if refused.code else ''}{escape(str(refused))}")
            return False
        except Unreachable as trouble:
            self._servers()
            print(f"\nDOES NOT GET IN for now: {escape(str(trouble))}")
            print("The client is told: NO [UNAVAILABLE]; other directories are not asked instead.")
            return False
        self._about(person)
        print(f"\nGETS IN as {escape(person.identity)}.")
        return True

    def step(self, text: str) -> None:
        """What happens next."""
        self._steps += 1
        print(f"{self._steps:3}. {escape(text)}")

    def note(self, text: str) -> None:
        """What the log would be told, and what the reader should know."""
        print(f"   ! {escape(text)}")

    def close(self) -> None:
        """Give the house back."""
        self._house.close()
        logging.getLogger("imapd").removeHandler(self._logged)

    def _at_the_door(self, password: bytes | None, certificate: ClientCertificate | None) -> None:
        for fault in _door_faults(self._settings, self._listener, certificate is not None, password is not None):
            raise Refused("(what the listener says)", reason=fault)
        if certificate is not None:
            invalid = tls.certificate_fault(self._settings.tls, certificate.der)
            if invalid is not None:
                raise Refused("(the handshake fails, or it is ignored)", reason=f"the certificate: {invalid}")
            self.step(f"the certificate of {certificate.subject} is by an authority of client_ca")

    def _proven(self, name: str, password: bytes | None, certificate: ClientCertificate | None) -> Person:
        trace = Trace(self.step)
        if certificate is not None and not self._listener.require_both:
            return self._chain.explain_certificate(certificate, self._peer, trace, name)
        return self._chain.explain(name, self._peer, trace, password, certificate=certificate)

    def _somebody(self, name: str) -> Person | None:
        """Who is meant, where the login came to nothing."""
        try:
            return self._chain.lookup(name)
        except (Refused, Unreachable):
            return None

    def _about(self, person: Person | None) -> None:
        if person is None:
            return
        print(f"\nThe person, as the directory {person.directory} gives it:")
        for what, value in _fields(person):
            print(f"   {what + ':':18} {escape(value)}")
        for entry in self._chain.lockout.entries():
            if entry.subject == person.identity:
                print(f"   {'failed logins:':18} " + escape(lockout_line(entry).replace("\t", "; ")))

    def _open_mail(self, person: Person) -> None:
        """Follow the person to his mail file, as far as that makes nothing. Raises Refused, StoreError."""
        from imapd.server.house import home_below, kinds

        path = home_below(self._settings.mail.root, person.mail_file)
        self.step(f"mail file: {path}: {_mail_file(path, self._settings.mail.create)}")
        place = kinds(self._settings).directory_of(path)
        owned = not self._settings.mail.keep_owners
        if not owned:
            owners.require(place, person.identity)
            owned = os.path.exists(os.path.join(place, owners.FILE))
        if owned and os.path.exists(os.path.join(place, _INDEX)):
            owner = Owner(identity=person.identity, user_name=person.user_name, home=person.mail_file or "")
            self._house.store.open_account(owner).close()
            self.step("mail file: opened")

    def _servers(self) -> None:
        print()
        for directory in self._chain.directories:
            for line in _states(directory):
                print(escape(line))


class _Notes(logging.Handler):
    """What the daemon would log, where it is a warning at least."""

    def __init__(self, tell: object) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())  # type: ignore[operator]


def _states(directory: Directory) -> Iterator[str]:
    for state in directory.status():
        yield f"   {directory.name}: {state.address}: {'up' if state.up else 'down'}; {state.remark}"


def _fields(person: Person) -> Iterator[tuple[str, str]]:
    yield "entry", person.dn
    yield "identity", person.identity
    yield "name", person.user_name
    if person.full_names:
        yield "also called", "; ".join(person.full_names)
    yield "short name", person.short_name or "none"
    yield "address", ", ".join((person.internet_address or "none", *person.addresses))
    yield "mail file", person.mail_file or "none"
    if person.mail_server:
        yield "mail server", person.mail_server
    if person.quota_bytes is not None:
        yield "quota", f"{person.quota_bytes} octets" if person.quota_bytes else "unlimited"
    if person.quota_messages is not None:
        yield "most messages", str(person.quota_messages or "unlimited")
    yield "status", person.status.value
    if person.certificates:
        yield "certificates", str(len(person.certificates))


def _door_faults(settings: Settings, listener: Listener, certificate: bool, password: bool) -> Iterator[str]:
    """Why a client does not get as far as a login."""
    where = f"[listeners] [[{listener.name}]]"
    if listener.status != "enabled":
        yield f"{where}: status = {listener.status}, so nobody logs in there"
    if listener.client_certificate == "required" and not certificate:
        yield f"{where}: a certificate is required, and none is given (--certificate)"
    if certificate and listener.client_certificate == "no":
        yield f"{where}: client_certificate = no, so no certificate is asked for"
    if certificate and listener.client_certificate != "no" and settings.tls.client_ca is None:
        yield "[tls] client_ca is not set, so no certificate is accepted"
    if not certificate and not listener.name_password:
        yield f"{where}: name_password = no, so no passwords are taken"
    if not certificate and listener.security == "plain" and not listener.plaintext_login:
        yield f"{where}: security = plain and plaintext_login = no, so no passwords are taken"


def _mail_file(path: str, create: bool) -> str:
    """What there is at the path; raises Refused where a login would find nothing to open."""
    if os.path.isdir(path):
        missing = [name for name in ("cur", "new", "tmp") if not os.path.isdir(os.path.join(path, name))]
        there = [path, *(os.path.join(path, name) for name in ("cur", "new", "tmp") if name not in missing)]
        for one in there:
            if not os.access(one, os.R_OK | os.W_OK | os.X_OK):
                _refuse(f"{one} cannot be read and written by {user_name()}")
        if missing and has_mailboxes(os.fsencode(path)):
            return f"a folder of mboxes that {user_name()} can read and write"
        return "a folder that is not a Maildir yet" if missing else f"a Maildir that {user_name()} can read and write"
    if os.path.isfile(path) and not os.path.islink(path):
        if not os.access(path, os.R_OK | os.W_OK):
            _refuse(f"{path} cannot be read and written by {user_name()}")
        return f"an mbox that {user_name()} can read and write"
    if os.path.lexists(path):
        _refuse(f"{path} is neither a folder nor a file")
    parent = os.path.dirname(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not create:
        if not os.access(parent, os.X_OK):
            _refuse(f"{parent} cannot be looked into by {user_name()}")
        _refuse(f"{path} is not there, and [mail] create = no")
    if not os.access(parent, os.W_OK | os.X_OK):
        _refuse(f"{path} is not there, and {user_name()} may not make it in {parent}")
    return "not there yet; it is made at the first login"


def _refuse(reason: str) -> None:
    raise Refused("Your mail file cannot be opened.", code="UNAVAILABLE", reason=reason)


# -- what the command line gives


def _listener(settings: Settings, name: str | None) -> Listener:
    """The one that is named, or the first one with TLS from the beginning, or the first one that is open."""
    if name is not None:
        for listener in settings.listeners:
            if listener.name == name:
                return listener
        known = ", ".join(listener.name for listener in settings.listeners)
        raise Stop(f"there is no listener {name}; there are: {known}")
    opened = [listener for listener in settings.listeners if listener.status == "enabled"]
    return next((one for one in opened if one.security == "tls"), [*opened, *settings.listeners][0])


def _password(path: str | None) -> bytes | None:
    if path is None:
        return None
    if path == "-":
        if sys.stdin.isatty():
            return getpass.getpass("Password: ").encode()
        return sys.stdin.buffer.readline().rstrip(b"\r\n")
    try:
        with open(path, "rb") as file:
            return file.readline().rstrip(b"\r\n")
    except OSError as error:
        raise Stop(f"{path}: {error.strerror}") from None


def _certificate(path: str | None) -> ClientCertificate | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 20)
        begin = data.find(b"-----BEGIN CERTIFICATE-----")
        end = data.find(b"-----END CERTIFICATE-----", begin) + len(b"-----END CERTIFICATE-----")
        return ClientCertificate.read(data if begin < 0 else ssl.PEM_cert_to_DER_cert(data[begin:end].decode("ascii")))
    except OSError as error:
        raise Stop(f"{path}: {error.strerror}") from None
    except ValueError:
        raise Stop(f"{path} is not a certificate") from None


def _address(text: str | None) -> str:
    if text is None:
        return HERE
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Stop(f"{text} is not an address of a client, such as 192.0.2.7") from None
