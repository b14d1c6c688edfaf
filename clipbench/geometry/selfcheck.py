"""Is it right? What jets say of a model, against ordinary differentiation, wherever they meet an operation anew."""

import math
import weakref
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.directions import UnitDirections, rounding
from clipbench.geometry.double_backward import NoSecondDerivativeError, gradient_with_graph, hessian_times
from clipbench.geometry.jets.forward import Carried
from clipbench.geometry.losses import WHERE
from clipbench.geometry.products import inner, norm


class EnginesDisagreeError(ClipbenchError):
    """Two ways to differentiate the same loss gave different numbers, so at least one of them is wrong.

    - `quantity`: what they differ in: loss, slope or curvature.
    - `ordinary`: what ordinary differentiation says; None where it says nothing of the curvature.
    """

    def __init__(self, message: str, *, quantity: str, ordinary: "Ordinary | None", remedy: str) -> None:
        super().__init__(message, where=WHERE, remedy=remedy)
        self.quantity, self.ordinary = quantity, ordinary


@dataclass(frozen=True)
class Ordinary:
    """The loss of batch `index` by an ordinary pass, its slopes along all directions, and the gradient's length."""

    index: int
    loss: float
    slopes: Sequence[float]
    length: float


@dataclass(frozen=True)
class _Passed:
    """What a model has passed its check with."""

    loss: "weakref.ref[Loss]"
    dtype: torch.dtype
    by: str
    operations: frozenset[Any]


_checked: "weakref.WeakKeyDictionary[nn.Module, list[_Passed]]" = weakref.WeakKeyDictionary()


def was_checked(model: nn.Module, loss: Loss, *, by: str) -> bool:
    """Whether this model object, in its present dtype, has passed with this loss object by this engine before."""
    return bool(_passed(model, loss, by))


def require_agreement(
    model: nn.Module,
    loss: Loss,
    batches: Sequence[Batch],
    units: UnitDirections,
    *,
    carried: Carried,
    by: str,
) -> None:
    """Compare what jets found with ordinary differentiation.

    Only on batches with an operation that no check of this model and loss has had before.

    Raises:
        EnginesDisagreeError: they differ by more than rounding, or double backward has no second derivative to compare
            with.
    """
    passed = _passed(model, loss, by)
    for i, operations in enumerate(carried.operations):
        if not passed or not operations <= set().union(*passed):
            _require_agreement(
                model, loss, batches[i], units, jet_loss=carried.losses[i], jet_row=carried.rows[i], index=i
            )
            passed.append(frozenset(operations))
            _remember(model, loss, by, operations)


def require_repeatable(
    disagreement: EnginesDisagreeError,
    units: UnitDirections,
    losses: Sequence[float],
    rows: Sequence[Sequence[tuple[float, float]]],
) -> None:
    """Whether ordinary differentiation agrees with itself, where jets do not agree with it.

    Else the loss is another one each time that it is computed, and none of its numbers is worth more than the others.

    Args:
        disagreement: what the check found, with the numbers of one ordinary pass.
        units: the directions.
        losses, rows: of all batches, by passes of their own.

    Raises:
        EnginesDisagreeError: the loss is not deterministic.
    """
    once, eps = disagreement.ordinary, rounding(units.parameters)
    if once is None:
        raise disagreement
    pairs = [("loss", once.loss, losses[once.index], abs(once.loss))]
    for name, first, (second, _) in zip(units.names, once.slopes, rows[once.index], strict=True):
        pairs.append((f"slope along {name!r}", first, second, once.length))
    for what, first, second, scale in pairs:
        if not _agree(first, second, eps=eps, scale=scale):
            raise EnginesDisagreeError(
                f"the loss is not deterministic: the {what} is {first:.9g}, and {second:.9g} when it is computed again",
                quantity=disagreement.quantity,
                ordinary=once,
                remedy="have it draw from a generator of its own that starts anew in each call",
            )


def _require_agreement(
    model: nn.Module,
    loss: Loss,
    batch: Batch,
    units: UnitDirections,
    *,
    jet_loss: float,
    jet_row: Sequence[tuple[float, float]],
    index: int,
) -> None:
    """Compare a batch's loss and all its slopes with a backward pass, and the largest curvature with double backward.

    A wrong rule is wrong by far more than rounding. Rounding is relative to the sums that cancel in gᵀv and vᵀHv, which
    are of the order of ‖g‖ and ‖Hv‖, not to what is left of them: √ε of the value and 1000·ε of these norms are
    allowed (float32: 3e-4 and 1e-4), ε being the parameters' rounding.
    """
    parameters = list(units.parameters.values())
    with torch.enable_grad():
        value, gradient = gradient_with_graph(model, loss, batch.to(parameters[0].device), parameters, index=index)
        slopes = [inner(gradient, units.unit(k)) for k in range(len(jet_row))]
        ordinary = Ordinary(index, float(value), slopes, norm(gradient))
        compare = partial(_compare, ordinary=ordinary, eps=rounding(units.parameters))
        compare("loss", "", jet_loss, ordinary.loss, scale=abs(ordinary.loss))
        for name, (slope, _), expected in zip(units.names, jet_row, slopes, strict=True):
            compare("slope", f" along {name!r}", slope, expected, scale=ordinary.length)
        k = max(range(len(jet_row)), key=lambda k: abs(jet_row[k][1]))
        v = units.unit(k)
        try:
            product = hessian_times(v, gradient, parameters)
        except NoSecondDerivativeError as error:
            raise EnginesDisagreeError(
                f"jets have a curvature that nothing checks: {error.message}",
                quantity="curvature",
                ordinary=None,
                remedy="check=False takes it unchecked",
            ) from error
        bend = inner(product, v) / norm(v) ** 2
        compare("curvature", f" along {units.names[k]!r}", jet_row[k][1], bend, scale=norm(product))


def _compare(
    quantity: str, along: str, jets: float, expected: float, *, ordinary: Ordinary, eps: float, scale: float
) -> None:
    if not _agree(expected, jets, eps=eps, scale=scale):
        raise EnginesDisagreeError(
            f"the {quantity}{along} is {jets:.9g} by jets and {expected:.9g} by ordinary differentiation",
            quantity=quantity,
            ordinary=ordinary,
            remedy="a custom autograd.Function or a loss that is not deterministic may be why: then "
            'engine="double_backward" differentiates as training does',
        )


def _passed(model: nn.Module, loss: Loss, by: str) -> list[frozenset[Any]]:
    """The operations of each check that this model and loss have passed."""
    return [
        each.operations
        for each in _checked.get(model, [])
        if each.loss() is loss and (each.dtype, each.by) == (_dtype(model), by)
    ]


def _agree(expected: float, number: float, *, eps: float, scale: float) -> bool:
    if math.isnan(expected) and math.isnan(number):
        return True
    return abs(number - expected) <= math.sqrt(eps) * abs(expected) + 1000 * eps * scale


def _remember(model: nn.Module, loss: Loss, by: str, operations: Collection[Any]) -> None:
    try:
        seen = weakref.ref(loss)
    except TypeError:  # some callables cannot be referred to weakly: they are checked every time
        return
    _checked.setdefault(model, []).append(_Passed(seen, _dtype(model), by, frozenset(operations)))


def _dtype(model: nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype
