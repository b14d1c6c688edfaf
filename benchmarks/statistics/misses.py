"""What becomes of verdicts on steps to a target where runs miss it.

    python benchmarks/statistics/misses.py [--tables 4000]

A table has a baseline and five arms. Steps to the target are lognormal, with a part that a seed shares among arms,
read at every 10th of 200 steps; later ones miss. A miss counts as the end of the run plus one evaluation (`judging.
paired`); beside it stands what this replaced: misses are infinite, and where one side of a pair missed, a sign test of
all pairs decides. Wrong: any verdict of a table in which nothing differs. Decided: a true speed-up by a quarter or by
half, of one arm among the five.
"""

import argparse
import math
import sys
from collections.abc import Callable
from itertools import product
from statistics import NormalDist

import numpy as np
from scipy.stats import binomtest
from tabulate import tabulate

from clipbench.judging.families import Test, holm, judge
from clipbench.judging.paired import LEVEL, Paired, Sample, paired
from clipbench.quantities import Reading

ARMS, STEPS, EVERY, SHARED, OWN = 5, 200, 10, 0.15, 0.25


def main() -> None:
    options = argparse.ArgumentParser(description="Verdicts where a target is missed.")
    options.add_argument("--tables", type=int, default=4000)
    tables = options.parse_args().tables
    rows = []
    for number, (missing, seeds) in enumerate(product((0.05, 0.2, 0.5), (3, 5, 10))):
        random = np.random.default_rng(number)
        shares = []
        for factor in (1.0, 0.75, 0.5):
            drawn = [_table(random, missing, seeds, factor) for _ in range(tables)]
            shares += [_share(drawn, _restricted, factor), _share(drawn, _by_sign, factor)]
        rows.append((f"{missing:.0%}", seeds, *(f"{share:.1%}" for share in shares)))
    headings = (
        "runs that miss",
        "seeds",
        "wrong",
        "wrong, sign test",
        "25 % decided",
        "sign test",
        "50 % decided",
        "sign test",
    )
    sys.stdout.write(f"{tables} tables a cell; {ARMS} arms against a baseline, corrected by Holm\n\n")
    sys.stdout.write(f"{tabulate(rows, headers=headings)}\n")


def _table(random: np.random.Generator, missing: float, seeds: int, factor: float) -> list[Sample]:
    """The baseline and the arms, the last of which needs `factor` of the steps."""
    spread = math.hypot(SHARED, OWN)
    middle = STEPS * math.exp(-spread * NormalDist().inv_cdf(1 - missing))
    of_seed = SHARED * random.standard_normal(seeds)
    samples: list[Sample] = []
    for arm in range(ARMS + 1):
        steps = middle * np.exp(of_seed + OWN * random.standard_normal(seeds)) * (factor if arm == ARMS else 1.0)
        samples.append({seed: _read(float(step)) for seed, step in enumerate(steps)})
    return samples


def _read(step: float) -> Reading:
    seen = EVERY * math.ceil(step / EVERY)
    if seen > STEPS:
        return Reading(STEPS + EVERY, at_least=True)
    return Reading(seen, rounding=EVERY / (seen * math.sqrt(12)))


def _restricted(samples: list[Sample]) -> list[bool]:
    """Which arms are told from the baseline."""
    baseline, *arms = samples
    return [
        verdict.word in ("lower", "higher") for verdict in judge([Test(paired(arm, baseline, "log")) for arm in arms])
    ]


def _by_sign(samples: list[Sample]) -> list[bool]:
    baseline, *arms = samples
    return [each.p <= LEVEL for each in holm([_sign_or_t(arm, baseline) for arm in arms])]


def _sign_or_t(ours: Sample, theirs: Sample) -> float:
    missed = [(ours[seed].at_least, theirs[seed].at_least) for seed in ours]
    if not any(one != other for one, other in missed):
        hit = [seed for seed, (one, other) in enumerate(missed) if not (one or other)]
        return Paired("log", {seed: ours[seed].on("log") - theirs[seed].on("log") for seed in hit}).p
    lower = sum(ours[seed].value < theirs[seed].value for seed in ours)
    higher = sum(ours[seed].value > theirs[seed].value for seed in ours)
    return float(binomtest(lower, lower + higher).pvalue) if lower + higher else 1.0


def _share(drawn: list[list[Sample]], rule: Callable[[list[Sample]], list[bool]], factor: float) -> float:
    decided = [rule(samples) for samples in drawn]
    return sum(any(arms) if factor == 1.0 else arms[-1] for arms in decided) / len(decided)


if __name__ == "__main__":
    main()
