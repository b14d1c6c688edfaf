"""Is it right? What jets say of a model, against ordinary differentiation, the first time the two meet."""

import math
import weakref
from collections.abc import Sequence

import torch
from torch import nn

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.directions import UnitDirections, rounding
from clipbench.geometry.double_backward import NoSecondDerivativeError, gradient_with_graph, hessian_times
from clipbench.geometry.losses import WHERE
from clipbench.geometry.products import inner, norm


class EnginesDisagreeError(ClipbenchError):
    """Two ways to differentiate the same loss gave different numbers, so at least one of them is wrong."""


_checked: "weakref.WeakKeyDictionary[nn.Module, list[tuple[weakref.ref[Loss], torch.dtype, str]]]"
_checked = weakref.WeakKeyDictionary()


def was_checked(model: nn.Module, loss: Loss, *, by: str) -> bool:
    """Whether this model object, in its present dtype, has passed with this loss object by this engine before."""
    return any(
        seen() is loss and (dtype, engine) == (_dtype(model), by) for seen, dtype, engine in _checked.get(model, [])
    )


def require_agreement(
    model: nn.Module,
    loss: Loss,
    batch: Batch,
    units: UnitDirections,
    *,
    found_loss: float,
    found: Sequence[tuple[float, float]],
    by: str,
) -> None:
    """Compare the first batch's loss and all its slopes with an ordinary backward pass, and the largest curvature with
    double backward.

    A wrong rule is wrong by far more than rounding. Rounding is relative to the sums that cancel in gᵀv and vᵀHv, which
    are of the order of ‖g‖ and ‖Hv‖, not to what is left of them: √ε of the value and 1000·ε of these norms are
    allowed (float32: 3e-4 and 1e-4), ε being the parameters' rounding.

    Raises:
        EnginesDisagreeError: they differ by more, or double backward has no second derivative to compare with.
    """
    parameters = list(units.parameters.values())
    eps = rounding(units.parameters)
    with torch.enable_grad():
        value, gradient = gradient_with_graph(model, loss, batch.to(parameters[0].device), parameters, index=0)
        _compare("loss", found_loss, float(value), eps=eps, scale=abs(float(value)))
        length = norm(gradient)
        for k, (slope, _) in enumerate(found):
            _compare(f"slope along {units.names[k]!r}", slope, inner(gradient, units.unit(k)), eps=eps, scale=length)
        k = max(range(len(found)), key=lambda k: abs(found[k][1]))
        v = units.unit(k)
        try:
            product = hessian_times(v, gradient, parameters)
        except NoSecondDerivativeError as error:
            raise EnginesDisagreeError(
                f"jets have a curvature that nothing checks: {error.found}",
                where=WHERE,
                remedy="check=False takes it unchecked",
            ) from error
        what = f"curvature along {units.names[k]!r}"
        _compare(what, found[k][1], inner(product, v) / norm(v) ** 2, eps=eps, scale=norm(product))
    _remember(model, loss, by)


def _compare(what: str, jets: float, ordinary: float, *, eps: float, scale: float) -> None:
    if math.isnan(jets) and math.isnan(ordinary):
        return
    if not abs(jets - ordinary) <= math.sqrt(eps) * abs(ordinary) + 1000 * eps * scale:
        raise EnginesDisagreeError(
            f"the {what} is {jets:.9g} by jets and {ordinary:.9g} by ordinary differentiation",
            where=WHERE,
            remedy="a custom autograd.Function or a loss that is not deterministic may be why: then "
            'engine="double_backward" differentiates as training does',
        )


def _remember(model: nn.Module, loss: Loss, by: str) -> None:
    try:
        seen = weakref.ref(loss)
    except TypeError:  # some callables cannot be referred to weakly: they are checked every time
        return
    _checked.setdefault(model, []).append((seen, _dtype(model), by))


def _dtype(model: nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype
