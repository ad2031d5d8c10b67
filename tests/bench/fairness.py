"""How long a neighbour waits while somebody fetches all envelopes of a large mailbox: python -m tests.bench.fairness.

The neighbour is on the same worker and asks for NOOP again and again; his waits are given as percentiles. The reader is on
this machine too, so the two share its processors with the daemon.
"""

import statistics
import tempfile
from pathlib import Path

from tests.limits.test_fairness import MESSAGES, Neighbour, fetch_all_envelopes, large_daemon


def line(name, waits, more=""):
    cuts = statistics.quantiles([wait * 1000 for wait in waits], n=100)
    print(
        f"{name:32} NOOP p50 {cuts[49]:6.2f} ms  p99 {cuts[98]:6.2f} ms  worst {max(waits) * 1000:6.2f} ms  of {len(waits)}{more}"
    )


def main():
    with tempfile.TemporaryDirectory() as folder:
        daemon = large_daemon(Path(folder))
        try:
            neighbour = Neighbour(daemon)
            neighbour.start()
            neighbour.join(3)
            line("nobody else", neighbour.finish())
            for name in ("never seen", "once more", "once more"):
                count, octets, grown, waits = fetch_all_envelopes(daemon)
                assert count == MESSAGES
                line(f"FETCH 1:{count} (ENVELOPE), {name}", waits, f"; {octets / 1e6:.1f} MB sent, worker +{grown} kB")
        finally:
            daemon.stop()


if __name__ == "__main__":
    main()
