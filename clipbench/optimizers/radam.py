"""RAdam: Adam that divides by the second moment only once that is well estimated (torch.optim.RAdam)."""

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
    decoupled_weight_decay: bool = False,
) -> torch.optim.Optimizer:
    """Step along the momentum at first, and as Adam does, with a factor that rises to 1, later.

    ρ∞ = 2/(1−β₂) − 1,  ρₜ = ρ∞ − 2tβ₂ᵗ/(1−β₂ᵗ),  m̂ and v̂ as in Adam,
    θ ← θ − lr·m̂ while ρₜ ≤ 5,  then  θ ← θ − lr·m̂·r/(√v̂ + ε),  r² = (ρₜ−4)(ρₜ−2)ρ∞/((ρ∞−4)(ρ∞−2)ρₜ)

    With β₂ = 0.999 the first five steps are of the plain momentum.

    Args:
        lr: learning rate, above 0.
        betas: β₁ and β₂, each from 0 to below 1.
        eps: ε, at least 0; added to √v as it is kept, before its bias is taken off.
        weight_decay: added to the gradient as weight_decay·θ, at least 0.
        decoupled_weight_decay: shrink the weights by lr·weight_decay instead, as AdamW does.

    Raises:
        ValueError: a value outside these bounds.

    Source: Liu et al. (2020), arXiv:1908.03265.
    """
    if not 0.0 < lr < math.inf:
        raise ValueError(f"lr must be a number above 0, not {lr}")
    return torch.optim.RAdam(
        list(named_parameters),
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        decoupled_weight_decay=decoupled_weight_decay,
    )
