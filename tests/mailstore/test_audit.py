"""The audit: every account is looked at once a round, at its pace, and nobody is held up by one who rests."""

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from imapd.mailstore import audit, findings, verify
from imapd.mailstore.audit import Audit, Pacer, Round, Terms
from imapd.mailstore.choice import Kinds
from imapd.mailstore.findings import Finding
from imapd.mailstore.index import Index
from tests.mailstore.maildirhouse import MAIL, Worker, deliver
from tests.support.loop import PlainLoop

MB = 1 << 20


class Told:
    """What the audit said. `ended` rounds; `at_end` is called with each."""

    def __init__(self) -> None:
        self.findings: list[tuple[str, findings.Fault]] = []
        self.removed: list[tuple[str, bytes]] = []
        self.failed: list[tuple[str, str]] = []
        self.rounds: list[Round] = []

    def found(self, mail_file: str, place: str, found: list[Finding]) -> None:
        assert Path(place).is_dir()
        self.findings += [(Path(mail_file).name, finding.fault) for finding in found]

    def mended(self, mail_file: str, finding: Finding) -> None:
        self.removed.append((Path(mail_file).name, finding.path))

    def not_looked_at(self, mail_file: str, reason: str) -> None:
        self.failed.append((Path(mail_file).name, reason))

    def ended(self, done: Round) -> None:
        self.rounds.append(done)


class Site:
    """A folder of mail files, and the audit of it. `waits` are the rests that the audit took, in seconds."""

    def __init__(self, folder: Path, kind: str = "maildir", **terms: object) -> None:
        self.folder = folder
        self.kinds = Kinds(kind, root=str(folder))
        self.terms = terms
        self.loop = PlainLoop(time.time())
        self.told = Told()
        self.waits: list[float] = []

    def person(self, name: str, messages: int = 3) -> Path:
        home = self.folder / name
        worker = Worker(home, PlainLoop(time.time()), kinds=self.kinds)
        worker.put("INBOX", *[b"Subject: %d\r\n\r\n%s\r\n" % (number, b"x" * 900) for number in range(messages)])
        worker.look()
        worker.loop.run_spawned()
        worker.store.close()
        return home

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.loop.advance(seconds)

    def audit(self, **terms: object) -> Audit:
        said = {"every": 86400.0, "budget": MB, **self.terms, **terms}
        return Audit(Terms(str(self.folder), self.kinds, **said), self.loop, self.wait, self.told)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "mail")


def damage(home: Path) -> None:
    """A text that somebody shortened, a count for the quota that is wrong, and finished answers of no mailbox."""
    path = next((home / "cur").iterdir(), None) or next((home / "new").iterdir())
    path.write_bytes(path.read_bytes()[:-5])
    index = Index.writer(os.fsencode(home / "imapd-index.sqlite"))
    with index.transaction():
        box = index.box_named("INBOX")
        assert box is not None
        index.update_box(box.id, octets=box.octets + 1000)
    index.close()
    (home / "imapd-cache" / "77-1234567").write_bytes(b"of a mailbox that is no more")


def test_what_is_read_is_paid_for_in_time():
    loop = PlainLoop()
    began, read = loop.monotonic(), 0
    pace = Pacer(MB, loop.monotonic, loop.advance)
    for octets in [300, 70_000, 5 * MB, 10, 512, MB] * 20:
        pace(octets)
        read += octets
        assert read <= (loop.monotonic() - began + 0.02) * MB
    assert read >= (loop.monotonic() - began) * MB * 0.999  # and no slower than that
    loop.advance(1000)  # who had nothing to read has saved nothing
    began = loop.monotonic()
    pace(2 * MB)
    assert loop.monotonic() - began == pytest.approx(2.0)


def test_damage_is_told_once_a_round_and_finished_answers_are_removed(site):
    home = site.person("anna")
    site.person("ben")
    damage(home)
    site.audit().finish_round()
    expected = {("anna", findings.SIZE), ("anna", findings.COUNT)}
    assert set(site.told.findings) == expected and len(site.told.findings) == 2
    stale = os.fsencode(home / "imapd-cache" / "77-1234567")
    assert site.told.removed == [("anna", stale)] and not os.path.exists(stale)
    (done,) = site.told.rounds
    assert (done.accounts, done.messages, done.found, done.mended) == (2, 6, 2, 1)
    site.audit().finish_round()
    assert site.told.findings[2:] == site.told.findings[:2] and len(site.told.removed) == 1


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_a_round_keeps_to_its_budget(tmp_path, kind):
    site = Site(tmp_path / "mail", kind)
    home = site.person("anna", 300)
    began = site.loop.monotonic()
    site.audit(budget=100_000).finish_round()
    assert not site.told.findings
    took = site.loop.monotonic() - began
    index = (home / "imapd-index.sqlite").stat().st_size
    mail = (home / "inbox").stat().st_size if kind == "mbox" else 0
    assert took * 100_000 >= index + mail + 300 * 512
    assert sum(site.waits) == pytest.approx(took)
    assert took * 100_000 <= 3 * (index + mail + 300 * 4_000)  # and what is read once is paid once


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_nothing_is_locked_or_open_while_it_rests(tmp_path, monkeypatch, kind):
    site = Site(tmp_path / "mail", kind)
    home = site.person("anna", 600)
    working = Worker(home, PlainLoop(time.time()), kinds=site.kinds)  # so that the index has a log, and locks
    working.put()
    opened: list[Index] = []
    rests = 0

    class Counted(Index):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            opened.append(self)

        def close(self) -> None:
            super().close()
            opened.remove(self)

    monkeypatch.setattr(verify, "Index", Counted)

    def wait(seconds: float) -> None:
        nonlocal rests
        rests += 1
        site.loop.advance(seconds)
        assert not opened
        for path in (home, home / "imapd.lock"):
            fd = os.open(path, os.O_RDONLY)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(fd)
        working.put()

    site.wait = wait  # type: ignore[method-assign]
    site.audit(budget=50_000).finish_round()
    assert rests > 3 and not site.told.findings and not site.told.failed
    working.store.close()


