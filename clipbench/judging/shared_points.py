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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from clipbench.judging.cells import Cell
from clipbench.judging.paired import Paired, Points
from clipbench.judging.statistics import Estimate, estimate
from clipbench.measurements import Measurement, Measurements
from clipbench.records import COSINE, DIRECTIONAL_SHARPNESS, LINE_BEST_DECREASE, OWN, TAYLOR_BEST_DECREASE

_ADAM = ("adam", "torch.optim:Adam")

SharedValues = Mapping[
    int, Mapping[tuple[str, str], Mapping[int, float]]
]  # seed → direction and quantity → step → value


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
    decrease_of: Literal["line", "taylor"] | None
    decrease_excluded: int
    left_out: int


def shared_points(cells: Sequence[Cell], *, baseline: str, reference: str | None = None) -> list[SharedRow]:
    """One row per task, trajectory and direction, for the trajectories along which ghosts were measured.

    Args:
        cells: one per task and arm; only finished runs are used, and of copies one.
        baseline: the reference where no direction is Adam's, and this one is there.
        reference: the direction that ratios are over; Adam's (`default_reference`) where none is given.
    """
    rows = []
    for cell in cells:
        runs = {
            record.run.seed: record.measurements for record in cell.counted if record.measurements.along - {"", OWN}
        }
        if runs:
            rows += _trajectory(cell, runs, reference, baseline=baseline)
    return rows


def default_reference(cell: Cell, directions: Sequence[str], *, baseline: str) -> str:
    """The direction called adam, else the first without a clip that uses Adam, else the baseline's.

    Where the baseline's was not measured along this trajectory either, it is the trajectory's own.
    """
    arms = [cell.described, *cell.records[0].run.measure.ghosts]
    named = [name for name in directions if name.lower() == "adam"]
    using = [arm.name for arm in arms if arm.clip is None and arm.optimizer.use in _ADAM]
    return next(iter([*named, *using]), baseline if baseline in directions else cell.arm)


def _trajectory(
    cell: Cell, runs: Mapping[int, Measurements], reference: str | None, *, baseline: str
) -> list[SharedRow]:
    values = {seed: _by_step(measured, own=cell.arm) for seed, measured in runs.items()}
    measured = dict.fromkeys(
        direction for by in values.values() for direction, name in by if name == DIRECTIONAL_SHARPNESS
    )
    order = [cell.arm, *(ghost.name for ghost in cell.records[0].run.measure.ghosts)]
    directions = sorted(measured, key=lambda name: order.index(name) if name in order else len(order))
    over = reference or default_reference(cell, directions, baseline=baseline)
    return [_row(cell, values, direction, over) for direction in directions]


def _by_step(measured: Measurements, *, own: str) -> dict[tuple[str, str], dict[int, float]]:
    """With the trajectory's own steps under the name of its arm; a ghost of that arm, which is the same, gives way."""
    return {
        (own if direction == OWN else direction, quantity): _last(measured.series(direction, quantity))
        for direction, quantity in measured.places
        if direction not in ("", own)
    }


def _last(points: Sequence[Measurement]) -> dict[int, float]:
    return {point.step: point.value for point in points}


def _row(cell: Cell, values: SharedValues, direction: str, reference: str) -> SharedRow:
    sharpness = _ratios(values, direction, reference, DIRECTIONAL_SHARPNESS)
    cosines = _seed_means(values, direction, COSINE)
    decrease_of = _decrease_of(values, direction, reference)
    quantity = LINE_BEST_DECREASE if decrease_of == "line" else TAYLOR_BEST_DECREASE
    decrease = _ratios(values, direction, reference, quantity)
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
        cosine=estimate(list(cosines.values())),
        decrease=None if itself or decrease_of is None else decrease.paired(),
        decrease_of=decrease_of,
        decrease_excluded=decrease.left_out if decrease_of is not None else 0,
        left_out=len(cell.records) - len(cell.finished),
    )


def _ratios(values: SharedValues, direction: str, reference: str, quantity: str) -> Points:
    """Where both are positive and finite; the other steps at which either was measured are counted as left out."""
    points = Points("log")
    for seed, by in values.items():
        ours, theirs = by.get((direction, quantity), {}), by.get((reference, quantity), {})
        for step in sorted(ours.keys() | theirs.keys()):
            points.add(seed, ours.get(step, math.nan), theirs.get(step, math.nan))
    return points


def _decrease_of(values: SharedValues, direction: str, reference: str) -> Literal["line", "taylor"] | None:
    """The decrease found along the line where it was looked for, for both; else the one that Taylor's model gives."""
    options: tuple[tuple[Literal["line", "taylor"], str], ...] = (
        ("line", LINE_BEST_DECREASE),
        ("taylor", TAYLOR_BEST_DECREASE),
    )
    for name, quantity in options:
        if all(any((tried, quantity) in by for by in values.values()) for tried in (direction, reference)):
            return name
    return None


def _seed_means(values: SharedValues, direction: str, quantity: str) -> dict[int, float]:
    means: dict[int, float] = {}
    for seed, by in values.items():
        finite = [value for value in by.get((direction, quantity), {}).values() if math.isfinite(value)]
        if finite:
            means[seed] = sum(finite) / len(finite)
    return means
