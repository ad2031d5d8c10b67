"""Workloads of writing: flags, COPY, MOVE, EXPUNGE and APPEND. What is acknowledged is on disk with both servers."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench import checks, crowd
from tests.bench.arriving import MAIL_EACH
from tests.bench.client import Connection, WrongAnswer
from tests.bench.compare import Measure, Run, Target, Workload
from tests.bench.reading import opened, select, timed
from tests.bench.servers import DURABLE, DURABLE_MBOX, LOGIN, MBOX

MOST = 10_000  # how many messages are changed, copied and moved
SEQUENTIAL = 150  # messages that one client appends
CLIENTS, EACH = 20, 15  # clients that append at once, and how many messages each
TOGETHER = 100  # messages in a MULTIAPPEND


def somebody(run: Run, count: int) -> str:
    """A new person with files of his own."""
    return run.place.with_files(run.server, count)


def prepare(run: Run) -> Connection:
    """A new person's mailbox, which the server knows; and he, who has selected it."""
    count = min(run.count, MOST)
    name = somebody(run, count)
    with opened(run, name) as connection:  # SELECT of a mailbox never seen is not the matter here
        select(run, connection, count)
        for mailbox in (b"Copied", b"Moved"):
            connection.ask(b"CREATE %s" % mailbox)
    run.server.wait_until_quiet(30)
    connection = opened(run, name)
    select(run, connection, count)
    return connection


def store(run: Run) -> None:
    """Flags of all messages, silently and not, and of one after the other."""
    count = min(run.count, MOST)
    with prepare(run) as connection:
        timed(run, "store_add", connection, b"STORE 1:* +FLAGS.SILENT (\\Flagged)")
        timed(run, "store_remove", connection, b"STORE 1:* -FLAGS.SILENT (\\Flagged)")
        _one_by_one(run, connection)
        answer = connection.ask(b"FETCH 1:* (FLAGS)")
        outside, _, _ = checks.fetched(answer, range(1, count + 1))
        checks.equal("messages with \\Draft", outside.count(b"\\Draft"), min(100, count))


def _one_by_one(run: Run, connection: Connection) -> None:
    how_many = min(100, run.count)
    with run.costs("store_one"):
        seconds = sum(
            connection.ask(b"STORE %d +FLAGS (\\Draft)" % number).seconds for number in range(1, how_many + 1)
        )
    run.share("store_one", how_many)
    run.values["store_one"] = seconds * 1000 / how_many


def copy_and_move(run: Run) -> None:
    """COPY all; MOVE the copies; mark those and EXPUNGE them."""
    count = min(run.count, MOST)
    with prepare(run) as connection:
        timed(run, "copy", connection, b"COPY 1:* Copied")
        _selected(connection, b"Copied", count)
        answer = timed(run, "move", connection, b"MOVE 1:* Moved")
        checks.expunged(answer, count)
        _selected(connection, b"Moved", count)
        connection.ask(b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
        answer = timed(run, "expunge", connection, b"EXPUNGE")
        checks.expunged(answer, count)
        _selected(connection, b"Moved", 0)


def _selected(connection: Connection, name: bytes, count: int) -> None:
    checks.selected(connection.ask(b"SELECT %s" % name), count)


# -- APPEND ------------------------------------------------------------------------------------------------------------


def messages(run: Run, how_many: int) -> Iterator[bytes]:
    """Messages of the corpus as clients send them, with CRLF; those of up to 20 kB."""
    entries = [entry for entry in run.place.corpus.entries if entry.octets <= 20_000]
    for number in range(how_many):
        yield run.place.corpus.path(entries[number % len(entries)]).read_bytes().replace(b"\n", b"\r\n")


def literal(message: bytes) -> bytes:
    return b"{%d+}\r\n%s" % (len(message), message)


def append(run: Run) -> None:
    """One client, one message after the other; then in hundreds."""
    with opened(run, somebody(run, MAIL_EACH)) as connection:
        connection.ask(b"STATUS INBOX (MESSAGES)")
        commands = [b"APPEND INBOX (\\Seen) " + literal(one) for one in messages(run, SEQUENTIAL)]
        with run.costs("append"):
            seconds = sum(connection.ask(command).seconds for command in commands)
        run.share("append", SEQUENTIAL)
        run.values["append"] = SEQUENTIAL / seconds
        command = b"APPEND INBOX" + b"".join(b" (\\Seen) " + literal(one) for one in messages(run, TOGETHER))
        with run.costs("multiappend"):
            seconds = sum(connection.ask(command).seconds for _ in range(2))
        run.share("multiappend", 2 * TOGETHER)
        run.values["multiappend"] = 2 * TOGETHER / seconds
        _has(connection, MAIL_EACH + SEQUENTIAL + 2 * TOGETHER)


def append_20(run: Run) -> None:
    """Twenty people at once, each into his INBOX."""
    people = [somebody(run, MAIL_EACH) for _ in range(CLIENTS)]
    crowd.run(run.server.port, crowd.logins(iter(people), b"STATUS INBOX (MESSAGES)"), CLIENTS)
    commands = [b"APPEND INBOX (\\Seen) " + literal(one) for one in messages(run, EACH)]
    everybody = list(crowd.logins(iter(people), *commands))
    run.server.wait_until_quiet(5)
    with run.costs("append_20"):
        outcome = crowd.run(run.server.port, everybody, CLIENTS)
    run.share("append_20", CLIENTS * EACH)
    if outcome.done != CLIENTS:
        raise WrongAnswer(f"{outcome.done} of {CLIENTS} clients are through")
    run.values["append_20"] = CLIENTS * EACH / outcome.seconds
    for name in people:
        with opened(run, name) as connection:
            _has(connection, MAIL_EACH + EACH)


def _has(connection: Connection, count: int) -> None:
    data = bytes(connection.ask(b"STATUS INBOX (MESSAGES)").data)
    if b"(MESSAGES %d)" % count not in data:
        raise WrongAnswer(f"{count} messages should be there: {data!r}")


WORKLOADS = (
    Workload(
        "store",
        (
            Measure("store_add", "STORE +FLAGS.SILENT, up to 10,000", "ms", Target(1.3), (DURABLE, DURABLE_MBOX)),
            Measure("store_remove", "STORE -FLAGS.SILENT, up to 10,000", "ms", Target(1.3), (DURABLE, DURABLE_MBOX)),
            Measure("store_one", "STORE of one message", "ms", against=(DURABLE, DURABLE_MBOX)),
        ),
        store,
        (LOGIN, DURABLE),
        rounds=2,
        largest=MOST,
    ),
    Workload(
        "copy",
        (
            Measure("copy", "COPY, up to 10,000", "ms", Target(1.5), (LOGIN, MBOX)),
            Measure("move", "MOVE, up to 10,000", "ms", Target(1.5), (LOGIN, MBOX)),
            Measure("expunge", "EXPUNGE, up to 10,000", "ms", Target(1.2), (DURABLE, DURABLE_MBOX)),
        ),
        copy_and_move,
        (LOGIN, DURABLE),
        rounds=2,
        largest=MOST,
    ),
    Workload(
        "append",
        (
            Measure("append", "APPEND, one client", "/s", Target(1.5)),
            Measure("multiappend", "MULTIAPPEND of 100", "/s", Target(1.5)),
        ),
        append,
        sized=False,
    ),
    Workload(
        "append-20", (Measure("append_20", "APPEND, 20 clients at once", "/s", Target(1.5)),), append_20, sized=False
    ),
)
