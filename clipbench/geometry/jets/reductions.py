"""Rules for sums, means, variances and norms."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from clipbench.geometry.jets.jet import Rule, jet, linear, negative, parts, value
from clipbench.geometry.jets.pointwise import curved
from clipbench.geometry.jets.products import multiply

aten = torch.ops.aten


def _behind(x: Tensor, dim: Any) -> tuple[int, ...]:
    if dim is None or (isinstance(dim, Sequence) and not dim):
        return tuple(range(-x.dim(), 0))
    return tuple(negative(d, x.dim()) for d in ([dim] if isinstance(dim, int) else dim))


def _total(func: Any, x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    """sum and mean over some dimensions or all; those that leave one number a direction add up in float64."""
    over = _behind(x, dim)
    y0: Tensor = func(value(x), over, keepdim, dtype=dtype)
    if not over:  # a scalar is its own sum
        return linear(y0, x, lambda t: t)
    wide = torch.float64 if y0.dim() == 0 and x.device.type != "mps" else dtype
    return linear(y0, x, lambda t: func(t, over, keepdim, dtype=wide))


def _total_of_all(func: Any, x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    over_dims = aten.sum.dim_IntList if func is aten.sum.default else aten.mean.dim
    return _total(over_dims, x, dtype=dtype)


def _mean(x: Tensor, over: tuple[int, ...]) -> Tensor:
    return linear(value(x).mean(over, keepdim=True), x, lambda t: t.mean(over, keepdim=True))


def _variance(
    func: Any, x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """Σ(x − mean)²/(n − correction), and for std its root."""
    over = _behind(x, dim)
    _, x1, x2 = parts(x)
    mean = _mean(x, over)
    centred = jet(
        value(x) - value(mean),
        *(None if t is None else t - t.mean(over, keepdim=True) for t in (x1, x2)),
    )
    square = multiply(aten.mul.Tensor, centred, centred)
    terms = value(x).numel() / value(mean).numel() - (1 if correction is None else correction)
    variance = linear(
        value(square).sum(over, keepdim=keepdim) / terms, square, lambda t: t.sum(over, keepdim=keepdim) / terms
    )
    if func is aten.var.correction:
        return variance
    deviation = value(variance).sqrt()
    return curved(deviation, variance, 0.5 / deviation, -0.25 / (deviation * value(variance)))


def _variance_and_mean(
    func: Any, x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    del func
    variance = _variance(aten.var.correction, x, dim, correction=correction, keepdim=keepdim)
    mean = _total(aten.mean.dim, x, dim, keepdim)
    return variance, mean


RULES: dict[Any, Rule] = {
    **dict.fromkeys((aten.sum.dim_IntList, aten.mean.dim), _total),
    **dict.fromkeys((aten.sum.default, aten.mean.default), _total_of_all),
    **dict.fromkeys((aten.var.correction, aten.std.correction), _variance),
    aten.var_mean.correction: _variance_and_mean,
}
