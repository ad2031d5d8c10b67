"""The same UID lists, read by a real Dovecot and by us; and folders whose names are in UTF-8 on disk."""

import pytest

from tests.clients.conftest import message
from tests.clients.test_moving import House, same, seen_by
from tests.support.dovecot import Dovecot, give, open_folder

NAMES = ("3.a:2,S", "1.b:2,", "2.c:2,F")

# Lists for those three files in which nothing is wrong, and one more that has no line.
SOUND = {
    "version 1": "1 77 50\n7 3.a\n9 1.b\n30 2.c\n",
    "version 3": "3 V77 N50 G3085f01b7f11094c501100008c4a11c1\n7 :3.a\n9 W99 :1.b\n30 :2.c\n",
    "names with flags": "3 V77 N50 G3085f01b7f11094c501100008c4a11c1\n7 :3.a:2,\n9 :1.b:2,\n30 :2.c:2,S\n",
    "appended lines": "3 V77 N8 G3085f01b7f11094c501100008c4a11c1\n7 :3.a\n9 :1.b\n30 :2.c\n",
    "lines of what is gone": "3 V77 N50\n1 :gone\n7 :3.a\n8 :lost\n9 :1.b\n30 :2.c\n40 :away\n",
    "a file that came back": "3 V77 N50 G3085f01b7f11094c501100008c4a11c1\n7 :3.a\n9 :1.b\n30 :2.c\n31 :3.a\n",
    "other fields": "3 V77 Xnew N50 G3085f01b7f11094c501100008c4a11c1\n7 Pabc O1 :3.a\n9 :1.b\n30 Zz :2.c\n",
    "a file without a line": "3 V77 N50 G3085f01b7f11094c501100008c4a11c1\n7 :3.a\n9 :1.b\n",
}


@pytest.fixture(scope="module")
def folder():
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def house(folder):
    """The two servers, both up, each with a copy of the mail."""
    house = House(folder, "")
    house.imapd.people |= {f"user{number}": "secret" for number in range(len(SOUND))}
    house.imapd.write_people()
    house.dovecot = Dovecot(folder / "other", "maildir:{mail}/%u")
    for number, listed in enumerate(SOUND.values()):
        for mail in (house.imapd.folder / "mail", house.dovecot.mail):
            home = mail / f"user{number}"
            for part in ("tmp", "new", "cur"):
                (home / part).mkdir(parents=True)
            for name in NAMES:
                (home / "cur" / name).write_bytes(message(int(name[0])).replace(b"\r\n", b"\n"))
            (home / "dovecot-uidlist").write_text(listed)
    with house.served_by(house.imapd):
        give(house.dovecot.mail)
        with house.served_by(house.dovecot):
            yield house


@pytest.mark.parametrize("what", SOUND)
def test_both_read_the_same(house, what):
    name = f"user{list(SOUND).index(what)}"
    found = []
    for server in (house.imapd, house.dovecot):
        with server.login(name) as client:
            numbers = [line for line in client.ok("SELECT INBOX") if b"UIDVALIDITY" in line or b"UIDNEXT" in line]
            messages = client.ok("FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            found.append((sorted(line.split(b"]")[0] for line in numbers), messages))
    assert found[0] == found[1]


def test_folders_in_utf_8():
    with open_folder() as folder:
        house = House(folder, "")
        dovecot = Dovecot(folder / "utf8", f"maildir:{house.maildir}:UTF-8", port=house.imapd.port)
        with house.served_by(dovecot), dovecot.login() as client:
            for number, name in enumerate(('"Entw&APw-rfe.R&-D"', '"&U,BTFw-"')):
                client.ok(f"CREATE {name}")
                client.ok(f"SUBSCRIBE {name}")
                client.append(name, message(number), r"\Seen")
        assert (house.maildir / ".台北").exists()
        with house.served_by(dovecot):
            before = seen_by(dovecot)
        with house.served_by(house.imapd):
            same(seen_by(house.imapd), before)
        house.export()
        with house.served_by(dovecot):
            same(seen_by(dovecot), before)
