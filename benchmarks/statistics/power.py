"""Does the gate see a loss that is 5 % worse? One row of a suite made so, the other rows left alone.

    python benchmarks/statistics/power.py [--suites 500]

Paired noise is the standard deviation over seeds of ln(candidate's final loss / baseline's) on shared seeds. The first
two are what mistakes.py finds on code_lm: for another β₂ or rate, and for another clip fraction.
"""

import argparse
import math
import sys
from itertools import product

import numpy as np
from suites import Noise, pair
from tabulate import tabulate

from clipbench.judging.check import check
from clipbench.judging.check_rules import Rules

ARMS = (7, 20)  # three rows each
SEED_NOISE, WORSE = 0.02, 1.05
PAIRED_NOISE = (0.0057, 0.0104, 0.02)


def main() -> None:
    options = argparse.ArgumentParser(description="Power of the gate.")
    options.add_argument("--suites", type=int, default=500)
    suites = options.parse_args().suites
    rows = []
    for number, (paired, seeds) in enumerate(product(PAIRED_NOISE, (3, 5, 10))):
        noise = Noise(SEED_NOISE, paired / math.sqrt(2))
        random = np.random.default_rng(number)
        caught = [np.mean([_caught(random, noise, seeds, arms) for _ in range(suites)]) for arms in ARMS]
        rows.append((f"{paired:.4f}", seeds, *(f"{share:.1%}" for share in caught)))
    headings = ("paired noise", "shared seeds", *(f"of {3 * arms} rows" for arms in ARMS))
    sys.stdout.write(f"How often a loss {WORSE - 1:.0%} worse has regressed, of {suites} suites; tolerance 2 %\n\n")
    sys.stdout.write(f"{tabulate(rows, headers=headings)}\n")


def _caught(random: np.random.Generator, noise: Noise, seeds: int, arms: int) -> bool:
    candidate, baseline = pair(random, noise, arms=arms, seeds=seeds, worse={3: math.log(WORSE)})
    report = check(candidate, baseline, Rules())
    return any(row.verdict == "regressed" and (row.arm, row.metric) == ("arm 3", "loss") for row in report.rows)


if __name__ == "__main__":
    main()
