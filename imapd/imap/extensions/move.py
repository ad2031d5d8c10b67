"""MOVE, RFC 6851 and RFC 9051 section 6.4.8: MOVE and UID MOVE.

    move = "MOVE" SP sequence-set SP mailbox

All messages are moved or none. COPYUID comes in an untagged OK, before the EXPUNGE of what was moved (RFC 6851 section
4.3), which the client is told like every other EXPUNGE: from the view, after the command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imapd.imap.command import Done, Running
from imapd.imap.commands.copy import Transfer, copyuid
from imapd.imap.extension import Extension
from imapd.model.errors import Refused
from imapd.wire.responses import Status

if TYPE_CHECKING:
    from imapd.imap.session import Session


class Move(Transfer):
    """MOVE; see the top of this module."""

    name = "MOVE"

    def run(self, session: Session) -> Running:
        if session.view.read_only:
            raise Refused("The mailbox is open for reading only.", code="READ-ONLY")
        uids = self.uids(session)
        if not uids:
            return Done("There is nothing to move.")
        placed = session.view.mailbox.move(uids, self.target)
        self.check(uids, placed)
        code = copyuid(session, placed)
        if code is not None:
            yield Status("OK", "Moved.", code=code)
        return Done()


class UidMove(Move):
    """uid =/ "UID" SP move."""

    name = "UID MOVE"
    by_uid = True


extension = Extension(words=("MOVE",), commands=(Move, UidMove))
