"""A real Dovecot and we serve the same mbox by turns: UIDVALIDITY, UIDs, flags, keywords and texts stay."""

import re
import shutil

import pytest

from imapd.mailstore.choice import Kinds
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import Worker
from tests.support.dovecot import Dovecot, give, open_folder

TEXT = b"Subject: %d\r\nFrom: ann@example.org\r\n\r\nText %d.\r\n>From me\r\n"


def shown(client) -> dict[int, tuple[int, frozenset[str]]]:
    """The mailbox as Dovecot shows it: UIDs, with the subjects and flags."""
    found = {}
    for line in client.ok("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"):
        if match := re.search(rb"UID (\d+).*FLAGS \((.*?)\).*Subject: (\d+)", line, re.DOTALL):
            flags = frozenset(match[2].decode().split()) - {"\\Recent"}
            found[int(match[1])] = int(match[3]), flags
    return found


def ours(worker) -> dict[int, tuple[int, frozenset[str]]]:
    flags, texts = worker.look(), worker.texts()
    return {uid: (int(re.search(rb"Subject: (\d+)", texts[uid])[1]), frozenset(flags[uid])) for uid in flags}


@pytest.fixture
def folder():
    with open_folder() as made:
        yield made


def test_dovecot_and_we_serve_one_mbox_by_turns(folder):
    with Dovecot(folder / "dovecot", mail_location="mbox:{mail}/%u") as server:
        home = server.mail / "anna"
        with server.login("anna") as client:
            for number in range(1, 6):
                client.append("INBOX", TEXT % (number, number))
            client.ok("SELECT INBOX")
            client.ok("STORE 1 +FLAGS (\\Seen $Work)")
            client.ok("STORE 2 +FLAGS (\\Answered \\Deleted)")
            client.ok("EXPUNGE")
            client.ok("STORE 3 +FLAGS (\\Flagged)")
            theirs = shown(client)
            status = b" ".join(client.ok("STATUS INBOX (UIDVALIDITY)"))
            uidvalidity = int(re.search(rb"UIDVALIDITY (\d+)", status)[1])
            client.ok("CLOSE")
        assert len(theirs) == 4
    mail = home / "inbox"
    shutil.rmtree(home / ".imap", ignore_errors=True)  # what counts is in the file
    worker = Worker(home, kinds=Kinds("mbox"))
    assert worker.ann.status("INBOX").uidvalidity == uidvalidity
    assert ours(worker) == theirs
    mailbox = worker.open()
    [first, *_, last] = theirs
    mailbox.change_flags([first], FlagChange.REMOVE, frozenset({"\\Seen"}))
    mailbox.change_flags([last], FlagChange.ADD, frozenset({"\\Draft", "Later", "\\Deleted"}))
    worker.put("INBOX", TEXT % (6, 6), flags=frozenset({"\\Seen"}))
    mailbox.expunge([last])
    mailbox.close()
    expected = ours(worker)
    worker.store.close()
    assert b"X-IMAPbase" in mail.read_bytes()
    for path in home.glob("imapd*"):
        path.unlink()
    give(home)
    again = Dovecot(folder / "dovecot", mail_location="mbox:{mail}/%u", port=server.port)
    with again, again.login("anna") as client:
        client.ok("SELECT INBOX")
        assert shown(client) == expected
        status = b" ".join(client.ok("STATUS INBOX (UIDVALIDITY)"))
        assert int(re.search(rb"UIDVALIDITY (\d+)", status)[1]) == uidvalidity
