"""Is a 95 % interval one? How often the paired interval of `compare` and the bounds of `check` hold the truth.

python benchmarks/statistics/coverage.py [--draws 20000]
"""

import argparse
import math
import sys
from itertools import product

import numpy as np
from tabulate import tabulate

from clipbench.judging.paired import Paired

TRUTH, SEED_NOISE, OWN_NOISE = 0.03, 0.2, 0.02


def main() -> None:
    options = argparse.ArgumentParser(description="Coverage of paired intervals.")
    options.add_argument("--draws", type=int, default=20000)
    draws = options.parse_args().draws
    rows = []
    for number, (tail, n) in enumerate(product(("normal", "t3"), (3, 5, 10))):
        random = np.random.default_rng(number)
        found = np.array([_covered(random, tail, n) for _ in range(draws)]).mean(axis=0)
        rows.append((tail, n, *(f"{share:.2%}" for share in found)))
    headings = ("noise", "seeds", "paired 95 % interval", "95 % bound below", "95 % bound above")
    error = 2 * math.sqrt(0.95 * 0.05 / draws)
    sys.stdout.write(f"How often the truth lies inside, of {draws} draws; two standard errors are {error:.2%}\n\n")
    sys.stdout.write(f"{tabulate(rows, headers=headings)}\n")


def _covered(random: np.random.Generator, tail: str, n: int) -> tuple[bool, bool, bool]:
    def noise() -> np.ndarray:
        return OWN_NOISE * (random.standard_normal(n) if tail == "normal" else random.standard_t(3, n))

    seeds = SEED_NOISE * random.standard_normal(n)
    baseline, candidate = seeds + noise(), seeds + noise() + TRUTH
    found = Paired("linear", dict(enumerate((candidate - baseline).tolist())))
    low, high = found.interval()
    return low <= TRUTH <= high, found.bound(0.05, -1) < TRUTH, found.bound(0.05, 1) > TRUTH


if __name__ == "__main__":
    main()
