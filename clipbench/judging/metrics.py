"""One run → its numbers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from clipbench.judging.statistics import logs_of_positive
from clipbench.records import CLIPPED_FRACTION, DIRECTIONAL_SHARPNESS, EVAL_LOSS, OWN, Measurement, Record

Status = Literal["finished", "diverged", "failed", "unfinished"]


@dataclass(frozen=True)
class Sharpness:
    """A run's directional sharpness along its own updates, in the logarithm.

    `mean_log` is the mean of ln over the positive values, NaN where there is none. `non_positive` counts values
    of zero and below, `undefined` those that are NaN or infinite; neither enters the mean.
    """

    mean_log: float
    positive: int
    non_positive: int
    undefined: int


@dataclass(frozen=True)
class RunMetrics:
    """What a comparison needs to know of one run.

    `steps_to_target` is infinite for a miss, and None for an unfinished run or where no target is set.
    `clipped_fraction` is None where the arm has no clip.
    """

    seed: int
    status: Status
    final_loss: float
    steps_to_target: float | None
    step_milliseconds: float
    sharpness: Sharpness
    clipped_fraction: float | None


def metrics(record: Record, *, target: float | None) -> RunMetrics:
    """The numbers of one run; they are defined for every run, but only those of finished runs are averaged."""
    return RunMetrics(
        seed=record.run.seed,
        status=status(record),
        final_loss=final_loss(record),
        steps_to_target=None if target is None else steps_to_target(record, target),
        step_milliseconds=record.outcome.step_seconds * 1000 if record.outcome else math.nan,
        sharpness=sharpness(record),
        clipped_fraction=clipped_fraction(record),
    )


def status(record: Record) -> Status:
    """How the run ended; `unfinished` where it has no outcome yet."""
    return record.outcome.status if record.outcome else "unfinished"


def losses(record: Record) -> list[tuple[int, float]]:
    """The evaluation losses as (step, loss) in the order of steps, whatever the order they were written in."""
    return sorted(((m.step, m.value) for m in _of(record, EVAL_LOSS)), key=lambda point: point[0])


def final_loss(record: Record) -> float:
    """The last evaluation loss (not the least: a run is judged by where it ends); NaN where there is none."""
    curve = losses(record)
    return curve[-1][1] if curve else math.nan


def steps_to_target(record: Record, target: float) -> float | None:
    """The first evaluated step whose evaluation loss is at or below `target`.

    NaN and infinity never hit. A run that never hits needs ∞ steps, and so does one that diverged or failed,
    whatever it touched on the way: what it reached, its user cannot have. An unfinished run is undecided: None.
    """
    if record.outcome is None:
        return None
    if record.outcome.status != "finished":
        return math.inf
    hits = (step for step, loss in losses(record) if math.isfinite(loss) and loss <= target)
    return next(hits, math.inf)


def sharpness(record: Record) -> Sharpness:
    """The run's directional sharpness along the updates it took itself, each at its own point."""
    values = [m.value for m in _of(record, DIRECTIONAL_SHARPNESS, direction=OWN)]
    logs = logs_of_positive(values)
    defined = sum(math.isfinite(value) for value in values)
    mean_log = sum(logs) / len(logs) if logs else math.nan
    return Sharpness(mean_log, len(logs), defined - len(logs), len(values) - defined)


def clipped_fraction(record: Record) -> float | None:
    """The mean of the fractions of coordinates that the clip really changed; None where the arm has no clip."""
    if record.run.arm.clip is None:
        return None
    values = [m.value for m in _of(record, CLIPPED_FRACTION, direction="")]
    return sum(values) / len(values) if values else math.nan


def _of(record: Record, quantity: str, *, direction: str | None = None) -> Iterator[Measurement]:
    for measurement in record.measurements:
        if measurement.quantity == quantity and direction in (None, measurement.direction):
            yield measurement
