"""Directions at the same points."""

from collections.abc import Sequence

from clipbench.judging.comparison import Comparison
from clipbench.judging.shared_points import SharedRow
from clipbench.judging.words import count, fold, listing
from clipbench.report.columns import estimate_column, ratio_cell, ratio_column, task_column
from clipbench.report.numbers import NONE, Parts
from clipbench.report.table import Column, Table, text_column


def table(comparison: Comparison) -> Table[SharedRow]:
    """The directions of arms, tried at the same weights on the same batches."""
    reference = ", ".join(dict.fromkeys(row.reference for row in comparison.shared))
    return Table(
        name="shared",
        title=f"Directions at the same points: directional sharpness over that of {reference}",
        note=(
            "Along each trajectory every direction is tried at the same weights on the same batches, and undone. The "
            "ratio is the mean logarithm over a run's steps, then over seeds, with its 95 % interval over seeds (in "
            "brackets); the range is over cells, a cell being a seed with a step. Cells where either value is not "
            "positive are left out and counted. Cosine: with the negative gradient, 1 is straight down. Decrease: the "
            "best decrease of the loss along the direction, likewise over the reference's."
            f"{_left_out(comparison.shared)}"
        ),
        columns=(
            task_column(head.name for head in comparison.tasks),
            text_column("trajectory", "the arm whose path the points are on", lambda row: row.trajectory),
            text_column("direction", "the arm whose step was tried there", lambda row: row.direction),
            Column("reference", "the direction that ratios are over", lambda row: row.reference),
            ratio_column(
                "shared_sharpness_ratio",
                "sharpness over the reference's at the same points",
                lambda row: row.ratio,
                "sharpness ratio",
                lambda row: ratio_cell(row.ratio, without="reference"),
            ),
            Column("ratio_min", "the least ratio of a cell", lambda row: row.low, "range", _range),
            Column("ratio_max", "the greatest", lambda row: row.high),
            Column("cells", "seeds × steps where both are positive", lambda row: row.cells, "cells"),
            Column("cells_excluded", "where either is not, or is missing", lambda row: row.excluded, "left out"),
            estimate_column("cosine", "mean cosine with the negative gradient", lambda row: row.cosine, "cosine"),
            ratio_column(
                "decrease_ratio",
                "best decrease over the reference's",
                lambda row: row.decrease,
                "decrease ratio",
                _decrease,
            ),
            Column("decrease_of", "line where it was looked for, taylor where modelled", lambda row: row.decrease_of),
            Column(
                "decrease_excluded",
                "cells left out of it",
                lambda row: row.decrease_excluded,
                "decrease left out",
                stacked=("left", "out"),
            ),
            Column("runs_left_out", "runs along it that diverged, failed or have not ended", lambda row: row.left_out),
        ),
        rows=comparison.shared,
    )


def _left_out(rows: Sequence[SharedRow]) -> str:
    """Of which trajectories runs are left out, and how many; empty where there are none."""
    several = len({row.task for row in rows}) > 1
    lost = {
        f"{row.trajectory} on {row.task}" if several else row.trajectory: row.left_out for row in rows if row.left_out
    }
    runs = listing([f"{count(n, 'run')} along {name}" for name, n in lost.items()])
    return f" Left out, as they diverged, failed or have not ended: {runs}." if lost else ""


def _range(row: SharedRow) -> Parts:
    return (fold(row.low, row.high),) if row.cells and row.ratio is not None else (NONE,)


def _decrease(row: SharedRow) -> Parts:
    return (NONE,) if row.decrease_of is None else ratio_cell(row.decrease, without="reference")
