"""Arms at the same loss instead of the same step: who is there sooner, and how sharp its path is there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipbench.judging.cells import Cell
from clipbench.judging.copies import counted
from clipbench.judging.paired import Paired, paired
from clipbench.judging.statistics import Estimate, GeometricEstimate, estimate, exp, geometric_mean
from clipbench.measurements import Measurement
from clipbench.quantities import Goal, Reading, first_at, rounding_of_step
from clipbench.records import DIRECTIONAL_SHARPNESS, EVAL_LOSS, OWN


@dataclass(frozen=True)
class MatchedRow:
    """An arm and the baseline, each where its loss first is at or below what both reach, seed by seed.

    `loss` is that common loss, the higher of their two final losses on a seed; `steps` where the arm is there;
    `sharpness` its directional sharpness there, over the seeds where that is positive; `no_sharpness` counts the
    others. Ratios are to the baseline, paired by seed; None for the baseline, which stands at its own final loss.
    """

    task: str
    arm: str
    loss: Estimate
    steps: Estimate
    steps_ratio: Paired | None
    sharpness: GeometricEstimate
    sharpness_ratio: Paired | None
    no_sharpness: int


@dataclass(frozen=True)
class _There:
    """The runs of an arm where each first has a loss, by seed: the step, and the sharpness where there is one."""

    steps: dict[int, Reading]
    sharpness: dict[int, Reading]


def matched(cells: Sequence[Cell], *, baseline: str) -> list[MatchedRow]:
    """One row per task and arm that finished, for tasks on which the baseline and another arm did.

    The common loss of a seed is the higher final loss of the arm and the baseline, so that both have been at or below
    it: no third arm rules it. An arm is there at its first evaluation at or below it; between evaluations nothing is
    interpolated. Its sharpness there is `sharpness_at` that step.
    """
    rows = []
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = [cell for cell in cells if cell.task == task and _final_losses(cell)]
        rival = next((cell for cell in of_task if cell.arm == baseline), None)
        if len(of_task) > 1 and rival is not None:
            rows += [_row(cell, rival) for cell in of_task]
    return rows


def sharpness_at(step: int, curve: Sequence[Measurement]) -> float:
    """The logarithm of the sharpness at a step, from the probed steps around it.

    Linear in the step between the logarithms of the two nearest; before the first and after the last, that one's own.
    NaN where there is none, or one that it needs is not positive.
    """
    before = [point for point in curve if point.step <= step][-1:]
    after = [point for point in curve if point.step >= step][:1]
    (near,) = (before or after) or (None,)
    (far,) = (after or before) or (None,)
    if near is None or far is None or not (0 < near.value < math.inf and 0 < far.value < math.inf):
        return math.nan
    if near.step == far.step:
        return math.log(near.value)
    share = (step - near.step) / (far.step - near.step)
    return (1 - share) * math.log(near.value) + share * math.log(far.value)


def _final_losses(cell: Cell) -> dict[int, float]:
    return {seed: loss for seed, loss in cell.final_losses.items() if math.isfinite(loss)}


def _there(cell: Cell, losses: Mapping[int, float]) -> _There:
    """Where the runs of an arm first are at or below these losses, by seed."""
    there = _There({}, {})
    for record in cell.records:
        seed, measured = record.run.seed, record.measurements
        point = first_at(measured.series("", EVAL_LOSS), Goal(losses[seed])) if seed in losses else None
        if point is None:
            continue
        there.steps[seed] = Reading(point.step, rounding=rounding_of_step(record, point.step))
        log = sharpness_at(point.step, measured.series(OWN, DIRECTIONAL_SHARPNESS))
        if math.isfinite(log):
            there.sharpness[seed] = Reading(exp(log), log=log)
    return there


def _row(cell: Cell, rival: Cell) -> MatchedRow:
    ours, theirs = _final_losses(cell), _final_losses(rival)
    common = {seed: max(ours[seed], theirs[seed]) for seed in ours.keys() & theirs.keys()}
    here, there = _there(cell, common), _there(rival, common)
    own = counted(common, cell.ends)
    sharp = [here.sharpness[seed].on("log") for seed in own if seed in here.sharpness]
    ends = cell.ends, rival.ends
    is_baseline = cell is rival
    return MatchedRow(
        task=cell.task,
        arm=cell.arm,
        loss=estimate([common[seed] for seed in own]),
        steps=estimate([here.steps[seed].value for seed in own]),
        steps_ratio=None if is_baseline else paired(here.steps, there.steps, "log", ends=ends),
        sharpness=geometric_mean(sharp),
        sharpness_ratio=None if is_baseline else paired(here.sharpness, there.sharpness, "log", ends=ends),
        no_sharpness=len(own) - len(sharp),
    )
