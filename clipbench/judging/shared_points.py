"""Directions compared at the same points: the updates of several arms, tried on the trajectory of an arm.

A run with ghosts also tries the updates of other arms, at the same weights on the same batches, and undoes them. All
directions along a trajectory therefore meet the same points, and their ratios compare directions alone. An arm's
sharpness along its own path is a different quantity; it enters only as the direction of the trajectory's own arm.

Only finished runs contribute points, here and in `judging.claims`. Runs that diverged, failed or have not ended are
counted instead, although their first points are valid, because:

- the number of their points depends on when they broke, so seeds would be means over different stretches;
- their last points lie where nobody trains, and a single wild value there outweighs all other values of the seed;
- they are left out of final losses, losses in common and steps as well: the same rule for all.

Leaving runs out by how they ended may flatter a direction. So the count is always shown, and a trajectory without a
finished run is named and has no row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clipbench.judging.cells import Cell
from clipbench.judging.paired import Paired, Points
from clipbench.judging.statistics import Estimate, estimate
from clipbench.records import COSINE, DIRECTIONAL_SHARPNESS, LINE_BEST_DECREASE, OWN, TAYLOR_BEST_DECREASE, Record

Decrease = Literal["line", "taylor"]
_ADAM = ("adam", "torch.optim:Adam")
_DECREASES: dict[Decrease, str] = {"line": LINE_BEST_DECREASE, "taylor": TAYLOR_BEST_DECREASE}  # the surer first


@dataclass(frozen=True)
class SharedRow:
    """A direction tried at the points of another arm's trajectory, or of its own: same weights, same batches.

    `ratio` is its directional sharpness over that of the `reference` direction at the same point: the mean logarithm
    over a run's steps, then over seeds. `low` and `high` are the least and greatest ratio of the `cells` (a seed with a
    step) where both are positive; `excluded` counts the other cells. `decrease` is the same for the best decrease
    along the direction, None where none was measured. Both ratios are None for the reference itself. `left_out` counts
    the trajectory's runs that diverged, failed or have not ended: no point of theirs is in it.
    """

    task: str
    trajectory: str
    direction: str
    reference: str
    ratio: Paired | None
    low: float
    high: float
    cells: int
    excluded: int
    cosine: Estimate
    decrease: Paired | None
    decrease_of: Decrease | None
    decrease_excluded: int
    left_out: int


def shared_points(cells: Sequence[Cell], *, baseline: str, reference: str | None = None) -> list[SharedRow]:
    """One row per task, trajectory and direction, for the trajectories along which ghosts were measured.

    Ratios are over the `reference`, or over the `default_reference` where none is given.
    """
    rows = []
    for cell in cells:
        runs = [record for record in cell.counted if record.measurements.along - {"", OWN}]
        directions = _directions(cell, runs)
        over = reference or default_reference(cell, directions, baseline=baseline)
        rows += [_row(cell, runs, direction, over) for direction in directions]
    return rows


def default_reference(cell: Cell, directions: Sequence[str], *, baseline: str) -> str:
    """The direction called adam, else the first without a clip that uses Adam, else the baseline's.

    Where the baseline's was not measured along this trajectory either, it is the trajectory's own.
    """
    arms = [cell.described, *cell.records[0].run.measure.ghosts]
    named = [name for name in directions if name.lower() == "adam"]
    using = [arm.name for arm in arms if arm.clip is None and arm.optimizer.use in _ADAM]
    return next(iter([*named, *using]), baseline if baseline in directions else cell.arm)


def _directions(cell: Cell, runs: Sequence[Record]) -> list[str]:
    """The directions whose sharpness was measured: the arm's own under its name, then the ghosts in their order."""
    measured = dict.fromkeys(
        cell.arm if direction == OWN else direction
        for record in runs
        for direction, quantity in record.measurements.places
        if quantity == DIRECTIONAL_SHARPNESS and direction not in ("", cell.arm)
    )
    order = [cell.arm, *(ghost.name for ghost in cell.records[0].run.measure.ghosts)]
    return sorted(measured, key=lambda name: order.index(name) if name in order else len(order))


def _by_step(record: Record, direction: str, quantity: str) -> dict[int, float]:
    """A quantity along a direction. The arm's own goes by its name; a ghost of that arm, the same, gives way."""
    return record.measurements.by_step(OWN if direction == record.run.arm.name else direction, quantity)


def _row(cell: Cell, runs: Sequence[Record], direction: str, reference: str) -> SharedRow:
    sharpness = _ratios(runs, direction, reference, DIRECTIONAL_SHARPNESS)
    cosines = Points("linear")
    for record in runs:
        for cosine in _by_step(record, direction, COSINE).values():
            cosines.add_difference(record.run.seed, cosine)
    decrease_of, decrease = _decrease(runs, direction, reference)
    logs = sharpness.used
    itself = direction == reference
    return SharedRow(
        task=cell.task,
        trajectory=cell.arm,
        direction=direction,
        reference=reference,
        ratio=None if itself else sharpness.paired(),
        low=math.exp(min(logs)) if logs else math.nan,
        high=math.exp(max(logs)) if logs else math.nan,
        cells=len(logs),
        excluded=sharpness.left_out,
        cosine=estimate(list(cosines.paired().differences.values())),
        decrease=decrease.paired() if decrease_of and not itself else None,
        decrease_of=decrease_of,
        decrease_excluded=decrease.left_out,
        left_out=len(cell.records) - len(cell.finished),
    )


def _ratios(runs: Sequence[Record], direction: str, reference: str, quantity: str) -> Points:
    """Where both are positive and finite; the other steps at which either was measured are counted as left out."""
    points = Points("log")
    for record in runs:
        ours, theirs = (_by_step(record, each, quantity) for each in (direction, reference))
        for step in sorted(ours.keys() | theirs.keys()):
            points.add(record.run.seed, ours.get(step, math.nan), theirs.get(step, math.nan))
    return points


def _decrease(runs: Sequence[Record], direction: str, reference: str) -> tuple[Decrease | None, Points]:
    """The decrease found along the line where it was looked for, for both; else the one that Taylor's model gives."""
    for name, quantity in _DECREASES.items():
        if all(any(_by_step(record, tried, quantity) for record in runs) for tried in (direction, reference)):
            return name, _ratios(runs, direction, reference, quantity)
    return None, Points("log")
