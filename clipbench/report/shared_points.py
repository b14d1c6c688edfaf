"""Directions at the same points."""

from collections.abc import Sequence

from clipbench.judging.comparison import Comparison
from clipbench.judging.paired import Paired
from clipbench.judging.shared_points import SharedRow
from clipbench.judging.words import count, fold, listing
from clipbench.report.columns import Column
from clipbench.report.fields import Field
from clipbench.report.numbers import NONE, Parts, with_error
from clipbench.report.section import Section, ratio_cell, ratio_fields, task_column


def section(comparison: Comparison) -> Section:
    reference = ", ".join(dict.fromkeys(row.reference for row in comparison.shared))
    return Section(
        name="shared",
        title=f"Directions at the same points: directional sharpness over that of {reference}",
        legend=(
            "Along each trajectory every direction is tried at the same weights on the same batches, and undone. The "
            "ratio is the mean logarithm over a run's steps, then over seeds, with its 95 % interval over seeds (in "
            "brackets); the range is over cells, a cell being a seed with a step. Cells where either value is not "
            "positive are left out and counted. Cosine: with the negative gradient, 1 is straight down. Decrease: the "
            "best decrease of the loss along the direction, likewise over the reference's."
            f"{_left_out(comparison.shared)}"
        ),
        columns=(
            *task_column(head.name for head in comparison.tasks),
            Column("trajectory", ("trajectory",), lambda row: (row.trajectory,), right=False),
            Column("direction", ("direction",), lambda row: (row.direction,), right=False),
            Column("sharpness ratio", ("sharpness", "ratio"), lambda row: _or_reference(row.ratio)),
            Column("range", ("range",), _range),
            Column("cells", ("cells",), lambda row: (str(row.cells),)),
            Column("left out", ("left", "out"), lambda row: (str(row.excluded),)),
            Column("cosine", ("cosine",), _cosine),
            Column("decrease ratio", ("decrease", "ratio"), _decrease),
            Column("decrease left out", ("left", "out"), lambda row: (str(row.decrease_excluded),)),
        ),
        fields=(
            Field("task", "the task's name", lambda row: row.task),
            Field("trajectory", "the arm whose path the points are on", lambda row: row.trajectory),
            Field("direction", "the arm whose step was tried there", lambda row: row.direction),
            Field("reference", "the direction that ratios are over", lambda row: row.reference),
            *ratio_fields(
                "shared_sharpness_ratio", "sharpness over the reference's at the same points", lambda row: row.ratio
            ),
            Field("ratio_min", "the least ratio of a cell", lambda row: row.low),
            Field("ratio_max", "the greatest", lambda row: row.high),
            Field("cells", "seeds × steps where both are positive", lambda row: row.cells),
            Field("cells_excluded", "where either is not, or is missing", lambda row: row.excluded),
            Field("cosine", "mean cosine with the negative gradient", lambda row: row.cosine.mean),
            Field("cosine_se", "its standard error over seeds", lambda row: row.cosine.standard_error),
            *ratio_fields("decrease_ratio", "best decrease over the reference's", lambda row: row.decrease),
            Field("decrease_of", "line where it was looked for, taylor where modelled", lambda row: row.decrease_of),
            Field("decrease_excluded", "cells left out of it", lambda row: row.decrease_excluded),
            Field("runs_left_out", "runs along it that diverged, failed or have not ended", lambda row: row.left_out),
        ),
        rows=comparison.shared,
    )


def _left_out(rows: Sequence[SharedRow]) -> str:
    """Of which trajectories runs are left out, and how many; empty where there are none."""
    several = len({row.task for row in rows}) > 1
    lost = {
        f"{row.trajectory} on {row.task}" if several else row.trajectory: row.left_out for row in rows if row.left_out
    }
    said = listing([f"{count(n, 'run')} along {name}" for name, n in lost.items()])
    return f" Left out, as they diverged, failed or have not ended: {said}." if lost else ""


def _or_reference(found: Paired | None) -> Parts:
    return ("reference",) if found is None else ratio_cell(found)


def _range(row: SharedRow) -> Parts:
    return (fold(row.low, row.high),) if row.cells and row.ratio is not None else (NONE,)


def _cosine(row: SharedRow) -> Parts:
    return with_error(row.cosine.mean, row.cosine.standard_error) if row.cosine.n else (NONE,)


def _decrease(row: SharedRow) -> Parts:
    if row.decrease_of is None:
        return (NONE,)
    return _or_reference(row.decrease)
