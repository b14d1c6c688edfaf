"""How large a regression does the gate see? One loss of a 60-row suite made worse, the other rows left alone.

    python benchmarks/statistics/power.py [--suites 500]

Paired noise is the standard deviation over seeds of ln(candidate's final loss / baseline's) on shared seeds. The first two
are what mistakes.py finds on code_lm: for another β₂ or rate, and for another clip fraction.
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

ARMS, SEED_NOISE = 20, 0.02
PAIRED_NOISE = (0.0057, 0.0104, 0.02)
WORSE = (1.05, 1.10)


def main() -> None:
    options = argparse.ArgumentParser(description="Power of the gate.")
    options.add_argument("--suites", type=int, default=500)
    suites = options.parse_args().suites
    rows = []
    for number, (paired, seeds) in enumerate(product(PAIRED_NOISE, (3, 5, 10))):
        noise = Noise(SEED_NOISE, paired / math.sqrt(2))
        random = np.random.default_rng(number)
        caught = [np.mean([_caught(random, noise, seeds, math.log(factor)) for _ in range(suites)]) for factor in WORSE]
        rows.append((f"{paired:.4f}", seeds, *(f"{share:.1%}" for share in caught)))
    headings = ("paired noise", "shared seeds", *(f"{factor - 1:.0%} worse" for factor in WORSE))
    sys.stdout.write(f"Suites in which the one loss that got worse is found, of {suites}; 60 rows, tolerance 2 %\n")
    sys.stdout.write(f"{tabulate(rows, headers=headings)}\n")


def _caught(random: np.random.Generator, noise: Noise, seeds: int, worse: float) -> bool:
    candidate, baseline = pair(random, noise, arms=ARMS, seeds=seeds, worse={7: worse})
    report = check(candidate, baseline, Rules())
    return any(row.verdict == "regressed" and (row.arm, row.metric) == ("arm 7", "loss") for row in report.rows)


if __name__ == "__main__":
    main()
