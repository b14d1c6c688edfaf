"""The paper's rule for Adam: the clipped gradient in the numerator, the raw gradient in the denominator."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from clipbench.errors import ClipbenchError

WHAT_WORKS = (
    "of='numerator' works with torch.optim.Adam and torch.optim.AdamW (single, foreach or fused, with or without "
    "amsgrad) where betas[1] > 0, maximize=False and any weight decay is decoupled (AdamW); "
    "of='gradient' and of='update' work with any optimizer"
)


def check_numerator(optimizer: torch.optim.Optimizer) -> None:
    """Refuse what the rule cannot be right for.

    Raises:
        ValueError: the optimizer is not exactly Adam or AdamW, or one of its parameter groups has betas[1] = 0,
            maximize, or a weight decay that is added to the gradient. The message says what works.
    """
    kind = type(optimizer)
    if kind not in (torch.optim.Adam, torch.optim.AdamW):
        raise ValueError(f"{kind.__name__} has no numerator that is known here: {WHAT_WORKS}")
    for group in optimizer.param_groups:
        if float(group["betas"][1]) == 0.0:
            raise ValueError(f"betas[1] is 0, which leaves no second moment to keep apart: {WHAT_WORKS}")
        if group["maximize"]:
            raise ValueError(f"maximize is set: {WHAT_WORKS}")
        if group["weight_decay"] != 0 and not group["decoupled_weight_decay"]:
            raise ValueError(
                f"weight_decay={group['weight_decay']} would be added to the clipped gradient: {WHAT_WORKS}"
            )


def clip_numerator(optimizer: torch.optim.Optimizer, threshold: Tensor) -> None:
    """Arrange that the coming step has the clipped gradient in its first moment only.

    With g the gradient, c = sign(g)·min(|g|, τ) and v the second moment, the step computes
    v ← β₂v + (1−β₂)c² from what it finds in `.grad`. Beforehand

        v ← v + ((1−β₂)/β₂)·(g−c)(g+c),    .grad ← c

    makes that β₂v + (1−β₂)g², as in Pan and Li (2023), arXiv:2306.00204. The maximum that amsgrad keeps is taken
    after v is complete, so it is right as well.

    Args:
        optimizer: an Adam or AdamW that `check_numerator` accepts, with gradients.
        threshold: τ, a 0-d tensor.

    Raises:
        ClipbenchError: a gradient scaler has left the gradients scaled, so that they do not fit v.
    """
    if getattr(optimizer, "grad_scale", None) is not None:
        raise ClipbenchError(
            "the gradients are still multiplied by the gradient scaler's factor",
            where="CoordinateClip(of='numerator')",
            remedy="call scaler.unscale_(optimizer) before scaler.step(optimizer)",
        )
    overflow = getattr(optimizer, "found_inf", None)
    if overflow is not None and bool(overflow):
        return  # a fused step under a scaler skips itself now, and v must not move either
    for gradient, second_moment, beta2 in _second_moments(optimizer):
        clipped = gradient.clamp(min=-threshold, max=threshold)
        second_moment.addcmul_(gradient - clipped, gradient + clipped, value=(1.0 - beta2) / beta2)
        gradient.copy_(clipped)


def _second_moments(optimizer: torch.optim.Optimizer) -> Iterator[tuple[Tensor, Tensor, float]]:
    for group in optimizer.param_groups:
        # Adam makes its state at the first step; v must be there before it. Adam's own initialisation is private,
        # but only it knows the state's keys, dtypes and devices, and it leaves state that exists alone.
        initialise: Any = optimizer._init_group  # type: ignore[attr-defined]
        initialise(group, [], [], [], [], [], [])
        for parameter in group["params"]:
            if parameter.grad is not None:
                yield parameter.grad, optimizer.state[parameter]["exp_avg_sq"], float(group["betas"][1])
