"""NAMESPACE (RFC 2342, RFC 9051 section 6.3.10): the personal name space without a prefix, and no others."""

from imapd.imap.command import LOGGED_IN, Command, Running
from imapd.imap.extension import Extension
from imapd.imap.session import Session
from imapd.model.names import DELIMITER
from imapd.wire.responses import NamespaceResponse


class Namespace(Command):
    """namespace = "NAMESPACE"."""

    name = "NAMESPACE"
    states = LOGGED_IN

    def run(self, session: Session) -> Running:
        yield NamespaceResponse(personal=(("", DELIMITER),))
        return None


extension = Extension(words=("NAMESPACE",), commands=(Namespace,))
