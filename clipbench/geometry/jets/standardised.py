"""Rules for layers that divide by a deviation: layer, group, instance, batch and root-mean-square norms."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from clipbench.geometry.jets.jet import Rule, Tangent, jet, linear, moved, parts, value
from clipbench.geometry.jets.products import add, multiply

aten = torch.ops.aten


def standardised(x: Tensor, over: Sequence[int], *, eps: float, centred: bool = True) -> Tensor:
    """x̂ = c·r, with c = x − mean(x) and r = (mean(c²) + ε)^−½, the means over the dimensions `over` (negative).

    With m1 = mean(x̂·c1), m2 = mean(x̂·c2) and q = mean(c1²), where c1 and c2 are the centred derivatives,

        x̂1 = r(c1 − x̂·m1),    x̂2 = r·c2 − 2r²·m1·c1 + x̂(3r²·m1² − r²·q − r·m2)
    """
    x0, x1, x2 = parts(x)
    over = tuple(over)

    def mean(t: Tensor) -> Tensor:
        return t.mean(over, keepdim=True)

    def centre(t: Tensor) -> Tensor:
        return t - mean(t) if centred else t

    c0 = centre(x0)
    r = torch.rsqrt(mean(c0 * c0) + eps)
    y0 = c0 * r
    c1, c2 = moved(x1, centre), moved(x2, centre)
    y1: Tangent = None
    y2: Tangent = None
    if c2 is not None:
        y2 = torch.addcmul(c2, y0, mean(y0 * c2), value=-1).mul_(r)
    if c1 is not None:
        m1 = mean(y0 * c1)
        rest = (3 * m1 * m1 - mean(c1 * c1)).mul_(r * r)
        bend = (y0 * rest).addcmul_(c1, m1 * r * r, value=-2)
        y2 = bend if y2 is None else y2.add_(bend)
        y1 = torch.addcmul(c1, y0, m1, value=-1).mul_(r)
    return jet(y0, y1, y2)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = multiply(aten.mul.Tensor, x, weight)
    return x if bias is None else add(aten.add.Tensor, x, bias)


def _per_channel(t: Tensor | None, dimensions: int) -> Tensor | None:
    """(C,) as (C, 1, …): channels come second, after the examples."""
    ones = (1,) * (dimensions - 2)
    return None if t is None else linear(value(t).reshape(-1, *ones), t, lambda s: s.reshape(len(s), -1, *ones))


def _for_its_backward(x: Tensor, outputs: int) -> list[Tensor]:
    """What the operation keeps for its own backward pass, of which there is none."""
    return [value(x).new_empty(0) for _ in range(outputs)]


def _layer_norm(
    func: Any, x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, ...]:
    del func
    y = standardised(x, range(-len(shape), 0), eps=eps)
    return _affine(y, weight, bias), *_for_its_backward(x, 2)


def _rms_norm(
    func: Any, x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None
) -> tuple[Tensor, ...]:
    del func
    small = torch.finfo(x.dtype).eps if eps is None else eps
    return _affine(standardised(x, range(-len(shape), 0), eps=small, centred=False), weight, None), *_for_its_backward(
        x, 1
    )


def _group_norm(
    func: Any,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    examples: int,
    channels: int,
    pixels: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, ...]:
    del func, channels, pixels
    grouped = linear(value(x).reshape(examples, groups, -1), x, lambda t: t.reshape(len(t), examples, groups, -1))
    y = standardised(grouped, (-1,), eps=eps)
    back = linear(value(y).reshape(x.shape), y, lambda t: t.reshape(len(t), *x.shape))
    return _affine(back, _per_channel(weight, x.dim()), _per_channel(bias, x.dim())), *_for_its_backward(x, 2)


def _batch_norm(
    func: Any,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> tuple[Tensor, ...]:
    """By the kept statistics, or by the batch's own where none are kept; the kept ones are only read."""
    del func, momentum
    weight, bias = _per_channel(weight, x.dim()), _per_channel(bias, x.dim())
    if training or mean is None or variance is None:
        over = (0, *range(2, x.dim()))
        return _affine(standardised(x, [d - x.dim() for d in over], eps=eps), weight, bias), *_for_its_backward(x, 2)
    ones = (1,) * (x.dim() - 2)
    shift, scale = mean.view(-1, *ones), torch.rsqrt(variance + eps).view(-1, *ones)
    return _affine(linear((value(x) - shift) * scale, x, lambda t: t * scale), weight, bias), *_for_its_backward(x, 2)


def _batch_norm_in_evaluation(
    func: Any, x: Tensor, weight: Any, bias: Any, mean: Tensor, variance: Tensor, momentum: float, eps: float
) -> tuple[Tensor, ...]:
    return _batch_norm(func, x, weight, bias, mean, variance, False, momentum, eps)


def _cudnn_batch_norm(func: Any, *args: Any) -> tuple[Tensor, ...]:
    return *_batch_norm(func, *args), *_for_its_backward(args[0], 1)


RULES: dict[Any, Rule] = {
    aten.native_layer_norm.default: _layer_norm,
    aten._fused_rms_norm.default: _rms_norm,
    aten.native_group_norm.default: _group_norm,
    aten.native_batch_norm.default: _batch_norm,
    aten.cudnn_batch_norm.default: _cudnn_batch_norm,
    aten._native_batch_norm_legit.default: _batch_norm,
    aten._native_batch_norm_legit_no_training.default: _batch_norm_in_evaluation,
}
