"""LOGIN-REFERRALS (RFC 2221): who has his mail on another server is told so by the answer to his login, in
NO [REFERRAL imap://...]. The directories know who that is; clients that do not read the code show its text.
"""

from imapd.imap.command import State
from imapd.imap.extension import Extension
from imapd.imap.session import Session


def _offered(session: Session) -> bool:
    return session.settings.referrals and session.state is State.NOT_AUTHENTICATED


extension = Extension(words=("LOGIN-REFERRALS",), since=State.NOT_AUTHENTICATED, offered=_offered)
