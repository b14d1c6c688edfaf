"""Whether finite steps along each update see the curvature that derivatives say: ReLUs and maxima have kinks."""

import math
from collections.abc import Iterator

from clipbench.contracts import Snapshot
from clipbench.geometry import said, shared
from clipbench.geometry.curvature import NonFiniteLossError
from clipbench.geometry.finite_difference import finite_difference_curvature

SEEN = "finite_difference_sharpness"
BOUND = "finite_difference_bound"
DISAGREES = "kinked"  # 1 where the two disagree by more than the bound, else 0


def measure(snapshot: Snapshot, *, chunk: int | None = None) -> Iterator[tuple[str, str, float]]:
    """A check of the directional sharpness by forward passes alone, on the probe batches.

    For each update u, with v = u/‖u‖:

        finite_difference_sharpness = (L(θ+hv) − 2L(θ) + L(θ−hv))/h²

    at the step h where the sum of its errors, by rounding and by higher derivatives, is least; that sum is
    `finite_difference_bound`. `kinked` is 1 where the exact value lies outside of the bound: the loss has kinks within
    such a step, which no derivative at the point sees, or the model cuts its gradient somewhere. A remark says which
    updates these are. An update without a length is left out, and so is a loss that is not finite.

    It costs a directional curvature, if no other probe has asked for it, and about 20 evaluations of the probe batches
    for each update.

    Args:
        snapshot: the step.
        chunk: updates carried through the model at once; more takes memory, and is faster where the model is tiny.
    """
    problem = snapshot.problem
    batches = problem.probe_batches
    try:
        exact = shared.curvatures(snapshot, batches, chunk=chunk)
        seen = finite_difference_curvature(problem.model, problem.loss, batches, snapshot.directions)
    except NonFiniteLossError:  # a run that diverges is a result: it is for the loop to say so, not for a probe
        snapshot.remark("left out where the loss is not finite")
        return
    snapshot.remark(said.engine(exact))
    for direction, found in seen.items():
        curvature = exact[direction].curvature
        if not all(map(math.isfinite, (curvature, found.curvature, found.bound))):
            snapshot.remark(f"left out where the curvature along {direction!r} is not finite")
            continue
        kinked = not found.agrees_with(curvature)
        yield direction, SEEN, found.curvature
        yield direction, BOUND, found.bound
        yield direction, DISAGREES, float(kinked)
        if kinked:
            snapshot.remark(f"finite steps along {direction!r} disagree with the curvature at the point")
