"""Workloads of coming and going: connections, logins, the first SELECT of small mailboxes; and many who stay idle."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from tests.bench import crowd
from tests.bench.client import PATIENCE, WrongAnswer
from tests.bench.compare import Measure, Run, Target, Workload
from tests.bench.servers import DEFAULT, HIBERNATE, IMAP, LOGIN

PEOPLE = 50  # who come and go
MAIL_EACH = 100  # messages in the INBOX of each of them
IDLE_MAIL = 3  # and of each who is idle
SECONDS = 1.5  # how long a rate is taken


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


def prepare(run: Run) -> None:
    for name in names():
        run.place.pair.give_mail(name, MAIL_EACH)


def login_1(run: Run) -> None:
    prepare(run)
    _rate(run, "login_1", 1)


def login_50(run: Run) -> None:
    prepare(run)
    _rate(run, "login_50", 50)


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
    """Everybody logs in, selects his INBOX and idles, 50 coming at a time; then what a session takes is weighed."""
    people, place = idle_names(run.place.sessions), run.place
    for name in people:
        place.pair.give_mail(name, IDLE_MAIL)
    port = run.server.tls_port if tls else run.server.port
    everybody = [[*script[:-1], IDLE] for script in crowd.logins(iter(people), b"SELECT INBOX")]
    if run.turn == 0:  # nobody's mailbox is new
        crowd.run(port, crowd.logins(iter(people), b"SELECT INBOX"), 20)
    run.server.wait_until_quiet(5, 0.5)
    empty = run.server.pss()
    with run.costs(f"{key}_in"):
        outcome = crowd.run(port, everybody, 50, tls=tls, stay=True)
    try:
        if outcome.done != len(people):
            raise WrongAnswer(f"{outcome.done} of {len(people)} are in")
        if run.server.name == HIBERNATE:
            _until_hibernated(run)
        run.server.wait_until_quiet(10, 1.0)
        run.values[f"{key}_in"] = outcome.seconds
        run.values[f"{key}_kb"] = (run.server.pss() - empty) / len(people)
        run.others[f"{key}_processes"] = run.server.processes()
    finally:
        outcome.close()


def _until_hibernated(run: Run) -> None:
    latest = time.monotonic() + PATIENCE
    while run.server.processes() > 40:
        if time.monotonic() > latest:
            raise WrongAnswer(f"{run.server.processes()} processes do not hibernate")
        time.sleep(0.2)


LOGINS = (DEFAULT, LOGIN, IMAP)
WORKLOADS = (
    Workload("login", (Measure("login_1", "connect, LOGIN, LOGOUT: one client", "/s", Target(1.5)),), login_1, LOGINS, sized=False),
    Workload("login-50", (Measure("login_50", "the same, 50 clients", "/s", Target(1.5)),), login_50, LOGINS, sized=False),
    Workload("login-tls", (Measure("login_1_tls", "the same in TLS: one client", "/s"),), login_1_tls, LOGINS, sized=False),
    Workload("login-tls-50", (Measure("login_50_tls", "the same in TLS, 50 clients", "/s"),), login_50_tls, LOGINS, sized=False),
    Workload(
        "login-select",
        (
            Measure("login_select_1", "connect, LOGIN, SELECT, LOGOUT: one client", "/s"),
            Measure("login_select_50", "the same, 50 clients", "/s"),
        ),
        login_select, LOGINS, sized=False,
    ),
    Workload(
        "idle",
        (
            Measure("idle_kb", "memory of an idle session", "kB", Target(most=8)),
            Measure("idle_in", "all are in and idle", "s", Target(most=5)),
        ),
        idle, (DEFAULT, LOGIN, IMAP, HIBERNATE), sized=False, rounds=1, alone=True,
    ),
    Workload(
        "idle-tls",
        (
            Measure("idle_tls_kb", "memory of an idle session in TLS", "kB", Target(most=30)),
            Measure("idle_tls_in", "all are in TLS and idle", "s"),
        ),
        idle_tls, (IMAP,), sized=False, rounds=1, alone=True,
    ),
)  # fmt: skip
