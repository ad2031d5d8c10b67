"""The indexer as a process: it renders what workers tell it of, and looks at all accounts in the background."""

import os
import re
import socket
import sys
import time

import pytest

from imapd.mailstore.background import MUCH, Wish
from imapd.server.indexer import asking, make_channel
from tests.clients.conftest import message
from tests.support.daemon import Daemon

HURRIED = [sys.executable, "-m", "tests.server.hurried"]


def wait_for(daemon, pattern, seconds=30):
    end = time.monotonic() + seconds
    while not (found := re.findall(pattern, daemon.log())):
        assert time.monotonic() < end, daemon.log()
        time.sleep(0.02)
    return found


def deliver_many(daemon, count, name="anna"):
    home = daemon.maildir(name)
    for place in ("tmp", "new", "cur"):
        (home / place).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = home / "cur" / f"{1_600_000_000 + number}.M1P1.mx:2,S"
        path.write_bytes(message(number).replace(b"\r\n", b"\n"))


@pytest.fixture
def daemon(tmp_path):
    made = Daemon(tmp_path / "imapd", workers=1, level="debug")
    yield made
    made.stop()
    assert not made.tracebacks()


def test_a_mailbox_with_many_messages_is_rendered_by_the_indexer(daemon):
    deliver_many(daemon, MUCH + 100)
    deliver_many(daemon, 5, "ben")
    daemon.start()
    with daemon.login("ben") as client:
        client.ok("SELECT INBOX")
    with daemon.login("anna") as client:
        client.ok("SELECT INBOX")
        (count,) = wait_for(daemon, r" rendered mail_file=\S+/anna mailbox=INBOX messages=(\d+)")
        assert int(count) == MUCH + 100
        (path,) = [path for path in (daemon.maildir() / "imapd-cache").iterdir() if path.suffix != ".columns"]
        before = path.stat().st_size
        assert len(client.ok("FETCH 1:* (ENVELOPE BODYSTRUCTURE)")) == MUCH + 100
        assert path.stat().st_size == before  # nothing was missing
    assert "/ben mailbox" not in daemon.log()  # what is little is done where it is


def test_what_is_wished_while_there_is_no_indexer_is_done_by_the_next_one(daemon):
    deliver_many(daemon, MUCH)
    daemon.start()
    (indexer,) = daemon.indexers()
    os.kill(indexer, 19)  # SIGSTOP: it hears nothing any more
    with daemon.login() as client:
        client.ok("SELECT INBOX")
        os.kill(indexer, 9)
        wait_for(daemon, r" rendered mail_file=\S+/anna mailbox=INBOX messages=500")
    assert indexer not in daemon.indexers()


def test_a_wish_that_cannot_be_told_is_not_waited_for():
    ours, theirs = make_channel()
    ask = asking(theirs)
    wish = Wish("/mail/anna", "INBOX", 1, 2)
    told = 0
    while ask(wish):
        told += 1
    assert told > 100
    assert len([ours.recv(1000) for _ in range(told)]) == told and ask(wish)
    assert not ask(Wish("/mail/anna", "x" * 10_000_000, 1, 2))
    ours.close()
    assert not ask(wish)
    theirs.close()
    assert isinstance(ours, socket.socket)


def test_the_audit_tells_the_log_what_is_wrong_and_whose_it_is(tmp_path):
    daemon = Daemon(tmp_path / "imapd", workers=1, mail="[audit]\nbudget = 100M\n")
    daemon.start()
    with daemon.login("anna") as client:
        client.append("INBOX", message(1))
        client.ok("SELECT INBOX")
    with daemon.login("ben") as client:
        client.append("INBOX", message(1))
    daemon.stop()
    home = daemon.maildir("anna")
    (path,) = (home / "cur").iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    (home / "imapd-cache").mkdir(exist_ok=True)
    (home / "imapd-cache" / "99-99").write_bytes(b"stale")
    daemon.program = HURRIED
    daemon.start()
    try:
        wait_for(daemon, "audit_ended .*accounts=2 messages=2 found=1 mended=1")
        found = wait_for(daemon, "warning audit_found .*")
        assert len(found) == 1 and f"mail_file={home} " in found[0] and "mailbox=INBOX uid=1" in found[0]
        assert f"imapd repair {home}" in found[0] and "owner=" in found[0]
        assert len(wait_for(daemon, r"audit_mended .*imapd-cache/99-99")) == 1
        assert (daemon.folder / "state" / "audit").exists()
        with daemon.login("anna") as client:
            client.ok("SELECT INBOX")
    finally:
        daemon.stop()
    assert not daemon.tracebacks()
