"""Every system call fails once: python -m tests.faults.failingcalls

A process opens a store; strace attaches to it and makes the n-th call of a kind fail, and the process does one thing to
its mail and says what it was told. That is tried for each call of each deed with each error. The same goes for files that
may not grow any more in the midst of a write, so that fewer octets are taken than were given. Afterwards:

1. what was acknowledged was done; what was refused was not; where the store says that it cannot tell, either may be;
2. it was refused with an error of the store and a response code that fits, and the index was not taken for damaged;
3. a file whose fsync failed was not synced again by that command;
4. the same process goes on working, with no more open files than before;
5. another process finds the same.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.deeds import Lost, Refused
from tests.faults.hands import StoreHand
from tests.faults.ledger import Broken, Flags, Mail, State

PREFIX = "c0"
OTHER = "c0-a"
DEEDS = ("APPEND", "MULTIAPPEND", "STORE", "MOVE", "EXPUNGE", "COPY")
CALLS = ("openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "linkat", "unlink", "mkdir", "ftruncate")
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EMFILE", "EROFS", "EINTR")
CODES = {"UNAVAILABLE", "OVERQUOTA", "LIMIT", "NOPERM", "INUSE"}
SEEN: Flags = frozenset({"\\Seen"})
DELETED: Flags = frozenset({"\\Deleted"})
_ANYBODY = 0x59616D61, ctypes.c_ulong(-1 & (1 << 64) - 1)
"""prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY): our own child may be traced by strace, which is no parent of it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What fails. `call` is "" where nothing does; octets: the size that no file may pass."""

    call: str = ""
    error: str = ""
    number: int = 0
    octets: int | None = None

    def __str__(self) -> str:
        if self.octets is not None:
            return f"files end at {self.octets} octets"
        return f"{self.error} at {self.call} {self.number}" if self.call else "nothing fails"


def prepare(home: Path) -> State:
    """The mail that everything begins with."""
    hand = StoreHand(home)
    hand.create(OTHER)
    hand.append("INBOX", [Mail(f"c0.{number}", DELETED if number % 2 else SEEN) for number in range(1, 5)])
    hand.append(OTHER, [Mail("c0.5", frozenset())])
    state = hand.look(PREFIX)
    hand.close()
    return state


NEW = [Mail("c0.6", SEEN), Mail("c0.7", frozenset({"Fresh"}))]


def do(hand: StoreHand, deed: str) -> None:
    if deed == "APPEND":
        hand.append(OTHER, NEW[:1])
    elif deed == "MULTIAPPEND":
        hand.append(OTHER, NEW)
    elif deed == "STORE":
        hand.store("INBOX", [1, 2, 3], True, frozenset({"\\Flagged", "Work"}))
    elif deed == "EXPUNGE":
        hand.expunge("INBOX", [1, 2, 3])
    else:
        (hand.move if deed == "MOVE" else hand.copy)("INBOX", [1, 2], OTHER)


# In the child


def work(home: Path, deed: str, fault: Fault, link: socket.socket) -> None:
    """The life of the process whose calls fail: ready; what it was told; what it sees then, and its open files."""
    hand = StoreHand(home)
    hand.look(PREFIX)
    hand.store("INBOX", [4], True, frozenset({"\\Answered"}))  # everything that is opened by the first write is open
    hand.store("INBOX", [4], False, frozenset({"\\Answered"}))
    before = open_files(home)
    link.send(b"ready")
    link.recv(16)
    if fault.octets is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.octets, resource.RLIM_INFINITY))
    told = attempt(hand, deed)
    if fault.octets is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    link.send(json.dumps(told).encode())
    link.recv(16)
    link.send(json.dumps(afterwards(hand, home, before)).encode())
    link.recv(16)


def attempt(hand: StoreHand, deed: str) -> dict[str, str]:
    try:
        do(hand, deed)
    except (Refused, Lost) as refused:
        error = hand.errors[-1]
        kind = "lost" if isinstance(refused, Lost) else "refused"
        return {"told": kind, "error": type(error).__name__, "code": error.code or "", "reason": error.reason}
    except BaseException as bug:  # the server would say SERVERBUG
        return {"told": "bug", "error": type(bug).__name__, "code": "SERVERBUG", "reason": repr(bug)}
    return {"told": "ok", "error": "", "code": "", "reason": ""}


def afterwards(hand: StoreHand, home: Path, before: Counter[str]) -> dict[str, object]:
    try:
        state = hand.look(PREFIX)
        hand.append("INBOX", [Mail("c0.8", frozenset())])
        hand.expunge("INBOX", [5])
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    hand.errors.clear()  # an exception keeps what its frames used
    gc.collect()
    # SQLite keeps the descriptor of a closed connection for the next one: to close it would free the locks of the others.
    kept = Counter([f"{home}/imapd-index.sqlite"])
    return {"state": plain(state), "leaked": sorted((open_files(home) - before - kept).elements())}


def open_files(home: Path) -> Counter[str]:
    paths = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            paths.append(os.readlink(f"/proc/self/fd/{fd}"))
    return Counter(path for path in paths if path.startswith(str(home)))


def plain(state: State) -> dict[str, object]:
    return {
        name: [box.uidvalidity, {str(uid): [mail.token, *sorted(mail.flags)] for uid, mail in box.mails.items()}]
        for name, box in state.items()
    }


# In the parent


@contextlib.contextmanager
def child(home: Path, deed: str, fault: Fault) -> Iterator[tuple[int, socket.socket]]:
    """A process that has opened the store and waits."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        try:
            ours.close()
            ctypes.CDLL(None).prctl(*_ANYBODY, 0, 0, 0)
            work(home, deed, fault, theirs)
        finally:
            os._exit(0)
    theirs.close()
    ours.settimeout(60)
    try:
        assert ours.recv(16) == b"ready"
        yield pid, ours
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def traced(pid: int, fault: Fault, log: Path) -> Iterator[None]:
    """strace on the process, for as long as the context lasts."""
    command = ["strace", "-q", "-y", "-p", str(pid), "-o", str(log), "-e", "trace=" + ",".join(CALLS)]
    if fault.call:
        command += ["-e", f"inject={fault.call}:error={fault.error}:when={fault.number}"]
    strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        began = time.monotonic()
        while f"TracerPid:\t{strace.pid}\n" not in Path(f"/proc/{pid}/status").read_text():
            if strace.poll() is not None or time.monotonic() - began > 30:
                raise OSError(f"strace does not attach: {strace.stderr.read().decode() if strace.stderr else ''}")
            time.sleep(0.001)
        yield
    finally:
        strace.terminate()
        strace.communicate()


