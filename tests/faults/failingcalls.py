"""Every system call fails once: python -m tests.faults.failingcalls

A process opens a store; strace attaches to it and makes the n-th call of a kind fail, and the process does one thing to
its mail and says what it was told. That is tried for each call of each deed with each error. The same goes for files that
may not grow any more in the midst of a write, so that fewer octets are taken than were given. Afterwards:

1. what was acknowledged was done; what was refused was not; where the store says that it cannot tell, either may be;
2. it was refused with an error of the store and a response code that fits, and the index was not taken for damaged;
3. a file whose fsync failed was not synced again by that command;
4. the same process goes on working, with no more open files than before;
5. another process finds the same;
6. where a sync failed, a power cut after all that finds it too, though the pages it was for are lost
   (tests/faults/afterthecut).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import logging
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
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from imapd.mailstore import mboxlock
from imapd.mailstore.errors import StoreError
from tests.faults.afterthecut import CALLS as FOLLOWED
from tests.faults.afterthecut import Disk
from tests.faults.deeds import Lost, Refused
from tests.faults.hands import StoreHand
from tests.faults.ledger import Broken, Flags, Mail, State
from tests.mailstore.maildirhouse import open_files

PREFIX = "c0"
OTHER = "c0-a"
DEEDS = ("APPEND", "MULTIAPPEND", "STORE", "MOVE", "EXPUNGE", "COPY")
CALLS = ("openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "linkat", "unlink", "mkdir", "ftruncate")
SYNCS = ("fsync", "fdatasync")
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EMFILE", "EROFS", "EINTR")
CODES = {"UNAVAILABLE", "OVERQUOTA", "LIMIT", "NOPERM", "INUSE"}
SEEN: Flags = frozenset({"\\Seen"})
DELETED: Flags = frozenset({"\\Deleted"})
_ANYBODY = 0x59616D61, ctypes.c_ulong(-1 & (1 << 64) - 1)
"""prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY): our own child may be traced by strace, which is no parent of it."""


_TRIES = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """What fails. `call` is "" where nothing does; octets: the size that no file may pass."""

    call: str = ""
    error: str = ""
    number: int = 0
    octets: int | None = None

    @property
    def is_sync(self) -> bool:
        return self.call in SYNCS

    def __str__(self) -> str:
        if self.octets is not None:
            return f"files end at {self.octets} octets"
        return f"{self.error} at {self.call} {self.number}" if self.call else "nothing fails"


def prepare(home: Path, format: str) -> State:
    """The mail that everything begins with."""
    hand = StoreHand(home, format)
    hand.create(OTHER)
    hand.append("INBOX", [Mail(f"c0.{number}", DELETED if number % 2 else SEEN) for number in range(1, 5)])
    hand.append(OTHER, [Mail("c0.5", frozenset())])
    state = hand.look(PREFIX)
    hand.close()
    return state


LAST = Mail("c0.8", frozenset())
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


def work(home: Path, format: str, deed: str, fault: Fault, link: socket.socket) -> None:
    """The life of the process whose calls fail: it begins; it is ready; what it was told; what it sees then, and its
    open files."""
    link.recv(16)
    hand = StoreHand(home, format)
    hand.look(PREFIX)
    hand.store("INBOX", [4], True, frozenset({"\\Answered"}))  # everything that is opened by the first write is open
    hand.store("INBOX", [4], False, frozenset({"\\Answered"}))
    hand.do_what_is_left()
    before = open_files(home)
    link.send(b"ready")
    link.recv(16)
    if fault.octets is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.octets, resource.RLIM_INFINITY))
    told = attempt(hand, deed)
    hand.do_what_is_left()
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
        # A UID that is used up: nobody can guess the next one who has lost what was written here.
        hand.expunge("INBOX", hand.append("INBOX", [Mail("c0.9", DELETED)]).uids)
        placed = hand.append("INBOX", [LAST])
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    hand.errors.clear()  # an exception keeps what its frames used
    gc.collect()
    # SQLite keeps the descriptor of a closed connection for the next one: to close it would free the locks of the others.
    kept = Counter([f"{home}/imapd-index.sqlite"])
    return {
        "state": plain(state),
        "last": placed.uids[0],
        "leaked": sorted((open_files(home) - before - kept).elements()),
    }


def plain(state: State) -> dict[str, object]:
    return {
        name: [box.uidvalidity, {str(uid): [mail.token, *sorted(mail.flags)] for uid, mail in box.mails.items()}]
        for name, box in state.items()
    }


# In the parent


@contextlib.contextmanager
def child(home: Path, format: str, deed: str, fault: Fault) -> Iterator[tuple[int, socket.socket]]:
    """A process that waits."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        try:
            ours.close()
            ctypes.CDLL(None).prctl(*_ANYBODY, 0, 0, 0)
            work(home, format, deed, fault, theirs)
        finally:
            os._exit(0)
    theirs.close()
    ours.settimeout(60)
    try:
        yield pid, ours
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class NotReady(Exception):
    """The fault has hit before the deed: a call more or less was made than when they were counted."""


