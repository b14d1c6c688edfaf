"""The loss along each update, by forward passes alone: at many lengths, where it is least, and where it has risen."""

import math
from collections.abc import Callable, Iterator
from functools import partial

from clipbench.contracts import Snapshot
from clipbench.errors import ClipbenchError
from clipbench.geometry.landscape import explore
from clipbench.geometry.objective import Objective
from clipbench.geometry.products import norm
from clipbench.records import CRITICAL_SHARPNESS, LINE_BEST_DECREASE, LINE_BEST_STEP

QUANTITIES = {
    "line_best_step": ("log", "neither", "mean"),
    "line_best_decrease": ("log", "higher", "mean"),
    "critical_sharpness": ("log", "lower", "mean"),
}

CRITICAL_STEP = "critical_step"  # η_c, in multiples of the update
LONGEST = 1e30  # a multiple that leaves room for the search to go on in float32


def measure(
    snapshot: Snapshot, *, multiples: tuple[float, ...] = (0.015625, 0.0625, 0.25, 1.0, 4.0, 16.0, 64.0)
) -> Iterator[tuple[str, str, float]]:
    """The loss on the line θ + t·u through each update u, on the probe batches.

    - `line_change_at_+4u`: L(θ + 4u) − L(θ), and so on for every multiple t on both sides.
    - `line_best_step`, `line_best_decrease`: the length t‖u‖, t > 0, of the least loss found, and how much lower it is.
    - `critical_step`: η_c, the least multiple of u found at which the loss has risen above its start;
      `critical_sharpness` = 2/η_c, which on a quadratic is λ_dir = −uᵀHu/gᵀu of the probe `taylor`.

    The search goes on beyond the multiples by a factor of 4 at a time. What it does not bracket (a loss that does not
    fall, or never rises) is left out, and a remark says so; so is a value at which the loss is not finite. It costs
    about 30 evaluations of the probe batches for each update.

    Args:
        snapshot: the step.
        multiples: positive t; finer structure than lies between two of them may be stepped over.

    Source: the landscape along an update, Pan and Li (2023), arXiv:2306.00204; critical sharpness, arXiv:2601.16979.
    """
    _require_multiples(multiples)
    problem = snapshot.problem
    objective = Objective(problem.model, problem.loss, problem.probe_batches)
    start = objective.value()
    if not math.isfinite(start):  # a run that diverges is a result: it is for the loop to say so, not for a probe
        snapshot.remark("left out where the loss is not finite")
        return
    for direction, u in snapshot.directions.items():
        length = norm(u.values())
        if not 0 < length < math.inf:
            snapshot.remark(f"left out where the step along {direction!r} is zero or not finite")
            continue
        with objective.along(u) as loss_at:
            seen = explore(partial(_change, loss_at, start), sorted(multiples), blur=objective.blur(start))
        for t, change in seen.changes.items():
            if math.isfinite(change):
                yield direction, f"line_change_at_{t:+g}u", change
        if math.isfinite(seen.best_multiple):
            yield direction, LINE_BEST_STEP, seen.best_multiple * length
            yield direction, LINE_BEST_DECREASE, seen.best_decrease
        if math.isfinite(seen.critical_multiple):
            yield direction, CRITICAL_STEP, seen.critical_multiple
            yield direction, CRITICAL_SHARPNESS, seen.critical_sharpness
        for why in seen.missing:
            snapshot.remark(f"along {direction!r}, {why}")


def _change(loss_at: Callable[[float], float], start: float, t: float) -> float:
    return loss_at(t) - start


def _require_multiples(multiples: tuple[float, ...]) -> None:
    if not multiples or len(set(multiples)) < len(multiples) or not all(0 < t <= LONGEST for t in multiples):
        raise ClipbenchError(
            f"multiples {multiples} of the update",
            where="landscape",
            remedy=f"give positive numbers up to {LONGEST:g}, each once, such as [0.1, 1, 10]",
        )
