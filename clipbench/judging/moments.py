"""Runs as they stood before their end: at a step, or at a fraction of their budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from clipbench.errors import ClipbenchError
from clipbench.judging.words import listing, number
from clipbench.measurements import Measurement, Measurements
from clipbench.records import EVAL_LOSS, Record

_ROUNDING = 1e-9  # of a budget: a fraction such as 0.3 of it is rarely a float


@dataclass(frozen=True)
class Moment:
    """A step, or a fraction of the budget: above 0 and at most 1."""

    amount: float
    unit: Literal["step", "fraction"]

    def __str__(self) -> str:
        if self.unit == "step":
            return f"step {number(self.amount, 9)}"
        return f"{number(100 * self.amount, 6)} % of the budget"


def as_of(records: Sequence[Record], moment: Moment) -> tuple[list[Record], str]:
    """The records cut off at a step or fraction, and a caveat that says so. Outcomes stay as they are.

    A fraction is of the budget in steps or in seconds. With a budget of samples or tokens it is of the run's steps.

    Raises:
        ClipbenchError: the moment is beyond the last step of every run, or outside the budget.
    """
    if moment.unit == "fraction" and not 0 < moment.amount <= 1:
        raise ClipbenchError(
            f"there is no {moment} in a run", remedy="give a fraction above 0 and at most 1, or a step"
        )
    last = max((record.measurements.last_step for record in records), default=0)
    if moment.unit == "step" and not 0 <= moment.amount <= last:
        raise ClipbenchError(f"no run has a {moment}", remedy=f"the last step of all runs is {last}")
    cut = []
    for record in records:
        by_then = _by_then(record, moment)
        cut.append(_ending(replace(record, measurements=Measurements.of(filter(by_then, record.measurements)))))
    evaluations = [record.measurements.series("", EVAL_LOSS) for record in cut]
    steps = {max((each.step for each in of_run), default=0) for of_run in evaluations}
    caveat = f"Compared at {moment}, not at the end: each run by its last evaluation up to then"
    spread = f" (the runs' last are at steps {listing(sorted(steps))})" if len(steps) > 1 else ""
    return cut, f"{caveat}{spread}; ms/step and how a run ended are of the whole run."


def _ending(record: Record) -> Record:
    """The record as if its last evaluation had been its end; one that broke keeps its own."""
    curve = record.measurements.series("", EVAL_LOSS)
    if record.outcome is None or record.status != "finished" or not curve:
        return record
    last = curve[-1]
    return replace(record, outcome=replace(record.outcome, steps=last.step, train_seconds=last.seconds))


def _by_then(record: Record, moment: Moment) -> Callable[[Measurement], bool]:
    budget = record.run.budget
    if moment.unit == "step":
        return lambda measured: measured.step <= moment.amount
    limit = moment.amount * budget.amount * (1 + _ROUNDING)
    if budget.unit == "seconds":
        return lambda measured: measured.seconds <= limit
    if budget.unit != "steps":
        if record.outcome is None:
            return lambda _: True
        limit = moment.amount * record.outcome.steps * (1 + _ROUNDING)
    return lambda measured: measured.step <= limit
