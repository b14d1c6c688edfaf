"""Curvature by forward passes alone: what finite steps see, with a bound on the error, to check the exact one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.contexts import eager, full_float32, without_autocast
from clipbench.geometry.directions import Direction, UnitDirections, rounding, unit_directions
from clipbench.geometry.jets.forward import JetObjective
from clipbench.geometry.losses import WHERE, require_finite_scalar
from clipbench.geometry.products import norm
from clipbench.geometry.undisturbed import undisturbed

RATIO = 4.0
"""Between one step and the next smaller one."""
STEPS = 12
"""At most so many, from a quarter of the weights' norm down to 6e-8 of it."""
PROBED = 7
"""Losses from whose differences the rounding of a loss is told."""


@dataclass(frozen=True)
class FiniteDifference:
    """The curvature that forward passes see at a step h along v: (L(θ+hv) − 2L(θ) + L(θ−hv))/h².

    - `curvature`: NaN where there is no direction, or no step at which the losses are finite.
    - `bound`: how far from vᵀHv it may be if the loss is smooth within some steps of the point. Where it is as large
      as the curvature, losses do not tell: there is too much rounding, or there are kinks at every scale.
    - `step`: h, a length in the space of the weights.
    """

    curvature: float
    bound: float
    step: float

    def agrees_with(self, curvature: float) -> bool:
        """Whether an exact curvature is within the bound.

        If not, the loss has kinks or jumps within the step (ReLU, max-pooling), which no derivative at the point sees;
        or the model cuts its gradient somewhere (a detach, the padding row of an embedding); or the exact curvature is
        wrong.
        """
        return abs(self.curvature - curvature) <= self.bound


def finite_difference_curvature(
    model: nn.Module,
    loss: Loss,
    batches: Sequence[Batch],
    directions: Mapping[str, Direction],
    *,
    dtype: torch.dtype | None = None,
) -> dict[str, FiniteDifference]:
    """How the loss bends along each direction over finite steps: `directional_curvature` checked without derivatives.

    With c(h) the central difference, δ the standard deviation of a loss by rounding, F the fourth derivative along v,

        c(h) = vᵀHv + h²F/12 ± 3·√6·δ/h²

    h goes down by fours. How c(h) changes from one step to the next, 15·h²F/12 where it follows its series, stands for
    the first error; δ is measured; and the step is taken where their sum is least. About 20 forward passes a
    direction. The model is left as it was; mode and precision are as in `directional_curvature`.

    Args:
        model, loss, batches, directions: as in `directional_curvature`.
        dtype: to evaluate in, the parameters' own unless given. torch.float64 takes a copy of the weights and sees
            steps so small that kinks are rarely in them.

    Raises:
        ClipbenchError: no batches, no trainable parameter, directions that do not fit, a loss that is not a scalar.
        NonFiniteLossError: the loss at the point is NaN or infinite.

    Source: rounding of a function from its differences, Moré and Wild (2011), SIAM J. Sci. Comput. 33(3), §3; step by
    balance of errors, Gill, Murray, Saunders and Wright (1983), SIAM J. Sci. Stat. Comput. 4(2).
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters or not batches:
        raise ClipbenchError(f"there are no {'batches' if parameters else 'trainable parameters'}", where=WHERE)
    units, _ = unit_directions(directions, parameters)
    estimates = {name: FiniteDifference(math.nan, math.inf, math.nan) for name in directions}
    device = next(iter(parameters.values())).device
    with undisturbed(model, loss), eager(), full_float32(), without_autocast(device), torch.no_grad():
        scale = norm(parameters.values()) or 1.0
        eps = rounding(parameters) if dtype is None else torch.finfo(dtype).eps
        for k, name in enumerate(units.names):
            along = _line(model, loss, batches, units, k, dtype=dtype)
            estimates[name] = _best(along, scale=scale, noise=_noise(along, spacing=scale * math.sqrt(eps), eps=eps))
    return estimates


def _line(
    model: nn.Module, loss: Loss, batches: Sequence[Batch], units: UnitDirections, k: int, *, dtype: torch.dtype | None
) -> Callable[[float], float]:
    """h ↦ L(θ + hv), the mean over all batches."""

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor

    objective = JetObjective(model, loss)
    v = {name: cast(u) for name, u in zip(units.parameters, units.unit(k), strict=True)}
    still = {name: cast(t) for name, t in (*model.named_parameters(), *model.named_buffers())}
    device = next(iter(units.parameters.values())).device
    weights = [batch.weight for batch in batches]

    def at(h: float) -> float:
        moved = {name: torch.add(still[name], u, alpha=h) for name, u in v.items()}
        losses = []
        for i, batch in enumerate(batches):
            there = batch.to(device)
            tensors = {name: cast(tensor) for name, tensor in there.tensors.items()}
            value = objective.at({**still, **moved}, replace(there, tensors=tensors))
            if h == 0.0:
                require_finite_scalar(value, i)
            losses.append(float(value))
        return sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)

    return at


def _best(along: Callable[[float], float], *, scale: float, noise: float) -> FiniteDifference:
    """Down from the largest step, until rounding alone is more than the least bound so far."""
    middle = along(0.0)
    best = FiniteDifference(math.nan, math.inf, math.nan)
    before, last = math.nan, math.nan  # c(4h), and c(16h) − c(4h)
    for j in range(1, STEPS + 1):
        h = scale * RATIO**-j
        rounded = 3 * math.sqrt(6) * noise / h**2
        if rounded > best.bound:
            break
        now = (along(h) + along(-h) - 2 * middle) / h**2
        change = abs(now - before)
        bound = _left(change, last, rounded) + rounded
        if bound < best.bound:
            best = FiniteDifference(now, bound, h)
        before, last = now, change
    return best


def _left(change: float, last: float, rounded: float) -> float:
    """How far c(h) may be from its limit, from its last two changes.

    As far as it has just come, or, where changes do not even halve, as their geometric series goes on; infinite while
    they grow by more than rounding.
    """
    real = max(change - 2 * rounded, 0.0)
    if real < last:
        return change * max(1.0, real / (last - real))
    return change if real == 0.0 == last else math.inf


def _noise(along: Callable[[float], float], *, spacing: float, eps: float) -> float:
    """δ: how much a loss varies by rounding.

    It is read from the differences of losses that lie so close that smoothness gives none. The k-th differences of
    noise of variance δ² have the variance δ²·(2k)!/(k!)²; the largest estimate counts.
    """
    values = [along(i * spacing) for i in range(PROBED)]
    estimates = [eps / 4 * abs(values[0])]
    for k in range(1, PROBED):
        values = [after - before for before, after in pairwise(values)]
        if k >= 3:
            estimates.append(math.sqrt(sum(x * x for x in values) / len(values) / math.comb(2 * k, k)))
    return max(estimates)
