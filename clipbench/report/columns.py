"""Columns that several tables have: arms, tasks, and estimates and ratios with their errors."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from clipbench.judging.paired import Paired
from clipbench.judging.statistics import Estimate
from clipbench.judging.words import fold, number
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
    """The task, which people see where there are several."""
    heading = "task" if len(set(tasks)) > 1 else None
    return Column("task", "the task's name", lambda row: row.task, heading=heading, right=False)


def if_any(part: Callable[[RowT], Thing | None], value: Callable[[Thing], CellValue]) -> Callable[[RowT], CellValue]:
    """The value of a part that a row may lack; None without it."""

    def get(row: RowT) -> CellValue:
        present = part(row)
        return None if present is None else value(present)

    return get


def numbers(
    part: Callable[[RowT], Thing | None], *each: tuple[str, str, Callable[[Thing], CellValue]]
) -> tuple[Column[RowT], ...]:
    """Name, meaning and value of numbers, for programs, that belong to a part of a row."""
    return tuple(Column(name, meaning, if_any(part, value)) for name, meaning, value in each)


def estimate_column(
    name: str,
    meaning: str,
    estimate: Callable[[RowT], Estimate | None],
    heading: str,
    shown: Callable[[RowT], Parts] | None = None,
    *,
    stacked: Parts = (),
) -> Column[RowT]:
    """A mean, which people see with its error, and for programs its standard error."""

    def with_its_error(row: RowT) -> Parts:
        measured = estimate(row)
        return with_error(measured.mean, measured.standard_error) if measured and measured.n else (NONE,)

    beside = numbers(estimate, (f"{name}_se", "its standard error", lambda each: each.standard_error))
    mean = if_any(estimate, lambda each: each.mean)
    return Column(name, meaning, mean, heading, shown or with_its_error, stacked, beside=beside)


def ratio_column(
    name: str,
    meaning: str,
    ratio: Callable[[RowT], Paired | None],
    heading: str,
    shown: Callable[[RowT], Parts] | None = None,
    *,
    stacked: Parts = (),
    over: str = "seeds",
) -> Column[RowT]:
    """A ratio, which people see with its interval and how many it is over, and for programs these numbers."""

    def with_its_interval(row: RowT) -> Parts:
        return ratio_cell(ratio(row))

    beside = numbers(
        ratio,
        (f"{name}_low", "lower end of its 95 % interval", lambda each: each.shown(each.interval()[0])),
        (f"{name}_high", "upper end", lambda each: each.shown(each.interval()[1])),
        (f"{name}_n", f"how many {over} it is over", lambda each: each.n),
    )
    value, shown = if_any(ratio, lambda each: each.shown(each.mean)), shown or with_its_interval
    return Column(name, f"geometric mean of {meaning}", value, heading, shown, stacked, beside=beside)


def ratio_cell(ratio: Paired | None, *, without: str = "baseline") -> Parts:
    """1.9×, its interval, and over how many."""
    if ratio is None:
        return (without,)
    if ratio.n == 0:
        return (NONE,)
    size = f"{at_least(ratio)}{number(ratio.shown(ratio.mean))}×"
    if ratio.n == 1:
        return size, of_pairs(ratio)
    return size, fold(*map(ratio.shown, ratio.interval())), of_pairs(ratio)


def at_least(found: Paired) -> str:
    """What a missed target makes of a mean: where only theirs missed it is at most so high."""
    if found.ahead and found.behind:
        return "≈ "
    return "≤ " if found.ahead else "≥ " if found.behind else ""


def of_pairs(found: Paired) -> str:
    """Over how many pairs, and where a target was missed on how many each side reached it: (5), (5 of 5 against 3)."""
    n = found.n
    return f"({n - found.behind} of {n} against {n - found.ahead})" if found.at_least else f"({n})"
