"""Leaving: the UIDs of a mailbox written down as Dovecot keeps them, so that it takes over without any download.

`dovecot-uidlist` is replaced under Dovecot's own lock, a file `dovecot-uidlist.lock` beside it, so that a Dovecot that
runs is not disturbed. What Dovecot wrote into it that means something to it alone (the mailbox's GUID, ids for POP3) is
kept. Dovecot makes its indexes anew from the list and from the names of files; `dovecot-keywords` and `subscriptions`
are kept up to date all the time. `dovecot-uidvalidity` says what UIDVALIDITY the last new mailbox got; it is raised to
what was given here, or Dovecot would give those values again.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Final

from imapd.mailstore import foreign, maildir
from imapd.mailstore.bench import Bench
from imapd.mailstore.errors import Retry
from imapd.mailstore.rows import BoxRow
from imapd.mailstore.uidlists import COURIER, DOVECOT, UidList, write_courier, write_dovecot

_LOCK: Final = b".lock"
_LOCK_STALE: Final = 120  # seconds; Dovecot's own figure for a dotlock that nobody touches
_UIDVALIDITY: Final = b"dovecot-uidvalidity"
_GIVEN: Final = re.compile(_UIDVALIDITY + rb"\.([0-9a-f]{8})\Z")


def write_uids(bench: Bench, box: BoxRow) -> int:
    """Write the list of a mailbox whose files have been taken in, durably; how many messages are on it.

    Raises Retry where Dovecot has it locked.
    """
    folder = bench.folder(box)
    path = folder + b"/" + DOVECOT
    with _locked(path, bench.now, bench.settings.file_mode):
        before = foreign.read_list(folder, DOVECOT)
        uids = {row.base or maildir.base_of(row.file): row.uid for row in bench.index.rows(box.id)}
        header = before.header if before else b""
        fields = {name: told for name, told in before.fields.items() if name in uids} if before else {}
        listed = UidList(box.uidvalidity, box.uidnext, uids, header, fields)
        maildir.write_whole(path, write_dovecot(listed), bench.scratch(), bench.settings.file_mode)
    if os.path.lexists(folder + b"/" + COURIER):
        maildir.write_whole(folder + b"/" + COURIER, write_courier(listed), bench.scratch(), bench.settings.file_mode)
    with bench.index.settling():
        bench.index.update_box(box.id, uidlist_stamp=foreign.stamp(folder))
    if not box.directory:
        _raise_uidvalidity(bench.root, bench.index.last_uidvalidity(), bench.settings.file_mode)
    return len(uids)


@contextlib.contextmanager
def _locked(path: bytes, now: float, mode: int) -> Iterator[None]:
    lock = path + _LOCK
    with contextlib.suppress(FileNotFoundError):
        if now - os.lstat(lock).st_mtime > _LOCK_STALE:
            os.unlink(lock)
    try:
        os.close(maildir.create_file(lock, mode))
    except FileExistsError:
        raise Retry(reason=f"Dovecot is writing {os.fsdecode(path)} at this moment") from None
    try:
        yield
    finally:
        maildir.discard(lock)


def _raise_uidvalidity(root: bytes, last: int, mode: int) -> None:
    """Have Dovecot give higher UIDVALIDITYs than `last` from now on.

    Dovecot raises the number in the name of an empty file by renaming it, and keeps a copy in another file's text.
    """
    given = {entry: int(match[1], 16) for entry in os.listdir(root) if (match := _GIVEN.match(entry))}
    highest = max(given.values(), default=0)
    if not given or highest >= last:
        return  # without such a file Dovecot begins with the time, as we do
    os.close(maildir.create_file(root + b"/" + _UIDVALIDITY + b".%08x" % last, mode))
    text = b"%08x" % last
    maildir.write_whole(root + b"/" + _UIDVALIDITY, text, root + b"/tmp/" + _UIDVALIDITY + b".%08x" % last, mode)
    for entry in given:
        maildir.discard(root + b"/" + entry)
