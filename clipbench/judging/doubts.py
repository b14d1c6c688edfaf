"""How sure the verdicts of a comparison are, and what it would take to decide the rest."""

import math
from collections.abc import Iterator, Sequence

from clipbench.judging.cells import Cell
from clipbench.judging.comparison import Row
from clipbench.judging.paired import half_width, so_many
from clipbench.judging.words import listing, number
from clipbench.quantities import Along
from clipbench.records import DIRECTIONAL_SHARPNESS

FEW_SEEDS = 5  # with fewer, a paired t interval is so wide that ordinary effects stay undecided


def doubts(cells: Sequence[Cell], rows: Sequence[Row], *, metric: Along, threshold: float | None) -> Iterator[str]:
    """The sentences that apply, the most general first."""
    yield from _few_seeds(cells, rows)
    yield from _several_differences(rows)
    yield from _undecided(rows)
    yield from _missed(rows)
    if threshold is not None:
        yield (
            f"A difference of less than {number(100 * threshold)} % of the baseline is taken as too small to "
            "matter: = where the whole difference is shown to be within (two one-sided tests)."
        )
    if metric.quantity.of_broken:
        yield (
            "A target is seen only at an evaluation: differences in reaching it are taken to be no surer than the "
            "steps between two of them allow."
        )
    if metric.quantity.name == DIRECTIONAL_SHARPNESS:
        yield "Verdicts and ranks go by the sharpness along each arm's own path: lower is not better by itself."


def _few_seeds(cells: Sequence[Cell], rows: Sequence[Row]) -> Iterator[str]:
    """Copies count once; an arm whose own runs are copies may still be in as many pairs as its opponent has runs."""
    pairs = [(row.task, row.arm, row.against.n) for row in rows if row.against is not None]
    sizes = set()
    for cell in cells:
        of_task = [(arm, n) for task, arm, n in pairs if task == cell.task]
        mine = [n for arm, n in of_task if arm == cell.arm] or [n for _, n in of_task]
        sizes.add(min(len(cell.finished), max([len(cell.counted), *mine])))
    if 1 in sizes:
        yield f"An arm with 1 finished seed has no error and is not decided; use at least {FEW_SEEDS} seeds."
    for n in sorted(sizes & set(range(2, FEW_SEEDS)), reverse=True):
        needed = half_width(n) / n**0.5
        yield (
            f"With {n} finished seeds a difference is decided only where its mean exceeds {number(needed, 2)} "
            "standard deviations of the paired differences, and more among several: small effects stay undecided."
        )


def _several_differences(rows: Sequence[Row]) -> Iterator[str]:
    judged = [sum(_is_judged(row) for row in rows if row.task == task) for task in _tasks(rows)]
    if max(judged, default=0) > 1:
        yield (
            f"Verdicts are corrected (Holm) for the {listing(sorted(set(judged)))} differences of a table, ranks for "
            "all pairs of its arms: where nothing differs, one table in 20 has a wrong verdict. Intervals, and the "
            "clip's answers, are each at 95 % by themselves."
        )


def _is_judged(row: Row) -> bool:
    return row.judged is not None and row.against is not None and row.against.n > 1


def _tasks(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.task for row in rows))


def _undecided(rows: Sequence[Row]) -> Iterator[str]:
    """How many seeds it would take."""
    for task in _tasks(rows):
        said = [
            f"{row.arm} {so_many(row.judged.seeds_needed)}"
            for row in rows
            if row.task == task and row.judged is not None and not math.isnan(row.judged.seeds_needed)
        ]
        if said:
            yield (
                f"Undecided on {task}; seeds each would need to be decided in 80 % of cases, were the difference and "
                f"spread seen here the true ones: {listing(said)}."
            )


def _missed(rows: Sequence[Row]) -> Iterator[str]:
    said = [row.arm for row in rows if row.against and row.against.at_least]
    if said:
        yield (
            f"Where one of a pair missed the target ({listing(dict.fromkeys(said))}), the miss counts as the end of "
            "its run plus one evaluation: the difference is at least so large, and is never taken for none."
        )
