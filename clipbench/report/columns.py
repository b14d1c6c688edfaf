"""Columns that several tables share: arms, tasks, estimates and ratios with their errors."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from clipbench.judging.paired import Paired
from clipbench.judging.statistics import Estimate
from clipbench.judging.words import factor, fold
from clipbench.report.numbers import NONE, Parts, with_error
from clipbench.report.table import CellValue, Column, RowT, text_column

Thing = TypeVar("Thing")


class OfArm(Protocol):
    """A row about an arm."""

    @property
    def arm(self) -> str:
        """The arm's name."""


class OfTask(Protocol):
    """A row about a task."""

    @property
    def task(self) -> str:
        """The task's name."""


def arm_column() -> Column[OfArm]:
    """The arm's name."""
    return text_column("arm", "the arm's name", lambda row: row.arm)


def task_column(tasks: Iterable[str]) -> Column[OfTask]:
    """The task's name; shown to people only if there are several tasks."""
    heading = "task" if len(set(tasks)) > 1 else None
    return Column("task", "the task's name", lambda row: row.task, heading=heading, right=False)


def if_any(part: Callable[[RowT], Thing | None], value: Callable[[Thing], CellValue]) -> Callable[[RowT], CellValue]:
    """The value of an optional part of a row; None if the row lacks the part."""

    def get(row: RowT) -> CellValue:
        present = part(row)
        return None if present is None else value(present)

    return get


def numbers(
    part: Callable[[RowT], Thing | None], *columns: tuple[str, str, Callable[[Thing], CellValue]]
) -> tuple[Column[RowT], ...]:
    """Columns for programs: name, meaning and value of numbers of an optional part of a row."""
    return tuple(Column(name, meaning, if_any(part, value)) for name, meaning, value in columns)


def estimate_column(
    name: str,
    meaning: str,
    estimate: Callable[[RowT], Estimate | None],
    heading: str,
    shown: Callable[[RowT], Parts] | None = None,
    *,
    stacked: Parts = (),
) -> Column[RowT]:
    """A mean: people see it with its standard error, programs get the standard error as a column."""

    def with_its_error(row: RowT) -> Parts:
        measured = estimate(row)
        return with_error(measured.mean, measured.standard_error) if measured and measured.n else (NONE,)

    beside = numbers(estimate, (f"{name}_se", f"standard error of {name}", lambda estimated: estimated.standard_error))
    mean = if_any(estimate, lambda estimated: estimated.mean)
    return Column(name, meaning, mean, heading, shown or with_its_error, stacked, beside=beside)


def ratio_column(
    name: str,
    meaning: str,
    ratio: Callable[[RowT], Paired | None],
    heading: str | None,
    shown: Callable[[RowT], Parts] | None = None,
    *,
    stacked: Parts = (),
    over: str = "seeds",
) -> Column[RowT]:
    """A ratio: people see it with its confidence interval and n, programs get these as columns."""

    def with_its_interval(row: RowT) -> Parts:
        return ratio_cell(ratio(row))

    beside = numbers(
        ratio,
        (f"{name}_low", "lower end of the 95 % confidence interval", lambda pairs: pairs.shown(pairs.interval()[0])),
        (f"{name}_high", "upper end of the 95 % confidence interval", lambda pairs: pairs.shown(pairs.interval()[1])),
        (f"{name}_n", f"number of {over}", lambda pairs: pairs.n),
    )
    value, shown = if_any(ratio, lambda pairs: pairs.shown(pairs.mean)), shown or with_its_interval
    return Column(name, f"geometric mean of {meaning}", value, heading, shown, stacked, beside=beside)


def ratio_cell(ratio: Paired | None, *, without: str = "baseline") -> Parts:
    """`1.9×`, its confidence interval, and the number of pairs."""
    if ratio is None:
        return (without,)
    if ratio.n == 0:
        return (NONE,)
    size = f"{at_least(ratio)}{factor(ratio.shown(ratio.mean), 3)}×"
    if ratio.n == 1:
        return size, of_pairs(ratio)
    return size, fold(*map(ratio.shown, ratio.interval())), of_pairs(ratio)


def at_least(difference: Paired) -> str:
    """The sign before a mean that holds missed targets: ≥ if only ours missed, ≤ if only theirs, ≈ if both did."""
    if difference.ahead and difference.behind:
        return "≈ "
    return "≤ " if difference.ahead else "≥ " if difference.behind else ""


def of_pairs(difference: Paired) -> str:
    """The number of pairs: (5); if a target was missed, how many each side reached: (5 of 5 against 3)."""
    n, ahead, behind = difference.n, difference.ahead, difference.behind
    return f"({n - behind} of {n} against {n - ahead})" if difference.at_least else f"({n})"
