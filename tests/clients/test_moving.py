"""Moving in and out: a mail program notices nothing when one server takes the place of another.

mbsync keeps the UIDs, flags and texts that it saw. It synchronises with one server; another one takes its place, on the
same port and with the same mail files; and then there must be nothing to do, and not an octet of its own files changes.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.clients.conftest import deliver, message
from tests.clients.mbsyncrc import mbsyncrc
from tests.support.courier import Courier
from tests.support.daemon import Daemon
from tests.support.dovecot import Dovecot, give, open_folder

# Maildir has letters for 26 keywords, and Dovecot keeps further ones in its own indexes alone.
NO_LETTER = frozenset({b"k26", b"k27"})


class House:
    """One person's mail, the servers that serve it by turns, and his mbsync."""

    def __init__(self, folder, command):
        self.imapd = Daemon(folder / "imapd")
        self.maildir = self.imapd.maildir("anna")
        self.dovecot = Dovecot(folder / "dovecot", f"maildir:{self.imapd.folder}/mail/%u", port=self.imapd.port)
        self.near = folder / "near"
        self.near.mkdir()
        self._configuration = folder / "mbsyncrc"
        self._configuration.write_text(mbsyncrc(self.imapd.port, self.near, expunge="None"))
        self._command = command
        self._home = folder
        self.maildir.parent.mkdir()

    def mbsync(self):
        """Synchronise; what there was to do."""
        done = subprocess.run(
            [self._command, "-V", "-c", str(self._configuration), "-a"],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "HOME": str(self._home)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def nearby(self):
        """All files of mbsync, those in which it remembers UIDs among them."""
        return {path.relative_to(self.near): path.read_bytes() for path in self.near.rglob("*") if path.is_file()}

    @contextlib.contextmanager
    def served_by(self, server):
        give(self.maildir.parent)  # Dovecot serves no mail of root's
        server.start()
        try:
            yield
        finally:
            server.stop()

    def put(self, folder, number):
        """Deliver a message, as the system does."""
        deliver(self.maildir / folder, message(number).replace(b"\r\n", b"\n"))
        give(self.maildir)

    def export(self):
        done = subprocess.run(
            [sys.executable, "-m", "imapd", "export-uidlist", "anna", "-c", str(self.imapd.folder / "imapd.ini")],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def nothing_to_do(self):
        before = self.nearby()
        said = self.mbsync()
        assert said.count("Opening far side box") == len(
            {path.parent for path in before if path.name == ".mbsyncstate"}
        )
        assert self.nearby() == before, said
        return said


@pytest.fixture
def house(program):
    with open_folder() as folder:
        yield House(folder, program("mbsync"))


def furnish(house):
    """Mail of all kinds, made by a client of Dovecot, by deliveries, and by mbsync."""
    with house.dovecot.login() as client:
        for name in ("Sent", "Work.2024", '"Entw&APw-rfe"', '"a b"', "Empty"):
            client.ok(f"CREATE {name}")
        for name in ("INBOX", "Work.2024", '"Entw&APw-rfe"'):
            client.ok(f"SUBSCRIBE {name}")
        for number in range(1, 8):
            client.append("INBOX", message(number))
        client.append("INBOX", message(8), r"\Seen \Flagged $Forwarded work")
        client.append("Work.2024", message(9), r"\Draft")
        client.append("Sent", message(10), r"\Seen")
        client.append('"Entw&APw-rfe"', message(11), r"\Answered " + " ".join(f"k{i}" for i in range(28)))
        client.ok("SELECT INBOX")
        client.ok(r"STORE 1,4 +FLAGS.SILENT (\Deleted)")
        client.ok("UID EXPUNGE 1")
        client.ok(r"STORE 5 +FLAGS.SILENT (\Answered)")
    house.put("", 12)
    deliver(house.near / "Sent", message(13).replace(b"\r\n", b"\n"))


def seen_by(server):
    """What a client sees: mailboxes and subscriptions, their UIDs, and of each message UID, flags, date, size, text."""
    with server.login("anna") as client:
        (namespace,) = client.ok("NAMESPACE")
        _, prefix, _, separator, _ = namespace.split(b'"', 4)
        ours = lambda name: name.removeprefix(prefix).replace(separator, b"/")  # noqa: E731
        names = {listed_name(line) for line in client.ok('LIST "" *') if b"oselect" not in line}
        subscribed = {listed_name(line) for line in client.ok('LSUB "" *') if b"oselect" not in line}
        seen = {}
        for name in names:
            (status,) = client.ok(b'STATUS "%b" (UIDVALIDITY UIDNEXT)' % name)
            there = b"* 0 EXISTS" not in client.ok(b'EXAMINE "%b"' % name)
            fetched = client.ok("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])") if there else []
            seen[ours(name)] = dict(re.findall(rb"(UID[A-Z]+) (\d+)", status)), [parsed(one) for one in fetched]
    return {ours(name) for name in subscribed}, seen


def same(found, expected):
    """Whether two views are the same; what differs is told shortly."""
    assert found[0] == expected[0]
    assert found[1].keys() == expected[1].keys()
    for name, (numbers, messages) in expected[1].items():
        assert (name, found[1][name][0]) == (name, numbers)
        assert [message[:4] for message in found[1][name][1]] == [message[:4] for message in messages], name
        assert found[1][name][1] == messages, name


def listed_name(line):
    return line.split(b'" ', 1)[1].strip(b'"')


def parsed(response):
    flags = frozenset(re.search(rb"FLAGS \(([^)]*)\)", response)[1].split()) - NO_LETTER - {b"\\Recent"}
    words = [re.search(pattern, response)[1] for pattern in (rb"UID (\d+)", rb'INTERNALDATE "([^"]*)"', rb"SIZE (\d+)")]
    return flags, *words, response.partition(b"\r\n")[2].rstrip(b")")


def test_from_dovecot_and_back(house):
    with house.served_by(house.dovecot):
        furnish(house)
        house.mbsync()
        house.nothing_to_do()
        house.put("", 14)
        house.put(".Sent", 15)
        with house.dovecot.login() as client:
            client.ok("STATUS Sent (UIDNEXT)")
        before = seen_by(house.dovecot)
        house.mbsync()
        house.nothing_to_do()

    with house.served_by(house.imapd):
        same(seen_by(house.imapd), before)
        house.nothing_to_do()
        with house.imapd.login("anna") as client:
            client.append("INBOX", message(20), r"\Flagged")
            client.append("Sent", message(21))
            client.ok("CREATE New/Deep")
            client.append("New/Deep", message(22), r"\Seen project")
            client.ok("SUBSCRIBE New/Deep")
            client.ok("SELECT INBOX")
            client.ok(r"STORE 1 +FLAGS.SILENT (\Deleted)")
            client.ok(r"STORE 2 +FLAGS.SILENT (\Seen later)")
            client.ok("EXPUNGE")
            client.ok("DELETE Empty")
            client.ok('RENAME "a b" "c d"')
        house.put("", 23)
        changed = seen_by(house.imapd)
    # with the daemon down, so that nothing comes in behind it
    assert house.export() == f"{house.maildir}: 16 messages in 6 mailboxes\n"

    with house.served_by(house.dovecot):
        same(seen_by(house.dovecot), changed)
        house.mbsync()
        texts = b"".join(house.nearby().values())
        assert all(b"Text of number %d." % number in texts for number in (20, 21, 22, 23))
        house.nothing_to_do()
        with house.dovecot.login() as client:
            client.append("INBOX", message(24))
            client.ok("CREATE Last")
        again = seen_by(house.dovecot)
        uidvalidities = [numbers[b"UIDVALIDITY"] for numbers, _ in again[1].values()]
        assert len(set(uidvalidities)) == len(uidvalidities)
    assert not house.dovecot.complaints()

    with house.served_by(house.imapd):
        same(seen_by(house.imapd), again)
        house.mbsync()
        house.nothing_to_do()
        assert not house.imapd.tracebacks()


def test_from_courier_and_back(house):
    courier = Courier(house.maildir, house.imapd.port)
    with house.served_by(courier):
        with courier.login() as client:
            for name in ("INBOX.Sent", "INBOX.Work.2024", '"INBOX.Entw&APw-rfe"', "INBOX.Empty"):
                client.ok(f"CREATE {name}")
            for name in ("INBOX", "INBOX.Work.2024", '"INBOX.Entw&APw-rfe"'):
                client.ok(f"SUBSCRIBE {name}")
            for number in range(1, 5):
                client.append("INBOX", message(number))
            client.append("INBOX", message(5), r"\Seen \Flagged $Forwarded work")
            client.append("INBOX.Work.2024", message(6), r"\Draft work")
            client.append('"INBOX.Entw&APw-rfe"', message(7), r"\Answered")
            client.ok("SELECT INBOX")
            client.ok(r"STORE 1,3 +FLAGS (\Deleted)")
            client.ok("UID EXPUNGE 1")
            client.ok(r"STORE 1 +FLAGS (later)")
        house.put("", 8)
        deliver(house.near / "Sent", message(9).replace(b"\r\n", b"\n"))
        house.mbsync()
        house.nothing_to_do()
        before = seen_by(courier)

    with house.served_by(house.imapd):
        same(seen_by(house.imapd), before)
        house.nothing_to_do()
        with house.imapd.login("anna") as client:
            client.append("INBOX", message(20), r"\Flagged")
            client.ok("SELECT INBOX")
            client.ok(r"STORE 1 +FLAGS.SILENT (\Seen \Deleted)")
            client.ok(r"STORE 2 -FLAGS.SILENT (\Deleted)")
            client.ok("EXPUNGE")
        house.put(".Sent", 21)
        house.mbsync()
        changed = seen_by(house.imapd)
    house.export()

    with house.served_by(courier):
        found = seen_by(courier)
        same(found, changed)
        house.nothing_to_do()


def test_from_an_mbox_of_dovecot_and_back(house):
    mail = house.maildir
    mail.mkdir()
    (mail / "inbox").touch()
    dovecot = Dovecot(house.near.parent / "mboxes", f"mbox:{mail}:INBOX={mail}/inbox", port=house.imapd.port)
    with house.served_by(dovecot):
        with dovecot.login() as client:
            for name in ("Sent", "Work/2024", '"Entw&APw-rfe"'):  # an empty mbox holds no UIDVALIDITY
                client.ok(f"CREATE {name}")
            for name in ("INBOX", "Work/2024", '"Entw&APw-rfe"'):
                client.ok(f"SUBSCRIBE {name}")
            for number in range(1, 6):
                client.append("INBOX", message(number))
            client.append("INBOX", message(6), r"\Seen \Flagged $Forwarded work")
            client.append("Work/2024", message(7), r"\Draft work")
            client.append('"Entw&APw-rfe"', message(8), r"\Answered")
            client.ok("SELECT INBOX")
            client.ok(r"STORE 1,4 +FLAGS.SILENT (\Deleted)")
            client.ok("UID EXPUNGE 1")
        deliver(house.near / "Sent", message(9).replace(b"\r\n", b"\n"))
        house.mbsync()
        house.nothing_to_do()
        before = seen_by(dovecot)

    with house.served_by(house.imapd):
        same(seen_by(house.imapd), before)
        house.nothing_to_do()
        with house.imapd.login("anna") as client:
            client.append("INBOX", message(20), r"\Flagged")
            client.append("Sent", message(21))
            client.ok("SELECT INBOX")
            client.ok(r"STORE 1 +FLAGS.SILENT (\Deleted)")
            client.ok(r"STORE 2 +FLAGS.SILENT (\Seen later)")
            client.ok("EXPUNGE")
        house.mbsync()
        changed = seen_by(house.imapd)
    house.export()
    for path in [*mail.glob("imapd*"), *mail.rglob(".*.imapd-redo*")]:
        # what lies beside mboxes is a mailbox for Dovecot
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    with house.served_by(dovecot):
        same(seen_by(dovecot), changed)
        house.nothing_to_do()
    # Its indexes know where messages began; it says so, and looks at the whole file.
    assert all("unexpectedly corrupted in mbox" in line for line in dovecot.complaints())


QUOTA = """
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=1M
}
"""


def test_the_quota_of_dovecot_goes_on_counting(house):
    dovecot = Dovecot(house.near.parent / "quota", f"maildir:{house.maildir}", QUOTA, port=house.imapd.port)

    def used():
        with house.served_by(dovecot), dovecot.login() as client:
            return client.ok("GETQUOTAROOT INBOX")[-1]

    with house.served_by(dovecot), dovecot.login() as client:
        for number in range(4):
            client.append("INBOX", message(number) * 20)
    kept = house.maildir / "maildirsize"
    began = kept.read_bytes()
    with house.served_by(house.imapd), house.imapd.login("anna") as client:
        client.append("INBOX", message(5) * 30)
        client.ok("SELECT INBOX")
        client.ok(r"STORE 1 +FLAGS.SILENT (\Deleted)")
        client.ok("EXPUNGE")
    assert kept.read_bytes().startswith(began) and kept.read_bytes() != began  # what was there, and more lines
    after = used()
    kept.unlink()  # counted anew
    assert used() == after
