"""What is found along directions, and by which engine."""

import math
from collections.abc import ItemsView, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from clipbench.geometry.averages import averaged

RunEngine = Literal["jets", "adjoint", "double_backward"]


@dataclass(frozen=True)
class DirectionalCurvature:
    """The loss along a direction u, to second order, with v = u/‖u‖: L(θ + ηv) ≈ L(θ) + η·slope + ½η²·curvature.

    - `slope` = gᵀv, signed: negative along a descent direction.
    - `curvature` = vᵀHv, the directional sharpness, signed.
    - `norm` = ‖u‖₂. Where it is zero or not finite there is no direction: slope and curvature are NaN.
    - `slopes`, `curvatures`: the same of each batch, for ratios paired on the same batches; of several processes, of
      the batches of this one.
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
    - `weights`: of the batches in the means; of several processes, of the batches of this one.
    - `engine`: the one that ran. For double backward in place of jets, `missing_operation` is what had no rule, or
      `disagreement` the quantity in which jets did not agree with ordinary differentiation.
    - `losses`: of the batches that `weights` is of; none where there was no direction to measure along.
    - `remarks`: what was done otherwise than asked: for want of memory, without a check, without the loss's autocast.
    """

    along: Mapping[str, DirectionalCurvature]
    loss: float
    weights: tuple[int, ...]
    engine: RunEngine
    missing_operation: str | None = None
    losses: tuple[float, ...] = ()
    disagreement: str | None = None
    remarks: tuple[str, ...] = ()

    def __getitem__(self, direction: str) -> DirectionalCurvature:
        return self.along[direction]

    def items(self) -> ItemsView[str, DirectionalCurvature]:
        """Each direction's name with what was measured along it."""
        return self.along.items()

    def of_first(self, count: int) -> "Curvatures":
        """The same of the first batches alone, bit for bit as if this process had measured no others."""
        weights, losses = self.weights[:count], self.losses[:count]
        along = {name: _of_first(measured, weights) if measured.slopes else measured for name, measured in self.items()}
        [(loss, _)] = averaged([losses], weights) if losses else [(math.nan, math.nan)]
        return replace(self, along=along, loss=loss, weights=weights, losses=losses)


def _of_first(measured: DirectionalCurvature, weights: tuple[int, ...]) -> DirectionalCurvature:
    slopes, curvatures = measured.slopes[: len(weights)], measured.curvatures[: len(weights)]
    (slope, slope_error), (curvature, curvature_error) = averaged([slopes, curvatures], weights)
    return DirectionalCurvature(
        slope,
        curvature,
        measured.norm,
        slopes,
        curvatures,
        slope_error=slope_error,
        curvature_error=curvature_error,
    )


Rows = list[list[tuple[float, float]]]
"""For each batch, (slope, curvature) along each direction."""


@dataclass(frozen=True)
class Carried:
    """The loss of each batch; for each batch (slope, curvature) along each direction; and what each went through."""

    losses: list[float]
    rows: Rows
    operations: list[set[Any]]


@dataclass(frozen=True)
class Measured:
    """The loss of each batch; for each batch (slope, curvature) along each direction; who says so, and how."""

    losses: Sequence[float]
    rows: Sequence[Sequence[tuple[float, float]]]
    engine: RunEngine
    missing_operation: str | None = None
    disagreement: str | None = None
    remarks: tuple[str, ...] = ()
