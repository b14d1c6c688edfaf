"""Arms at the same loss."""

from clipbench.judging.comparison import Comparison
from clipbench.judging.matched import MatchedRow
from clipbench.report.columns import arm_column, estimate_column, ratio_column, task_column
from clipbench.report.numbers import NONE, Parts, with_error, with_factor
from clipbench.report.table import Column, Table


def table(comparison: Comparison) -> Table[MatchedRow]:
    """The arms at the loss that all of them reach."""
    base, sharp = comparison.baseline, any(row.sharpness.n for row in comparison.matched)
    sharpness = (
        "Sharpness: along the arm's own updates at that step, interpolated between probed steps (linear in log "
        "sharpness). "
    )
    return Table(
        name="matched",
        title="At the same loss",
        note=(
            f"Common loss: on each seed, the higher final loss of the arm and {base}. Steps: the first evaluation at "
            f"or below the common loss. {sharpness if sharp else ''}Ratios: the arm's value over {base}'s, paired by "
            "seed, with 95 % confidence intervals; (n) seeds."
        ),
        columns=(
            task_column(head.name for head in comparison.tasks),
            arm_column(),
            Column("loss", "mean of the common loss", lambda row: row.loss.mean, "common loss", _loss),
            Column("seeds", "number of seeds in the mean", lambda row: row.loss.n),
            estimate_column(
                "steps", "mean step of the first evaluation at or below the common loss", lambda row: row.steps, "steps"
            ),
            ratio_column(
                "steps_ratio",
                "steps over the baseline's",
                lambda row: row.steps_ratio,
                f"steps over {base}'s",
                stacked=("over", "baseline's"),
            ),
            Column(
                "sharpness",
                "geometric mean of the sharpness at that step",
                lambda row: row.sharpness.mean,
                "sharpness there" if sharp else None,
                _sharpness,
            ),
            Column(
                "sharpness_factor", "standard error of the sharpness, as a factor", lambda row: row.sharpness.factor
            ),
            Column("sharpness_seeds", "number of seeds in the mean", lambda row: row.sharpness.n),
            Column("no_sharpness", "seeds whose sharpness at that step is not positive", lambda row: row.no_sharpness),
            ratio_column(
                "sharpness_ratio",
                "sharpness over the baseline's",
                lambda row: row.sharpness_ratio,
                f"sharpness over {base}'s" if sharp else None,
                stacked=("over", "baseline's"),
            ),
        ),
        rows=comparison.matched,
    )


def _loss(row: MatchedRow) -> Parts:
    return with_error(row.loss.mean, row.loss.standard_error)


def _sharpness(row: MatchedRow) -> Parts:
    lost = (f"{row.no_sharpness} ≤ 0",) if row.no_sharpness and row.sharpness.n else ()
    return (*with_factor(row.sharpness.mean, row.sharpness.factor), *lost) if row.sharpness.n else (NONE,)
