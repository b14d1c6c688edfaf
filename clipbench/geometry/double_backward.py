"""Slope and curvature by differentiating the gradient: one gradient with its graph, one product a direction."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.directions import UnitDirections
from clipbench.geometry.found import Carried, Rows
from clipbench.geometry.losses import WHERE, require_dependent, require_finite_scalar
from clipbench.geometry.memory import is_out_of_memory
from clipbench.geometry.products import inner, norm

WRONG = {"aten._weight_norm_interface.default": "weight normalisation"}
"""Operations whose second derivative by torch's double backward is wrong without an error, as of torch 2.13."""


class NoSecondDerivativeError(ClipbenchError):
    """An operation on the way from the weights to the loss has no second derivative in torch."""


class _Refusal(TorchDispatchMode):
    """Inside, an operation that double backward gets wrong is an error."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func) in WRONG:
            raise ClipbenchError(
                f"the second derivative of {WRONG[str(func)]} ({func}) is wrong in torch's double backward",
                where=WHERE,
                remedy="fold it into the weights first: torch.nn.utils.parametrize.remove_parametrizations",
            )
        return func(*args, **(kwargs or {}))


def gradient_with_graph(
    model: nn.Module, loss: Loss, batch: Batch, parameters: Sequence[nn.Parameter], *, index: int
) -> tuple[Tensor, list[Tensor]]:
    """The loss of batch `index`, and ∇L with its graph; zero for a parameter that takes no part.

    Raises:
        ClipbenchError: a loss that is not a scalar or does not depend on the weights, or an operation whose second
            derivative torch gets wrong.
        NonFiniteLossError: a loss of NaN or infinity.
    """
    with _Refusal():  # type: ignore[no-untyped-call]
        batch_loss = loss(model, batch)
    require_finite_scalar(batch_loss, index)
    require_dependent(batch_loss, index)
    gradient = torch.autograd.grad(batch_loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True)
    return batch_loss.detach(), list(gradient)


def hessian_times(v: Sequence[Tensor], gradient: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Hv = ∇(gᵀv). A gradient that is constant in the weights has no graph and adds nothing.

    Raises:
        NoSecondDerivativeError: torch cannot differentiate the gradient; its words name the operation.

    Source: Pearlmutter (1994), Neural Computation 6.
    """
    bends = [(g, u) for g, u in zip(gradient, v, strict=True) if g.requires_grad]
    if not bends:
        return [torch.zeros_like(p) for p in parameters]
    outputs, weights = zip(*bends, strict=True)
    _require_no_dead_end(outputs)
    try:
        product = torch.autograd.grad(
            outputs, parameters, grad_outputs=weights, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise NoSecondDerivativeError(
            f"the loss has no second derivative by double backward: {str(error).splitlines()[0]}",
            where=WHERE,
            remedy='write the operation by simpler ones, or use engine="jets" if it has a rule for it',
        ) from error
    return list(product)


def _require_no_dead_end(gradient: Sequence[Tensor]) -> None:
    """Refuse a gradient that went through a function marked once_differentiable.

    Torch ends the gradient's graph there in an error. But nothing beyond it leads to the weights, so that torch never
    comes to it, and silently takes that part of the second derivative for zero.
    """
    nodes = [g.grad_fn for g in gradient]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node is None:
            continue
        if node.name() == "torch::autograd::Error":
            raise NoSecondDerivativeError(
                "the loss has no second derivative by double backward: it runs an autograd.Function that is marked "
                "once_differentiable",
                where=WHERE,
                remedy="take the mark off, if its backward is made of differentiable operations",
            )
        further = {parent for parent, _ in node.next_functions} - seen
        seen |= further
        nodes += further


def by_double_backward(model: nn.Module, loss: Loss, batches: Sequence[Batch], units: UnitDirections) -> Carried:
    """The loss of each batch, and for each batch (slope, curvature) along each direction; no operations are noted."""
    parameters = list(units.parameters.values())
    device = parameters[0].device
    losses: list[float] = []
    rows: Rows = []
    for i, batch in enumerate(batches):
        value, gradient = gradient_with_graph(model, loss, batch.to(device), parameters, index=i)
        row = []
        for k in range(len(units)):
            v = units.unit(k)
            length = norm(v)  # 1, but for the rounding to the parameters' dtype
            slope = inner(gradient, v) / length
            row.append((slope, inner(hessian_times(v, gradient, parameters), v) / length**2))
        losses.append(float(value))
        rows.append(row)
    return Carried(losses, rows, [set() for _ in batches])
