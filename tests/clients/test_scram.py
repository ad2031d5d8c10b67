"""Mail programs try SCRAM by themselves where it is offered, and get in."""

import os
import subprocess

import pytest

from imapd.directory.scram import ScramVerifier
from tests.clients.conftest import message
from tests.support.daemon import Daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    made = Daemon(tmp_path_factory.mktemp("scram") / "site", workers=1)
    people = made.folder / "people.ldif"
    verifier = ScramVerifier.make("secret").written()
    people.write_text(people.read_text().replace("userPassword: secret", f"authPassword: {verifier}"))
    made.start()
    with made.login("anna") as client:
        client.append("INBOX", message(1))
    yield made
    made.stop()
    assert made.tracebacks() == []


def methods(daemon, count):
    """How the last ones have logged in."""
    lines = [line for line in daemon.log().splitlines() if " login " in line]
    return [line.partition("method=")[2].split()[0] for line in lines[-count:]]


@pytest.mark.parametrize("tls", [False, True])
def test_mbsync(daemon, tmp_path, program, tls):
    security = f"SSLType IMAPS\nCertificateFile {daemon.folder}/cert.pem" if tls else "SSLType None"
    port = daemon.tls_port if tls else daemon.port
    (tmp_path / "near").mkdir()
    (tmp_path / "rc").write_text(
        f'IMAPAccount test\nHost localhost\nPort {port}\nUser anna\nPassCmd "echo secret"\nAuthMechs *\n{security}\n\n'
        "IMAPStore far\nAccount test\n\n"
        f"MaildirStore near\nPath {tmp_path}/near/\nInbox {tmp_path}/near/INBOX\nSubFolders Verbatim\n\n"
        "Channel test\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n"
    )
    command = [program("mbsync"), "-c", str(tmp_path / "rc"), "-a"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert methods(daemon, 1)[0].startswith("SCRAM-SHA-256")


@pytest.mark.parametrize("tls", [False, True])
def test_mutt(daemon, tmp_path, program, tls):
    folder = f"imaps://127.0.0.1:{daemon.tls_port}/" if tls else f"imap://127.0.0.1:{daemon.port}/"
    (tmp_path / "Mail").mkdir()
    (tmp_path / "muttrc").write_text(
        'set imap_user="anna" imap_pass="secret"\nset ssl_starttls=no ssl_force_tls=no ssl_verify_host=no\n'
        f'set certificate_file="{daemon.folder}/cert.pem"\nset folder="{folder}"\nset spoolfile=""\n'
        "set mbox_type=Maildir wait_key=no confirmappend=no confirmcreate=no quit=yes move=no header_cache=\n"
        f'push "<copy-message>{tmp_path}/saved<enter><quit>"\n'
    )
    command = f"{program('mutt')} -n -F {tmp_path}/muttrc -f {folder}INBOX"
    environment = {**os.environ, "HOME": str(tmp_path), "TERM": "xterm", "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, env=environment,
    )  # fmt: skip
    saved = tmp_path / "saved"
    assert saved.exists(), done.stdout + done.stderr
    # With gsasl mutt chooses SCRAM-SHA-256-PLUS under TLS, has no binding data to give it, and says LOGIN then.
    assert methods(daemon, 1)[0] == ("LOGIN" if tls else "SCRAM-SHA-256") or "-PLUS" in methods(daemon, 1)[0]
