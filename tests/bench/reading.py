"""Workloads of reading: SELECT and FETCH, on a mailbox never seen and on one that is known."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from tests.bench import checks, corpus
from tests.bench.client import Answer, Connection
from tests.bench.compare import Measure, Run, Target, Workload
from tests.bench.servers import IMAP, IMAPD, LOGIN

BODIES = 10_000  # of how many messages bodies are asked for, at most
LIST = b"INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE"
FIELDS = b"UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (%s)]" % " ".join(corpus.WEBMAIL).encode()
BOTH = (LOGIN, IMAP)
Asked = Callable[[Run, str, Connection, bytes], Answer]


def opened(run: Run, name: str, tls: bool = False) -> Connection:
    """Somebody who is logged in."""
    connection = run.opened(Connection(run.server.tls_port if tls else run.server.port, tls))
    connection.ask(b"LOGIN %s secret" % name.encode())
    return connection


def select(run: Run, connection: Connection, count: int) -> Answer:
    answer = connection.ask(b"SELECT INBOX")
    checks.selected(answer, count)
    return answer


def known(run: Run) -> Connection:
    """Somebody who has selected the large mailbox, which is known to the server."""
    connection = opened(run, run.place.big)
    select(run, connection, run.count)
    return connection


def timed(run: Run, key: str, connection: Connection, command: bytes) -> Answer:
    """A command whose time in ms is a value of the workload."""
    with run.costs(key):
        answer = connection.ask(command)
    run.values[key] = answer.seconds * 1000
    return answer


def again(run: Run, key: str, connection: Connection, command: bytes) -> Answer:
    """A command once for nothing and then some times more, for up to half a second; the median in ms, and the last answer.

    What it costs is that of one time.
    """
    answer = connection.ask(command)
    times = []
    with run.costs(key):
        while sum(times) < 0.5 and len(times) < 9:
            answer = connection.ask(command)
            times.append(answer.seconds)
    run.share(key, len(times))
    run.values[key] = statistics.median(times) * 1000
    return answer


def never_seen(run: Run) -> tuple[str, Connection]:
    """Somebody who has selected a mailbox that the server sees for the first time: his name, and he."""
    name = run.place.never_seen(run.server)
    run.server.wait_until_quiet()
    connection = opened(run, name)
    run.server.wait_until_quiet(2, 0.1)
    checks.selected(timed(run, "select_first", connection, b"SELECT INBOX"), run.count)
    return name, connection


# -- a mailbox never seen ----------------------------------------------------------------------------------------------


def first_look(run: Run) -> None:
    """SELECT and the newest 50, as a client does that shows a mailbox."""
    _, connection = never_seen(run)
    numbers = range(max(1, run.count - 49), run.count + 1)
    answer = timed(run, "newest_first", connection, b"FETCH %d:* (UID FLAGS %s)" % (numbers[0], LIST))
    outside, _, _ = checks.fetched(answer, numbers)
    checks.described(outside, answer, len(numbers))
    checks.sizes(outside, run.place.corpus.octets(run.count) - run.place.corpus.octets(numbers[0] - 1))


def envelope_first(run: Run) -> None:
    _whole_list(run, "envelope_first", never_seen(run)[1])
    run.values.pop("select_first")


def envelope_indexed(run: Run) -> None:
    """What a client finds who comes when the index in the background is done; of Dovecot, which has none, what it gives
    when it has been asked before."""
    if run.server.name != IMAPD:
        with known(run) as connection:
            connection.ask(b"FETCH 1:* (%s)" % LIST)
            _whole_list(run, "envelope_indexed", connection)
        return
    name, connection = never_seen(run)
    connection.close()
    run.values.pop("select_first")
    run.others["background_s"] = run.server.wait_until_quiet(120, 1.0)
    with opened(run, name) as connection:
        select(run, connection, run.count)
        _whole_list(run, "envelope_indexed", connection)


def headers_first(run: Run) -> None:
    _webmail(run, "headers_first", never_seen(run)[1])
    run.values.pop("select_first")


# -- a mailbox that is known ------------------------------------------------------------------------------------------


def select_warm(run: Run) -> None:
    """The first SELECT of a session, of one after the other, when the mailbox is known."""
    times = []
    for session in range(7):
        with opened(run, run.place.big) as connection:
            answer = select(run, connection, run.count)
            if session > 1:
                times.append(answer.seconds * 1000)
    with opened(run, run.place.big) as connection:
        timed(run, "select_warm", connection, b"SELECT INBOX")
    run.values["select_warm"] = statistics.median(times)


def uidflags(run: Run) -> None:
    with known(run) as connection:
        answer = again(run, "uidflags", connection, b"FETCH 1:* (UID FLAGS)")
        outside, _, _ = checks.fetched(answer, range(1, run.count + 1))
        checks.uids(outside, run.count)
        checks.flags(outside, run.count, run.place.corpus.seen(run.count))


def envelope_warm(run: Run) -> None:
    with known(run) as connection:
        _whole_list(run, "envelope_warm", connection, again)


def headers_warm(run: Run) -> None:
    with known(run) as connection:
        _webmail(run, "headers_warm", connection, again)


def _whole_list(run: Run, key: str, connection: Connection, asked: Asked = timed) -> None:
    answer = asked(run, key, connection, b"FETCH 1:* (%s)" % LIST)
    outside, _, _ = checks.fetched(answer, range(1, run.count + 1))
    checks.described(outside, answer, run.count)
    checks.sizes(outside, run.place.corpus.octets(run.count))


def _webmail(run: Run, key: str, connection: Connection, asked: Asked = timed) -> None:
    answer = asked(run, key, connection, b"FETCH 1:* (%s)" % FIELDS)
    outside, literals, octets = checks.fetched(answer, range(1, run.count + 1))
    checks.uids(outside, run.count)
    checks.sizes(outside, run.place.corpus.octets(run.count))
    checks.equal("header fields", literals, run.count)
    checks.equal("the octets of header fields", octets, run.place.corpus.webmail_octets(run.count))


# -- bodies ------------------------------------------------------------------------------------------------------------


def bodies(run: Run) -> None:
    _bodies(run, "bodies", tls=False)


def bodies_tls(run: Run) -> None:
    _bodies(run, "bodies_tls", tls=True)


def _bodies(run: Run, key: str, tls: bool) -> None:
    count = min(run.count, BODIES)
    with opened(run, run.place.big, tls) as connection:
        select(run, connection, run.count)
        answer = again(run, key, connection, b"FETCH 1:%d (UID BODY.PEEK[])" % count)
        outside, literals, octets = checks.fetched(answer, range(1, count + 1))
        checks.uids(outside, count)
        checks.equal("bodies", literals, count)
        checks.equal("the octets of bodies", octets, run.place.corpus.octets(count))
        run.values[key] = octets / 1e3 / run.values[key]


def partial(run: Run) -> None:
    """The first 2 kB of each message, and one large message in pieces of 64 kB."""
    count = min(run.count, BODIES)
    entries = run.place.corpus.entries[: run.count]
    with known(run) as connection:
        answer = again(run, "partial", connection, b"FETCH 1:%d (UID BODY.PEEK[]<0.2048>)" % count)
        _, literals, octets = checks.fetched(answer, range(1, count + 1))
        checks.equal("first octets", literals, count)
        checks.total("their sum", (min(entry.octets, 2048) for entry in entries[:count]), octets)
        large = max(entries, key=lambda entry: entry.octets)
        got, milliseconds = 0, 0.0
        with run.costs("pieces"):
            for begin in range(0, large.octets, 65536):
                answer = connection.ask(b"FETCH %d (BODY.PEEK[]<%d.65536>)" % (large.number + 1, begin))
                got, milliseconds = got + answer.outside()[2], milliseconds + answer.seconds * 1000
        checks.equal("the pieces of a large message", got, large.octets)
        run.values["pieces"] = milliseconds


WORKLOADS = (
    Workload(
        "first",
        (
            Measure("select_first", "SELECT of a mailbox never seen", "ms", Target(ratio=1)),
            Measure("newest_first", "its newest 50 right after that", "ms", Target(most=100)),
        ),
        first_look,
    ),
    Workload("select", (Measure("select_warm", "SELECT, warm", "ms", Target(ratio=1)),), select_warm, BOTH),
    Workload("uidflags", (Measure("uidflags", "FETCH 1:* (UID FLAGS)", "ms", Target(ratio=1)),), uidflags, BOTH),
    Workload(
        "envelope-first",
        (Measure("envelope_first", "FETCH 1:* (… ENVELOPE BODYSTRUCTURE), never seen", "ms", Target(ratio=1)),),
        envelope_first, rounds=2,
    ),
    Workload(
        "envelope-indexed",
        (Measure("envelope_indexed", "FETCH 1:* (… ENVELOPE BODYSTRUCTURE), indexed", "ms", Target(ratio=8)),),
        envelope_indexed, rounds=2,
    ),
    Workload("envelope", (Measure("envelope_warm", "FETCH 1:* (… ENVELOPE BODYSTRUCTURE), warm", "ms", Target(ratio=8)),), envelope_warm, BOTH),
    Workload("headers-first", (Measure("headers_first", "header fields of a webmail, never seen", "ms"),), headers_first, rounds=2, largest=10_000),
    Workload("headers", (Measure("headers_warm", "header fields of a webmail, warm", "ms", Target(ratio=3)),), headers_warm, BOTH),
    Workload("bodies", (Measure("bodies", "bodies of up to 10,000 messages", "MB/s", Target(ratio=1)),), bodies, BOTH),
    Workload("bodies-tls", (Measure("bodies_tls", "bodies of up to 10,000 messages, TLS", "MB/s", Target(ratio=1.5)),), bodies_tls, BOTH),
    Workload(
        "partial",
        (
            Measure("partial", "the first 2 kB of up to 10,000 messages", "ms"),
            Measure("pieces", "the largest message in pieces of 64 kB", "ms"),
        ),
        partial, BOTH, largest=10_000,
    ),
)  # fmt: skip
