"""The columns of the main table of `compare`: an arm on a task, against the baseline."""

import math
import re

from clipbench.judging.comparison import Comparison, Row, Standing, StepsToTarget
from clipbench.judging.families import Ranks, Verdict
from clipbench.judging.paired import Paired
from clipbench.judging.statistics import Estimate, GeometricEstimate
from clipbench.judging.words import factor, goal, number
from clipbench.quantities import FINAL_LOSS, SECONDS_TO_TARGET, STEPS_TO_TARGET, Along
from clipbench.questions import Better
from clipbench.records import CLIPPED_FRACTION, DIRECTIONAL_SHARPNESS, LEARNING_RATE, RATE_SHARPNESS
from clipbench.report.columns import at_least, estimate_column, if_any, numbers, of_pairs
from clipbench.report.numbers import NONE, Parts, with_error, with_factor
from clipbench.report.table import Column, text_column

# Each verdict's mark and the Rich style of its row.
MARKS: dict[Standing, tuple[str, str]] = {
    "baseline": ("", "bold"),
    "lower": ("+", "green"),
    "higher": ("-", "red"),
    "identical": ("=", "yellow"),
    "equivalent": ("=", "yellow"),
    "not higher": ("=", ""),
    "undecided": ("~", ""),
    "broken": ("x", "bold red"),
}
_LEGEND = (
    "= identical or equivalent, ~ undecided, x a seed diverged or failed. ± standard error over seeds; ×/÷ the same as "
    "a factor; (n) seeds. Rank: the ranks that the tests leave possible; a range is a tie."
)
_SIGNS = {
    "lower": "+ lower, - higher, ",
    "higher": "+ higher, - lower, ",
    "neither": "< lower, > higher (neither is better), ",
}
_OF_SHARPNESS = " Directional sharpness: geometric mean of the positive values; ≤ 0 counts the rest."


_THERE = {FINAL_LOSS, STEPS_TO_TARGET, SECONDS_TO_TARGET}  # quantities that have a column of their own
_SHOWN = {*_THERE, CLIPPED_FRACTION, DIRECTIONAL_SHARPNESS, RATE_SHARPNESS}  # and those that people see in another


def signs(better: Better) -> str:
    """What the marks of verdicts mean that have a direction."""
    return _SIGNS[better]


def mark(word: Standing, better: Better) -> tuple[str, str]:
    """How a verdict is marked, and Rich's name for how its row looks: + and green are better, whichever way that is."""
    if word not in ("lower", "higher"):
        return MARKS[word]
    if better == "neither":
        return ("<" if word == "lower" else ">"), ""
    return MARKS["lower" if word == better else "higher"]


def columns(comparison: Comparison) -> tuple[Column[Row], ...]:
    """All columns, in the order of the CSV."""
    targets = {goal(head.target) for head in comparison.tasks if head.target}
    target = targets.pop() if len(targets) == 1 else "target"
    asked = {str(along): along for along in (*comparison.others, *comparison.goals)}
    if str(comparison.metric) != CLIPPED_FRACTION:  # which has the name of a column below
        asked[str(comparison.metric)] = comparison.metric
    return (
        text_column("task", "the task's name", lambda row: row.task),
        text_column("arm", "the arm's name", lambda row: row.arm),
        Column("learning_rate", "the arm's learning rate; empty if it has none", lambda row: row.learning_rate),
        Column("seeds_finished", "number of finished seeds", lambda row: len(row.seeds.finished), "seeds", _seeds),
        Column("seeds_diverged", "number of diverged seeds", lambda row: len(row.seeds.diverged)),
        Column("seeds_failed", "number of failed seeds", lambda row: len(row.seeds.failed)),
        Column("seeds_unfinished", "number of seeds that have not ended", lambda row: len(row.seeds.unfinished)),
        _verdict(comparison.metric.quantity.better),
        _RANK,
        estimate_column(
            "final_loss", "mean final evaluation loss of finished seeds", lambda row: row.final_loss, "final loss"
        ),
        _difference(),
        _steps_to_target(target),
        estimate_column(
            "step_ms",
            "mean milliseconds per step",
            lambda row: row.step_milliseconds,
            "ms/step",
            stacked=("ms/", "step"),
        ),
        _SHARPNESS,
        _NON_POSITIVE,
        estimate_column(
            "clipped_fraction",
            "mean fraction of clipped coordinates; empty without a clip",
            lambda row: row.clipped,
            "clipped",
            _clipped,
        ),
        estimate_column(
            "rate_times_sharpness",
            "mean of learning rate × sharpness along own updates; empty if not measured",
            lambda row: row.rate_sharpness,
            "η·sharpness (limit 2)",
            stacked=("η·sharp-", "ness", "(limit 2)"),
        ),
        Column(
            "seconds_to_target",
            "median training seconds to the target over ended seeds; a miss counts as inf; empty without a target",
            if_any(lambda row: row.seconds, lambda seconds: seconds.median),
            f"seconds to {target}",
            _seconds,
            _to("s", target) or ("s", "to", target),
        ),
        _contrast(comparison),
        *(_other(along) for name, along in asked.items() if name not in _THERE),
    )


