"""The paper's rule for Adafactor: the clipped gradient above, rows and columns of the raw gradient's squares below."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clipbench.clipping.coordinates import Bound, clamp_


def clip_factored(
    optimizer: torch.optim.Adafactor, group: Mapping[str, Any], *, parameters: Sequence[nn.Parameter], limit: Bound
) -> list[tuple[nn.Parameter, Tensor]]:
    """Arrange that the coming step has the clipped gradient above its factored second moment only.

    At step t the optimizer computes R ← (1−w)R + w·mean(c²) by rows, and so by columns, with w = t^beta2_decay.
    Beforehand, with g the raw gradient,

        R ← R + (w/(1−w))·(mean(g²) − mean(c²)),    .grad ← c

    makes that (1−w)R + w·mean(g²). A vector's second moment is not factored, and each of its squares is its own
    mean. At t = 1, w is 1 and the optimizer forgets whatever R holds: there the whole step is taken here.

    Args:
        optimizer: its state is there for all the parameters.
        group: the parameters' group, with beta2_decay below 0.
        parameters: each has a gradient.
        limit: τ.

    Returns:
        The parameters stepped here and their clipped gradients; `.grad` is None, so that the optimizer passes them
        by, until somebody puts it back.

    Source: Pan and Li (2023), arXiv:2306.00204; Shazeer and Stern (2018), arXiv:1804.04235.
    """
    stepped = []
    for parameter in parameters:
        gradient = parameter.grad
        assert gradient is not None  # of those that were looked at only
        state = optimizer.state[parameter]
        names = ("row_var", "col_var") if gradient.dim() > 1 else ("variance",)
        step = float(state["step"]) + 1.0
        raw = _mean_squares(gradient)
        clamp_([gradient], limit)
        if step == 1.0:
            for name, mean in zip(names, raw, strict=True):
                state[name].copy_(mean)
            state["step"] += 1
            _first_step(parameter, gradient, moments=[state[name] for name in names], group=group)
            stepped.append((parameter, gradient))
            parameter.grad = None
            continue
        weight = step ** group["beta2_decay"]
        for name, before, after in zip(names, raw, _mean_squares(gradient), strict=True):
            state[name].add_(before - after, alpha=weight / (1.0 - weight))
    return stepped


def _mean_squares(gradient: Tensor) -> list[Tensor]:
    """The mean of the squares by rows and by columns of the last two axes; of a vector, the squares."""
    if gradient.dim() <= 1:
        return [gradient.square()]
    return [
        torch.linalg.vector_norm(gradient, dim=axis, keepdim=True).square_().div_(gradient.size(axis))
        for axis in (-1, -2)
    ]


def _first_step(parameter: nn.Parameter, numerator: Tensor, *, moments: list[Tensor], group: Mapping[str, Any]) -> None:
    """torch.optim.Adafactor's step at t = 1, from second moments that are complete."""
    lr, (eps1, eps2) = float(group["lr"]), group["eps"]
    least = torch.finfo(parameter.dtype).eps if eps1 is None else eps1
    alpha = max(eps2, _rms(parameter)) * min(lr, 1.0)
    parameter.mul_(1.0 - lr * group["weight_decay"])
    if len(moments) == 2:
        rows, columns = moments
        estimate = (rows @ columns).div_(rows.mean(dim=-2, keepdim=True).clamp_(min=least))
    else:
        estimate = moments[0].clone()
    update = estimate.clamp_(min=least * least).rsqrt_().mul_(numerator)
    parameter.add_(update, alpha=(alpha if group["maximize"] else -alpha) / max(1.0, _rms(update) / group["d"]))


def _rms(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor)) / math.sqrt(tensor.numel())
