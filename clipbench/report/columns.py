"""The columns of the comparison table for people: the same cells in the terminal, Markdown and LaTeX."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipbench.judging.comparison import Comparison, Metric, Row, TaskHead, Twin, Verdict
from clipbench.judging.statistics import Estimate, exp
from clipbench.judging.words import listing, number
from clipbench.report.numbers import NONE, Parts, with_error, with_factor

MARKS: dict[Verdict, str] = {
    "baseline": "",
    "better": "+",
    "worse": "-",
    "equal": "=",
    "within": "=",
    "undecided": "~",
    "broken": "x",
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


@dataclass(frozen=True)
class Column:
    """A heading (on one line, and stacked for narrow columns) and what the column says of a row."""

    heading: str
    stacked: Parts
    cell: Callable[[Any], Parts]
    right: bool = True


def columns(comparison: Comparison) -> tuple[Column, ...]:
    """The columns a comparison needs: a target, sharpness and a clip are shown where there is one."""
    rows = comparison.rows
    by_arm = comparison.by == "arm"
    wanted = [
        Column("", ("",), lambda row: (MARKS[row.verdict],), right=False),
        Column("task", ("task",), lambda row: (row.task,), right=False)
        if by_arm
        else Column("arm", ("arm",), lambda row: (row.arm,), right=False),
        Column("rank", ("rank",), _rank),
        Column("seeds", ("seeds",), _seeds),
        Column("final loss", ("final", "loss"), lambda row: _estimate(row.final_loss)),
        _against(comparison),
    ]
    if comparison.target is not None:
        target = number(comparison.target, 6)
        wanted.append(Column(f"steps to {target}", ("steps", "to", target), _steps))
        wanted.append(Column(f"s to {target}", ("s", "to", target), _seconds))
    wanted.append(Column("ms/step", ("ms/", "step"), lambda row: _estimate(row.step_milliseconds)))
    if _with_sharpness(comparison):
        wanted.append(Column("directional sharpness", ("directional", "sharpness"), _sharpness))
        wanted.append(Column("≤ 0", ("≤ 0",), _non_positive))
    if any(row.rate_sharpness is not None for row in rows):
        wanted.append(Column("η·sharpness (limit 2)", ("η·sharp-", "ness", "(limit 2)"), _rate_sharpness))
    if any(row.clipped is not None for row in rows):
        wanted.append(Column("clipped", ("clipped",), _clipped))
    return tuple(wanted)


def legend(comparison: Comparison) -> str:
    """What the marks and numbers of the columns mean."""
    return _LEGEND + (_OF_SHARPNESS if _with_sharpness(comparison) else "")


def _with_sharpness(comparison: Comparison) -> bool:
    return any(row.sharpness.total for row in comparison.rows)


def task_line(head: TaskHead, comparison: Comparison) -> str:
    """What holds for the whole table of a task: budget, baseline, target, device."""
    parts = [head.name, listing(head.budgets), f"baseline {comparison.baseline}"]
    if comparison.target is not None:
        in_a_row = f", {comparison.consecutive} evaluations in a row" if comparison.consecutive > 1 else ""
        parts.append(f"target loss {number(comparison.target, 6)}{in_a_row}")
    threads = f"{listing(head.threads)} {'thread' if head.threads == (1,) else 'threads'}"
    return " · ".join([*parts, listing(head.devices), threads])


def twin_line(twin: Twin) -> str:
    """Which arms are compared, and whether their learning rates differ."""
    ours, theirs = (NONE if rate is None else number(rate, 6) for rate in twin.learning_rates)
    rates = f"both at lr {ours}" if twin.same_rate else f"learning rates differ: {ours} against {theirs}"
    return f"{twin.arm} against its twin {twin.twin} on {twin.task} ({rates})"


def _seeds(row: Row) -> Parts:
    seeds = row.seeds
    lost = {"diverged": seeds.diverged, "failed": seeds.failed, "unfinished": seeds.unfinished}
    said = [f"{len(found)} {name}" for name, found in lost.items() if found]
    if not said:
        return (str(seeds.total),)
    return f"{len(seeds.finished)}/{seeds.total}", *said


def _against(comparison: Comparison) -> Column:
    """The column that verdicts go by: a difference of losses, or a ratio of anything else."""
    if comparison.metric == "final_loss":
        return Column(f"minus {comparison.baseline}", ("minus", "baseline"), _contrast)
    over = _RATIO_HEADINGS[comparison.metric]
    return Column(f"{over} over {comparison.baseline}'s", (*over.split(" "), "over", "baseline's"), _contrast)


def _contrast(row: Row) -> Parts:
    one = row.contrast
    if one is None:
        return ("baseline",)
    missed = [f"{n} {word}" for n, word in ((one.ahead, "ahead"), (one.behind, "behind")) if n]
    if one.n == 0:
        return tuple(missed) or (NONE,)
    if one.in_logs:
        return *with_factor(exp(one.mean), exp(one.standard_error)), f"({one.n})", *missed
    return *with_error(one.mean, one.standard_error, signed=True), f"({one.n})"


def _rank(row: Row) -> Parts:
    if row.ranks is None:
        return (NONE,)
    low, high = row.ranks.low, row.ranks.high
    return (str(low) if low == high else f"{low}–{high}",)


def _steps(row: Row) -> Parts:
    if row.steps is None or row.steps.seeds == 0:
        return (NONE,)
    return number(row.steps.median, 6), f"({row.steps.hits}/{row.steps.seeds})"


def _seconds(row: Row) -> Parts:
    return (NONE,) if row.seconds is None or row.seconds.seeds == 0 else (number(row.seconds.median),)


def _rate_sharpness(row: Row) -> Parts:
    return _estimate(row.rate_sharpness) if row.rate_sharpness else (NONE,)


def _estimate(of: Estimate) -> Parts:
    return with_error(of.mean, of.standard_error) if of.n else (NONE,)


def _sharpness(row: Row) -> Parts:
    mean = row.sharpness.mean
    return with_factor(mean.mean, mean.factor) if mean.n else (NONE,)


def _non_positive(row: Row) -> Parts:
    return (f"{row.sharpness.non_positive}/{row.sharpness.total}",)


def _clipped(row: Row) -> Parts:
    if row.clipped is None or math.isnan(row.clipped.mean):  # no clip, or none that was measured
        return (NONE,)
    return with_error(row.clipped.mean * 100, row.clipped.standard_error * 100, unit=" %")
