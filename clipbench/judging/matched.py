"""Arms compared at the same loss instead of the same step: steps to it, and sharpness there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipbench.judging.cells import Cell, grouped
from clipbench.judging.copies import counted
from clipbench.judging.paired import Paired, paired
from clipbench.judging.statistics import Estimate, GeometricEstimate, estimate, exp, geometric_mean
from clipbench.measurements import Measurement
from clipbench.quantities import Reading, first_at, rounding_of_step
from clipbench.questions import Target
from clipbench.records import DIRECTIONAL_SHARPNESS, EVAL_LOSS, OWN


@dataclass(frozen=True)
class MatchedRow:
    """An arm and the baseline at their common loss: on each seed, the higher of their two final losses.

    - `loss`: the mean common loss.
    - `steps`: the first evaluation at or below it.
    - `sharpness`: the directional sharpness at that step, over seeds on which it is positive; `no_sharpness` counts the
      remaining seeds.
    - Ratios are to the baseline, paired by seed; None for the baseline, whose common loss is its own final loss.
    """

    task: str
    arm: str
    loss: Estimate
    steps: Estimate
    steps_ratio: Paired | None
    sharpness: GeometricEstimate
    sharpness_ratio: Paired | None
    no_sharpness: int


def matched(cells: Sequence[Cell], *, baseline: str) -> list[MatchedRow]:
    """One row per task and arm that finished, for tasks on which the baseline and another arm did.

    The common loss of a seed is the higher final loss of the arm and the baseline, so both reach it, and no third arm
    influences it. The arm's step is its first evaluation at or below the common loss, without interpolation. The
    sharpness is `sharpness_at` that step.
    """
    rows = []
    for group in grouped(cells, lambda cell: cell.task).values():
        of_task = list(filter(_final_losses, group))
        rival = next((cell for cell in of_task if cell.arm == baseline), None)
        if len(of_task) > 1 and rival is not None:
            rows += [_row(cell, rival) for cell in of_task]
    return rows


def sharpness_at(step: int, curve: Sequence[Measurement]) -> float:
    """The logarithm of the sharpness at a step, from the probed steps around it.

    Interpolated linearly between the logarithms of the two nearest probed steps; constant before the first and after
    the last. NaN without a probed step, or if a value it needs is not positive.
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


def _first_at(cell: Cell, losses: Mapping[int, float]) -> tuple[dict[int, Reading], dict[int, Reading]]:
    """Where the runs of an arm first are at or below these losses: by seed the step, and the sharpness if positive."""
    steps: dict[int, Reading] = {}
    sharpness: dict[int, Reading] = {}
    for record in cell.records:
        seed, measured = record.run.seed, record.measurements
        point = first_at(measured.series("", EVAL_LOSS), Target(losses[seed])) if seed in losses else None
        if point is None:
            continue
        steps[seed] = Reading(point.step, rounding=rounding_of_step(record, point.step))
        log = sharpness_at(point.step, measured.series(OWN, DIRECTIONAL_SHARPNESS))
        if math.isfinite(log):
            sharpness[seed] = Reading(exp(log), log=log)
    return steps, sharpness


def _row(cell: Cell, rival: Cell) -> MatchedRow:
    ours, theirs = _final_losses(cell), _final_losses(rival)
    common = {seed: max(ours[seed], theirs[seed]) for seed in ours.keys() & theirs.keys()}
    steps, sharpness = _first_at(cell, common)
    their_steps, their_sharpness = _first_at(rival, common)
    own = counted(common, cell.ends)
    sharp = [sharpness[seed].on("log") for seed in own if seed in sharpness]
    ends = cell.ends, rival.ends
    is_baseline = cell is rival
    return MatchedRow(
        task=cell.task,
        arm=cell.arm,
        loss=estimate([common[seed] for seed in own]),
        steps=estimate([steps[seed].value for seed in own]),
        steps_ratio=None if is_baseline else paired(steps, their_steps, "log", ends=ends),
        sharpness=geometric_mean(sharp),
        sharpness_ratio=None if is_baseline else paired(sharpness, their_sharpness, "log", ends=ends),
        no_sharpness=len(own) - len(sharp),
    )
