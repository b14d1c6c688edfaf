"""Normalized SGD: the momentum average, each tensor of it scaled to a root mean square of 1."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim.optimizer import ParamsT

from clipbench.momentum import momentum_averages

# Below this root mean square a tensor's step fades to zero instead of dividing by nothing.
FLOOR = 1e-20


def build(
    named_parameters: Iterable[tuple[str, nn.Parameter]], *, lr: float, momentum: float = 0.9
) -> torch.optim.Optimizer:
    """Step as SGD with momentum does, but equally far in every tensor.

    m₁ = g₁,  mₜ = μ·mₜ₋₁ + (1−μ)·gₜ,    θ ← θ − lr·m/RMS(m),    RMS(m) = √(mean of mᵢ² over the tensor)

    m is that of torch.optim.SGD with dampening = μ. Each coordinate moves by lr on (quadratic) average. A tensor
    whose average is zero stays where it is. Scaling by one norm over all tensors would not change the direction, and
    so not the directional sharpness: per tensor it does.

    Args:
        lr: learning rate, above 0.
        momentum: μ, from 0 to below 1.

    Raises:
        ValueError: a value outside these bounds.

    Source: as compared in Pan and Li (2023), arXiv:2306.00204.
    """
    return NormalizedSGD(list(named_parameters), lr=lr, momentum=momentum)


class NormalizedSGD(torch.optim.Optimizer):
    """SGD whose momentum average is scaled to a root mean square of 1, tensor by tensor; see `build`."""

    def __init__(self, params: ParamsT, *, lr: float, momentum: float) -> None:
        if not 0.0 < lr < math.inf:
            raise ValueError(f"lr must be a number above 0, not {lr}")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must be at least 0 and below 1, not {momentum}")
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; a closure, if given, computes the loss and the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            averages = momentum_averages(self.state, parameters, gradients, momentum=group["momentum"])
            sizes = torch._foreach_norm(averages)
            torch._foreach_mul_(sizes, [max(1, m.numel()) ** -0.5 for m in averages])
            torch._foreach_clamp_min_(sizes, FLOOR)
            torch._foreach_add_(parameters, torch._foreach_div(averages, sizes), alpha=-group["lr"])
        return loss
