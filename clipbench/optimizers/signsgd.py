"""SignSGD with momentum (Signum): every coordinate moves by the learning rate."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim.optimizer import ParamsT

from clipbench.momentum import momentum_averages


def build(
    named_parameters: Iterable[tuple[str, nn.Parameter]], *, lr: float, momentum: float = 0.9
) -> torch.optim.Optimizer:
    """Step by the sign of the momentum average.

    m₁ = g₁,  mₜ = μ·mₜ₋₁ + (1−μ)·gₜ,    θ ← θ − lr·sign(m),    sign(0) = 0

    m is that of torch.optim.SGD with dampening = μ.

    Args:
        lr: learning rate, above 0: how far each coordinate moves.
        momentum: μ, from 0 (plain signSGD) to below 1.

    Raises:
        ValueError: a value outside these bounds.

    Source: Bernstein, Wang, Azizzadenesheli and Anandkumar (2018), arXiv:1802.04434.
    """
    return SignSGD(list(named_parameters), lr=lr, momentum=momentum)


class SignSGD(torch.optim.Optimizer):
    """The sign of SGD's momentum average; see `build`."""

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
            torch._foreach_add_(parameters, torch._foreach_sign(averages), alpha=-group["lr"])
        return loss