def test_a_restart_goes_on_behind_the_account_that_was_done(site, tmp_path):
    for name in ("anna", "ben", "cleo"):
        damage(site.person(name))
    state = tmp_path / "audit"

    class Killed(BaseException):
        pass

    def ended_there(home: str, place: str, found: list[Finding]) -> None:
        if Path(home).name == "ben":
            raise Killed
        Told.found(site.told, home, place, found)

    site.told.found = ended_there  # type: ignore[method-assign]
    broken_off = site.audit(state=str(state))
    broken_off._round = Round(site.loop.time(), ended=False)
    with pytest.raises(Killed):
        broken_off.finish_round()
    site.told = Told()
    site.audit(state=str(state)).finish_round()
    assert {name for name, _ in site.told.findings} == {"ben", "cleo"}
    (done,) = site.told.rounds
    assert done.accounts == 3 and json.loads(state.read_text())["ended"] is True


class Enough(Exception):
    """The test has seen what it wanted."""


def test_rounds_begin_when_they_are_due(site, tmp_path, monkeypatch):
    site.person("anna")
    state = str(tmp_path / "audit")
    begun: list[float] = []
    first = site.loop.time()

    def ended(done: Round) -> None:
        begun.append(done.began)
        if len(begun) == 3:
            raise Enough

    monkeypatch.setattr(site.told, "ended", ended)
    with pytest.raises(Enough):
        site.audit(state=state).run()
    assert [round(when - first) for when in begun] == [0, 86400, 2 * 86400]
    # A restart keeps to that.
    begun[:] = [0, 0]
    with pytest.raises(Enough):
        site.audit(state=state).run()
    assert round(begun[-1] - first) == 3 * 86400


@pytest.mark.parametrize("content", ["", "nonsense", "[]", "{}", '{"began": "x"}', '{"last": 7, "began": 1.0}'])
def test_a_state_that_makes_no_sense_begins_a_round(site, tmp_path, content):
    site.person("anna")
    state = tmp_path / "audit"
    state.write_text(content)
    site.audit(state=str(state)).finish_round()
    assert site.told.rounds[0].accounts == 1


def test_accounts_that_cannot_be_looked_at_are_told_and_passed_by(site):
    site.person("anna")
    site.person("ben")
    (site.folder / "anna" / "imapd-index.sqlite").unlink()
    (site.folder / "anna" / "imapd-index.sqlite").mkdir()
    site.audit().finish_round()
    assert [name for name, _ in site.told.failed] + [name for name, _ in site.told.findings] == ["anna"]
    assert site.told.rounds[0].accounts >= 1


def test_an_error_of_ours_is_logged_and_the_others_are_looked_at(site, monkeypatch, caplog):
    site.person("anna")
    site.person("ben")
    look = audit.verify

    def fails(root: bytes, *rest: object):
        return look(root, *rest) if root.endswith(b"ben") else 1 / 0

    monkeypatch.setattr(audit, "verify", fails)
    site.audit().finish_round()
    assert site.told.rounds[0].accounts == 1 and "anna" in caplog.text and "ZeroDivisionError" in caplog.text


def test_mail_that_nobody_has_opened_is_left_alone(site):
    site.person("anna")
    for place in ("cur", "new", "tmp"):
        (site.folder / "stranger" / place).mkdir(parents=True)
    deliver(site.folder / "stranger", MAIL)
    site.audit().finish_round()
    assert site.told.rounds[0].accounts == 1 and not (site.folder / "stranger" / "imapd-index.sqlite").exists()


def test_texts_are_read_at_a_pace_of_their_own(site):
    home = site.person("anna", 50)
    site.audit().finish_round()
    without = sum(site.waits)
    worker = Worker(home, PlainLoop(time.time()), kinds=site.kinds)
    before = site.audit()._manner
    worker.store.close()
    assert not before.hashing
    site.waits.clear()
    site.audit(text_budget=1_000).finish_round()
    octets = sum(path.stat().st_size for place in ("cur", "new") for path in (home / place).iterdir())
    assert sum(site.waits) - without == pytest.approx(octets / 1_000, rel=0.05)
