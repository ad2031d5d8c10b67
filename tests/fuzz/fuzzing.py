"""What the fuzzers have in common: octets that are changed at random and tried, for so long, and their command line.

With atheris installed it steers the changes by coverage; without it they are plain random. Octets that break a promise
are written to a file.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fuzzer:
    """seeds: what is changed; mutate: changes it; check: tries it, and raises where a promise is broken."""

    seeds: Sequence[bytes]
    mutate: Callable[[random.Random, bytes], bytes]
    check: Callable[[random.Random, bytes], object]

    def run(self, seed, iterations=None, seconds=None):
        """Try changed seeds until there were enough, or the time is over; returns how many."""
        ends = None if seconds is None else time.monotonic() + seconds
        done = 0
        while (iterations is None or done < iterations) and (ends is None or time.monotonic() < ends):
            choose = random.Random(f"{seed}/{done}")
            data = self.mutate(choose, choose.choice(self.seeds))
            try:
                self.check(choose, data)
            except Exception:
                with tempfile.NamedTemporaryFile(prefix="fuzz-", delete=False) as kept:
                    kept.write(data)
                print(f"seed {seed}, iteration {done}: {kept.name}", file=sys.stderr)
                raise
            done += 1
        return done

    def main(self, words):
        """The command. words: what it does, as --help says it."""
        arguments = argparse.ArgumentParser(description=words.split("\n", 1)[0])
        arguments.add_argument("--seconds", type=float, default=60)
        arguments.add_argument("--seed", type=int, default=1)
        chosen = arguments.parse_args()
        try:
            import atheris
        except ImportError:
            print(self.run(chosen.seed, seconds=chosen.seconds), "tried, and no promise was broken")
        else:
            self._run_atheris(atheris, chosen.seconds, chosen.seed)

    def _run_atheris(self, atheris, seconds, seed):
        """Let atheris choose the octets, and changes of the seeds that follow from them."""

        def one(data):
            choose = random.Random(data)
            self.check(choose, data)
            self.check(choose, self.mutate(choose, choose.choice((data, *self.seeds))))

        atheris.instrument_all()
        atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", f"-seed={seed}"], one)
        atheris.Fuzz()
