"""SASL-IR (RFC 4959): AUTHENTICATE may bring its first response along. AUTHENTICATE itself reads it."""

from imapd.imap.command import State
from imapd.imap.extension import Extension
from imapd.imap.session import Session


def _before_login(session: Session) -> bool:
    return session.state is State.NOT_AUTHENTICATED


extension = Extension(words=("SASL-IR",), since=State.NOT_AUTHENTICATED, offered=_before_login)
