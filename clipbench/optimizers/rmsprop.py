"""RMSprop: the gradient over its root mean square, coordinate by coordinate (torch.optim.RMSprop)."""

import math
from collections.abc import Iterable

import torch
from torch import nn


def build(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> torch.optim.Optimizer:
    """Divide each coordinate of the gradient by its recent size.

    v ← αv + (1−α)g²,    b ← μb + g/(√v + ε),    θ ← θ − lr·b

    v starts at 0 and its bias is not taken off: with α = 0.99 the first steps are up to ten times as long.

    Args:
        lr: learning rate, above 0.
        alpha: α, from 0 to below 1.
        eps: ε, at least 0.
        weight_decay: added to the gradient as weight_decay·θ, at least 0.
        momentum: μ, from 0 to below 1.
        centered: divide by the root of the variance, v less the square of the mean gradient.

    Raises:
        ValueError: a value outside these bounds.

    Source: Tieleman and Hinton (2012), Coursera lecture 6.5; centered: Graves (2013), arXiv:1308.0850.
    """
    if not 0.0 < lr < math.inf:
        raise ValueError(f"lr must be a number above 0, not {lr}")
    if not 0.0 <= alpha < 1.0:
        raise ValueError(f"alpha must be at least 0 and below 1, not {alpha}")
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must be at least 0 and below 1, not {momentum}")
    return torch.optim.RMSprop(
        list(named_parameters),
        lr=lr,
        alpha=alpha,
        eps=eps,
        weight_decay=weight_decay,
        momentum=momentum,
        centered=centered,
    )
