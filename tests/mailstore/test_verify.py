"""Reading the truth back: every kind of damage is found, said, and mended, and no text is ever touched."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from imapd.mailstore import findings, floors, quotafile, uidrecord
from imapd.mailstore.choice import Kinds
from imapd.mailstore.index import Index
from imapd.mailstore.local import LocalStore
from imapd.mailstore.quota import Limits
from imapd.mailstore.store import Owner
from imapd.mailstore.verify import Manner, Report, verify
from tests.mailstore.maildirhouse import MAIL, WIRE, Worker, deliver
from tests.support.loop import PlainLoop

LATER = 40 * 3600  # what lies in tmp is abandoned by then, and no time is young any more


class Site:
    """Ann's mail, made by a process that has ended, and what is said of it."""

    def __init__(self, home: Path, kind: str) -> None:
        self.home = home
        self.kinds = Kinds(kind)
        self.kind = kind
        worker = self.worker(time.time())
        worker.ann.create("A")
        worker.put("INBOX", *[WIRE + b"%d\r\n" % number for number in range(4)], flags=frozenset({"\\Seen", "Work"}))
        worker.put("A", WIRE + b"a\r\n", WIRE + b"b\r\n")
        self.look(worker)
        worker.store.close()
        worker = self.worker()  # much later, when no time of a directory is young any more
        self.look(worker)
        worker.store.close()

    def worker(self, now: float | None = None) -> Worker:
        return Worker(self.home, PlainLoop(now or time.time() + LATER), kinds=self.kinds)

    def look(self, worker: Worker) -> None:
        for name in ("INBOX", "A"):
            mailbox = worker.open(name)
            mailbox.snapshot()
            mailbox.close()

    def verify(self, hashing: bool = False) -> Report:
        root, mail_format = self.kinds.find(os.fsencode(self.home))
        return verify(root, mail_format, time.time() + LATER, lambda seconds: None, Manner(hashing))

    def faults(self, hashing: bool = False) -> set[findings.Fault]:
        return {finding.fault for finding in self.verify(hashing).findings}

    def repair(self, hashing: bool = False, accept: bool = False):
        before = self.verify()
        store = LocalStore(PlainLoop(time.time() + LATER), create=False, kinds=self.kinds)
        account = store.open_account(Owner("id-ann", "ann", str(self.home)))
        try:
            return account.repair(before, hashing, accept)
        finally:
            account.close()
            store.close()

    def write(self, deed: Callable[[Index], None]) -> None:
        """Write to the index what nobody should."""
        index = Index.writer(os.fsencode(self.home / "imapd-index.sqlite"))
        with index.transaction():
            deed(index)
        index.close()

    def texts(self) -> Counter[bytes]:
        """The texts of all message files, whatever they are called."""
        if self.kind == "mbox":
            return Counter(text for text in self.served().values())
        paths = [path for place in ("new", "cur") for path in self.home.rglob(f"{place}/*")]
        return Counter(path.read_bytes() for path in paths)

    def served(self) -> dict[tuple[str, int], bytes]:
        worker = self.worker()
        names = [entry.name for entry in worker.ann.mailboxes()]
        texts = {(name, uid): text for name in names for uid, text in worker.texts(name).items()}
        worker.store.close()
        return texts


def test_a_mailbox_of_which_not_all_is_rendered_is_sound(tmp_path):
    worker = Worker(tmp_path / "ann")
    worker.put("INBOX", *[WIRE + b"x" * 300] * 3)
    worker.look()
    worker.loop.run_spawned()
    worker.put("INBOX", WIRE)
    worker.store.close()
    root, mail_format = Kinds().find(os.fsencode(tmp_path / "ann"))
    assert verify(root, mail_format, time.time(), time.sleep).findings == []


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "ann", "maildir")


@pytest.fixture
def mbox(tmp_path):
    return Site(tmp_path / "ann", "mbox")


