"""Slope and curvature of a loss along given directions, exactly: one gradient a batch, one product a direction."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.attention import math_attention
from clipbench.geometry.products import inner, norm, widened
from clipbench.geometry.undisturbed import undisturbed

WHERE = "directional_curvature"


class NonFiniteLossError(ClipbenchError):
    """The loss at the point is NaN or infinite, so it has no slope and no curvature."""


@dataclass(frozen=True)
class DirectionalCurvature:
    """The loss along a direction u, to second order, with v = u/‖u‖: L(θ + ηv) ≈ L(θ) + η·slope + ½η²·curvature.

    - `slope` = gᵀv, signed: negative along a descent direction.
    - `curvature` = vᵀHv, the directional sharpness, signed.
    - `norm` = ‖u‖₂. Where it is zero or not finite there is no direction: slope and curvature are NaN.
    """

    slope: float
    curvature: float
    norm: float


def directional_curvature(
    model: nn.Module,
    loss: Loss,
    batches: Sequence[Batch],
    directions: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, DirectionalCurvature]:
    """How steep the loss is along each direction, and how it bends: the first two derivatives at the present weights.

    With v = u/‖u‖ over all trainable parameters at once, and L the mean of the loss over all terms of all batches
    (each batch weighted by `Batch.weight`),

        slope = ∇L(θ)ᵀv,    curvature = vᵀ∇²L(θ)v = the directional sharpness uᵀHu/‖u‖²

    The gradient is differentiated once more by double backward, in evaluation mode, without autocast, with
    the MATH attention kernel, in the parameters' own dtype; sums over coordinates and batches are in float64.
    The model is left bit for bit as it was. Memory: one graph of one batch, and one copy of each direction.

    Args:
        model: its weights are the point θ. A tied weight counts once, under its first name.
        loss: `loss(model, batch)`, a 0-d mean over the batch's terms.
        batches: at least one; they are moved to the model's device.
        directions: by name, u as a mapping from the name of every trainable parameter to a tensor of its shape.

    Returns:
        One DirectionalCurvature for each direction, under its name.

    Raises:
        ClipbenchError: no batches, a batch without terms, no trainable parameter, a direction with missing or
            unknown names or a wrong shape, or a loss that is not a scalar or does not depend on the weights.
        NonFiniteLossError: the loss of a batch is NaN or infinite.

    Source: directional sharpness, Pan and Li (2023), arXiv:2306.00204; Hessian-vector products by differentiating
    the gradient, Pearlmutter (1994), Neural Computation 6.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ClipbenchError("the model has no trainable parameter", where=WHERE)
    if not batches:
        raise ClipbenchError("there are no batches to measure on", where=WHERE)
    for i, batch in enumerate(batches):
        if batch.weight <= 0:
            raise ClipbenchError(
                f"batch {i} has no terms in its loss (weight {batch.weight})",
                where=WHERE,
                remedy="leave it out, or correct its count of samples or tokens",
            )
    norms = {name: _checked_norm(name, direction, parameters) for name, direction in directions.items()}
    units = {
        name: [(widened(direction[p]) / norms[name]).view(w.shape).to(w) for p, w in parameters.items()]
        for name, direction in directions.items()
        if 0.0 < norms[name] < math.inf
    }
    measured = _weighted_means(model, loss, batches, list(parameters.values()), units)
    nothing = (math.nan, math.nan)
    return {name: DirectionalCurvature(*measured.get(name, nothing), norm=norms[name]) for name in directions}


def _weighted_means(
    model: nn.Module,
    loss: Loss,
    batches: Sequence[Batch],
    parameters: list[nn.Parameter],
    units: Mapping[str, list[Tensor]],
) -> dict[str, tuple[float, float]]:
    """Slope and curvature by direction, over all terms of all batches."""
    device = parameters[0].device
    lengths = {name: norm(v) for name, v in units.items()}  # 1, but for the rounding to the parameters' dtype
    sums = dict.fromkeys(units, (0.0, 0.0))
    with undisturbed(model), math_attention(), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for i, batch in enumerate(batches):
            gradient = _gradient(loss(model, batch.to(device)), parameters, i)
            for name, v in units.items():
                slope = inner(gradient, v) / lengths[name]
                curvature = inner(_hessian_times(v, gradient, parameters), v) / lengths[name] ** 2
                total_slope, total_curvature = sums[name]
                sums[name] = (total_slope + batch.weight * slope, total_curvature + batch.weight * curvature)
    terms = sum(batch.weight for batch in batches)
    return {name: (slope / terms, curvature / terms) for name, (slope, curvature) in sums.items()}


def _gradient(loss: Tensor, parameters: list[nn.Parameter], i: int) -> list[Tensor]:
    """∇L with its graph; zero for a parameter that takes no part."""
    if loss.dim() != 0:
        raise ClipbenchError(
            f"the loss of batch {i} has the shape {tuple(loss.shape)}, not a scalar's",
            where=WHERE,
            remedy="return the mean over the batch's terms",
        )
    if not bool(loss.isfinite()):
        raise NonFiniteLossError(f"the loss of batch {i} is {float(loss.detach())}", where=WHERE)
    if not loss.requires_grad:
        raise ClipbenchError(
            f"the loss of batch {i} does not depend on any trainable parameter",
            where=WHERE,
            remedy="look for a detach() or a no_grad() in the loss",
        )
    gradient = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True)
    return list(gradient)


def _hessian_times(v: list[Tensor], gradient: list[Tensor], parameters: list[nn.Parameter]) -> list[Tensor]:
    """Hv = ∇(gᵀv). A gradient that is constant in the weights has no graph and adds nothing."""
    bends = [(g, u) for g, u in zip(gradient, v, strict=True) if g.requires_grad]
    if not bends:
        return [torch.zeros_like(p) for p in parameters]
    outputs, weights = zip(*bends, strict=True)
    product = torch.autograd.grad(
        outputs, parameters, grad_outputs=weights, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return list(product)


def _checked_norm(name: str, direction: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> float:
    missing, unknown = sorted(parameters.keys() - direction.keys()), sorted(direction.keys() - parameters.keys())
    if missing or unknown:
        raise ClipbenchError(
            f"direction {name!r} lacks {missing} and has {unknown}, which the model does not train",
            where=WHERE,
            remedy="give one tensor for each name of model.named_parameters() that requires a gradient",
        )
    for parameter, weight in parameters.items():
        if direction[parameter].shape != weight.shape:
            raise ClipbenchError(
                f"direction {name!r} has the shape {tuple(direction[parameter].shape)} at {parameter!r}, "
                f"where the parameter has {tuple(weight.shape)}",
                where=WHERE,
            )
    return norm(direction[parameter] for parameter in parameters)
