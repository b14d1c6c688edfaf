"""The columns of the main table of `compare`: an arm on a task, against the baseline."""

import math

from clipbench.judging.comparison import Comparison, Contrast, Metric, Ranks, Row, StepsToTarget, Verdict
from clipbench.judging.statistics import PairedDifference, exp
from clipbench.judging.words import number
from clipbench.report.columns import estimate_column, if_any, numbers
from clipbench.report.numbers import NONE, Parts, with_error, with_factor
from clipbench.report.table import Column, text_column

# How a verdict is marked, and Rich's name for how its row looks.
MARKS: dict[Verdict, tuple[str, str]] = {
    "baseline": ("", "bold"),
    "better": ("+", "green"),
    "worse": ("-", "red"),
    "equal": ("=", "yellow"),
    "within": ("=", "yellow"),
    "undecided": ("~", ""),
    "broken": ("x", "bold red"),
}
_LEGEND = (
    "Against the baseline: + lower, - higher, ~ undecided, = identical or within what matters; x a seed diverged or "
    "failed. ± is a standard error over seeds, ×/÷ a multiplicative one; in brackets, seeds. Rank: the places an arm "
    "may have; what is not decided is a tie."
)
_OF_SHARPNESS = " Directional sharpness is the geometric mean of its positive values; the column ≤ 0 counts the others."
_RATIO_HEADINGS: dict[Metric, str] = {
    "steps": "steps to target",
    "seconds": "seconds to target",
    "sharpness": "sharpness",
}


def columns(comparison: Comparison) -> tuple[Column[Row], ...]:
    """All columns, in the order of the CSV."""
    target = "" if comparison.target is None else number(comparison.target, 6)
    return (
        text_column("task", "the task's name", lambda row: row.task),
        text_column("arm", "the arm's name", lambda row: row.arm),
        Column("learning_rate", "the arm's lr; empty where it has none", lambda row: row.learning_rate),
        Column("seeds_finished", "how many seeds finished", lambda row: len(row.seeds.finished), "seeds", _seeds),
        Column("seeds_diverged", "how many diverged", lambda row: len(row.seeds.diverged)),
        Column("seeds_failed", "how many crashed", lambda row: len(row.seeds.failed)),
        Column("seeds_unfinished", "how many have not ended", lambda row: len(row.seeds.unfinished)),
        _VERDICT,
        _RANK,
        estimate_column(
            "final_loss", "mean last evaluation loss of finished seeds", lambda row: row.final_loss, "final loss"
        ),
        _difference(),
        _steps_to_target(f"steps to {target}"),
        estimate_column(
            "step_ms", "mean milliseconds a step", lambda row: row.step_milliseconds, "ms/step", stacked=("ms/", "step")
        ),
        _SHARPNESS,
        _NON_POSITIVE,
        estimate_column(
            "clipped_fraction",
            "mean fraction of coordinates clipped; empty without a clip",
            lambda row: row.clipped,
            "clipped",
            _clipped,
        ),
        estimate_column(
            "rate_times_sharpness",
            "mean of learning rate × sharpness along own updates; empty where not measured",
            lambda row: row.rate_sharpness,
            "η·sharpness (limit 2)",
            stacked=("η·sharp-", "ness", "(limit 2)"),
        ),
        Column(
            "seconds_to_target",
            "median over ended seeds of training seconds, a miss being inf; empty without a target",
            if_any(lambda row: row.seconds, lambda seconds: seconds.median),
            f"s to {target}",
            _seconds,
        ),
        _contrast(comparison),
    )


def order(comparison: Comparison) -> tuple[str, ...]:
    """The columns that people see, in their order: a target, sharpness and a clip are shown where there is one."""
    rows, with_target, with_sharpness = comparison.rows, comparison.target is not None, _with_sharpness(comparison)
    optional = {
        "steps_to_target": with_target,
        "seconds_to_target": with_target,
        "step_ms": True,
        "sharpness": with_sharpness,
        "sharpness_non_positive": with_sharpness,
        "rate_times_sharpness": any(row.rate_sharpness is not None for row in rows),
        "clipped_fraction": any(row.clipped is not None for row in rows),
    }
    name = "task" if comparison.by == "arm" else "arm"
    always = ("verdict", name, "rank_low", "seeds_finished", "final_loss", "contrast")
    return (*always, *(name for name, is_shown in optional.items() if is_shown))


def legend(comparison: Comparison) -> str:
    """What the marks and numbers of the columns mean."""
    return _LEGEND + (_OF_SHARPNESS if _with_sharpness(comparison) else "")


def _with_sharpness(comparison: Comparison) -> bool:
    return any(row.sharpness.total for row in comparison.rows)


def _difference() -> Column[Row]:
    def difference(row: Row) -> PairedDifference | None:
        return row.difference

    return Column(
        "difference",
        "mean final loss minus the baseline's, paired by seed; empty for the baseline",
        if_any(difference, lambda each: each.mean),
        beside=numbers(
            difference,
            ("difference_se", "its standard error", lambda each: each.standard_error),
            ("difference_low", "lower end of its 95 % interval", lambda each: each.low),
            ("difference_high", "upper end of its 95 % interval", lambda each: each.high),
            ("difference_seeds", "how many seeds are paired", lambda each: each.n),
        ),
    )


