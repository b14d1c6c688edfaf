"""Rules for functions of one number: y1 = f'·x1, y2 = f''·x1² + f'·x2. Where a function has a kink, f'' is 0 there."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clipbench.geometry.jets.jet import Rule, Tangent, jet, parts, value

aten = torch.ops.aten

Derivatives = Callable[..., tuple[Any, Any]]
"""`derivatives(x, y, *args)`: f' and f'' at x, where y = f(x); an f'' of None is zero everywhere."""


def curved(y0: Tensor, x: Tensor, first: Any, second: Any) -> Tensor:
    """The jet of a pointwise function, from its derivatives at x."""
    _, x1, x2 = parts(x)
    y1 = None if x1 is None else x1 * first
    y2: Tangent = None if x2 is None else x2 * first
    if x1 is not None and second is not None:
        square = x1 * x1
        y2 = square.mul_(second) if y2 is None else y2.addcmul_(square, torch.as_tensor(second).to(square))
    return jet(y0, y1, y2)


def _pointwise(func: Any, x: Tensor, *args: Any, derivatives: Derivatives, **kwargs: Any) -> Tensor:
    x0 = value(x)
    y0: Tensor = func(x0, *args, **kwargs)
    return curved(y0, x, *derivatives(x0, y0, *args, **kwargs))


def _power(x: Tensor, _: Tensor, exponent: Any) -> tuple[Tensor, Any]:
    """Not by y/x, which is undefined at zero."""
    if isinstance(exponent, Tensor):
        return exponent * x ** (exponent - 1), exponent * (exponent - 1) * x ** (exponent - 2)
    if exponent == 2:
        return 2 * x, 2.0
    if exponent in (0, 1):
        return torch.full_like(x, exponent), None
    return exponent * x ** (exponent - 1), exponent * (exponent - 1) * x ** (exponent - 2)


def _gelu(x: Tensor, _: Tensor, *, approximate: str = "none") -> tuple[Tensor, Tensor]:
    if approximate == "none":
        density = torch.exp(-0.5 * x * x).mul_(1 / math.sqrt(2 * math.pi))
        below = torch.special.ndtr(x)
        return torch.addcmul(below, x, density), density * (2 - x * x)
    scale, cubic = math.sqrt(2 / math.pi), 0.044715
    t = torch.tanh(scale * (x + cubic * x**3))
    s, inner = 1 - t * t, scale * (1 + 3 * cubic * x * x)
    first = 0.5 * (1 + t) + 0.5 * x * s * inner
    return first, s * inner + 0.5 * x * s * (6 * cubic * scale * x - 2 * t * inner * inner)


def _silu(x: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s)), s * (1 - s) * (2 + x * (1 - 2 * s))


def _softplus(x: Tensor, _: Tensor, beta: float = 1, threshold: float = 20) -> tuple[Tensor, Tensor]:
    s, straight = torch.sigmoid(beta * x), beta * x > threshold
    return s.masked_fill(straight, 1), (beta * s * (1 - s)).masked_fill(straight, 0)


