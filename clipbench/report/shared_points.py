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
            "At each probed step of a trajectory, every direction is tried at the same weights on the same batches and "
            "undone. Ratio: geometric mean over a run's steps, then over seeds, with 95 % confidence interval; (n) "
            "seeds. Range: the least and the greatest ratio of a cell (a seed at a step). Left out: cells in which "
            "either value is not positive. Cosine: with the negative gradient; 1 is steepest descent. Decrease: the "
            "best decrease of the loss along the direction, over the reference's."
            f"{_left_out(comparison.shared)}"
        ),
        columns=(
            task_column(head.name for head in comparison.tasks),
            text_column("trajectory", "the arm whose trajectory has the points", lambda row: row.trajectory),
            text_column("direction", "the arm whose update is tried at the points", lambda row: row.direction),
            Column("reference", "the direction that divides the ratios", lambda row: row.reference),
            ratio_column(
                "shared_sharpness_ratio",
                "sharpness over the reference's at the same points",
                lambda row: row.ratio,
                "sharpness ratio",
                lambda row: ratio_cell(row.ratio, without="reference"),
            ),
            Column("ratio_min", "least ratio of a cell (a seed at a step)", lambda row: row.low, "range", _range),
            Column("ratio_max", "greatest ratio of a cell", lambda row: row.high),
            Column("cells", "number of cells in which both values are positive", lambda row: row.cells, "cells"),
            Column(
                "cells_excluded",
                "number of cells in which a value is missing or not positive",
                lambda row: row.excluded,
                "left out",
            ),
            estimate_column("cosine", "mean cosine with the negative gradient", lambda row: row.cosine, "cosine"),
            ratio_column(
                "decrease_ratio",
                "best decrease over the reference's",
                lambda row: row.decrease,
                "decrease ratio",
                _decrease,
            ),
            Column(
                "decrease_of",
                "line: searched along the direction; taylor: by Taylor's model",
                lambda row: row.decrease_of,
            ),
            Column(
                "decrease_excluded",
                "number of cells left out of the decrease ratio",
                lambda row: row.decrease_excluded,
                "decrease left out",
                stacked=("left", "out"),
            ),
            Column(
                "runs_left_out",
                "runs of the trajectory that diverged, failed or have not ended",
                lambda row: row.left_out,
            ),
        ),
        rows=comparison.shared,
    )


def _left_out(rows: Sequence[SharedRow]) -> str:
    """The sentence about runs that are left out, by trajectory; empty if there are none."""
    several = len({row.task for row in rows}) > 1
    lost = {
        f"{row.trajectory} on {row.task}" if several else row.trajectory: row.left_out for row in rows if row.left_out
    }
    runs = listing([f"{count(n, 'run')} along {name}" for name, n in lost.items()])
    return f" Left out because they diverged, failed or have not ended: {runs}." if lost else ""


def _range(row: SharedRow) -> Parts:
    return (fold(row.low, row.high),) if row.cells and row.ratio is not None else (NONE,)


def _decrease(row: SharedRow) -> Parts:
    return (NONE,) if row.decrease_of is None else ratio_cell(row.decrease, without="reference")
