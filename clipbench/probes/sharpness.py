"""Directional sharpness uᵀHu/‖u‖² and slope gᵀu/‖u‖ of each update, on the fixed probe batches."""

import math
from collections.abc import Iterator

from clipbench.contracts import Snapshot
from clipbench.geometry.curvature import NonFiniteLossError, directional_curvature
from clipbench.records import DIRECTIONAL_SHARPNESS, SLOPE


def measure(snapshot: Snapshot) -> Iterator[tuple[str, str, float]]:
    """How sharp and how steep the path is along each direction, at the point where the step began.

    For each update u of the snapshot, with H and g of the weighted mean loss over `problem.probe_batches` at
    θ_before (evaluation mode, float32, one ℓ2 norm over all parameters, tied weights once):

        directional_sharpness = uᵀHu/‖u‖²,    slope = gᵀu/‖u‖        both signed

    The probe batches are not the mini-batch that made the update, which would bias the sharpness of a raw gradient
    upwards. Both values are NaN for an update of zero, and where the loss itself is not finite.

    Source: Pan and Li (2023), arXiv:2306.00204.
    """
    problem = snapshot.problem
    try:
        curvatures = directional_curvature(problem.model, problem.loss, problem.probe_batches, snapshot.directions)
    except NonFiniteLossError:  # a run that diverges is a result: it is for the loop to say so, not for a probe
        for direction in snapshot.directions:
            yield direction, DIRECTIONAL_SHARPNESS, math.nan
            yield direction, SLOPE, math.nan
        return
    for direction, along in curvatures.items():
        yield direction, DIRECTIONAL_SHARPNESS, along.curvature
        yield direction, SLOPE, along.slope
