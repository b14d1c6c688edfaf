"""Directional sharpness in its plainest form: what every engine of this package has to agree with."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from clipbench.geometry.contexts import math_attention


def sharpness_by_double_backward(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], direction: Sequence[Tensor]
) -> float:
    """The curvature of a loss along u: uᵀHu/‖u‖², with H = ∇²L and Hu = ∇(∇L·u).

    Two backward passes, and nothing that makes it fast or safe. `directional_curvature` gives the same number for
    several directions at once, checks it, and leaves the model as it was.

    Args:
        loss: computes the loss, a scalar, from the parameters.
        parameters: tensors that require a gradient. In float64 the result has 1e-15 of its terms, in float32 1e-7.
        direction: u, a tensor for each parameter; its length does not matter.

    Returns:
        The loss's unit over the parameters' unit squared; NaN for a direction of zeros.

    The loss 3x² + y² has the curvature 6 along x, 2 along y, and 4 between them:

    >>> x, y = (torch.tensor(1.0, dtype=torch.float64, requires_grad=True) for _ in range(2))
    >>> one, zero = torch.tensor(1.0), torch.tensor(0.0)
    >>> [sharpness_by_double_backward(lambda: 3 * x**2 + y**2, [x, y], u) for u in ([one, zero], [zero, one])]
    [6.0, 2.0]
    >>> sharpness_by_double_backward(lambda: 3 * x**2 + y**2, [x, y], [one, one])
    4.0

    Source: Pearlmutter (1994), Neural Computation 6.
    """

    def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
        return torch.stack([(a * b).sum(dtype=torch.float64) for a, b in zip(left, right, strict=True)]).sum()

    with math_attention():
        gradient = torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)
        slope = inner(gradient, direction)
        if not slope.requires_grad:  # the loss is linear
            return 0.0
        product = torch.autograd.grad(slope, parameters, materialize_grads=True)
    length = float(inner(direction, direction))
    return float(inner(product, direction)) / length if length else math.nan
