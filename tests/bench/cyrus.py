"""Some workloads once more beside Cyrus, the fastest peer at two of them: `--only "cyrus-*"`, or make bench-cyrus.

Cyrus keeps what an ENVELOPE and a BODYSTRUCTURE say when a message arrives, in a store of its own: it is given the same
corpus by APPEND, once in a run. It is Debian's, with Cyrus's defaults where nothing is said (it waits for the disk, and an
expunged message stays there for a while). Besides, two processes wait for clients and serve 30 each, idled tells sessions of
each other's changes, and everybody is let in with any password, because logins are not the matter here. Short answers of
FETCH take 40 ms more than their processor time: they wait for an acknowledgement that the client's system delays. It logs
to syslog alone.
"""

from __future__ import annotations

import contextlib
import datetime
import grp
import imaplib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.bench import letters, reading, waiting, writing
from tests.bench.client import Connection
from tests.bench.compare import Measure, Run, Target, Workload
from tests.bench.corpus import Corpus, Entry
from tests.bench.servers import CYRUS, Server
from tests.support.certificates import self_signed
from tests.support.daemon import free_ports
from tests.support.dovecot import as_nobody, give, nobody

UNPACKED = Path("/opt/imapd-tests")
PROGRAMS = UNPACKED / "usr/lib/cyrus/bin"

SETTINGS = """\
configdirectory: {folder}/conf
defaultpartition: default
partition-default: {folder}/mail
proc_path: {folder}/conf/proc
mboxname_lockpath: {folder}/conf/lock
idlesocket: {folder}/conf/socket/idle
lmtpsocket: {folder}/conf/socket/lmtp
notifysocket: {folder}/conf/socket/notify
cyrus_user: {user}
cyrus_group: {group}
servername: localhost
umask: 077
hashimapspool: yes
altnamespace: yes
unixhierarchysep: yes
autocreate_quota: 0
allowplaintext: yes
sasl_pwcheck_method: alwaystrue
conversations: no
search_engine: none
tls_server_cert: {folder}/cert.pem
tls_server_key: {folder}/key.pem
"""

SERVICES = """\
START {{
  recover cmd="{programs}/ctl_cyrusdb -C {folder}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{programs}/imapd -C {folder}/imapd.conf -U 30" listen="127.0.0.1:{port}" prefork=2 maxchild=100
  imaps cmd="{programs}/imapd -C {folder}/imapd.conf -s -U 30" listen="127.0.0.1:{tls_port}" prefork=2 maxchild=100
}}
DAEMON {{
  idled cmd="{programs}/idled -C {folder}/imapd.conf"
}}
"""

FLAGS = {"S": b"\\Seen", "R": b"\\Answered", "F": b"\\Flagged"}


def environment() -> dict[str, str]:
    """Where Cyrus is unpacked, its libraries are not where the linker looks."""
    libraries = ":".join(str(path.parent) for path in UNPACKED.glob("usr/lib/*/libcyrus.so.0"))
    return {**os.environ, "LD_LIBRARY_PATH": libraries}


def version() -> str:
    """Raises AssertionError where there is no Cyrus."""
    assert (PROGRAMS / "master").exists(), "there is no Cyrus here; as root: make bench-cyrus"
    words = [str(PROGRAMS / "master"), "-V"]
    return subprocess.run(words, capture_output=True, text=True, check=True, env=environment()).stdout.strip()


