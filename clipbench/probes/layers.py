"""How much of each update's sharpness lies within layers, and how much between them."""

import math
from collections.abc import Iterator
from typing import Literal

from clipbench.contracts import Snapshot
from clipbench.errors import ClipbenchError
from clipbench.geometry import said
from clipbench.geometry.blocks import blocks, pieces
from clipbench.geometry.curvature import NonFiniteLossError, directional_curvature

WITHIN = "within_layer_sharpness"
CROSS = "cross_layer_sharpness"
LARGE = 10**6
"""Parameters from which on a model has a limit."""


def measure(
    snapshot: Snapshot,
    *,
    depth: int | None = None,
    chunk: int | None = None,
    limit: float | Literal["none"] = 4.0,
) -> Iterator[tuple[str, str, float]]:
    """The directional sharpness of each update u, cut by layers b, on the probe batches.

        within_layer_sharpness = Σ_b u_bᵀHu_b/‖u‖²,    cross_layer_sharpness = uᵀHu/‖u‖² − within

    u_b is u in layer b and zero elsewhere. The two add up to the directional sharpness; each is signed. The summand of
    a layer is `within_layer_sharpness:NAME`. A layer is a module with parameters of its own, such as one linear map; a
    weight that modules share is in the first of them. Costs a directional curvature for each layer and update.

    Args:
        snapshot: the step.
        depth: cuts a module's name to its first parts, so that 2 makes one layer of all of `blocks.0`; all parts unless
            given.
        chunk: pieces carried through the model at once; more takes memory, and is faster where the model is tiny.
        limit: of a model of a million parameters or more no more is measured than so many times the directions of the
            probe `sharpness`; `none` for no limit.
    """
    if depth is not None and depth < 1:
        raise ClipbenchError(f"a depth of {depth}", where="layers", remedy="at least 1, or nothing for whole names")
    problem, parameters = snapshot.problem, snapshot.parameters
    parted = blocks(parameters, depth=depth)
    if limit != "none" and len(parted) + 1 > limit and sum(p.numel() for p in parameters.values()) >= LARGE:
        raise ClipbenchError(
            f"{len(parted)} layers take {len(parted) + 1} times the directions of the probe sharpness",
            where="layers",
            remedy="a smaller `depth` makes fewer layers; `limit: none` measures them all",
        )
    for direction, update in snapshot.directions.items():
        cut = {**pieces(update, parameters, parted), "": update}  # no module has the empty name here
        try:
            found = directional_curvature(problem.model, problem.loss, problem.probe_batches, cut, chunk=chunk)
        except NonFiniteLossError:  # a run that diverges is a result: it is for the loop to say so, not for a probe
            snapshot.remark("left out where the loss is not finite")
            return
        whole = found[""]
        if not math.isfinite(whole.curvature):
            snapshot.remark(f"left out where the step along {direction!r} is zero or its curvature is not finite")
            continue
        snapshot.remark(said.engine(found))
        shares = {
            block: found[block].curvature * (found[block].norm / whole.norm) ** 2 if found[block].norm else 0.0
            for block in parted
        }
        within = math.fsum(shares.values())
        yield direction, WITHIN, within
        yield direction, CROSS, whole.curvature - within
        for block, share in shares.items():
            yield direction, f"{WITHIN}:{block}", share
