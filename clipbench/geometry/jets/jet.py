"""A tensor with its first two derivatives along K directions, and the arithmetic of derivatives that may be absent."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from clipbench.errors import ClipbenchError

Tangent = Tensor | None
"""A derivative of shape (K, *shape of the value); None is exactly zero, and costs nothing."""

Rule = Callable[..., Any]
"""`rule(func, *args, **kwargs)`: what the operation `func` gives where some of its arguments are jets."""


class MissingRuleError(ClipbenchError):
    """An operation on the way from the weights to the loss has no rule for jets; `operation` is its name."""

    def __init__(self, operation: str) -> None:
        super().__init__(
            f"no rule for the operation {operation}",
            where="second-order jets",
            remedy='use engine="double_backward", or engine="auto", which does so by itself',
        )
        self.operation = operation


class Jet(Tensor):
    """A value that moves: x(t) ≈ x0 + t·x1 + ½t²·x2 along each of K directions, with x0 shared by all.

    Args:
        x0: the value; the jet has its shape, dtype, strides and device.
        x1: the first derivatives (K, *shape), or None for zeros.
        x2: the second derivatives (K, *shape), or None for zeros.

    Source: Taylor-mode automatic differentiation, Griewank and Walther (2008), Evaluating Derivatives, ch. 13.
    """

    x0: Tensor
    x1: Tangent
    x2: Tangent
    shared: bool  # whether another tensor may look at the same memory: then it cannot be changed in place

    @staticmethod
    def __new__(cls, x0: Tensor, x1: Tangent, x2: Tangent) -> Self:
        """A jet of this value and these derivatives, cast to the value's dtype."""
        jet: Self = torch.Tensor._make_wrapper_subclass(
            cls, x0.shape, strides=x0.stride(), dtype=x0.dtype, device=x0.device
        )
        jet.x0, jet.shared = x0, False
        jet.x1, jet.x2 = (t if t is None or t.dtype == x0.dtype else t.to(x0.dtype) for t in (x1, x2))
        return jet

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch passes the operation first
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise MissingRuleError(f"{func}, which met a jet outside its propagation")

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Jet({tuple(self.shape)}, {self.dtype})"


def jet(x0: Tensor, x1: Tangent, x2: Tangent) -> Tensor:
    """A jet, or the plain value where nothing moves."""
    return x0 if x1 is None and x2 is None else Jet(x0, x1, x2)


def parts(x: Any) -> tuple[Any, Tangent, Tangent]:
    """Value, first and second derivatives of a jet; a plain tensor or a number does not move."""
    return (x.x0, x.x1, x.x2) if isinstance(x, Jet) else (x, None, None)


def value(x: Any) -> Any:
    """The value of a jet, or the thing itself."""
    return x.x0 if isinstance(x, Jet) else x


def count(*xs: Any) -> int:
    """K, the number of directions."""
    return next(t.shape[0] for x in xs if isinstance(x, Jet) for t in (x.x1, x.x2) if t is not None)


def moved(tangent: Tangent, by: Callable[[Tensor], Tensor]) -> Tangent:
    """A linear map of a derivative; of zero it is zero."""
    return None if tangent is None else by(tangent)


def linear(y0: Tensor, x: Tensor, by: Callable[[Tensor], Tensor]) -> Tensor:
    """The jet of an operation that is linear in x: derivatives go through it as the value does."""
    _, x1, x2 = parts(x)
    return jet(y0, moved(x1, by), moved(x2, by))


def plus(a: Tangent, b: Tangent, *, alpha: float = 1) -> Tangent:
    """a + alpha·b, where both have the same number of dimensions."""
    if b is None:
        return a
    if a is None:
        return b if alpha == 1 else b * alpha
    return torch.add(a, b, alpha=alpha)


def times(a: Any, b: Any) -> Tangent:
    """a·b, where either may be absent."""
    return None if a is None or b is None else a * b


def aligned(tangent: Tangent, dimensions: int) -> Tangent:
    """With ones after the K axis, so that the rest broadcasts as values of so many dimensions do."""
    if tangent is None or tangent.dim() == dimensions + 1:
        return tangent
    ones = (1,) * (dimensions + 1 - tangent.dim())
    return tangent.reshape(tangent.shape[0], *ones, *tangent.shape[1:])


def filled(tangent: Tangent, shape: Sequence[int]) -> Tangent:
    """Broadcast to (K, *shape)."""
    if tangent is None or tangent.shape[1:] == torch.Size(shape):
        return tangent
    return tangent.expand(tangent.shape[0], *shape)


def negative(dimension: int, dimensions: int) -> int:
    """The same dimension counted from the end: the K axis in front does not shift it."""
    dimensions = max(dimensions, 1)
    return dimension % dimensions - dimensions
