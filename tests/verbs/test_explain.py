"""`imapd explain`: the way of a login, as it is told to an administrator."""

import os
import socket
import sqlite3
import time

import pytest

from tests.support.certificates import Authority


def password(site, text):
    path = site.folder / "typed"
    path.write_text(text + "\n")
    return ["--password-file", str(path)]


def test_somebody_who_gets_in_is_told_of_step_by_step(site):
    code, said = site.imapd("explain", "ada")
    assert code == 0, said
    steps = [line.split(". ", 1)[1] for line in said.splitlines() if line[:3].strip().isdigit()]
    assert "the name 'ada' is" in steps[0]
    assert any("(&(objectClass=inetOrgPerson)(|(uid=ada)(mail=ada)(cn=ada)))" in step for step in steps)
    assert any(step.startswith("acme: found 'uid=ada,ou=people,dc=acme,dc=example'") for step in steps)
    assert any("partner: not asked, it does not answer for such names" in step for step in steps)
    assert steps[-1].endswith("mail/ada: not there yet; it is made at the first login")
    assert "short name:        ada" in said and "GETS IN as acme/" in said
    assert not (site.folder / "mail" / "ada").exists()


def test_the_password_is_tried_where_it_is_given_and_never_shown(site):
    assert site.imapd("explain", "ada", *password(site, "secret"))[0] == 0
    code, said = site.imapd("explain", "ada", *password(site, "not-her-secret"))
    assert code == 1 and "DOES NOT GET IN: wrong password for 'uid=ada" in said
    assert "The client is told: NO [AUTHENTICATIONFAILED] Authentication failed." in said
    assert "not-her-secret" not in said
    code, said = site.imapd("explain", "ada", "--password-file", "-", stdin="secret\n")
    assert code == 0, said


def test_nothing_is_counted_and_nobody_waits(site):
    began = time.monotonic()
    for _ in range(5):
        assert "wrong password" in site.imapd("explain", "ben", *password(site, "guess"))[1]
    assert time.monotonic() - began < 25  # failure_delay is 30 s
    assert site.imapd("lockout", "list") == (0, "Nobody has failed to log in.\n")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody", "no directory that may answer for the name knows it"),
        ("twin", "the name is ambiguous in acme"),
        ("leaver", "denied access by"),
        ("", "the name is empty"),
        ("ada@elsewhere.example", "no directory that may answer for the name knows it"),
    ],
)
def test_the_true_reason_is_told(site, name, reason):
    code, said = site.imapd("explain", name)
    assert code == 1 and f"DOES NOT GET IN: {reason}" in said.replace(
        "'uid=leaver,ou=people,dc=acme,dc=example' in acme: ", ""
    )


def test_a_directory_that_is_down_is_named_and_the_other_one_is_not_asked(site):
    site.write(uri="ldap://127.0.0.1:1")
    code, said = site.imapd("explain", "ada")
    assert code == 1
    assert "DOES NOT GET IN for now: ldap://127.0.0.1:1: it cannot be connected to: Connection refused" in said
    assert "NO [UNAVAILABLE]" in said and "partner: found" not in said


def test_a_lock_is_told_with_its_end(site, acme):
    database = locked(site)
    code, said = site.imapd("explain", "ben", "--from", "192.0.2.7")
    assert code == 1 and "locked" in said and "LOCKED until" in said
    assert site.imapd("explain", "ben", "--from", "192.0.2.8")[0] == 0
    assert site.imapd("lockout", "unlock", "ben")[0] == 0
    assert site.imapd("explain", "ben", "--from", "192.0.2.7")[0] == 0
    assert database.exists()


def locked(site):
    """ben is locked for 192.0.2.7, and has failed once elsewhere."""
    site.imapd("explain", "ben")  # makes the file
    path = site.folder / "state" / "lockout.sqlite"
    identity = site.imapd("explain", "ben")[1].split("GETS IN as ")[1].split(".\n")[0]
    dn, now = "uid=ben,ou=people,dc=acme,dc=example", time.time()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO lock VALUES (?, '192.0.2.7', ?, ?, ?, 3)", (identity, dn, now, now + 600))
        db.execute("INSERT INTO attempt VALUES (?, '2001:db8::/64', x'01', ?, 1, 1, ?)", (identity, dn, now))
    db.close()
    return path


