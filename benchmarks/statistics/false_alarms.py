"""How often does the gate cry wolf? Suites of 60 rows in which nothing changed.

    python benchmarks/statistics/false_alarms.py [--suites 2000]

A suite is a false alarm if any of its rows regressed. The gate holds that to 5 %. Beside it stands what simpler rules
do with the very same suites: "the mean is more than 2 % worse", and a t-test for each row at 5 %. In the last line a
fifth of all runs misses its target.
"""

import argparse
import sys
from dataclasses import replace
from itertools import product

import numpy as np
from suites import Noise, Tail, pair
from tabulate import tabulate

from clipbench.judging.gate.check import check
from clipbench.judging.gate.report import GateReport
from clipbench.judging.gate.rules import TOLERANCES, Rules

TAILS: tuple[Tail, ...] = ("normal", "t3")
ARMS, SEEDS = 20, 5  # three metrics each: 60 rows
SEED_NOISE, OWN_NOISE = 0.02, 0.005
NO_TOLERANCE = Rules(tolerances=dict.fromkeys(TOLERANCES, 0.0))


def main() -> None:
    options = argparse.ArgumentParser(description="False alarms of the gate.")
    options.add_argument("--suites", type=int, default=2000)
    suites = options.parse_args().suites
    rows = []
    kinds = [Noise(SEED_NOISE, OWN_NOISE, tail, shared) for tail, shared in product(TAILS, (True, False))]
    for number, noise in enumerate([*kinds, replace(kinds[0], missed=0.2)]):
        random = np.random.default_rng(number)
        alarms = np.array([_alarms(random, noise) for _ in range(suites)])
        shares = alarms.mean(axis=0)
        worst = shares[1] + 1.96 * np.sqrt(shares[1] * (1 - shares[1]) / suites)
        percents = [f"{share:.2%}" for share in (shares[0], shares[1], worst, shares[2], shares[3])]
        seeds = "shared" if noise.shared else "not shared"
        rows.append((noise.tail, f"{seeds}, some miss" if noise.missed else seeds, *percents))
    headings = ("noise", "seeds", "gate", "gate, tolerance 0", "its upper limit", "mean > 2 %", "t-tests at 5 %")
    sys.stdout.write(f"Suites with a false alarm, of {suites}; {3 * ARMS} rows, {SEEDS} seeds, nothing changed\n\n")
    sys.stdout.write(f"{tabulate(rows, headers=headings)}\n")


def _alarms(random: np.random.Generator, noise: Noise) -> tuple[bool, bool, bool, bool]:
    candidate, baseline = pair(random, noise, arms=ARMS, seeds=SEEDS)
    report = check(candidate, baseline, Rules())
    tested = [row for row in report.rows if row.tolerance is not None]
    assert len(tested) == 3 * ARMS, "every row must be judged"
    mean_alone = any(row.change > 0.02 for row in tested)
    return (
        _regressed(report),
        _regressed(check(candidate, baseline, NO_TOLERANCE)),
        mean_alone,
        any(_uncorrected(row.change, row.high, row.seeds) for row in tested),
    )


def _uncorrected(mean: float, high: float, n: int) -> bool:
    """Whether a one-sided t-test of this row alone would alarm: its bound below is as far off as its bound above."""
    return n > 1 and mean - (high - mean) > 0


def _regressed(report: GateReport) -> bool:
    return any(row.verdict == "regressed" for row in report.rows)


if __name__ == "__main__":
    main()