def _elu(x: Tensor, _: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> tuple[Tensor, Tensor]:
    slope = scale * alpha * input_scale * torch.exp(input_scale * x.clamp(max=0))
    return torch.where(x > 0, scale, slope), torch.where(x > 0, 0, input_scale * slope)


def _hardswish(x: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    inside = (x > -3) & (x < 3)
    return torch.where(inside, (2 * x + 3) / 6, (x >= 3).to(x)), inside.to(x) / 3


def _clamp(x: Tensor, _: Tensor, low: Any = None, high: Any = None) -> tuple[Tensor, None]:
    inside = torch.ones_like(x, dtype=torch.bool)
    if low is not None:
        inside &= x >= low
    if high is not None:
        inside &= x <= high
    return inside.to(x), None


def _log_sigmoid(func: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    y0, buffer = func(value(x))
    s = torch.sigmoid(value(x))
    return curved(y0, x, 1 - s, -s * (1 - s)), buffer


def _tanh(_: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    s = 1 - y * y
    return s, -2 * y * s


def _sigmoid(_: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    s = y * (1 - y)
    return s, s * (1 - 2 * y)


def _erf(x: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    first = 2 / math.sqrt(math.pi) * torch.exp(-x * x)
    return first, -2 * x * first


DERIVATIVES: dict[Any, Derivatives] = {
    aten.neg.default: lambda _x, _y: (-1.0, None),
    aten.abs.default: lambda x, _: (x.sign(), None),
    aten.exp.default: lambda _, y: (y, y),
    aten.exp2.default: lambda _, y: (math.log(2) * y, math.log(2) ** 2 * y),
    aten.expm1.default: lambda _, y: (y + 1, y + 1),
    aten.log.default: lambda x, _: (1 / x, -1 / x**2),
    aten.log2.default: lambda x, _: (1 / (x * math.log(2)), -1 / (x**2 * math.log(2))),
    aten.log10.default: lambda x, _: (1 / (x * math.log(10)), -1 / (x**2 * math.log(10))),
    aten.log1p.default: lambda x, _: (1 / (1 + x), -1 / (1 + x) ** 2),
    aten.sqrt.default: lambda x, y: (0.5 / y, -0.25 / (x * y)),
    aten.rsqrt.default: lambda x, y: (-0.5 * y / x, 0.75 * y / x**2),
    aten.reciprocal.default: lambda _, y: (-y * y, 2 * y**3),
    aten.pow.Tensor_Scalar: _power,
    aten.sin.default: lambda x, y: (x.cos(), -y),
    aten.cos.default: lambda x, y: (-x.sin(), -y),
    aten.tan.default: lambda _, y: (1 + y * y, 2 * y * (1 + y * y)),
    aten.atan.default: lambda x, _: (1 / (1 + x * x), -2 * x / (1 + x * x) ** 2),
    aten.sinh.default: lambda x, y: (x.cosh(), y),
    aten.cosh.default: lambda x, y: (x.sinh(), y),
    aten.tanh.default: _tanh,
    aten.sigmoid.default: _sigmoid,
    aten.erf.default: _erf,
    aten.relu.default: lambda x, _: ((x > 0).to(x), None),
    aten.leaky_relu.default: lambda x, _, slope=0.01: ((x > 0).to(x) * (1 - slope) + slope, None),
    aten.hardtanh.default: lambda x, _, low=-1, high=1: (((x > low) & (x < high)).to(x), None),
    aten.clamp.default: lambda x, y, min=None, max=None: _clamp(x, y, min, max),  # noqa: A006 - torch's names
    aten.clamp_min.default: lambda x, y, low: _clamp(x, y, low),
    aten.clamp_max.default: lambda x, y, high: _clamp(x, y, None, high),
    aten.gelu.default: _gelu,
    aten.silu.default: _silu,
    aten.elu.default: _elu,
    aten.softplus.default: _softplus,
    aten.hardswish.default: _hardswish,
}


def _constant(func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Piecewise constant, or a new tensor that is like x in shape alone."""
    out: Tensor = func(value(x), *args, **kwargs)
    return out


def overloads(*names: str) -> list[Any]:
    """Operations by their names, `like.this`."""
    return [getattr(getattr(aten, packet), overload) for packet, overload in (name.split(".") for name in names)]


RULES: dict[Any, Rule] = {
    **dict.fromkeys(
        overloads("sign.default", "floor.default", "ceil.default", "round.default", "trunc.default"), _constant
    ),
    **dict.fromkeys(
        overloads("zeros_like.default", "ones_like.default", "full_like.default", "empty_like.default"), _constant
    ),
    **dict.fromkeys(
        overloads("new_zeros.default", "new_ones.default", "new_full.default", "new_empty.default"), _constant
    ),
    **dict.fromkeys(overloads("rand_like.default", "randn_like.default"), _constant),
    **{func: partial(_pointwise, derivatives=derivatives) for func, derivatives in DERIVATIVES.items()},
    aten.log_sigmoid_forward.default: _log_sigmoid,
}
