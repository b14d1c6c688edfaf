"""What chance alone would do: probabilities of paired differences, corrected for how many are looked at.

Holm's correction stands here in two forms: `holm` corrects the probabilities, and `holm_levels` says at which level
each is judged, for who needs an interval at that level. With equal weights both reject the same.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from statistics import NormalDist

from clipbench.judging import student
from clipbench.judging.statistics import Estimate

LEVEL = 0.05  # of a family of verdicts: how often any of them is wrong where nothing differs
POWER = 0.8  # how often a difference of the size that is asked about would be decided with the seeds that are named
MOST_SEEDS = 10**4  # nobody makes more


def p_value(of: Estimate) -> float:
    """How often chance would give a mean so far from zero: two-sided, t = mean/error with n − 1 degrees of freedom.

    1 where nothing can be said: fewer than two values, or one that is not finite. Values that are all equal have no
    error: 0 unless they are 0.
    """
    if of.n < 2 or not math.isfinite(of.mean) or not math.isfinite(of.standard_error):
        return 1.0
    if of.standard_error == 0:
        return 1.0 if of.mean == 0 else 0.0
    return student.two_sided(of.mean / of.standard_error, of.n - 1)


def p_beyond(of: Estimate, margin: float) -> float:
    """How often chance would give a mean so well inside ±margin, were the truth on or beyond it.

    The larger of two one-sided t tests, against −margin and against +margin (Schuirmann 1987): small where the mean
    is shown to be within.
    """
    if of.n < 2 or not math.isfinite(of.mean) or not math.isfinite(of.standard_error):
        return 1.0
    room = margin - abs(of.mean)
    if of.standard_error == 0:
        return 0.0 if room > 0 else 1.0
    return student.above(room / of.standard_error, of.n - 1)


def sign_test(ahead: int, behind: int) -> float:
    """How often chance would split pairs so unevenly: two-sided, exact, each side equally likely; ties left out."""
    n = ahead + behind
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(min(ahead, behind) + 1))
    return min(1.0, 2 * tail / 2.0**n)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Each probability corrected for all of them, in their order, by Holm (1979).

    Sorted ascending, the i-th of m (from 0) is multiplied by m − i, is at least the one before it, and at most 1.
    Rejecting what is at most α then errs anywhere with probability at most α, however the tests depend on each other.
    """
    corrected = [1.0] * len(probabilities)
    largest = 0.0
    for i, place in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        largest = max(largest, min(1.0, (len(probabilities) - i) * probabilities[place]))
        corrected[place] = largest
    return corrected


def holm_levels(probabilities: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """The level at which each probability is to be judged, in their order, by Holm (1979), weighted where asked.

    In the order of p/w, each is judged at 0.05·w/W, where W is the weight of itself and of all that come after it;
    after the first that is above its level, W falls no further. Rejecting what is at most its level then errs anywhere
    with probability at most 0.05, however the tests depend on each other. Equal weights make it 0.05/(m − i) for the
    i-th smallest of m (i from 0).

    Args:
        probabilities: one for each test.
        weights: how much of the 0.05 each is given, in proportion; above 0, and settled before the data were seen.
    """
    weight = [1.0] * len(probabilities) if weights is None else weights
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place] / weight[place])
    left = [*accumulate(weight[place] for place in reversed(order))][::-1]
    levels = [0.0] * len(probabilities)
    stopped: float | None = None
    for place, after in zip(order, left, strict=True):
        share = after if stopped is None else stopped
        levels[place] = LEVEL * weight[place] / share
        if stopped is None and probabilities[place] > levels[place]:
            stopped = share
    return levels


def seeds_needed(of: Estimate, *, tests: int = 1) -> float:
    """`seeds_to_show` a difference such as this one among so many tests, by the strictest level Holm sets there.

    It takes the mean and spread seen for the true ones, so it is a rough guide. NaN where there is no spread to go by.
    """
    if of.n < 2 or not math.isfinite(of.mean) or not math.isfinite(of.standard_error):
        return math.nan
    return seeds_to_show(abs(of.mean), of.standard_error * math.sqrt(of.n), level=LEVEL / tests)


def seeds_to_show(effect: float, spread: float, *, level: float = LEVEL) -> float:
    """The least number of paired seeds with which an effect of this size would be decided in 80 % of cases.

    The least n ≥ 2 with (t(1 − level/2, n − 1) + t(0.8, n − 1)) · spread/√n ≤ effect, a good approximation of the
    paired t test's power; ∞ beyond MOST_SEEDS.

    Args:
        effect: the mean difference to be shown, at least 0.
        spread: the standard deviation of the paired differences, in the same unit.
        level: of the two-sided test.
    """
    if effect == 0:
        return math.inf
    level, size = 1 - level / 2, spread / effect
    normal = NormalDist()  # its quantiles are the least that t's can be, so that the search begins close below
    n = max(2, math.ceil(math.pow((normal.inv_cdf(level) + normal.inv_cdf(POWER)) * size, 2)))
    while n <= MOST_SEEDS:
        if (student.quantile(level, n - 1) + student.quantile(POWER, n - 1)) * size <= math.sqrt(n):
            return float(n)
        n += 1
    return math.inf


def so_many(seeds: float) -> str:
    """The number in words, where it was looked for up to MOST_SEEDS."""
    return f"more than {MOST_SEEDS}" if math.isinf(seeds) else str(int(seeds))
