"""One run → its numbers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from clipbench.judging.statistics import logs_of_positive
from clipbench.measurements import Measurement, Measurements
from clipbench.records import CLIPPED_FRACTION, DIRECTIONAL_SHARPNESS, EVAL_LOSS, OWN, RATE_SHARPNESS, Record

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

    `steps_to_target` and `seconds_to_target` are infinite for a miss, and None for an unfinished run or where no
    target is set; `target_rounding` is how far their logarithms may be off. `clipped_fraction` is None where the arm
    has no clip, `rate_sharpness` (the mean of η·sharpness along the run's own updates) where it was not measured.
    `curve` has the evaluation losses and `sharpness_curve` the sharpness along own updates, in the order of steps;
    `ghosts` what was measured along other arms' steps.
    """

    seed: int
    status: Status
    final_loss: float
    steps_to_target: float | None
    step_milliseconds: float
    sharpness: Sharpness
    clipped_fraction: float | None
    seconds_to_target: float | None = None
    target_rounding: float = 0.0
    rate_sharpness: float | None = None
    curve: tuple[Measurement, ...] = ()
    sharpness_curve: tuple[Measurement, ...] = ()
    ghosts: Measurements | None = None


def metrics(record: Record, *, target: float | None, consecutive: int = 1) -> RunMetrics:
    """The numbers of one run; they are defined for every run, but only those of finished runs are averaged."""
    found = record.measurements
    curve = found.series("", EVAL_LOSS)
    sharpness_curve = found.series(OWN, DIRECTIONAL_SHARPNESS)
    reached = None if target is None else _reached(record, curve, target=target, consecutive=consecutive)
    rates = _values(found.series(OWN, RATE_SHARPNESS))
    return RunMetrics(
        seed=record.run.seed,
        status=status(record),
        final_loss=curve[-1].value if curve else math.nan,
        steps_to_target=None if reached is None else reached[0],
        seconds_to_target=None if reached is None else reached[1],
        step_milliseconds=record.outcome.step_seconds * 1000 if record.outcome else math.nan,
        sharpness=_in_logs(_values(sharpness_curve)),
        clipped_fraction=clipped_fraction(record),
        target_rounding=0.0 if reached is None else target_rounding(record, reached[0]),
        rate_sharpness=sum(rates) / len(rates) if rates else None,
        curve=tuple(curve),
        sharpness_curve=tuple(sharpness_curve),
        ghosts=found if found.along - {"", OWN} else None,
    )


def status(record: Record) -> Status:
    """How the run ended; `unfinished` where it has no outcome yet."""
    return record.outcome.status if record.outcome else "unfinished"


def losses(record: Record, quantity: str = EVAL_LOSS) -> list[tuple[int, float]]:
    """The evaluation losses as (step, loss) in the order of steps, whatever the order they were written in.

    `quantity`: TRAINING_POINT_LOSS for those at the weights where gradients are taken.
    """
    return [(measured.step, measured.value) for measured in record.measurements.series("", quantity)]


def final_loss(record: Record) -> float:
    """The last evaluation loss (not the least: a run is judged by where it ends); NaN where there is none."""
    curve = record.measurements.series("", EVAL_LOSS)
    return curve[-1].value if curve else math.nan


def steps_to_target(record: Record, target: float, *, consecutive: int = 1) -> float | None:
    """The first evaluated step from which `consecutive` evaluations in a row are at or below `target`.

    NaN and infinity never hit. A run that never hits needs ∞ steps, and so does one that diverged or failed,
    whatever it touched on the way: what it reached, its user cannot have. An unfinished run is undecided: None.
    """
    curve = record.measurements.series("", EVAL_LOSS)
    reached = _reached(record, curve, target=target, consecutive=consecutive)
    return None if reached is None else reached[0]


def target_rounding(record: Record, steps: float) -> float:
    """How far ln(steps) may be off, as a standard deviation, since a target is seen only at an evaluation.

    It was met anywhere in the steps before: uniform over the cadence c, so c/√12 of the steps. 0 for a miss, which is
    not read but counted, and for a target that was met before the first step.
    """
    if not 0 < steps < math.inf:
        return 0.0
    return record.run.measure.evaluate_every / (steps * math.sqrt(12))


def typical(roundings: Iterable[float]) -> float:
    """The mean of those that are not 0; 0 where none is."""
    read = [rounding for rounding in roundings if rounding]
    return sum(read) / len(read) if read else 0.0


def first_at(curve: Sequence[Measurement], target: float, *, consecutive: int = 1) -> Measurement | None:
    """The first evaluation from which so many in a row are at or below `target`; None where there is none."""
    held = 0
    for place, measured in enumerate(curve):
        held = held + 1 if measured.value <= target and math.isfinite(measured.value) else 0
        if held == consecutive:
            return curve[place - consecutive + 1]
    return None


def clipped_fraction(record: Record) -> float | None:
    """The mean of the fractions of coordinates that the clip really changed; None where the arm has no clip."""
    if record.run.arm.clip is None:
        return None
    values = _values(record.measurements.series("", CLIPPED_FRACTION))
    return sum(values) / len(values) if values else math.nan


def _values(measured: Sequence[Measurement]) -> list[float]:
    return [each.value for each in measured]


def _reached(
    record: Record, curve: Sequence[Measurement], *, target: float, consecutive: int
) -> tuple[float, float] | None:
    """Steps and seconds to the target."""
    if record.outcome is None:
        return None
    hit = first_at(curve, target, consecutive=consecutive) if record.outcome.status == "finished" else None
    return (math.inf, math.inf) if hit is None else (hit.step, hit.seconds)


def _in_logs(values: Sequence[float]) -> Sharpness:
    logs = logs_of_positive(values)
    defined = sum(math.isfinite(value) for value in values)
    mean_log = sum(logs) / len(logs) if logs else math.nan
    return Sharpness(mean_log, len(logs), defined - len(logs), len(values) - defined)
