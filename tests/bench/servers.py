"""The servers that are measured, on copies of the same mail: imapd, and Dovecot in four configurations.

All four Dovecots have the same mail root: how processes are reused has nothing to do with what lies on disk, and what one has
indexed another finds. Their settings are Debian's but for limits, so that no client is turned away, and for what the
configuration is about. imapd waits for the disk before it acknowledges anything. Dovecot does by its default for APPEND, COPY and
MOVE (counted with strace), and not for STORE and EXPUNGE; these are compared with a fifth that does (mail_fsync = always).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import corpus as corpora
from tests.bench import process
from tests.bench.corpus import Corpus
from tests.support.certificates import self_signed
from tests.support.daemon import Daemon, free_ports
from tests.support.dovecot import Dovecot, give, nobody

IMAPD = "imapd"
DEFAULT, LOGIN, IMAP, HIBERNATE = "dovecot-default", "dovecot-login", "dovecot-imap", "dovecot-hibernate"
CYRUS = "cyrus"
DOVECOTS = {
    DEFAULT: "Debian's default: a login process for each connection, an imap process for each session",
    LOGIN: "login processes reused (service_count = 0), an imap process for each session",
    IMAP: "login processes reused, imap processes reused and with 50 clients each",
    HIBERNATE: "login processes reused, sessions hibernate after 5 s of IDLE",
}

NEW_PEOPLE = 1000  # who are seen once

LIMITS = """\
mail_max_userip_connections = 100000
default_client_limit = 20000
default_process_limit = 6000
default_vsz_limit = 2G
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
service imap-login {{
  process_limit = 6000
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 6000
}}
service anvil {{
  client_limit = 19000
}}
service auth {{
  client_limit = 19000
}}
service imap-urlauth-login {{
  process_limit = 1
}}
"""

REUSED_LOGIN = """\
service imap-login {
  service_count = 0
  process_min_avail = 2
  client_limit = 10000
}
"""

REUSED_IMAP = """\
service imap {
  service_count = 0
  client_limit = 50
  process_min_avail = 2
}
"""

HIBERNATING = """\
imap_hibernate_timeout = 5s
service imap-hibernate {
  process_limit = 2
  client_limit = 20000
  unix_listener imap-hibernate {
    mode = 0666
  }
}
service imap {
  unix_listener imap-master {
    mode = 0666
  }
}
"""

# With the same durability as imapd where the default has less: it acknowledges STORE and EXPUNGE before they are on disk.
DURABLE = "dovecot-durable"
MBOX, DURABLE_MBOX = "dovecot-mbox", "dovecot-mbox-durable"
MBOXES = "mbox:{mail}/%u:INBOX={mail}/%u/inbox"

CONFIGURATIONS = {
    DEFAULT: "",
    LOGIN: REUSED_LOGIN,
    IMAP: REUSED_LOGIN + REUSED_IMAP,
    HIBERNATE: REUSED_LOGIN + HIBERNATING,
    DURABLE: REUSED_LOGIN + "mail_fsync = always\n",
}
MBOX_CONFIGURATIONS = {MBOX: CONFIGURATIONS[LOGIN], DURABLE_MBOX: CONFIGURATIONS[DURABLE]}


def dovecot_version() -> str:
    return subprocess.run(["/usr/sbin/dovecot", "--version"], capture_output=True, text=True, check=True).stdout.strip()


class Server:
    """A server that can be started and stopped any number of times, and asked what it costs."""

    name: str
    port: int
    tls_port: int
    mail: Path

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def root(self) -> int | None:
        """The process id of its first process; None while it is not running."""
        raise NotImplementedError

    def log(self) -> str:
        raise NotImplementedError

    def home(self, name: str) -> Path:
        return self.mail / name

    def give_mail(self, corpus: Corpus, name: str, count: int, *, own_files: bool = False) -> None:
        """The first `count` messages of the corpus into a person's INBOX: links to it, which are kept where they are there
        already, or for what writes, files of its own, always new."""
        home = self.home(name)
        if home.exists() and not own_files and has_mail(home, count):
            return
        shutil.rmtree(home, ignore_errors=True)
        corpora.make_maildir(corpus, count, home, own_files=own_files, owner=owner())

    def cpu(self) -> float:
        root = self.root()
        return process.cpu(root) if root else 0.0

    def pss(self) -> int:
        root = self.root()
        return process.pss(root) if root else 0

    def processes(self) -> int:
        root = self.root()
        return len(process.family(root)) if root else 0

    def wait_until_quiet(self, seconds: float = 20.0, still: float = 0.2) -> float:
        """Wait until it takes no processor time any more, as after work in the background; how long that took."""
        return wait_until_quiet([self], seconds, still)


def wait_until_quiet(servers: Sequence[Server], seconds: float = 20.0, still: float = 0.2) -> float:
    """Wait until none of them has taken processor time for a while; how long it took until then."""
    begun = since = time.monotonic()
    before = sum(server.cpu() for server in servers)
    while (now := time.monotonic()) - since < still and now - begun < seconds:
        time.sleep(0.04)
        spent = sum(server.cpu() for server in servers)
        if spent - before > 0.005:  # clocks that look whether there is something to do
            before, since = spent, time.monotonic()
    return since - begun


class Imapd(Server):
    """imapd with as many workers as `workers = auto` makes on two processors."""

    name = IMAPD

    def __init__(self, folder: Path, people: dict[str, str], workers: int = 2) -> None:
        self._daemon = Daemon(folder, people, workers=workers, service="max_sessions = 20000")
        self.mail = folder / "mail"
        self.mail.mkdir(exist_ok=True)
        self.port, self.tls_port = self._daemon.port, self._daemon.tls_port

    def start(self) -> None:
        self._daemon.start()

    def stop(self) -> None:
        if self.root():
            self._daemon.stop(seconds=60)

    def root(self) -> int | None:
        process = self._daemon.process
        return process.pid if process and process.poll() is None else None

    def workers(self) -> list[int]:
        return self._daemon.workers()

    def indexers(self) -> list[int]:
        return self._daemon.indexers()

    def log(self) -> str:
        return self._daemon.log()

    def complaints(self) -> list[str]:
        return self._daemon.tracebacks()


class DovecotServer(Server):
    """Dovecot in one of its configurations; `mail` is the root that all of them share."""

    def __init__(self, folder: Path, settings: str, mail: Path, location: str = "maildir:{mail}/%u") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = self_signed("localhost")
        (folder / "cert.pem").write_bytes(certificate)
        (folder / "key.pem").write_bytes(key)
        self.name, self.mail = folder.name, mail
        (self.tls_port,) = free_ports(1)
        extra = LIMITS.format(folder=folder, tls_port=self.tls_port) + settings
        self._dovecot = Dovecot(folder, mail_location=location.replace("{mail}", str(mail)), extra=extra)
        self.port = self._dovecot.port

    def start(self) -> None:
        self._dovecot.start()

    def stop(self) -> None:
        self._dovecot.stop()

    def root(self) -> int | None:
        return self._dovecot.process.pid if self._dovecot.process else None

    def log(self) -> str:
        return self._dovecot.log()

    def complaints(self) -> list[str]:
        return self._dovecot.complaints()


def owner() -> tuple[int, int] | None:
    """Whom all mail files belong to: Dovecot serves none of root's."""
    return (nobody().pw_uid, nobody().pw_gid) if os.geteuid() == 0 else None