def order(comparison: Comparison) -> tuple[str, ...]:
    """The columns that people see, in order. Targets, sharpness and clips are shown only if there are any."""
    name = "task" if comparison.by == "arm" else "arm"
    always = ("verdict", name, "rank_low", "seeds_finished")
    if comparison.others:
        return (*always, "contrast", *map(name_of, comparison.others))
    rows, with_sharpness = comparison.rows, _with_sharpness(comparison)
    with_target = any(head.target for head in comparison.tasks)
    optional = {
        "steps_to_target": with_target,
        "seconds_to_target": with_target,
        "step_ms": True,
        "sharpness": with_sharpness,
        "sharpness_non_positive": with_sharpness,
        "rate_times_sharpness": any(row.rate_sharpness is not None for row in rows),
        "clipped_fraction": any(row.clipped is not None and row.clipped.n for row in rows),
    }
    metric = [comparison.metric] if str(comparison.metric) not in _SHOWN else []
    beside = ("final_loss", *dict.fromkeys(map(name_of, (*comparison.goals, *metric))), "contrast")
    return (*always, *beside, *(name for name, is_shown in optional.items() if is_shown))


def legend(comparison: Comparison) -> str:
    """What the marks and numbers of the columns mean."""
    marks = f"Verdict against the baseline: {signs(comparison.metric.quantity.better)}{_LEGEND}"
    return marks + (_OF_SHARPNESS if _with_sharpness(comparison) else "")


def _with_sharpness(comparison: Comparison) -> bool:
    return any(row.sharpness.total for row in comparison.rows)


def _difference() -> Column[Row]:
    def difference(row: Row) -> Paired | None:
        return row.difference

    return Column(
        "difference",
        "mean final loss minus the baseline's, paired by seed; empty for the baseline",
        if_any(difference, lambda pairs: pairs.mean),
        beside=numbers(
            difference,
            ("difference_se", "standard error of the difference", lambda pairs: pairs.error),
            ("difference_low", "lower end of the 95 % confidence interval", lambda pairs: pairs.interval()[0]),
            ("difference_high", "upper end of the 95 % confidence interval", lambda pairs: pairs.interval()[1]),
            ("difference_seeds", "number of paired seeds", lambda pairs: pairs.n),
        ),
    )


def _to(unit: str, target: str) -> Parts:
    """The heading over what a target costs in several lines: of a metric `steps to`, `accuracy` and `≥ 0.9`."""
    return (f"{unit} to", *re.split(r"(?<![≥≤]) ", target)) if " " in target else ()


def _steps_to_target(target: str) -> Column[Row]:
    def steps(row: Row) -> StepsToTarget | None:
        return row.steps

    def shown(row: Row) -> Parts:
        if row.steps is None or row.steps.seeds == 0:
            return (NONE,)
        return number(row.steps.median, 6), f"({row.steps.hits}/{row.steps.seeds})"

    return Column(
        "steps_to_target",
        "median steps to the target over ended seeds; a miss counts as inf; empty without a target",
        if_any(steps, lambda target_steps: target_steps.median),
        f"steps to {target}",
        shown,
        _to("steps", target),
        beside=numbers(
            steps,
            ("target_hits", "number of seeds that reached the target", lambda target_steps: target_steps.hits),
            ("target_seeds", "number of ended seeds", lambda target_steps: target_steps.seeds),
        ),
    )


def _contrast(comparison: Comparison) -> Column[Row]:
    """The comparison that verdicts are made from: a difference of values, or a ratio."""

    def against(row: Row) -> Paired | None:
        return row.against

    def judged(row: Row) -> Verdict | None:
        return row.judged

    metric, base = comparison.metric, comparison.baseline
    name, over = str(metric).replace("_", " "), "over" if metric.quantity.scale == "log" else "minus"
    heading, stacked = f"{name} {over} {base}'s", (*name.split(" "), over, "baseline's")
    if metric.quantity.name == FINAL_LOSS:
        heading, stacked = f"minus {base}", ("minus", "baseline")
    return Column(
        "contrast",
        "mean paired difference from the baseline in --metric; of natural logarithms if --metric compares ratios",
        if_any(against, lambda pairs: pairs.mean),
        heading,
        contrast_cell,
        stacked,
        beside=(
            *numbers(
                against,
                ("contrast_low", "lower end of the 95 % confidence interval", lambda pairs: pairs.interval()[0]),
                ("contrast_high", "upper end of the 95 % confidence interval", lambda pairs: pairs.interval()[1]),
                ("contrast_pairs", "number of pairs in the mean", lambda pairs: pairs.n),
                ("contrast_ahead", "pairs in which only this arm reached the target", lambda pairs: pairs.ahead),
                ("contrast_behind", "pairs in which only the baseline reached the target", lambda pairs: pairs.behind),
                (
                    "contrast_neither",
                    "pairs in which both missed the target, or one ended before the other reached it; not in the mean",
                    lambda pairs: pairs.neither,
                ),
                ("p", "p-value of the paired t-test", lambda pairs: pairs.p),
            ),
            *numbers(
                judged,
                ("p_corrected", "p-value after Holm's correction for the rows of the task", lambda verdict: verdict.p),
                ("level", "significance level of the verdict and of the next interval", lambda verdict: verdict.level),
                ("judged_low", "lower end of the confidence interval at that level", lambda verdict: verdict.low),
                ("judged_high", "upper end of the confidence interval at that level", lambda verdict: verdict.high),
                (
                    "seeds_needed",
                    "seeds that would decide an undecided row; else nan",
                    lambda verdict: verdict.seeds_needed,
                ),
            ),
        ),
    )


