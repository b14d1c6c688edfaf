"""What the sections have in common: their shape, and how they say a ratio."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from clipbench.judging.paired import Paired
from clipbench.judging.words import fold, number
from clipbench.report.columns import Column, bound, pairs
from clipbench.report.fields import Cell, Field
from clipbench.report.numbers import NONE, Parts


@dataclass(frozen=True)
class Section:
    """A table with its name (for `--section` and JSON), title and legend.

    The rows are the same for people and for programs, but where a row says several numbers of one kind: then programs
    have `lines`, one such number each.
    """

    name: str
    title: str
    legend: str
    columns: tuple[Column, ...]
    fields: tuple[Field, ...]
    rows: tuple[Any, ...]
    lines: tuple[Any, ...] | None = None

    @property
    def data(self) -> tuple[Any, ...]:
        """What a program reads line by line."""
        return self.rows if self.lines is None else self.lines


def arm_column() -> Column:
    return Column("arm", ("arm",), lambda row: (row.arm,), right=False)


def task_column(tasks: Iterable[str]) -> tuple[Column, ...]:
    """A column for the task, where there are several."""
    if len(set(tasks)) < 2:
        return ()
    return (Column("task", ("task",), lambda row: (row.task,), right=False),)


def ratio_cell(ratio: Paired | None) -> Parts:
    """1.9×, its interval, and over how many."""
    if ratio is None:
        return ("baseline",)
    if ratio.n == 0:
        return (NONE,)
    size = f"{bound(ratio)}{number(ratio.shown(ratio.mean))}×"
    return (size, pairs(ratio)) if ratio.n == 1 else (size, fold(*map(ratio.shown, ratio.interval())), pairs(ratio))


def ratio_fields(
    name: str, meaning: str, of: Callable[[Any], Paired | None], *, over: str = "seeds"
) -> tuple[Field, ...]:
    """A ratio with its interval and how many it is over."""

    def value(get: Callable[[Paired], Cell]) -> Callable[[Any], Cell]:
        def cell(row: object) -> Cell:
            found = of(row)
            return None if found is None else get(found)

        return cell

    return (
        Field(name, f"geometric mean of {meaning}", value(lambda ratio: ratio.shown(ratio.mean))),
        Field(f"{name}_low", "lower end of its 95 % interval", value(lambda ratio: ratio.shown(ratio.interval()[0]))),
        Field(f"{name}_high", "upper end", value(lambda ratio: ratio.shown(ratio.interval()[1]))),
        Field(f"{name}_n", f"how many {over} it is over", value(lambda ratio: ratio.n)),
    )
