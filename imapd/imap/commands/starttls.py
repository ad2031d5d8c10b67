"""STARTTLS (RFC 9051 section 6.2.1).

Dispatch sends the tagged OK before the handshake. Whoever drives the conversation closes the connection if the client
has sent anything behind STARTTLS in the clear: it could have been put there by somebody else.
"""

from imapd.imap.command import BEFORE_LOGIN, Command, Running, State, Upgrade
from imapd.imap.extension import Extension
from imapd.imap.session import Session
from imapd.model.errors import BadSyntax


class StartTls(Command):
    """starttls = "STARTTLS"."""

    name = "STARTTLS"
    states = BEFORE_LOGIN

    def run(self, session: Session) -> Running:
        if session.private:
            raise BadSyntax("The connection is encrypted already.")
        if not session.settings.starttls:
            raise BadSyntax("There is no TLS on this port.")
        yield Upgrade()
        session.private = True
        session.client = {}  # what was said in the clear may have been said by anybody
        return None


def _offered(session: Session) -> bool:
    return session.settings.starttls and not session.private and session.state is State.NOT_AUTHENTICATED


extension = Extension(
    words=("STARTTLS",),
    since=State.NOT_AUTHENTICATED,
    offered=_offered,
    commands=(StartTls,),
)
