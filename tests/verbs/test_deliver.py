"""`imapd deliver`: a message from a pipe, and every exit code."""

import contextlib
import mailbox
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.verbs.conftest import Site

ROOT = Path(__file__).parents[2]
TEXT = b"From: a@b\nSubject: x\n\nline\n"


@pytest.fixture
def site(tmp_path):
    """A configuration with anna and ben; no daemon runs."""
    return Daemon(tmp_path, {"anna": "secret", "ben": "secret"})


def deliver(site, *arguments, text=TEXT):
    """Exit code, and what was said."""
    command = [sys.executable, "-m", "imapd", "deliver", *arguments, "-c", str(site.folder / "imapd.ini")]
    done = subprocess.run(command, input=text, capture_output=True, timeout=60)
    assert done.stdout == b"" and b"Traceback" not in done.stderr, done.stderr
    assert done.stderr.count(b"\n") == (0 if done.returncode == 0 else 1), done.stderr
    return done.returncode, done.stderr.decode()


def settings(site, text):
    with open(site.folder / "imapd.ini", "a") as file:
        file.write(text)


def stored(site, name="anna", folder=""):
    return [path.read_bytes() for path in sorted((site.maildir(name) / folder / "cur").iterdir())]


def test_a_message_is_delivered_without_a_daemon(site):
    assert deliver(site, "anna@example.org", "-f", "me@example.net") == (0, "")
    above = b"Return-Path: <me@example.net>\nDelivered-To: anna@example.org\n"
    assert stored(site) == [above + TEXT]
    assert (site.maildir() / "imapd-owner").read_text() == "people/uid=anna,dc=example,dc=org\n"


def test_the_message_is_described_before_anybody_asks(site):
    assert deliver(site, "anna", text=b"Subject: found-without-asking\n\nx\n") == (0, "")
    kept = [path.read_bytes() for path in (site.maildir() / "imapd-cache").iterdir()]
    assert any(b"found-without-asking" in text for text in kept)


def test_an_mbox(site):
    path = site.folder / "imapd.ini"
    path.write_text(path.read_text().replace("create = yes", "create = yes\nformat = mbox"))
    for number in range(2):
        assert deliver(site, "anna", "-f", "a@b", text=b"Subject: %d\n\nline\n" % number) == (0, "")
    with contextlib.closing(mailbox.mbox(site.maildir() / "inbox", create=False)) as box:
        assert [message["Subject"] for message in box] == ["0", "1"]
        assert box[1]["Return-Path"] == "<a@b>"


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        (b"From me@b.example Mon Nov 23\n" + TEXT, (), b"Return-Path: <me@b.example>\nDelivered-To: anna\n" + TEXT),
        (b"From MAILER-DAEMON Mon\n" + TEXT, (), b"Return-Path: <>\nDelivered-To: anna\n" + TEXT),
        (TEXT.replace(b"\n", b"\r\n"), (), b"Delivered-To: anna\n" + TEXT),
        (TEXT, ("-f", ""), b"Return-Path: <>\nDelivered-To: anna\n" + TEXT),
        (b"Return-Path: <old@b>\n" + TEXT, ("-f", "new@b"), b"Return-Path: <new@b>\nDelivered-To: anna\n" + TEXT),
        (TEXT, ("-r", "anna@example.net"), b"Delivered-To: anna@example.net\n" + TEXT),
    ],
)
def test_what_a_pipe_brings(site, text, arguments, expected):
    assert deliver(site, "anna", *arguments, text=text) == (0, "")
    assert stored(site) == [expected]


def test_mailboxes(site):
    for arguments, folder in (
        (("anna+Sent@example.org",), ".Sent"),
        (("anna+New@example.org",), ""),
        (("anna", "-m", "Junk"), ".Junk"),
        (("anna", "-m", "New/Deep", "--create"), ".New.Deep"),
        (("anna+Other", "--create"), ".Other"),
    ):
        before = len(stored(site, folder=folder)) if (site.maildir() / folder / "cur").is_dir() else 0
        assert deliver(site, *arguments) == (0, "")
        assert len(stored(site, folder=folder)) == before + 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nobody@example.org",), 67, "5.1.1 imapd deliver: Nobody here has that address"),
        (("anna", "-m", "Nowhere"), 73, "5.2.0 imapd deliver: There is no such mailbox"),
        ((), 64, "4.3.5 imapd deliver: The command line cannot be used: the following arguments are required: USER"),
        (("anna", "--nonsense"), 64, "4.3.5 imapd deliver: The command line cannot be used: unrecognized arguments:"),
        (("an\nna",), 64, "4.3.5 imapd deliver: The command line cannot be used: 'an\\nna' has characters"),
    ],
)
def test_what_cannot_be(site, arguments, code, said):
    exit_code, line = deliver(site, *arguments)
    assert exit_code == code and line.startswith(said), line


def test_people_whose_mail_is_elsewhere_or_whose_account_is_closed(site):
    with open(site.folder / "people.ldif", "a") as file:
        for name, line in (("carl", "mailHost: other.example.net"), ("dora", "shadowExpire: 1")):
            file.write(f"\ndn: uid={name},dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: {name}\n{line}\n")
    assert deliver(site, "carl") == (67, "5.1.6 imapd deliver: The mail of that person is on another server\n")
    assert deliver(site, "dora") == (0, "")
    settings(site, "[delivery]\nclosed_accounts = bounce\n")
    assert deliver(site, "dora") == (67, "5.2.1 imapd deliver: The account is closed\n")


def test_messages_that_are_none_or_too_large(site):
    assert deliver(site, "anna", text=b"") == (65, "5.6.0 imapd deliver: The message is empty\n")
    settings(site, "[delivery]\nmessage_limit = 1k\n")
    assert deliver(site, "anna", text=b"x" * 1025) == (65, "5.3.4 imapd deliver: The message is too large\n")


