"""Is it right? What jets say of a model, against ordinary differentiation, wherever they meet an operation anew."""

import math
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.contexts import full_float32, rounds
from clipbench.geometry.directions import UnitDirections, rounding
from clipbench.geometry.double_backward import (
    NoSecondDerivativeError,
    by_double_backward,
    gradient_with_graph,
    hessian_times,
)
from clipbench.geometry.found import Carried
from clipbench.geometry.losses import WHERE
from clipbench.geometry.memory import is_out_of_memory
from clipbench.geometry.products import inner, norm
from clipbench.geometry.splitting import first_examples


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
    """The loss of a batch by an ordinary pass, its slopes along all directions, and the gradient's length."""

    batch: Batch
    loss: float
    slopes: Sequence[float]
    length: float


@dataclass(frozen=True)
class SelfCheck:
    """What is checked: how an engine `by` that name differentiates the loss of a model along some directions.

    - `carry`: what the engine finds on batches.
    """

    model: nn.Module
    loss: Loss
    units: UnitDirections
    by: str
    carry: Callable[[Sequence[Batch]], Carried]


@dataclass(frozen=True)
class _Passed:
    """What a model has passed its check with; `unchecked` says why it was let pass without."""

    loss: "weakref.ref[Loss]"
    dtype: torch.dtype
    by: str
    operations: frozenset[Any]
    unchecked: str


_checked: "weakref.WeakKeyDictionary[nn.Module, list[_Passed]]" = weakref.WeakKeyDictionary()


UNCHECKED = "unchecked: there is no memory for double backward"


def was_checked(model: nn.Module, loss: Loss, *, by: str) -> bool:
    """Whether this model object, in its present dtype, has passed with this loss object by this engine before."""
    return bool(_passed(model, loss, by))


def require_agreement(check: SelfCheck, batches: Sequence[Batch], carried: Carried) -> str:
    """Compare what jets found with ordinary differentiation.

    Only on batches with an operation that no check of this model and loss has had before. A wrong rule is wrong on a
    few examples as on all of them, so it is a few that are compared: unless they go through fewer operations than all
    do, or have hardly any slope or curvature, or the loss refuses them.

    Args:
        check: what is checked.
        batches: those that were measured.
        carried: what jets found on them.

    Returns:
        Why a batch could not be checked; empty if all were, now or before.

    Raises:
        EnginesDisagreeError: they differ by more than rounding, or double backward has no second derivative to compare
            with.
    """
    passed = _passed(check.model, check.loss, check.by)
    known = set().union(*(each.operations for each in passed))
    unchecked = [each.unchecked for each in passed if each.unchecked]
    for i, operations in enumerate(carried.operations):
        if (passed or i > 0) and operations <= known:
            continue
        whole = Carried([carried.losses[i]], [carried.rows[i]], [operations])
        with full_float32():
            why = _checked_batch(check, batches[i], whole, known)
        unchecked += [why] if why else []
        known |= operations
        _remember(check, operations, why)
    return unchecked[0] if unchecked else ""


def _checked_batch(check: SelfCheck, batch: Batch, whole: Carried, known: Collection[Any]) -> str:
    """Compare on two examples, between which a loss may have terms; else on all. Where memory is short, on one.

    Returns:
        Why the batch could not be checked; empty if it was.
    """
    for first, then_all in ((2, True), (1, False)):
        try:
            if _few_agree(check, batch, first, whole, known):
                return ""
            if then_all:
                _require_agreement(check, batch, check.carry([batch]) if rounds() else whole)
                return ""
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
    return UNCHECKED


def _few_agree(check: SelfCheck, batch: Batch, count: int, whole: Carried, known: Collection[Any]) -> bool:
    """Whether jets agree with ordinary differentiation on the first examples, and that says as much as on all.

    Raises:
        EnginesDisagreeError: they do not agree.
    """
    few = first_examples(batch, count)
    if few is None:
        return False
    try:
        found = check.carry([few])
        if not whole.operations[0] <= found.operations[0].union(known) or not _tells(found, whole, check.units):
            return False
        _require_agreement(check, few, found)
    except Exception as error:  # a loss is anybody's code, and may be made for whole batches alone
        if isinstance(error, EnginesDisagreeError) or is_out_of_memory(error):
            raise
        return False
    return True