class CyrusServer(Server):
    """Cyrus with all that it has below `folder`. Like the Dovecots it is nobody's where root runs it."""

    name = CYRUS

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mail = folder / "mail"
        self.port, self.tls_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self._filled: set[str] = set()

    def _configure(self) -> None:
        for path in (self.folder / "conf/socket", self.mail):
            path.mkdir(parents=True, exist_ok=True)
        certificate, key = self_signed("localhost")
        (self.folder / "cert.pem").write_bytes(certificate)
        (self.folder / "key.pem").write_bytes(key)
        owner = nobody()
        group = grp.getgrgid(owner.pw_gid).gr_name
        (self.folder / "imapd.conf").write_text(SETTINGS.format(folder=self.folder, user=owner.pw_name, group=group))
        services = SERVICES.format(folder=self.folder, programs=PROGRAMS, port=self.port, tls_port=self.tls_port)
        (self.folder / "cyrus.conf").write_text(services)
        give(self.folder)

    def start(self) -> None:
        version()
        self._configure()
        files = {"-C": "imapd.conf", "-M": "cyrus.conf", "-p": "pid"}
        words = [word for option, name in files.items() for word in (option, str(self.folder / name))]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [str(PROGRAMS / "master"), "-D", *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
                env=environment(), **as_nobody(),
            )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def _answers(self) -> bool:
        """Whether it greets, and idled is there."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as one:
                return one.recv(4) == b"* OK" and (self.folder / "conf/socket/idle").exists()
        except OSError:
            return False

    def stop(self) -> None:
        """End it with all its processes: its first one ends the others, which are in one process group with it."""
        first, self._process = self._process, None
        if first is None:
            return
        first.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            first.wait(20)
        with contextlib.suppress(ProcessLookupError):
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                os.killpg(first.pid, 0)
                time.sleep(0.02)
            os.killpg(first.pid, signal.SIGKILL)
        first.wait()

    def root(self) -> int | None:
        return self._process.pid if self._process else None

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def give_mail(self, corpus: Corpus, name: str, count: int, *, own_files: bool = False) -> None:
        """As for any server, but that messages are never shared: who has got his keeps them."""
        if name in self._filled:
            return
        with Connection(self.port) as connection:
            connection.ask(b"LOGIN %s secret" % name.encode())  # which makes his INBOX
            for command in appends(corpus, count):
                connection.ask(command)
        self._filled.add(name)


def appends(corpus: Corpus, count: int) -> Iterator[bytes]:
    """The commands that put the first messages into INBOX, with their flags and dates (MULTIAPPEND, RFC 3502)."""
    for begin in range(0, count, writing.TOGETHER):
        entries = corpus.entries[begin : min(begin + writing.TOGETHER, count)]
        yield b"APPEND INBOX" + b"".join(_message(corpus, entry) for entry in entries)


def _message(corpus: Corpus, entry: Entry) -> bytes:
    flags = b" ".join(flag for letter, flag in FLAGS.items() if letter in entry.name.rpartition(",")[2])
    came = datetime.datetime.fromtimestamp(letters.came(entry.number), datetime.UTC)
    text = corpus.path(entry).read_bytes().replace(b"\n", b"\r\n")
    return b" (%s) %s %s" % (flags, imaplib.Time2Internaldate(came).encode(), writing.literal(text))


# -- workloads ---------------------------------------------------------------------------------------------------------

# The rest is for comparison.
TARGETS = {"envelope_warm": Target(ratio=1), "news_append": Target(most=10)}
NAMES = ("select", "uidflags", "envelope", "headers", "bodies", "bodies-tls", "copy", "append", "news")


def beside_cyrus(workload: Workload) -> Workload:
    measures = tuple(
        Measure(f"cyrus_{one.key}", f"beside Cyrus: {one.title}", one.unit, TARGETS.get(one.key))
        for one in workload.measures
        if one.key != "news_delivery"
    )
    work = waiting.news_of_sessions if workload.name == "news" else workload.run

    def run(run: Run) -> None:
        if workload.sized:  # before anybody's turn, so that both servers meet the same minute
            cyrus = run.place.pair.server(CYRUS)
            run.place.pair.give_mail(run.place.big, run.count, only=cyrus)
            cyrus.wait_until_quiet()
        run.take_over(work, run.place, "cyrus_")

    return replace(workload, name=f"cyrus-{workload.name}", measures=measures, run=run, dovecots=(CYRUS,), apart=True)


WORKLOADS = tuple(
    beside_cyrus(one) for one in (*reading.WORKLOADS, *writing.WORKLOADS, *waiting.WORKLOADS) if one.name in NAMES
)