def has_mail(home: Path, count: int) -> bool:
    """Whether there are so many messages in a Maildir, all of them in cur/."""
    try:
        return len(os.listdir(home / "cur")) == count and not os.listdir(home / "new")
    except FileNotFoundError:
        return False


class Pair:
    """imapd and the Dovecots, with the people whose mail they have. Dovecots start when they are first asked for."""

    def __init__(self, folder: Path, corpus: Corpus, people: list[str]) -> None:
        self.folder, self.corpus = folder, corpus
        dovecots = folder / "dovecot-mail"
        new = [f"new{number}" for number in range(NEW_PEOPLE)]
        for root in (dovecots, folder / "dovecot-mboxes"):
            root.mkdir(parents=True, exist_ok=True)
            give(root)
        self._servers: dict[str, Server] = {IMAPD: Imapd(folder / "imapd", dict.fromkeys([*people, *new], "secret"))}
        self._new_people = iter(new)
        self._cold: dict[Path, Path] = {}  # mail root: the Maildir that was never seen, until it was
        for name in CONFIGURATIONS:
            self._servers[name] = DovecotServer(folder / name, CONFIGURATIONS[name], dovecots)
        self._maildirs = (self._servers[IMAPD], self._servers[DEFAULT])
        for name, settings in MBOX_CONFIGURATIONS.items():
            self._servers[name] = DovecotServer(folder / name, settings, folder / "dovecot-mboxes", MBOXES)

    def join(self, server: Server) -> None:
        """One more server, which has mail of its own."""
        self._servers[server.name] = server

    def server(self, name: str) -> Server:
        """A server, running."""
        server = self._servers[name]
        if not server.root():
            server.start()
        return server

    def one(self, name: str) -> Server:
        """A server, freshly started while no other is running: for memory, which others would share."""
        self.stop()
        return self.server(name)

    def stop(self) -> None:
        for server in self._servers.values():
            server.stop()

    def running(self) -> list[Server]:
        return [server for server in self._servers.values() if server.root()]

    def give_mail(self, name: str, count: int, *, own_files: bool = False, only: Server | None = None) -> None:
        """The first `count` messages into a person's INBOX, for both or `only` one of them, as Server.give_mail does."""
        for server in [only] if only else self._maildirs:
            server.give_mail(self.corpus, name, count, own_files=own_files)

    def give_mbox(self, name: str, count: int, server: Server) -> None:
        """The same as an mbox, always new, for one server."""
        corpora.make_mbox(self.corpus, count, server.home(name), owner())

    def new_person(self) -> str:
        """Somebody whom no server has seen: servers remember people, and keep their mail files open for a while."""
        return next(self._new_people)

    def never_seen(self, server: Server, count: int) -> str:
        """Somebody new whose INBOX has the first `count` messages: for this server the first look at it."""
        name = self.new_person()
        home = server.home(name)
        before = self._cold.pop(server.mail, None)
        if before is not None and has_mail(before, count):
            before.rename(home)
            corpora.forget(home)
        else:
            corpora.make_maildir(self.corpus, count, home, own_files=False, owner=owner())
        self._cold[server.mail] = home
        return name