def made_ready(link: socket.socket) -> None:
    link.send(b"begin")
    if link.recv(16) != b"ready":
        raise NotReady


@contextlib.contextmanager
def traced(pid: int, fault: Fault, log: Path) -> Iterator[None]:
    """strace on the process, for as long as the context lasts."""
    command = ["strace", "-q", "-y", "-x", "-s", "1000000", "-p", str(pid), "-o", str(log)]
    command += ["-e", f"trace={','.join(CALLS)},{FOLLOWED},sendto"]
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


def counts(home: Path, format: str, deed: str, folder: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each call is made until the process is ready, and how often for the deed."""
    with child(home, format, deed, Fault()) as (pid, link), traced(pid, Fault(), folder / "strace"):
        made_ready(link)
        link.send(b"go")
        assert json.loads(link.recv(4096))["told"] == "ok"
    before, during, _ = re.split("^sendto.*\n", (folder / "strace").read_text(), flags=re.MULTILINE)
    return _calls(before), _calls(during)


def _of_the_deed(log: str) -> str:
    """The calls until it was told what became of the deed."""
    return log.rpartition('"{\\"told\\"')[0] or log


def _calls(log: str) -> Counter[str]:
    return Counter(line.partition("(")[0] for line in log.splitlines() if "(" in line)


class Trial:
    """One template of mail, and what becomes of copies of it."""

    def __init__(self, folder: Path, format: str = "maildir") -> None:
        self.folder = folder
        self.format = format
        self._template = folder / "template"
        self._before = prepare(self._template, format)
        self._after: dict[str, State] = {}
        self._earlier: dict[str, Counter[str]] = {}  # the calls until a process is ready
        self.told: Counter[str] = Counter()

    def after(self, deed: str) -> State:
        if deed not in self._after:
            home = self._copy()
            hand = StoreHand(home, self.format)
            do(hand, deed)
            self._after[deed] = hand.look(PREFIX)
            hand.close()
        return self._after[deed]

    def _copy(self) -> Path:
        home = self.folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self._template, home)
        StoreHand(home, self.format).close()  # the index has found out that it is a copy
        return home

    def faults(self, deed: str) -> list[Fault]:
        """All that can be made to fail."""
        self.after(deed)
        self._earlier[deed], number = counts(self._copy(), self.format, deed, self.folder)
        calls = [Fault(call, error, n) for call in CALLS for n in range(1, number[call] + 1) for error in ERRORS]
        largest = max(path.stat().st_size for path in (self.folder / "home").rglob("*") if path.is_file())
        return calls + [Fault(octets=octets) for octets in range(0, largest + 1, 509)]

    def one(self, deed: str, fault: Fault) -> str:
        """What was broken, or nothing."""
        for _ in range(_TRIES):
            with contextlib.suppress(NotReady):
                return self._one(deed, fault)
            self._earlier.pop(deed, None)
        raise NotReady(f"{deed}, {fault}")

    def _one(self, deed: str, fault: Fault) -> str:
        traced_fault = self._counted_from_the_beginning(deed, fault) if fault.is_sync else fault
        home, log = self._copy(), self.folder / "strace"
        log.write_text("")
        disk = Disk(home)
        with child(home, self.format, deed, fault) as (pid, link), contextlib.ExitStack() as trace:
            if fault.is_sync:  # what was not synced before matters too
                trace.enter_context(traced(pid, traced_fault, log))
            made_ready(link)
            if fault.call and not fault.is_sync:
                trace.enter_context(traced(pid, fault, log))
            link.send(b"go")
            told = json.loads(link.recv(4096))
            if not fault.is_sync:
                trace.close()
            link.send(b"look")
            then = json.loads(link.recv(1 << 16))
        hit = "INJECTED" in log.read_text() if fault.call else True
        self.told[f"{told['told']} {told['error']} {told['code']}".strip() if hit else "not hit"] += 1
        try:
            self._judge(deed, fault, told, then, log.read_text())
            if fault.is_sync:
                self._cut(disk, log.read_text(), deed, told["told"], then)
            self._look_again(home, then, told["told"] == "lost" or fault.call == "unlink")
        except (Broken, Refused, Lost, StoreError) as broken:
            return f"{deed}, {fault}: told {told}: {broken}"
        return ""

    def _counted_from_the_beginning(self, deed: str, fault: Fault) -> Fault:
        if deed not in self._earlier:
            self._earlier[deed] = counts(self._copy(), self.format, deed, self.folder)[0]
        return replace(fault, number=fault.number + self._earlier[deed][fault.call])

    def _cut(self, disk: Disk, log: str, deed: str, told: str, then: dict[str, object]) -> None:
        """Cut the power when the process has been told, and in the end."""
        for calls, look in (
            (_of_the_deed(log), lambda place: self._require(deed, told, plain_of(place, self.format))),
            (log.removeprefix(_of_the_deed(log)), lambda place: self._look_again(place, then, True)),
        ):
            disk.follow(calls)
            for chance in (None, random.Random(1), random.Random(2)):
                place = self.folder / "cut"
                disk.power_cut(place, chance)
                try:
                    with mock.patch.object(mboxlock, "STALE_AFTER", 0.0):  # the machine took a while to start
                        look(place)
                except (Broken, Refused, Lost, StoreError) as broken:
                    raise Broken(f"after a power cut: {broken}") from broken

    def _judge(self, deed: str, fault: Fault, told: dict[str, str], then: dict[str, object], calls: str) -> None:
        if told["told"] == "bug" or (told["told"] != "ok" and told["code"] not in CODES):
            raise Broken("that is no answer for a client")
        if again := synced_again(_of_the_deed(calls)):
            raise Broken(f"{again} was synced again after it had failed")
        if "failed" in then:
            raise Broken(f"the process does not go on: {then['failed']}")
        if then["leaked"]:
            raise Broken(f"left open: {then['leaked']}")
        self._require(deed, told["told"], then["state"])

    def _require(self, deed: str, told: str, state: object) -> None:
        """Raises Broken where the state does not agree with what was told."""
        before, after = plain(self._before), plain(self.after(deed))
        wanted = {"ok": [after], "refused": [before], "lost": [before, after]}[told]
        if state not in wanted and not (told == "lost" and _alike(state, after)):
            raise Broken(f"found {state}, expected one of {wanted}")

    def _look_again(self, home: Path, then: dict[str, object], may_leave: bool) -> None:
        if aside := [path.name for path in home.glob("imapd-index.sqlite.broken*")]:
            raise Broken(f"the index was taken for damaged: {aside}")
        state = plain_of(home, self.format)
        inbox = state["INBOX"][1]  # type: ignore[index]
        if inbox.pop(str(then["last"]), None) != [LAST.token]:
            raise Broken(f"what the process appended afterwards is gone: {inbox}")
        if state != then["state"]:
            raise Broken(f"another process finds {state}, and not {then['state']}")
        left = [path.name for path in (home / "tmp").iterdir()]
        if left and not may_leave:  # where nobody can tell whether the index knows them, they stay for the sweep
            raise Broken(f"left in tmp: {left}")


def plain_of(home: Path, format: str) -> dict[str, object]:
    """What a process finds there."""
    hand = StoreHand(home, format)
    try:
        return plain(hand.look(PREFIX))
    finally:
        hand.close()


def _alike(found: object, after: object) -> bool:
    """Whether the states have the same messages, whatever their UIDs."""

    def contents(state):
        return {name: sorted(box[1].values()) for name, box in state.items()}

    return contents(found) == contents(after)


def synced_again(calls: str) -> str:
    """The file that was synced once more after a sync of what was written to it had failed, and as it was.

    Where it was written anew, or cut off, a power cut tells whether that was all that the sync was for. Names and lengths
    are what file systems with a journal do not forget (tests/faults/afterthecut). EINTR is no failure: nothing was tried.
    """
    written: set[str] = set()
    failed: set[str] = set()
    for line in calls.splitlines():
        if match := re.match(r"f(?:data)?sync\(\d+<([^>]*)>", line):
            if match[1] in failed:
                return match[1]
            if "INJECTED" not in line:
                written.discard(match[1])
            elif "EINTR" not in line:
                failed |= {match[1]} & written
        elif match := re.match(r"(ftruncate|pwrite64|write)\(\d+<([^>]*)>", line):
            failed.discard(match[2])
            written |= set() if match[1] == "ftruncate" else {match[2]}
        elif line.startswith(("rename(", "linkat(", "unlink(")):
            failed -= set(re.findall(r'"([^"]*)"', line))  # another file may have the name now
    return ""


def trial(
    folder: Path, share: float, seed: int, deeds=DEEDS, format: str = "maildir", say=print, stop_after: int = 20
) -> list[str]:
    """Try a share of all faults; what was broken."""
    chance, broken, tried, began = random.Random(seed), [], 0, time.monotonic()
    trial = Trial(folder, format)
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
        f"{tried} failing calls of {format} (seed {seed}): {len(broken)} broken, {time.monotonic() - began:.0f} s; told: {dict(trial.told)}"
    )
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of all faults that are tried")
    parser.add_argument("--deed", action="append", choices=DEEDS)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--format", choices=("maildir", "mbox"), default="maildir")
    options = parser.parse_args()
    if shutil.which("strace") is None:
        print("No failing calls were tried: strace is not on this machine (apt-get install strace).")
        return 1
    logging.disable()  # each failure is told of, as it should be
    with tempfile.TemporaryDirectory(prefix="imapd-calls-") as folder:
        return 1 if trial(Path(folder), options.share, options.seed, options.deed or DEEDS, options.format) else 0


if __name__ == "__main__":
    raise SystemExit(main())
