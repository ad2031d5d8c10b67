"""What a directory that hangs costs, and whom: python -m tests.bench.outage.

Two directories with the default timeouts. The primary is stopped (SIGSTOP: it takes connections and says nothing), its
person tries to log in, a person of the other directory logs in again and again, somebody who is logged in asks for NOOP;
then the primary goes on, and the time until its person is in again is taken. Everything runs on this machine.
"""

import re
import statistics
import tempfile
import threading
import time
from pathlib import Path

from tests.limits.test_fairness import Neighbour
from tests.server.test_ldap_logins import DIRECTORIES
from tests.support.daemon import Daemon
from tests.support.slapd import Slapd, person


def login(daemon, name, password):
    """(the tagged line, seconds) of one login on a connection of its own."""
    client = daemon.connect(timeout=60)
    began = time.perf_counter()
    _, tagged = client.command(f'LOGIN "{name}" "{password}"')
    taken = time.perf_counter() - began
    client.close()
    return tagged.decode(), taken


def line(name, values):
    cuts = statistics.quantiles([value * 1000 for value in values], n=100)
    print(
        f"{name:58} p50 {cuts[49]:7.2f} ms  p99 {cuts[98]:7.2f} ms  worst {max(values) * 1000:7.2f} ms  of {len(values)}"
    )


class Partner(threading.Thread):
    """Somebody of the other directory, who logs in again and again."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.host, self.times, self.go_on = daemon, [], True

    def run(self):
        while self.go_on:
            answer, taken = login(self.host, "u8@partner.example", "partner")
            assert answer.startswith("OK"), answer
            self.times.append(taken)

    def finish(self):
        self.go_on = False
        self.join(60)
        return self.times


def beside(daemon, deed):
    """Do something while the others go on: (its result, logins of the other directory, NOOPs), times in seconds."""
    partner, neighbour = Partner(daemon), Neighbour(daemon, "anna@example.org", "secret")
    partner.start()
    neighbour.start()
    result = deed()
    return result, partner.finish(), neighbour.finish()


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Slapd(folder / "acme", person("u8")) as acme,
            Slapd(
                folder / "partner",
                person("u8", "o=Partner", mail="u8@partner.example", password="partner"),
                suffix="o=Partner",
            ) as other,
        ):
            daemon = Daemon(folder / "imapd", workers=1)
            (daemon.folder / "ldap.secret").write_text("service\n")
            (daemon.folder / "ldap.secret").chmod(0o600)
            path = daemon.folder / "imapd.ini"
            text = path.read_text()
            old = text[text.index("[directories]") : text.index("[mail]")]
            sections = re.sub(r"\n  timeout = \S+", "", DIRECTORIES).format(acme=acme, partner=other)
            path.write_text(text.replace(old, sections))
            daemon.start()
            try:
                measure(daemon, acme)
            finally:
                daemon.stop()


def measure(daemon, acme):
    assert login(daemon, "u8", "secret")[0].startswith("OK")
    _, logins, noops = beside(daemon, lambda: time.sleep(4))
    line("all is well: logins of the other directory", logins)
    line("all is well: NOOP", noops)
    acme.pause()
    try:
        (answer, taken), logins, noops = beside(daemon, lambda: login(daemon, "u8@acme.example", "other-secret"))
        print(f"the primary hangs: its person is told {answer.split(']')[0]}] after {taken:.2f} s")
        line("the primary hangs: logins of the other directory", logins)
        line("the primary hangs: NOOP", noops)
        for _ in range(5):
            _, taken = login(daemon, "u8@acme.example", "other-secret")
        print(f"the primary hangs: its person asks once more and is told so after {taken * 1000:.1f} ms")
    finally:
        acme.resume()
    began = time.perf_counter()
    while not login(daemon, "u8@acme.example", "secret")[0].startswith("OK"):
        time.sleep(0.02)
    print(f"the primary goes on: its person is in again after {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
