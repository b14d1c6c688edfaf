"""Slope and curvature of a loss along given directions, exactly, by one of two engines."""

import math
from collections.abc import ItemsView, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.attention import math_attention
from clipbench.geometry.directions import UnitDirections, unit_directions
from clipbench.geometry.double_backward import by_double_backward
from clipbench.geometry.jets.forward import by_jets
from clipbench.geometry.jets.jet import MissingRuleError
from clipbench.geometry.losses import WHERE, NonFiniteLossError
from clipbench.geometry.precision import full_float32
from clipbench.geometry.selfcheck import EnginesDisagreeError, require_agreement, was_checked
from clipbench.geometry.undisturbed import undisturbed

__all__ = [
    "Curvatures",
    "DirectionalCurvature",
    "EnginesDisagreeError",
    "MissingRuleError",
    "NonFiniteLossError",
    "directional_curvature",
]

Engine = Literal["auto", "jets", "double_backward"]
TOGETHER = 4
"""Directions in one pass of jets. What they share is 1 of 1 + 4K forward passes: more at once saves little time."""

_FOREIGN = (RuntimeError, TypeError, NotImplementedError)
"""What foreign code raises when it is handed a jet where it wants a tensor's memory."""


@dataclass(frozen=True)
class DirectionalCurvature:
    """The loss along a direction u, to second order, with v = u/‖u‖: L(θ + ηv) ≈ L(θ) + η·slope + ½η²·curvature.

    - `slope` = gᵀv, signed: negative along a descent direction.
    - `curvature` = vᵀHv, the directional sharpness, signed.
    - `norm` = ‖u‖₂. Where it is zero or not finite there is no direction: slope and curvature are NaN.
    - `slopes`, `curvatures`: the same of each batch, for ratios paired on the same batches.
    - `slope_error`, `curvature_error`: standard errors of the weighted means over batches; NaN for a single batch.
    """

    slope: float
    curvature: float
    norm: float
    slopes: tuple[float, ...] = ()
    curvatures: tuple[float, ...] = ()
    slope_error: float = math.nan
    curvature_error: float = math.nan


@dataclass(frozen=True)
class Curvatures:
    """What was measured along each direction, and how: `curvatures["own"].slope`.

    - `along`: by the name of the direction.
    - `loss`: the weighted mean over all batches at the point; NaN where there was no direction to measure along.
    - `weights`: of the batches in the means.
    - `engine`: the one that ran, and `missing_operation`: for double backward in place of jets, what had no rule.
    """

    along: Mapping[str, DirectionalCurvature]
    loss: float
    weights: tuple[int, ...]
    engine: Literal["jets", "double_backward"]
    missing_operation: str | None = None

    def __getitem__(self, direction: str) -> DirectionalCurvature:
        return self.along[direction]

    def items(self) -> ItemsView[str, DirectionalCurvature]:
        return self.along.items()


