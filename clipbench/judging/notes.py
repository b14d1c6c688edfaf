"""Notes on the numbers of a table: what they can decide, what they leave out, what they mean.

Findings about how the runs were made come from `judging.checks`.
"""

import math
from collections.abc import Iterator, Sequence

from clipbench.judging.cells import grouped
from clipbench.judging.comparison import Row
from clipbench.judging.paired import so_many
from clipbench.judging.words import listing, named_goal, number
from clipbench.quantities import Along
from clipbench.questions import Question, Target
from clipbench.records import DIRECTIONAL_SHARPNESS

CLOCK = (
    "ms/step: the median over steps of batch transfer + forward + backward + optimizer step, with the device "
    "synchronised; evaluation and probes are not timed."
)
OWN_POINTS = (
    "Directional sharpness is measured along each arm's own updates on its own path: it describes the path, and does "
    "not compare two directions at the same point."
)


def notes(rows: Sequence[Row], question: Question, *, metric: Along, threshold: float | None) -> Iterator[str]:
    """The sentences that apply; what columns mean comes last."""
    by_task = grouped(rows, lambda row: row.task)
    for task, of_task in by_task.items():
        yield from _target(task, of_task, question.target_of(task))
    yield from _sharpness_signs(rows)
    yield from _several_differences([sum(map(_is_judged, of_task)) for of_task in by_task.values()])
    for task, of_task in by_task.items():
        yield from _undecided(task, of_task)
    yield from _missed(rows)
    yield from _meanings(rows, metric, threshold)


def _target(task: str, rows: Sequence[Row], target: Target | None) -> Iterator[str]:
    steps = {row.arm: row.steps for row in rows if row.steps and row.steps.seeds}
    if target is None or not steps:
        return
    there = f"the target {named_goal(target)}"
    if not any(each.hits for each in steps.values()):
        yield f"No arm reached {there} on {task}."
    if all(each.median == 0 for each in steps.values()):
        yield f"On {task} every arm met {there} before the first step: it cannot separate the arms."
    elif at_once := [arm for arm, each in steps.items() if 0 in each.by_seed.values()]:
        where = f"On {task} {listing(at_once)} met {there} before the first step on some seeds"
        yield f"{where}: no ratio includes these seeds."


def _sharpness_signs(rows: Sequence[Row]) -> Iterator[str]:
    counts = [
        f"{row.arm} on {row.task} {row.sharpness.non_positive} of {row.sharpness.total}"
        + (f" (and {row.sharpness.undefined} undefined)" if row.sharpness.undefined else "")
        for row in rows
        if row.sharpness.non_positive or row.sharpness.undefined
    ]
    if counts:
        yield (
            f"Sharpness was zero or negative in some measurements ({'; '.join(counts)}): the geometric mean uses "
            "positive values only, so it is too high."
        )


def _several_differences(judged: Sequence[int]) -> Iterator[str]:
    """For tables with so many differences each."""
    if max(judged, default=0) > 1:
        yield (
            f"Verdicts have Holm's correction for the {listing(sorted(set(judged)))} differences of a table, ranks for "
            "all pairs of its arms: if no arms differ, at most one table in 20 has a wrong verdict. Confidence "
            "intervals, and what a clip does beside the final loss, are not corrected: each is at 95 %."
        )


def _undecided(task: str, rows: Sequence[Row]) -> Iterator[str]:
    """How many seeds it would take."""
    needed = {row.arm: row.judged.seeds_needed for row in rows if row.judged}
    if many := [f"{so_many(seeds)} for {arm}" for arm, seeds in needed.items() if not math.isnan(seeds)]:
        yield (
            f"Undecided on {task}. Seeds for a verdict with 80 % power, if the observed mean and spread "
            f"are the true ones: {listing(many)}."
        )


def _missed(rows: Sequence[Row]) -> Iterator[str]:
    arms = dict.fromkeys(row.arm for row in rows if row.against and row.against.at_least)
    if arms:
        yield (
            f"A missed target ({listing(arms)}) counts as the end of its run plus one evaluation: the difference is "
            "then a bound, and cannot show that arms are equivalent."
        )


def _meanings(rows: Sequence[Row], metric: Along, threshold: float | None) -> Iterator[str]:
    if threshold is not None:
        yield (
            f"Differences below {number(100 * threshold)} % of the baseline are too small to matter: = means that two "
            "one-sided tests show the difference to be that small."
        )
    if metric.quantity.of_broken:
        yield (
            "The target is checked only at evaluations: the standard error is at least as large as their spacing "
            "implies."
        )
    if metric.quantity.name == DIRECTIONAL_SHARPNESS:
        yield "Verdicts and ranks compare the sharpness along each arm's own path: lower is not better in itself."
    if any(row.sharpness.total for row in rows):
        yield OWN_POINTS
    if any(row.step_milliseconds.n for row in rows):
        yield CLOCK


def _is_judged(row: Row) -> bool:
    return row.judged is not None and row.against is not None and row.against.n > 1
