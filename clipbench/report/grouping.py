"""Which rows stand in one table, and in which order."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from clipbench.errors import ClipbenchError
from clipbench.judging.comparison import By, Comparison, Row
from clipbench.report.columns import task_line
from clipbench.report.fields import FIELDS, Cell


@dataclass(frozen=True)
class Group:
    """The rows of one table, under a line that says what they have in common."""

    line: str
    rows: Sequence[Row]


def groups(comparison: Comparison) -> list[Group]:
    """A table a task with the arms in it; or, by arm, a table an arm with the tasks in it."""
    if comparison.by == "arm":
        arms = dict.fromkeys(row.arm for row in comparison.rows)
        heads = "; ".join(task_line(head, comparison) for head in comparison.tasks)
        return [
            Group(f"{arm} · {heads}" if place == 0 else arm, [row for row in comparison.rows if row.arm == arm])
            for place, arm in enumerate(arms)
        ]
    by_task: dict[str, list[Row]] = {head.name: [] for head in comparison.tasks}
    for row in comparison.rows:
        by_task[row.task].append(row)
    return [Group(task_line(head, comparison), by_task[head.name]) for head in comparison.tasks]


def arranged(comparison: Comparison, *, by: By = "task", sort: str | None = None) -> Comparison:
    """The same with a table for each task or arm, and its rows in the order of a column of the CSV.

    `-name` turns the order round. Equal rows keep their order; what a row does not have, or is undefined, comes last.

    Raises:
        ClipbenchError: there is no such column.
    """
    rows = comparison.rows
    if sort is not None:
        of, turned = _column(sort.removeprefix("-")), sort.startswith("-")
        there = [row for row in rows if not _is_absent(of(row))]
        there.sort(key=lambda row: _comparable(of(row)), reverse=turned)
        rows = (*there, *(row for row in rows if _is_absent(of(row))))
        places = {head.name: place for place, head in enumerate(comparison.tasks)}
        rows = tuple(sorted(rows, key=lambda row: places[row.task])) if by == "task" else rows
    return replace(comparison, by=by, rows=rows)


def _column(name: str) -> Callable[[Row], Cell]:
    for field in FIELDS:
        if field.name == name:
            return field.value
    raise ClipbenchError(
        f"there is no column {name!r} to sort by",
        remedy=f"choose one of: {', '.join(field.name for field in FIELDS)}",
    )


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _comparable(value: object) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))