def _steps_to_target(heading: str) -> Column[Row]:
    def steps(row: Row) -> StepsToTarget | None:
        return row.steps

    def shown(row: Row) -> Parts:
        if row.steps is None or row.steps.seeds == 0:
            return (NONE,)
        return number(row.steps.median, 6), f"({row.steps.hits}/{row.steps.seeds})"

    return Column(
        "steps_to_target",
        "median over ended seeds, a miss being inf; empty without a target",
        if_any(steps, lambda each: each.median),
        heading,
        shown,
        beside=numbers(
            steps,
            ("target_hits", "how many seeds reached the target", lambda each: each.hits),
            ("target_seeds", "of how many ended seeds", lambda each: each.seeds),
        ),
    )


def _contrast(comparison: Comparison) -> Column[Row]:
    """What verdicts go by: a difference of losses, or a ratio of anything else."""

    def contrast(row: Row) -> Contrast | None:
        return row.contrast

    heading, stacked = f"minus {comparison.baseline}", ["minus", "baseline"]
    if comparison.metric != "final_loss":
        over = _RATIO_HEADINGS[comparison.metric]
        heading, stacked = f"{over} over {comparison.baseline}'s", [*over.split(" "), "over", "baseline's"]
    return Column(
        "contrast",
        "mean over pairs of arm minus baseline in the metric that decides; in natural logarithms unless it is the loss",
        if_any(contrast, lambda each: each.mean),
        heading,
        _contrast_cell,
        tuple(stacked),
        beside=numbers(
            contrast,
            ("contrast_low", "lower end of its 95 % interval", lambda each: each.low),
            ("contrast_high", "upper end of its 95 % interval", lambda each: each.high),
            ("contrast_pairs", "how many pairs it is over", lambda each: each.n),
            ("contrast_ahead", "pairs in which only this arm reached the target", lambda each: each.ahead),
            ("contrast_behind", "pairs in which only the baseline did", lambda each: each.behind),
            ("p", "how often chance alone would go so far", lambda each: each.p),
            ("p_corrected", "p after Holm's correction for the rows of the task", lambda each: each.corrected),
            ("seeds_needed", "seeds that an undecided difference would need; else nan", lambda each: each.seeds_needed),
        ),
    )


def _contrast_cell(row: Row) -> Parts:
    contrast = row.contrast
    if contrast is None:
        return ("baseline",)
    missed = [f"{n} {word}" for n, word in ((contrast.ahead, "ahead"), (contrast.behind, "behind")) if n]
    if contrast.n == 0:
        return tuple(missed) or (NONE,)
    if contrast.in_logs:
        return *with_factor(exp(contrast.mean), exp(contrast.standard_error)), f"({contrast.n})", *missed
    return *with_error(contrast.mean, contrast.standard_error, signed=True), f"({contrast.n})"


def _seeds(row: Row) -> Parts:
    seeds = row.seeds
    lost = {"diverged": seeds.diverged, "failed": seeds.failed, "unfinished": seeds.unfinished}
    words = [f"{len(each)} {name}" for name, each in lost.items() if each]
    return (f"{len(seeds.finished)}/{seeds.total}", *words) if words else (str(seeds.total),)


def _ranks(row: Row) -> Ranks | None:
    return row.ranks


def _rank(row: Row) -> Parts:
    if row.ranks is None:
        return (NONE,)
    low, high = row.ranks.low, row.ranks.high
    return (str(low) if low == high else f"{low}–{high}",)


def _seconds(row: Row) -> Parts:
    return (NONE,) if row.seconds is None or row.seconds.seeds == 0 else (number(row.seconds.median),)


def _mean_sharpness(row: Row) -> Parts:
    mean = row.sharpness.mean
    return with_factor(mean.mean, mean.factor) if mean.n else (NONE,)


def _clipped(row: Row) -> Parts:
    if row.clipped is None or math.isnan(row.clipped.mean):  # no clip, or none that was measured
        return (NONE,)
    return with_error(row.clipped.mean * 100, row.clipped.standard_error * 100, unit=" %")


_VERDICT: Column[Row] = text_column(
    "verdict",
    "baseline, better, worse, equal, within, undecided or broken",
    lambda row: row.verdict,
    "",
    lambda row: (MARKS[row.verdict][0],),
)
_RANK: Column[Row] = Column(
    "rank_low",
    "the best place it may have among the arms",
    if_any(_ranks, lambda ranks: ranks.low),
    "rank",
    _rank,
    beside=numbers(_ranks, ("rank_high", "the worst place it may have", lambda ranks: ranks.high)),
)
_SHARPNESS: Column[Row] = Column(
    "sharpness",
    "geometric mean directional sharpness, own path",
    lambda row: row.sharpness.mean.mean,
    "directional sharpness",
    _mean_sharpness,
    beside=(
        Column("sharpness_factor", "its multiplicative standard error", lambda row: row.sharpness.mean.factor),
        Column("sharpness_seeds", "how many seeds it is over", lambda row: row.sharpness.mean.n),
        Column("sharpness_positive", "how many values are positive", lambda row: row.sharpness.positive),
    ),
)
_NON_POSITIVE: Column[Row] = Column(
    "sharpness_non_positive",
    "how many are zero or negative",
    lambda row: row.sharpness.non_positive,
    "≤ 0",
    lambda row: (f"{row.sharpness.non_positive}/{row.sharpness.total}",),
    ("≤ 0",),
    beside=(Column("sharpness_undefined", "how many are NaN or infinite", lambda row: row.sharpness.undefined),),
)
