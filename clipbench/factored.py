"""Adafactor's step, in which the gradient above the second moment and the gradient in it may be two."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT


class Adafactor(torch.optim.Adafactor):
    """Adafactor as it was published; see `clipbench.optimizers.adafactor`.

    torch's own step takes the published ε₁ for a floor, whose square is 0 in float32: 0/√0 makes NaN of a row whose
    gradients are all zero.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float,
        beta2_decay: float,
        eps: tuple[float | None, float],
        d: float,
        weight_decay: float,
    ) -> None:
        super().__init__(params, lr=lr, beta2_decay=beta2_decay, eps=eps, d=d, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; a closure, if given, computes the loss and the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._init_group(group, *([] for _ in range(6)))  # makes the state of those that have a gradient
            for p in group["params"]:
                if p.grad is not None:
                    take_step(self, group, p, squares=mean_squares(p.grad), numerator=p.grad)
        return loss


def mean_squares(gradient: Tensor) -> list[Tensor]:
    """The mean of the squares by rows and by columns of the last two axes; of a vector, the squares."""
    if gradient.dim() <= 1:
        return [gradient.square()]
    return [
        torch.linalg.vector_norm(gradient, dim=axis, keepdim=True).square_().div_(gradient.size(axis))
        for axis in (-1, -2)
    ]


def take_step(
    optimizer: torch.optim.Adafactor,
    group: Mapping[str, Any],
    parameter: nn.Parameter,
    *,
    squares: list[Tensor],
    numerator: Tensor,
) -> None:
    """Take the optimizer's step for one parameter, in place.

    With S the squares, R and C their averages by rows and columns, V the average where they are not factored:

        published:             R ← (1−w)R + w·(S + ε₁), likewise C and V,    û = c/√v,    v = R·C/mean(R) or V
        torch.optim.Adafactor: R ← (1−w)R + w·S, likewise C and V,           û = c/max(√v, ε₁),
                               v = R·C/max(mean(R), ε₁) or V

    w = t^beta2_decay. Roots are multiplied where torch takes the root of a product, which need not fit the dtype; and
    no root is below that of the dtype's least normal number, so that ε₁ may be anything.

    Args:
        optimizer: `Adafactor`, which goes by the published rule unless its ε₁ is None, or torch.optim.Adafactor. It
            has the parameter's state.
        group: the parameter's group.
        parameter: it moves.
        squares: `mean_squares` of the gradient that the second moment takes; they are used up.
        numerator: c, the gradient that the step goes along.

    Source: Shazeer and Stern (2018), arXiv:1804.04235.
    """
    lr, (eps1, eps2), state = float(group["lr"]), group["eps"], optimizer.state[parameter]
    published = isinstance(optimizer, Adafactor) and eps1 is not None
    floor = 0.0 if published else eps1 if eps1 is not None else torch.finfo(parameter.dtype).eps
    moments = [state[name] for name in (("row_var", "col_var") if len(squares) == 2 else ("variance",))]
    state["step"] += 1
    t = float(state["step"])
    for moment, mean in zip(moments, squares, strict=True):
        moment.lerp_(mean.add_(eps1) if published else mean, t ** group["beta2_decay"])
    alpha = max(eps2, _rms(parameter)) * min(lr, t**-0.5)
    parameter.mul_(1.0 - lr * group["weight_decay"])
    update = numerator / _root(moments, floor=floor)
    parameter.add_(update, alpha=(alpha if group["maximize"] else -alpha) / max(1.0, _rms(update) / group["d"]))


def _root(moments: list[Tensor], *, floor: float) -> Tensor:
    """√v, of rows and columns or of squares that are not factored; at least `floor`, and so is the rows' mean."""
    least = torch.finfo(moments[0].dtype).tiny
    if len(moments) == 2:
        rows, columns = moments
        root = (rows / rows.mean(dim=-2, keepdim=True).clamp_(min=max(floor, least))).sqrt_() * columns.sqrt()
    else:
        root = moments[0].sqrt()
    return root.clamp_(min=max(floor, math.sqrt(least)))


def _rms(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor)) / math.sqrt(max(1, tensor.numel()))
