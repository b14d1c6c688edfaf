"""A comparison as a document: question, a table for each task, sections, clipped arms and twins, caveats."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Literal, get_args

from clipbench.errors import ClipbenchError
from clipbench.judging.comparison import By, Comparison, Row, TaskHead, Twin
from clipbench.judging.paired import Paired
from clipbench.judging.words import listing, named_goal
from clipbench.quantities import ALIASES
from clipbench.questions import Target
from clipbench.report import arms, matched, race, shared_points, training, tuning
from clipbench.report.numbers import NONE
from clipbench.report.table import AnyColumn, AnyTable, Bullets, CellValue, Document, Paragraph, Table

SectionName = Literal["race", "matched", "shared", "tuning"]
NAMES: tuple[SectionName, ...] = get_args(SectionName)
_SECTIONS: dict[SectionName, Callable[[Comparison], AnyTable]] = {
    "race": race.table,
    "matched": matched.table,
    "shared": shared_points.table,
    "tuning": tuning.table,
}
_WITHOUT_ROWS: dict[SectionName, str] = {
    "race": "There is no race: no arm of the comparison has runs beside the baseline's and a target (--target LOSS).",
    "matched": "There is nothing at the same loss: no arm has runs on the seeds of the baseline.",
    "shared": "No run tried other directions at its points: the spec's measure needs ghosts.",
    "tuning": "Nothing was tuned: the spec has no tuning section, or none of its trials has ended.",
}


def document(comparison: Comparison) -> Document:
    """The whole report of a comparison."""
    twins = [Bullets(twin.answers, title=_twin_line(twin)) for twin in comparison.twins]
    caveats = [Bullets(comparison.caveats, title="Caveats")] if comparison.caveats else []
    return Document(
        parts=(
            Paragraph(comparison.question, style="bold", captioned=True),
            *_tables(comparison),
            *sections(comparison),
            *twins,
            *caveats,
        ),
        lines=_table(comparison, comparison.rows),
        data=lambda: _data(comparison),
    )


def sections(comparison: Comparison) -> list[AnyTable]:
    """The tables beside the main one that have rows."""
    return [table for table in (make(comparison) for make in _SECTIONS.values()) if table.rows]


def section(comparison: Comparison, name: SectionName) -> Document:
    """A document with a single section, or with the reason why it has no rows."""
    table = _SECTIONS[name](comparison)
    return Document((table if table.rows else Paragraph(_WITHOUT_ROWS[name]),), lines=table)


def all_columns() -> dict[str, Sequence[AnyColumn]]:
    """The columns of every CSV that `compare` writes, by the name of its table."""
    nothing = Comparison("", "", baseline="", target=None, tasks=(), rows=(), twins=(), caveats=())
    tables: list[AnyTable] = [_table(nothing, ()), *(make(nothing) for make in _SECTIONS.values())]
    return {table.name: table.named for table in tables}


def arranged(comparison: Comparison, *, by: By = "task", sort: str | None = None) -> Comparison:
    """The comparison with a table for each task or arm, its rows sorted by a column of the CSV.

    `-name` sorts in descending order. Equal rows keep their order; missing and undefined values come last.

    Raises:
        ClipbenchError: there is no such column.
    """
    rows = comparison.rows
    if sort is not None:
        value, descending = _values(comparison, sort.removeprefix("-")), sort.startswith("-")
        present = [row for row in rows if not _is_absent(value(row))]
        present.sort(key=lambda row: _comparable(value(row)), reverse=descending)
        rows = (*present, *(row for row in rows if _is_absent(value(row))))
        places = {head.name: place for place, head in enumerate(comparison.tasks)}
        rows = tuple(sorted(rows, key=lambda row: places[row.task])) if by == "task" else rows
    return replace(comparison, by=by, rows=rows)


def _tables(comparison: Comparison) -> list[Table[Row]]:
    """A table of arms for each task; or, with --by arm, a table of tasks for each arm."""
    heads, rows, legend = comparison.tasks, comparison.rows, arms.legend(comparison)
    if comparison.by == "arm":
        of_tasks = "; ".join(_task_line(head, comparison) for head in heads)
        names = list(dict.fromkeys(row.arm for row in rows))
        groups = [
            (f"{arm} · {of_tasks}" if arm == names[0] else arm, [row for row in rows if row.arm == arm])
            for arm in names
        ]
    else:
        by_task: dict[str, list[Row]] = {head.name: [] for head in heads}
        for row in rows:
            by_task[row.task].append(row)
        groups = [(_task_line(head, comparison), by_task[head.name]) for head in heads]
    tables = [
        replace(
            _table(comparison, of_group),
            title=line,
            title_style="italic",
            caption=f"{comparison.question} {line}. {legend}",
        )
        for line, of_group in groups
    ]
    return [*tables[:-1], *(replace(table, note=legend) for table in tables[-1:])]


def _table(comparison: Comparison, rows: Sequence[Row]) -> Table[Row]:
    return Table(
        name="compare",
        columns=arms.columns(comparison),
        rows=rows,
        order=arms.order(comparison),
        style=lambda row: arms.mark(row.verdict, comparison.metric.quantity.better)[1],
    )


def _task_line(head: TaskHead, comparison: Comparison) -> str:
    """The title of a task's table: budget, baseline, target, training, devices, threads."""
    parts = [head.name, listing(head.budgets), f"baseline {comparison.baseline}"]
    if head.target is not None:
        in_a_row = f", {head.target.consecutive} evaluations in a row" if head.target.consecutive > 1 else ""
        parts.append(f"target {named_goal(head.target)}{in_a_row}")
    threads = training.threads(f"{listing(head.threads)} thread{'' if head.threads == (1,) else 's'}", head.training)
    return " · ".join(filter(None, [*parts, listing(training.ways(head.training)), listing(head.devices), threads]))


