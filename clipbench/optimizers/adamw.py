"""AdamW: Adam with weight decay apart from the gradient (torch.optim.AdamW)."""

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
    weight_decay: float = 0.01,
    amsgrad: bool = False,
) -> torch.optim.Optimizer:
    """Shrink the weights a little, then step as Adam does.

    θ ← (1 − lr·λ)·θ,    θ ← θ − lr·m̂/(√v̂ + ε)    with m̂ and v̂ as in Adam, of the gradient alone

    Args:
        lr: learning rate, above 0.
        betas: β₁ and β₂, each from 0 to below 1.
        eps: ε, at least 0.
        weight_decay: λ, at least 0.
        amsgrad: divide by the largest v̂ so far.

    Raises:
        ValueError: a value outside these bounds.

    Source: Loshchilov and Hutter (2019), arXiv:1711.05101.
    """
    if not 0.0 < lr < math.inf:
        raise ValueError(f"lr must be a number above 0, not {lr}")
    return torch.optim.AdamW(
        list(named_parameters), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
    )
