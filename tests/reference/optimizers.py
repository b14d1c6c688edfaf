"""Optimizers written out in float64, one formula a line, for comparison with the real ones.

Each takes the weights, the gradients of every step (a list of steps, each a list of tensors) and its options, and
returns the weights after the last step.
"""

from collections.abc import Sequence

import torch
from oracles import flat, naive_clip
from torch import Tensor

Steps = Sequence[Sequence[Tensor]]


def clipped(tensors: Sequence[Tensor], fraction: float) -> list[Tensor]:
    """The naive clip over all tensors at once."""
    if fraction == 0.0:
        return list(tensors)
    values = torch.tensor(naive_clip(flat(tensors).tolist(), fraction)[1], dtype=torch.float64)
    parts = values.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def sgd_average(steps: Steps, momentum: float) -> list[Tensor]:
    """torch.optim.SGD's momentum buffer with dampening = momentum, after all the steps."""
    average = [g.double() for g in steps[0]]
    for gradients in steps[1:]:
        average = [momentum * m + (1 - momentum) * g.double() for m, g in zip(average, gradients, strict=True)]
    return average


def normalized_sgd(weights: Sequence[Tensor], steps: Steps, *, lr: float, momentum: float) -> list[Tensor]:
    moved = [w.detach().double() for w in weights]
    for t in range(1, len(steps) + 1):
        for i, m in enumerate(sgd_average(steps[:t], momentum)):
            rms = m.square().mean().sqrt()
            if rms > 0:
                moved[i] = moved[i] - lr * m / rms
    return moved


def signsgd(weights: Sequence[Tensor], steps: Steps, *, lr: float, momentum: float) -> list[Tensor]:
    moved = [w.detach().double() for w in weights]
    for t in range(1, len(steps) + 1):
        average = sgd_average(steps[:t], momentum)
        moved = [w - lr * m.sign() for w, m in zip(moved, average, strict=True)]
    return moved


def lion(
    weights: Sequence[Tensor], steps: Steps, *, lr: float, betas: tuple[float, float], weight_decay: float
) -> list[Tensor]:
    moved = [w.detach().double() for w in weights]
    for i in range(len(moved)):
        m = torch.zeros_like(moved[i])
        for gradients in steps:
            g = gradients[i].double()
            c = betas[0] * m + (1 - betas[0]) * g
            moved[i] = moved[i] - lr * (c.sign() + weight_decay * moved[i])
            m = betas[1] * m + (1 - betas[1]) * g
    return moved


def adam(
    weights: Sequence[Tensor],
    steps: Steps,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay: float = 0.0,
    amsgrad: bool = False,
    fraction: float = 0.0,
) -> list[Tensor]:
    """Adam with decoupled decay; with a fraction, the clipped gradient enters the first moment only."""
    moved = [w.detach().double() for w in weights]
    m = [torch.zeros_like(w) for w in moved]
    v = [torch.zeros_like(w) for w in moved]
    largest = [torch.zeros_like(w) for w in moved]
    for t, raw in enumerate(steps, start=1):
        gradients = [g.double() for g in raw]
        numerators = clipped(gradients, fraction)
        for i, (g, c) in enumerate(zip(gradients, numerators, strict=True)):
            m[i] = betas[0] * m[i] + (1 - betas[0]) * c
            v[i] = betas[1] * v[i] + (1 - betas[1]) * g * g
            largest[i] = torch.maximum(largest[i], v[i])
            second = largest[i] if amsgrad else v[i]
            m_hat, v_hat = m[i] / (1 - betas[0] ** t), second / (1 - betas[1] ** t)
            moved[i] = moved[i] * (1 - lr * decay) - lr * m_hat / (v_hat.sqrt() + eps)
    return moved


def adafactor(
    weights: Sequence[Tensor], steps: Steps, *, lr: float, weight_decay: float = 0.0, eps1: float, d: float = 1.0
) -> list[Tensor]:
    """As `clipbench.optimizers.adafactor` documents it, for matrices and vectors."""
    moved = [w.detach().double() for w in weights]
    for i in range(len(moved)):
        rows: Tensor | float = 0.0
        columns: Tensor | float = 0.0
        plain: Tensor | float = 0.0
        for t, gradients in enumerate(steps, start=1):
            g, w = gradients[i].double(), moved[i]
            beta2 = 1 - t**-0.8
            if g.dim() == 2:
                rows = beta2 * rows + (1 - beta2) * g.square().mean(1, keepdim=True)
                columns = beta2 * columns + (1 - beta2) * g.square().mean(0, keepdim=True)
                v = rows * columns / rows.mean()
            else:
                v = plain = beta2 * plain + (1 - beta2) * g.square()
            u = g / v.sqrt().clamp(min=eps1)
            step = max(1e-3, float(w.square().mean().sqrt())) * min(lr, t**-0.5)
            shrunk = w * (1 - lr * weight_decay)
            moved[i] = shrunk - step * u / max(1.0, float(u.square().mean().sqrt()) / d)
    return moved
