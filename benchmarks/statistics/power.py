"""Does the gate see a loss that is 5 % worse? One row of a suite made so, the other rows left alone.

    python benchmarks/statistics/power.py [--suites 500]

Paired noise is the standard deviation over seeds of ln(candidate's final loss / baseline's) on shared seeds. The first
two are what mistakes.py finds on code_lm: for another β₂ or rate, and for another clip fraction.

An arm has three rows, its loss among them, or is a loss alone: of nothing but losses none stands before another,
which is the limit of what weights can do.
"""

import argparse
import math
import sys
from itertools import product

import numpy as np
from suites import Noise, losses_alone, pair
from tabulate import tabulate

from clipbench.judging.gate.check import check
from clipbench.judging.gate.rules import Rules

SUITES = ((7, False), (20, False), (60, True))  # arms, and whether each is a loss alone or three rows
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
        caught = [
            np.mean([_caught(random, noise, seeds, arms, alone=alone) for _ in range(suites)]) for arms, alone in SUITES
        ]
        rows.append((f"{paired:.4f}", seeds, *(f"{share:.1%}" for share in caught)))
    sizes = (f"of {arms} losses" if alone else f"of {3 * arms} rows" for arms, alone in SUITES)
    headings = ("paired noise", "shared seeds", *sizes)
    sys.stdout.write(f"How often a loss {WORSE - 1:.0%} worse has regressed, of {suites} suites; tolerance 2 %\n\n")
    sys.stdout.write(f"{tabulate(rows, headers=headings)}\n")


def _caught(random: np.random.Generator, noise: Noise, seeds: int, arms: int, *, alone: bool) -> bool:
    candidate, baseline = pair(random, noise, arms=arms, seeds=seeds, worse={3: math.log(WORSE)})
    if alone:
        candidate, baseline = losses_alone(candidate), losses_alone(baseline)
    report = check(candidate, baseline, Rules())
    return any(row.verdict == "regressed" and (row.arm, row.metric) == ("arm 3", "loss") for row in report.rows)


if __name__ == "__main__":
    main()
