"""Optimizers written out in float64, one formula a line, for comparison with the real ones.

Each takes the weights, the gradients of every step (a list of steps, each a list of tensors) and its options, and
returns the weights after the last step. With a fraction, the clip is inside.
"""

from collections.abc import Sequence

import torch
from reference.clipping import Steps
from reference.clipping import clipped as clipped
from reference.second_moments import adafactor as adafactor
from reference.second_moments import adam as adam
from torch import Tensor


def sgd_average(steps: Steps, momentum: float) -> list[Tensor]:
    """torch.optim.SGD's momentum buffer with dampening = momentum, after all the steps."""
    average = [g.double() for g in steps[0]]
    for gradients in steps[1:]:
        average = [momentum * m + (1 - momentum) * g.double() for m, g in zip(average, gradients, strict=True)]
    return average


def sgd(
    weights: Sequence[Tensor], steps: Steps, *, lr: float, momentum: float, decay: float = 0.0, fraction: float = 0.0
) -> list[Tensor]:
    """With dampening = momentum and coupled decay; the clip comes before both, as with a hook on `.grad`."""
    moved = [w.detach().double() for w in weights]
    average: list[Tensor] = []
    for raw in steps:
        given = [c + decay * w for c, w in zip(clipped([g.double() for g in raw], fraction), moved, strict=True)]
        start = average or given
        average = [momentum * m + (1 - momentum) * g for m, g in zip(start, given, strict=True)]
        moved = [w - lr * m for w, m in zip(moved, average, strict=True)]
    return moved


def normalized_sgd(
    weights: Sequence[Tensor], steps: Steps, *, lr: float, momentum: float, fraction: float = 0.0
) -> list[Tensor]:
    moved = [w.detach().double() for w in weights]
    for t in range(1, len(steps) + 1):
        for i, m in enumerate(sgd_average(_clipped_steps(steps[:t], fraction), momentum)):
            rms = m.square().mean().sqrt()
            if rms > 0:
                moved[i] = moved[i] - lr * m / rms
    return moved


def signsgd(
    weights: Sequence[Tensor], steps: Steps, *, lr: float, momentum: float, fraction: float = 0.0
) -> list[Tensor]:
    moved = [w.detach().double() for w in weights]
    for t in range(1, len(steps) + 1):
        average = sgd_average(_clipped_steps(steps[:t], fraction), momentum)
        moved = [w - lr * m.sign() for w, m in zip(moved, average, strict=True)]
    return moved


def lion(
    weights: Sequence[Tensor],
    steps: Steps,
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    fraction: float = 0.0,
) -> list[Tensor]:
    """With a fraction, momentum and sign both take the clipped gradient."""
    moved = [w.detach().double() for w in weights]
    for i in range(len(moved)):
        m = torch.zeros_like(moved[i])
        for gradients in _clipped_steps(steps, fraction):
            g = gradients[i]
            c = betas[0] * m + (1 - betas[0]) * g
            moved[i] = moved[i] - lr * (c.sign() + weight_decay * moved[i])
            m = betas[1] * m + (1 - betas[1]) * g
    return moved


def _clipped_steps(steps: Steps, fraction: float) -> list[list[Tensor]]:
    return [clipped([g.double() for g in gradients], fraction) for gradients in steps]