def test_a_full_mail_file(site):
    settings(site, "[quota]\nmessages = 1\n")
    assert deliver(site, "anna")[0] == 0
    code, line = deliver(site, "anna")
    assert code == 75 and line.startswith("4.2.2 imapd deliver: The mail file is full")
    settings(site, "[delivery]\nover_quota = bounce\n")
    assert deliver(site, "anna") == (73, "5.2.2 imapd deliver: The mail file is full\n")


def test_a_configuration_that_cannot_be_used_keeps_the_message_with_the_agent(site):
    settings(site, "nonsense = yes\n")
    code, line = deliver(site, "anna")
    assert (
        code == 75 and line.startswith("4.3.5 imapd deliver: The configuration cannot be used: ") and "nonsense" in line
    )
    os.unlink(site.folder / "imapd.ini")
    assert deliver(site, "anna")[0] == 75


def test_a_directory_that_does_not_answer(site):
    path = site.folder / "imapd.ini"
    ldap = 'type = ldap\n  uri = ldap://127.0.0.1:1\n  base = "o=x"\n'
    path.write_text(path.read_text().replace("type = ldif\n  file = people.ldif\n", ldap))
    code, line = deliver(site, "anna")
    assert code == 75 and line.startswith("4.3.0 imapd deliver: The directory of people does not answer: "), line


def from_ldap(ldap_site, name):
    """Exit code, and the line, of a delivery at a site with LDAP servers."""
    command = [sys.executable, "-m", "imapd", "deliver", name, "-c", str(ldap_site.folder / "imapd.ini")]
    done = subprocess.run(command, input=TEXT, capture_output=True, timeout=60)
    return done.returncode, done.stderr.decode()


def test_people_in_ldap(tmp_path, acme, clients):
    """Whoever is found by an address gets mail, also who may not log in."""
    ldap_site = Site(tmp_path, acme, clients)
    for name in ("ada", "ada@acme.example", "leaver+x@acme.example"):
        assert from_ldap(ldap_site, name) == (0, ""), name
    assert from_ldap(ldap_site, "nobody@acme.example")[0] == 67
    code, line = from_ldap(ldap_site, "Twin")
    assert code == 75 and line.startswith("4.1.4 imapd deliver: ")
    # The other server is down, and might know him.
    code, line = from_ldap(ldap_site, "ada@partner.example")
    assert code == 75 and line.startswith("4.3.0 imapd deliver: ")


def test_mail_files_that_cannot_be_opened(site):
    path = site.folder / "imapd.ini"
    path.write_text(path.read_text().replace("create = yes", "create = no"))
    (site.folder / "mail").mkdir()
    (site.folder / "state").mkdir()
    assert deliver(site, "anna")[0] == 75
    path.write_text(path.read_text().replace("create = no", "create = yes"))
    assert deliver(site, "anna")[0] == 0
    (site.maildir() / "imapd-owner").write_text("people/somebody else\n")
    code, line = deliver(site, "anna")
    assert code == 75 and line.startswith("4.2.1 imapd deliver: ")


@pytest.mark.skipif(os.getuid() != 0, reason="another user is needed")
def test_the_wrong_user():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        site = Daemon(Path(folder))
        path = site.folder / "imapd.ini"
        path.write_text(path.read_text().replace("[service]", "[service]\nuser = daemon"))
        # Where Python lies in root's home, another user could not start it.
        script = (
            "import os, encodings.utf_8_sig, imapd.cli, imapd.verbs.deliver, imapd.server.house, imapd.server.loop, imapd.directory.ldapconn\n"
            f"os.setuid(65534); raise SystemExit(imapd.cli.main(['deliver', 'anna', '-c', {str(path)!r}]))"
        )
        done = subprocess.run([sys.executable, "-c", script], input=TEXT, capture_output=True, timeout=60)
        assert done.returncode == 77, done.stderr
        assert done.stderr.startswith(b"4.3.5 imapd deliver: The delivery runs as the wrong user: "), done.stderr


def test_a_full_disk(tmp_path):
    mount = f"mount -t tmpfs -o size=1m none {tmp_path}/mail"
    Daemon(tmp_path)
    (tmp_path / "mail").mkdir()
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    script = f"""{mount} && cd {tmp_path}/mail
deliver() {{ {sys.executable} -m imapd deliver anna -c {tmp_path}/imapd.ini; echo $?; }}
echo Subject: first | deliver
head -c 3000000 /dev/zero | deliver
for size in 4096 64 1; do while head -c $size /dev/zero 2>/dev/null >> ballast; do :; done; done
head -c 100000 /dev/zero | deliver
rm ballast
ls anna/tmp
echo Subject: again | deliver
ls anna/cur | wc -l"""
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", "75", "75", "0", "2"], (done.stdout, done.stderr)
    refusals = [line for line in done.stderr.splitlines() if "imapd deliver" in line]
    assert [line[:5] for line in refusals] == ["4.3.1", "4.3.1"], refusals


def test_an_agent_that_gives_up_leaves_nothing(site):
    """SIGTERM before the message is whole."""
    assert deliver(site, "ben")[0] == 0
    command = [sys.executable, "-m", "imapd", "deliver", "ben", "-c", str(site.folder / "imapd.ini")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        # More than a pipe holds: when this is through, the delivery reads.
        process.stdin.write(b"Subject: half\n\n" + b"x" * 300_000)
        process.stdin.flush()
        process.terminate()
        assert process.wait(20) == 75
        assert process.stderr.read().startswith(b"4.3.0 ")
    assert len(stored(site, "ben")) == 1 and os.listdir(site.maildir("ben") / "tmp") == []
