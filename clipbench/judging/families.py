"""Verdicts and ranks from several comparisons at once, with Holm's correction for their number.

Holm (1979): of m p-values in the order of size, the i-th (from 0) is judged at 0.05/(m − i) until the first that is
above its level, and no later one at more. Rejecting what is at most its level then errs anywhere with probability at
most 0.05, however the tests depend on each other. With weights a test has its share of the 0.05 in proportion.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from clipbench.judging.paired import LEVEL, Paired, Side, seeds_to_show

Word = Literal["lower", "higher", "identical", "equivalent", "not higher", "undecided"]


@dataclass(frozen=True)
class Test:
    """A comparison to be tested.

    - `side`: both for a two-sided test, higher for a one-sided test.
    - `margin`: the difference that is too small to matter, on the comparison's scale; None for no margin. Two-sided: a
      mean shown to be within ± margin is equivalent. One-sided: a mean is higher only if it is above the margin, and
      not higher if it is shown to be below it.
    - `weight`: its share of the 5 %, in proportion; fixed before the data are seen.
    """

    paired: Paired
    side: Literal["both", "higher"] = "both"
    margin: float | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """The verdict on a mean, corrected for all tests that are judged together.

    - `p`: the corrected p-value; 1 without a test.
    - `level`: the significance level at which the uncorrected p-value was judged. The interval [low, high] is at this
      level, on the comparison's scale; of a one-sided test `low` is the bound at this level and `high` that at 5 %.
    - `seeds_needed`: the pairs needed for 80 % power at that level, if mean and spread are the true ones; NaN if the
      verdict is decided or the spread unknown.
    """

    word: Word
    p: float
    level: float
    low: float
    high: float
    seeds_needed: float = math.nan


@dataclass(frozen=True)
class Judged:
    """A p-value corrected for its family, and the level at which it was judged."""

    p: float
    level: float


@dataclass(frozen=True)
class Ranks:
    """The range of possible ranks of an arm among the arms of its task; 1 is best."""

    low: int
    high: int


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[Judged]:
    """Each p-value after Holm's correction for all of them, in their order, with the level it was judged at.

    In the order of p/w the corrected value is p·W/w, at least the one before it and at most 1, where W is the weight
    of itself and of all that come after it; its level is 0.05·w/W, and after the first that is above its level, W
    falls no further. Without weights all are equal, and W/w = m − i.

    The least of three is judged at 0.05/3, the next at 0.05/2; that is above its level, and so no later one may pass:

    >>> [(f"{judged.p:.2f}", f"{judged.level:.4f}") for judged in holm([0.03, 0.01, 0.04])]
    [('0.06', '0.0250'), ('0.03', '0.0167'), ('0.06', '0.0250')]
    """
    weight = [1.0] * len(p_values) if weights is None else weights
    order = sorted(range(len(p_values)), key=lambda at: p_values[at] / weight[at])
    left = [*accumulate(weight[at] for at in reversed(order))][::-1]
    judged = [Judged(1.0, LEVEL)] * len(p_values)
    largest, stopped = 0.0, False
    share = math.nan
    for at, after in zip(order, left, strict=True):
        share = share if stopped else after
        level = LEVEL * weight[at] / share
        stopped = stopped or p_values[at] > level
        largest = max(largest, min(1.0, p_values[at] * after / weight[at]))
        judged[at] = Judged(largest, level)
    return judged


def judge(tests: Sequence[Test]) -> list[Verdict]:
    """The verdicts of a table. If no arms differ, any of them is wrong with probability at most 5 %.

    Only comparisons of at least two pairs are tested and corrected for. Tests of equivalence have a correction of their
    own; equivalence outranks lower and higher, since it means that the difference does not matter.
    """
    tested = [at for at, test in enumerate(tests) if test.paired.n > 1]
    weights = [tests[at].weight for at in tested]
    against = dict(zip(tested, holm([_p(tests[at]) for at in tested], weights), strict=True))
    within = dict(zip(tested, holm([_p_within(tests[at]) for at in tested]), strict=True))
    least = min((judged.level for judged in against.values()), default=LEVEL)
    untested = Judged(1.0, least)
    return [
        _two_sided(test, against.get(at, untested), equivalent=at in within and within[at].p <= LEVEL)
        if test.side == "both"
        else _one_sided(test, against.get(at, untested))
        for at, test in enumerate(tests)
    ]


def _p(test: Test) -> float:
    return test.paired.p if test.side == "both" else test.paired.p_higher()


def _p_within(test: Test) -> float:
    if test.margin is None or test.side != "both":
        return 1.0
    return test.paired.p_within(test.margin)


def _two_sided(test: Test, judged: Judged, *, equivalent: bool) -> Verdict:
    paired = test.paired
    side: Side = "lower" if paired.mean < 0 else "higher"
    word: Word = "undecided"
    if paired.identical:
        word = "identical"
    elif equivalent:
        word = "equivalent"
    elif judged.p <= LEVEL and paired.can_be(side):
        word = side
    needed = paired.seeds_to_decide(judged.level) if word == "undecided" else math.nan
    return Verdict(word, judged.p, judged.level, *paired.interval(judged.level), needed)


def _one_sided(test: Test, judged: Judged) -> Verdict:
    paired, margin = test.paired, test.margin or 0.0
    low, high = paired.bound(judged.level, -1), paired.bound(LEVEL, 1)
    word: Word = "undecided"
    if judged.p <= LEVEL and paired.mean > margin and paired.can_be("higher"):
        word = "higher"
    elif high < margin and not paired.behind:
        word = "not higher"
    needed = math.nan
    if word == "undecided" and math.isfinite(paired.error):
        effect, level = (paired.mean, judged.level) if paired.mean > margin else (margin - paired.mean, LEVEL)
        needed = seeds_to_show(effect, paired.error * math.sqrt(paired.n), level=level, two_sided=False)
    return Verdict(word, judged.p, judged.level, low, high, needed)


def ranks(arms: Sequence[str], compare: Callable[[str, str], Paired], *, better: Side = "lower") -> dict[str, Ranks]:
    """The range of ranks of each arm: from 1 + the arms shown to be better, to all − the arms shown to be worse.

    Every pair of arms is tested, and Holm's correction is over all of these pairs. So with probability of 95 % or more
    every range holds the arm's true rank (Mogstad, Romano, Shaikh & Wilhelm 2024, Review of Economic Studies 91).
    """
    pairs = [(first, second) for at, first in enumerate(arms) for second in arms[at + 1 :]]
    differences = [compare(first, second) for first, second in pairs]
    wins, losses = dict.fromkeys(arms, 0), dict.fromkeys(arms, 0)
    judgements = holm([difference.p for difference in differences])
    for (first, second), difference, judged in zip(pairs, differences, judgements, strict=True):
        side: Side = "lower" if difference.mean < 0 else "higher"
        if judged.p <= LEVEL and difference.can_be(side):
            winner, loser = (first, second) if side == better else (second, first)
            wins[winner] += 1
            losses[loser] += 1
    return {arm: Ranks(1 + losses[arm], len(arms) - wins[arm]) for arm in arms}
