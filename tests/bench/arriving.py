"""Workloads of coming and going: connections, logins, the first SELECT of small mailboxes; and many who stay idle."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import crowd, process
from tests.bench.client import PATIENCE, WrongAnswer
from tests.bench.compare import Measure, Run, Target, Workload
from tests.bench.servers import DEFAULT, DOVECOTS, HIBERNATE, IMAP, LOGIN, Imapd, Server

PEOPLE = 50  # who come and go
MAIL_EACH = 100  # messages in the INBOX of each of them
FEWER = 500  # sessions of a configuration that has a process for each
IDLE_MAIL = 3  # and of each who is idle
CROWD_MAIL = 10_000  # messages of each of those who have many
SECONDS = 1.0  # how long a rate is taken
SILENCE = 12.0  # seconds after which it is weighed what the idle take: servers put away what the silent do not need


def names() -> list[str]:
    return [f"p{number}" for number in range(PEOPLE)]


def idle_names(how_many: int) -> list[str]:
    return [f"idle{number}" for number in range(how_many)]


def _rate(run: Run, key: str, at_once: int, *more: bytes, tls: bool = False) -> None:
    """Connections a second that greet, log in, do more, log out; by so many clients at once."""
    everybody: Iterator[str] = itertools.cycle(names())
    port = run.server.tls_port if tls else run.server.port
    # Not counted: processes start, caches fill, everybody's mailbox becomes known.
    crowd.run(port, crowd.logins(iter(names()), *more), 10, tls=tls)
    run.server.wait_until_quiet(3, 0.2)
    with run.costs(key):
        outcome = crowd.run(port, crowd.logins(everybody, *more), at_once, tls=tls, seconds=SECONDS)
    run.share(key, outcome.done)
    run.values[key] = outcome.done / outcome.seconds


def _against_default(run: Run, key: str) -> None:
    """The same figure once more: the default is to be left far behind, and the fastest configuration as well."""
    run.values[f"{key}_default"] = run.values[key]
    run.cpu[f"{key}_default"], run.pss[f"{key}_default"] = run.cpu[key], run.pss[key]


def prepare(run: Run) -> None:
    for name in names():
        run.place.pair.give_mail(name, MAIL_EACH)


def login_1(run: Run) -> None:
    prepare(run)
    _rate(run, "login_1", 1)
    _against_default(run, "login_1")


def login_50(run: Run) -> None:
    prepare(run)
    _rate(run, "login_50", 50)
    _against_default(run, "login_50")


def login_1_tls(run: Run) -> None:
    prepare(run)
    _rate(run, "login_1_tls", 1, tls=True)


def login_50_tls(run: Run) -> None:
    prepare(run)
    _rate(run, "login_50_tls", 50, tls=True)


def login_select(run: Run) -> None:
    prepare(run)
    _rate(run, "login_select_1", 1, b"SELECT INBOX")
    _rate(run, "login_select_50", 50, b"SELECT INBOX")


# -- idle sessions -----------------------------------------------------------------------------------------------------

IDLE: crowd.Step = (b"zq9 IDLE\r\n", b"+ ")


def idle(run: Run) -> None:
    _idle(run, "idle", tls=False)


def idle_tls(run: Run) -> None:
    _idle(run, "idle_tls", tls=True)


def _idle(run: Run, key: str, tls: bool) -> None:
    """Everybody logs in, selects his INBOX and idles, 50 coming at a time; when they have been silent for a while, what a
    session takes is weighed."""
    place = run.place
    # A process for each of 5,000 sessions takes minutes to make, and says no more than some hundred do.
    many = run.server.name in (DEFAULT, LOGIN) and place.sessions > FEWER
    people = idle_names(FEWER if many else place.sessions)
    _acquaint(run)
    port = run.server.tls_port if tls else run.server.port
    everybody = [[*script[:-1], IDLE] for script in crowd.logins(iter(people), b"SELECT INBOX")]
    run.server.wait_until_quiet(5, 0.5)
    empty = run.server.pss()
    with run.costs(f"{key}_in"):
        outcome = crowd.run(port, everybody, 50, tls=tls, stay=True)
    try:
        if outcome.done != len(people):
            raise WrongAnswer(f"{outcome.done} of {len(people)} are in")
        time.sleep(SILENCE)
        if run.server.name == HIBERNATE:
            _until_hibernated(run)
        run.server.wait_until_quiet(10, 1.0)
        if not many:
            run.values[f"{key}_in"] = outcome.seconds
        run.values[f"{key}_kb"] = (run.server.pss() - empty) / len(people)
        run.others[f"{key}_processes"] = run.server.processes()
    finally:
        outcome.close()


def _acquaint(run: Run) -> None:
    """Let the server know the mailboxes of all who will be idle, once; and let it begin anew after that, with nothing
    in its memory. The fastest of the Dovecots does it for all of them."""
    place, people = run.place, idle_names(run.place.sessions)
    if run.server.mail in place.acquainted:
        return
    place.acquainted.add(run.server.mail)
    for name in people:
        place.pair.give_mail(name, IDLE_MAIL)
    server = place.pair.one(IMAP) if run.server.name in DOVECOTS else run.server
    crowd.run(server.port, crowd.logins(iter(people), b"SELECT INBOX"), 20)
    place.pair.one(run.server.name)


def _until_hibernated(run: Run) -> None:
    latest = time.monotonic() + PATIENCE
    while run.server.processes() > 40:
        if time.monotonic() > latest:
            raise WrongAnswer(f"{run.server.processes()} processes do not hibernate")
        time.sleep(0.2)


# -- being there -------------------------------------------------------------------------------------------------------


def startup(run: Run) -> None:
    """From the start of the program until it answers, and what it takes then, before anybody has come; with a directory
    of one person, so that it is not reading people that takes the time."""
    run.server.stop()
    if isinstance(run.server, Imapd):
        with tempfile.TemporaryDirectory(dir=run.place.pair.folder) as folder:
            server = Imapd(Path(folder), {"p0": "secret"})
            _started(run, server)
            run.values["rest_worker_mb"] = statistics.mean(process.pss_of(pid) for pid in server.workers()) / 1000
            run.values["rest_indexer_mb"] = sum(process.pss_of(pid) for pid in server.indexers()) / 1000
            server.stop()
        done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
        run.values["import_ms"] = float(done.stdout)
    else:
        _started(run, run.server)


def _started(run: Run, server: Server) -> None:
    begun = time.perf_counter()
    server.start()
    run.values["startup"] = time.perf_counter() - begun
    server.wait_until_quiet(5, 0.5)
    run.values["rest_mb"] = server.pss() / 1000


# What a worker has imported when it begins to serve.
IMPORT = "import time; begun = time.perf_counter(); import imapd.cli, imapd.server.master; print((time.perf_counter() - begun) * 1000)"


def crowded(run: Run) -> None:
    """People with 10,000 messages each, who have selected their INBOX and idle: what one more takes, when all have been
    there before and the server has begun anew."""
    people = [run.place.pair.new_person() for _ in range(run.place.crowd)]
    for name in people:
        run.place.pair.give_mail(name, CROWD_MAIL, only=run.server)
    scripts = [[*script[:-1], IDLE] for script in crowd.logins(iter(people), b"SELECT INBOX")]
    crowd.run(run.server.port, scripts, 2, stay=True, seconds=300).close()
    run.others["background_s"] = run.server.wait_until_quiet(300, 3.0)
    run.place.pair.one(run.server.name)
    run.server.wait_until_quiet(10, 1.0)
    empty = run.server.pss()
    outcome = crowd.run(run.server.port, scripts, 4, stay=True)
    try:
        run.server.wait_until_quiet(60, 2.0)
        run.values["crowd_kb"] = (run.server.pss() - empty) / len(people)
    finally:
        outcome.close()


LOGINS, REUSED = (DEFAULT, LOGIN, IMAP), (LOGIN, IMAP)
WORKLOADS = (
    Workload(
        "startup",
        (
            Measure("startup", "from the start until it answers", "s", Target(most=1)),
            Measure("rest_mb", "memory of all processes at rest", "MB"),
            Measure("rest_worker_mb", "of it, a worker", "MB"),
            Measure("rest_indexer_mb", "of it, the indexer", "MB"),
            Measure("import_ms", "importing what a worker needs", "ms"),
        ),
        startup, (DEFAULT,), sized=False, alone=True,
    ),
    Workload(
        "login",
        (
            Measure("login_1", "LOGIN and LOGOUT, one client", "/s", Target(1.5)),
            Measure("login_1_default", "LOGIN and LOGOUT, one client, beside the default", "/s", Target(10), (DEFAULT,)),
        ),
        login_1, LOGINS, sized=False, rounds=2,
    ),
    Workload(
        "login-50",
        (
            Measure("login_50", "LOGIN and LOGOUT, 50 clients", "/s", Target(1.5)),
            Measure("login_50_default", "LOGIN and LOGOUT, 50 clients, beside the default", "/s", Target(10), (DEFAULT,)),
        ),
        login_50, LOGINS, sized=False, rounds=2,
    ),
    Workload("login-tls", (Measure("login_1_tls", "LOGIN and LOGOUT in TLS, one client", "/s"),), login_1_tls, REUSED, sized=False, rounds=2),
    Workload(
        "login-tls-50", (Measure("login_50_tls", "LOGIN and LOGOUT in TLS, 50 clients", "/s"),), login_50_tls, REUSED, sized=False, rounds=2,
    ),
    Workload(
        "login-select",
        (
            Measure("login_select_1", "LOGIN, SELECT, LOGOUT, one client", "/s"),
            Measure("login_select_50", "LOGIN, SELECT, LOGOUT, 50 clients", "/s"),
        ),
        login_select, REUSED, sized=False, rounds=2,
    ),
    Workload(
        "idle",
        (
            Measure("idle_kb", "memory of an idle session", "kB", Target(most=8)),
            Measure("idle_in", "until all are in and idle", "s", Target(most=5)),
        ),
        idle, (DEFAULT, LOGIN, IMAP, HIBERNATE), sized=False, rounds=1, alone=True,
    ),
    Workload(
        "idle-tls",
        (
            Measure("idle_tls_kb", "memory of an idle session in TLS", "kB", Target(most=30)),
            Measure("idle_tls_in", "until all are in TLS and idle", "s"),
        ),
        idle_tls, (IMAP,), sized=False, rounds=1, alone=True,
    ),
    Workload(
        "crowded",
        (Measure("crowd_kb", "memory of a session with 10,000 messages selected", "kB"),),
        crowded, (IMAP, HIBERNATE), sized=False, rounds=1, alone=True, apart=True,
    ),
)  # fmt: skip
