"""Adafactor: a factored second moment, and steps in proportion to the weights."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from clipbench.factored import Adafactor


def build(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (1e-30, 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Step along the gradient over its root mean square, which is kept by rows and columns, not by coordinates.

    R ← β₂ₜ·R + (1−β₂ₜ)·(mean of g² + ε₁) by rows, and so C by columns,    β₂ₜ = 1 − t^beta2_decay
    û = g/√v,    v = R·C/mean(R); a vector's v is not factored
    θ ← (1 − lr·λ)·θ,    θ ← θ − αₜ·û/max(1, RMS(û)/d),    αₜ = max(ε₂, RMS(θ))·min(lr, 1/√t)

    So `lr` is not a step's length: it caps the RELATIVE step, a share of the weights' own size, and 1/√t takes
    over from it once t > 1/lr². Without momentum.

    Args:
        lr: the largest relative step, above 0.
        beta2_decay: the exponent of the second moment's decay, at most 0.
        eps: ε₁, added to every square, and ε₂, the least root mean square a tensor of weights is taken for; each at
            least 0. With ε₁ = None the rule is torch.optim.Adafactor's own default.
        d: the update's root mean square above which a tensor's update is scaled down, at least 1.
        weight_decay: λ, decoupled, at least 0.

    Raises:
        ValueError: a value outside these bounds.

    torch.optim.Adafactor adds no ε₁. It floors √v by it, and the mean of R as well, and its default is the dtype's
    machine epsilon, 1.2e-7 in float32. That is another optimizer where gradients are small: if a matrix's have a root
    mean square below 3e-4, the floored mean makes its û too long, up to what d leaves of it; and coordinates with √v
    below 1.2e-7 are no longer scaled to one size. On code_lm the cosine between the two steps is 0.997 on average,
    and 0.74 with gradients a ten-thousandth as large. With ε₁ = 1e-30, torch's step in float32 makes NaN of a
    gradient that is exactly zero. 1e-30 is the value of Shazeer and Stern, and of the code of Pan and Li (2023).

    Source: Shazeer and Stern (2018), arXiv:1804.04235.
    """
    if not 0.0 < lr < math.inf:
        raise ValueError(f"lr must be a number above 0, not {lr}")
    return Adafactor(list(named_parameters), lr=lr, beta2_decay=beta2_decay, eps=eps, d=d, weight_decay=weight_decay)