def test_listeners_have_their_own_rules(site):
    assert "name_password = no" in site.imapd("explain", "ada", "--listener", "cold")[1]
    assert "a certificate is required" in site.imapd("explain", "ada", "--listener", "hard")[1]
    assert "status = disabled" in site.imapd("explain", "ada", "--listener", "old")[1]
    code, said = site.imapd("explain", "ada", "--listener", "none")
    assert code == 1 and "there are: imaps, hard, cold, old" in said


def test_a_certificate_is_somebodys(site, clients):
    mine = ["--certificate", str(site.folder / "ada.pem")]
    code, said = site.imapd("explain", "ada", *mine)
    assert code == 0 and "GETS IN" in said and "certificate" in said
    code, said = site.imapd("explain", "ben", *mine)
    assert code == 1 and "not one of those who may" in said
    code, said = site.imapd("explain", "ada", *mine, "--listener", "hard", *password(site, "secret"))
    assert code == 0, said
    code, said = site.imapd("explain", "ben", *mine, "--listener", "hard", *password(site, "secret"))
    assert code == 1 and "the certificate is that of 'uid=ada" in said


def test_a_certificate_that_does_not_count_is_told_why(site, clients):
    for authority, days, reason in (
        (Authority("Other CA"), 7, "its authority is not one of client_ca"),
        (clients[0], -1, "it has expired"),
    ):
        authority.issue("ada", days=days).write(site.folder, "bad")
        code, said = site.imapd("explain", "ada", "--certificate", str(site.folder / "bad.pem"))
        assert code == 1 and reason in said
    clients[0].issue("stranger").write(site.folder, "stranger")
    code, said = site.imapd("explain", "ada", "--certificate", str(site.folder / "stranger.pem"))
    assert code == 1 and "no directory that is trusted for certificates has the certificate" in said
    code, said = site.imapd("explain", "ada", "--certificate", str(site.folder / "imapd.ini"))
    assert (code, "is not a certificate" in said) == (1, True)


def test_a_mail_file_that_cannot_be_opened_is_told_of(site):
    (site.folder / "mail" / "ada").write_text("From nobody\n")
    assert "an mbox that " in site.imapd("explain", "ada")[1]
    (site.folder / "mail" / "ada").unlink()
    os.mkfifo(site.folder / "mail" / "ada")
    assert "is neither a folder nor a file" in site.imapd("explain", "ada")[1]
    code, said = site.imapd("explain", "ben")
    assert code == 0
    site.write(more="[imap]")
    text = (site.folder / "imapd.ini").read_text().replace("create = yes", "create = no")
    (site.folder / "imapd.ini").write_text(text)
    code, said = site.imapd("explain", "ben")
    assert code == 1 and "is not there, and [mail] create = no" in said


def test_a_mail_file_of_somebody_else_is_told_of(site):
    home = site.folder / "mail" / "ada"
    for name in ("cur", "new", "tmp"):
        (home / name).mkdir(parents=True)
    assert "mail/ada: a Maildir" in site.imapd("explain", "ada")[1]
    assert sorted(os.listdir(home)) == ["cur", "new", "tmp"]
    (home / "imapd-owner").write_text("acme/of-another-ada\n")
    code, said = site.imapd("explain", "ada")
    assert code == 1 and "is that of acme/of-another-ada" in said


def test_root_asks_as_the_daemon(site):
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    site.write(service="user = nobody\ngroup = nogroup")
    code, said = site.imapd("explain", "ada")
    assert code == 1 and "cannot be read" in said


def test_the_command_line_is_checked(site):
    assert "no such" in site.imapd("explain", "ada", "--password-file", "none")[1].lower()
    assert "not an address" in site.imapd("explain", "ada", "--from", "here")[1]
    assert site.imapd("explain")[0] == 2


def test_the_daemon_need_not_run(site):
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 9993)) != 0
    assert site.imapd("explain", "Ben Example")[0] == 0
