"""Arms at the same loss."""

from clipbench.judging.comparison import Comparison
from clipbench.judging.matched import MatchedRow
from clipbench.report.columns import Column
from clipbench.report.fields import Field
from clipbench.report.numbers import NONE, Parts, with_error, with_factor
from clipbench.report.section import Section, arm_column, ratio_cell, ratio_fields, task_column


def section(comparison: Comparison) -> Section:
    base = comparison.baseline
    return Section(
        name="matched",
        title="At the same loss",
        legend=(
            f"Each arm and {base} at their first evaluations at or below the common loss, seed by seed: the higher of "
            "their two final losses. Sharpness there is along the arm's own step, its logarithm linear in the step "
            "between the two probed steps around it (before the first and after the last, theirs). "
            f"Ratios are to {base}, paired by seed, with 95 % intervals; in brackets, seeds."
        ),
        columns=(
            *task_column(head.name for head in comparison.tasks),
            arm_column(),
            Column("common loss", ("common", "loss"), lambda row: with_error(row.loss.mean, row.loss.standard_error)),
            Column("steps", ("steps",), lambda row: with_error(row.steps.mean, row.steps.standard_error)),
            Column(f"steps over {base}'s", ("over", "baseline's"), lambda row: ratio_cell(row.steps_ratio)),
            Column("sharpness there", ("sharpness", "there"), _matched_sharpness),
            Column(f"sharpness over {base}'s", ("over", "baseline's"), lambda row: ratio_cell(row.sharpness_ratio)),
        ),
        fields=(
            Field("task", "the task's name", lambda row: row.task),
            Field("arm", "the arm's name", lambda row: row.arm),
            Field("loss", "mean common loss", lambda row: row.loss.mean),
            Field("seeds", "how many seeds it is over", lambda row: row.loss.n),
            Field("steps", "mean step at which the arm is there", lambda row: row.steps.mean),
            Field("steps_se", "its standard error", lambda row: row.steps.standard_error),
            *ratio_fields("steps_ratio", "steps over the baseline's", lambda row: row.steps_ratio),
            Field("sharpness", "geometric mean sharpness there", lambda row: row.sharpness.mean),
            Field("sharpness_factor", "its multiplicative standard error", lambda row: row.sharpness.factor),
            Field("sharpness_seeds", "how many seeds it is over", lambda row: row.sharpness.n),
            Field("no_sharpness", "seeds without a positive sharpness there", lambda row: row.no_sharpness),
            *ratio_fields("sharpness_ratio", "sharpness over the baseline's", lambda row: row.sharpness_ratio),
        ),
        rows=comparison.matched,
    )


def _matched_sharpness(row: MatchedRow) -> Parts:
    lost = (f"{row.no_sharpness} ≤ 0",) if row.no_sharpness and row.sharpness.n else ()
    return (*with_factor(row.sharpness.mean, row.sharpness.factor), *lost) if row.sharpness.n else (NONE,)
