"""Lion: the sign of a momentum that looks ahead, with decoupled weight decay."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim.optimizer import ParamsT


def build(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Step by the sign of a mixture of momentum and gradient, then let the momentum move on more slowly.

    θ ← (1 − lr·λ)·θ,    θ ← θ − lr·sign(β₁m + (1−β₁)g),    m ← β₂m + (1−β₂)g,    m = 0 at first

    Args:
        lr: learning rate, above 0: how far each coordinate moves.
        betas: β₁ and β₂, each from 0 to below 1.
        weight_decay: λ, at least 0.

    Raises:
        ValueError: a value outside these bounds.

    Source: Chen et al. (2023), arXiv:2302.06675, algorithm 2.
    """
    return Lion(list(named_parameters), lr=lr, betas=betas, weight_decay=weight_decay)


class Lion(torch.optim.Optimizer):
    """The sign of momentum and gradient mixed; see `build`."""

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        if not 0.0 < lr < math.inf:
            raise ValueError(f"lr must be a number above 0, not {lr}")
        if not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"betas must each be at least 0 and below 1, not {betas}")
        if not 0.0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay must be a number of at least 0, not {weight_decay}")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

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
            for p in parameters:
                if "exp_avg" not in self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
            averages = [self.state[p]["exp_avg"] for p in parameters]
            (beta1, beta2), lr = group["betas"], group["lr"]
            ahead = torch._foreach_lerp(averages, gradients, 1.0 - beta1)
            torch._foreach_sign_(ahead)
            torch._foreach_mul_(parameters, 1.0 - lr * group["weight_decay"])
            torch._foreach_add_(parameters, ahead, alpha=-lr)
            torch._foreach_lerp_(averages, gradients, 1.0 - beta2)
        return loss
