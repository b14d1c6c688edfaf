"""Arms at the same loss instead of the same step: who is there sooner, and how sharp its path is there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipbench.judging.cells import Cell
from clipbench.judging.copies import Ends, counted, once
from clipbench.judging.metrics import RunMetrics, first_at, target_rounding, typical
from clipbench.judging.statistics import (
    Estimate,
    GeometricEstimate,
    PairedRatio,
    estimate,
    geometric_mean,
    paired_ratio,
)
from clipbench.measurements import Measurement


@dataclass(frozen=True)
class MatchedRow:
    """An arm where its loss first is at or below what all arms of the task reach, seed by seed.

    `loss` is that common loss, the highest of the finished arms' final losses on a seed; `steps` where the arm is
    there; `sharpness` its directional sharpness there, over the seeds where that is positive; `no_sharpness` counts
    the others. Ratios are to the baseline, paired by seed; None for the baseline.
    """

    task: str
    arm: str
    loss: Estimate
    steps: Estimate
    steps_ratio: PairedRatio | None
    sharpness: GeometricEstimate
    sharpness_ratio: PairedRatio | None
    no_sharpness: int


@dataclass(frozen=True)
class _There:
    """A run where it first has the common loss; `log_sharpness` is NaN where there is none to be had."""

    loss: float
    step: int
    log_sharpness: float
    rounding: float  # of the logarithm of its step, which is one at which it was evaluated


def matched(cells: Sequence[Cell], *, baseline: str) -> list[MatchedRow]:
    """One row per task and arm, for tasks on which at least two arms finished.

    The common loss of a task and seed is the highest final loss of the arms that finished there, so that each of them
    has been at or below it. An arm is there at its first evaluation at or below it; between evaluations nothing is
    interpolated. Its sharpness there is `sharpness_at` that step.
    """
    rows = []
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = [cell for cell in cells if cell.task == task and _usable(cell)]
        if len(of_task) > 1:
            common = _common_losses(of_task)
            there = {cell.arm: _there(cell, common) for cell in of_task}
            ends = {cell.arm: cell.ends for cell in of_task}
            rows += [_row(task, cell.arm, there, ends, baseline=baseline) for cell in of_task]
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


def _usable(cell: Cell) -> list[RunMetrics]:
    return [run for run in cell.finished if math.isfinite(run.final_loss)]


def _common_losses(cells: Sequence[Cell]) -> dict[int, float]:
    """By seed, over the arms that finished it; a seed that only one arm finished has nothing to match."""
    finals: dict[int, list[float]] = {}
    for cell in cells:
        for run in _usable(cell):
            finals.setdefault(run.seed, []).append(run.final_loss)
    return {seed: max(losses) for seed, losses in finals.items() if len(losses) > 1}


def _there(cell: Cell, common: Mapping[int, float]) -> dict[int, _There]:
    records = {record.run.seed: record for record in cell.records}
    found = {}
    for run in _usable(cell):
        if run.seed in common and (point := first_at(run.curve, common[run.seed])) is not None:
            log_sharpness = sharpness_at(point.step, run.sharpness_curve)
            rounding = target_rounding(records[run.seed], point.step)
            found[run.seed] = _There(common[run.seed], point.step, log_sharpness, rounding)
    return found


def _row(
    task: str, arm: str, there: Mapping[str, Mapping[int, _There]], ends: Mapping[str, Ends], *, baseline: str
) -> MatchedRow:
    theirs = there.get(baseline, {})
    ours = {seed: there[arm][seed] for seed in counted(there[arm], ends[arm])}
    pairs = once(there[arm], theirs, ends[arm], ends.get(baseline, {}))
    sharp = _log_sharpness(ours)
    rounding = math.hypot(*(typical(each.rounding for each in side.values()) for side in (ours, theirs)))
    is_baseline = arm == baseline
    return MatchedRow(
        task=task,
        arm=arm,
        loss=estimate([each.loss for each in ours.values()]),
        steps=estimate([each.step for each in ours.values()]),
        steps_ratio=None if is_baseline else paired_ratio(_log_steps(pairs), _log_steps(theirs), rounding=rounding),
        sharpness=geometric_mean(list(sharp.values())),
        sharpness_ratio=None if is_baseline else paired_ratio(_log_sharpness(pairs), _log_sharpness(theirs)),
        no_sharpness=len(ours) - len(sharp),
    )


def _log_steps(there: Mapping[int, _There]) -> dict[int, float]:
    return {seed: math.log(each.step) for seed, each in there.items() if each.step > 0}


def _log_sharpness(there: Mapping[int, _There]) -> dict[int, float]:
    return {seed: each.log_sharpness for seed, each in there.items() if math.isfinite(each.log_sharpness)}
