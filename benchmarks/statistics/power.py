"""How large a regression does the gate see? One loss of a 60-row suite made worse, the other rows left alone.

    python benchmarks/statistics/power.py [--suites 1000] [--noise 0.004]

`--noise` is the standard deviation over seeds of ln(candidate's final loss / baseline's), on shared seeds; mistakes.py
measures it on code_lm. The lines beneath ask what is left where it is two and four times as large.
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
MEASURED = 0.004
WORSE = (1.02, 1.05, 1.10)


def main() -> None:
    options = argparse.ArgumentParser(description="Power of the gate.")
    options.add_argument("--suites", type=int, default=1000)
    options.add_argument("--noise", type=float, default=MEASURED)
    given = options.parse_args()
    rows = []
    for number, (times, seeds) in enumerate(product((1, 2, 4), (3, 5, 10))):
        noise = Noise(SEED_NOISE, times * given.noise / math.sqrt(2))
        random = np.random.default_rng(number)
        caught = [
            np.mean([_caught(random, noise, seeds, math.log(factor)) for _ in range(given.suites)]) for factor in WORSE
        ]
        rows.append((f"{times * given.noise:.4f}", seeds, *(f"{share:.1%}" for share in caught)))
    headings = ("paired noise", "shared seeds", *(f"{factor - 1:.0%} worse" for factor in WORSE))
    sys.stdout.write(
        f"Suites in which the one loss that got worse is found, of {given.suites}; 60 rows, tolerance 2 %\n"
    )
    sys.stdout.write(f"{tabulate(rows, headers=headings)}\n")


def _caught(random: np.random.Generator, noise: Noise, seeds: int, worse: float) -> bool:
    candidate, baseline = pair(random, noise, arms=ARMS, seeds=seeds, worse={7: worse})
    report = check(candidate, baseline, Rules())
    return any(row.verdict == "regressed" and (row.arm, row.metric) == ("arm 7", "loss") for row in report.rows)


if __name__ == "__main__":
    main()
