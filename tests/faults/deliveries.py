"""Other programs in the same mail file: python -m tests.faults.deliveries --seconds 600

A delivery agent of Debian's delivers 20 messages a second into a mail file, mutt changes flags in it again and again, an
IMAP client moves the oldest messages away; on each of two workers clients wait in IDLE. In the end each message is there,
whole and once, each waiting client has heard of each of them once, under the same UID, and the flags that mutt set are told.
What it takes from the delivery until a client has fetched the message is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import mailbox
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.faults.kills import percentiles, started
from tests.mailstore.together import text_of, token_of
from tests.support.daemon import Client, Daemon

RATE = 20.0
KEPT = 150
"""Messages that stay in INBOX, about: mutt reads all of them each time."""
END = "end"
AGENTS = ("maildrop", "procmail")
_MUTT_SECONDS = 30
_LONG = 60.0
_MOST = 120.0  # seconds that anything may take in the end


class Place:
    """Where the agent delivers and mutt looks: the mail file of one person, in one format."""

    def __init__(self, daemon: Daemon, folder: Path, format: str) -> None:
        self.is_mbox = format == "mbox"
        self.file = daemon.maildir("anna") / "inbox" if self.is_mbox else daemon.maildir("anna")
        self.folder = folder

    def agent(self, name: str) -> list[str]:
        """The command that takes a message on its standard input."""
        rules = self.folder / f"{name}-rules"
        if name == "maildrop":
            rules.write_text(f'to "{self.file}"\n')
            os.chmod(rules, 0o600)
            return ["maildrop", str(rules)]
        rules.write_text(f"DEFAULT={self.file}\nLOCKSLEEP=1\n"
                         if self.is_mbox else f"DEFAULT={self.file}/\n")  # fmt: skip
        os.chmod(rules, 0o600)
        # Without -f it would write no From_ line: a mail transfer agent hands it one.
        return ["procmail", "-f", "a@example.org", "-m", str(rules)]

    def mutt(self, keys: str) -> bool:
        """Start mutt on the mail file and type some keys; whether it came to its end. Where something happens that it did
        not expect it forgets the rest of the keys; so once a second it is asked to flag the first message and quit."""
        home = self.folder / "mutt"
        (home / "Mail").mkdir(parents=True, exist_ok=True)
        kind = "mbox" if self.is_mbox else "Maildir"
        # mutt locks by fcntl before it makes its dotlock, agents the other way round: with both, the two of them wait for
        # each other until somebody answers mutt's question.
        (home / "muttrc").write_text(
            f"set dotlock_program={shutil.which('true')}\n"
            f'set mbox_type={kind}\nset header_cache=""\nset spoolfile=""\nset confirmcreate=no confirmappend=no\n'
            f'set delete=yes quit=yes mark_old=no wait_key=no resolve=no move=no sort=mailbox-order\npush "{keys}"\n'
        )
        command = ["script", "-qec", f"mutt -n -F {home}/muttrc -f {self.file}", "/dev/null"]
        words = {"HOME": str(home), "TERM": "xterm", "LANG": "C.UTF-8", "COLUMNS": "120", "LINES": "40"}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env={**os.environ, **words}) as running:  # fmt: skip
            assert running.stdin is not None
            for _ in range(_MUTT_SECONDS):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(1.0)
                    return True
                with contextlib.suppress(BrokenPipeError):
                    running.stdin.write(b"=F$q")
                    running.stdin.flush()
            running.terminate()
        return False


class Worker(threading.Thread):
    """A thread whose failure is told by whoever ends it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as failure:
            self.failure = failure

    def work(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        self.over.set()
        self.join(_MOST)
        if self.failure is not None:
            raise AssertionError(f"{type(self).__name__}: {self.failure!r}") from self.failure
        assert not self.is_alive(), f"{type(self).__name__} does not end"


class Deliverer(Worker):
    """The delivery agent, at a steady rate."""

    def __init__(self, command: list[str]) -> None:
        super().__init__()
        self.command = command
        self.delivered: dict[str, float] = {}

    def work(self) -> None:
        began, number = time.monotonic(), 0
        while not self.over.wait(max(0.0, began + number / RATE - time.monotonic())):
            number += 1
            self.deliver(f"d.{number}")

    def deliver(self, token: str) -> None:
        text = b"From: a@example.org\n" + text_of(token).replace(b"\r\n", b"\n")
        done = subprocess.run(self.command, input=text, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        self.delivered[token] = time.monotonic()


class Mutt(Worker):
    """Somebody who flags messages, and takes flags off, in the file itself."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.runs = self.stuck = 0

    def work(self) -> None:
        while not self.over.wait(0.3):
            done = self.place.mutt(
                "<first-entry><flag-message><last-entry><flag-message><previous-entry><toggle-new><sync-mailbox><quit>"
            )
            self.runs += done
            self.stuck += not done


class Archivist(Worker):
    """A client that moves the oldest messages to another mailbox."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        self.moved = 0

    def work(self) -> None:
        self.client.ok("SELECT INBOX")
        while not self.over.wait(1.0):
            (found,) = [line for line in self.client.ok("UID SEARCH ALL") if line.startswith(b"* SEARCH")]
            old = sorted(int(uid) for uid in found.split()[2:])[:-KEPT]
            if old:
                self.client.ok(f"UID MOVE {','.join(map(str, old))} Archive")
                self.moved += len(old)


class Waiting(Worker):
    """A client in IDLE, that fetches what it hears of."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        self.seen: dict[str, tuple[int, float]] = {}
        self.twice: list[str] = []
        self._next = 1

    def work(self) -> None:
        self.client.ok("SELECT INBOX")
        while END not in self.seen:
            self._fetch()
            if END in self.seen:
                return
            tag = self.client.begin("IDLE")
            while b" EXISTS" not in (response := self.client.response()):
                assert response, "the connection ended"
            self.client.send(b"DONE\r\n")
            self.client.finish(tag)

    def _fetch(self) -> None:
        more = True
        while more:
            untagged = self.client.ok(f"UID FETCH {self._next}:* (UID BODY.PEEK[HEADER.FIELDS (token)])")
            now = time.monotonic()
            for line in untagged:
                uid, token = re.search(rb"UID (\d+)", line), re.search(rb"token: (\S+)", line)
                assert not uid or token, f"a message without its field: {line!r}"
                if uid and token and int(uid[1]) >= self._next:
                    self._note(token[1].decode(), int(uid[1]), now)
            self._next = max([self._next, *(uid + 1 for uid, _ in self.seen.values())])
            more = any(b" EXISTS" in line for line in untagged)

    def _note(self, token: str, uid: int, now: float) -> None:
        if token in self.seen:
            self.twice.append(token)
        self.seen[token] = uid, now


def contents(client: Client, name: str) -> tuple[Counter[str], dict[str, bool]]:
    """The tokens of whole messages in a mailbox, and which of them are flagged."""
    tokens: Counter[str] = Counter()
    flagged: dict[str, bool] = {}
    client.ok(f"EXAMINE {name}")
    for line in client.ok("FETCH 1:* (FLAGS BODY.PEEK[])"):
        if (literal := re.search(rb"BODY\[\] \{(\d+)\}\r\n", line)) is not None:
            text = line[literal.end() : literal.end() + int(literal[1])]
            # Between the field and the body may be others, that mutt wrote into an mbox.
            field = text[text.index(b"token: ") :].partition(b"\r\n")[0]
            token = token_of(field + b"\r\n\r\n" + text.partition(b"\r\n\r\n")[2])
            tokens[token] += 1
            flagged[token] = b"\\Flagged" in line.replace(text, b"")
    return tokens, flagged


def on_disk(maildir: Path) -> tuple[Counter[str], dict[str, bool]]:
    """The same as the files tell it."""
    tokens: Counter[str] = Counter()
    flagged: dict[str, bool] = {}
    for path in [*maildir.glob("cur/*"), *maildir.glob("new/*"), *maildir.glob(".Archive/*/*")]:
        if found := re.search(rb"^token: (\S+)$", path.read_bytes(), re.MULTILINE):
            tokens[found[1].decode()] += 1
            flagged[found[1].decode()] = "F" in path.name.rpartition(":2,")[2]
    return tokens, flagged


def in_mboxes(folder: Path) -> tuple[Counter[str], dict[str, bool]]:
    """The same of mail files that are files, as another program reads them."""
    tokens: Counter[str] = Counter()
    flagged: dict[str, bool] = {}
    for name in ("inbox", "Archive"):
        with contextlib.closing(mailbox.mbox(folder / name, create=False)) as messages:
            for message in messages:
                tokens[message["token"]] += 1
                flagged[message["token"]] = "F" in message.get_flags()
    return tokens, flagged


def waiting_on_all_workers(daemon: Daemon, number: int) -> list[Waiting]:
    """So many clients in IDLE, and more until every worker has one."""
    clients: list[Waiting] = []
    while len(clients) < number or len(_busy(daemon)) < len(daemon.workers()):
        clients.append(Waiting(daemon.login()))
        assert len(clients) < 200, "one worker gets all the clients"
    return clients


def _busy(daemon: Daemon) -> set[str]:
    return set(re.findall(r" login id=(\d+)\.", daemon.log()))


def trial(folder: Path, seconds: float, agent: str = "maildrop", format: str = "", say=print) -> list[float]:
    """Let everybody work so long; how long each message took to each waiting client, in seconds."""
    mail = f"format = {format}" if format else ""
    with started(Daemon(folder / "imapd", people={"anna": "secret"}, mail=mail)) as daemon:
        place = Place(daemon, folder, format)
        client = daemon.login()
        client.ok("CREATE Archive")
        clients = waiting_on_all_workers(daemon, 4)
        deliverer, mutt, archivist = Deliverer(place.agent(agent)), Mutt(place), Archivist(client)
        for each in (*clients, deliverer, mutt, archivist):
            each.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until and not any(each.failure for each in (*clients, deliverer, mutt, archivist)):
            time.sleep(0.2)
        for each in (deliverer, mutt, archivist):
            each.end()
        deliverer.deliver(END)
        for each in clients:
            each.end()
            each.client.close()
        client.ok("UNSELECT")
        told = _compare(client, deliverer, clients)
        client.close()
        assert not daemon.tracebacks(), daemon.log()[-4000:]
    _compare_files(daemon, place, deliverer, told)
    # While it waits for the lock of an mbox somebody writes to it again and again: in a short time it may get nowhere.
    assert any(told.values()) or (place.is_mbox and seconds < _LONG), "mutt flagged nothing"
    waits = [max(0.0, each.seen[token][1] - at) for each in clients for token, at in deliverer.delivered.items()]
    say(
        f"{len(deliverer.delivered)} messages by {agent} in {seconds:.0f} s, {mutt.runs} times mutt ({mutt.stuck} got stuck), {archivist.moved} moved, {len(clients)} clients in IDLE on 2 workers"
    )
    say(
        f"from the delivery until fetched: {percentiles(waits)}; {sum(wait > 1 for wait in waits)} took longer than a second"
    )
    return waits


def _compare(client: Client, deliverer: Deliverer, clients: list[Waiting]) -> dict[str, bool]:
    """What the clients were told, with what was delivered; which messages are flagged."""
    inbox, flags_there = contents(client, "INBOX")
    archive, more_flags = contents(client, "Archive")
    expected, found = Counter(dict.fromkeys(deliverer.delivered, 1)), inbox + archive
    where = {token: [inbox[token], archive[token]] for token in (expected - found) + (found - expected)}
    assert found == expected, f"lost: {expected - found}, twice: {found - expected}; in INBOX and Archive: {where}"
    for each in clients:
        assert not each.twice, f"told twice: {each.twice}"
        assert each.seen.keys() == deliverer.delivered.keys(), (
            f"not told: {[(token, [one.seen.get(token) for one in clients]) for token in deliverer.delivered.keys() - each.seen.keys()]}"
        )
        assert {token: uid for token, (uid, _) in each.seen.items()} == {t: u for t, (u, _) in clients[0].seen.items()}
    return flags_there | more_flags


def _compare_files(daemon: Daemon, place: Place, deliverer: Deliverer, told: dict[str, bool]) -> None:
    """The same when the server has ended, by the files alone."""
    files, flags = (in_mboxes if place.is_mbox else on_disk)(daemon.maildir("anna"))
    expected = Counter(dict.fromkeys(deliverer.delivered, 1))
    assert files == expected, f"lost on disk: {expected - files}, twice: {files - expected}"
    assert flags == told, f"flags differ: {[token for token in flags if flags[token] != told[token]]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--agent", choices=AGENTS, default="maildrop")
    parser.add_argument(
        "--format", default="", help="of the mail file: maildir or mbox; the server's default otherwise"
    )
    options = parser.parse_args()
    if shutil.which(options.agent) is None:
        print(f"{options.agent} is not on this machine: apt-get install {options.agent}")
        return 1
    folder = Path(tempfile.mkdtemp(prefix="imapd-deliveries-"))
    try:
        trial(folder, options.seconds, options.agent, options.format)
    except AssertionError as broken:
        print(f"{type(broken).__name__}: {broken}; what it left is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
