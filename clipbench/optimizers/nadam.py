"""NAdam: Adam with Nesterov's look ahead in its momentum (torch.optim.NAdam)."""

import math
from collections.abc import Iterable

import torch
from torch import nn


def build(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
) -> torch.optim.Optimizer:
    """Step as Adam does, along the momentum that the next step will have.

    μₜ = β₁·(1 − ½·0.96^(t·ψ)),  m and v as in Adam,
    θ ← θ − lr·(μₜ₊₁·m/(1 − ∏ᵢ₌₁ᵗ⁺¹μᵢ) + (1−μₜ)·g/(1 − ∏ᵢ₌₁ᵗμᵢ))/(√v̂ + ε)

    Args:
        lr: learning rate, above 0.
        betas: β₁ and β₂, each from 0 to below 1.
        eps: ε, at least 0.
        weight_decay: added to the gradient as weight_decay·θ, at least 0.
        momentum_decay: ψ, at least 0: how fast μ rises to β₁.
        decoupled_weight_decay: shrink the weights by lr·weight_decay instead, as AdamW does.

    Raises:
        ValueError: a value outside these bounds.

    Source: Dozat (2016), Incorporating Nesterov momentum into Adam, ICLR workshop.
    """
    if not 0.0 < lr < math.inf:
        raise ValueError(f"lr must be a number above 0, not {lr}")
    return torch.optim.NAdam(
        list(named_parameters),
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        momentum_decay=momentum_decay,
        decoupled_weight_decay=decoupled_weight_decay,
    )
