"""Rules for sums, products and quotients: of numbers, of matrices, and convolutions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clipbench.geometry.jets.jet import (
    Jet,
    MissingRuleError,
    Rule,
    Tangent,
    aligned,
    count,
    filled,
    jet,
    linear,
    moved,
    parts,
    plus,
    times,
    value,
)
from clipbench.geometry.jets.pointwise import DERIVATIVES, curved, overloads

aten = torch.ops.aten
LARGE = 64
"""The side of a matrix from which a product costs more than the sums that save it."""


def add(func: Any, a: Any, b: Any, *, alpha: float = 1) -> Tensor:
    """y = a + alpha·b, and so for each derivative."""
    y0 = func(value(a), value(b), alpha=alpha)
    return _added(y0, a, b, left=1, right=alpha)


def _subtract(func: Any, a: Any, b: Any, *, alpha: float = 1) -> Tensor:
    return _added(func(value(a), value(b), alpha=alpha), a, b, left=1, right=-alpha)


def _subtract_from(func: Any, a: Any, b: Any, alpha: float = 1) -> Tensor:
    return _added(func(value(a), value(b), alpha), a, b, left=-alpha, right=1)


def _added(y0: Tensor, a: Any, b: Any, *, left: float, right: float) -> Tensor:
    derivatives = []
    for p, q in zip(parts(a)[1:], parts(b)[1:], strict=True):
        scaled = plus(None, aligned(p, y0.dim()), alpha=left)
        derivatives.append(filled(plus(scaled, aligned(q, y0.dim()), alpha=right), y0.shape))
    return jet(y0, *derivatives)


def multiply(func: Any, a: Any, b: Any) -> Tensor:
    """y = a·b: y1 = a1·b + a·b1, y2 = a2·b + 2·a1·b1 + a·b2."""
    y0: Tensor = func(value(a), value(b))
    a0, a1, a2 = value(a), *(aligned(t, y0.dim()) for t in parts(a)[1:])
    b0, b1, b2 = value(b), *(aligned(t, y0.dim()) for t in parts(b)[1:])
    if a is b:
        return curved(y0, a, 2 * a0, 2.0)
    y1 = _accumulated(times(a1, b0), a0, b1)
    y2 = _accumulated(_accumulated(times(a2, b0), a0, b2), a1, b1, twice=True)
    return jet(y0, filled(y1, y0.shape), filled(y2, y0.shape))


def _accumulated(total: Tangent, a: Any, b: Any, *, twice: bool = False) -> Tangent:
    """total + a·b, or + 2·a·b, into the memory of `total` where it is large enough: nobody else has seen it."""
    if a is None or b is None:
        return total
    if total is None:
        product: Tensor = a * b
        return product.mul_(2) if twice else product
    fits = isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype == b.dtype == total.dtype
    if fits and total.dim() >= max(a.dim(), b.dim()) and _covers(total, a) and _covers(total, b):
        return total.addcmul_(a, b, value=2 if twice else 1)
    grown: Tensor = total + (2 * a * b if twice else a * b)
    return grown


def _covers(total: Tensor, t: Tensor) -> bool:
    """Whether t broadcasts to the shape of the total, dimension by dimension from the last."""
    return all(size in (1, full) for size, full in zip(t.shape[::-1], total.shape[::-1], strict=False))


def _divide(func: Any, a: Any, b: Any, **kwargs: Any) -> Tensor:
    """y = a/b: y1 = (a1 − y·b1)/b, y2 = (a2 − 2·y1·b1 − y·b2)/b. A quotient that is rounded does not move."""
    y0: Tensor = func(value(a), value(b), **kwargs)
    if kwargs.get("rounding_mode") is not None:
        return y0
    a1, a2 = (aligned(t, y0.dim()) for t in parts(a)[1:])
    b0, b1, b2 = value(b), *(aligned(t, y0.dim()) for t in parts(b)[1:])
    y1 = moved(plus(a1, times(y0, b1), alpha=-1), lambda t: t / b0)
    rest = plus(plus(a2, times(y1, b1), alpha=-2), times(y0, b2), alpha=-1)
    return jet(y0, filled(y1, y0.shape), filled(moved(rest, lambda t: t / b0), y0.shape))


def _tensor_power(func: Any, a: Any, b: Any) -> Tensor:
    """With an exponent, or a base, that does not move."""
    y0 = func(value(a), value(b))
    if parts(b)[1] is None and parts(b)[2] is None and value(a).shape == y0.shape:
        return curved(y0, a, *DERIVATIVES[aten.pow.Tensor_Scalar](value(a), y0, value(b)))
    if parts(a)[1] is None and parts(a)[2] is None and value(b).shape == y0.shape:
        log = torch.log(torch.as_tensor(value(a), dtype=y0.dtype, device=y0.device))
        return curved(y0, b, y0 * log, y0 * log * log)
    raise MissingRuleError(f"{func} with a base and an exponent that both depend on the weights")


def _matrix_product(func: Any, a: Tensor, b: Tensor) -> Tensor:
    """(n, d)(d, m): with a matrix that all share, directions and rows are one axis."""
    a0, a1, a2 = parts(a)
    b0, b1, b2 = parts(b)
    k = count(a, b)

    def shared_right(t: Tangent) -> Tangent:
        return None if t is None else torch.mm(t.reshape(-1, t.shape[-1]), b0).view(k, -1, b0.shape[1])

    if a1 is not None and b1 is not None and b2 is None and min(*a0.shape, b0.shape[1]) >= LARGE:
        return _in_three_products(func(a0, b0), a=(a0, a1, a2), b=(b0, b1))
    left = a0.expand(k, *a0.shape)
    y1 = _batched(shared_right(a1), left, b1)
    y2 = _batched(_batched(shared_right(a2), a1, b1, twice=True), left, b2)
    return jet(func(a0, b0), y1, y2)


def _in_three_products(y0: Tensor, *, a: tuple[Tensor, Tensor, Tangent], b: tuple[Tensor, Tensor]) -> Tensor:
    """The jet of (n, d)(d, m) where b bends not, by three products a direction in place of four.

        p = a1·b1,    y1 = ((a0 + s·a1)(b0 + s·b1) − y0)/s − s·p,    y2 = a2·b0 + 2p

    For any s. The rounding of y1 is ε(‖y0‖/s + s‖p‖), least at s² = ‖y0‖/‖p‖, where it is about ε times the geometric
    mean of ‖a1·b0‖ and ‖a0·b1‖, of which y1 is the sum.

    Source: Karatsuba and Ofman (1962).
    """
    (a0, a1, a2), (b0, b1) = a, b
    p = torch.bmm(a1, b1)
    s = (y0.norm() / p.flatten(1).norm(dim=1)).sqrt().view(-1, 1, 1)
    s = torch.where(s.isfinite() & (s > 0), s, 1.0)
    left, right = torch.addcmul(a0, a1, s), torch.addcmul(b0, b1, s)
    y1 = torch.baddbmm(y0, left, right, beta=-1).div_(s).addcmul_(p, s, value=-1)
    if a2 is None:
        return jet(y0, y1, p.mul_(2))
    p.view(-1, p.shape[-1]).addmm_(a2.reshape(-1, a2.shape[-1]), b0, beta=2)
    return jet(y0, y1, p)


def _batched(total: Tangent, a: Tangent, b: Tangent, *, twice: bool = False) -> Tangent:
    """total + a·b (or + 2·a·b), matrix by matrix, into the memory of `total`."""
    if a is None or b is None:
        return total
    if total is None:
        product = torch.bmm(a, b)
        return product.mul_(2) if twice else product
    return total.baddbmm_(a, b, alpha=2 if twice else 1)


def _batched_product(func: Any, a: Tensor, b: Tensor) -> Tensor:
    """(B, n, d)(B, d, m). A matrix that all share is not copied K times: hence one product for each direction."""
    a0, a1, a2 = parts(a)
    b0, b1, b2 = parts(b)
    y0: Tensor = func(a0, b0)
    k = count(a, b)

    def total(*terms: tuple[Tangent, Tangent, int]) -> Tangent:
        present = [(p, q, factor) for p, q, factor in terms if p is not None and q is not None]
        if not present:
            return None
        out = y0.new_empty(k, *y0.shape)
        for i, (p, q, factor) in enumerate(present):
            for j in range(k):
                left, right = (t[j] if t.dim() == 4 else t for t in (p, q))
                torch.baddbmm(out[j], left, right, beta=int(i > 0), alpha=factor, out=out[j])
        return out

    return jet(y0, total((a1, b0, 1), (a0, b1, 1)), total((a2, b0, 1), (a1, b1, 2), (a0, b2, 1)))


def _plus_product(product_rule: Rule, plain: Any) -> Rule:
    """addmm and baddbmm: beta·c + alpha·(a·b)."""

    def rule(_: Any, c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        moves = any(isinstance(t, Jet) for t in (a, b))
        product = product_rule(plain, a, b) if moves else plain(a, b)
        scaled = product if alpha == 1 else multiply(aten.mul.Tensor, product, alpha)
        return add(aten.add.Tensor, scaled, c, alpha=beta)

    return rule


def _matrix_vector(func: Any, a: Tensor, v: Tensor) -> Tensor:
    column = linear(value(v).unsqueeze(-1), v, lambda t: t.unsqueeze(-1))
    product = _matrix_product(aten.mm.default, a, column)
    return linear(func(value(a), value(v)), product, lambda t: t.squeeze(-1))


def _dot(func: Any, u: Tensor, v: Tensor) -> Tensor:
    return linear(func(value(u), value(v)), multiply(aten.mul.Tensor, u, v), lambda t: t.sum(-1))


def _convolution(func: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *args: Any) -> Tensor:
    """With shared filters, directions and examples are one axis; a direction's own filters are applied in turn."""
    x0, x1, x2 = parts(x)
    w0, w1, w2 = parts(weight)
    y0: Tensor = func(x0, w0, value(bias), *args)
    k = count(x, weight, bias)

    def shared(t: Tangent) -> Tangent:
        return None if t is None else func(t.flatten(0, 1), w0, None, *args).unflatten(0, t.shape[:2])

    def own(total: Tangent, inputs: Callable[[int], Tensor], filters: Tangent, factor: int) -> Tangent:
        if filters is None:
            return total
        if total is None:
            total = y0.new_zeros(k, *y0.shape)
        for j in range(k):
            total[j].add_(func(inputs(j), filters[j], None, *args), alpha=factor)
        return total

    y1 = own(shared(x1), lambda _: x0, w1, 1)
    y2 = own(shared(x2), lambda _: x0, w2, 1)
    if x1 is not None:
        y2 = own(y2, lambda j: x1[j], w1, 2)
    channels = (1,) * (y0.dim() - 2)
    b1, b2 = (moved(t, lambda s: s.reshape(k, 1, -1, *channels)) for t in parts(bias)[1:])
    return jet(y0, filled(plus(y1, b1), y0.shape), filled(plus(y2, b2), y0.shape))


RULES: dict[Any, Rule] = {
    **dict.fromkeys(overloads("add.Tensor", "add.Scalar"), add),
    **dict.fromkeys(overloads("sub.Tensor", "sub.Scalar"), _subtract),
    aten.rsub.Scalar: _subtract_from,
    **dict.fromkeys(overloads("mul.Tensor", "mul.Scalar"), multiply),
    **dict.fromkeys(overloads("div.Tensor", "div.Scalar", "div.Tensor_mode", "div.Scalar_mode"), _divide),
    **dict.fromkeys(overloads("pow.Tensor_Tensor", "pow.Scalar"), _tensor_power),
    aten.mm.default: _matrix_product,
    aten.bmm.default: _batched_product,
    aten.addmm.default: _plus_product(_matrix_product, aten.mm.default),
    aten.baddbmm.default: _plus_product(_batched_product, aten.bmm.default),
    aten.mv.default: _matrix_vector,
    aten.dot.default: _dot,
    aten.convolution.default: _convolution,
}
