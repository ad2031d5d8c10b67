"""What the client is told without having asked: the only room that writes such EXISTS, RECENT, EXPUNGE, FETCH and
FLAGS.

1. Everything comes from View.sync(): the difference between the mailbox and what the client believes, whoever caused
   it.
2. Expunged messages come first, so that the numbers of the rest hold when they are said; then the new count, then new
   keywords (a client should know a flag before it meets it), then flags.
3. A client of IMAP4rev2 gets no RECENT, and each FETCH with its UID (RFC 9051 sections 7.5.2 and Appendix E).
4. A mailbox that was deleted or replaced under the session cannot be served on. RFC 2180 section 3.3 leaves the
   choice: a client of IMAP4rev2 hears [CLOSED] and is back in the authenticated state (RFC 9051 section 3); one of
   IMAP4rev1 knows no way back but a new connection, and hears BYE. To go on with an empty mailbox would make caches
   throw mail away.
"""

from collections.abc import Iterator
from typing import Final

from imapd.imap.command import Response
from imapd.imap.session import Session
from imapd.mailstore.errors import Gone, Moved
from imapd.model.flags import SYSTEM_FLAGS
from imapd.wire import writer
from imapd.wire.responses import Exists, Expunges, Fetch, FlagsResponse, Recent, Status

_AT_ONCE: Final = 1_024
"""EXPUNGE lines of a third of a millisecond."""


def news(session: Session, may_expunge: bool) -> Iterator[Response]:
    """Bring the client up to date with the selected mailbox, if there is one."""
    if not session.has_view:
        return
    view = session.view
    try:
        changes = view.sync(may_expunge)
    except (Gone, Moved) as lost:
        yield _farewell(session, lost)
        return
    for start in range(0, len(changes.vanished), _AT_ONCE):
        session.loop.breathe()
        yield Expunges(changes.vanished[start : start + _AT_ONCE])
    if changes.arrived is not None:
        yield Exists(changes.arrived)
    if changes.recent is not None and not session.rev2:
        yield Recent(changes.recent)
    yield from keywords(session)
    for sequence, uid in changes.reflagged:
        session.loop.breathe()
        yield _flags(session, sequence, uid)


def keywords(session: Session) -> Iterator[Response]:
    """The FLAGS response, if the mailbox has keywords that the client has not been told of (RFC 9051 section 7.3.5)."""
    known = session.view.snapshot.keywords
    if session.keywords_told.issuperset(known):
        return
    session.keywords_told = frozenset(known)
    yield FlagsResponse((*SYSTEM_FLAGS, *known))


def fullness(session: Session) -> Iterator[Response]:
    """One ALERT for each connection where the account is nearly full, or more than that (RFC 9051 section 7.1)."""
    threshold = session.settings.quota_warning
    if session.warned_of_quota or not threshold or not session.account.is_limited():
        return
    percent = session.account.quota().percent
    if percent >= threshold:
        session.warned_of_quota = True
        yield Status("NO", f"Your mail file is {percent} % full.", code="ALERT")


def _flags(session: Session, sequence: int, uid: int) -> Response:
    items = [b"FLAGS " + writer.flag_list(session.view.flags(uid))]
    if session.rev2:
        items.insert(0, b"UID %d" % uid)
    return Fetch(sequence, items)


def _farewell(session: Session, lost: Gone | Moved) -> Response:
    session.log("mailbox_lost", mailbox=session.view.mailbox.name, reason=lost.reason)
    if session.rev2 and isinstance(lost, Gone):
        session.unselect()
        return Status("OK", lost.text, code="CLOSED")
    session.leave()
    return Status("BYE", lost.text)
