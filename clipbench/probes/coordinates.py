"""Which coordinates carry each update: a histogram of their sizes, and what the largest add to ‖u‖² and uᵀHu."""

import math
from collections.abc import Iterator

from torch import Tensor

from clipbench.contracts import Snapshot
from clipbench.geometry import coordinates, said
from clipbench.geometry.curvature import NonFiniteLossError, directional_curvature
from clipbench.geometry.objective import Objective

RANK_CORRELATION = "gradient_curvature_rank_correlation"


def measure(
    snapshot: Snapshot,
    *,
    percents: tuple[float, ...] = (0.1, 1.0, 10.0, 50.0),
    directions: tuple[str, ...] | None = None,
    chunk: int | None = None,
) -> Iterator[tuple[str, str, float]]:
    """Whether a few coordinates make an update sharp.

    For each update u, with H and g on the probe batches:

    - `share_of_coordinates_1e-04`: how many have 1e-4 ≤ |uᵢ| < 1e-3, of all, and so on for each decade there is;
      `share_of_coordinates_zero`.
    - `norm_share_top_1%`, `curvature_share_top_1%`: what the largest 1 % by |uᵢ| add to ‖u‖² and to uᵀHu, which is
      Σ_S uᵢ(Hu)ᵢ/uᵀHu and adds up to 1 over all coordinates. Left out where uᵀHu is not positive.
    - `sharpness_without_top_1%`: the directional sharpness of u with those coordinates removed, and
      `sharpness_without_random_1%` with as many drawn evenly in their place, the same for all updates of a step.
    - `gradient_curvature_rank_correlation`: Spearman's ρ of |gᵢ| and |(Hu)ᵢ|.

    The random removal is one control; another optimizer's update at the same point is the other, where it is a ghost.
    Costs for each update: a Hessian-vector product, and two directional curvatures for each of the percents.

    Args:
        snapshot: the step, whose number seeds the random coordinates.
        percents: q, above 0 and below 100; q % of n coordinates is at least one of them.
        directions: which updates to look at, `own` or a ghost's name, where they are there; all unless given.
        chunk: updates carried through the model at once; more takes memory, and is faster where the model is tiny.

    Source: the paper's account of why adaptive steps are less sharp, Pan and Li (2023), arXiv:2306.00204.
    """
    coordinates.require_percents(percents, where="coordinates")
    problem = snapshot.problem
    objective = Objective(problem.model, problem.loss, problem.probe_batches)
    for direction, update in snapshot.directions.items():
        if directions is not None and direction not in directions:
            continue
        u = coordinates.flattened(update, snapshot.parameters)
        if not 0 < float(u.norm()) < math.inf:
            snapshot.remark(f"left out where the step along {direction!r} is zero or not finite")
            continue
        for decade, share in coordinates.shares_of_decades(u).items():
            yield direction, f"share_of_coordinates_{'zero' if decade is None else f'1e{decade:+03d}'}", share
        try:
            gradient, [product] = objective.gradient_and_products([update])
            without = _without(snapshot, u, percents, chunk=chunk)
        except NonFiniteLossError:  # a run that diverges is a result: it is for the loop to say so, not for a probe
            snapshot.remark("curvature left out where the loss is not finite")
            continue
        g, bend = (coordinates.flattened(vector, snapshot.parameters) for vector in (gradient, product))
        rows = {**dict(_shares(u, u * bend, percents)), **without}
        rows[RANK_CORRELATION] = coordinates.rank_correlation(g.abs(), bend.abs())
        yield from ((direction, quantity, value) for quantity, value in rows.items() if math.isfinite(value))


def _shares(u: Tensor, terms: Tensor, percents: tuple[float, ...]) -> Iterator[tuple[str, float]]:
    for percent in percents:
        top = coordinates.largest(u, coordinates.how_many(percent, len(u)))
        yield f"norm_share_top_{percent:g}%", coordinates.share(u.square(), top)
        yield f"curvature_share_top_{percent:g}%", coordinates.share(terms, top)


def _without(snapshot: Snapshot, u: Tensor, percents: tuple[float, ...], *, chunk: int | None) -> dict[str, float]:
    problem, parameters = snapshot.problem, snapshot.parameters
    left = {}
    for percent in percents:
        count = coordinates.how_many(percent, len(u))
        for which, places in (
            ("top", coordinates.largest(u, count)),
            ("random", coordinates.at_random(len(u), count, seed=snapshot.step)),
        ):
            kept = coordinates.without(u, places)
            left[f"sharpness_without_{which}_{percent:g}%"] = coordinates.unflattened(kept, parameters)
    found = directional_curvature(problem.model, problem.loss, problem.probe_batches, left, chunk=chunk)
    snapshot.remark(f"{said.engine(found)}; Hessian-vector products by double backward")
    return {quantity: along.curvature for quantity, along in found.items()}
