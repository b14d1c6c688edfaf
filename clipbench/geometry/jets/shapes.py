"""Rules for operations that move numbers about and change none: derivatives are moved as the value is."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clipbench.geometry.jets.jet import (
    MissingRuleError,
    Rule,
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


def _as_is(func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Elementwise, or on the last dimensions only."""

    def by(t: Tensor) -> Tensor:
        out: Tensor = func(t, *args, **kwargs)
        return out

    return linear(by(value(x)), x, by)


def _along(func: Any, x: Tensor, *args: Any, places: Sequence[int] = (0,), defaults: Sequence[int] = ()) -> Any:
    """With dimensions as arguments `places`; those not given have `defaults`."""
    filled_in = [*args, *defaults[len(args) :]]
    for place in places:
        filled_in[place] = negative(filled_in[place], x.dim())
    return _several(func, x, filled_in)


def _several(func: Any, x: Tensor, args: Sequence[Any]) -> Any:
    """Of one or of several outputs."""
    x0, x1, x2 = parts(x)
    y0 = func(x0, *args)
    y1, y2 = (None if t is None else func(t, *args) for t in (x1, x2))
    if isinstance(y0, Tensor):
        return jet(y0, y1, y2)
    nothing = [None] * len(y0)
    return [jet(*each) for each in zip(y0, y1 or nothing, y2 or nothing, strict=True)]


def _unsqueeze(func: Any, x: Tensor, dim: int) -> Tensor:
    return linear(func(value(x), dim), x, lambda t: func(t, negative(dim, x.dim() + 1)))


def _reshaped(func: Any, x: Tensor, *args: Any) -> Tensor:
    """The shape is read off the value; a derivative may have strides that need a copy where the value's do not."""
    y0 = func(value(x), *args)
    return linear(y0, x, lambda t: t.reshape(t.shape[0], *y0.shape))


def _expand(func: Any, x: Tensor, size: Sequence[int], **kwargs: Any) -> Tensor:
    y0 = func(value(x), size, **kwargs)
    _, x1, x2 = parts(x)
    return jet(y0, filled(aligned(x1, y0.dim()), y0.shape), filled(aligned(x2, y0.dim()), y0.shape))


def _permute(func: Any, x: Tensor, dims: Sequence[int]) -> Tensor:
    behind = [negative(dim, x.dim()) for dim in dims]
    return linear(func(value(x), dims), x, lambda t: func(t, [0, *behind]))


def _transposed_matrix(func: Any, x: Tensor) -> Tensor:
    return linear(func(value(x)), x, lambda t: t.transpose(-1, -2) if x.dim() == 2 else t)


def _listed(func: Any, x: Tensor, dims: Sequence[int], *args: Any) -> Tensor:
    return _several(func, x, [[negative(dim, x.dim()) for dim in dims], *args])  # type: ignore[no-any-return]


