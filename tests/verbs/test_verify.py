"""`imapd verify` and `imapd repair` as an administrator types them, beside the running daemon."""

import subprocess
import sys

import pytest

from tests.clients.conftest import message
from tests.mailstore.test_verify import listing
from tests.support.daemon import Daemon


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path / "imapd", workers=1)
    daemon.start()
    yield daemon
    daemon.stop()
    assert not daemon.tracebacks()


def imapd(daemon, *words):
    command = [sys.executable, "-m", "imapd", *words, "-c", str(daemon.folder / "imapd.ini")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def message_file(daemon, name="anna"):
    (path,) = (daemon.maildir(name) / "cur").iterdir()
    return path


def test_a_sound_account_is_said_to_be_so_and_not_touched(daemon):
    with daemon.login("anna") as client:
        client.append("INBOX", message(1))
        client.ok("SELECT INBOX")
        client.ok("FETCH 1 (FLAGS BODYSTRUCTURE)")
        size = client.ok("FETCH 1 RFC822.SIZE")[0].rpartition(b" ")[2].strip(b")").decode()
        before = listing(daemon.maildir("anna"))
        code, said = imapd(daemon, "verify", "anna", "--hashes")
        home = daemon.maildir("anna")
        assert (code, said) == (0, f"{home}: 1 messages in 5 mailboxes, {size}, 1 had no hash: 0 found wrong\n")
        assert listing(home) == before
    assert imapd(daemon, "verify", "--all")[0] == 0


def test_damage_is_mended_under_a_client(daemon):
    with daemon.login("anna") as client:
        client.append("INBOX", message(1))
        client.ok("SELECT INBOX")
        home = daemon.maildir("anna")
        (home / "imapd-floors").unlink()
        (home / "imapd-uids").unlink()
        code, said = imapd(daemon, "verify", "anna")
        assert code == 1 and f"{home}: 'INBOX' '{home}/imapd-uids': the record of UIDs is missing" in said
        code, said = imapd(daemon, "repair", "--all")
        assert code == 0 and f"{home}: mended: 'INBOX' '{home}/imapd-uids': the record" in said
        assert said.rstrip().endswith("mended, 0 left")
        assert imapd(daemon, "repair", "anna") == (
            0,
            said.splitlines()[-1].rpartition(": ")[0] + ": 0 mended, 0 left\n",
        )
        assert client.ok("UID FETCH 1:* FLAGS")


def test_a_text_that_changed_is_never_mended(daemon):
    with daemon.login("anna") as client:
        client.append("INBOX", message(1))
        client.ok("SELECT INBOX")
    code, said = imapd(daemon, "repair", "anna", "--hashes")
    assert code == 0 and "1 had no hash" in said
    path = message_file(daemon)
    path.write_bytes(path.read_bytes().swapcase())
    assert imapd(daemon, "verify", "anna")[0] == 0
    for verb in ("verify", "repair"):
        code, said = imapd(daemon, verb, "anna", "--hashes")
        assert code == 1 and "UID 1" in said and "put it back from a backup" in said
    assert imapd(daemon, "repair", "anna", "--accept")[0] == 2
    assert imapd(daemon, "repair", "anna", "--hashes", "--accept")[0] == 0
    assert imapd(daemon, "verify", "anna", "--hashes")[0] == 0


def test_a_lost_index_keeps_uids_and_special_uses(daemon):
    with daemon.login("anna") as client:
        client.append("Sent", message(1))
        before = client.ok("STATUS Sent (UIDVALIDITY MESSAGES)")
    daemon.stop()
    home = daemon.maildir("anna")
    (home / "imapd-index.sqlite").unlink()
    code, said = imapd(daemon, "verify", "--all")
    assert code == 1 and "the index is gone; repair, or the next login, makes a new one" in said
    assert imapd(daemon, "repair", "--all")[0] == 0
    daemon.start()
    with daemon.login("anna") as client:
        assert client.ok("STATUS Sent (UIDVALIDITY MESSAGES)") == before
        assert b"\\Sent" in b"".join(client.ok('LIST (SPECIAL-USE) "" *'))


def test_an_mbox_is_found_with_the_folder_beside_it(tmp_path):
    daemon = Daemon(tmp_path / "imapd", workers=1, mail="format = mbox\n")
    (daemon.folder / "mail").mkdir()
    (daemon.folder / "mail" / "anna").write_bytes(
        b"From bob@example.org Mon Nov 23 10:00:00 2026\nSubject: one\n\nHi\n"
    )
    daemon.start()
    try:
        with daemon.login("anna") as client:
            client.ok("SELECT INBOX")
            client.ok("CREATE Work")
            client.append("Work", message(1))
        home = daemon.folder / "mail" / "anna"
        (home.with_name("anna.folders") / "imapd-uidvalidity").unlink()
        for verb, result in (("verify", "1 found wrong"), ("repair", "1 mended, 0 left"), ("verify", "0 found wrong")):
            code, said = imapd(daemon, verb, "--all")
            assert said.splitlines()[-1].startswith(f"{home}: 2 messages in ") and said.rstrip().endswith(result)
            assert code == (result == "1 found wrong")
    finally:
        daemon.stop()


def test_a_mail_file_may_be_named_by_its_path(daemon):
    with daemon.login("anna") as client:
        client.append("INBOX", message(1))
    home = daemon.maildir("anna")
    assert imapd(daemon, "verify", str(home)) == imapd(daemon, "verify", "anna")
    assert imapd(daemon, "repair", f"{home}/")[0] == 0
    for path in (home / "..", "/etc", home / ".." / ".." / "anna"):
        code, said = imapd(daemon, "verify", str(path))
        assert code == 1 and "is not below [mail] root" in said


def test_what_is_said_of_others(daemon):
    assert imapd(daemon, "verify", "nobody") == (1, "imapd verify: no directory knows nobody\n")
    code, said = imapd(daemon, "verify", "ben")
    assert code == 1 and "there is no mail file" in said
    assert imapd(daemon, "repair")[0] == 2
    assert imapd(daemon, "repair", "--all") == (0, "")
