"""The second record of the UIDs of an mbox (mailstore/uidrecord), and a mailbox that is made anew from it.

X-UID in the file says UIDs only as of the last write back; the record says all that were given. It lies beside
the index, where no other server takes it for a mailbox: as `imapd-uids` for INBOX, and for another mailbox with a hash
of its path in the name; it moves with the mailbox.

Rules:

1. A message is known by its fingerprint, and only where neither the record nor the file ever had another message with
   the same one: the others get new UIDs.
2. A file whose X-IMAPbase says another UIDVALIDITY is not the one that the record is of.
"""

import contextlib
from collections import Counter
from collections.abc import Sequence

from imapd.mailstore import rebuild, uidrecord
from imapd.mailstore.bench import Bench
from imapd.mailstore.flagnames import FlagNames
from imapd.mailstore.mboxlock import Locked
from imapd.mailstore.mboxrewrite import locked
from imapd.mailstore.mboxrows import Stranger, pack_mask
from imapd.mailstore.mboxsync import strangers
from imapd.mailstore.rows import BoxRow, MessageRow, identity


def note(bench: Bench, box: BoxRow, record: bytes, pairs: Sequence[uidrecord.Pair]) -> None:
    """Write down UIDs that were given. Raises OSError."""
    if not uidrecord.note(record, box.uidvalidity, pairs, box.messages):
        everything = pairs  # at a first sight they are all there are
        if not pairs or not bench.index.is_all(box, {uid for uid, _ in pairs}):
            everything = [(row.uid, identity(row)) for row in bench.index.rows(box.id)]
        uidrecord.write_whole(record, box.uidvalidity, everything, bench.scratch(), bench.settings.file_mode)


def restore(
    bench: Bench, name: str, directory: bytes, before: BoxRow | None, path: bytes, words: Sequence[str]
) -> bool:
    """Make the mailbox of a mail file anew from the record at a path; False where that cannot be. Raises FileLocked."""
    record = uidrecord.read(path, twins=False)
    begin = rebuild.beginning(bench, record, before)
    if record is None or begin is None:
        return False
    found = None
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        locked(bench.format.folder(bench.root, directory), words, write=False) as mail,
    ):
        found = _rows(bench, mail, record, begin.modseq)
    if found is None:
        return False
    names, rows = found
    rebuild.put(bench, name, directory, before, record.uidvalidity, begin, names, rows)
    return True


def _rows(
    bench: Bench, mail: Locked, record: uidrecord.UidRecord, modseq: int
) -> tuple[FlagNames, list[MessageRow]] | None:
    names = FlagNames(mail.path, (), bench.now, bench.settings.file_mode)
    base, found = strangers(mail, names, bench.now)
    if base is not None and base.uidvalidity != record.uidvalidity:
        return None  # rule 2
    times = Counter([one.fingerprint for one in found])
    known = [(record.uids[one.fingerprint], one) for one in found if one.fingerprint in record.uids]
    return names, sorted([_row(uid, one, modseq) for uid, one in known if times[one.fingerprint] == 1])


def _row(uid: int, one: Stranger, modseq: int) -> MessageRow:
    mask = pack_mask(one.mask)
    return MessageRow(uid, one.place, mask, one.fingerprint, one.mask, modseq, one.size, one.octets, one.date, 0)
