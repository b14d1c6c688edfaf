"""Optimizers written out in float64, one formula a line, for comparison with the real ones.

Each takes the weights, the gradients of every step (a list of steps, each a list of tensors) and its options, and
returns the weights after the last step. With a fraction, the clip is inside.
"""

from collections.abc import Sequence

import torch
from reference.clipping import Steps
from reference.clipping import clipped as clipped
from reference.second_moments import adam as adam
from reference.second_moments import follow, zeros
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


def adafactor(
    weights: Sequence[Tensor],
    steps: Steps,
    *,
    lr: float,
    eps: tuple[float, float] = (1e-30, 1e-3),
    d: float = 1.0,
    beta2_decay: float = -0.8,
    weight_decay: float = 0.0,
    fraction: float = 0.0,
) -> list[Tensor]:
    """Shazeer and Stern's algorithms 4 and 5 with sums, as there; the last two axes of a tensor are factored."""
    rows, columns, plain = zeros(weights), zeros(weights), zeros(weights)

    def rule(i: int, t: int, w: Tensor, g: Tensor, c: Tensor) -> Tensor:
        beta, square = 1 - t**beta2_decay, g * g + eps[0]
        if g.dim() >= 2:
            rows[i] = beta * rows[i] + (1 - beta) * square.sum(-1, keepdim=True)
            columns[i] = beta * columns[i] + (1 - beta) * square.sum(-2, keepdim=True)
            v = rows[i] * columns[i] / rows[i].sum(-2, keepdim=True)
        else:
            v = plain[i] = beta * plain[i] + (1 - beta) * square
        u = c / v.sqrt()
        alpha = max(eps[1], float(w.square().mean().sqrt())) * min(lr, t**-0.5)
        after: Tensor = w * (1 - lr * weight_decay) - alpha * u / max(1.0, float(u.square().mean().sqrt()) / d)

        return after

    return follow(weights, steps, fraction, rule)


def _clipped_steps(steps: Steps, fraction: float) -> list[list[Tensor]]:
    return [clipped([g.double() for g in gradients], fraction) for gradients in steps]
