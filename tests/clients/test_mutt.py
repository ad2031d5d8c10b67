"""mutt reads, flags, saves and deletes over IMAP, and works beside the daemon in the same Maildir."""

import os
import subprocess

import pytest

from tests.clients.conftest import deliver, message


@pytest.fixture
def mutt(tmp_path, program):
    command = program("mutt")

    def run(folder, *settings, push, kind="Maildir"):
        """Start mutt in batch: a folder, settings, and the keys that are typed."""
        rc = tmp_path / "muttrc"
        (tmp_path / "Mail").mkdir(exist_ok=True)  # mutt asks for it, and there is nobody to answer
        rc.write_text(
            "\n".join(
                [
                    f"set mbox_type={kind}",
                    "set header_cache=",
                    'set spoolfile=""',
                    "set confirmcreate=no confirmappend=no",
                    "set delete=yes quit=yes mark_old=no",
                    "set ssl_verify_dates=no ssl_verify_host=no",
                    "set wait_key=no resolve=no move=no",
                    *settings,
                    f'push "{push}"',
                ]
            )
        )
        done = subprocess.run(
            ["script", "-qec", f"{command} -n -F {rc} -f {folder}", "/dev/null"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
            env={**os.environ, "HOME": str(tmp_path), "TERM": "xterm", "LANG": "C.UTF-8", "COLUMNS": "120", "LINES": "40"},
        )  # fmt: skip
        return done.stdout + done.stderr

    return run


@pytest.mark.parametrize("tls", [False, True])
def test_mutt_works_over_imap(mutt, tmp_path, shared_daemon, person, tls):
    daemon = shared_daemon
    with daemon.login(person) as client:
        for number in (1, 2, 3):
            client.append("INBOX", message(number))
        client.ok("CREATE Archive")
    port = daemon.tls_port if tls else daemon.port
    scheme = "imaps" if tls else "imap"
    saved = tmp_path / "saved"
    settings = [
        f'set imap_user="{person}" imap_pass="secret"',
        "set ssl_starttls=no ssl_force_tls=no",
        f'set certificate_file="{daemon.folder}/cert.pem"',
        f'set folder="{scheme}://127.0.0.1:{port}/"',
    ]
    out = mutt(
        f"{scheme}://127.0.0.1:{port}/INBOX",
        *settings,
        push=f"<first-entry><flag-message><next-entry><delete-message><last-entry><copy-message>{saved}<enter><save-message>=Archive<enter><sync-mailbox><quit>",
    )
    with daemon.login(person) as client:
        client.ok("SELECT INBOX")
        assert client.ok("FETCH 1:* (UID)") == [b"* 1 FETCH (UID 1)"], out
        assert client.ok("SEARCH FLAGGED") == [b"* SEARCH 1"], out
        client.ok("SELECT Archive")
        assert client.ok("SEARCH SUBJECT {8+}\r\nNumber 3") == [b"* SEARCH 1"], out
    assert b"Text of number 3." in b"".join(path.read_bytes() for path in saved.rglob("*") if path.is_file())


def test_mutt_changes_the_maildir_and_the_client_sees_it(mutt, shared_daemon, person):
    daemon = shared_daemon
    with daemon.login(person) as client:
        client.ok("SELECT INBOX")
        for number in (1, 2, 3):
            deliver(daemon.maildir(person), message(number).replace(b"\r\n", b"\n"))
        client.ok("NOOP")
        out = mutt(
            daemon.maildir(person),
            "set sort=date-received",
            push="<first-entry><flag-message><next-entry><delete-message><sync-mailbox><quit>",
        )
        untagged = client.ok("NOOP")
        assert any(line.endswith(b" EXPUNGE") for line in untagged), (untagged, out)
        assert any(b"FETCH" in line and b"\\Flagged" in line for line in untagged), (untagged, out)
        assert len(client.ok("FETCH 1:* (UID)")) == 2


def test_mutt_changes_the_mbox_and_the_client_sees_it_and_mutt_sees_what_the_client_did(
    mutt, tmp_path, shared_daemon, person
):
    """A mail file that is a file: mutt deletes, flags and adds in it while a client has it open."""
    daemon = shared_daemon
    file = daemon.maildir(person)
    text = "".join(
        f"From ann@example.org Mon Nov 23 10:0{number}:00 2026\n{message(number).decode()}\n" for number in (1, 2, 3)
    )
    file.write_bytes(text.replace("\r\n", "\n").encode())
    file.chmod(0o666)
    with daemon.login(person) as client:
        client.ok("SELECT INBOX")
        assert len(client.ok("FETCH 1:* (UID)")) == 3
        client.ok("STORE 3 +FLAGS (\\Answered \\Seen)")
        out = mutt(
            file,
            "set sort=mailbox-order",
            push="<first-entry><flag-message><next-entry><delete-message><sync-mailbox><quit>",
            kind="mbox",
        )
        untagged = client.ok("NOOP")
        assert b"* 2 EXPUNGE" in untagged, (untagged, out)
        assert any(b"FETCH" in line and b"\\Flagged" in line for line in untagged), (untagged, out)
        assert client.ok("FETCH 1:* (UID)") == [b"* 1 FETCH (UID 1)", b"* 2 FETCH (UID 3)"]
        assert client.ok("SEARCH ANSWERED") == [b"* SEARCH 2"]
    # The client has gone, and its flags are in the file: mutt limits to the messages that were replied to.
    copied = tmp_path / "replied"
    out = mutt(file, push=f"<limit>~Q<enter><first-entry><copy-message>{copied}<enter><quit>", kind="mbox")
    assert b"Text of number 3." in copied.read_bytes(), out
    assert b"Text of number 1." not in copied.read_bytes()
