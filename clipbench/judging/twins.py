"""Clipped arms against their twins: does the clip lower the sharpness, and does that buy anything?"""

import math
from collections.abc import Mapping, Sequence

from clipbench.judging.cells import Cell
from clipbench.judging.comparison import StepsToTarget, Twin
from clipbench.judging.copies import once
from clipbench.judging.statistics import (
    Direction,
    PairedDifference,
    PairedRatio,
    logs_of_positive,
    paired_difference,
    paired_ratio,
)
from clipbench.judging.words import count, fold, number, span
from clipbench.records import Arm

_LOWER: Mapping[Direction, str] = {
    "lower": "yes",
    "higher": "no",
    "equal": "no, identical",
    "undecided": "undecided",
}


def is_twin(clipped: Arm, other: Arm) -> bool:
    """Whether `other` is `clipped` without its clip: same optimizer, options (lr aside) and schedule."""
    return (
        clipped.clip is not None
        and other.clip is None
        and clipped.optimizer.use == other.optimizer.use
        and _but_rate(clipped) == _but_rate(other)
        and clipped.schedule == other.schedule
    )


def twins(cells: Sequence[Cell], steps: Mapping[tuple[str, str], StepsToTarget | None]) -> list[Twin]:
    """Every clipped arm with each of its twins on the same task.

    Args:
        cells: one per task and arm.
        steps: steps to the target by (task, arm); None where no target is set.
    """
    by_task: dict[str, list[Cell]] = {}
    for cell in cells:
        by_task.setdefault(cell.task, []).append(cell)
    pairs = [
        (clipped, other)
        for clipped in cells
        if clipped.described.clip is not None
        for other in by_task[clipped.task]
        if is_twin(clipped.described, other.described)
    ]
    return [_twin(clipped, other, steps) for clipped, other in pairs]


def _twin(clipped: Cell, other: Cell, steps: Mapping[tuple[str, str], StepsToTarget | None]) -> Twin:
    sharp, loss_of = (_log_sharpness(clipped), _log_sharpness(other)), (clipped.final_losses, other.final_losses)
    sharpness = paired_ratio(once(*sharp, clipped.ends, other.ends), sharp[1])
    loss = paired_difference(once(*loss_of, clipped.ends, other.ends), loss_of[1])
    step_time = paired_ratio(_log_times(clipped), _log_times(other))
    ours, theirs = steps[clipped.task, clipped.arm], steps[other.task, other.arm]
    reached = (ours, theirs) if ours is not None and theirs is not None else None
    fewer, pairs = _fewer(clipped, other) if reached is not None else (0, 0)
    answers = [
        f"lower sharpness: {_ratio_answer(sharpness, 'seed with positive values in both')}",
        f"lower final loss: {_loss_answer(loss)}",
    ]
    if reached is not None:
        answers.append(_steps_answer(reached, fewer=fewer, pairs=pairs))
    answers.append(f"less time a step: {_ratio_answer(step_time, 'timed seed in common')}")
    return Twin(
        task=clipped.task,
        arm=clipped.arm,
        twin=other.arm,
        learning_rates=(clipped.learning_rate, other.learning_rate),
        sharpness=sharpness,
        loss=loss,
        step_time=step_time,
        steps=reached,
        fewer_steps_on=fewer,
        step_pairs=pairs,
        answers=tuple(answers),
    )


def _but_rate(arm: Arm) -> dict[str, object]:
    return {name: value for name, value in arm.optimizer.options.items() if name != "lr"}


def _log_sharpness(cell: Cell) -> dict[int, float]:
    return {
        run.seed: run.sharpness.mean_log
        for run in cell.finished
        if run.sharpness.positive and math.isfinite(run.sharpness.mean_log)
    }


def _log_times(cell: Cell) -> dict[int, float]:
    logs = {run.seed: logs_of_positive([run.step_milliseconds]) for run in cell.finished}
    return {seed: found[0] for seed, found in logs.items() if found}


def _fewer(clipped: Cell, other: Cell) -> tuple[int, int]:
    ours, theirs = (
        {run.seed: run.steps_to_target for run in cell.runs if run.steps_to_target is not None}
        for cell in (clipped, other)
    )
    pairs = once(ours, theirs, clipped.ends, other.ends)
    return sum(steps < theirs[seed] for seed, steps in pairs.items()), len(pairs)


def _ratio_answer(ratio: PairedRatio, counted: str) -> str:
    verdict = _LOWER[ratio.direction]
    if ratio.n == 0:
        return f"{verdict} (no {counted})"
    size = f"{number(ratio.ratio)}×"
    if ratio.n == 1:
        return f"{verdict} ({size} on 1 seed, no interval)"
    return f"{verdict} ({size}, 95 % interval {fold(ratio.low, ratio.high)}, {count(ratio.n, 'seed')})"


def _loss_answer(loss: PairedDifference) -> str:
    verdict = _LOWER[loss.direction]
    if loss.n == 0:
        return f"{verdict} (no seed that both finished)"
    if loss.n == 1:
        return f"{verdict} ({loss.mean:+.3g} on 1 seed, no interval)"
    interval = span(loss.low, loss.high)
    return f"{verdict} ({loss.mean:+.3g}, 95 % interval {interval}, {count(loss.n, 'seed')})"


def _steps_answer(reached: tuple[StepsToTarget, StepsToTarget], *, fewer: int, pairs: int) -> str:
    ours, theirs = (
        f"{number(steps.median, 6)} ({steps.hits}/{steps.seeds} seeds reach it)" if steps.seeds else "no ended seed"
        for steps in reached
    )
    return f"fewer steps to target: {ours} vs {theirs}; fewer on {fewer} of {count(pairs, 'paired seed')}"