def directional_curvature(
    model: nn.Module,
    loss: Loss,
    batches: Sequence[Batch],
    directions: Mapping[str, Mapping[str, Tensor]],
    *,
    engine: Engine = "auto",
    chunk: int | None = None,
    check: bool = True,
) -> Curvatures:
    """How steep the loss is along each direction, and how it bends: the first two derivatives at the present weights.

    With v = u/‖u‖ over all trainable parameters at once, and L the mean of the loss over all terms of all batches
    (each batch weighted by `Batch.weight`),

        slope = ∇L(θ)ᵀv,    curvature = vᵀ∇²L(θ)v = the directional sharpness uᵀHu/‖u‖²

    Two engines give the same numbers. Jets: one forward pass that carries first and second derivatives along several
    directions, without a graph. Double backward: one gradient with its graph, differentiated once more for each
    direction. Both work in evaluation mode, without autocast or TF32, with the MATH attention kernel, in the
    parameters' own dtype; sums over batches are in float64. The model is left bit for bit as it was. The first time
    that jets measure a model object with a loss, they are checked against ordinary differentiation.

    Args:
        model: its weights are the point θ. A tied weight counts once, under its first name.
        loss: `loss(model, batch)`, a 0-d mean over the batch's terms.
        batches: at least one; they are moved to the model's device. They are the unit of memory and of the
            standard error.
        directions: by name, u as a mapping from the name of every trainable parameter to a tensor of its shape.
        engine: "jets", "double_backward", or "auto": jets where every operation has a rule, else double backward.
        chunk: directions that jets carry at once, 4 unless given. 1 takes the least memory; more is faster where the
            model is so small that the number of operations counts, not their size.
        check: whether jets check themselves. It costs a gradient and a product of double backward on the first
            batch, once for a model object and a loss, and as much memory.

    Returns:
        Curvatures, with one DirectionalCurvature for each direction under its name.

    Raises:
        ClipbenchError: no batches, a batch without terms, no trainable parameter, a direction with missing or
            unknown names or a wrong shape, a chunk below 1, an unknown engine, a loss that is not a scalar or does not
            depend on the weights, or an operation whose second derivative torch is known to get wrong.
        NonFiniteLossError: the loss of a batch is NaN or infinite.
        MissingRuleError: with "jets", an operation that has no rule, by name.
        EnginesDisagreeError: jets did not pass their check; nothing is reported.

    Source: directional sharpness, Pan and Li (2023), arXiv:2306.00204; Hessian-vector products by differentiating
    the gradient, Pearlmutter (1994), Neural Computation 6; Taylor-mode differentiation, Griewank and Walther (2008).
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    _require_sense(parameters, batches, engine=engine, chunk=chunk)
    units, norms = unit_directions(directions, parameters)
    measuring = _Measuring(model, loss, batches, units, TOGETHER if chunk is None else chunk, check)
    device = next(iter(parameters.values())).device
    exact = torch.autocast(device.type, enabled=False)
    with undisturbed(model), math_attention(), full_float32(), torch.enable_grad(), exact:
        measured = measuring.by(engine)
    weights = tuple(batch.weight for batch in batches)
    along = {name: DirectionalCurvature(math.nan, math.nan, norms[name]) for name in directions}
    for k, name in enumerate(units.names):
        slopes, curvatures = zip(*(row[k] for row in measured.rows), strict=True)
        along[name] = DirectionalCurvature(
            slope=_mean(slopes, weights),
            curvature=_mean(curvatures, weights),
            norm=norms[name],
            slopes=slopes,
            curvatures=curvatures,
            slope_error=_standard_error(slopes, weights),
            curvature_error=_standard_error(curvatures, weights),
        )
    mean_loss = _mean(measured.losses, weights) if measured.losses else math.nan
    return Curvatures(along, mean_loss, weights, measured.engine, measured.missing_operation)


@dataclass(frozen=True)
class _Measuring:
    """One measurement, before the choice of an engine."""

    model: nn.Module
    loss: Loss
    batches: Sequence[Batch]
    units: UnitDirections
    chunk: int
    check: bool

    def by(self, engine: Engine) -> "_Measured":
        missing = None
        if engine != "double_backward":
            try:
                return self._by_jets()
            except MissingRuleError as error:
                if engine == "jets":
                    raise
                missing = error.operation
            except _FOREIGN as error:
                if engine == "jets" or isinstance(error, torch.OutOfMemoryError):  # which double backward needs more of
                    raise
                missing = f"{type(error).__name__}: {error}"
        losses, rows = by_double_backward(self.model, self.loss, self.batches, self.units)
        return _Measured(losses, rows, "double_backward", missing)

    def _by_jets(self) -> "_Measured":
        losses, rows = by_jets(self.model, self.loss, self.batches, self.units, chunk=self.chunk)
        if self.check and losses and not was_checked(self.model, self.loss):
            require_agreement(self.model, self.loss, self.batches[0], self.units, found_loss=losses[0], found=rows[0])
        return _Measured(losses, rows, "jets", None)


@dataclass(frozen=True)
class _Measured:
    """The loss of each batch; for each batch (slope, curvature) along each direction; and who says so."""

    losses: list[float]
    rows: list[list[tuple[float, float]]]
    engine: Literal["jets", "double_backward"]
    missing_operation: str | None


def _require_sense(
    parameters: Mapping[str, nn.Parameter], batches: Sequence[Batch], *, engine: str, chunk: int | None
) -> None:
    if not parameters:
        raise ClipbenchError("the model has no trainable parameter", where=WHERE)
    if not batches:
        raise ClipbenchError("there are no batches to measure on", where=WHERE)
    for i, batch in enumerate(batches):
        if batch.weight <= 0:
            raise ClipbenchError(
                f"batch {i} has no terms in its loss (weight {batch.weight})",
                where=WHERE,
                remedy="leave it out, or correct its count of samples or tokens",
            )
    if engine not in get_args(Engine):
        raise ClipbenchError(f"there is no engine {engine!r}", where=WHERE, remedy=f"one of {get_args(Engine)}")
    if chunk is not None and chunk < 1:
        raise ClipbenchError(f"a chunk of {chunk} directions", where=WHERE, remedy="at least 1")


def _mean(values: Sequence[float], weights: Sequence[int]) -> float:
    return math.fsum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)


def _standard_error(values: Sequence[float], weights: Sequence[int]) -> float:
    """√(n/(n−1) · Σ(wᵢ/W)²(xᵢ − x̄)²), a ratio estimate's; s/√n where all weights are equal. (Cochran 1977, §6.4.)"""
    n, total, mean = len(values), sum(weights), _mean(values, weights)
    if n < 2:
        return math.nan
    squares = math.fsum((w / total * (x - mean)) ** 2 for w, x in zip(weights, values, strict=True))
    return math.sqrt(n / (n - 1) * squares)
