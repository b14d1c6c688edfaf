"""The race to the target over all tasks and seeds: speed-ups and performance profiles."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from clipbench.judging.cells import Cell, grouped
from clipbench.judging.copies import once
from clipbench.judging.paired import Paired
from clipbench.quantities import SECONDS, STEPS, Along

RACE_FACTORS = (1.0, 1.5, 2.0, 4.0)


@dataclass(frozen=True)
class SpeedUp:
    """The speed-up of an arm: the baseline's cost of reaching the target over the arm's, a geometric mean.

    `paired` has the differences of log costs, baseline minus arm: by task, or by seed if there is a single task. A
    missed target counts as the end of its run plus one evaluation.
    """

    paired: Paired
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

    Seeds that end with the same weights count once: of an arm by itself, and in pairs with the baseline. `within` goes
    by steps to the target, or by seconds.
    """
    costs = {(cell.task, cell.arm): to_target(cell, SECONDS if by_seconds else STEPS) for cell in cells}
    first: dict[tuple[str, int], float] = {}  # by task and seed
    for (task, _), by_seed in costs.items():
        for seed, cost in by_seed.items():
            first[task, seed] = min(cost, first.get((task, seed), math.inf))
    rivals = {cell.task: cell for cell in cells if cell.arm == baseline}
    rows = []
    for arm, of_arm in grouped(cells, lambda cell: cell.arm).items():
        own = [(cell.task, record.run.seed) for cell in of_arm for record in cell.own if record.outcome]
        times = [_times(costs[task, arm][seed], first[task, seed]) for task, seed in own]
        pairs = [(cell, rivals[cell.task]) for cell in of_arm if cell.task in rivals]
        rows.append(_row(arm, pairs, times, is_baseline=arm == baseline, several=len(of_arm) > 1))
    return rows


def _row(
    arm: str, pairs: Sequence[tuple[Cell, Cell]], times: Sequence[float], *, is_baseline: bool, several: bool
) -> RaceRow:
    """One arm, from its pairs of cells with the baseline's and its costs in multiples of the first arm's."""
    by_task = [{cell.task: rival.against(cell, along) for cell, rival in pairs} for along in (STEPS, SECONDS)]
    steps, seconds = (None if is_baseline else speed_up(each, several=several) for each in by_task)
    costs = [pair for cell, rival in pairs for pair in to_target_in_pairs(cell, rival)]
    hits = [(math.isfinite(ours), math.isfinite(theirs)) for ours, theirs in costs]
    return RaceRow(
        arm=arm,
        steps=steps,
        seconds=seconds,
        both=hits.count((True, True)),
        only_arm=hits.count((True, False)),
        only_baseline=hits.count((False, True)),
        neither=hits.count((False, False)),
        instances=len(times),
        reached=sum(map(math.isfinite, times)),
        within=tuple(sum(each <= factor for each in times) / len(times) for factor in RACE_FACTORS)
        if times
        else (math.nan,) * len(RACE_FACTORS),
    )


def speed_up(by_task: Mapping[str, Paired], *, several: bool) -> SpeedUp:
    """The speed-up over tasks (by each task's mean log over seeds), or over seeds if there is a single task."""
    if not several:
        return SpeedUp(next(iter(by_task.values()), Paired("log", {})), "seeds")
    some = {task: each for task, each in by_task.items() if each.n}
    seeds = sum(each.n for each in some.values()) / len(some) if some else 1.0
    off = [each.rounding for each in some.values() if each.rounding]
    rounding = sum(off) / len(off) / math.sqrt(seeds) if off else 0.0
    ahead, behind = (sum(getattr(each, side) > 0 for each in some.values()) for side in ("ahead", "behind"))
    means = {task: each.mean for task, each in sorted(some.items())}
    neither = len(by_task) - len(some)
    return SpeedUp(Paired("log", means, rounding, ahead=ahead, behind=behind, neither=neither), "tasks")


def to_target(cell: Cell, along: Along) -> dict[int, float]:
    """The cost of reaching the target by seed: ∞ for a miss; without runs that have not ended."""
    reached = {seed: reading.value for seed, reading in cell.sample(along).items() if not reading.at_least}
    ended = (record.run.seed for record in cell.records if record.outcome)
    return {seed: reached.get(seed, math.inf) for seed in ended}


def to_target_in_pairs(cell: Cell, rival: Cell) -> list[tuple[float, float]]:
    """The steps to the target of each pair of runs of two arms; ∞ for a miss."""
    ours, theirs = to_target(cell, STEPS), to_target(rival, STEPS)
    return [(steps, theirs[seed]) for seed, steps in once(ours, theirs, cell.ends, rival.ends).items()]


def _times(cost: float, first: float) -> float:
    """The cost as a multiple of the fastest arm's; ∞ for a miss, 1 if both are 0."""
    if cost == first:
        return 1.0 if math.isfinite(cost) else math.inf
    return cost / first if first > 0 else math.inf
