"""Adam: steps scaled coordinate by coordinate by the gradient's second moment (torch.optim.Adam)."""

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
    amsgrad: bool = False,
) -> torch.optim.Optimizer:
    """Step along the mean gradient over its root mean square, coordinate by coordinate.

    m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,    θ ← θ − lr·m̂/(√v̂ + ε),  m̂ = m/(1−β₁ᵗ),  v̂ = v/(1−β₂ᵗ)

    Args:
        lr: learning rate, above 0.
        betas: β₁ and β₂, each from 0 to below 1.
        eps: ε, at least 0.
        weight_decay: added to the gradient as weight_decay·θ, at least 0; `adamw` decouples it.
        amsgrad: divide by the largest v̂ so far.

    Raises:
        ValueError: a value outside these bounds.

    Source: Kingma and Ba (2015), arXiv:1412.6980.
    """
    if not 0.0 < lr < math.inf:
        raise ValueError(f"lr must be a number above 0, not {lr}")
    return torch.optim.Adam(
        list(named_parameters), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
    )