def _tells(few: Carried, whole: Carried, units: UnitDirections) -> bool:
    """Whether few examples have slopes and curvatures, of about the size that all have: zeros always agree."""
    least = math.sqrt(rounding(units.parameters))
    pairs = zip(zip(*few.rows[0], strict=True), zip(*whole.rows[0], strict=True), strict=True)
    return all(0 < max(map(abs, some)) >= least * max(map(abs, each)) for some, each in pairs)


def require_repeatable(model: nn.Module, loss: Loss, units: UnitDirections, disagreement: EnginesDisagreeError) -> None:
    """Whether ordinary differentiation agrees with itself, where jets do not agree with it.

    Else the loss is another one each time that it is computed, and none of its numbers is worth more than the others.

    Args:
        model, loss, units: what was checked.
        disagreement: what the check found, with the numbers of one ordinary pass.

    Raises:
        EnginesDisagreeError: the loss is not deterministic.
    """
    once, eps = disagreement.ordinary, rounding(units.parameters)
    if once is None:
        raise disagreement
    with full_float32():
        again = by_double_backward(model, loss, [once.batch], units)
    pairs = [("loss", once.loss, again.losses[0], abs(once.loss))]
    for name, first, (second, _) in zip(units.names, once.slopes, again.rows[0], strict=True):
        pairs.append((f"slope along {name!r}", first, second, once.length))
    for what, first, second, scale in pairs:
        if not _agree(first, second, eps=eps, scale=scale):
            raise EnginesDisagreeError(
                f"the loss is not deterministic: the {what} is {first:.9g}, and {second:.9g} when it is computed again",
                quantity=disagreement.quantity,
                ordinary=once,
                remedy="have it draw from a generator of its own that starts anew in each call",
            )


def _require_agreement(check: SelfCheck, batch: Batch, found: Carried) -> None:
    """Compare a batch's loss and all its slopes with a backward pass, and the largest curvature with double backward.

    A wrong rule is wrong by far more than rounding. Rounding is relative to the sums that cancel in gᵀv and vᵀHv, which
    are of the order of ‖g‖ and ‖Hv‖, not to what is left of them: √ε of the value and 1000·ε of these norms are
    allowed (float32: 3e-4 and 1e-4), ε being the parameters' rounding.
    """
    units, [row] = check.units, found.rows
    parameters = list(units.parameters.values())
    with torch.enable_grad():
        there = batch.to(parameters[0].device)
        value, gradient = gradient_with_graph(check.model, check.loss, there, parameters, index=0)
        slopes = [inner(gradient, units.unit(k)) for k in range(len(row))]
        ordinary = Ordinary(batch, float(value), slopes, norm(gradient))
        compare = partial(_compare, ordinary=ordinary, eps=rounding(units.parameters))
        compare("loss", "", found.losses[0], ordinary.loss, scale=abs(ordinary.loss))
        for name, (slope, _), expected in zip(units.names, row, slopes, strict=True):
            compare("slope", f" along {name!r}", slope, expected, scale=ordinary.length)
        k = max(range(len(row)), key=lambda k: abs(row[k][1]))
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
        compare("curvature", f" along {units.names[k]!r}", row[k][1], bend, scale=norm(product))


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


def _passed(model: nn.Module, loss: Loss, by: str) -> list[_Passed]:
    """Each check that this model and loss have passed."""
    return [
        each for each in _checked.get(model, []) if each.loss() is loss and (each.dtype, each.by) == (_dtype(model), by)
    ]


def _agree(expected: float, number: float, *, eps: float, scale: float) -> bool:
    if math.isnan(expected) and math.isnan(number):
        return True
    return abs(number - expected) <= math.sqrt(eps) * abs(expected) + 1000 * eps * scale


def _remember(check: SelfCheck, operations: Collection[Any], unchecked: str) -> None:
    try:
        seen = weakref.ref(check.loss)
    except TypeError:  # some callables cannot be referred to weakly: they are checked every time
        return
    passed = _Passed(seen, _dtype(check.model), check.by, frozenset(operations), unchecked)
    _checked.setdefault(check.model, []).append(passed)


def _dtype(model: nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype
