"""The columns of the comparison table for people: the same cells in the terminal, Markdown and LaTeX."""

from collections.abc import Callable
from dataclasses import dataclass

from clipbench.judging.comparison import Comparison, Row, TaskHead, Twin, Verdict
from clipbench.judging.statistics import Estimate
from clipbench.judging.words import listing, number
from clipbench.report.numbers import NONE, Parts, with_error, with_factor

MARKS: dict[Verdict, str] = {
    "baseline": "",
    "better": "+",
    "worse": "-",
    "equal": "=",
    "undecided": "~",
    "broken": "x",
}
LEGEND = (
    "Final loss against the baseline: + lower, - higher, ~ undecided, = identical; x a seed diverged or failed. "
    "± is a standard error over seeds, ×/÷ a multiplicative one; in brackets, seeds. Directional sharpness is the "
    "geometric mean of its positive values; the column ≤ 0 counts the others."
)


@dataclass(frozen=True)
class Column:
    """A heading (on one line, and stacked for narrow columns) and what the column says of a row."""

    heading: str
    stacked: Parts
    cell: Callable[[Row], Parts]
    right: bool = True


def columns(comparison: Comparison) -> tuple[Column, ...]:
    """The columns a comparison needs: a target, sharpness and a clip are shown where there is one."""
    rows = comparison.rows
    wanted = [
        Column("", ("",), lambda row: (MARKS[row.verdict],), right=False),
        Column("arm", ("arm",), lambda row: (row.arm,), right=False),
        Column("seeds", ("seeds",), _seeds),
        Column("final loss", ("final", "loss"), lambda row: _estimate(row.final_loss)),
        Column(f"minus {comparison.baseline}", ("minus", "baseline"), _difference),
    ]
    if comparison.target is not None:
        target = number(comparison.target, 6)
        wanted.append(Column(f"steps to {target}", ("steps", "to", target), _steps))
    wanted.append(Column("ms/step", ("ms/", "step"), lambda row: _estimate(row.step_milliseconds)))
    if any(row.sharpness.total for row in rows):
        wanted.append(Column("directional sharpness", ("directional", "sharpness"), _sharpness))
        wanted.append(Column("≤ 0", ("≤ 0",), _non_positive))
    if any(row.clipped is not None for row in rows):
        wanted.append(Column("clipped", ("clipped",), _clipped))
    return tuple(wanted)


def task_line(head: TaskHead, comparison: Comparison) -> str:
    """What holds for the whole table of a task: budget, baseline, target, device."""
    parts = [head.name, listing(head.budgets), f"baseline {comparison.baseline}"]
    if comparison.target is not None:
        parts.append(f"target loss {number(comparison.target, 6)}")
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


def _difference(row: Row) -> Parts:
    if row.difference is None:
        return ("baseline",)
    if row.difference.n == 0:
        return (NONE,)
    shown = with_error(row.difference.mean, row.difference.standard_error, signed=True)
    return *shown, f"({row.difference.n})"


def _steps(row: Row) -> Parts:
    if row.steps is None or row.steps.seeds == 0:
        return (NONE,)
    return number(row.steps.median, 6), f"({row.steps.hits}/{row.steps.seeds})"


def _estimate(of: Estimate) -> Parts:
    return with_error(of.mean, of.standard_error) if of.n else (NONE,)


def _sharpness(row: Row) -> Parts:
    mean = row.sharpness.mean
    return with_factor(mean.mean, mean.factor) if mean.n else (NONE,)


def _non_positive(row: Row) -> Parts:
    return (f"{row.sharpness.non_positive}/{row.sharpness.total}",)


def _clipped(row: Row) -> Parts:
    if row.clipped is None or row.clipped.n == 0:
        return (NONE,)
    return with_error(row.clipped.mean * 100, row.clipped.standard_error * 100, unit=" %")
