"""The columns of the comparison table for people: the same cells in the terminal, Markdown and LaTeX."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipbench.judging.comparison import Comparison, Row, Standing, TaskHead, Twin
from clipbench.judging.paired import Paired
from clipbench.judging.statistics import Estimate
from clipbench.judging.words import listing, number
from clipbench.quantities import FINAL_LOSS
from clipbench.report.numbers import NONE, Parts, with_error, with_factor

MARKS: dict[Standing, str] = {
    "baseline": "",
    "lower": "+",
    "higher": "-",
    "identical": "=",
    "equivalent": "=",
    "undecided": "~",
    "broken": "x",
}
_LEGEND = (
    "Against the baseline: + lower, - higher, ~ undecided, = identical or within what matters; x a seed diverged or "
    "failed. ± is a standard error over seeds, ×/÷ a multiplicative one; in brackets, seeds. Rank: the places an arm "
    "may have; what is not decided is a tie."
)
_OF_SHARPNESS = " Directional sharpness is the geometric mean of its positive values; the column ≤ 0 counts the others."


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
    """The column that verdicts go by: a difference of values, or a ratio."""
    metric = comparison.metric
    if metric.quantity.name == FINAL_LOSS:
        return Column(f"minus {comparison.baseline}", ("minus", "baseline"), _difference)
    name = str(metric).replace("_", " ")
    over = "over" if metric.quantity.scale == "log" else "minus"
    return Column(f"{name} {over} {comparison.baseline}'s", (*name.split(" "), over, "baseline's"), _difference)


def _difference(row: Row) -> Parts:
    found = row.against
    if found is None:
        return ("baseline",)
    if found.n == 0:
        return ("both missed",) if found.neither else (NONE,)
    if found.identical:
        return "0", "± 0", f"({found.n})"
    if found.scale == "linear":
        return *with_error(found.mean, found.error, signed=True), f"({found.n})"
    mean, *error = with_factor(found.shown(found.mean), found.shown(found.error))
    return f"{bound(found)}{mean}", *error, pairs(found)


def bound(found: Paired) -> str:
    """What a missed target makes of a mean: with misses of the baseline alone it is at most so high."""
    if found.ahead and found.behind:
        return "≈ "
    return "≤ " if found.ahead else "≥ " if found.behind else ""


def pairs(found: Paired) -> str:
    """Over how many pairs, and where a target was missed on how many each side reached it: (5), (5 of 5 against 3)."""
    n = found.n
    return f"({n - found.behind} of {n} against {n - found.ahead})" if found.at_least else f"({n})"


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
