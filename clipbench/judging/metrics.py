"""How a run ended, and its curve."""

from typing import Literal

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