def _twin_line(twin: Twin) -> str:
    """Which arms are compared, and whether their learning rates differ."""
    ours, theirs = (rates or NONE for rates in twin.rates)
    rates = f"both at lr {ours}" if twin.same_rate else f"learning rates differ: {ours} against {theirs}"
    return f"{twin.arm} against its twin {twin.twin} on {twin.task} ({rates})"


def _values(comparison: Comparison, name: str) -> Callable[[Row], CellValue]:
    values = {column.name: column.value for column in _table(comparison, ()).named if column.value is not None}
    name = name if name in values else ALIASES.get(name, name)
    if name not in values:
        remedy = f"choose one of: {', '.join(values)}"
        raise ClipbenchError(f"there is no column {name!r} to sort by", remedy=remedy)
    return values[name]


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _comparable(value: object) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))


def _data(comparison: Comparison) -> dict[str, object]:
    """The whole comparison for JSON; rows hold the same names as the CSV."""
    rows = _table(comparison, comparison.rows).records()
    tables = {name: make(comparison).records() for name, make in _SECTIONS.items()}
    return {
        "spec": comparison.spec,
        "question": comparison.question,
        "baseline": comparison.baseline,
        "target": comparison.target,
        "consecutive": comparison.consecutive,
        "metric": str(comparison.metric),
        "threshold": comparison.threshold,
        "tasks": [_head(head) for head in comparison.tasks],
        "rows": [record | {"seeds": vars(row.seeds)} for record, row in zip(rows, comparison.rows, strict=True)],
        "twins": [_twin(twin) for twin in comparison.twins],
        **{name: records for name, records in tables.items() if records},
        "caveats": comparison.caveats,
        "tuning": [line | asdict(arm) for line, arm in zip(tables["tuning"], comparison.tunings, strict=True)],
    }


def _head(head: TaskHead) -> dict[str, object]:
    return {
        "name": head.name,
        "budget": listing(head.budgets),
        "devices": head.devices,
        "threads": head.threads,
        "training": training.ways(head.training),
        "target": _target(head.target) if head.target else None,
    }


def _target(target: Target) -> float | dict[str, object]:
    """A loss as its number, else what the spec says."""
    if not target.quantity:
        return target.bound
    bound = "at_most" if target.at_least is None else "at_least"
    return {"quantity": target.quantity, bound: target.bound, "consecutive": target.consecutive}


def _ratio(ratio: Paired) -> dict[str, object]:
    low, high = map(ratio.shown, ratio.interval())
    return {"ratio": ratio.shown(ratio.mean), "low": low, "high": high, "n": ratio.n}


def _difference(difference: Paired) -> dict[str, object]:
    low, high = difference.interval()
    mean, error = difference.mean, difference.error
    return {"mean": mean, "standard_error": error, "low": low, "high": high, "n": difference.n}


def _twin(twin: Twin) -> dict[str, object]:
    described: dict[str, object] = {
        "task": twin.task,
        "arm": twin.arm,
        "twin": twin.twin,
        "learning_rates": twin.learning_rates,
        "sharpness_ratio": _ratio(twin.sharpness),
        "loss_difference": _difference(twin.loss),
        "step_time_ratio": _ratio(twin.step_time),
        "answers": twin.answers,
    }
    if twin.steps is not None:
        described["steps_to_target"] = [steps.median for steps in twin.steps]
        described["fewer_steps_on"] = [twin.fewer_steps_on, twin.step_pairs]
    return described
