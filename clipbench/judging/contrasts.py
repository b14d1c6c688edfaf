"""Arms against each other in one metric, paired by seed, with verdicts corrected for how many are given."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipbench.judging.cells import Cell
from clipbench.judging.chance import LEVEL, holm, p_beyond, p_value, seeds_needed, sign_test
from clipbench.judging.comparison import Contrast, Metric, Verdict
from clipbench.judging.metrics import typical
from clipbench.judging.statistics import Estimate, mean_difference


def values(cell: Cell, metric: Metric) -> dict[int, float]:
    """The metric by seed: the final loss as it is, the others in the natural logarithm, where a miss is ∞.

    Sharpness is known only where it was positive, and a target that the very start had reached is no race.
    """
    if metric == "final_loss":
        return cell.final_losses
    if metric == "sharpness":
        return {run.seed: run.sharpness.mean_log for run in cell.finished if run.sharpness.positive}
    costs = {run.seed: run.steps_to_target if metric == "steps" else run.seconds_to_target for run in cell.runs}
    return {seed: math.log(cost) for seed, cost in costs.items() if cost is not None and cost > 0}


def rounding(cell: Cell, metric: Metric) -> float:
    """The standard deviation that the steps make in which `values` are read; 0 for what is not read in steps."""
    return typical(run.target_rounding for run in cell.runs) if metric in ("steps", "seconds") else 0.0


def contrast(
    ours: Mapping[int, float], theirs: Mapping[int, float], metric: Metric, *, rounding: float = 0.0
) -> Contrast:
    """One arm against another; p is not corrected yet.

    Args:
        ours, theirs: what `values` says of the two arms.
        metric: of what.
        rounding: the standard deviation that the steps in which both were read make in a difference.
    """
    in_logs = metric != "final_loss"
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    ahead = behind = 0
    if in_logs:
        ahead = sum(other == math.inf != one for one, other in pairs)
        behind = sum(one == math.inf != other for one, other in pairs)
    differences = [one - other for one, other in pairs if not (in_logs and math.inf in (one, other))]
    centre = mean_difference(differences, rounding=rounding)
    lower = ahead + sum(difference < 0 for difference in differences)
    higher = behind + sum(difference > 0 for difference in differences)
    tested = (
        sign_test(lower, higher) if ahead or behind else p_value(Estimate(centre.mean, centre.standard_error, centre.n))
    )
    return Contrast(
        mean=centre.mean,
        standard_error=centre.standard_error,
        low=centre.low,
        high=centre.high,
        n=centre.n,
        in_logs=in_logs,
        ahead=ahead,
        behind=behind,
        lower=lower,
        higher=higher,
        p=tested,
    )


def judged(
    contrasts: Sequence[Contrast | None], margins: Sequence[float | None]
) -> list[tuple[Contrast | None, Verdict]]:
    """The verdicts of one table, which together err with probability at most 5 % where nothing differs.

    Holm's correction is over the contrasts with a test: at least two pairs. With a margin, an arm is `within` where
    two one-sided tests, corrected among themselves, place the whole difference inside ± margin; that goes before
    better and worse, for it says that the difference does not matter.

    Args:
        contrasts: one a row; None for the baseline, and for a row that is not to be judged.
        margins: what is too small to matter, on each contrast's own scale; None for no such limit.
    """
    tested = [place for place, one in enumerate(contrasts) if one is not None and one.pairs > 1]
    corrected = dict(zip(tested, holm([_p(contrasts[place]) for place in tested]), strict=True))
    beyond = dict(zip(tested, holm([_beyond(contrasts[place], margins[place]) for place in tested]), strict=True))
    found: list[tuple[Contrast | None, Verdict]] = []
    for place, one in enumerate(contrasts):
        if one is None:
            found.append((None, "baseline"))
            continue
        verdict = _verdict(one, corrected.get(place, 1.0), beyond.get(place, 1.0))
        needed = math.nan
        if verdict == "undecided" and not (one.ahead or one.behind):
            needed = seeds_needed(Estimate(one.mean, one.standard_error, one.n), tests=max(1, len(tested)))
        found.append((replace(one, corrected=corrected.get(place, 1.0), seeds_needed=needed), verdict))
    return found


def _verdict(one: Contrast, corrected: float, beyond: float) -> Verdict:
    if one.pairs > 1 and one.mean == one.lower == one.higher == 0:
        return "equal"
    if beyond <= LEVEL:
        return "within"
    if corrected > LEVEL:
        return "undecided"
    return "better" if leans_lower(one) else "worse"


def leans_lower(one: Contrast) -> bool:
    """Whether what was tested, the mean or the number of pairs, is on the lower side."""
    return one.lower > one.higher if one.ahead or one.behind else one.mean < 0


def _p(one: Contrast | None) -> float:
    return 1.0 if one is None else one.p


def _beyond(one: Contrast | None, margin: float | None) -> float:
    if one is None or margin is None or one.ahead or one.behind:
        return 1.0
    return p_beyond(Estimate(one.mean, one.standard_error, one.n), margin)
