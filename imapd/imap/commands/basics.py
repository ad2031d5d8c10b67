"""CAPABILITY, NOOP, CHECK, LOGOUT (RFC 9051 section 6.1; CHECK: RFC 3501 section 6.4.1), and the protocol's own
word."""

from imapd.imap.command import MAILBOX_OPEN, Command, Running, State
from imapd.imap.extension import Extension
from imapd.imap.session import Session
from imapd.wire import responses


class Capability(Command):
    """capability = "CAPABILITY"."""

    name = "CAPABILITY"

    def run(self, session: Session) -> Running:
        yield responses.Capability(session.offers.capabilities(session))
        return None


class Noop(Command):
    """noop = "NOOP". The news that it is sent for come after every command."""

    name = "NOOP"

    def run(self, session: Session) -> Running:
        yield from ()
        return None


class Check(Command):
    """check = "CHECK". Everything is durable when it is acknowledged, so that there is nothing left to do."""

    name = "CHECK"
    states = MAILBOX_OPEN

    def run(self, session: Session) -> Running:
        yield from ()
        return None


class Logout(Command):
    """logout = "LOGOUT"."""

    name = "LOGOUT"

    def run(self, session: Session) -> Running:
        yield responses.Status("BYE", "Goodbye.")
        session.leave()
        return None


extension = Extension(
    words=("IMAP4rev1",),
    since=State.NOT_AUTHENTICATED,
    commands=(Capability, Noop, Check, Logout),
)
