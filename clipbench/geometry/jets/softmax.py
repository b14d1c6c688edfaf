"""Rules for softmax, its logarithm, and the cross-entropy made of it."""

from typing import Any

import torch
from torch import Tensor

from clipbench.geometry.jets.jet import Rule, Tangent, filled, jet, linear, negative, parts, plus, value

aten = torch.ops.aten


def _log_partition(p: Tensor, x: Tensor, dim: int) -> tuple[Tangent, Tangent, Tangent]:
    """Derivatives of l = log Σ exp(x), with p = softmax(x): l1 = Σ p·x1,  l2 = Σ p·(x2 + (x1 − l1)²); and x1 − l1."""
    _, x1, x2 = parts(x)
    l2 = None if x2 is None else (p * x2).sum(dim, keepdim=True)
    if x1 is None:
        return None, l2, None
    l1 = (p * x1).sum(dim, keepdim=True)
    slope = x1 - l1
    spread = slope.square().mul_(p).sum(dim, keepdim=True)
    return l1, spread if l2 is None else l2.add_(spread), slope


def _softmax(func: Any, x: Tensor, dim: int, *args: Any, **kwargs: Any) -> Tensor:
    """With y1 and y2 the derivatives of log p: p1 = p·y1,  p2 = p·(y1² + y2)."""
    dim = negative(dim, x.dim())
    p: Tensor = func(value(x), dim, *args, **kwargs)
    _, _, x2 = parts(x)
    _, l2, slope = _log_partition(p, x, dim)
    if l2 is None:
        return p
    bend = -l2 if x2 is None else x2 - l2
    if slope is None:
        return jet(p, None, bend.mul_(p))
    bend = torch.addcmul(bend, slope, slope) if x2 is None else bend.addcmul_(slope, slope)
    return jet(p, slope.mul_(p), bend.mul_(p))


def _log_softmax(func: Any, x: Tensor, dim: int, *args: Any) -> Tensor:
    dim = negative(dim, x.dim())
    y0: Tensor = func(value(x), dim, *args)
    _, _, x2 = parts(x)
    _, l2, slope = _log_partition(y0.exp(), x, dim)
    return jet(y0, slope, filled(plus(x2, l2, alpha=-1), y0.shape))


def _logsumexp(func: Any, x: Tensor, dim: list[int], keepdim: bool = False) -> Tensor:
    dims = tuple(negative(d, x.dim()) for d in dim)
    l0: Tensor = func(value(x), dims, True)
    l1, l2, _ = _log_partition((value(x) - l0).exp_(), x, dims)  # type: ignore[arg-type]
    full = jet(l0, l1, l2)
    return full if keepdim else linear(l0.squeeze(dims), full, lambda t: t.squeeze(dims))


def _nll(func: Any, x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignored: int) -> Any:
    """−w·x[target], summed in float64 and divided by the weights of the targets that are not ignored."""
    y0, total = func(value(x), target, weight, reduction, ignored)
    classes = 0 if x.dim() == 1 else 1
    counted = target != ignored
    index = target.masked_fill(~counted, 0).unsqueeze(classes)
    factor = counted.to(x.dtype) if weight is None else weight[index.squeeze(classes)] * counted

    def by(t: Tensor) -> Tensor:
        picked = t.gather(classes + 1, index.expand(len(t), *index.shape)).squeeze(classes + 1) * -factor
        if reduction == 0:
            return picked
        total64 = picked.flatten(1).sum(1, dtype=torch.float64)
        return (total64 / total if reduction == 1 else total64).to(t.dtype)

    return linear(y0, x, by), total


RULES: dict[Any, Rule] = {
    aten._softmax.default: _softmax,
    aten._safe_softmax.default: _softmax,
    aten._log_softmax.default: _log_softmax,
    aten.logsumexp.default: _logsumexp,
    aten.nll_loss_forward.default: _nll,
    aten.nll_loss2d_forward.default: _nll,
}