def counts(home: Path, deed: str, folder: Path) -> Counter[str]:
    """How often the deed makes each call."""
    with child(home, deed, Fault()) as (pid, link), traced(pid, Fault(), folder / "strace"):
        link.send(b"go")
        assert json.loads(link.recv(4096))["told"] == "ok"
    return Counter(line.partition("(")[0] for line in (folder / "strace").read_text().splitlines() if "(" in line)


class Trial:
    """One template of mail, and what becomes of copies of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._template = folder / "template"
        self._before = prepare(self._template)
        self._after: dict[str, State] = {}
        self.told: Counter[str] = Counter()

    def after(self, deed: str) -> State:
        if deed not in self._after:
            home = self._copy()
            hand = StoreHand(home)
            do(hand, deed)
            self._after[deed] = hand.look(PREFIX)
            hand.close()
        return self._after[deed]

    def _copy(self) -> Path:
        home = self.folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self._template, home)
        StoreHand(home).close()  # the index has found out that it is a copy
        return home

    def faults(self, deed: str) -> list[Fault]:
        """All that can be made to fail."""
        self.after(deed)
        number = counts(self._copy(), deed, self.folder)
        calls = [Fault(call, error, n) for call in CALLS for n in range(1, number[call] + 1) for error in ERRORS]
        largest = max(path.stat().st_size for path in (self.folder / "home").rglob("*") if path.is_file())
        return calls + [Fault(octets=octets) for octets in range(0, largest + 1, 509)]

    def one(self, deed: str, fault: Fault) -> str:
        """What was broken, or nothing."""
        home, log = self._copy(), self.folder / "strace"
        log.write_text("")
        with child(home, deed, fault) as (pid, link):
            with traced(pid, fault, log) if fault.call else contextlib.nullcontext():
                link.send(b"go")
                told = json.loads(link.recv(4096))
            link.send(b"look")
            then = json.loads(link.recv(1 << 16))
        hit = "INJECTED" in log.read_text() if fault.call else True
        self.told[f"{told['told']} {told['error']} {told['code']}".strip() if hit else "not hit"] += 1
        try:
            self._judge(deed, fault, told, then, log.read_text())
            self._look_again(home, then, told["told"] == "lost")
        except (Broken, Refused, Lost) as broken:
            return f"{deed}, {fault}: told {told}: {broken}"
        return ""

    def _judge(self, deed: str, fault: Fault, told: dict[str, str], then: dict[str, object], calls: str) -> None:
        if told["told"] == "bug" or (told["told"] != "ok" and told["code"] not in CODES):
            raise Broken("that is no answer for a client")
        if again := synced_again(calls):
            raise Broken(f"{again} was synced again after it had failed")
        if "failed" in then:
            raise Broken(f"the process does not go on: {then['failed']}")
        if then["leaked"]:
            raise Broken(f"left open: {then['leaked']}")
        before, after = plain(self._before), plain(self.after(deed))
        wanted = {"ok": [after], "refused": [before], "lost": [before, after]}[told["told"]]
        if then["state"] not in wanted and not (told["told"] == "lost" and _alike(then["state"], after)):
            raise Broken(f"found {then['state']}, expected one of {wanted}")

    def _look_again(self, home: Path, then: dict[str, object], may_leave: bool) -> None:
        if aside := [path.name for path in home.glob("imapd-index.sqlite.broken*")]:
            raise Broken(f"the index was taken for damaged: {aside}")
        hand = StoreHand(home)
        state = plain(hand.look(PREFIX))
        hand.close()
        inbox = state["INBOX"][1]  # type: ignore[index]
        if not any(mail[0] == "c0.8" for mail in inbox.values()):
            raise Broken("what the process appended afterwards is gone")
        state["INBOX"][1] = {uid: mail for uid, mail in inbox.items() if mail[0] != "c0.8"}  # type: ignore[index]
        if state != then["state"]:
            raise Broken(f"another process finds {state}, and not {then['state']}")
        left = [path.name for path in (home / "tmp").iterdir()]
        if left and not may_leave:  # where it cannot be told whether the index knows them, they stay for the sweep
            raise Broken(f"left in tmp: {left}")


def _alike(found: object, after: object) -> bool:
    """Whether the states have the same messages, whatever their UIDs."""

    def contents(state):
        return {name: sorted(box[1].values()) for name, box in state.items()}

    return contents(found) == contents(after)


def synced_again(calls: str) -> str:
    """The file that was synced once more after a sync of it had failed. What was changed by a name since is another file,
    or another state of the directory; and EINTR is no failure: nothing was tried."""
    failed: set[str] = set()
    for line in calls.splitlines():
        if match := re.match(r"f(?:data)?sync\(\d+<([^>]*)>", line):
            if match[1] in failed:
                return match[1]
            if "INJECTED" in line and "EINTR" not in line:
                failed.add(match[1])
        elif line.startswith(("rename(", "linkat(", "unlink(", "mkdir(")):
            named = re.findall(r'"([^"]*)"', line)
            failed -= {os.path.dirname(path) for path in named} | set(named)
    return ""


def trial(folder: Path, share: float, seed: int, deeds=DEEDS, say=print, stop_after: int = 20) -> list[str]:
    """Try a share of all faults; what was broken."""
    chance, broken, tried, began = random.Random(seed), [], 0, time.monotonic()
    trial = Trial(folder)
    for deed in deeds:
        faults = trial.faults(deed)
        for fault in faults:
            if chance.random() < share and len(broken) < stop_after:
                tried += 1
                if wrong := trial.one(deed, fault):
                    broken.append(wrong)
                    say(wrong)
        say(
            f"{deed}: {len(faults)} faults; {tried} tried so far, {len(broken)} broken, {time.monotonic() - began:.0f} s"
        )
    say(
        f"{tried} failing calls (seed {seed}): {len(broken)} broken, {time.monotonic() - began:.0f} s; told: {dict(trial.told)}"
    )
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of all faults that are tried")
    parser.add_argument("--deed", action="append", choices=DEEDS)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imapd-calls-") as folder:
        return 1 if trial(Path(folder), options.share, options.seed, options.deed or DEEDS) else 0


if __name__ == "__main__":
    raise SystemExit(main())
