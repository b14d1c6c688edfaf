"""Adafactor: a factored second moment, and steps in proportion to the weights (torch.optim.Adafactor)."""

import math
from collections.abc import Iterable

import torch
from torch import nn


def build(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (None, 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Step along the gradient over its root mean square, which is kept by rows and columns, not by coordinates.

    û = g/√v,  v factored, with β₂ₜ = 1 − t^beta2_decay
    θ ← (1 − lr·λ)·θ,    θ ← θ − αₜ·û/max(1, RMS(û)/d),    αₜ = max(ε₂, RMS(θ))·min(lr, 1/√t)

    So `lr` is not a step's length: it caps the RELATIVE step, a share of the weights' own size, and 1/√t takes
    over from it once t > 1/lr². Without momentum.

    Args:
        lr: the largest relative step, above 0.
        beta2_decay: the exponent of the second moment's decay, at most 0.
        eps: ε₁, the floor under √v (None: the dtype's machine epsilon), and ε₂, the least root mean square a
            tensor of weights is taken for; each at least 0.
        d: the update's root mean square above which a tensor's update is scaled down, at least 1.
        weight_decay: λ, decoupled, at least 0.

    Raises:
        ValueError: a value outside these bounds.

    Source: Shazeer and Stern (2018), arXiv:1804.04235.
    """
    if not 0.0 < lr < math.inf:
        raise ValueError(f"lr must be a number above 0, not {lr}")
    return torch.optim.Adafactor(
        list(named_parameters), lr=lr, beta2_decay=beta2_decay, eps=eps, d=d, weight_decay=weight_decay
    )
