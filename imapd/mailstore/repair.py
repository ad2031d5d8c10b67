"""Making good what `verify` finds of an account, beside everybody who works on it.

Rules:

1. It is one more writer: every step is done under the account's lock, and is one that the daemon does too when it meets
   the damage. An interrupted repair leaves an account as sound as it was, and may be done again.
2. No mail is removed, ever. What is wrong with a message's text cannot be mended, and is only said.
3. After mending everything is looked at again, for behind one fault another may have been hidden; what is still wrong
   then is left.
"""

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from imapd.mailstore import findings, hashes, quotafile, tree
from imapd.mailstore.bench import Bench
from imapd.mailstore.core import AccountCore
from imapd.mailstore.errors import Corrupt
from imapd.mailstore.findings import Finding
from imapd.mailstore.verify import Manner, Report, verify

_ROUNDS: Final = 4


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was wrong and is so no more, and how things are now."""

    mended: list[Finding]
    report: Report


def repair(core: AccountCore, before: Report, hashing: bool = False, accept: bool = False) -> Repaired:
    """Mend an account that nobody else in this process has open; before: what was found before it was opened. Blocks.

    hashing: look at the text of every message, and keep hashes; accept: those of changed texts too.
    Raises StoreError, OSError where no more can be done.
    """
    wrong = list(before.findings)
    core.discover()  # with all that is due when an index is opened for writing
    report = _verified(core, hashing)
    for _ in range(_ROUNDS):
        wrong += [finding for finding in report.findings if finding not in wrong]
        work = [finding for finding in report.findings if not finding.fault.is_left]
        if not work:
            break
        _mend(core, work)
        report = _verified(core, hashing)
    if hashing:
        core.locked(partial(_keep_hashes, report.hashes, accept))
        if accept:
            report.findings = [finding for finding in report.findings if finding.fault != findings.CHANGED]
        report.findings = [finding for finding in report.findings if finding.fault != findings.HASHES]
    return Repaired([finding for finding in wrong if finding not in report.findings], report)


def _verified(core: AccountCore, hashing: bool) -> Report:
    core.close()  # what only looks must not share a process with a handle that writes
    return verify(core.root, core.format, core.loop.time(), core.loop.sleep, Manner(hashing, remembering=hashing))


def _mend(core: AccountCore, work: Sequence[Finding]) -> None:
    faults = {finding.fault for finding in work}
    if findings.DAMAGED in faults:
        core.suspect()
    for name in {finding.mailbox: None for finding in work if finding.mailbox}:
        of_it = [finding for finding in work if finding.mailbox == name]
        while not core.locked(partial(_take_in, name)):
            pass
        core.locked(partial(_mend_mailbox, name, of_it))
    core.locked(partial(_mend_account, work))


def _take_in(name: str, bench: Bench) -> bool:
    """Look at all files of a mailbox; False where there is more to take in."""
    tree.discover(bench)
    box = bench.index.box_named(name)
    return box is None or bench.format.take_in(bench, box.id, False, True)


def _mend_mailbox(name: str, found: Sequence[Finding], bench: Bench) -> None:
    row = bench.index.box_named(name)
    if row is None:
        return
    bench.format.mend(bench, row.id, found)
    whole = bench.index.whole(row.id)
    if whole is None:
        raise Corrupt(reason=f"{name!r} is gone from the index while it is locked")
    box, rows = whole
    true = {
        "octets": sum(message.size for message in rows),
        "uidnext": max([box.uidnext, *[message.uid + 1 for message in rows]]),
        "modseq": max([box.modseq, *[message.modseq for message in rows]]),
    }
    if any(getattr(box, column) != value for column, value in true.items()):
        with bench.index.transaction():
            bench.index.update_box(box.id, **true)
        bench.changed.add(bench.folder(box))
    _remove(finding.path for finding in found if finding.fault == findings.CACHE)


def _mend_account(work: Sequence[Finding], bench: Bench) -> None:
    faults = {finding.fault for finding in work}
    tree.sweep(bench)
    boxes = bench.index.boxes()
    if findings.FLOORS in faults:
        bench.index.touched |= {box.id for box in boxes}
    if findings.UIDVALIDITY in faults:
        last = max([box.uidvalidity for box in boxes], default=0)
        tree.reserve_uidvalidity(bench, 0, last)
        with bench.index.transaction():
            bench.index.set_last_uidvalidity(last)
    if findings.QUOTA in faults:
        quotafile.set_limits(bench, bench.index.limits())
    _remove(finding.path for finding in work if finding.fault == findings.CACHE)


def _remove(paths: Iterable[bytes]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _keep_hashes(made: dict[bytes, set[bytes]], accept: bool, bench: Bench) -> None:
    """Write the list of hashes: of a message that has one the old one stays, unless changes are accepted."""
    path = bench.root + b"/" + hashes.FILE
    known = hashes.read(path) or {}
    wanted = {key: frozenset(texts) if accept else known.get(key, frozenset(texts)) for key, texts in made.items()}
    if wanted != known or not os.path.lexists(path):
        hashes.write(path, wanted, bench.scratch(), bench.settings.file_mode)
