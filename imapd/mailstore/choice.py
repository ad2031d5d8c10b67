"""Which kind of mail files an account has, told by looking.

    a file                                          an mbox; its other mailboxes lie in a directory beside it
    a directory with cur/ in it                     a Maildir
    a directory with mbox files in it               a tree of mboxes
    nothing, or any other directory                 what new accounts get: a Maildir, or a tree of mboxes if set so

Where a kind is set, the other one is refused: it was a mistake of somebody, and mail must not vanish behind it.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from imapd.mailstore import maildir, mboxlock, mboxtree
from imapd.mailstore.errors import Denied, NoSuchAccount
from imapd.mailstore.formats import MailFormat
from imapd.mailstore.maildirformat import MaildirFormat
from imapd.mailstore.mboxformat import MboxFormat

AUTO: Final = "auto"
MAILDIR: Final = "maildir"
MBOX: Final = "mbox"
FOLDERS: Final = "{mail_file}.folders"
_MAIL_FILE: Final = "{mail_file}"


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the settings say: the kind (auto, maildir, mbox), the locks of mboxes, and where the directory of an account
    lies whose mail file is a file: below `root`, with {mail_file} for the mail file's path below it."""

    kind: str = AUTO
    locks: Sequence[str] = mboxlock.DEFAULT
    root: str = "/"
    folders: str = FOLDERS

    def choose(self, home: bytes, dir_mode: int) -> tuple[bytes, MailFormat]:
        """The account's own directory, which is made beside a mail file, and its kind of mail files.

        Raises Denied, NoSuchAccount, OSError.
        """
        root, mail_format = self.find(home)
        if root != home:
            os.makedirs(root, dir_mode, exist_ok=True)
        return root, mail_format

    def find(self, home: bytes) -> tuple[bytes, MailFormat]:
        """The same, and nothing is made."""
        found = _kind_of(home)
        if found and self.kind not in (AUTO, found):
            raise Denied(
                f"Your mail file is {_WORDS[found]}, and this server is set to serve another kind; please tell your "
                "administrator.",
                code="CONTACTADMIN",
                reason=f"{os.fsdecode(home)} is {_WORDS[found]}, but [mail] format is {self.kind}",
            )
        if (found or self.kind) != MBOX:
            return home, MaildirFormat()
        if found and stat.S_ISREG(os.lstat(home).st_mode):
            root = self._folders_of(home)
            return root, MboxFormat(root, home, self.locks)
        return home, MboxFormat(home, None, self.locks)

    def _folders_of(self, home: bytes) -> bytes:
        path = os.fsdecode(home)
        below = os.path.relpath(path, self.root) if os.path.commonpath([path, self.root]) == self.root else path[1:]
        return os.fsencode(os.path.normpath(os.path.join(self.root, self.folders.replace(_MAIL_FILE, below))))

    def directory_of(self, home: str) -> str:
        """Where the files about an account lie: its mail file, or the directory beside it. Makes nothing."""
        return os.fsdecode(self._folders_of(os.fsencode(home))) if os.path.isfile(home) else home


_WORDS: Final = {MAILDIR: "a Maildir", MBOX: "an mbox"}


def _kind_of(home: bytes) -> str | None:
    """The kind of mail files that lie there; None where nothing says it."""
    try:
        mode = os.lstat(home).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(mode):
        raise NoSuchAccount(reason="the mail file is a symbolic link")
    if stat.S_ISREG(mode):
        return MBOX
    if not stat.S_ISDIR(mode):
        raise NoSuchAccount(reason="the mail file is neither a directory nor a file")
    if maildir.is_folder(home):
        return MAILDIR
    return MBOX if os.path.lexists(home + b"/" + mboxtree.MARK) or mboxtree.has_mailboxes(home) else None
