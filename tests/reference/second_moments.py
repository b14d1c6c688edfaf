"""Optimizers with a second moment, written out in float64 with their two gradients kept apart.

With a fraction, the clipped gradient c enters the numerator and the raw one, g, the second moment: the rule of
arXiv:2306.00204. As in `reference.optimizers`, each takes the weights and the gradients of every step.
"""

from collections.abc import Callable, Sequence
from math import sqrt

import torch
from reference.clipping import Steps, clipped
from torch import Tensor

Rule = Callable[[int, int, Tensor, Tensor, Tensor], Tensor]  # i, t, w, g, c -> w after the step


def follow(weights: Sequence[Tensor], steps: Steps, fraction: float, rule: Rule) -> list[Tensor]:
    moved = [w.detach().double() for w in weights]
    for t, raw in enumerate(steps, start=1):
        gradients = [g.double() for g in raw]
        for i, (g, c) in enumerate(zip(gradients, clipped(gradients, fraction), strict=True)):
            moved[i] = rule(i, t, moved[i], g, c)
    return moved


def zeros(weights: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(w, dtype=torch.float64) for w in weights]


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
    """Adam, with decoupled decay AdamW."""
    m, v, largest = zeros(weights), zeros(weights), zeros(weights)

    def rule(i: int, t: int, w: Tensor, g: Tensor, c: Tensor) -> Tensor:
        m[i] = betas[0] * m[i] + (1 - betas[0]) * c
        v[i] = betas[1] * v[i] + (1 - betas[1]) * g * g
        largest[i] = torch.maximum(largest[i], v[i])
        second = largest[i] if amsgrad else v[i]
        m_hat, v_hat = m[i] / (1 - betas[0] ** t), second / (1 - betas[1] ** t)
        return w * (1 - lr * decay) - lr * m_hat / (v_hat.sqrt() + eps)

    return follow(weights, steps, fraction, rule)


def nadam(
    weights: Sequence[Tensor],
    steps: Steps,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    decay: float = 0.0,
    fraction: float = 0.0,
) -> list[Tensor]:
    m, v = zeros(weights), zeros(weights)

    def momentum(t: int) -> float:
        return betas[0] * (1 - 0.5 * 0.96 ** (t * 4e-3))  # type: ignore[no-any-return]

    def rule(i: int, t: int, w: Tensor, g: Tensor, c: Tensor) -> Tensor:
        m[i] = betas[0] * m[i] + (1 - betas[0]) * c
        v[i] = betas[1] * v[i] + (1 - betas[1]) * g * g
        product = 1.0
        for s in range(1, t + 1):
            product *= momentum(s)
        ahead = momentum(t + 1) * m[i] / (1 - product * momentum(t + 1)) + (1 - momentum(t)) * c / (1 - product)
        return w * (1 - lr * decay) - lr * ahead / ((v[i] / (1 - betas[1] ** t)).sqrt() + 1e-8)

    return follow(weights, steps, fraction, rule)


def radam(
    weights: Sequence[Tensor],
    steps: Steps,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    decay: float = 0.0,
    fraction: float = 0.0,
) -> list[Tensor]:
    m, v = zeros(weights), zeros(weights)
    limit = 2 / (1 - betas[1]) - 1

    def rule(i: int, t: int, w: Tensor, g: Tensor, c: Tensor) -> Tensor:
        m[i] = betas[0] * m[i] + (1 - betas[0]) * c
        v[i] = betas[1] * v[i] + (1 - betas[1]) * g * g
        m_hat = m[i] / (1 - betas[0] ** t)
        length = limit - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
        w = w * (1 - lr * decay)
        if length <= 5:
            return w - lr * m_hat
        rectified = sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
        return w - lr * rectified * m_hat * sqrt(1 - betas[1] ** t) / (v[i].sqrt() + 1e-8)

    return follow(weights, steps, fraction, rule)


def rmsprop(
    weights: Sequence[Tensor], steps: Steps, *, lr: float, alpha: float, momentum: float, fraction: float = 0.0
) -> list[Tensor]:
    v, heavy = zeros(weights), zeros(weights)

    def rule(i: int, _: int, w: Tensor, g: Tensor, c: Tensor) -> Tensor:
        v[i] = alpha * v[i] + (1 - alpha) * g * g
        heavy[i] = momentum * heavy[i] + c / (v[i].sqrt() + 1e-8)
        return w - lr * heavy[i]

    return follow(weights, steps, fraction, rule)


def adadelta(weights: Sequence[Tensor], steps: Steps, *, lr: float, rho: float, fraction: float = 0.0) -> list[Tensor]:
    v, taken = zeros(weights), zeros(weights)

    def rule(i: int, _: int, w: Tensor, g: Tensor, c: Tensor) -> Tensor:
        v[i] = rho * v[i] + (1 - rho) * g * g
        step = ((taken[i] + 1e-6) / (v[i] + 1e-6)).sqrt() * c
        taken[i] = rho * taken[i] + (1 - rho) * step * step
        return w - lr * step

    return follow(weights, steps, fraction, rule)


def adagrad(
    weights: Sequence[Tensor], steps: Steps, *, lr: float, lr_decay: float, start: float, fraction: float = 0.0
) -> list[Tensor]:
    total = [start + zero for zero in zeros(weights)]

    def rule(i: int, t: int, w: Tensor, g: Tensor, c: Tensor) -> Tensor:
        total[i] = total[i] + g * g
        return w - lr / (1 + (t - 1) * lr_decay) * c / (total[i].sqrt() + 1e-10)

    return follow(weights, steps, fraction, rule)


def adafactor(
    weights: Sequence[Tensor],
    steps: Steps,
    *,
    lr: float,
    weight_decay: float = 0.0,
    eps1: float,
    d: float = 1.0,
    beta2_decay: float = -0.8,
    fraction: float = 0.0,
) -> list[Tensor]:
    """As torch.optim.Adafactor documents it; a stack of matrices is factored matrix by matrix."""
    rows, columns, plain = zeros(weights), zeros(weights), zeros(weights)

    def rule(i: int, t: int, w: Tensor, g: Tensor, c: Tensor) -> Tensor:
        new = t**beta2_decay
        if g.dim() >= 2:
            rows[i] = (1 - new) * rows[i] + new * g.square().mean(-1, keepdim=True)
            columns[i] = (1 - new) * columns[i] + new * g.square().mean(-2, keepdim=True)
            v = rows[i] * columns[i] / rows[i].mean(-2, keepdim=True).clamp(min=eps1)
        else:
            v = plain[i] = (1 - new) * plain[i] + new * g.square()
        u = c / v.sqrt().clamp(min=eps1)
        step = max(1e-3, float(w.square().mean().sqrt())) * min(lr, t**-0.5)
        after: Tensor = w * (1 - lr * weight_decay) - step * u / max(1.0, float(u.square().mean().sqrt()) / d)

        return after

    return follow(weights, steps, fraction, rule)
