"""The race to the target over all tasks and seeds: speed-ups, and who is how far behind the first."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from clipbench.judging.cells import Cell
from clipbench.judging.copies import once
from clipbench.judging.metrics import RunMetrics, typical
from clipbench.judging.statistics import PairedRatio, mean_ratio

RACE_FACTORS = (1.0, 1.5, 2.0, 4.0)

Instance = tuple[str, int]  # a task and a seed
Costs = Mapping[Instance, float]  # an arm's steps or seconds to the target; ∞ for a miss
_Cost = Callable[[RunMetrics], float | None]


@dataclass(frozen=True)
class SpeedUp:
    """By what factor an arm is sooner at the target than the baseline: baseline/arm, a geometric mean.

    Over tasks, with a 95 % t interval over tasks; over the seeds of a single task, with one over seeds. `n` counts
    those tasks, or seeds. Only pairs in which both reached the target are in it.
    """

    factor: PairedRatio
    over: Literal["tasks", "seeds"]


@dataclass(frozen=True)
class RaceRow:
    """An arm in the race to the target over all tasks and seeds.

    `within` has, for each factor of `RACE_FACTORS`, the share of its `instances` (a task with a seed) in which the arm
    reached the target within that factor of the first arm there: a performance profile (Dolan & Moré 2002). A miss is
    ∞ times the first. `both`, `only_arm`, `only_baseline` and `neither` count pairs with the baseline.
    """

    arm: str
    steps: SpeedUp | None
    seconds: SpeedUp | None
    both: int
    only_arm: int
    only_baseline: int
    neither: int
    instances: int
    reached: int
    within: tuple[float, ...]


def race(cells: Sequence[Cell], *, baseline: str, by_seconds: bool = False) -> list[RaceRow]:
    """One row an arm, in the order of the cells; unfinished runs are not in it, diverged and failed ones are misses.

    Seeds that end with the same weights count once: of an arm by itself, and in pairs with the baseline.

    Args:
        cells: one per task and arm; their runs know a target.
        baseline: the arm that speed-ups are over.
        by_seconds: whether `within` goes by seconds to the target; by steps where not.
    """
    by_arm: dict[str, list[Cell]] = {}
    for cell in cells:
        by_arm.setdefault(cell.arm, []).append(cell)
    steps = {arm: _costs(found, _steps) for arm, found in by_arm.items()}
    seconds = {arm: _costs(found, _seconds) for arm, found in by_arm.items()}
    costs = seconds if by_seconds else steps
    first: dict[Instance, float] = {}
    for of_arm in costs.values():
        for instance, cost in of_arm.items():
            first[instance] = min(cost, first.get(instance, math.inf))
    off = {arm: typical(run.target_rounding for cell in found for run in cell.runs) for arm, found in by_arm.items()}
    rows = []
    for arm, found in by_arm.items():
        rivals = by_arm.get(baseline, [])
        rows.append(
            _row(
                steps=(steps[arm], _paired(found, rivals, _steps)),
                seconds=(seconds[arm], _paired(found, rivals, _seconds)),
                behind=[_times(costs[arm][own], first[own]) for own in _own(found) if own in costs[arm]],
                rounding=math.hypot(off[arm], off.get(baseline, 0.0)),
                of=(arm, baseline),
            )
        )
    return rows


def _row(
    *,
    of: tuple[str, str],
    steps: tuple[Costs, Costs],
    seconds: tuple[Costs, Costs],
    behind: Sequence[float],
    rounding: float,
) -> RaceRow:
    """An arm and the baseline, with the costs of each; the baseline's are those to be paired."""
    arm, baseline = of
    ours, theirs = steps
    pairs = [(math.isfinite(ours[one]), math.isfinite(theirs[one])) for one in ours if one in theirs]
    is_baseline = arm == baseline
    return RaceRow(
        arm=arm,
        steps=None if is_baseline else speed_up(ours, theirs, rounding=rounding),
        seconds=None if is_baseline else speed_up(*seconds, rounding=rounding),
        both=pairs.count((True, True)),
        only_arm=pairs.count((True, False)),
        only_baseline=pairs.count((False, True)),
        neither=pairs.count((False, False)),
        instances=len(behind),
        reached=sum(map(math.isfinite, behind)),
        within=tuple(sum(each <= factor for each in behind) / len(behind) for factor in RACE_FACTORS)
        if behind
        else (math.nan,) * len(RACE_FACTORS),
    )


def _own(cells: Sequence[Cell]) -> list[Instance]:
    """The instances of an arm that count by themselves."""
    return [(cell.task, run.seed) for cell in cells for run in cell.own]


def _paired(ours: Sequence[Cell], theirs: Sequence[Cell], of: _Cost) -> Costs:
    """The costs of the baseline, whose cells are `theirs`, in the instances that count as pairs with an arm's."""
    rivals = {cell.task: cell for cell in theirs}
    return {
        (cell.task, seed): cost
        for cell in ours
        if (rival := rivals.get(cell.task)) is not None
        for seed, cost in once(_by_seed(rival, of), _by_seed(cell, of), cell.ends, rival.ends).items()
    }


def speed_up(ours: Costs, theirs: Costs, *, rounding: float) -> SpeedUp:
    """Over tasks where the arm has several, each by its mean logarithm over seeds; else over the seeds of the one.

    `rounding` is of one pair's ratio, in the logarithm: targets are seen at evaluations alone (`not_surer_than`).
    """
    by_task: dict[str, dict[int, tuple[float, float]]] = {}
    for task, seed in sorted(ours.keys() & theirs.keys()):
        one, other = ours[task, seed], theirs[task, seed]
        if 0 < one < math.inf and 0 < other < math.inf:
            by_task.setdefault(task, {})[seed] = math.log(one), math.log(other)
    if len({task for task, _ in ours}) == 1:
        pairs = [pair for of_task in by_task.values() for pair in of_task.values()]
        return SpeedUp(_ratio(pairs, rounding), "seeds")
    seeds = sum(map(len, by_task.values())) / len(by_task) if by_task else 1.0
    means = [_mean(list(pairs.values())) for _, pairs in sorted(by_task.items())]
    return SpeedUp(_ratio(means, rounding / math.sqrt(seeds)), "tasks")


def _ratio(pairs: Sequence[tuple[float, float]], rounding: float) -> PairedRatio:
    """The slower's cost above: a factor of 2 is twice as soon."""
    return mean_ratio([other - one for one, other in pairs], rounding=rounding)


def _mean(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    ours, theirs = zip(*pairs, strict=True)
    return sum(ours) / len(ours), sum(theirs) / len(theirs)


def _costs(cells: Sequence[Cell], of: _Cost) -> dict[Instance, float]:
    return {(cell.task, seed): cost for cell in cells for seed, cost in _by_seed(cell, of).items()}


def _by_seed(cell: Cell, of: _Cost) -> dict[int, float]:
    return {run.seed: cost for run in cell.runs if (cost := of(run)) is not None}


def _steps(run: RunMetrics) -> float | None:
    return run.steps_to_target


def _seconds(run: RunMetrics) -> float | None:
    return run.seconds_to_target


def _times(cost: float, first: float) -> float:
    """How many times as long as the first; ∞ for a miss, 1 where both are there at the very start."""
    if cost == first:
        return 1.0 if math.isfinite(cost) else math.inf
    return cost / first if first > 0 else math.inf