def listing(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder, with what a write to it would change."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        seen = path.lstat()
        # SQLite gives these to the owner of the database each time that root opens it.
        changed = 0 if path.name.endswith(("-wal", "-shm")) else seen.st_ctime_ns
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = seen.st_ino, seen.st_mode, seen.st_size, seen.st_mtime_ns, changed, content
    return found


def box(index: Index, name: str = "INBOX"):
    found = index.box_named(name)
    assert found is not None
    return found


def row(index: Index, uid: int):
    return index.rows(box(index).id, [uid])[0]


def change_box(site: Site, **columns: object) -> None:
    site.write(lambda index: index.update_box(box(index).id, **columns))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


def older_copy(site: Site) -> None:
    before = (site.home / "imapd-index.sqlite").read_bytes()
    worker = site.worker(time.time())
    worker.put("INBOX", WIRE + b"later\r\n")
    worker.store.close()
    (site.home / "imapd-index.sqlite").write_bytes(before)


def without_floors(site: Site, **columns: object) -> None:
    (site.home / "imapd-floors").unlink()
    change_box(site, **columns)


def file_of(site: Site, uid: int) -> Path:
    index = Index(os.fsencode(site.home / "imapd-index.sqlite"), unchanging=True)
    path = site.home / "cur" / os.fsdecode(row(index, uid).file)
    index.close()
    return path


def add_in_place(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more\n")


def hide_file(site: Site) -> None:
    shutil.move(file_of(site, 2), site.home.parent / "elsewhere")


def stale_run(site: Site) -> None:
    (site.home / "imapd-cache").mkdir(exist_ok=True)
    (site.home / "imapd-cache" / "99-1").write_bytes(b"of nobody")


def broken_run(site: Site) -> None:
    index = Index(os.fsencode(site.home / "imapd-index.sqlite"), unchanging=True)
    known = box(index)
    index.close()
    (site.home / "imapd-cache").mkdir(exist_ok=True)
    (site.home / "imapd-cache" / f"{known.id}-{known.uidvalidity}").write_bytes(b"no such thing")


def same_file(site: Site) -> None:
    site.write(lambda index: index.relocate([(row(index, 3), 0, row(index, 2).file)]))


def wrong_name(site: Site) -> None:
    site.write(lambda index: index.relocate([(row(index, 3), 0, row(index, 3).file.partition(b":")[0] + b":2,F")]))


def wrong_flags(site: Site) -> None:
    site.write(lambda index: index.renew([row(index, 3)], [row(index, 3)._replace(mask=4)]))


def leave_deleted(site: Site) -> None:
    path = site.home / "imapd-deleted-5"
    path.touch() if site.kind == "mbox" else path.mkdir()


ABANDON = "tmp/1600000000.M1P1.mx"

ON_BOTH: dict[str, tuple[findings.Fault, Callable[[Site], object]]] = {
    "a damaged page": (findings.DAMAGED, lambda site: flip(site.home / "imapd-index.sqlite", 4096)),
    "no index": (findings.LOST, lambda site: (site.home / "imapd-index.sqlite").unlink()),
    "a row that was changed": (
        findings.DAMAGED,
        lambda site: site.write(lambda index: index._all("UPDATE message SET size = size + 1")),
    ),
    "a row that is missing": (
        findings.DAMAGED,
        lambda site: site.write(lambda index: index._all("DELETE FROM message WHERE id & 255 = 2")),
    ),
    "an older index": (findings.BEHIND, older_copy),
    "no floors": (findings.FLOORS, lambda site: (site.home / "imapd-floors").unlink()),
    "no last UIDVALIDITY": (findings.UIDVALIDITY, lambda site: (site.home / "imapd-uidvalidity").unlink()),
    "a wrong count": (findings.COUNT, lambda site: change_box(site, octets=5)),
    "UIDNEXT too low": (findings.UIDS, lambda site: without_floors(site, uidnext=2)),
    "a modseq too high": (findings.MODSEQ, lambda site: without_floors(site, modseq=1)),
    "other limits": (findings.QUOTA, lambda site: (site.home / "imapd-quota").write_bytes(quotafile._line(Limits(7)))),
    "finished answers of nobody": (findings.CACHE, stale_run),
    "damaged finished answers": (findings.CACHE, broken_run),
    "an abandoned file": (findings.ABANDONED, lambda site: (site.home / ABANDON).write_bytes(MAIL)),
    "a deleted mailbox": (findings.LEFTOVER, leave_deleted),
    "a mailbox to be renamed": (
        findings.OWED,
        lambda site: site.write(lambda index: index.add_moving([(b".X", b".Y")])),
    ),
    "a message that the index lost": (
        findings.STRAY,
        lambda site: site.write(lambda index: index.bury([(row(index, 2), 3, None)])),
    ),
}
ON_MAILDIR: dict[str, tuple[findings.Fault, Callable[[Site], object]]] = {
    "no file": (findings.GONE, hide_file),
    "no mailbox": (findings.NO_MAILBOX, lambda site: shutil.rmtree(site.home / ".A")),
    "one file for two": (findings.TWICE, same_file),
    "a wrong name in the index": (findings.MOVED, wrong_name),
    "other flags": (findings.FLAGS, wrong_flags),
    "flags that the name lacks": (
        findings.OWED,
        lambda site: site.write(lambda index: index.reflag([(row(index, 3), 4, 9)])),
    ),
    "a longer file": (findings.SIZE, lambda site: add_in_place(file_of(site, 2))),
    "no record": (findings.RECORD, lambda site: (site.home / "imapd-uids").unlink()),
    "a damaged record": (findings.RECORD, lambda site: flip(site.home / "imapd-uids", 60)),
    "an abandoned file of a mailbox": (findings.ABANDONED, lambda site: (site.home / ".A" / ABANDON).write_bytes(MAIL)),
}


def renewed(**columns: object) -> Callable[[Site], object]:
    return lambda site: site.write(
        lambda index: index.renew([row(index, 3)], [row(index, 3)._replace(**columns)])  # type: ignore[arg-type]
    )


def cut_out(site: Site) -> None:
    path = site.home / "inbox"
    data = path.read_bytes()
    at = data.index(b"\nFrom ", 1) + 1
    end = data.index(b"\nFrom ", at) + 1
    path.write_bytes(data[:at] + data[end:])


ON_MBOX: dict[str, tuple[findings.Fault, Callable[[Site], object]]] = {
    "no message": (findings.GONE, cut_out),
    "no mailbox": (findings.NO_MAILBOX, lambda site: (site.home / "A").unlink()),
    "a wrong offset": (findings.MOVED, renewed(place=7)),
    "one offset for two": (findings.TWICE, renewed(place=0)),
    "a wrong size": (findings.SIZE, renewed(size=77)),
    "other flags": (findings.FLAGS, renewed(file=b"\x04\0\0\0\0\0\0\0")),
}


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_nothing_is_found_where_nothing_is_wrong(tmp_path, kind):
    site = Site(tmp_path / "ann", kind)
    report = site.verify(hashing=True)
    assert report.findings == [] and report.waiting == 0
    assert (report.mailboxes, report.messages, report.unhashed) == (2, 6, 6)
    assert report.octets == sum(len(text) for text in site.served().values())
    assert site.repair().mended == []
    assert site.verify().findings == []


CASES = [
    *[("maildir", name) for name in (ON_BOTH | ON_MAILDIR)],
    *[("mbox", name) for name in (ON_BOTH | ON_MBOX)],
]


@pytest.mark.parametrize(("kind", "damage"), CASES)
def test_damage_is_found_and_mended(tmp_path, kind, damage, monkeypatch):
    site = Site(tmp_path / "ann", kind)
    table = ON_BOTH | (ON_MAILDIR if kind == "maildir" else ON_MBOX)
    fault, deed = table[damage]
    deed(site)
    before = listing(site.home)
    found = site.verify()
    with monkeypatch.context() as patch:
        patch.setattr("imapd.mailstore.verify._PIECE", 2)  # as in a large mailbox
        assert [each[:4] for each in site.verify().findings] == [each[:4] for each in found.findings]
    assert fault in {finding.fault for finding in found.findings}, [str(finding) for finding in found.findings]
    assert listing(site.home) == before
    texts = site.texts() if kind == "maildir" else None
    repaired = site.repair()
    assert fault in {finding.fault for finding in repaired.mended}
    assert repaired.report.findings == []
    assert site.faults(hashing=True) == set()
    assert site.repair().mended == []
    if texts is not None:
        assert site.texts() == texts
        assert Counter(text.replace(b"\r\n", b"\n") for text in site.served().values()) == texts
    elif damage not in ("no message", "no mailbox"):
        assert len(site.served()) == 6 + (damage == "an older index")


def test_work_that_is_owed_to_an_expunged_message_is_done(site):
    path = file_of(site, 2)

    def expunge(index: Index) -> None:
        index.bury([(row(index, 2), 9, b"cur/" + os.fsencode(path.name))])

    site.write(expunge)
    assert findings.OWED in site.faults()
    site.repair()
    assert not path.exists() and site.faults(hashing=True) == set()
    assert len(site.served()) == 5


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_news_are_no_damage(tmp_path, kind):
    site = Site(tmp_path / "ann", kind)
    if kind == "maildir":
        deliver(site.home)
        name = file_of(site, 2)
        name.rename(name.with_name(name.name + "F"))
        deliver(site.home, folder=".A", place="cur", name="1600000099.M1P1.mx:2,S")
    else:
        with (site.home / "inbox").open("ab") as file:
            file.write(b"From bob@example.org Mon Nov 23 10:00:00 2026\n" + MAIL + b"\n")
        (site.home / "Later").write_bytes(b"From bob@example.org Mon Nov 23 10:00:00 2026\n" + MAIL + b"\n")
    report = site.verify()
    assert report.findings == [] and report.waiting == (3 if kind == "maildir" else 2)


def test_what_cannot_be_mended_is_said_and_left(site):
    for name in (".&AMQ-", ".\N{LATIN CAPITAL LETTER A WITH DIAERESIS}"):
        for part in ("new", "tmp", "cur"):
            (site.home / name / part).mkdir(parents=True)
    repaired = site.repair()
    assert [finding.fault for finding in repaired.report.findings] == [findings.UNFIT]
    assert "rename it" in str(repaired.report.findings[0])


def test_an_index_of_a_newer_version_is_left_alone(site):
    site.write(lambda index: (index._set_meta("version", 99), index._all("PRAGMA user_version = 99")))
    assert site.faults() == {findings.NEWER}


def test_a_silent_change_of_a_text_is_found_by_its_hash(site):
    assert site.verify(hashing=True).unhashed == 6
    site.repair(hashing=True)
    report = site.verify(hashing=True)
    assert report.unhashed == 0 and report.findings == []
    path = file_of(site, 2)
    seen = path.stat()
    flip(path, 40)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert site.faults() == set()
    (found,) = site.verify(hashing=True).findings
    assert (found.fault, found.mailbox, found.uid) == (findings.CHANGED, "INBOX", 2)
    assert site.repair(hashing=True).report.findings == [found]
    assert site.faults(hashing=True) == {findings.CHANGED}
    flip(path, 40)
    assert site.faults(hashing=True) == set()
    flip(path, 40)
    site.repair(hashing=True, accept=True)
    assert site.faults(hashing=True) == set()


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_hashes_hold_when_messages_move_and_uids_are_given_anew(tmp_path, kind):
    site = Site(tmp_path / "ann", kind)
    site.repair(hashing=True)
    worker = site.worker()
    worker.ann.rename("A", "B")
    inbox = worker.open()
    inbox.move([2], "B")
    inbox.close()
    worker.store.close()
    for name in ("imapd-index.sqlite", "imapd-floors"):
        (site.home / name).unlink()
    site.worker().store.close()
    report = site.verify(hashing=True)
    assert [finding for finding in report.findings if finding.fault == findings.CHANGED] == []


def test_a_damaged_list_of_hashes_is_said_and_written_anew(site):
    site.repair(hashing=True)
    flip(site.home / "imapd-hashes", 40)
    assert site.faults() == set() and site.faults(hashing=True) == {findings.HASHES}
    site.repair(hashing=True)
    assert site.faults(hashing=True) == set()


def test_octets_on_the_wire_are_counted_where_every_message_is_read(site):
    site.write(lambda index: index.resize(row(index, 2), row(index, 2).size + 1, row(index, 2).octets, 3))
    assert findings.SIZE not in site.faults()
    assert findings.SIZE in site.faults(hashing=True)
    assert findings.SIZE in {finding.fault for finding in site.repair(hashing=True).mended}
    assert site.faults(hashing=True) == set()


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
@pytest.mark.parametrize("is_open", [True, False])
def test_looking_writes_nothing(tmp_path, kind, is_open):
    site = Site(tmp_path / "ann", kind)
    worker = site.worker(time.time())
    mailbox = worker.open()
    worker.put("INBOX", WIRE)
    mailbox.snapshot()
    if not is_open:
        mailbox.close()
        worker.store.close()
    before = listing(tmp_path)
    if is_open:  # by another process, as ever: one that has it open for writing cannot look so
        child = os.fork()
        if not child:
            os._exit(1 if site.verify(hashing=True).messages != 7 else 0)
        assert os.waitpid(child, 0)[1] == 0
        assert (site.home / "imapd-index.sqlite-wal").exists()
    else:
        assert site.verify(hashing=True).messages == 7
    assert listing(tmp_path) == before


def test_an_account_that_was_never_opened_has_no_faults(tmp_path):
    home = tmp_path / "ann"
    for part in ("new", "tmp", "cur"):
        (home / part).mkdir(parents=True)
    root, mail_format = Kinds().find(os.fsencode(home))
    report = verify(root, mail_format, time.time(), lambda seconds: None)
    assert report.findings == [] and not report.is_used


def test_what_passes_by_itself_is_not_said(site):
    """Somebody else is in the middle of a change: at the second look it is done."""
    path = file_of(site, 2)
    path.rename(site.home / "aside")
    root, mail_format = site.kinds.find(os.fsencode(site.home))
    report = verify(root, mail_format, time.time() + LATER, lambda seconds: (site.home / "aside").rename(path))
    assert report.findings == []


def test_a_record_is_made_whole(site):
    record = os.fsencode(site.home / "imapd-uids")
    whole = uidrecord.read(record)
    os.truncate(record, os.stat(record).st_size - 30)
    (found,) = site.verify().findings
    assert found.fault == findings.RECORD and "1 messages, the first is UID 4" in str(found)
    site.repair()
    assert uidrecord.read(record) == whole


def test_floors_that_move_at_each_look_are_those_of_a_busy_mailbox(site):
    index = Index(os.fsencode(site.home / "imapd-index.sqlite"), unchanging=True)
    inbox = box(index)
    index.close()
    behind = iter(range(1, 9))

    def deliveries(_seconds: float = 0) -> None:
        path = os.fsencode(site.home / "imapd-floors")
        floors.note(path, [inbox._replace(modseq=inbox.modseq - next(behind))], (), 0o600)

    deliveries()
    assert site.faults() == {findings.FLOORS}
    root, mail_format = site.kinds.find(os.fsencode(site.home))
    assert verify(root, mail_format, time.time() + LATER, deliveries).findings == []


@pytest.mark.parametrize("has_shared_memory", [True, False])
@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_what_a_crash_left_is_read_with_its_log(tmp_path, kind, has_shared_memory):
    site = Site(tmp_path / "ann", kind)
    worker = site.worker(time.time())
    worker.put("INBOX", WIRE)
    suffixes = ["", "-wal"] + ["-shm"] * has_shared_memory
    paths = [site.home / f"imapd-index.sqlite{suffix}" for suffix in suffixes]
    data = [path.read_bytes() for path in paths]
    worker.store.close()
    for path, octets in zip(paths, data, strict=True):
        path.write_bytes(octets)
    before = listing(tmp_path)
    report = site.verify(hashing=True)
    assert (report.findings, report.messages) == ([], 7)
    assert listing(tmp_path) == before
    assert site.repair().mended == []
