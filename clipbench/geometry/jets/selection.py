"""Rules for operations that pick numbers: look-ups, masks, extremes and max-pooling."""

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
    negative,
    parts,
    value,
)

aten = torch.ops.aten


def _embedding(func: Any, weight: Tensor, index: Tensor, padding: int = -1, *args: Any) -> Tensor:
    """The row of the padding is a constant, as it is for a gradient."""
    y0 = func(value(weight), index, padding, *args)
    if padding < 0:
        return linear(y0, weight, lambda t: t[:, index])
    padded = (index == padding).unsqueeze(-1)
    return linear(y0, weight, lambda t: t[:, index].masked_fill_(padded, 0))


def _gather(func: Any, x: Tensor, dim: int, index: Tensor, **kwargs: Any) -> Tensor:
    at = negative(dim, x.dim())
    y0 = func(value(x), dim, index, **kwargs)
    return linear(y0, x, lambda t: t.gather(at, index.expand(len(t), *index.shape)))


def _index_select(func: Any, x: Tensor, dim: int, index: Tensor) -> Tensor:
    return linear(func(value(x), dim, index), x, lambda t: func(t, negative(dim, x.dim()), index))


def _index(func: Any, x: Tensor, indices: list[Tensor | None]) -> Tensor:
    """The K axis stays in front but where the indices have a gap."""
    y0 = func(value(x), indices)

    def by(t: Tensor) -> Tensor:
        return torch.stack([func(each, indices) for each in t]) if _gap(indices) else func(t, [None, *indices])

    return linear(y0, x, by)


def _gap(indices: list[Tensor | None]) -> bool:
    """Whether there are dimensions between the indexed ones: then those of the result come first."""
    places = [place for place, index in enumerate(indices) if index is not None]
    return places[-1] - places[0] >= len(places)


def _where(func: Any, condition: Tensor, a: Any, b: Any) -> Tensor:
    y0: Tensor = func(condition, value(a), value(b))
    zero = y0.new_zeros(())

    def by(order: int) -> Tangent:
        p, q = aligned(parts(a)[order], y0.dim()), aligned(parts(b)[order], y0.dim())
        if p is None and q is None:
            return None
        return filled(torch.where(condition, zero if p is None else p, zero if q is None else q), y0.shape)

    return jet(y0, by(1), by(2))


def _masked_fill(func: Any, x: Tensor, mask: Tensor, filling: Any) -> Tensor:
    """What is filled in by a number does not move; by a tensor that moves, it is a choice between the two."""
    if isinstance(filling, Jet):
        return _where(aten.where.self, mask, filling, x)
    y0 = func(value(x), mask, filling)
    _, x1, x2 = (filled(aligned(t, y0.dim()), y0.shape) if i else t for i, t in enumerate(parts(x)))
    return jet(y0, *(None if t is None else t.masked_fill(mask, 0) for t in (x1, x2)))


def _larger(func: Any, a: Tensor, b: Tensor) -> Tensor:
    """maximum and minimum: where the two are equal, half of each, as a gradient has it."""
    y0 = func(value(a), value(b))
    share: Tensor = (value(a) == y0).to(y0.dtype) - 0.5 * (value(a) == value(b)).to(y0.dtype)

    def by(order: int) -> Tangent:
        p, q = aligned(parts(a)[order], y0.dim()), aligned(parts(b)[order], y0.dim())
        if q is None:
            return None if p is None else p * share
        if p is None:
            return q * (1 - share)
        return q + (p - q) * share

    return jet(y0, filled(by(1), y0.shape), filled(by(2), y0.shape))


def _extreme_along(func: Any, x: Tensor, dim: int, *args: Any) -> Any:
    """max, min and the like with the places where they are."""
    y0, places = func(value(x), dim, *args)
    at = negative(dim, x.dim())
    index = places if y0.dim() == x.dim() else places.unsqueeze(at)

    def by(t: Tensor) -> Tensor:
        return t.gather(at, index.expand(len(t), *index.shape)).reshape(len(t), *y0.shape)

    return linear(y0, x, by), places


def _sorted(func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """sort and topk along one dimension, the last if none is named."""
    y0, places = func(value(x), *args, **kwargs)
    dims = args[1:2] if func is aten.topk.default else args[:1]
    at = negative(dims[0] if dims else kwargs.get("dim", -1), x.dim())
    return linear(y0, x, lambda t: t.gather(at, places.expand(len(t), *places.shape))), places


def _extremes(func: Any, x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """amax and amin: equal shares where several are largest, as a gradient has it."""
    over = tuple(negative(d, x.dim()) for d in (dim or range(x.dim())))
    kept = func(value(x), over, True)
    mask = (value(x) == kept).to(x.dtype)
    share = mask / mask.sum(over, keepdim=True)
    return linear(func(value(x), over, keepdim), x, lambda t: (t * share).sum(over, keepdim=keepdim))


def _max_pool(func: Any, x: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    """The place of the largest does not move: derivatives are read off there."""
    y0, places = func(value(x), *args)
    pixels = 2 if func is aten.max_pool2d_with_indices.default else 3

    def by(t: Tensor) -> Tensor:
        flat = places.flatten(-pixels)
        return t.flatten(-pixels).gather(-1, flat.expand(len(t), *flat.shape)).view(len(t), *y0.shape)

    return linear(y0, x, by), places


def _index_add(func: Any, x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    y0: Tensor = func(value(x), dim, index, value(source), alpha=alpha)
    k, at = count(x, source), negative(dim, x.dim())

    def by(order: int) -> Tangent:
        p, q = parts(x)[order], parts(source)[order]
        if q is None:
            return p
        base = q.new_zeros(k, *x.shape) if p is None else p
        out: Tensor = func(base, at, index, q, alpha=alpha)
        return out

    return jet(y0, by(1), by(2))


def _scatter_add(func: Any, x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Each number of the source is added where the index says; some places along the dimension may take several."""
    y0: Tensor = func(value(x), dim, index, value(source))
    if y0.dim() == 0:
        raise MissingRuleError(f"{func}, of a single number")
    k, at = count(x, source), negative(dim, x.dim())

    def by(order: int) -> Tangent:
        p, q = parts(x)[order], parts(source)[order]
        if q is None:
            return p
        base = q.new_zeros(k, *x.shape) if p is None else p
        return base.scatter_add(at, index.expand(k, *index.shape), q)

    return jet(y0, by(1), by(2))


RULES: dict[Any, Rule] = {
    aten.embedding.default: _embedding,
    aten.gather.default: _gather,
    aten.index_select.default: _index_select,
    aten.index.Tensor: _index,
    aten.index_add.default: _index_add,
    aten.scatter_add.default: _scatter_add,
    aten.where.self: _where,
    **dict.fromkeys((aten.masked_fill.Scalar, aten.masked_fill.Tensor), _masked_fill),
    **dict.fromkeys((aten.maximum.default, aten.minimum.default), _larger),
    **dict.fromkeys((aten.max.dim, aten.min.dim), _extreme_along),
    **dict.fromkeys((aten.sort.default, aten.topk.default), _sorted),
    **dict.fromkeys((aten.amax.default, aten.amin.default), _extremes),
    **dict.fromkeys(
        (aten.max.default, aten.min.default),
        lambda func, x: _extremes(aten.amax.default if func is aten.max.default else aten.amin.default, x),
    ),
    **dict.fromkeys((aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default), _max_pool),
}
