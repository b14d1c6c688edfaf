"""Directional sharpness uᵀHu/‖u‖² and slope gᵀu/‖u‖ of each update, on the probe batches and on its own batch."""

import math
from collections.abc import Iterator, Mapping, Sequence

from clipbench.contracts import Batch, Snapshot
from clipbench.errors import ClipbenchError
from clipbench.geometry import said, shared
from clipbench.geometry.curvature import DirectionalCurvature, NonFiniteLossError
from clipbench.records import (
    DIRECTIONAL_SHARPNESS,
    DIRECTIONAL_SHARPNESS_ERROR,
    SAME_BATCH_SHARPNESS,
    SAME_BATCH_SLOPE,
    SLOPE,
    SLOPE_ERROR,
)

QUANTITIES = {"same_batch_sharpness": ("log", "lower", "mean")}

UNDEFINED = DirectionalCurvature(math.nan, math.nan, math.nan)


def measure(
    snapshot: Snapshot, *, batches: int | None = None, same_batch: bool = True, chunk: int | None = None
) -> Iterator[tuple[str, str, float]]:
    """How sharp and how steep the path is along each direction, at the point where the step began.

    For each update u of the snapshot, with H and g of the weighted mean loss over `problem.probe_batches` at
    θ_before (evaluation mode, float32, one ℓ2 norm over all parameters, tied weights once):

        directional_sharpness = uᵀHu/‖u‖²,    slope = gᵀu/‖u‖        both signed

    with their standard errors over the probe batches, where there are several. The probe batches are not the
    mini-batch that made the update, which would bias the sharpness of a raw gradient upwards: the same two on that
    mini-batch, `same_batch_sharpness` and `same_batch_slope`, show by how much. All are NaN for an update of zero, and
    where the loss itself is not finite.

    Divided by ‖u‖² it is a property of the direction alone. λ_dir divides uᵀHu by the slope instead (`taylor`), and
    batch sharpness is that of each batch's own gradient (`batch_sharpness`): three quantities easily taken for one.

    Args:
        snapshot: the step.
        batches: how many of the probe batches, the first ones; all unless given. Work is in proportion, or none where
            a probe before this one had all of them measured; the error about in proportion to one over the root.
        same_batch: whether to measure on the mini-batch as well: as much work as one more probe batch.
        chunk: updates carried through the model at once; more takes memory, and is faster where the model is tiny.

    Source: Pan and Li (2023), arXiv:2306.00204.
    """
    if batches is not None and batches < 1:
        raise ClipbenchError(f"{batches} probe batches", where="sharpness", remedy="at least 1, or nothing for all")
    probed = snapshot.problem.probe_batches[:batches]
    for direction, along in _measured(snapshot, probed, chunk=chunk).items():
        yield direction, DIRECTIONAL_SHARPNESS, along.curvature
        yield direction, SLOPE, along.slope
        if len(probed) > 1:
            yield direction, DIRECTIONAL_SHARPNESS_ERROR, along.curvature_error
            yield direction, SLOPE_ERROR, along.slope_error
    if same_batch:
        for direction, along in _measured(snapshot, [snapshot.batch], chunk=chunk).items():
            yield direction, SAME_BATCH_SHARPNESS, along.curvature
            yield direction, SAME_BATCH_SLOPE, along.slope


def _measured(snapshot: Snapshot, batches: Sequence[Batch], *, chunk: int | None) -> Mapping[str, DirectionalCurvature]:
    try:
        found = shared.curvatures(snapshot, batches, chunk=chunk)
    except NonFiniteLossError:  # a run that diverges is a result: it is for the loop to say so, not for a probe
        return dict.fromkeys(snapshot.directions, UNDEFINED)
    snapshot.remark(said.engine(found))
    return found.along
