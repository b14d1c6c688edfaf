"""Muon: momentum made orthogonal, for the matrices of a model alone (torch.optim.Muon)."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

Adjustment = Literal["original", "match_rms_adamw"]


def build(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    momentum: float = 0.95,
    nesterov: bool = True,
    weight_decay: float = 0.1,
    ns_steps: int = 5,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    eps: float = 1e-7,
    adjust_lr_fn: Adjustment = "original",
) -> torch.optim.Optimizer:
    """Step along the nearest orthogonal matrix to the momentum, by a Newton-Schulz iteration in bfloat16.

    m ← μm + (1−μ)g,  O = NS(g + μ(m − g)) or NS(m),    θ ← (1 − lr·λ)·θ − s·lr·O

    NS: X₀ = M/‖M‖_F, X ← aX + bXXᵀX + c(XXᵀ)²X. With rows × columns A × B, s = √max(1, A/B) ("original") or
    0.2·√max(A, B) ("match_rms_adamw", steps about as long as AdamW's).

    Its parameters are matrices: an arm's group of `kind: matrix`, with another optimizer for the rest.

    Args:
        lr: learning rate, above 0.
        momentum: μ, from 0 to below 1.
        nesterov: look ahead by one step of the average.
        weight_decay: λ, at least 0.
        ns_steps: iterations, from 1 to 99.
        ns_coefficients: a, b and c.
        eps: the least ‖M‖_F that is divided by, above 0.
        adjust_lr_fn: s.

    Raises:
        ValueError: a value outside these bounds, or a parameter that is no matrix.

    Source: Jordan et al. (2024), kellerjordan.github.io/posts/muon; Liu et al. (2025), arXiv:2502.16982.
    """
    parameters = list(named_parameters)
    for name, value in {"lr": lr, "epsilon": eps}.items():
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be a number above 0, not {value}")
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must be at least 0 and below 1, not {momentum}")
    if not 0.0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be a number of at least 0, not {weight_decay}")
    if not 1 <= ns_steps <= 99:
        raise ValueError(f"ns_steps must be from 1 to 99, not {ns_steps}")
    if not all(map(math.isfinite, ns_coefficients)):
        raise ValueError(f"ns_coefficients must be three numbers, not {ns_coefficients}")
    if other := [name for name, parameter in parameters if parameter.dim() != 2]:
        found = f"muon is for matrices, and {other[0]} is none ({len(other)} of {len(parameters)} are not)"
        raise ValueError(f"{found}: give it a group with `kind: matrix`, and the rest another optimizer")
    return torch.optim.Muon(
        parameters,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        ns_steps=ns_steps,
        ns_coefficients=ns_coefficients,
        eps=eps,
        adjust_lr_fn=adjust_lr_fn,
    )