def contrast_cell(row: Row) -> Parts:
    """The difference from the baseline, with its error and pairs."""
    return ("baseline",) if row.against is None else difference_cell(row.against)


def difference_cell(difference: Paired) -> Parts:
    """A difference or a ratio with its standard error and the number of pairs."""
    if difference.n == 0:
        return ("target missed",) if difference.neither else (NONE,)
    if difference.identical:
        return "0" if difference.scale == "linear" else "1", "± 0", of_pairs(difference)
    if difference.scale == "linear":
        return *with_error(difference.mean, difference.error, signed=True), of_pairs(difference)
    mean, error = difference.shown(difference.mean), difference.shown(difference.error)
    return f"{at_least(difference)}{factor(mean, 3)}", *with_factor(mean, error)[1:], of_pairs(difference)


def name_of(along: Along) -> str:
    """The name of the column of a further quantity."""
    return "learning_rate_used" if str(along) == LEARNING_RATE else str(along)  # the arm's own lr has a column


def _other(along: Along) -> Column[Row]:
    """A column for a quantity of --columns, of a target, or of --metric."""
    name = name_of(along)

    def mean(row: Row) -> Estimate | GeometricEstimate | None:
        return row.others.get(str(along))

    def shown(row: Row) -> Parts:
        return mean_cell(mean(row))

    def size(row: Row) -> float | None:
        estimate = mean(row)
        return estimate.mean if estimate else None

    def error(row: Row) -> float | None:
        estimate = mean(row)
        return estimate.standard_error if isinstance(estimate, Estimate) else estimate.factor if estimate else None

    def seeds(row: Row) -> int | None:
        estimate = mean(row)
        return estimate.n if estimate else None

    beside = (
        Column(f"{name}_error", "its standard error; a factor if the mean is geometric", error),
        Column(f"{name}_seeds", "number of seeds in the mean", seeds),
    )
    return Column(name, along.quantity.meaning, size, name, shown, tuple(name.split("_")), beside=beside)


def mean_cell(mean: Estimate | GeometricEstimate | None) -> Parts:
    """A mean with its error; a geometric one with its factor."""
    if mean is None or not mean.n:
        return (NONE,)
    if isinstance(mean, Estimate):
        return with_error(mean.mean, mean.standard_error)
    return with_factor(mean.mean, mean.factor)


def _verdict(better: Better) -> Column[Row]:
    return text_column(
        "verdict",
        "baseline, lower, higher, identical, equivalent, undecided or broken",
        lambda row: row.verdict,
        "",
        lambda row: (mark(row.verdict, better)[0],),
    )


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
    if row.clipped is None or math.isnan(row.clipped.mean):  # no clip, or it was not measured
        return (NONE,)
    return with_error(row.clipped.mean * 100, row.clipped.standard_error * 100, unit=" %")


_RANK: Column[Row] = Column(
    "rank_low",
    "best possible rank among the arms of the task",
    if_any(_ranks, lambda ranks: ranks.low),
    "rank",
    _rank,
    beside=numbers(_ranks, ("rank_high", "worst possible rank", lambda ranks: ranks.high)),
)
_SHARPNESS: Column[Row] = Column(
    "sharpness",
    "geometric mean of the positive directional sharpness along own updates",
    lambda row: row.sharpness.mean.mean,
    "directional sharpness",
    _mean_sharpness,
    beside=(
        Column(
            "sharpness_factor", "standard error of the sharpness, as a factor", lambda row: row.sharpness.mean.factor
        ),
        Column("sharpness_seeds", "number of seeds in the mean", lambda row: row.sharpness.mean.n),
        Column("sharpness_positive", "number of positive sharpness values", lambda row: row.sharpness.positive),
    ),
)
_NON_POSITIVE: Column[Row] = Column(
    "sharpness_non_positive",
    "number of sharpness values that are zero or negative",
    lambda row: row.sharpness.non_positive,
    "≤ 0",
    lambda row: (f"{row.sharpness.non_positive}/{row.sharpness.total}",),
    ("≤ 0",),
    beside=(
        Column(
            "sharpness_undefined",
            "number of sharpness values that are NaN or infinite",
            lambda row: row.sharpness.undefined,
        ),
    ),
)