def _roll(func: Any, x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    if dims:
        return _several(func, x, [shifts, [negative(dim, x.dim()) for dim in dims]])  # type: ignore[no-any-return]
    y0 = func(value(x), shifts)
    return linear(y0, x, lambda t: t.flatten(1).roll(tuple(shifts), 1).reshape(t.shape))


def _repeat(func: Any, x: Tensor, repeats: Sequence[int]) -> Tensor:
    y0 = func(value(x), repeats)

    def by(t: Tensor) -> Tensor:
        widened = aligned(t, len(repeats))
        return widened.repeat(1, *repeats) if widened is not None else t

    return linear(y0, x, by)


def _joined(func: Any, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """cat and stack: where one of the pieces moves, the others have zeros."""
    pieces = [tensor for tensor in tensors if tensor.shape != (0,)]  # cat lets an empty vector pass for any shape
    y0 = func([value(tensor) for tensor in tensors], dim)
    at, k = negative(dim, y0.dim()), count(*pieces)

    def by(order: int) -> Tensor | None:
        derivatives = [parts(piece)[order] for piece in pieces]
        if all(d is None for d in derivatives):
            return None
        zeros = [
            value(p).new_zeros(()).expand(k, *p.shape) if d is None else d
            for p, d in zip(pieces, derivatives, strict=True)
        ]
        out: Tensor = func(zeros, at)
        return out

    return jet(y0, by(1), by(2))


def _cast(func: Any, x: Tensor, **kwargs: Any) -> Tensor:
    """To whole numbers it is a constant, as it is for a gradient."""
    y0: Tensor = func(value(x), **kwargs)
    if not y0.is_floating_point():
        return y0
    plain = {name: choice for name, choice in kwargs.items() if name != "memory_format"}  # of so many dimensions
    return linear(y0, x, lambda t: func(t, **plain))


def _clone(func: Any, x: Tensor, *, memory_format: torch.memory_format | None = None) -> Tensor:
    return linear(func(value(x), memory_format=memory_format), x, lambda t: t)


def _folded(func: Any, x: Tensor, *args: Any, batched: int = 4, **kwargs: Any) -> Tensor:
    """Linear, and by example: directions and examples are one axis. Without a batch the K axis takes its place."""
    y0 = func(value(x), *args, **kwargs)
    if x.dim() < batched:
        return linear(y0, x, lambda t: func(t, *args, **kwargs))
    return linear(y0, x, lambda t: func(t.flatten(0, 1), *args, **kwargs).unflatten(0, t.shape[:2]))


def _squeeze_all(func: Any, x: Tensor) -> Tensor:
    y0 = func(value(x))
    return linear(y0, x, lambda t: t.reshape(t.shape[0], *y0.shape))


def _unfolded(func: Any, x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    at = negative(dimension, x.dim())
    return linear(func(value(x), dimension, size, step), x, lambda t: func(t, at, size, step))


def _flip(func: Any, x: Tensor, dims: Sequence[int]) -> Tensor:
    return _listed(func, x, dims)


def _detached(func: Any, x: Tensor) -> Tensor:
    """A constant from here on, as it is for a gradient.

    But where the loss itself differentiates, autograd detaches the outputs that it keeps for its own backward pass, and
    these do move.
    """
    if x.requires_grad:
        raise MissingRuleError("autograd.grad inside the loss")
    out: Tensor = func(value(x))
    return out


def _diagonal(func: Any, x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    first, second = negative(dim1, x.dim()), negative(dim2, x.dim())
    return linear(func(value(x), offset, dim1, dim2), x, lambda t: func(t, offset, first, second))


RULES: dict[Any, Rule] = {
    **dict.fromkeys((aten.view.default, aten._unsafe_view.default), _reshaped),
    aten.expand.default: _expand,
    aten.permute.default: _permute,
    aten.t.default: _transposed_matrix,
    aten.transpose.int: partial(_along, places=(0, 1)),
    aten.unsqueeze.default: _unsqueeze,
    aten.squeeze.default: _squeeze_all,
    aten.squeeze.dim: _along,
    aten.squeeze.dims: _listed,
    aten.select.int: _along,
    aten.slice.Tensor: partial(_along, defaults=(0,)),
    **dict.fromkeys(
        (aten.split.Tensor, aten.split_with_sizes.default, aten.unsafe_split.Tensor),
        partial(_along, places=(1,), defaults=(0, 0)),
    ),
    aten.unbind.int: partial(_along, defaults=(0,)),
    aten.cumsum.default: _along,
    aten.flip.default: _flip,
    aten.roll.default: _roll,
    aten.repeat.default: _repeat,
    aten.diagonal.default: _diagonal,
    aten.unfold.default: _unfolded,
    **dict.fromkeys((aten.cat.default, aten.stack.default), _joined),
    aten._to_copy.default: _cast,
    aten.clone.default: _clone,
    aten.detach.default: _detached,
    aten.alias.default: _as_is,
    **dict.fromkeys((aten.tril.default, aten.triu.default, aten.constant_pad_nd.default), _as_is),
    **dict.fromkeys(
        (
            aten.avg_pool2d.default,
            aten._adaptive_avg_pool2d.default,
            aten.im2col.default,
            aten.upsample_nearest2d.default,
            aten.upsample_bilinear2d.default,
            aten.reflection_pad2d.default,
            aten.replication_pad2d.default,
            aten.pixel_shuffle.default,
        ),
        _folded,
    ),
    **dict.fromkeys((aten.reflection_pad1d.default, aten.replication_pad1d.default), partial(_folded, batched=3)),
}
