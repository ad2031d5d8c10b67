"""A real Dovecot for tests, with settings, folder and port of its own; as root it runs as nobody.

    with Dovecot(folder, mail_location="maildir:{mail}/%u") as server:      # {mail} is server.mail
        server.port                                                         # LOGIN anybody secret
    server.settings, server.port may be given, so that another server can take the place of this one

`extra` is more of dovecot.conf, read last. What an administrator would do when the mail goes to another user,
`give(path)` does. `open_folder()` is a folder that nobody can come to: not below pytest's, which it closes to all others. Where Dovecot is missing, tests fail and say what to install.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.daemon import Client, free_ports

CONFIGURATION = """\
base_dir = {base}
state_dir = {base}
log_path = {log}
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = {mail_location}
first_valid_uid = 1
first_valid_gid = 1
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
mail_uid = {uid}
mail_gid = {gid}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={homes}/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
{extra}
"""


def nobody() -> pwd.struct_passwd:
    """Whom mail belongs to in these tests: nobody where root runs them, and otherwise who runs them."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def as_nobody() -> dict[str, Any]:
    """What subprocess needs for that."""
    owner = nobody()
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}


def give(path: Path) -> None:
    """Give a folder and all that is in it to whom mail belongs to, and let him come there."""
    owner = nobody()
    if os.geteuid() == 0:
        for place in [path, *path.rglob("*")]:
            os.chown(place, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    for place in (path, *path.parents):
        if place.stat().st_uid in (os.geteuid(), owner.pw_uid) and place.stat().st_mode & 0o111 != 0o111:
            place.chmod(place.stat().st_mode | 0o111)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that nobody may pass through, for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="imapd-test-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Dovecot:
    """A server. Mail lies in folder/mail unless mail_location says otherwise; homes in folder/homes."""

    def __init__(
        self,
        folder: Path,
        mail_location: str = "maildir:{mail}/%u",
        extra: str = "",
        port: int | None = None,
        password: str = "secret",
    ) -> None:
        binary = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert binary, "there is no dovecot here; as root: tests/install-debian-packages"
        self._binary = binary
        self.folder = folder
        self.mail, self.homes, self.log_path = folder / "mail", folder / "homes", folder / "log"
        self.port = port or free_ports(1)[0]
        self.password = password
        self._settings = {"mail_location": mail_location.format(mail=self.mail), "extra": extra}
        self._base: Path | None = None
        self._owner = nobody()
        self.process: subprocess.Popen[bytes] | None = None
        for path in (self.mail, self.homes):
            path.mkdir(parents=True, exist_ok=True)
        self.log_path.touch()
        give(folder)

    def _configure(self) -> Path:
        # The path of a Unix socket is short, and a test's folder may be long.
        self._base = Path(tempfile.mkdtemp(prefix="imapd-dovecot-", dir="/tmp"))
        group = grp.getgrgid(self._owner.pw_gid).gr_name
        path = self._base / "settings.conf"  # dovecot.conf is what Dovecot makes of it there
        path.write_text(
            CONFIGURATION.format(
                base=self._base,
                log=self.log_path,
                user=self._owner.pw_name,
                group=group,
                uid=self._owner.pw_uid,
                gid=self._owner.pw_gid,
                homes=self.homes,
                port=self.port,
                password=self.password,
                **self._settings,
            )  # fmt: skip
        )
        self._base.chmod(0o755)
        give(self._base)
        return path

    def start(self) -> Dovecot:
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self._binary, "-F", "-c", str(self._configure())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
                **as_nobody(),
            )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as one:
                return one.recv(4) == b"* OK"
        except OSError:
            return False

    def stop(self) -> None:
        """End it with all its processes, and wait for its end."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise AssertionError(f"dovecot did not end:\n{self.log()}") from None
        if self._base is not None:
            shutil.rmtree(self._base, ignore_errors=True)
            self._base = None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def complaints(self) -> list[str]:
        """What Dovecot found wrong."""
        wrong = [line for line in self.log().splitlines() if re.search("(Error|Panic|Fatal|Warning): ", line)]
        return [line for line in wrong if "Warning: Killed with signal 15" not in line]  # by us

    def login(self, name: str = "anna") -> Client:
        client = Client(socket.create_connection(("127.0.0.1", self.port), timeout=20))
        client.ok(f"LOGIN {name} {self.password}")
        return client

    def __enter__(self) -> Dovecot:
        return self.start()

    def __exit__(self, *nothing: object) -> None:
        self.stop()
