"""What the second-order model says a step will do to the loss, and what the loss really does."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from clipbench.geometry.curvature import Curvatures
from clipbench.geometry.directions import Direction
from clipbench.geometry.objective import Objective
from clipbench.geometry.products import norm


@dataclass(frozen=True)
class TaylorLedger:
    """One step u from θ, to second order: L(θ + u) ≈ L(θ) + gᵀu + ½uᵀHu, on one and the same set of batches.

    - `slope` = gᵀu/‖u‖ and `sharpness` = uᵀHu/‖u‖², signed; NaN where u is zero or not finite.
    - `norm` = ‖u‖, `gradient_norm` = ‖g‖.
    - `loss_before` = L(θ), `loss_after` = L(θ + u): forward passes, the mean over batches in float64.
    - `rounding`: how much of the observed change may be rounding; what is smaller says nothing.

    Source: the directional sharpness is that of Pan and Li (2023), arXiv:2306.00204; the rest is Taylor's theorem.
    """

    slope: float
    sharpness: float
    norm: float
    gradient_norm: float
    loss_before: float
    loss_after: float
    rounding: float

    @property
    def cosine(self) -> float:
        """−gᵀu/(‖g‖‖u‖): 1 is straight down, below 0 is up; NaN without a gradient."""
        return -self.slope / self.gradient_norm if self.gradient_norm > 0 else math.nan

    @property
    def gain(self) -> float:
        """−gᵀu: what the linear term takes off the loss."""
        return -self.slope * self.norm

    @property
    def cost(self) -> float:
        """½uᵀHu: what the curvature puts back on."""
        return 0.5 * self.sharpness * self.norm**2

    @property
    def predicted_change(self) -> float:
        """gᵀu + ½uᵀHu."""
        return self.cost - self.gain

    @property
    def observed_change(self) -> float:
        """L(θ + u) − L(θ)."""
        return self.loss_after - self.loss_before

    @property
    def residual(self) -> float:
        """Observed − predicted: the terms of third and higher order, and rounding."""
        return self.observed_change - self.predicted_change

    @property
    def has_minimum(self) -> bool:
        """Whether the model has its least value ahead: it falls at first, and bends upwards."""
        return self.slope < 0 < self.sharpness

    @property
    def best_step(self) -> float:
        """η* = c/s, the length along u/‖u‖ where the model is least, with c = −slope; NaN without a minimum ahead."""
        return -self.slope / self.sharpness if self.has_minimum else math.nan

    @property
    def best_decrease(self) -> float:
        """Δ* = c²/(2s), how much lower the model is there; NaN without a minimum ahead."""
        return self.slope**2 / (2 * self.sharpness) if self.has_minimum else math.nan

    @property
    def lambda_dir(self) -> float:
        """λ_dir = −uᵀHu/gᵀu, in units of one step u: negative along negative curvature; NaN where u does not descend.

        On a quadratic the loss is back at its start after 2/λ_dir steps of this length.
        """
        return -self.sharpness * self.norm / self.slope if self.slope < 0 else math.nan


def taylor_ledgers(
    objective: Objective, directions: Mapping[str, Direction], curvatures: Curvatures
) -> dict[str, TaylorLedger]:
    """A ledger for each direction. It costs a gradient, a forward pass, and one more for each direction.

    Args:
        objective: the batches that everything is measured on.
        directions: steps u by name.
        curvatures: of these directions on these batches, as `directional_curvature` gives them.

    Raises:
        NonFiniteLossError: the loss at θ is NaN or infinite.
    """
    length, before = norm(objective.gradient().values()), objective.value()
    ledgers = {}
    for name, u in directions.items():
        curvature = curvatures[name]
        with objective.along(u) as loss_at:
            after = loss_at(1.0)
        ledgers[name] = TaylorLedger(
            slope=curvature.slope,
            sharpness=curvature.curvature,
            norm=curvature.norm,
            gradient_norm=length,
            loss_before=before,
            loss_after=after,
            rounding=objective.blur(before, after),
        )
    return ledgers
