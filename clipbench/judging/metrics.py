"""A run's status, loss curve and steps to a target."""

import math
from typing import Literal

from clipbench.quantities import first_at
from clipbench.questions import Target
from clipbench.records import EVAL_LOSS, Record

Status = Literal["finished", "diverged", "failed", "unfinished"]


def status(record: Record) -> Status:
    """How the run ended; `unfinished` where it has no outcome yet."""
    return record.outcome.status if record.outcome else "unfinished"


def losses(record: Record, quantity: str = EVAL_LOSS) -> list[tuple[int, float]]:
    """The evaluation losses as (step, loss) in the order of steps, whatever the order they were written in.

    `quantity`: TRAINING_POINT_LOSS for those at the weights where gradients are taken.
    """
    return [(measured.step, measured.value) for measured in record.measurements.series("", quantity)]


def steps_to_target(record: Record, target: float, *, consecutive: int = 1) -> float | None:
    """The first evaluated step from which `consecutive` evaluations in a row are at or below `target`.

    ∞ for a miss; a run that diverged or failed is a miss, even if it passed the target on the way. None for a run that
    has not ended.
    """
    if record.outcome is None:
        return None
    if record.outcome.status != "finished":
        return math.inf
    reached = first_at(record.measurements.series("", EVAL_LOSS), Target(target, consecutive))
    return math.inf if reached is None else reached.step
