"""Stochastic gradient descent, with momentum if asked for (torch.optim.SGD)."""

import math
from collections.abc import Iterable

import torch
from torch import nn


def build(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Step against the gradient, or against its momentum average.

    m₁ = g₁,  mₜ = μ·mₜ₋₁ + (1−dampening)·gₜ,    θ ← θ − lr·m

    With dampening = μ the average is an exponential moving average, as in Pan and Li (2023), arXiv:2306.00204; with
    dampening = 0 it is the classical heavy ball, whose steps are up to 1/(1−μ) times as long.

    Args:
        lr: learning rate, above 0.
        momentum: μ, from 0 to below 1.
        dampening: from 0 to 1.
        weight_decay: added to the gradient as weight_decay·θ, at least 0.
        nesterov: step along gₜ + μ·mₜ; needs momentum without dampening.

    Raises:
        ValueError: a value outside these bounds.
    """
    if not 0.0 < lr < math.inf:
        raise ValueError(f"lr must be a number above 0, not {lr}")
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must be at least 0 and below 1, not {momentum}")
    if not 0.0 <= dampening <= 1.0:
        raise ValueError(f"dampening must be from 0 to 1, not {dampening}")
    if not 0.0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be a number of at least 0, not {weight_decay}")
    return torch.optim.SGD(
        list(named_parameters),
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=nesterov,
    )
