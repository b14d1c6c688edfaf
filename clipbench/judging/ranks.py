"""The places of arms, with ties as ranges: what no test tells apart is not ordered."""

import math
from collections.abc import Mapping

from clipbench.judging.chance import LEVEL, holm, p_value
from clipbench.judging.comparison import Metric, Ranks
from clipbench.judging.contrasts import contrast, leans_lower
from clipbench.judging.copies import Ends, once
from clipbench.judging.statistics import estimate, not_surer_than

_EXACT: Mapping[str, float] = {}
_NOT_KNOWN: Mapping[str, Ends] = {}


def ranks(
    values: Mapping[str, Mapping[int, float]],
    metric: Metric,
    *,
    roundings: Mapping[str, float] = _EXACT,
    ends: Mapping[str, Ends] = _NOT_KNOWN,
) -> dict[str, Ranks]:
    """The range of places of each arm: from 1 + the arms decidedly better to all − the arms decidedly worse.

    Every pair of arms is tested, paired by seed, and Holm's correction is over all of these pairs. So with probability
    of 95 % or more every range holds the arm's true place (Mogstad, Romano, Shaikh & Wilhelm 2024, Review of Economic
    Studies 91). An arm without values has no place.

    Args:
        values: by arm, what `contrasts.values` says of it; lower is better.
        metric: of what.
        roundings: by arm, the standard deviation that the steps make in which its values were read.
        ends: by arm, its final weights by seed; pairs that are copies count once.
    """
    arms = [arm for arm, by_seed in values.items() if by_seed]
    pairs = [(one, other) for place, one in enumerate(arms) for other in arms[place + 1 :]]
    off = {arm: roundings.get(arm, 0.0) for arm in arms}
    tested = []
    for one, other in pairs:
        ours = once(values[one], values[other], ends.get(one, {}), ends.get(other, {}))
        tested.append(_tested(ours, values[other], metric, rounding=math.hypot(off[one], off[other])))
    better, worse = dict.fromkeys(arms, 0), dict.fromkeys(arms, 0)
    for (one, other), (_, lower), corrected in zip(pairs, tested, holm([p for p, _ in tested]), strict=True):
        if corrected <= LEVEL:
            better[one if lower else other] += 1
            worse[other if lower else one] += 1
    return {arm: Ranks(1 + worse[arm], len(arms) - better[arm]) for arm in arms}


def _tested(
    ours: Mapping[int, float], theirs: Mapping[int, float], metric: Metric, *, rounding: float
) -> tuple[float, bool]:
    """p, and whether the first is lower."""
    differences = [one - theirs[seed] for seed, one in ours.items() if seed in theirs]
    if all(map(math.isfinite, differences)):  # as `contrast` has it, without what it says beside p: pairs are many
        centre = not_surer_than(rounding, estimate(differences))
        return p_value(centre), centre.mean < 0
    found = contrast(ours, theirs, metric, rounding=rounding)
    return (found.p, leans_lower(found)) if found.pairs > 1 else (1.0, False)
